//! What refers to nothing: names of transports, ACLs and lists that there are not, items of lists that can never match.
//! Exim finds out when a message comes to it.

use oxim_lang::config::{Config, ConfigError, Location, OptionKind, Options, report};
use oxim_lang::expand::Template;
use oxim_lang::list::{List, ListKind};
use oxim_receive::acl::Acls;

/// ACLs that cannot be run: illegal where they are used, or with arguments that nothing understands.
pub(super) fn of_acls(config: &Config) -> Vec<ConfigError> {
    Acls::build(config).map(|acls| acls.check(config)).unwrap_or_default()
}

/// Options of routers that name a transport.
const TRANSPORT_OPTIONS: &[&str] =
    &["directory_transport", "file_transport", "pipe_transport", "reply_transport", "transport"];

/// Transports that routers name and that there are not.
pub(super) fn of_transports(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for router in &config.routers {
        for (row, setting) in router.options.given().filter(|(row, _)| TRANSPORT_OPTIONS.contains(&row.name))
        {
            let (Some(text), Some(location)) = (setting.value.text(), &setting.location) else { continue };
            let template = Template::compile(text);
            let Some(name) = template.constant().map(|name| name.trimmed().to_string_lossy()) else {
                continue;
            };
            if name.is_empty() || config.transports.iter().any(|transport| transport.name == name) {
                continue;
            }
            let message = format!("transport \"{name}\" not found in {} router", router.name);
            let names = config.transports.iter().map(|transport| transport.name.as_str());
            let help = report::nearest(&name, names);
            errors.push(in_value(location, &format!("{} = ", row.name), text, &name, message).helped(help));
        }
    }
    errors
}

/// Items of lists that can never match: of named lists, options and ACLs.
pub(super) fn of_lists(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut check = |location: &Location, before: &str, kind: ListKind, text: &str| {
        for (item, fault) in List::compile(kind, text).faults(config) {
            let help = named_list_meant(config, kind, &item);
            errors.push(in_value(location, before, text, &item, fault).helped(help));
        }
    };
    for list in config.lists.iter() {
        let before = format!("{} {} = ", list.kind.word(), list.name);
        check(&list.location, &before, list.kind.into(), &list.source);
    }
    let instances = config.routers.iter().chain(&config.transports).chain(&config.authenticators);
    let options = std::iter::once(&config.main_options).chain(instances.map(|instance| &instance.options));
    for (row, setting) in options.flat_map(Options::given) {
        let (Some(text), Some(location)) = (setting.value.text(), &setting.location) else { continue };
        if let Some(kind) = list_kind(row.kind) {
            check(location, &format!("{} = ", row.name), kind, text);
        }
    }
    for line in config.acls.iter().flat_map(|acl| &acl.lines) {
        let Some((before, value)) = line.text.split_once('=') else { continue };
        let name = before.trim_end().rsplit([' ', '\t', '!']).next().unwrap_or_default();
        if let Some((_, kind)) = LIST_CONDITIONS.iter().find(|(condition, _)| *condition == name) {
            check(&line.location, &format!("{before}= "), *kind, value.trim());
        }
    }
    errors
}

/// Patterns of rewriting and retry rules that can never match.
pub(super) fn of_rules(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for line in config.rewrite.iter().chain(&config.retry) {
        let pattern = line.text.split_whitespace().next().filter(|pattern| !pattern.starts_with('"'));
        let pattern = pattern.unwrap_or_default();
        for (_, fault) in List::single_expanded(ListKind::Address, pattern).faults(config) {
            let error = ConfigError::at(&line.location, fault);
            errors.push(error.shown(&line.text, 0..pattern.len(), line.location.line));
        }
    }
    errors
}

/// Conditions of ACLs whose arguments are lists.
const LIST_CONDITIONS: &[(&str, ListKind)] = &[
    ("domains", ListKind::Domain),
    ("hosts", ListKind::Host),
    ("local_parts", ListKind::LocalPart),
    ("recipients", ListKind::Address),
    ("sender_domains", ListKind::Domain),
    ("senders", ListKind::Address),
];

/// What an option is a list of, if it is one.
pub(super) fn list_kind(option: OptionKind) -> Option<ListKind> {
    [
        (OptionKind::AddressList, ListKind::Address),
        (OptionKind::DomainList, ListKind::Domain),
        (OptionKind::HostList, ListKind::Host),
        (OptionKind::LocalPartList, ListKind::LocalPart),
    ]
    .iter()
    .find(|(known, _)| *known == option)
    .map(|(_, kind)| *kind)
}

/// The named list that an item such as `+locals` may have meant.
fn named_list_meant(config: &Config, kind: ListKind, item: &str) -> Option<String> {
    let wrong = item.strip_prefix('+')?;
    let lists = config.lists.iter().filter(|list| kind == list.kind.into());
    report::nearest(wrong, lists.map(|list| list.name.as_str()))
}

/// An error about a part of a value, which is marked. `before` is what stands in front of the value.
fn in_value(location: &Location, before: &str, value: &str, part: &str, message: String) -> ConfigError {
    let start = before.len().saturating_add(value.find(part).unwrap_or(0));
    let line = format!("{before}{value}");
    let end = start.saturating_add(part.len()).min(line.len());
    ConfigError::at(location, message).shown(&line, start..end, location.line)
}
