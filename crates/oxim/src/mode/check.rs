//! `oxim check [FILE]`: every error of a configuration file at once, with the line shown and the columns marked.
//!
//! Exim tells some of them only when a message meets them: strings that can never be expanded, names that nothing has, lists
//! and ACLs that cannot be evaluated. Here all that can be known is told.

mod places;
mod references;

use std::sync::Arc;

use oxim_lang::config::{self, Config, ConfigError, Location, Options, report};
use oxim_lang::expand::suggestion::{instead_of, name_in, suggestion};
use oxim_lang::expand::{SyntaxError, Template};

use crate::args::CommandLine;
use crate::assemble;

/// Checks the file, or the default one. Exit code 0 if it is good, 1 if not.
pub(crate) fn run(words: &[Vec<u8>]) -> u8 {
    let mut line = CommandLine::default();
    if let [file] = words {
        line.config_files = Some(vec![file.clone()]);
    } else if !words.is_empty() {
        complain!("usage: oxim check [FILE]");
        return 2;
    }
    match config::read(&assemble::source(&line), &assemble::catalogue()) {
        Ok(config) => {
            let config = Arc::new(config);
            let errors = all_errors(&config);
            for warning in &config.warnings {
                say_part!("{}", report::render(warning, true));
            }
            show(&errors, &config.path)
        }
        Err(errors) => show(&errors, ""),
    }
}

/// All that is wrong with a configuration that could be read.
fn all_errors(config: &Arc<Config>) -> Vec<ConfigError> {
    let mut errors = crate::build::all(config).err().unwrap_or_default();
    errors.extend(references::of_acls(config));
    errors = errors.into_iter().map(|error| places::shown(config, error)).collect();
    errors.extend(never_expandable(config));
    errors.extend(refused_names(config));
    errors.extend(references::of_transports(config));
    errors.extend(references::of_lists(config));
    errors.extend(references::of_rules(config));
    errors
}

/// Strings that are read without complaint and fail whenever they are expanded.
fn never_expandable(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for list in config.lists.iter() {
        let template = Template::compile(&list.source);
        if let Some(fault) = template.syntax_error() {
            let start = format!("{} {} = ", list.kind.word(), list.name);
            let line = format!("{start}{}", list.source);
            let name = format!("the {} list \"{}\"", list.kind.description(), list.name);
            errors.push(marked(&list.location, &name, &line, start.len(), fault));
        }
    }
    let instances = config.routers.iter().chain(&config.transports).chain(&config.authenticators);
    let all_options =
        std::iter::once(&config.main_options).chain(instances.map(|instance| &instance.options));
    for (row, setting) in all_options.flat_map(Options::given) {
        // Lists are compiled apart from their options; of the others only those are expanded that were asked for.
        let list =
            || references::list_kind(row.kind).and_then(|_| setting.value.text()).map(Template::compile);
        let Some(template) = setting.template().cloned().or_else(list) else { continue };
        let name = row.name;
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

/// Options of drivers that name files, where values from outside are refused.
const FILE_OPTIONS: &[&str] = &["directory", "file", "once", "socket"];

/// Names of files that hold values from outside: every use of them is refused.
fn refused_names(config: &Config) -> Vec<ConfigError> {
    let instances = config.routers.iter().chain(&config.transports);
    let mut errors = Vec::new();
    for instance in instances {
        for (name, setting, template) in instance.options.templates() {
            let Some(location) = &setting.location else { continue };
            let line = format!("{name} = {}", template.source());
            let start = line.len().saturating_sub(template.source().len());
            let own = template.foreign_variables().into_iter().filter(|_| FILE_OPTIONS.contains(&name));
            let own = own.map(|variable| (variable, start));
            let inside = template.refused_names().iter();
            let inside = inside.map(|n| (n.variable.as_str(), start.saturating_add(n.position)));
            errors.extend(own.chain(inside).map(|(variable, from)| refused(location, &line, variable, from)));
        }
    }
    for line in config.acls.iter().flat_map(|acl| &acl.lines) {
        let Some((_, value)) = line.text.split_once('=') else { continue };
        let start = line.text.find(value).unwrap_or(0);
        let template = Template::compile(value);
        let names = template.refused_names().iter();
        errors.extend(
            names.map(|n| refused(&line.location, &line.text, &n.variable, start.saturating_add(n.position))),
        );
    }
    errors
}

/// The error about a variable in the name of a file that begins at a place of the line.
fn refused(location: &Location, line: &str, variable: &str, from: usize) -> ConfigError {
    let rest = line.get(from..).unwrap_or_default();
    let braced = format!("${{{variable}}}");
    let plain = format!("${variable}");
    let found = rest.find(&braced).map(|at| (at, braced.len()));
    let (at, length) = found.or_else(|| rest.find(&plain).map(|at| (at, plain.len()))).unwrap_or((0, 1));
    let start = from.saturating_add(at);
    ConfigError::at(
        location,
        format!("the value of ${variable} comes from outside and is refused in the name of a file"),
    )
    .shown(line, start..start.saturating_add(length).min(line.len()), location.line)
    .helped(Some(instead_of(variable)))
}

/// The error, with what is at fault marked in the line. `start` is where the expanded text begins there.
fn marked(location: &Location, name: &str, line: &str, start: usize, fault: &SyntaxError) -> ConfigError {
    let end = line.len();
    let from = start.saturating_add(fault.span.start).min(end.saturating_sub(1));
    // A name that is wrong is marked itself; the parser stands behind it then.
    let wrong = name_in(&fault.message).and_then(|wrong| {
        let until = from.saturating_add(wrong.len()).saturating_add(1).min(end);
        let at = line.get(start..until)?.rfind(wrong)?.saturating_add(start);
        Some(at..at.saturating_add(wrong.len()))
    });
    ConfigError::at(location, format!("{name} can never be expanded: {}", fault.message))
        .shown(line, wrong.unwrap_or(from..end), location.line)
        .helped(suggestion(&fault.message))
}

fn show(errors: &[ConfigError], path: &str) -> u8 {
    for error in errors {
        say_part!("{}", report::render(error, false));
    }
    if errors.is_empty() {
        say!("{path}: no errors");
        return 0;
    }
    say!("{} error{}", errors.len(), if errors.len() == 1 { "" } else { "s" });
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

    fn shown_errors(text: &str) -> String {
        let config = config::read_bytes("test.conf", text.as_bytes(), &[], &assemble::catalogue()).unwrap();
        all_errors(&Arc::new(config)).iter().map(|error| report::render(error, false)).collect()
    }

    #[test]
    fn misspelt_names_are_marked_and_the_right_ones_told() {
        let shown = shown_errors(
            "smtp_banner = a ${if eq{$primary_hostnam}{b}{c}}\nbegin acl\nx:\n  accept condition = ${if macth{a}{b}}\n",
        );
        assert!(shown.contains("did you mean \"primary_hostname\"?"), "{shown}");
        assert!(shown.contains("did you mean \"match\"?"), "{shown}");
        assert!(shown.contains("│                          ^^^^^^^^^^^^^^^\n"), "{shown}");
        assert!(shown.contains("│                         ^^^^^\n"), "{shown}");
        let shown = shown_errors("begin acl\nx:\n  accept domians = a\n");
        assert!(shown.contains("did you mean \"domains\"?"), "{shown}");
    }

    #[test]
    fn values_from_outside_in_names_of_files() {
        let shown = shown_errors(
            "begin acl\nx:\n  accept condition = ${lookup{a}lsearch{/etc/$sender_address_domain}}\n\
             begin routers\nr:\n  driver = redirect\n  data = ${lookup{$local_part}lsearch{/etc/aliases.$domain}}\n\
             begin transports\nt:\n  driver = appendfile\n  user = mail\n  file = /var/mail/$local_part\n\
             u:\n  driver = appendfile\n  user = mail\n  file = /var/mail/$local_part_data\n",
        );
        assert!(
            shown.contains("use $local_part_data, the value of the lookup, instead of $local_part\n"),
            "{shown}"
        );
        assert!(shown.contains("use $domain_data, the value of the lookup, instead of $domain\n"), "{shown}");
        assert!(shown.contains("look $sender_address_domain up"), "{shown}");
        assert_eq!(shown.matches("is refused in the name of a file").count(), 3, "{shown}");
    }
}
