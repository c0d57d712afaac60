//! `oxim check [FILE]`: every error of a configuration file at once, with the line shown and the columns marked.

use std::sync::Arc;

use oxim_lang::config::{self, Config, ConfigError, Location, Options, report};
use oxim_lang::expand::{SyntaxError, Template};
use oxim_receive::acl::Acls;

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
            let config = Arc::new(config);
            let mut errors = crate::build::all(&config).err().unwrap_or_default();
            let never_legal = Acls::build(&config).map(|acls| acls.check()).unwrap_or_default();
            errors.extend(never_legal.into_iter().map(|error| marked_in_acl(&config, error)));
            errors.extend(never_expandable(&config));
            for warning in &config.warnings {
                print!("{}", report::render(warning, true));
            }
            show(&errors, &config.path)
        }
        Err(errors) => show(&errors, ""),
    }
}

/// Strings that are read without complaint and fail whenever they are expanded.
fn never_expandable(config: &Config) -> Vec<ConfigError> {
    let instances = config.routers.iter().chain(&config.transports).chain(&config.authenticators);
    let all_options =
        std::iter::once(&config.main_options).chain(instances.map(|instance| &instance.options));
    let mut errors = Vec::new();
    for (name, setting, template) in all_options.flat_map(Options::faulty_templates) {
        if let (Some(location), Some(fault)) = (&setting.location, template.syntax_error()) {
            let line = format!("{name} = {}", template.source());
            errors.push(marked(
                location,
                name,
                &line,
                line.len().saturating_sub(template.source().len()),
                fault,
            ));
        }
    }
    for line in config.acls.iter().flat_map(|acl| &acl.lines) {
        // `verb condition = value`: the value is expanded, whatever the condition.
        let Some((before, value)) = line.text.split_once('=') else { continue };
        let value = value.trim();
        let template = Template::compile(value);
        if let Some(fault) = template.syntax_error() {
            let start = line.text.find(value).unwrap_or(0);
            let name = before.split_whitespace().last().unwrap_or("the value");
            errors.push(marked(&line.location, name, &line.text, start, fault));
        }
    }
    errors
}

/// The error of an ACL, with its line.
fn marked_in_acl(config: &Config, error: ConfigError) -> ConfigError {
    let lines = config.acls.iter().flat_map(|acl| &acl.lines);
    let mut line = lines.filter(|line| {
        error
            .location
            .as_ref()
            .is_some_and(|at| at.line == line.location.line && at.file == line.location.file)
    });
    match line.next_back() {
        Some(line) => error.shown(&line.text, 0..line.text.len(), line.location.line),
        None => error,
    }
}

/// The error, with what is at fault marked in the line. `start` is where the expanded text begins there.
fn marked(location: &Location, name: &str, line: &str, start: usize, fault: &SyntaxError) -> ConfigError {
    let end = line.len();
    let from = start.saturating_add(fault.span.start).min(end.saturating_sub(1));
    ConfigError::at(location, format!("{name} can never be expanded: {}", fault.message)).shown(
        line,
        from..end,
        location.line,
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_can_never_be_expanded() {
        let text = b"smtp_banner = ${if eq{a}{b}{c\nacl_smtp_rcpt = x\nlog_file_path = :syslog\nbegin acl\nx:\n  accept domains = a\n    condition = ${nothing:x}\nbegin routers\nr:\n  driver = accept\n  condition = ${if foo{x}}\n  no_verify\n";
        let config = config::read_bytes("test.conf", text, &[], &assemble::catalogue()).unwrap();
        let config = Arc::new(config);
        let _ = crate::build::all(&config);
        let errors = never_expandable(&config);
        let shown: String = errors.iter().map(|error| report::render(error, false)).collect();
        assert_eq!(errors.len(), 3, "{shown}");
        assert!(shown.contains("smtp_banner can never be expanded"), "{shown}");
        assert!(shown.contains("test.conf:7"), "{shown}");
        assert!(shown.contains("unknown condition \"foo\""), "{shown}");
    }
}
