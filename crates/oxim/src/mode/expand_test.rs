//! `-be`: expands each argument, or each line of standard input, and prints the result.

use std::io::{self, BufRead, IsTerminal, Write};

use oxim_lang::context::Context;
use oxim_lang::expand;

use crate::assemble::Program;

/// Expands arguments or lines. The exit code is 0 whatever fails, as in Exim.
pub fn run(program: &Program, context: &mut Context) -> u8 {
    let out = io::stdout();
    if !program.line.arguments.is_empty() {
        for argument in &program.line.arguments {
            show(&mut out.lock(), context, &String::from_utf8_lossy(argument));
        }
        return 0;
    }
    let prompts = io::stdin().is_terminal();
    let mut pending = String::new();
    loop {
        if prompts && pending.is_empty() {
            print!("> ");
            let _ = io::stdout().flush();
        }
        let mut line = Vec::new();
        match io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let text = text.trim_end_matches('\n');
        let text = if pending.is_empty() { text } else { text.trim_start() };
        // A backslash at the end of a line goes on with the next one, whose leading white space is dropped.
        if let Some(start) = text.strip_suffix('\\') {
            pending.push_str(start);
            continue;
        }
        pending.push_str(text);
        let whole = std::mem::take(&mut pending);
        show(&mut out.lock(), context, &whole);
    }
    if prompts {
        println!();
    }
    0
}

fn show(out: &mut dyn Write, context: &mut Context, line: &str) {
    let _ = writeln!(out, "{}", expand::test_line(context, line));
}
