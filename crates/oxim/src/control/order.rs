//! Orders: what a caller without rights to the spool has the daemon do: list the queue, act on messages, try them again.
//!
//! The daemon gets the words of the command line and the caller's standard output and standard error. It reads the words for
//! itself, asks the kernel who is calling, and applies the options that say who may do what (`admin_groups`,
//! `queue_list_requires_admin`, `prod_requires_admin`). A command line that says anything beside the order is no order.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use oxim_base::errno::error_text;
use oxim_lang::config::Config;

use crate::args::{self, CommandLine, MessageAction, MessageCommand, Mode, QueueRun};
use crate::mode::queue::Wish;
use crate::tool::exipick::options::Options;
use crate::{daemon, privilege, tool};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// A process of the Exim user does it: the words of its command line, the program's name first.
    Process(Vec<Vec<u8>>),
    /// Messages are tried, or given up.
    Deliver(MessageCommand),
    /// The queue is run.
    Run(QueueRun),
}

/// An order.
#[derive(Debug)]
pub(crate) struct Order {
    /// What is to be done.
    pub task: Task,
    /// The mode of Exim's that needs the same rights.
    mode: Mode,
    need: Need,
}

/// What rights an order needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Those of its mode.
    OfMode,
    /// An admin user: it shows or chooses by more than the listing of the queue tells.
    Admin,
    /// An admin user; others are refused without a word, as Exim does with `-z`.
    AdminInSilence,
}

impl Need {
    /// That of a listing, which may say no more than `-bp` does.
    fn of_list(is_plain: bool) -> Need {
        if is_plain { Need::OfMode } else { Need::Admin }
    }
}

impl Order {
    /// Reads the words of a command line, the program's name first. None: this is no order.
    pub(crate) fn of(words: &[Vec<u8>]) -> Option<Order> {
        let (path, rest) = words.split_first()?;
        let name = path.rsplit(|b| *b == b'/').next()?.to_vec();
        let process = || Task::Process(std::iter::once(name.clone()).chain(rest.iter().cloned()).collect());
        match (name.as_slice(), rest.split_first()) {
            (b"oxim", Some((first, rest))) if first == b"queue" => {
                let wish = Wish::read(rest).ok().filter(|wish| !wish.names_configuration())?;
                let (mode, need) = (wish.line().mode, Need::of_list(wish.is_plain_list()));
                Some(Order { task: process(), mode, need })
            }
            (b"exipick", _) => {
                let options = Options::read(rest).ok().filter(Options::stays_in_queue)?;
                let mode = Mode::ListQueue(args::Listing::default());
                Some(Order { task: process(), mode, need: Need::of_list(options.is_plain_list()) })
            }
            // Another companion would take the options of a listing for its own.
            _ if tool::is_companion(&name) => None,
            _ => {
                let all = words.iter().cloned().map(OsString::from_vec);
                let line = CommandLine { verbose: false, ..args::parse(all).ok()? };
                let task = match &line.mode {
                    _ if line.log_line.is_some() => process(),
                    Mode::Message(command) if delivers(command.action) => Task::Deliver(command.clone()),
                    Mode::Message(_) | Mode::ListQueue(_) | Mode::CountQueue => process(),
                    Mode::QueueRun => Task::Run(line.queue_run.clone().filter(|run| run.interval.is_none())?),
                    _other => return None,
                };
                let mode = line.mode.clone();
                let said = CommandLine {
                    mode: mode.clone(),
                    queue_run: line.queue_run.clone(),
                    log_line: line.log_line.clone(),
                    arguments: line.arguments.clone(),
                    ..CommandLine::default()
                };
                let need = if line.log_line.is_some() { Need::AdminInSilence } else { Need::OfMode };
                (line == said).then_some(Order { task, mode, need })
            }
        }
    }

    /// Why a user with these groups may not give it: what they are told.
    pub(crate) fn refusal(&self, config: &Config, uid: u32, groups: &[u32]) -> Option<&'static str> {
        if privilege::is_admin_with(config, uid, groups) {
            return None;
        }
        match self.need {
            Need::OfMode => privilege::reserved(config, &self.mode),
            Need::Admin => privilege::reserved(config, &self.mode).or(Some("exim: permission denied")),
            Need::AdminInSilence => Some(""),
        }
    }
}

/// Whether an action makes delivery attempts, which take agents of all users.
pub(crate) fn delivers(action: MessageAction) -> bool {
    matches!(action, MessageAction::Deliver | MessageAction::DeliverForced | MessageAction::GiveUp)
}

/// Has the daemon do it, and returns the exit code. None: this is no order, or no daemon answers.
pub(crate) fn give(words: &[OsString], spool: Option<&Path>) -> Option<u8> {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    Order::of(&words)?;
    let socket = super::client::connect(spool).ok()?;
    let code = exchange(&words, socket).unwrap_or_else(|error| {
        complain!("exim: the daemon did not do it: {}", error_text(&error));
        1
    });
    Some(code)
}

fn exchange(words: &[Vec<u8>], mut socket: UnixStream) -> io::Result<u8> {
    let request = postcard::to_stdvec(words).map_err(io::Error::other)?;
    socket.write_all(&[format!("OBEY {}\n", request.len()).as_bytes(), &request].concat())?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    answers.read_line(&mut line)?;
    match line.trim_end().split_once(' ') {
        None if line.trim_end() == "GO" => {}
        None if line.trim_end() == "DENIED" => return Ok(1),
        Some(("DENIED", text)) => {
            complain!("{text}");
            return Ok(1);
        }
        Some(("NO", reason)) => return Err(io::Error::other(reason.to_owned())),
        _ => return Err(io::Error::other("it gave no answer")),
    }
    let (out, error) = (io::stdout(), io::stderr());
    daemon::descriptors::send(&socket, b"F", &[out.as_fd(), error.as_fd()])?;
    line.clear();
    answers.read_line(&mut line)?;
    line.trim_end().parse().map_err(|_| io::Error::other("it ended before it answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Option<Order> {
        Order::of(&text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn orders_say_nothing_else() {
        for text in [
            "exim -bp",
            "exim -v -bpc",
            "/usr/bin/mailq",
            "exim -Mrm 1xUbRL-0004r9-33",
            "oxim queue show",
            "exipick -i",
            "exim -z note",
        ] {
            assert!(matches!(order(text).unwrap().task, Task::Process(_)), "{text}");
        }
        for text in ["exim -M 1xUbRL-0004r9-33", "exim -Mg 1xUbRL-0004r9-33"] {
            assert!(matches!(order(text).unwrap().task, Task::Deliver(_)), "{text}");
        }
        for text in ["exim -qff", "exim -R x", "runq"] {
            assert!(matches!(order(text).unwrap().task, Task::Run(_)), "{text}");
        }
        for text in [
            "exim -C /tmp/x -bp",
            "exim -DX=1 -bp",
            "exim -d -bp",
            "exim -N -qff",
            "exim -q30m",
            "exim -be 1",
            "exim a@b",
            "oxim queue -C /tmp/x",
            "oxim check /tmp/x",
            "exipick --freeze /tmp/x",
            "exipick --spool /tmp",
            "exipick --input-dir ../x",
            "exinext -bp",
        ] {
            assert!(order(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_a_listing_does_not_tell_is_for_admin_users() {
        let text = b"queue_list_requires_admin = false\n";
        let config =
            oxim_lang::config::read_bytes("test.conf", text, &[], &crate::assemble::catalogue()).unwrap();
        let nobody = |text: &str| order(text).unwrap().refusal(&config, 65534, &[65534]);
        for text in ["exim -bp", "oxim queue", "oxim queue list --json", "exipick", "exipick -bpu"] {
            assert_eq!(nobody(text), None, "{text}");
        }
        for text in [
            "exim -Mvh 1xUbRL-0004r9-33",
            "exim -q",
            "oxim queue show",
            "oxim queue x=y",
            "exipick --show-vars=^h_",
            "exipick x",
            "exim -z note",
            "exim -bp -z note",
        ] {
            assert!(nobody(text).is_some(), "{text}");
        }
    }
}
