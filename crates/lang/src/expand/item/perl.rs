//! `${perl`: calls a subroutine of the Perl code that `perl_startup` gives. Manual chapter 12.
//!
//! The interpreter is a child process, started at the first call, or at once with `perl_at_start`, and kept for the next;
//! calls at the same time have one each. No foreign code runs in this process. A filter of a user calls an interpreter
//! that is the user's, and ends with the filter. Frames go over a socket: a letter, a length, bytes. One that takes too long or says too
//! much is ended, and the next call starts another. Exim::expand_string, Exim::log_write and Exim::debug_write are
//! answered here.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oxim_base::limits::CHILD_OUTPUT_BYTES_MAX;
use oxim_base::{Text, debug};
use parking_lot::Mutex;

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::{Body, ExpandError, Template, tree};
use crate::restrict;

/// What the child runs.
const DRIVER: &str = include_str!("perl.pl");
/// How long Perl may be silent.
const PERL_TIMEOUT: Duration = Duration::from_secs(60);
/// The name of the subroutine and eight arguments.
const STRINGS_MAX: usize = 9;

pub(super) static ROWS: &[&ItemRow] = &[&ItemRow {
    may_block: true,
    ..row("perl", "What a Perl subroutine returns: name, up to eight arguments.", &[], |p| {
        Ok(Box::new(Perl { strings: p.strings("perl", 1, STRINGS_MAX)? }))
    })
}];

struct Perl {
    strings: Vec<Body>,
}

/// A running interpreter.
struct Interpreter {
    /// Its process, if it is ours to wait for.
    child: Option<Child>,
    stream: UnixStream,
    setting: Setting,
}

/// What an interpreter is started with: another configuration needs another one.
#[derive(Clone, PartialEq, Eq)]
struct Setting {
    startup: String,
    is_strict: bool,
}

impl Setting {
    fn of(context: &Context) -> Option<Setting> {
        let options = &context.config.main_options;
        let startup = options.string("perl_startup")?.to_owned();
        Some(Setting { startup, is_strict: options.bool("perl_taintmode") })
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Interpreters that wait for the next call.
static IDLE: Mutex<Vec<Interpreter>> = Mutex::new(Vec::new());
/// How many may wait.
const IDLE_MAX: usize = 32;

/// The place of the interpreter of a filter's user.
#[derive(Default)]
pub struct PerlSlot(Mutex<Option<Interpreter>>);

impl fmt::Debug for PerlSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerlSlot")
    }
}

/// The slot of the filter whose user is another than this process.
fn slot_of_user(context: &Context) -> Option<&PerlSlot> {
    context.local.restrictions.as_ref().filter(|r| r.user.is_some()).map(|r| &r.perl)
}

/// An interpreter for a call. It is taken out while it works, so that an expansion that Perl asks for may call Perl again.
fn take(context: &mut Context, setting: Setting) -> Result<Interpreter, ExpandError> {
    let kept = match slot_of_user(context) {
        Some(slot) => slot.0.lock().take(),
        None => {
            let mut idle = IDLE.lock();
            idle.retain(|interpreter| interpreter.setting == setting);
            idle.pop()
        }
    };
    match kept {
        Some(interpreter) => Ok(interpreter),
        None => launch(context, setting),
    }
}

/// Keeps an interpreter for the next call.
fn keep(context: &Context, interpreter: Interpreter) {
    match slot_of_user(context) {
        Some(slot) => *slot.0.lock() = Some(interpreter),
        None => {
            let mut idle = IDLE.lock();
            if idle.len() < IDLE_MAX {
                idle.push(interpreter);
            }
        }
    }
}

/// Starts the interpreter before it is needed (`perl_at_start`). Nothing is started without `perl_startup`.
///
/// # Errors
/// What is wrong with the code of `perl_startup`.
pub fn start(context: &mut Context) -> Result<(), ExpandError> {
    let Some(setting) = Setting::of(context) else { return Ok(()) };
    let interpreter = take(context, setting)?;
    keep(context, interpreter);
    Ok(())
}

/// Ends the interpreters that wait for a call.
pub fn end_idle() {
    IDLE.lock().clear();
}

impl Item for Perl {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        restrict::check(context, |f| f.perl, "Perl calls are not permitted")?;
        let texts: Result<Vec<Text>, ExpandError> = self.strings.iter().map(|s| s.expand(context)).collect();
        let texts = texts?;
        let name = texts.first().cloned().unwrap_or_default();
        if name.is_foreign() {
            return Err(ExpandError::Failed(format!("attempt to call tainted Perl subroutine \"{name}\"")));
        }
        let Some(setting) = Setting::of(context) else {
            let text = "A setting of perl_startup is needed when using the Perl interpreter";
            return Err(ExpandError::Failed(text.to_owned()));
        };
        let mut interpreter = take(context, setting)?;
        let mut request = Vec::new();
        for text in &texts {
            push_counted(&mut request, text.as_bytes());
        }
        let answer = interpreter.call(context, b'C', &request).map_err(|error| {
            let reason = if error.kind() == io::ErrorKind::WouldBlock { "timed out" } else { "ended" };
            ExpandError::Failed(format!("the Perl interpreter {reason}"))
        })?;
        keep(context, interpreter);
        match answer {
            Answer::Text(text) => {
                out.push(&Text::clean(text));
                Ok(())
            }
            Answer::Undefined => Err(ExpandError::Forced(format!(
                "Perl subroutine \"{name}\" returned undef to force failure"
            ))),
            Answer::Died(text) => Err(ExpandError::Failed(String::from_utf8_lossy(&text).into_owned())),
        }
    }
}

enum Answer {
    Text(Vec<u8>),
    Undefined,
    Died(Vec<u8>),
}

fn launch(context: &mut Context, setting: Setting) -> Result<Interpreter, ExpandError> {
    let failed = |error: io::Error| {
        let why = oxim_base::errno::error_text(&error);
        ExpandError::Failed(format!("the Perl interpreter could not be started: {why}"))
    };
    let mut words = vec!["/usr/bin/perl"];
    words.extend(setting.is_strict.then_some("-T"));
    words.extend(["-e", DRIVER]);
    let started = match restrict::user(context) {
        Some(user) => user.start(&words),
        None => spawn(&words),
    };
    let (stream, child) = started.map_err(failed)?;
    stream.set_read_timeout(Some(PERL_TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(PERL_TIMEOUT)).map_err(failed)?;
    let startup = setting.startup.clone();
    let mut interpreter = Interpreter { child, stream, setting };
    match interpreter.call(context, b'S', startup.as_bytes()).map_err(failed)? {
        Answer::Text(_) | Answer::Undefined => Ok(interpreter),
        Answer::Died(text) => {
            let text = String::from_utf8_lossy(&text);
            Err(ExpandError::Failed(format!("error in perl_startup code: {text}")))
        }
    }
}

/// Starts a program that talks over a socket.
fn spawn(words: &[&str]) -> io::Result<(UnixStream, Option<Child>)> {
    let (stream, theirs) = UnixStream::pair()?;
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)))
        .stdout(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn()?;
    // The command holds the child's ends; they go with it, or the child's end would never be seen.
    Ok((stream, Some(child)))
}

fn push_counted(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(bytes);
}

impl Interpreter {
    /// Sends a request and answers what Perl asks, until it is done.
    fn call(&mut self, context: &mut Context, kind: u8, request: &[u8]) -> io::Result<Answer> {
        self.send(kind, request)?;
        loop {
            let (kind, text) = self.receive()?;
            match kind {
                b'R' => return Ok(Answer::Text(text)),
                b'U' => return Ok(Answer::Undefined),
                b'D' => return Ok(Answer::Died(text)),
                b'X' => self.expand(context, &text)?,
                b'L' => context.services.log().main(&text),
                b'W' => {
                    debug::line(debug::EXPAND, || String::from_utf8_lossy(&text).into_owned());
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    fn expand(&mut self, context: &mut Context, source: &[u8]) -> io::Result<()> {
        let template = Template::compile_bytes(source);
        match tree::enter(context, |context| template.expand(context)) {
            Ok(text) => self.send(b'R', text.as_bytes()),
            Err(ExpandError::Forced(_)) => self.send(b'U', b""),
            Err(error) => {
                self.send(b'D', format!("syntax error in Exim::expand_string argument: {error}").as_bytes())
            }
        }
    }

    fn send(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let mut frame = vec![kind];
        push_counted(&mut frame, bytes);
        self.stream.write_all(&frame)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0_u8; 5];
        self.stream.read_exact(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > CHILD_OUTPUT_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0_u8; length];
        self.stream.read_exact(&mut text)?;
        Ok((kind, text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::config::{Catalogue, read_bytes};
    use crate::context::Context;
    use crate::expand::{ExpandError, Template};

    #[test]
    fn subroutines_answer_as_with_exim() {
        if !std::path::Path::new("/usr/bin/perl").exists() {
            return;
        }
        let text = br#"perl_startup = sub up { uc $_[0] } sub none { undef } sub bad { die "it broke\n" } \
  sub cat { join "|", @_ } sub ex { Exim::expand_string("<$_[0]>") } sub loud { print "x"; "q" } \
  sub list { (1,2,3) } sub gone { exit 3 }
"#;
        let config = read_bytes("test", text, &[], &Catalogue::default()).unwrap();
        let mut context = Context { config: Arc::new(config), ..Context::default() };
        context.address.local_part = oxim_base::Text::tainted("${run{/bin/false}}");
        let mut expand = |source: &str| Template::compile(source).expand(&mut context);
        for (source, expected) in [
            ("${perl{up}{abc}}", "ABC"),
            ("${perl{cat}{a}{b c}{}{d}}", "a|b c||d"),
            ("${perl{ex}{\\${uc:a\\}}}", "<A>"),
            ("${perl{cat}{$local_part}}", "${run{/bin/false}}"),
            ("${perl{loud}}${perl{list}}", "q3"),
        ] {
            assert_eq!(expand(source).unwrap(), expected, "{source}");
        }
        let undefined = "Perl subroutine \"none\" returned undef to force failure".to_owned();
        assert_eq!(expand("${perl{none}}"), Err(ExpandError::Forced(undefined)));
        assert_eq!(expand("${perl{bad}}"), Err(ExpandError::Failed("it broke\n".to_owned())));
        assert!(
            expand("${perl{nosuch}}").unwrap_err().message().contains("Undefined subroutine &main::nosuch")
        );
        assert!(
            expand("${perl{ex}{\\${bad}}")
                .unwrap_err()
                .message()
                .starts_with("syntax error in Exim::expand_string")
        );
        assert!(expand("${perl{$local_part}}").unwrap_err().message().contains("tainted"));
        // One that ends is replaced at the next call.
        assert!(expand("${perl{gone}}").is_err());
        assert_eq!(expand("${perl{up}{x}}").unwrap(), "X");
    }
}
