//! `-be`: expands each argument, or each line of standard input, and prints the result.
//!
//! A line may define a macro, and macros are replaced in it first; those of the configuration file are for admin users.

use std::io::{self, BufRead, Write};

use oxim_lang::config::macros::{Macros, definition};
use oxim_lang::context::Context;
use oxim_lang::expand;

use crate::assemble::Program;
use crate::privilege;

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
        show(program, context, &mut macros, &String::from_utf8_lossy(argument));
    }
    0
}

fn interact(program: &Program, context: &mut Context, macros: &mut Macros) {
    let mut pending: Option<String> = None;
    let mut lines = io::stdin().lock().split(b'\n');
    loop {
        // Exim prompts whatever standard input is.
        if pending.is_none() {
            print!("> ");
            let _ = io::stdout().flush();
        }
        let Some(Ok(line)) = lines.next() else { break };
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut whole = match pending.take() {
            Some(start) => start + line.trim_start(),
            None => line,
        };
        // A backslash at the end of a line goes on with the next one, whose leading white space is dropped.
        if whole.ends_with('\\') {
            whole.pop();
            pending = Some(whole);
            continue;
        }
        show(program, context, macros, &whole);
    }
    println!();
}

/// Defines a macro or prints an expansion.
fn show(program: &Program, context: &mut Context, macros: &mut Macros, line: &str) {
    let mut line = line.to_owned();
    let is_definition = definition(line.trim_start()).is_some();
    if is_definition {
        line = line.trim_start().to_owned();
    }
    macros.replace(&mut line, is_definition);
    match definition(&line).filter(|_| is_definition) {
        Some(found) => match macros.define(&found) {
            Ok(()) => println!("Defined macro '{}'", found.name),
            Err(error) => eprintln!("{} {}", program.services.log().stamp(), error.exim_text()),
        },
        None => println!("{}", expand::test_line(context, &line)),
    }
}
