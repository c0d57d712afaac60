//! `-be`: expands each argument, or each line of standard input, and prints the result.
//!
//! A line may define a macro, and macros are replaced in it first; those of the configuration file are for admin users.

use std::io::{self, BufRead, BufReader, Write};
use std::sync::{Arc, OnceLock};

use oxim_base::errno::error_text;
use oxim_base::{Text, debug};
use oxim_lang::config::macros::{Macros, definition};
use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_lang::host::{AclOutcome, AclVerdict, Host};
use oxim_receive::host::ReceptionHost;
use tokio::runtime::Runtime;

use crate::assemble::Program;
use crate::engine::{Engine, Settings, small_runtime};
use crate::privilege;

/// Builds what ACLs and host names need when an expression asks for the first of them: most do not.
pub(crate) struct LateHost {
    program: Program,
    built: OnceLock<Result<Built, String>>,
}

struct Built {
    door: ReceptionHost,
    _engine: Arc<Engine>,
    _runtime: Runtime,
}

impl LateHost {
    /// Takes the place of what a daemon has built at its start.
    pub(crate) fn install(program: &Program, context: &Context) {
        let program = Program {
            line: program.line.clone(),
            config: Arc::clone(&program.config),
            services: Arc::clone(&program.services),
        };
        let host = LateHost { program, built: OnceLock::new() };
        let _ = context.services.host.set(Arc::new(host) as Arc<dyn Host>);
    }

    fn built(&self) -> Result<&ReceptionHost, &String> {
        self.built.get_or_init(|| build(&self.program)).as_ref().map(|built| &built.door)
    }
}

fn build(program: &Program) -> Result<Built, String> {
    let runtime = small_runtime().map_err(|error| error_text(&error))?;
    let engine = Engine::build(program, runtime.handle(), Settings::default())
        .map_err(|errors| errors.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join("; "))?;
    let door = ReceptionHost::default();
    door.open(&engine.reception);
    Ok(Built { door, _engine: engine, _runtime: runtime })
}

impl Host for LateHost {
    fn run_acl(&self, context: &mut Context, name_or_text: &[u8], arguments: Vec<Text>) -> AclVerdict {
        match self.built() {
            Ok(door) => door.run_acl(context, name_or_text, arguments),
            Err(reason) => {
                AclVerdict { outcome: AclOutcome::Error(reason.clone()), message: None, log_message: None }
            }
        }
    }

    fn look_up_host_name(&self, context: &mut Context) {
        if let Ok(door) = self.built() {
            door.look_up_host_name(context);
        }
    }
}

/// Expands arguments or lines. The exit code is 0 whatever fails in an expansion, as in Exim.
pub(crate) fn run(program: &Program, context: &mut Context) -> u8 {
    let mut macros = if privilege::is_admin(&program.config) {
        program.config.macros.clone()
    } else {
        Macros::new(program.config.macros.builtins().clone(), &[])
    };
    let mut answers = Answers::default();
    if program.line.arguments.is_empty() {
        interact(program, context, &mut macros, &mut answers);
    }
    for argument in &program.line.arguments {
        show(program, context, &mut macros, argument, &mut answers);
    }
    answers.flush();
    0
}

/// Most bytes of answers that wait to be written.
const ANSWERS_BYTES_MAX: usize = 32 * 1024;

/// What is to be printed. It waits while more lines are at hand, since a write for each costs more than most expansions, but
/// never while a line, a file or a command is waited for.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Answers {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() >= ANSWERS_BYTES_MAX {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(&self.0).and_then(|()| out.flush());
        self.0.clear();
    }
}

fn interact(program: &Program, context: &mut Context, macros: &mut Macros, answers: &mut Answers) {
    let mut input = BufReader::with_capacity(ANSWERS_BYTES_MAX, io::stdin().lock());
    let mut whole = Vec::new();
    let mut goes_on = false;
    loop {
        // Exim prompts whatever standard input is.
        if !goes_on {
            answers.add(b"> ");
        }
        if !input.buffer().contains(&b'\n') {
            answers.flush();
        }
        let start = whole.len();
        if !input.read_until(b'\n', &mut whole).is_ok_and(|bytes| bytes > 0) {
            break;
        }
        if goes_on {
            let blanks = whole.iter().skip(start).take_while(|byte| byte.is_ascii_whitespace()).count();
            whole.drain(start..start.saturating_add(blanks));
        }
        whole.truncate(whole.trim_ascii_end().len());
        // A backslash at the end of a line goes on with the next one, whose leading white space is dropped.
        goes_on = whole.ends_with(b"\\");
        if goes_on {
            whole.pop();
            continue;
        }
        show(program, context, macros, &whole, answers);
        whole.clear();
    }
    answers.add(b"\n");
}

/// Defines a macro or prints an expansion. Names of macros are text; a line that is not goes without them.
fn show(program: &Program, context: &mut Context, macros: &mut Macros, line: &[u8], answers: &mut Answers) {
    let Ok(text) = std::str::from_utf8(line) else { return print(context, line, answers) };
    let is_definition = definition(text.trim_start()).is_some();
    let mut text = if is_definition { text.trim_start() } else { text }.to_owned();
    macros.replace(&mut text, is_definition);
    match definition(&text).filter(|_| is_definition) {
        Some(found) => match macros.define(&found) {
            Ok(()) => answers.add(format!("Defined macro '{}'\n", found.name).as_bytes()),
            Err(error) => {
                answers.flush();
                complain!("{} {}", program.services.log().stamp(), error.exim_text());
            }
        },
        None => print(context, text.as_bytes(), answers),
    }
}

/// Whether a line may run what writes to our standard error: that must come after the answers before it.
fn writes_itself(line: &[u8]) -> bool {
    [&b"acl"[..], b"perl", b"run"].iter().any(|word| line.windows(word.len()).any(|part| part == *word))
}

/// Prints what comes out, which need not be text.
fn print(context: &mut Context, line: &[u8], answers: &mut Answers) {
    let template = Template::compile_bytes(line);
    if (template.may_block() && writes_itself(line)) || debug::mask() != 0 {
        answers.flush();
    }
    match template.expand(context) {
        Ok(text) => answers.add(text.as_bytes()),
        Err(error) => answers.add(format!("Failed: {error}").as_bytes()),
    }
    answers.add(b"\n");
    // Only $value and what else is documented to last is seen by the next line.
    context.local.captures.clear();
}
