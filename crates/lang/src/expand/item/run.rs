//! `${run`: the output of a command.
//!
//! The command gets an empty standard input; standard output and error come back in one stream, bounded in size and
//! time. Without `preexpand` the command is cut into words first and each word expanded, so that data cannot add
//! arguments. No shell, no search path: a command without a slash is not found, as in Exim.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::limits::CHILD_OUTPUT_BYTES_MAX;

use super::extract::in_quotes;
use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::errand::{Brought, Errand};
use crate::expand::yes_no::Branches;
use crate::expand::{Body, ExpandError, Fault, Parser};
use crate::restrict;

/// How long a command may run. Exim's figure.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// The only option.
const PREEXPAND: &[u8] = b"preexpand";
/// What a shell says of a command that it cannot find.
const NOT_FOUND: i32 = 127;

pub(super) static ROWS: &[&ItemRow] = &[&ItemRow {
    may_block: true,
    ..row(
        "run",
        "What a command writes, in `$value`; `$runrc` is its return code.",
        &[
            ("${run{/bin/echo a b}{<${sg{$value}{\\n}{}}>}{no}}$runrc", "<a b>0"),
            ("${run{/bin/false}{yes}{no}}$runrc", "no1"),
        ],
        parse,
    )
}];

struct Run {
    command: CommandText,
    branches: Branches,
}

enum CommandText {
    /// Words, each a string of its own, with the text of the whole for messages.
    Words(Vec<(Vec<u8>, Body)>, String),
    /// One string that is expanded before it is cut into words.
    Whole(Body),
}

fn parse(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let mut before = false;
    while parser.eat(b',') {
        if !parser.rest().starts_with(PREEXPAND) {
            let letters = |byte: &&u8| byte.is_ascii_alphabetic();
            let length = parser.rest().iter().skip(1).take_while(letters).count().saturating_add(1);
            let option = String::from_utf8_lossy(parser.rest().get(..length).unwrap_or_default());
            return parser.fault(format!("bad option '{option}' for run"));
        }
        parser.advance(PREEXPAND.len());
        before = true;
    }
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for command arg of run");
    }
    let command = if before {
        CommandText::Whole(parser.body()?)
    } else {
        let raw = raw_command(parser)?;
        command_words(parser, &raw)?
    };
    Ok(Box::new(Run { command, branches: Branches::parse(parser, "run")? }))
}

/// The command as it stands between its braces. What is wrong inside shows when its words are read.
fn raw_command(parser: &mut Parser<'_>) -> Result<Vec<u8>, Fault> {
    let text = parser.rest();
    let mut probe = Parser::new(text);
    if probe.body().is_ok() {
        let length = text.len().saturating_sub(probe.rest().len());
        parser.advance(length);
        return Ok(text.get(..length.saturating_sub(1)).unwrap_or_default().to_vec());
    }
    if let Some(text) = probe.misplaced_brace() {
        return parser.fault(text);
    }
    let mut depth = 1_usize;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'{' => depth = depth.saturating_add(1),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            parser.advance(at.saturating_add(1));
            return Ok(text.get(..at).unwrap_or_default().to_vec());
        }
    }
    parser.fault("missing '}' closing command arg of run")
}

fn command_words(parser: &mut Parser<'_>, raw: &[u8]) -> Result<CommandText, Fault> {
    let mut bodies = Vec::new();
    let whole = String::from_utf8_lossy(raw.trim_ascii_start()).into_owned();
    for word in words(raw) {
        let mut inner = Parser::new(&word);
        let (body, fault) = inner.whole();
        parser.note_blocking(inner.may_block());
        if let Some(fault) = fault {
            return parser.fault(within(&word, &whole, &fault.message));
        }
        bodies.push((word, body));
    }
    Ok(CommandText::Words(bodies, whole))
}

/// Says in which word of the command something is wrong.
fn within(word: &[u8], command: &str, message: &str) -> String {
    format!(
        "Expansion of \"{}\" from command \"{command}\" in ${{run}} expansion failed: {message}",
        String::from_utf8_lossy(word)
    )
}

/// Cuts a command at white space. A word in double quotes may hold escapes; one in single quotes is taken as it is.
fn words(command: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = command.trim_ascii_start();
    while let Some((first, after)) = rest.split_first() {
        let word = match first {
            b'"' => {
                let (word, after) = in_quotes(after);
                rest = after;
                word
            }
            b'\'' => {
                let end = memchr::memchr(b'\'', after).unwrap_or(after.len());
                rest = after.get(end.saturating_add(1)..).unwrap_or_default();
                after.get(..end).unwrap_or_default().to_vec()
            }
            _ => {
                let end = rest.iter().take_while(|b| !b.is_ascii_whitespace()).count();
                let (word, after) = rest.split_at_checked(end).unwrap_or_default();
                rest = after;
                word.to_vec()
            }
        };
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}

impl CommandText {
    fn expand(&self, context: &mut Context) -> Result<Vec<Text>, ExpandError> {
        match self {
            CommandText::Words(words, command) => {
                let expanded = words.iter().map(|(word, body)| {
                    body.expand(context).map_err(|error| match error {
                        ExpandError::Failed(text) => ExpandError::Failed(within(word, command, &text)),
                        ExpandError::Forced(text) => ExpandError::Forced(within(word, command, &text)),
                        ExpandError::Defer(text) => ExpandError::Defer(within(word, command, &text)),
                    })
                });
                expanded.collect()
            }
            CommandText::Whole(body) => {
                let whole = body.expand(context)?;
                Ok(words(whole.as_bytes()).into_iter().map(|word| whole.derive(word)).collect())
            }
        }
    }
}

impl Item for Run {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        restrict::check(context, |f| f.run, "running a command is not permitted")?;
        let words = self.command.expand(context)?;
        let program = words.first().cloned().unwrap_or_default();
        let foreign_arguments =
            matches!(self.command, CommandText::Whole(_)) && words.iter().any(Text::is_foreign);
        if program.is_foreign() || foreign_arguments {
            return Err(ExpandError::Failed(format!(
                "Attempt to exec tainted path: '{program}' (in ${{run}}: take the command from the configuration, not from data)"
            )));
        }
        let words: Vec<Vec<u8>> = words.into_iter().map(Text::into_bytes).collect();
        let errand = || Errand::Run { words: words.clone(), environment: own_environment() };
        let (code, output) = match restrict::by_user(context, errand) {
            Some(brought) => match brought? {
                Brought::Ran { code, output } => (code, output),
                Brought::Bytes(_) | Brought::Found(_) => (NOT_FOUND, Vec::new()),
            },
            None => run_command(&words, None)?,
        };
        context.local.runrc = code;
        // $value stays as it is afterwards, so that a log_message can show it.
        context.local.value = Some(Text::clean(output));
        self.branches.append(context, out, code == 0, |c| c.local.value.clone().unwrap_or_default())
    }
}

/// The environment of this process, for one that acts in its place.
#[must_use]
pub fn own_environment() -> Vec<(Vec<u8>, Vec<u8>)> {
    std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect()
}

/// Runs a command, with another environment than this process has if one is given: its return code and output.
pub(crate) fn run_command(
    words: &[Vec<u8>],
    environment: Option<&[(Vec<u8>, Vec<u8>)]>,
) -> Result<(i32, Vec<u8>), ExpandError> {
    let failed = |e: std::io::Error| {
        ExpandError::Failed(format!("couldn't create child process: {}", oxim_base::errno::error_text(&e)))
    };
    let Some((program, arguments)) = words.split_first().filter(|(p, _)| p.contains(&b'/')) else {
        return Ok((NOT_FOUND, Vec::new()));
    };
    if words.iter().any(|word| word.contains(&0)) {
        return Err(ExpandError::Failed("a ${run} argument holds a NUL byte".to_owned()));
    }
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut command = Command::new(OsStr::from_bytes(program));
    command
        .args(arguments.iter().map(|a| OsStr::from_bytes(a)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .process_group(0);
    if let Some(environment) = environment {
        let variables = environment.iter();
        command
            .env_clear()
            .envs(variables.map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))));
    }
    let spawned = command.spawn();
    // The command holds the writing ends of the pipe; without this, the end of the output would never be seen.
    drop(command);
    let Ok(mut child) = spawned else {
        return Ok((NOT_FOUND, Vec::new()));
    };
    let output = collect(reader);
    let Some(output) = output else {
        stop(&mut child);
        return Err(ExpandError::Failed("command timed out".to_owned()));
    };
    if output.len() > CHILD_OUTPUT_BYTES_MAX {
        stop(&mut child);
        return Err(ExpandError::Failed("command wrote too much".to_owned()));
    }
    let status = child.wait().map_err(failed)?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok((code, output)),
        (None, signal) => Err(ExpandError::Failed(format!(
            "command was terminated by signal {}",
            signal.unwrap_or_default()
        ))),
    }
}

/// Everything that comes through the pipe, up to one byte more than is allowed; None if it takes too long.
fn collect(reader: std::io::PipeReader) -> Option<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        let most = u64::try_from(CHILD_OUTPUT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let _ = reader.take(most).read_to_end(&mut output);
        let _ = sender.send(output);
    });
    receiver.recv_timeout(RUN_TIMEOUT).ok()
}

/// Ends the command with everything that it has started.
fn stop(child: &mut std::process::Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expand::Template;
    #[test]
    fn words_are_cut_before_they_are_expanded() {
        let cut = |text: &str| -> Vec<String> {
            words(text.as_bytes()).into_iter().map(|w| String::from_utf8(w).unwrap()).collect()
        };
        assert_eq!(cut(" /bin/echo  \"a b\" 'c d' e\"f  "), ["/bin/echo", "a b", "c d", "e\"f"]);
        assert_eq!(cut("\"a\"b \"\\x41\\n"), ["a", "b", "A\n"]);
    }

    #[test]
    fn data_can_neither_name_the_command_nor_add_arguments() {
        let mut context = Context::default();
        context.address.local_part = Text::tainted("/bin/echo x; y");
        let expand = |source: &str, c: &mut Context| Template::compile(source).expand(c);
        assert_eq!(expand("${run{/bin/echo $local_part}}", &mut context).unwrap(), "/bin/echo x; y\n");
        assert!(expand("${run{$local_part x}}", &mut context).is_err());
        assert!(expand("${run,preexpand{/bin/echo $local_part}}", &mut context).is_err());
    }

    #[test]
    fn a_command_that_does_not_exist_gives_127() {
        let mut context = Context::default();
        let text = Template::compile("${run{/no/such/command}{y}{n}}$runrc").expand(&mut context).unwrap();
        assert_eq!(text, "n127");
        let text =
            Template::compile("${run{/bin/sh -c \"exit 3\"}{y}{n}}$runrc").expand(&mut context).unwrap();
        assert_eq!(text, "n3");
    }
}
