//! `-bP`: prints options, lists, macros and whole sections.

use std::io::Write;

use oxim_lang::config::print;

use crate::assemble::Program;

/// Prints what the arguments name, or the whole main section. The exit code is 1 if something is not known.
pub fn run(program: &Program) -> u8 {
    let words: Vec<String> = program.line.arguments.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    let asked = print::Request { words: &words, with_names: !program.line.no_names, is_admin: crate::privilege::is_admin(&program.config) };
    let printed = print::print(&program.config, &asked);
    let _ = std::io::stdout().lock().write_all(printed.text.as_bytes());
    u8::from(!printed.is_complete)
}
