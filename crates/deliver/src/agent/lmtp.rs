//! LMTP with a command or a Unix socket, as the user of the delivery (manual chapter 28, RFC 2033).
//!
//! The whole dialogue is made here, so that the other end runs as, or is reached by, the right user. Nothing is pipelined:
//! the other end is on this machine. A command gets the dialogue on its standard input and output.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oxim_base::errno::error_text;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::{Connection, SmtpError};
use oxim_net::socket::{ConnectTarget, Socket};
use serde::{Deserialize, Serialize};

use super::job::{JobResult, Trouble};
use crate::transport::error_code;

/// How much of the message is read at a time.
const PIECE_BYTES: u64 = 64 * 1024;

/// Where the other end is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LmtpPeer {
    /// A command: absolute path and arguments.
    Command(Vec<Vec<u8>>),
    /// A socket: its path.
    Socket(Vec<u8>),
}

/// One message over LMTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LmtpJob {
    /// The other end.
    pub peer: LmtpPeer,
    /// The transport's name, for texts.
    pub transport: String,
    /// The argument of LHLO.
    pub lhlo: String,
    /// The whole MAIL command.
    pub mail: Vec<u8>,
    /// The whole RCPT commands.
    pub recipients: Vec<Vec<u8>>,
    /// ` IGNOREQUOTA` is added to RCPT if the server offers it.
    pub ignore_quota: bool,
    /// Limit of each step.
    pub timeout: Duration,
}

/// What the server said about one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LmtpAnswer {
    /// It is delivered: the reply, and the size of the message on the wire.
    Accepted(Vec<u8>, u64),
    /// It never will be: the text.
    Refused(String),
    /// Not now: number, last digits of the reply's code, text.
    Deferred(i32, i32, String),
}

/// Delivers the message; the answers are in the order of the recipients.
pub(super) fn deliver(job: &LmtpJob, message: &mut dyn Read) -> JobResult {
    let (mut connection, child) = match connect(job) {
        Ok(connected) => connected,
        Err(text) => return JobResult::Deferred(Trouble::found(error_code::UNKNOWN, text)),
    };
    let mut answers: Vec<Option<LmtpAnswer>> = vec![None; job.recipients.len()];
    let ended = dialogue(job, &mut connection, message, &mut answers);
    connection.quit(Duration::from_secs(1).min(job.timeout));
    if let Some(child) = child {
        end(child);
    }
    let rest = match ended {
        Ok(()) => LmtpAnswer::Deferred(error_code::UNKNOWN, 0, "LMTP: no answer".to_owned()),
        Err(answer) => answer,
    };
    JobResult::Lmtp(answers.into_iter().map(|answer| answer.unwrap_or_else(|| rest.clone())).collect())
}

fn connect(job: &LmtpJob) -> Result<(Connection, Option<Child>), String> {
    match &job.peer {
        LmtpPeer::Socket(path) => {
            let shown = String::from_utf8_lossy(path);
            let fail = |error: &io::Error| {
                format!(
                    "Failed to connect to socket {shown} for {} transport: {}",
                    job.transport,
                    error_text(error)
                )
            };
            let target = ConnectTarget::unix(OsStr::from_bytes(path).into(), job.timeout);
            let socket = Socket::connect(&target).map_err(|error| fail(&error))?;
            Ok((Connection::over(socket), None))
        }
        LmtpPeer::Command(argv) => {
            let fail = |error: io::Error| {
                format!(
                    "Failed to create child process for {} transport: {}",
                    job.transport,
                    error_text(&error)
                )
            };
            let (ours, theirs) = UnixStream::pair().map_err(fail)?;
            let child = match start(argv, theirs) {
                Ok(child) => Some(child),
                // To Exim a program that is not there is one that ends at once.
                Err(error) if error.raw_os_error().is_some() => None,
                Err(error) => return Err(fail(error)),
            };
            Ok((Connection::over(Socket::from_unix(ours)), child))
        }
    }
}

fn start(argv: &[Vec<u8>], stream: UnixStream) -> io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let stdout = OwnedFd::from(stream.try_clone()?);
    Command::new(OsStr::from_bytes(program))
        .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
        .env_clear()
        .env("PATH", "/bin:/usr/bin")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::null())
        .spawn()
}

/// Gives the command a moment to end by itself.
fn end(mut child: Child) {
    for _ in 0..50 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Ok(group) = i32::try_from(child.id())
        && group > 1
    {
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _status = child.wait();
}

/// What an ended connection means for those that have no answer.
fn broken(error: &SmtpError) -> LmtpAnswer {
    let phase = error.phase().map(|phase| phase.command.clone()).unwrap_or_default();
    let after = if phase.is_empty() { "end of data".to_owned() } else { phase };
    let text = match error {
        SmtpError::Timeout { .. } => format!("LMTP timeout after {after}"),
        SmtpError::Closed { .. } => format!("LMTP connection closed after {after}"),
        SmtpError::LocalArgument { .. }
        | SmtpError::LocalSource(_)
        | SmtpError::Connect(_)
        | SmtpError::PeerMalformed { .. }
        | SmtpError::PeerInjected
        | SmtpError::Tls(_) => format!("LMTP: {error}"),
    };
    LmtpAnswer::Deferred(error_code::UNKNOWN, 0, text)
}

fn refused(after: &str, reply: &Reply, code: i32) -> LmtpAnswer {
    let text = format!("LMTP error after {after}: {reply}");
    if reply.is_permanent() {
        LmtpAnswer::Refused(text)
    } else {
        LmtpAnswer::Deferred(code, i32::from(reply.code % 100) << 8, text)
    }
}

/// The error is for all that have no answer yet.
fn dialogue(
    job: &LmtpJob,
    connection: &mut Connection,
    message: &mut dyn Read,
    answers: &mut [Option<LmtpAnswer>],
) -> Result<(), LmtpAnswer> {
    let limit = job.timeout;
    let fine = |reply: Result<Reply, SmtpError>, after: &str, code: i32| match reply {
        Ok(reply) if reply.is_success() => Ok(()),
        Ok(reply) => Err(refused(after, &reply, code)),
        Err(error) => Err(broken(&error)),
    };
    fine(connection.read_banner(limit), "initial connection", error_code::UNKNOWN)?;
    fine(connection.lhlo(&job.lhlo, limit), &format!("LHLO {}", job.lhlo), error_code::UNKNOWN)?;
    let ignore_quota = job.ignore_quota && connection.extensions().ignore_quota;
    let mail = String::from_utf8_lossy(&job.mail).into_owned();
    fine(connection.command(&mail, limit), &mail, error_code::MAIL_4XX)?;
    let mut accepted = Vec::new();
    for (index, (recipient, answer)) in job.recipients.iter().zip(answers.iter_mut()).enumerate() {
        let mut command = String::from_utf8_lossy(recipient).into_owned();
        if ignore_quota {
            command.push_str(" IGNOREQUOTA");
        }
        let reply = connection.command(&command, limit).map_err(|error| broken(&error))?;
        if reply.is_success() {
            accepted.push(index);
        } else {
            *answer = Some(refused(&command, &reply, error_code::RCPT_4XX));
        }
    }
    if accepted.is_empty() {
        return Ok(());
    }
    let reply = connection.command("DATA", limit).map_err(|error| broken(&error))?;
    if !reply.is_intermediate() {
        return Err(refused("DATA", &reply, error_code::DATA_4XX));
    }
    let sent = connection
        .send_data(limit, |piece| Ok(message.take(PIECE_BYTES).read_to_end(piece)? > 0))
        .map_err(|error| broken(&error))?;
    for index in accepted {
        let reply = connection.read_reply(limit).map_err(|error| broken(&error))?;
        let answer = if reply.is_success() {
            LmtpAnswer::Accepted(reply.to_text(), sent.bytes)
        } else {
            refused("end of data", &reply, error_code::DATA_4XX)
        };
        if let Some(place) = answers.get_mut(index) {
            *place = Some(answer);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(script: &str, recipients: &[&str]) -> LmtpJob {
        LmtpJob {
            peer: LmtpPeer::Command(
                ["/bin/sh", "-c", script].iter().map(|w| w.as_bytes().to_vec()).collect(),
            ),
            transport: "t".to_owned(),
            lhlo: "me.ex".to_owned(),
            mail: b"MAIL FROM:<a@s.ex>".to_vec(),
            recipients: recipients.iter().map(|r| format!("RCPT TO:<{r}>").into_bytes()).collect(),
            ignore_quota: true,
            timeout: Duration::from_secs(1),
        }
    }

    fn answers(script: &str, recipients: &[&str]) -> Vec<LmtpAnswer> {
        let result = deliver(&job(script, recipients), &mut &b"Subject: x\n\n.dot\n"[..]);
        let JobResult::Lmtp(answers) = result else { panic!("{result:?}") };
        answers
    }

    #[test]
    fn each_recipient_has_its_answer() {
        let script = "echo 220 x; read l; echo 250-x; echo 250 IGNOREQUOTA; read l; echo 250 a; read l; echo 250 b; read l; \
            echo 550 no; read l; echo 250 c; read l; echo 354 go; while read l; do case \"$l\" in .?) break;; esac; done; \
            echo 250 in; echo 452 full; read l";
        let got = answers(script, &["b@t.ex", "n@t.ex", "c@t.ex"]);
        assert_eq!(got.first().unwrap(), &LmtpAnswer::Accepted(b"250 in".to_vec(), 24));
        let text = "LMTP error after RCPT TO:<n@t.ex> IGNOREQUOTA: 550 no".to_owned();
        assert_eq!(got.get(1).unwrap(), &LmtpAnswer::Refused(text));
        assert_eq!(
            got.get(2).unwrap(),
            &LmtpAnswer::Deferred(-46, 52 << 8, "LMTP error after end of data: 452 full".to_owned())
        );
    }

    #[test]
    fn what_goes_wrong_is_said_as_observed() {
        let defer =
            |code: i32, more: i32, text: &str| vec![LmtpAnswer::Deferred(code, more, text.to_owned())];
        let one = |script: &str| answers(script, &["b@t.ex"]);
        assert_eq!(one("true"), defer(-1, 0, "LMTP connection closed after initial connection"));
        assert_eq!(one("sleep 3"), defer(-1, 0, "LMTP timeout after initial connection"));
        assert_eq!(one("echo 421 busy"), defer(-1, 21 << 8, "LMTP error after initial connection: 421 busy"));
        assert_eq!(
            one("echo 554 never"),
            [LmtpAnswer::Refused("LMTP error after initial connection: 554 never".to_owned())]
        );
        let mail = one("echo 220 x; read l; echo 250 x; read l; echo 451 no; read l");
        assert_eq!(mail, defer(-45, 51 << 8, "LMTP error after MAIL FROM:<a@s.ex>: 451 no"));
        let mut absent = job("", &["b@t.ex"]);
        absent.peer = LmtpPeer::Socket(b"/nonexistent/socket".to_vec());
        let JobResult::Deferred(trouble) = deliver(&absent, &mut &b""[..]) else { panic!("no trouble") };
        assert_eq!(
            trouble.text,
            "Failed to connect to socket /nonexistent/socket for t transport: No such file or directory"
        );
    }
}
