//! Exim's command line (manual chapter 5), read into one value before anything else happens.
//!
//! Bytes are kept as the operating system gave them. An option that Oxim does not have yet is an error that says so;
//! options that Exim itself ignores (`-n`, `-x`, `-B7`…) are listed in `ignored.rs` and pass.

mod ignored;
mod message;
mod mode;
mod origin;
mod queue;
mod short;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

pub(crate) use message::{MessageAction, MessageCommand};
pub(crate) use mode::{FilterTest, Mode};
pub(crate) use origin::{DeliveryMode, ErrorReport, Origin, Sending};
pub(crate) use queue::{Listing, QueueRun, Selection};

/// Everything that a command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// What is to be done.
    pub mode: Mode,
    /// `-bd` and kin can go together with `-q…`.
    pub queue_run: Option<QueueRun>,
    /// Configuration file names from `-C`, in order.
    pub config_files: Option<Vec<Vec<u8>>>,
    /// `-D` macros.
    pub macros: Vec<(String, Vec<u8>)>,
    /// `-d`: the mask, if debugging was asked for.
    pub debug: Option<u64>,
    /// `-v`.
    pub verbose: bool,
    /// `-N`: nothing is delivered really.
    pub dont_deliver: bool,
    /// `-n`: with `-bP`, names are left out.
    pub no_names: bool,
    /// `-ps`, `-pd`: the Perl interpreter is started at once, or when it is needed, whatever `perl_at_start` says.
    pub perl_at_start: Option<bool>,
    /// Where the message comes from (`-f`, `-F`, `-oM…`).
    pub origin: Origin,
    /// How a message is taken and sent on (`-t`, `-i`, `-od…`, `-oe…`).
    pub sending: Sending,
    /// `-oX`: ports and interfaces of the daemon.
    pub listen: Option<Vec<u8>>,
    /// `-oP`: the daemon's pid file.
    pub pid_file: Option<Vec<u8>>,
    /// `-oPX`: the daemon's pid file is to be deleted.
    pub delete_pid_file: bool,
    /// `-tls-on-connect`: TLS comes before the greeting on every port.
    pub tls_on_connect: bool,
    /// `-L`: the name in syslog lines.
    pub syslog_name: Option<Vec<u8>>,
    /// `-oA`: argument for `bi_command`.
    pub alias_file: Option<Vec<u8>>,
    /// `-or`: time limit of reading a message that is not SMTP.
    pub receive_timeout: Option<Duration>,
    /// `-os`: time limit of waiting for an SMTP command.
    pub smtp_receive_timeout: Option<Duration>,
    /// `-z`: a line for the main log.
    pub log_line: Option<Vec<u8>>,
    /// `-Mset`: the message that `-be` loads.
    pub loaded_message: Option<Vec<u8>>,
    /// What follows the options: recipients, addresses to test, strings to expand, option names.
    pub arguments: Vec<Vec<u8>>,
}

impl CommandLine {
    /// One that says nothing but which configuration file to read; none: the usual one, or that of the daemon that this
    /// process works for.
    pub(crate) fn of_configuration(file: Option<&[u8]>) -> CommandLine {
        crate::privilege::under_daemon(CommandLine {
            config_files: file.map(|file| vec![file.to_vec()]),
            ..CommandLine::default()
        })
    }
}

/// Why a command line was not understood. The text is what is printed; the exit code is always 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArgumentError(pub String);

impl ArgumentError {
    /// Exim's words for an option that it does not know.
    fn unknown(option: &[u8]) -> ArgumentError {
        ArgumentError(format!(
            "exim abandoned: unknown, malformed, or incomplete option {}",
            String::from_utf8_lossy(option)
        ))
    }

    /// What one process of Exim says to another: nobody else has a use for it, and these processes have none.
    fn internal_to_exim(option: &[u8]) -> ArgumentError {
        ArgumentError(format!(
            "exim abandoned: {} is for Exim's own processes, of which there are none here",
            String::from_utf8_lossy(option)
        ))
    }

    /// A time that is none.
    fn bad_time(option: &[u8]) -> ArgumentError {
        ArgumentError(format!("exim: bad time value {}: abandoned", String::from_utf8_lossy(option)))
    }

    /// Options that make no sense together.
    fn incompatible() -> ArgumentError {
        ArgumentError("exim: incompatible command-line options or arguments".to_owned())
    }

    /// An option whose value is missing; `what` is the kind of value.
    fn missing(what: &str, option: &[u8]) -> ArgumentError {
        ArgumentError(format!("exim: {what} expected after {}", String::from_utf8_lossy(option)))
    }
}

/// The options, taken one by one.
struct Cursor {
    words: std::vec::IntoIter<Vec<u8>>,
}

impl Cursor {
    /// What is left of the option's own word, or the next word.
    fn value(&mut self, option: &[u8], rest: &[u8]) -> Result<Vec<u8>, ArgumentError> {
        if rest.is_empty() {
            self.words.next().ok_or_else(|| ArgumentError::unknown(option))
        } else {
            Ok(rest.to_vec())
        }
    }

    /// The next word, or Exim's words for its absence.
    fn expected(&mut self, what: &str, option: &[u8]) -> Result<Vec<u8>, ArgumentError> {
        self.words.next().ok_or_else(|| ArgumentError::missing(what, option))
    }

    /// The next word, which must be there.
    fn next_word(&mut self, option: &[u8]) -> Result<Vec<u8>, ArgumentError> {
        self.words.next().ok_or_else(|| ArgumentError::unknown(option))
    }
}

/// Reads a command line. The first word is the name that the program was called by.
///
/// # Errors
/// The text to print.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<CommandLine, ArgumentError> {
    let mut words: Vec<Vec<u8>> = words.into_iter().map(OsString::into_vec).collect();
    let name = if words.is_empty() { Vec::new() } else { words.remove(0) };
    let mut line = CommandLine::default();
    mode::from_program_name(&mut line, &name);
    let mut cursor = Cursor { words: words.into_iter() };
    while let Some(word) = cursor.words.next() {
        if word == b"--" {
            line.arguments.extend(cursor.words.by_ref());
        } else if word.starts_with(b"-") {
            option(&mut line, &mut cursor, &word)?;
        } else {
            line.arguments.push(word);
            // Options may not follow the first address; Exim takes them as addresses.
            line.arguments.extend(cursor.words.by_ref());
        }
    }
    check(&mut line)?;
    Ok(line)
}

fn option(line: &mut CommandLine, cursor: &mut Cursor, word: &[u8]) -> Result<(), ArgumentError> {
    let body = word.strip_prefix(b"-").unwrap_or(word);
    // GNU-style spellings of a few options.
    let body = match body {
        b"-help" => return mode::set(line, Mode::Help),
        b"-version" => return mode::set(line, Mode::Version),
        b"-usage" => return mode::set(line, Mode::Help),
        other => other,
    };
    let (first, rest) = body.split_first().ok_or_else(|| ArgumentError::unknown(word))?;
    // Programs call `-eq` and the like, without the letter that Sendmail has in front.
    if *first == b'e' && !rest.is_empty() {
        return origin::option(line, cursor, word, body);
    }
    match first {
        b'b' => mode::option(line, cursor, word, rest),
        b'M' => message::option(line, cursor, word, rest),
        b'o' => origin::option(line, cursor, word, rest),
        b'q' | b'R' | b'S' => queue::option(line, cursor, word, *first, rest),
        _ if ignored::is_ignored(body) => ignored::skip_value(cursor, word, body),
        _ => short::option(line, cursor, word, *first, rest),
    }
}

/// Combinations that make no sense together, and command lines that ask for nothing.
fn check(line: &mut CommandLine) -> Result<(), ArgumentError> {
    let runs_queue = line.queue_run.is_some();
    // Beside a mode, `-qG<name>` alone chooses a queue.
    let only_names_queue = line.queue_run.as_ref().is_some_and(|run| {
        *run == QueueRun { queue_name: run.queue_name.clone(), ..QueueRun::default() }
            && !run.queue_name.is_empty()
    });
    let with_queue_run = matches!(line.mode, Mode::Daemon { inherited: None, .. } | Mode::QueueRun)
        || only_names_queue && matches!(line.mode, Mode::ListQueue(_) | Mode::CountQueue | Mode::Message(_));
    let wants_no_arguments = matches!(
        line.mode,
        Mode::Daemon { .. } | Mode::HostCheck { .. } | Mode::QueueRun | Mode::NewAliases | Mode::BatchSmtp
    );
    // The sender is said in the dialogue.
    let wants_no_sender = matches!(line.mode, Mode::Daemon { .. } | Mode::Smtp { .. } | Mode::BatchSmtp);
    let interval = line.queue_run.as_ref().is_some_and(|q| q.interval.is_some());
    let bad = (runs_queue && !with_queue_run)
        || (wants_no_arguments && !line.arguments.is_empty())
        || (wants_no_sender && line.origin.sender.is_some())
        || (matches!(line.mode, Mode::Daemon { .. }) && runs_queue && !interval)
        || (line.loaded_message.is_some() && !matches!(line.mode, Mode::ExpandTest { message: None }))
        || (line.sending.extract_recipients
            && !matches!(line.mode, Mode::Receive { .. } | Mode::ExpandTest { .. }));
    if bad {
        return Err(ArgumentError::incompatible());
    }
    let asks_for_nothing = matches!(line.mode, Mode::Receive { .. })
        && line.arguments.is_empty()
        && !line.sending.extract_recipients
        && !line.delete_pid_file
        && line.log_line.is_none();
    if asks_for_nothing {
        line.mode = Mode::Usage;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
