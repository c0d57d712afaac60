//! The table of variables, and references to them and to header lines. Manual section 11.9.
//!
//! A row states how long the value lives, whether it came from outside, and how it is read. A variable that is in the
//! manual but not yet filled is a row too: a template that uses it is faulty, and says so.

use std::sync::OnceLock;

use oxim_base::{Taint, Text};
use oxim_mail::header::value::{self, Decoding};

use super::ExpandError;
use super::names::ByName;
use crate::context::Context;

mod address;
mod arc;
mod atrn;
mod bmi;
mod connection;
mod content;
mod dcc;
mod dkim;
mod dmarc;
mod evaluation;
mod event;
mod message;
mod not_yet;
mod process;
mod proxy;
mod spf;
mod tls;

/// How long a variable keeps its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The process.
    Process,
    /// The SMTP connection, or the caller of a local submission.
    Connection,
    /// The message; reset with each transaction.
    Message,
    /// The address in hand.
    Address,
    /// One run of a router or transport.
    Delivery,
    /// One evaluation, or one ACL statement.
    Evaluation,
}

/// A value as a getter gives it.
pub(crate) enum Value<'a> {
    /// Nothing.
    Empty,
    /// Bytes that have the row's taint.
    Bytes(&'a [u8]),
    /// A text with its own taint.
    Text(&'a Text),
    /// A number.
    Number(i64),
    /// Bytes made for the occasion, with the row's taint.
    Made(Vec<u8>),
}

/// How a variable is read; the second argument is the rest of the name, for families.
pub(crate) enum Getter {
    /// From the context as it is.
    Read(for<'a> fn(&'a Context, &'a str) -> Value<'a>),
    /// By work that may change the context or fail.
    Compute(fn(&mut Context, &str) -> Result<Text, ExpandError>),
    /// Not at all yet.
    NotYet,
}

/// One variable, or a family of variables whose names begin alike.
pub struct VariableRow {
    /// The name, or the beginning of the names.
    pub name: &'static str,
    /// Whether any name that begins so is meant.
    pub family: bool,
    /// How long it keeps its value.
    pub scope: Scope,
    /// Whether its bytes come from outside.
    pub taint: Taint,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Whether reading it may wait for the network or a file.
    pub may_block: bool,
    pub(crate) get: Getter,
}

impl VariableRow {
    /// Whether the variable is filled.
    #[must_use]
    pub fn is_implemented(&self) -> bool {
        !matches!(self.get, Getter::NotYet)
    }

    /// Whether the name of a family may go on like this.
    fn has_key(&self, key: &str) -> bool {
        let number = |range: std::ops::RangeInclusive<usize>| {
            !key.starts_with('0') && key.parse().is_ok_and(|n| range.contains(&n))
                || (key == "0" && range.contains(&0))
        };
        match self.name {
            "acl_c" | "acl_m" => key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit() || c == '_'),
            "acl_arg" | "regex" => number(1..=9),
            "auth" => number(1..=4),
            "n" | "sn" => number(0..=9),
            _ => true,
        }
    }
}

/// All variables, by what they belong to.
pub static VARIABLES: &[&[VariableRow]] = &[
    address::ROWS,
    arc::ROWS,
    atrn::ROWS,
    bmi::ROWS,
    connection::ROWS,
    content::ROWS,
    dcc::ROWS,
    dkim::ROWS,
    dmarc::ROWS,
    evaluation::ROWS,
    event::ROWS,
    message::ROWS,
    not_yet::ROWS,
    process::ROWS,
    proxy::ROWS,
    spf::ROWS,
    tls::ROWS,
];

/// A row for a variable that is read from the context.
const fn row(
    name: &'static str,
    scope: Scope,
    taint: Taint,
    doc: &'static str,
    get: for<'a> fn(&'a Context, &'a str) -> Value<'a>,
) -> VariableRow {
    VariableRow { name, family: false, scope, taint, doc, may_block: false, get: Getter::Read(get) }
}

/// A use of a variable.
pub(crate) struct VariableReference {
    row: &'static VariableRow,
    key: Box<str>,
}

impl VariableReference {
    /// The variable of a name.
    pub(crate) fn find(name: &str) -> Option<VariableReference> {
        static BY_NAME: OnceLock<ByName<&'static VariableRow>> = OnceLock::new();
        let by_name = BY_NAME.get_or_init(|| {
            let rows = VARIABLES.iter().copied().flatten();
            rows.filter(|row| !row.family).map(|row| (row.name, row)).collect()
        });
        if let Some(row) = by_name.get(name) {
            return Some(VariableReference { row, key: "".into() });
        }
        let row = VARIABLES
            .iter()
            .copied()
            .flatten()
            .find(|row| row.family && name.strip_prefix(row.name).is_some_and(|key| row.has_key(key)))?;
        let key = name.get(row.name.len()..)?;
        Some(VariableReference { row, key: key.into() })
    }

    /// Why it may not be used, if it may not.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self.row.get {
            Getter::NotYet => {
                Some(format!("variable \"{}{}\" is not implemented yet", self.row.name, self.key))
            }
            Getter::Read(_) | Getter::Compute(_) => None,
        }
    }

    /// Its name, if its value always comes from outside.
    pub(crate) fn foreign_name(&self) -> Option<&'static str> {
        self.row.taint.is_foreign().then_some(self.row.name).filter(|_| !self.row.family)
    }

    /// Whether reading it may wait.
    pub(crate) fn may_block(&self) -> bool {
        self.row.may_block
    }

    fn is_acl_variable(&self) -> bool {
        matches!(self.row.name, "acl_c" | "acl_m")
    }

    /// Whether there is a value, and not an empty one.
    pub(crate) fn is_there(&self, context: &mut Context) -> Result<bool, ExpandError> {
        if let Getter::Read(get) = self.row.get {
            match get(context, &self.key) {
                Value::Bytes(bytes) => return Ok(!bytes.is_empty()),
                Value::Text(text) => return Ok(!text.is_empty()),
                Value::Made(bytes) => return Ok(!bytes.is_empty()),
                Value::Number(_) => return Ok(true),
                // An ACL variable may be one that must be there.
                Value::Empty => {}
            }
        }
        let mut value = Text::new();
        self.append(context, &mut value)?;
        Ok(!value.is_empty())
    }

    /// Adds the value.
    pub(crate) fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        match self.row.get {
            Getter::Read(get) => match get(context, &self.key) {
                Value::Empty if self.is_acl_variable() && context.config.main.strict_acl_vars => {
                    let name = format!("{}{}", self.row.name, self.key);
                    let text = format!("unknown variable name \"{name}\" (strict_acl_vars is set)");
                    return Err(ExpandError::Failed(text));
                }
                Value::Empty => {}
                Value::Bytes(bytes) => out.push_bytes(bytes, self.row.taint),
                Value::Made(bytes) => out.push_bytes(&bytes, self.row.taint),
                Value::Text(text) => out.push(text),
                Value::Number(number) => out.push_number(number, self.row.taint),
            },
            Getter::Compute(get) => out.push(&get(context, &self.key)?),
            Getter::NotYet => {}
        }
        Ok(())
    }
}

/// What Exim adds to its complaint about an unknown name.
pub(crate) fn hint(name: &str) -> &'static str {
    if (name.starts_with("acl_c") || name.starts_with("acl_m")) && name.len() > 5 {
        " (6th character of a user-defined ACL variable must be a digit or underscore)"
    } else if name.starts_with("acl_") {
        " (user-defined ACL variables must start acl_c or acl_m)"
    } else if name == "domain_used_domain" {
        // So an edition of the manual has it.
        " (did you mean dmarc_used_domain?)"
    } else {
        ""
    }
}

/// How the contents of a header line are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderForm {
    /// `$h_`: decoded and brought to the character set of `headers_charset`.
    Decoded,
    /// `$bh_`: decoded.
    Basic,
    /// `$rh_`: as it is.
    Raw,
    /// `$lh_`: a list of raw contents.
    List,
}

/// A use of a header line.
pub(crate) struct HeaderReference {
    form: HeaderForm,
    name: Vec<u8>,
}

impl HeaderReference {
    /// The header lines of a name, in a form.
    pub(crate) fn new(form: HeaderForm, name: Vec<u8>) -> HeaderReference {
        HeaderReference { form, name }
    }

    /// Whether the text begins with `h_`, `header_` or kin: the form, and how many bytes say so.
    pub(crate) fn prefix(text: &[u8]) -> Option<(HeaderForm, usize)> {
        let (form, skip) = match text.first()? {
            b'h' => (HeaderForm::Decoded, 0_usize),
            b'b' => (HeaderForm::Basic, 1),
            b'r' => (HeaderForm::Raw, 1),
            b'l' => (HeaderForm::List, 1),
            _ => return None,
        };
        let rest = text.get(skip..)?;
        let word = [&b"header_"[..], b"h_"].into_iter().find(|word| rest.starts_with(word))?;
        Some((form, skip.saturating_add(word.len())))
    }
}

impl HeaderReference {
    /// Adds the contents of the header lines of this name.
    pub(crate) fn append(&self, context: &Context, out: &mut Text) {
        let headers = &context.message.headers;
        let check_length = context.config.main.check_rfc2047_length;
        let value = match self.form {
            HeaderForm::Raw => value::raw_value(headers, &self.name),
            HeaderForm::List => value::list_value(headers, &self.name),
            HeaderForm::Basic => value::joined_value(headers, &self.name, Decoding::Bytes, check_length),
            HeaderForm::Decoded => {
                let decoding = Decoding::Charset { target: context.headers_charset().as_bytes() };
                value::joined_value(headers, &self.name, decoding, check_length)
            }
        };
        out.push_bytes(&value.unwrap_or_default(), Taint::Tainted);
    }

    /// Whether there is a header line of this name.
    pub(crate) fn exists(&self, context: &Context) -> bool {
        context.message.headers.contains(&self.name)
    }
}
