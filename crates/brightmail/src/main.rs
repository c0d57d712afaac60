//! `oxim-brightmail --library FILE [--first FILE]... [--version-text TEXT | --version-number N] --configuration FILE [--limit SECONDS]`:
//! holds the Brightmail client library, and answers on standard output what standard input asks (see [`oxim_brightmail::wire`]).
//!
//! Ends when its input ends. A job that takes longer than the limit ends the process: the kernel's alarm clock needs no help
//! from a library that hangs. Failure modes: arguments that make no sense (exit 64), a library that cannot be loaded or
//! initialized (each job is answered with that), nonsense on standard input (exit 65), nobody who listens (exit 74).

mod client_library;

use std::ffi::OsString;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

use client_library::{Library, Message, Session, Version};
use oxim_brightmail::wire::{Ask, Failure, Tell};

/// Most warnings about one message.
const WARNINGS_MAX: usize = 100;

/// What the command line says.
struct Arguments {
    library: OsString,
    first: Vec<OsString>,
    version: Version,
    configuration: OsString,
    limit_seconds: u32,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Arguments> {
        let (mut library, mut configuration) = (None, None);
        let (mut first, mut version, mut limit_seconds) = (Vec::new(), Version::Number(1), 60);
        while let Some(word) = words.next() {
            let value = words.next()?;
            let number = || value.to_str().and_then(|text| text.parse().ok());
            match word.to_str()? {
                "--library" => library = Some(value),
                "--first" => first.push(value),
                "--configuration" => configuration = Some(value),
                "--version-number" => version = Version::Number(number()?),
                "--version-text" => version = Version::Text(value.into_encoded_bytes()),
                "--limit" => limit_seconds = u32::try_from(number()?).ok()?,
                _ => return None,
            }
        }
        Some(Arguments { library: library?, first, version, configuration: configuration?, limit_seconds })
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args_os().skip(1)) else {
        eprintln!("oxim-brightmail: is started by oxim (bmi_config_file), not by hand");
        return ExitCode::from(64);
    };
    let session = Library::load(&arguments.library, &arguments.first)
        .and_then(|library| Session::begin(library, &arguments.version, &arguments.configuration));
    let mut conversation = Conversation {
        session,
        input: BufReader::new(io::stdin().lock()),
        output: BufWriter::new(io::stdout().lock()),
        limit_seconds: arguments.limit_seconds,
    };
    loop {
        match conversation.job() {
            Ok(true) => {}
            Ok(false) => return ExitCode::SUCCESS,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return ExitCode::from(65),
            Err(_) => return ExitCode::from(74),
        }
    }
}

/// Why a job has no good end: the library says no, or the pipe is broken.
enum Trouble {
    Library(Failure),
    Pipe(io::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Library(failure)
    }
}

impl From<io::ErrorKind> for Trouble {
    fn from(kind: io::ErrorKind) -> Trouble {
        Trouble::Pipe(kind.into())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Pipe(error)
    }
}

struct Conversation<I, O> {
    session: Result<Session, Failure>,
    input: I,
    output: O,
    limit_seconds: u32,
}

impl<I: Read, O: Write> Conversation<I, O> {
    /// Does one job. False: there is none.
    fn job(&mut self) -> io::Result<bool> {
        let Some(first) = Ask::read(&mut self.input)? else { return Ok(false) };
        client_library::set_alarm(self.limit_seconds);
        let mut is_over = false;
        match self.answer(first, &mut is_over) {
            Ok(()) => {}
            Err(Trouble::Pipe(error)) => return Err(error),
            Err(Trouble::Library(failure)) => {
                // The rest of the job is in the pipe: read past it, so that the next one is understood.
                while !is_over {
                    let next = Ask::read(&mut self.input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    is_over = matches!(next, Ask::Scan | Ask::Verdict(_));
                }
                Tell::Failed(failure).write(&mut self.output)?;
            }
        }
        Tell::End.write(&mut self.output)?;
        self.output.flush()?;
        client_library::set_alarm(0);
        Ok(true)
    }

    fn answer(&mut self, first: Ask, is_over: &mut bool) -> Result<(), Trouble> {
        *is_over = matches!(first, Ask::Scan | Ask::Verdict(_));
        let session = self.session.as_ref().map_err(Failure::clone)?;
        if !matches!(first, Ask::Rule(_) | Ask::Verdict(_)) {
            let mut scan = Scan {
                message: session.message()?,
                opt_in: None,
                warnings: Vec::new(),
                stage: Stage::Envelope,
            };
            let mut ask = first;
            loop {
                *is_over = matches!(ask, Ask::Scan);
                if scan.take(ask, &mut self.output)? {
                    return Ok(());
                }
                ask = Ask::read(&mut self.input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            }
        }
        let mut rules = Vec::new();
        let mut ask = first;
        loop {
            match ask {
                Ask::Rule(rule) => rules.push(rule),
                Ask::Verdict(text) => {
                    *is_over = true;
                    return tell(session, &text, &rules, &mut self.output);
                }
                Ask::Client(_)
                | Ask::From(_)
                | Ask::OptIn(_)
                | Ask::To(_)
                | Ask::Header(_)
                | Ask::Body(_)
                | Ask::Scan => return Err(io::ErrorKind::InvalidData.into()),
            }
            ask = Ask::read(&mut self.input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
    }
}

/// Which part of the message is being given to the library: each has an end of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Envelope,
    Header,
    Body,
}

struct Scan<'a> {
    message: Message<'a>,
    opt_in: Option<Vec<u8>>,
    /// Told at the end: until then nobody reads, who is still writing.
    warnings: Vec<Failure>,
    stage: Stage,
}

impl Scan<'_> {
    /// Takes a part of the message; true when it was the last, and the verdicts have been told.
    fn take(&mut self, ask: Ask, output: &mut impl Write) -> Result<bool, Trouble> {
        match ask {
            Ask::Client(address) => self.message.client(&address)?,
            Ask::From(address) => self.message.from(&address)?,
            Ask::OptIn(text) => self.opt_in = Some(text),
            Ask::To(address) => {
                let opt_in = self.opt_in.take();
                let warning = self.message.to(&address, opt_in.as_deref())?;
                self.warnings.extend(warning.filter(|_| self.warnings.len() < WARNINGS_MAX));
            }
            Ask::Header(text) => {
                self.reach(Stage::Header)?;
                self.message.header(&text)?;
            }
            Ask::Body(bytes) => {
                self.reach(Stage::Body)?;
                self.message.body(&bytes)?;
            }
            Ask::Scan => {
                self.reach(Stage::Body)?;
                self.message.end()?;
                for warning in self.warnings.drain(..) {
                    Tell::Warning(warning).write(output)?;
                }
                for verdict in self.message.verdicts()? {
                    Tell::Verdict(verdict).write(output)?;
                }
                return Ok(true);
            }
            Ask::Rule(_) | Ask::Verdict(_) => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(false)
    }

    /// Ends the parts before this one.
    fn reach(&mut self, stage: Stage) -> Result<(), Failure> {
        if self.stage == Stage::Envelope && stage > Stage::Envelope {
            self.message.end_recipients()?;
            self.stage = Stage::Header;
        }
        if self.stage == Stage::Header && stage > Stage::Header {
            self.message.end_headers()?;
            self.stage = Stage::Body;
        }
        Ok(())
    }
}

/// Tells what a verdict says.
fn tell(session: &Session, text: &[u8], rules: &[u32], output: &mut impl Write) -> Result<(), Trouble> {
    let verdict = session.verdict(text)?;
    match verdict.tracker() {
        Ok(tracker) => Tell::Tracker(tracker).write(output)?,
        Err(warning) => Tell::Warning(warning).write(output)?,
    }
    for recipient in verdict.recipients() {
        Tell::Recipient(recipient).write(output)?;
    }
    let is_good = verdict.is_good();
    Tell::Destination(verdict.destination()).write(output)?;
    for rule in rules.iter().filter(|rule| is_good && verdict.has_fired(**rule)) {
        Tell::Fired(*rule).write(output)?;
    }
    Ok(())
}
