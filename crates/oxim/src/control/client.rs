//! Submission through the daemon, for a caller that may not write to the spool.
//!
//! Failure modes: no daemon, or one that refuses: exit code 75 (EX_TEMPFAIL), a line on standard error, and nothing has been
//! accepted. A daemon that goes away before it answers leaves it open whether the message was accepted; that is exit code 75 too.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use oxim_base::errno::error_text;
use rustix::fs::{Access, AtFlags};

use super::request::{CHUNK_BYTES_MAX, Kind, Submission, write_chunk};
use crate::args::CommandLine;
use crate::assemble::DEFAULT_FILES;

/// `EX_TEMPFAIL` of sysexits.h: try again later.
const TRY_AGAIN: u8 = 75;

/// Whether this process may put messages into the spool. The first message makes the folders that are missing.
pub(crate) fn may_write(spool: &Path) -> bool {
    write_access(spool).is_ok()
}

fn write_access(spool: &Path) -> std::io::Result<()> {
    let input = spool.join("input");
    let how = Access::WRITE_OK | Access::EXEC_OK;
    let nearest = input.ancestors().find_map(|folder| {
        match rustix::fs::accessat(rustix::fs::CWD, folder, how, AtFlags::EACCESS) {
            Err(rustix::io::Errno::NOENT) => None,
            answer => Some(answer),
        }
    });
    nearest.unwrap_or(Err(rustix::io::Errno::NOENT)).map_err(Into::into)
}

/// Whether the default configuration is there and kept from this caller, who then can only submit.
pub(crate) fn is_configuration_closed(line: &CommandLine) -> bool {
    line.config_files.is_none()
        && DEFAULT_FILES.split(':').find_map(|file| match std::fs::File::open(file) {
            Ok(_) => Some(false),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(true),
            Err(_) => None,
        }) == Some(true)
}

/// A connection to the daemon; `spool` is known if the configuration could be read.
///
/// # Errors
/// None answers: where it should be.
pub(super) fn connect(spool: Option<&Path>) -> Result<UnixStream, String> {
    let paths: Vec<PathBuf> = spool.map(super::path).into_iter().chain([super::public_path()]).collect();
    paths
        .iter()
        .find_map(|path| UnixStream::connect(path).ok())
        .ok_or_else(|| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "))
}

/// Submits what is on standard input. `spool` is known if the configuration could be read.
pub(crate) fn submit(submission: &Submission, spool: Option<&Path>) -> u8 {
    let socket = match connect(spool) {
        Ok(socket) => socket,
        Err(places) => {
            let why = spool.and_then(|spool| write_access(spool).err());
            let why = why.map_or_else(String::new, |error| format!(" ({})", error_text(&error)));
            complain!(
                "exim: the message has not been accepted: this user cannot write to the spool{why}, and no daemon answers at {places}"
            );
            return TRY_AGAIN;
        }
    };
    match exchange(submission, socket) {
        Ok(code) => code,
        Err(error) => {
            complain!("exim: the message could not be submitted to the daemon: {}", error_text(&error));
            TRY_AGAIN
        }
    }
}

fn exchange(submission: &Submission, mut socket: UnixStream) -> io::Result<u8> {
    let request = postcard::to_stdvec(submission).map_err(io::Error::other)?;
    let mut bytes = format!("SUBMIT {}\n", request.len()).into_bytes();
    bytes.extend_from_slice(&request);
    socket.write_all(&bytes)?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut first = String::new();
    answers.read_line(&mut first)?;
    if first.trim_end() != "GO" {
        let reason = first.trim_end();
        return Err(io::Error::other(reason.strip_prefix("NO ").unwrap_or("it gave no answer").to_owned()));
    }
    let is_dialogue = submission.kind == Kind::Dialogue;
    // The answer may come before standard input ends: after a line with a dot, or with an error.
    std::thread::Builder::new().name("standard input".to_owned()).spawn(move || pump(socket, is_dialogue))?;
    if is_dialogue {
        let mut stdout = io::stdout().lock();
        copy_at_once(&mut answers, &mut stdout)?;
        return Ok(0);
    }
    conclude(&mut answers)
}

/// Standard input to the daemon.
fn pump(mut socket: UnixStream, is_dialogue: bool) {
    let mut input = io::stdin().lock();
    if is_dialogue {
        if copy_at_once(&mut input, &mut socket).is_ok() {
            let _ = socket.shutdown(Shutdown::Write);
        }
        return;
    }
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    loop {
        match input.read(&mut buffer) {
            Ok(count) => {
                let sent = write_chunk(&mut socket, buffer.get(..count).unwrap_or_default());
                if count == 0 || sent.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Without the last chunk the daemon takes nothing.
            Err(error) => {
                complain!("exim: error reading standard input: {}", error_text(&error));
                let _ = socket.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}

/// Copies without waiting for more than there is.
fn copy_at_once(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(buffer.get(..count).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `<exit code> <bytes for standard output> <bytes for standard error>`, then those.
fn conclude(answers: &mut impl BufRead) -> io::Result<u8> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [code, output, error] = numbers.as_slice() else {
        return Err(io::Error::other("it ended before it answered"));
    };
    io::copy(&mut answers.take(*output), &mut io::stdout().lock())?;
    io::copy(&mut answers.take(*error), &mut io::stderr().lock())?;
    Ok(u8::try_from(*code).unwrap_or(1))
}
