//! `-bP`: prints options, lists, macros and whole sections.

use std::io::Write;

use oxim_lang::config::print::{self, Manner, Refused};

use crate::assemble::Program;

/// Prints what the arguments name, or the whole main section. The exit code is 1 if something is not known.
pub(crate) fn run(program: &Program) -> u8 {
    let words: Vec<String> =
        program.line.arguments.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    let manner =
        Manner { is_bare: program.line.no_names, is_admin: crate::privilege::is_admin(&program.config) };
    let environment: Vec<(String, String)> = crate::environment::allowed(program)
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    match print::print(&program.config, &words, manner, &environment) {
        Ok((text, found)) => {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            u8::from(!found)
        }
        Err(Refused::NotAdmin) => {
            complain!("exim: permission denied");
            1
        }
    }
}
