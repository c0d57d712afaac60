//! `-be`: expands each argument, or each line of standard input, and prints the result.
//!
//! A line may define a macro, and macros are replaced in it first; those of the configuration file are for admin users.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, OnceLock};

use oxim_base::Text;
use oxim_lang::config::macros::{Macros, definition};
use oxim_lang::context::Context;
use oxim_lang::expand;
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
    let runtime = small_runtime().map_err(|error| error.to_string())?;
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
    if program.line.arguments.is_empty() {
        interact(program, context, &mut macros);
    }
    for argument in &program.line.arguments {
        show(program, context, &mut macros, argument);
    }
    0
}

fn interact(program: &Program, context: &mut Context, macros: &mut Macros) {
    let mut pending: Option<Vec<u8>> = None;
    let mut lines = io::stdin().lock().split(b'\n');
    loop {
        // Exim prompts whatever standard input is.
        if pending.is_none() {
            say_part!("> ");
            let _ = io::stdout().flush();
        }
        let Some(Ok(line)) = lines.next() else { break };
        let mut whole = match pending.take() {
            Some(start) => [&start, line.trim_ascii_start()].concat(),
            None => line,
        };
        whole.truncate(whole.trim_ascii_end().len());
        // A backslash at the end of a line goes on with the next one, whose leading white space is dropped.
        if whole.ends_with(b"\\") {
            whole.pop();
            pending = Some(whole);
            continue;
        }
        show(program, context, macros, &whole);
    }
    say!("");
}

/// Defines a macro or prints an expansion. Names of macros are text; a line that is not goes without them.
fn show(program: &Program, context: &mut Context, macros: &mut Macros, line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else { return print(context, line) };
    let is_definition = definition(text.trim_start()).is_some();
    let mut text = if is_definition { text.trim_start() } else { text }.to_owned();
    macros.replace(&mut text, is_definition);
    match definition(&text).filter(|_| is_definition) {
        Some(found) => match macros.define(&found) {
            Ok(()) => say!("Defined macro '{}'", found.name),
            Err(error) => complain!("{} {}", program.services.log().stamp(), error.exim_text()),
        },
        None => print(context, text.as_bytes()),
    }
}

/// Prints what comes out, which need not be text.
fn print(context: &mut Context, line: &[u8]) {
    let mut result = expand::test_line(context, line);
    // Only $value and what else is documented to last is seen by the next line.
    context.local.captures.clear();
    result.push(b'\n');
    let _ = io::stdout().write_all(&result);
}
