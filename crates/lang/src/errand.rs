//! What an expansion in a user's filter does with the rights of that user, as a message to the process that is the user.
//!
//! The expansion is evaluated where mail is routed; only the step that needs rights goes over: a command, a lookup in a
//! file, a look at a file, a conversation with a socket. Every value in an errand is final.

use serde::{Deserialize, Serialize};

use oxim_base::{Taint, Text};

use crate::context::Context;
use crate::expand::{ExpandError, SocketOptions, ask_socket, run_command, stat_text};
use crate::lookup::{self, Found, LookupError, LookupType, Style};

/// Longest answer, in bytes: it must fit into a frame.
const ANSWER_BYTES_MAX: usize = 900 * 1024;

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Errand {
    /// Run a command: program and arguments.
    Run {
        /// The words.
        words: Vec<Vec<u8>>,
        /// The whole environment.
        environment: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Look something up in a file.
    Find {
        /// The lookup type as written, with its options.
        lookup: String,
        /// The key of a single-key lookup.
        key: Option<Vec<u8>>,
        /// The file, or the query.
        source: Vec<u8>,
        /// Where the query came from.
        origin: Origin,
    },
    /// What `${stat:` gives of a path.
    Stat(Vec<u8>),
    /// Ask a socket.
    Ask {
        /// Its name, as `${readsocket` has it.
        socket: Vec<u8>,
        /// The request.
        request: Vec<u8>,
        /// Options of the item.
        options: SocketOptions,
    },
}

/// Where a query came from, as far as the lookup asks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// The filter's author.
    Clean,
    /// From outside, quoted for this lookup.
    Quoted,
    /// From outside.
    Foreign,
}

/// What came of an errand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Brought {
    /// The command's return code and output.
    Ran {
        /// The code.
        code: i32,
        /// Everything that it wrote.
        output: Vec<u8>,
    },
    /// What the lookup found.
    Found(Option<Item>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    data: Vec<u8>,
    is_foreign: bool,
    parts: Option<(Vec<u8>, Vec<u8>)>,
}

impl Errand {
    /// A lookup, as it is asked here.
    pub(crate) fn find(lookup: &LookupType, key: Option<&Text>, source: &Text, options: &str) -> Errand {
        let mark = if let Style::Service(service) = &lookup.kind.style { Some(service.mark) } else { None };
        Errand::Find {
            lookup: format!("{}{options}", lookup.specification),
            key: key.map(|key| key.as_bytes().to_vec()),
            source: source.as_bytes().to_vec(),
            origin: match source.taint() {
                Taint::Clean => Origin::Clean,
                Taint::Quoted(by) if Some(by) == mark => Origin::Quoted,
                Taint::Quoted(_) | Taint::Tainted => Origin::Foreign,
            },
        }
    }

    /// Does it with the rights of this process.
    ///
    /// # Errors
    /// What the expansion says.
    pub fn perform(&self) -> Result<Brought, ExpandError> {
        let brought = match self {
            Errand::Run { words, environment } => {
                let (code, output) = run_command(words, Some(environment))?;
                Brought::Ran { code, output }
            }
            Errand::Find { lookup, key, source, origin } => {
                Brought::Found(find(lookup, key.as_deref(), source, *origin)?)
            }
            Errand::Stat(path) => Brought::Bytes(stat_text(path)?.into_bytes()),
            Errand::Ask { socket, request, options } => Brought::Bytes(
                ask_socket(&Text::clean(socket.as_slice()), request, options).map_err(ExpandError::Failed)?,
            ),
        };
        if brought.len() > ANSWER_BYTES_MAX {
            return Err(ExpandError::Failed("too much data for a filter of a user".to_owned()));
        }
        Ok(brought)
    }
}

fn find(
    specification: &str,
    key: Option<&[u8]>,
    source: &[u8],
    origin: Origin,
) -> Result<Option<Item>, ExpandError> {
    let lookup = LookupType::parse(specification).map_err(ExpandError::Failed)?;
    let taint = match (origin, &lookup.kind.style) {
        (Origin::Clean, _) => Taint::Clean,
        (Origin::Quoted, Style::Service(service)) => Taint::Quoted(service.mark),
        (Origin::Quoted | Origin::Foreign, _) => Taint::Tainted,
    };
    let key = key.map(Text::tainted);
    let source = Text::with_taint(source, taint);
    let found = lookup::find(&mut Context::default(), &lookup, key.as_ref(), &source);
    let item = |found: Found| Item {
        is_foreign: found.data.is_foreign(),
        data: found.data.into_bytes(),
        parts: found.parts,
    };
    match found {
        Ok(found) => Ok(found.map(item)),
        Err(LookupError::Failed(text)) => Err(ExpandError::Failed(text)),
        Err(LookupError::Defer(text)) => Err(ExpandError::Defer(text)),
    }
}

impl Brought {
    fn len(&self) -> usize {
        match self {
            Brought::Ran { output, .. } => output.len(),
            Brought::Found(item) => item.as_ref().map_or(0, |item| item.data.len()),
            Brought::Bytes(bytes) => bytes.len(),
        }
    }

    /// The bytes that were asked for.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Brought::Bytes(bytes) | Brought::Ran { output: bytes, .. } => bytes,
            Brought::Found(item) => item.map(|item| item.data).unwrap_or_default(),
        }
    }

    /// What a lookup found.
    pub(crate) fn into_found(self) -> Option<Found> {
        let Brought::Found(Some(item)) = self else { return None };
        let taint = if item.is_foreign { Taint::Tainted } else { Taint::Clean };
        Some(Found { data: Text::with_taint(item.data, taint), parts: item.parts })
    }
}
