//! `-b…`: what the program is to do.

use super::message::MessageCommand;
use super::{ArgumentError, CommandLine, Cursor, queue};

/// What the program is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Take a message from standard input (`-bm`, and the default).
    Receive {
        /// `-bm` was given, so that another mode is an error.
        explicit: bool,
    },
    /// SMTP on standard input and output.
    Smtp {
        /// `-bnq` and the like are in `sending`.
        from_inetd: bool,
    },
    /// Batched SMTP on standard input.
    BatchSmtp,
    /// A pretended session from an address.
    HostCheck {
        /// Address, with a port after a last full stop.
        host: Vec<u8>,
        /// Callouts are made (`-bhc`).
        callouts: bool,
    },
    /// Listen for connections.
    Daemon {
        /// Stay in the foreground (`-bdf`).
        foreground: bool,
        /// Accept on standard input (`-bw`), with a time limit of idleness in seconds.
        inherited: Option<u64>,
    },
    /// A queue run, or a daemon that only runs the queue.
    QueueRun,
    /// Expand strings.
    ExpandTest {
        /// A file with a message that the strings may refer to (`-bem`).
        message: Option<Vec<u8>>,
    },
    /// Test filters.
    FilterTest(Box<FilterTest>),
    /// Ask the virus scanner about a file (`-bmalware`).
    MalwareTest {
        /// The file.
        file: Vec<u8>,
    },
    /// Rewrite addresses.
    RewriteTest,
    /// Find retry rules.
    RetryTest,
    /// Route addresses.
    AddressTest,
    /// Verify addresses.
    Verify {
        /// As senders (`-bvs`).
        as_sender: bool,
    },
    /// Version and what is built in.
    Version,
    /// Print the configuration.
    PrintConfig,
    /// List the queue.
    ListQueue(queue::Listing),
    /// Count the queue.
    CountQueue,
    /// Get mail from a provider (`-atrn`).
    Atrn {
        /// The provider.
        host: Vec<u8>,
        /// Domains with commas; empty for all.
        domains: Vec<u8>,
    },
    /// Act on messages.
    Message(MessageCommand),
    /// `newaliases`: run `bi_command`.
    NewAliases,
    /// `-bI:help` and kin.
    Information(Vec<u8>),
    /// Print the usage text.
    Help,
    /// Say what the program is, because nothing was asked for: the exit code is 1.
    Usage,
    /// Become a delivery agent.
    DeliveryAgent,
}

/// `-bf`, `-bF` and what belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterTest {
    /// `-bF`: the system filter.
    pub system: Option<Vec<u8>>,
    /// `-bf`: the user's filter.
    pub user: Option<Vec<u8>>,
    /// `-bfd`: domain of the recipient.
    pub domain: Option<Vec<u8>>,
    /// `-bfl`: local part of the recipient, without affixes.
    pub local_part: Option<Vec<u8>>,
    /// `-bfp`: its prefix.
    pub prefix: Option<Vec<u8>>,
    /// `-bfs`: its suffix.
    pub suffix: Option<Vec<u8>>,
}

impl Default for Mode {
    fn default() -> Self {
        Mode::Receive { explicit: false }
    }
}

/// The mode that the program's name stands for (manual section 5.1).
pub(super) fn from_program_name(line: &mut CommandLine, name: &[u8]) {
    let base = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    match base {
        b"mailq" => line.mode = Mode::ListQueue(queue::Listing::default()),
        b"rsmtp" => line.mode = Mode::BatchSmtp,
        b"rmail" => {
            line.sending.ignore_dot = true;
            line.sending.error_report = super::ErrorReport::MailExitZero;
        }
        b"runq" => {
            line.queue_run = Some(queue::QueueRun::default());
            line.mode = Mode::QueueRun;
        }
        b"newaliases" => line.mode = Mode::NewAliases,
        _ => {}
    }
}

/// Sets the mode; a second, different one is an error, as far as Exim says so.
pub(super) fn set(line: &mut CommandLine, mode: Mode) -> Result<(), ArgumentError> {
    let unset = matches!(line.mode, Mode::Receive { explicit: false } | Mode::ListQueue(_) | Mode::QueueRun);
    if line.mode == Mode::Version || (mode == Mode::Version && !unset) {
        // Exim tells its version and then does what else was asked for; here the version is all.
        line.mode = Mode::Version;
        return Ok(());
    }
    if !unset && line.mode != mode {
        return Err(ArgumentError::incompatible());
    }
    line.mode = mode;
    Ok(())
}

/// `-bf` and kin: several of them make one test.
fn filter_test(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    rest: &[u8],
) -> Result<(), ArgumentError> {
    let mut test = match &line.mode {
        Mode::FilterTest(test) => (**test).clone(),
        _ => FilterTest::default(),
    };
    match rest {
        b"F" => test.system = Some(cursor.expected("file name", word)?),
        b"f" => test.user = Some(cursor.expected("file name", word)?),
        b"fd" => test.domain = Some(cursor.expected("string", word)?),
        b"fl" => test.local_part = Some(cursor.expected("string", word)?),
        b"fp" => test.prefix = Some(cursor.expected("string", word)?),
        _ => test.suffix = Some(cursor.expected("string", word)?),
    }
    if matches!(line.mode, Mode::FilterTest(_)) {
        line.mode = Mode::FilterTest(Box::new(test));
        return Ok(());
    }
    set(line, Mode::FilterTest(Box::new(test)))
}

pub(super) fn option(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    rest: &[u8],
) -> Result<(), ArgumentError> {
    match rest {
        b"d" => set(line, Mode::Daemon { foreground: false, inherited: None }),
        b"df" => set(line, Mode::Daemon { foreground: true, inherited: None }),
        b"e" => set(line, Mode::ExpandTest { message: None }),
        b"em" => {
            let file = cursor.next_word(word)?;
            set(line, Mode::ExpandTest { message: Some(file) })
        }
        b"h" | b"hc" => {
            let host = cursor.next_word(word)?;
            if crate::mode::origin::host_and_port(&host).is_none() {
                return Err(ArgumentError(format!(
                    "exim abandoned: \"{}\" is not an IP address",
                    String::from_utf8_lossy(&host)
                )));
            }
            set(line, Mode::HostCheck { host, callouts: rest == b"hc" })
        }
        b"i" => set(line, Mode::NewAliases),
        b"m" => set(line, Mode::Receive { explicit: true }),
        b"nq" => {
            line.sending.allow_unqualified = true;
            Ok(())
        }
        b"P" => set(line, Mode::PrintConfig),
        b"pc" => set(line, Mode::CountQueue),
        b"rt" => set(line, Mode::RetryTest),
        b"rw" => set(line, Mode::RewriteTest),
        b"S" => set(line, Mode::BatchSmtp),
        b"s" => set(line, Mode::Smtp { from_inetd: false }),
        b"t" => set(line, Mode::AddressTest),
        b"V" => set(line, Mode::Version),
        b"v" => set(line, Mode::Verify { as_sender: false }),
        b"vs" => set(line, Mode::Verify { as_sender: true }),
        b"F" | b"f" | b"fd" | b"fl" | b"fp" | b"fs" => filter_test(line, cursor, word, rest),
        b"malware" => {
            let file = cursor.next_word(word)?;
            set(line, Mode::MalwareTest { file })
        }
        _ if rest.starts_with(b"I:") => {
            set(line, Mode::Information(rest.get(2..).unwrap_or_default().to_vec()))
        }
        _ if rest.starts_with(b"p") => {
            let listing = queue::listing(rest.get(1..).unwrap_or_default())
                .ok_or_else(|| ArgumentError::unknown(word))?;
            set(line, Mode::ListQueue(listing))
        }
        _ if rest.starts_with(b"w") => {
            let limit = rest.get(1..).unwrap_or_default();
            let seconds = match std::str::from_utf8(limit) {
                Ok("") => 0,
                Ok(text) => {
                    oxim_base::clock::parse_interval(text).ok_or_else(|| ArgumentError::bad_time(word))?
                }
                Err(_) => return Err(ArgumentError::bad_time(word)),
            };
            set(line, Mode::Daemon { foreground: true, inherited: Some(seconds) })
        }
        _ => Err(ArgumentError::unknown(word)),
    }
}
