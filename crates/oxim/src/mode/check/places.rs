//! Where an error stands, if it says no more than a line or a name: the line is shown, and what is wrong in it marked.

use oxim_lang::config::{Config, ConfigError, Instance, SourceLine, report};

/// The error with the line that it is about, if there is one.
pub(super) fn shown(config: &Config, error: ConfigError) -> ConfigError {
    if error.excerpt.is_some() {
        return error;
    }
    if let Some(instance) = error.subject.as_deref().and_then(|subject| instance(config, subject)) {
        let error = ConfigError { location: Some(instance.location.clone()), ..error };
        let line = format!("{}:", instance.name);
        return error.shown(&line, 0..line.len(), instance.location.line);
    }
    match error.message.split_once("unknown ACL condition/modifier in \"") {
        Some((_, rest)) => {
            let text = rest.trim_end_matches('"').to_owned();
            in_acl_line(config, error, &text)
        }
        None => in_own_line(config, error),
    }
}

/// The driver of `a router`, `b transport` or `c authenticator`.
fn instance<'a>(config: &'a Config, subject: &str) -> Option<&'a Instance> {
    let (name, class) = subject.rsplit_once(' ')?;
    let instances = match class {
        "router" => &config.routers,
        "transport" => &config.transports,
        "authenticator" => &config.authenticators,
        _ => return None,
    };
    instances.iter().find(|instance| instance.name == name)
}

/// An error that names the file and the number of its line. What it quotes is marked there, or the whole line.
fn in_own_line(config: &Config, error: ConfigError) -> ConfigError {
    let Some(location) = error.location.clone() else { return error };
    let rules = config.rewrite.iter().chain(&config.retry);
    let Some(line) = acl_lines(config).chain(rules).filter(|line| line.location == location).last() else {
        return error;
    };
    let quoted = error.message.split(['"', '\'']).nth(1).filter(|quoted| !quoted.is_empty());
    let found = quoted.and_then(|quoted| Some((line.text.rfind(quoted)?, quoted.len())));
    let (start, length) = found.unwrap_or((0, line.text.len()));
    error.shown(&line.text, start..start.saturating_add(length), location.line)
}

/// The error about a word in a line of an ACL that is no condition or modifier.
fn in_acl_line(config: &Config, error: ConfigError, text: &str) -> ConfigError {
    let word = wrong_word(text);
    let names: Vec<String> = oxim_receive::acl::documentation().map(|(name, _)| name).collect();
    let help = report::nearest(word, names.iter().map(String::as_str));
    let Some(line) = acl_lines(config).find(|line| line.text.trim() == text.trim()) else {
        return error.helped(help);
    };
    let start = line.text.find(word).unwrap_or(0);
    let error = ConfigError { location: Some(line.location.clone()), ..error };
    error.shown(&line.text, start..start.saturating_add(word.len()), line.location.line).helped(help)
}

fn acl_lines(config: &Config) -> impl Iterator<Item = &SourceLine> {
    config.acls.iter().flat_map(|acl| &acl.lines)
}

/// What a statement of an ACL may begin with.
const VERBS: &[&str] = &["accept", "defer", "deny", "discard", "drop", "require", "warn"];

/// The word of a line of an ACL that is no condition or modifier: the first, or that after the verb.
fn wrong_word(line: &str) -> &str {
    let known = |word: &str| oxim_receive::acl::documentation().any(|(name, _)| name == word);
    let words = line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '!'));
    words
        .filter(|word| !word.is_empty())
        .find(|word| !VERBS.contains(word) && !known(word))
        .unwrap_or_default()
}
