//! Verdicts by the Brightmail client library, which lives in processes of its own (`oxim-brightmail`).
//!
//! A process does one job at a time and is kept for the next; whatever goes wrong with it, it is ended. The language of the
//! pipe is [`oxim_brightmail::wire`]. Failure modes: the program or the library is not there, the library says no, hangs,
//! takes its process down, or says what cannot be: the scan fails with a text for the log.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_base::limits::BMI_VERDICTS_BYTES_MAX;
use oxim_brightmail::wire::{self, Ask, Failure, Tell};
use oxim_lang::bmi::{Destination, Verdict};
use oxim_net::socket::Socket;
use parking_lot::Mutex;

use super::configuration::{LibrarySettings, Version};
use super::{OnFailure, Question, VerdictEngine, own_failure};

/// The program that loads the library.
const PROGRAM: &str = "oxim-brightmail";
/// Where it is installed.
const FOLDERS: &[&str] = &["/usr/lib/oxim", "/usr/libexec/oxim", "/usr/local/lib/oxim"];
/// Most processes that wait for work.
const IDLE_MAX: usize = 8;
/// A process is replaced after so many jobs: what the library forgets to free is bounded.
const JOBS_MAX: u32 = 500;
/// Most verdicts about one message.
const VERDICTS_MAX: usize = 100_000;
/// Most warnings about one message.
const WARNINGS_MAX: usize = 1000;
/// The process ends itself so much after the time that it is given: it is killed before that, unless we are gone.
const GRACE: Duration = Duration::from_secs(5);

/// The engine.
pub struct ClientLibrary {
    settings: LibrarySettings,
    idle: Mutex<Vec<Worker>>,
}

/// A process with the library in it.
struct Worker {
    child: Child,
    socket: Socket,
    jobs: u32,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Where the program is: in one of its folders, else beside this program.
fn program() -> PathBuf {
    let installed =
        FOLDERS.iter().map(|folder| PathBuf::from(folder).join(PROGRAM)).find(|path| path.exists());
    // A set-user-id program may have been linked to anywhere.
    let is_plain = rustix::process::getuid() == rustix::process::geteuid();
    let beside = || Some(std::env::current_exe().ok().filter(|_| is_plain)?.parent()?.join(PROGRAM));
    installed.or_else(beside).unwrap_or_else(|| PathBuf::from(PROGRAM))
}

/// The job could not be done by this process: it is of no more use.
struct Broken(io::Error);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken(error)
    }
}

fn lie(what: &'static str) -> Broken {
    Broken(io::Error::new(io::ErrorKind::InvalidData, what))
}

impl ClientLibrary {
    /// An engine with these settings.
    #[must_use]
    pub fn new(settings: LibrarySettings) -> ClientLibrary {
        ClientLibrary { settings, idle: Mutex::new(Vec::new()) }
    }

    fn start(&self) -> Result<Worker, Failure> {
        let program = self.settings.program.clone().unwrap_or_else(program);
        let failed = |error: &io::Error| {
            let what = format!("({}: {})", program.display(), error_text(error));
            own_failure(format!("could not initialize Brightmail system. {what}"))
        };
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        let output = theirs.try_clone().map_err(|error| failed(&error))?;
        let mut command = Command::new(&program);
        command.env_clear().current_dir("/").arg("--library").arg(&self.settings.library);
        for library in &self.settings.load_first {
            command.arg("--first").arg(library);
        }
        match &self.settings.version {
            Version::Number(number) => command.arg("--version-number").arg(number.to_string()),
            Version::Text(text) => command.arg("--version-text").arg(text),
        };
        command.arg("--configuration").arg(&self.settings.configuration);
        let limit = self.settings.timeout.saturating_add(GRACE).as_secs();
        command.arg("--limit").arg(limit.to_string());
        let child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        Ok(Worker { child, socket: Socket::from_unix(ours), jobs: 0 })
    }

    /// Has a job done, by a process that is there or by a new one.
    fn job<R>(&self, work: impl Fn(&mut Socket) -> Result<R, Broken>) -> Result<R, Failure> {
        let waiting = self.idle.lock().pop();
        let (mut worker, was_waiting) = match waiting {
            Some(worker) => (worker, true),
            None => (self.start()?, false),
        };
        let result = self.one(&mut worker, &work);
        // One that has waited may have been ended meanwhile, for no fault of this message.
        let result = match result {
            Err(Broken(error)) if was_waiting && is_gone(&error) => {
                worker = self.start()?;
                self.one(&mut worker, &work)
            }
            result => result,
        };
        match result {
            Ok(result) => {
                self.keep(worker);
                Ok(result)
            }
            Err(Broken(error)) => {
                let what = if error.kind() == io::ErrorKind::TimedOut {
                    "no answer in time".to_owned()
                } else if is_gone(&error) {
                    "its process has ended".to_owned()
                } else {
                    error_text(&error)
                };
                Err(own_failure(format!("the Brightmail client library has failed: {what}")))
            }
        }
    }

    fn one<R>(
        &self,
        worker: &mut Worker,
        work: &impl Fn(&mut Socket) -> Result<R, Broken>,
    ) -> Result<R, Broken> {
        worker.jobs = worker.jobs.saturating_add(1);
        worker.socket.begin_step(self.settings.timeout);
        let result = work(&mut worker.socket)?;
        // Whoever speaks without being asked will not be understood the next time.
        if worker.socket.has_input() { Err(lie("more than an answer")) } else { Ok(result) }
    }

    fn keep(&self, worker: Worker) {
        let mut idle = self.idle.lock();
        if worker.jobs < JOBS_MAX && idle.len() < IDLE_MAX {
            idle.push(worker);
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Gives the whole message away.
fn send(socket: &mut Socket, question: &Question<'_>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 * 1024, socket);
    let client = question.client.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string());
    Ask::Client(client.into_bytes()).write(&mut out)?;
    Ask::From(question.sender.to_vec()).write(&mut out)?;
    for (address, opt_in) in &question.recipients {
        if let Some(text) = opt_in {
            Ask::OptIn(text.to_vec()).write(&mut out)?;
        }
        Ask::To(address.to_vec()).write(&mut out)?;
    }
    for header in question.headers.iter_live() {
        Ask::Header(header.text.clone()).write(&mut out)?;
    }
    let mut body = question.body.reader();
    loop {
        let mut piece = Vec::new();
        if (&mut body).take(PIECE_BYTES).read_to_end(&mut piece)? == 0 {
            break;
        }
        Ask::Body(piece).write(&mut out)?;
    }
    Ask::Scan.write(&mut out)?;
    out.flush()
}

/// Pieces of the body, in bytes.
const PIECE_BYTES: u64 = 4096;

/// What a scan has come to.
type Scanned = (Result<Vec<Vec<u8>>, Failure>, Vec<Failure>);

/// Reads the answer to a scan.
fn verdicts(input: &mut impl Read) -> Result<Scanned, Broken> {
    let mut input = BufReader::new(input);
    let (mut texts, mut warnings, mut total) = (Vec::new(), Vec::new(), 0_usize);
    let mut failure = None;
    loop {
        match Tell::read(&mut input, BMI_VERDICTS_BYTES_MAX)? {
            Tell::Verdict(text) => {
                total = total.saturating_add(text.len());
                if texts.len() >= VERDICTS_MAX || total > BMI_VERDICTS_BYTES_MAX {
                    return Err(lie("too many verdicts"));
                }
                texts.push(text);
            }
            Tell::Warning(warning) if warnings.len() < WARNINGS_MAX => warnings.push(warning),
            Tell::Failed(told) if failure.is_none() => failure = Some(told),
            Tell::End if input.buffer().is_empty() => return Ok((failure.map_or(Ok(texts), Err), warnings)),
            Tell::Warning(_)
            | Tell::Failed(_)
            | Tell::End
            | Tell::Recipient(_)
            | Tell::Destination(_)
            | Tell::Fired(_)
            | Tell::Tracker(_) => return Err(lie("an answer to something else")),
        }
    }
}

/// Reads what a verdict says. The inner error: it is none.
fn verdict(
    input: &mut impl Read,
    text: &[u8],
    rules: &[u32],
) -> Result<(Result<Verdict, Failure>, Vec<Failure>), Broken> {
    let mut input = BufReader::new(input);
    let mut verdict = Verdict { text: text.to_vec(), ..Verdict::default() };
    let (mut failure, mut warnings, mut total) = (None, Vec::new(), 0_usize);
    loop {
        let tell = Tell::read(&mut input, BMI_VERDICTS_BYTES_MAX)?;
        match tell {
            Tell::Recipient(address) => {
                total = total.saturating_add(address.len()).saturating_add(1);
                if total > BMI_VERDICTS_BYTES_MAX {
                    return Err(lie("too many recipients"));
                }
                verdict.recipients.push(address);
            }
            Tell::Destination(place) => {
                verdict.destination = match place {
                    wire::Destination::Default => Destination::Default,
                    wire::Destination::Nowhere => Destination::Nowhere,
                    wire::Destination::Elsewhere(text) => Destination::Elsewhere(text),
                }
            }
            Tell::Fired(rule) if rules.contains(&rule) && !verdict.rules.contains(&rule) => {
                verdict.rules.push(rule);
            }
            Tell::Tracker(text) => verdict.tracker = text,
            Tell::Warning(warning) if warnings.is_empty() => warnings.push(warning),
            Tell::Failed(told) if failure.is_none() => failure = Some(told),
            Tell::End if input.buffer().is_empty() => {
                return Ok((failure.map_or(Ok(verdict), Err), warnings));
            }
            Tell::Fired(_) | Tell::Warning(_) | Tell::Failed(_) | Tell::End | Tell::Verdict(_) => {
                return Err(lie("an answer to something else"));
            }
        }
    }
}

/// Reads an answer as either of the two kinds, for the fuzzer; true if it was one.
#[must_use]
pub fn is_answer(bytes: &[u8]) -> bool {
    let scanned = verdicts(&mut &*bytes).is_ok();
    let read = verdict(&mut &*bytes, b"x", &[5, 8]).is_ok();
    scanned || read
}

impl VerdictEngine for ClientLibrary {
    fn scan(&self, question: &Question<'_>, warn: &mut dyn FnMut(Failure)) -> Result<Vec<Vec<u8>>, Failure> {
        let (result, warnings) = self.job(|socket| {
            // One that has heard enough may say so, and be heard, before the message is at its end.
            let sent = send(socket, question);
            let answer = verdicts(socket);
            sent?;
            answer
        })?;
        warnings.into_iter().for_each(warn);
        result
    }

    fn read(
        &self,
        texts: &[&[u8]],
        rules: &[u32],
        warn: &mut dyn FnMut(Failure),
    ) -> Result<Vec<Verdict>, Failure> {
        let mut read = Vec::with_capacity(texts.len());
        for text in texts {
            let (result, warnings) = self.job(|socket| {
                let mut out = BufWriter::new(&mut *socket);
                for rule in rules {
                    Ask::Rule(*rule).write(&mut out)?;
                }
                Ask::Verdict(text.to_vec()).write(&mut out)?;
                out.flush()?;
                drop(out);
                verdict(socket, text, rules)
            })?;
            warnings.into_iter().for_each(&mut *warn);
            match result {
                Ok(verdict) => read.push(verdict),
                // The library is not there, and the next text would fare no better.
                Err(failure) if failure.what.starts_with("could not initialize") => return Err(failure),
                Err(failure) => warn(failure),
            }
        }
        Ok(read)
    }

    fn on_failure(&self) -> OnFailure {
        self.settings.on_failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tells: &[Tell]) -> Vec<u8> {
        let mut bytes = Vec::new();
        tells.iter().for_each(|tell| tell.write(&mut bytes).unwrap());
        bytes
    }

    #[test]
    fn answers_to_a_scan() {
        let of = |tells: &[Tell]| verdicts(&mut bytes(tells).as_slice());
        let failure = Failure { location: 1, kind: 2, what: "bmiEndTO() failed.".to_owned() };
        let text = || Tell::Verdict(b"dg==".to_vec());
        let (texts, warnings) = of(&[Tell::Warning(failure.clone()), text(), Tell::End])
            .unwrap_or_else(|Broken(e)| panic!("{e}"));
        assert_eq!((texts.unwrap(), warnings), (vec![b"dg==".to_vec()], vec![failure.clone()]));
        let (texts, _) =
            of(&[Tell::Failed(failure.clone()), Tell::End]).unwrap_or_else(|Broken(e)| panic!("{e}"));
        assert_eq!(texts.unwrap_err(), failure);
        for lies in [&[text()][..], &[Tell::Fired(5), Tell::End], &[text(), Tell::End, text()], &[]] {
            assert!(of(lies).is_err(), "{lies:?}");
        }
    }

    #[test]
    fn answers_about_a_verdict() {
        let of = |tells: &[Tell]| verdict(&mut bytes(tells).as_slice(), b"dg==", &[5]);
        let good = [
            Tell::Tracker(b"dA==".to_vec()),
            Tell::Recipient(b"a@x.ex".to_vec()),
            Tell::Destination(wire::Destination::Elsewhere(b"X-Spam: yes".to_vec())),
            Tell::Fired(5),
            Tell::End,
        ];
        let (read, _) = of(&good).unwrap_or_else(|Broken(e)| panic!("{e}"));
        let read = read.unwrap();
        assert_eq!(read.destination, Destination::Elsewhere(b"X-Spam: yes".to_vec()));
        assert_eq!((read.rules, read.recipients), (vec![5], vec![b"a@x.ex".to_vec()]));
        for lies in [&[Tell::Fired(6), Tell::End][..], &[Tell::Verdict(Vec::new()), Tell::End], &[]] {
            assert!(of(lies).is_err(), "{lies:?}");
        }
    }
}
