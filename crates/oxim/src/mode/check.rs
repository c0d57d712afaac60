//! `oxim check [FILE]`: every error of a configuration file at once, with the line shown and the columns marked.

use oxim_lang::config::{self, ConfigError, report};

use crate::args::CommandLine;
use crate::assemble;

/// Checks the file, or the default one. Exit code 0 if it is good, 1 if not.
pub(crate) fn run(words: &[Vec<u8>]) -> u8 {
    let mut line = CommandLine::default();
    if let [file] = words {
        line.config_files = Some(vec![file.clone()]);
    } else if !words.is_empty() {
        eprintln!("usage: oxim check [FILE]");
        return 2;
    }
    match config::read(&assemble::source(&line), &assemble::catalogue()) {
        Ok(config) => {
            let mut errors: Vec<ConfigError> = Vec::new();
            if let Err(found) = crate::build::all(&std::sync::Arc::new(config.clone())) {
                errors.extend(found);
            }
            for warning in &config.warnings {
                print!("{}", report::render(warning, true));
            }
            show(&errors, &config.path)
        }
        Err(errors) => show(&errors, ""),
    }
}

fn show(errors: &[ConfigError], path: &str) -> u8 {
    for error in errors {
        print!("{}", report::render(error, false));
    }
    if errors.is_empty() {
        println!("{path}: no errors");
        return 0;
    }
    println!("{} error{}", errors.len(), if errors.len() == 1 { "" } else { "s" });
    1
}
