//! `-bP`: printing the configuration (manual section 5.2).
//!
//! The output is Exim's, line for line. Values behind `hide`, and macros, are shown to admin users only. What is not
//! found is said in the output, and the last request decides the exit status.

use std::fmt::Write as _;

use nix::unistd::{Gid, Group, Uid, User};
use oxim_base::clock;

use super::lines::Shown;
use super::main::EXIM_VERSION;
use super::main_options::MAIN;
use super::named_lists::ListKind;
use super::options::{Instance, OptionKind, OptionRow, Options, Value, find_row};
use super::{Config, DriverClass};

/// What is shown in place of a value that the caller may not see.
const NOT_DISPLAYABLE: &str = "<value not displayable>";

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// `-n`: values without names.
    pub is_bare: bool,
    /// The caller may see hidden values and macros.
    pub is_admin: bool,
}

/// Why nothing can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Macros are for admin users; Exim says `exim: permission denied`.
    NotAdmin,
}

/// A printer with its output.
struct Printer<'a> {
    config: &'a Config,
    manner: Manner,
    environment: &'a [(String, String)],
    out: String,
}

/// Prints what the words after `-bP` ask for: the text, and whether the last of them was found.
///
/// `environment` is the environment that is left after `keep_environment` and `add_environment`.
///
/// # Errors
/// The caller may not see it.
pub fn print(
    config: &Config,
    words: &[String],
    manner: Manner,
    environment: &[(String, String)],
) -> Result<(String, bool), Refused> {
    let mut printer = Printer { config, manner, environment, out: String::new() };
    let mut found = true;
    if words.is_empty() {
        printer.all_main();
    }
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let named = matches!(word, "router" | "transport" | "authenticator" | "macro");
        found = match words.peek().copied().filter(|_| named) {
            Some(name) => {
                words.next();
                printer.one(word, name)?
            }
            None => printer.word(word)?,
        };
    }
    Ok((printer.out, found))
}

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn word(&mut self, word: &str) -> Result<bool, Refused> {
        match word {
            "all" => self.all_main(),
            "config_file" | "configure_file" => {
                let path = self.config.path.clone();
                self.line(&path);
            }
            "config" => self.whole_file(),
            "environment" => self.variables(),
            "routers" => self.instances(DriverClass::Router),
            "transports" => self.instances(DriverClass::Transport),
            "authenticators" => self.instances(DriverClass::Authenticator),
            "router_list" => self.names(DriverClass::Router),
            "transport_list" => self.names(DriverClass::Transport),
            "authenticator_list" => self.names(DriverClass::Authenticator),
            "macros" | "macro_list" => self.macros(word == "macro_list")?,
            "local_scan" => {
                self.line("local_scan() options are not supported");
                return Ok(false);
            }
            _ => return Ok(self.option_or_list(word)),
        }
        Ok(true)
    }

    fn option_or_list(&mut self, word: &str) -> bool {
        if let Some(name) = word.strip_prefix('+') {
            return self.named_lists(name);
        }
        let row = find_row(MAIN, word).and_then(|row| {
            if let OptionKind::Alias(target) = row.kind { find_row(MAIN, target) } else { Some(row) }
        });
        let Some(row) = row else {
            self.line(&format!("{word} is not a known option"));
            return false;
        };
        let config = self.config;
        self.option(row, &config.main_options, config.hidden.contains(&(None, "", row.name)));
        true
    }

    fn all_main(&mut self) {
        let config = self.config;
        for row in MAIN {
            self.option(row, &config.main_options, config.hidden.contains(&(None, "", row.name)));
        }
    }

    fn named_lists(&mut self, name: &str) -> bool {
        let config = self.config;
        let mut found = false;
        for kind in ListKind::ALL {
            if let Some(list) = config.lists.get(kind, name) {
                found = true;
                let value =
                    if list.is_hidden && !self.manner.is_admin { NOT_DISPLAYABLE } else { &list.source };
                let prefix =
                    if self.manner.is_bare { String::new() } else { format!("{} {name} = ", kind.word()) };
                self.line(&format!("{prefix}{value}"));
            }
        }
        if !found {
            self.line(&format!("no address, domain, host, or local part list called \"{name}\" exists"));
        }
        found
    }

    fn class(&self, class: DriverClass) -> &[Instance] {
        match class {
            DriverClass::Router => &self.config.routers,
            DriverClass::Transport => &self.config.transports,
            DriverClass::Authenticator => &self.config.authenticators,
        }
    }

    fn names(&mut self, class: DriverClass) {
        let names: Vec<String> = self.class(class).iter().map(|instance| instance.name.clone()).collect();
        for name in names {
            self.line(&name);
        }
    }

    fn instances(&mut self, class: DriverClass) {
        let count = self.class(class).len();
        for at in 0..count {
            let Some(instance) = self.class(class).get(at).cloned() else { continue };
            self.line(&format!("\n{} {}:", instance.name, class.word()));
            self.instance(class, &instance);
        }
    }

    fn instance(&mut self, class: DriverClass, instance: &Instance) {
        let (generic, private) = instance.options.tables();
        let hidden = &self.config.hidden;
        for row in generic {
            self.option(row, &instance.options, hidden.contains(&(Some(class), "", row.name)));
        }
        // A private row with a generic name only gives another default.
        for row in private.iter().filter(|row| find_row(generic, row.name).is_none()) {
            self.option(row, &instance.options, hidden.contains(&(Some(class), instance.driver, row.name)));
        }
    }

    fn one(&mut self, word: &str, name: &str) -> Result<bool, Refused> {
        let class = match word {
            "router" => DriverClass::Router,
            "transport" => DriverClass::Transport,
            "authenticator" => DriverClass::Authenticator,
            _ => return self.one_macro(name),
        };
        match self.class(class).iter().find(|instance| instance.name == name).cloned() {
            Some(instance) => {
                self.instance(class, &instance);
                Ok(true)
            }
            None => {
                self.line(&format!("{word} {name} not found"));
                Ok(false)
            }
        }
    }

    fn all_macros(&self) -> Result<Vec<(String, String)>, Refused> {
        if !self.manner.is_admin {
            return Err(Refused::NotAdmin);
        }
        let macros = &self.config.macros;
        let own = macros.defined().iter().map(|known| (known.name.clone(), known.value.clone()));
        let builtin = macros.builtins().all().into_iter().map(|(name, value)| (name, value.to_owned()));
        Ok(builtin.chain(own).collect())
    }

    fn macros(&mut self, names_only: bool) -> Result<(), Refused> {
        for (name, value) in self.all_macros()? {
            let text = match (names_only, self.manner.is_bare) {
                (true, _) => name,
                (false, true) => value,
                (false, false) => format!("{name}={value}"),
            };
            self.line(&text);
        }
        Ok(())
    }

    fn one_macro(&mut self, wanted: &str) -> Result<bool, Refused> {
        let known = self.all_macros()?.into_iter().find(|(name, _)| name == wanted);
        let text = match &known {
            Some((_, value)) if self.manner.is_bare => value.clone(),
            Some((name, value)) => format!("{name}={value}"),
            None => format!("macro {wanted} not found"),
        };
        self.line(&text);
        Ok(known.is_some())
    }

    fn variables(&mut self) {
        for (name, value) in self.environment {
            let text = if self.manner.is_bare { name.clone() } else { format!("{name}={value}") };
            self.line(&text);
        }
    }

    /// The file as it was understood: comments and what conditions left out are gone, macros replaced.
    fn whole_file(&mut self) {
        let config = self.config;
        self.line(&format!("# Exim Configuration ({EXIM_VERSION})"));
        // How far lines are indented: rules and what stands before the first name by 2, what belongs to a name by 4.
        let mut section = "";
        let mut indent = 0;
        for shown in config.shown.iter() {
            match shown {
                Shown::File(line, name) => self.line(&format!("# {line} \"{name}\"")),
                Shown::Line(text) => {
                    let text = squeezed(text);
                    if text.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("begin ")) {
                        section = if text.ends_with("retry") || text.ends_with("rewrite") {
                            "rules"
                        } else {
                            "named"
                        };
                        indent = 2;
                        self.line(&format!("\n{text}"));
                    } else if section == "named" && is_label(&text) {
                        indent = 4;
                        self.line(&format!("\n  {text}"));
                    } else {
                        let text = if self.manner.is_admin { text } else { without_secrets(&text) };
                        self.line(&format!("{:indent$}{text}", ""));
                    }
                }
            }
        }
    }

    /// One option.
    fn option(&mut self, row: &'static OptionRow, options: &Options, is_hidden: bool) {
        if matches!(row.kind, OptionKind::Alias(_) | OptionKind::Both(..)) {
            return;
        }
        let value = options.value(row.name);
        if is_hidden && !self.manner.is_admin {
            return self.valued(row.name, Some(NOT_DISPLAYABLE), true);
        }
        if let Some(Value::Bool(on)) = value {
            let prefix = if on { "" } else { "no_" };
            return self.line(&format!("{prefix}{}", row.name));
        }
        let text = printed(row.kind, value.as_ref()).or_else(|| group_of_user(row, options));
        // Lists of users and unset fixed-point numbers have no blank after the equals sign.
        let spaced = !matches!(row.kind, OptionKind::UidList | OptionKind::GidList | OptionKind::Fixed);
        self.valued(row.name, text.as_deref(), spaced);
    }

    fn valued(&mut self, name: &str, value: Option<&str>, is_spaced: bool) {
        if !self.manner.is_bare {
            let blank = if is_spaced || value.is_some() { " " } else { "" };
            let _ = write!(self.out, "{name} ={blank}");
        }
        self.line(value.unwrap_or_default());
    }
}

/// White space as Exim shows it: every run is one blank.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_label(text: &str) -> bool {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    length > 0 && text.get(length..).is_some_and(|rest| rest.trim_start().starts_with(':'))
}

/// Values of macros and hidden options taken out.
fn without_secrets(text: &str) -> String {
    let is_macro = super::macros::definition(text).is_some();
    let shown = text.strip_prefix("hide ").unwrap_or(text);
    match shown.split_once('=') {
        Some((name, _)) if is_macro || shown.len() != text.len() => {
            format!("{} = {NOT_DISPLAYABLE}", name.trim())
        }
        _ => shown.to_owned(),
    }
}

/// A string with control characters and, as bytes, everything beyond ASCII written as escapes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            11 => out.push_str("\\v"),
            12 => out.push_str("\\f"),
            32..=126 => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out
}

fn user_name(id: u32) -> String {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}

/// The group that goes with a user that is set without one.
fn group_of_user(row: &'static OptionRow, options: &Options) -> Option<String> {
    if !matches!(row.kind, OptionKind::GidExpanded | OptionKind::Gid) {
        return None;
    }
    let counterpart = row.name.replace("group", "user");
    let uid = options.row(&counterpart).and_then(|row| options.id(row.name))?;
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    Some(group_name(user.gid.as_raw()))
}

/// A number of bytes with the largest letter that leaves it whole.
fn with_letter(number: i64) -> String {
    for (shift, letter) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        let unit = 1_i64 << shift;
        if number != 0 && number % unit == 0 {
            return format!("{}{letter}", number / unit);
        }
    }
    number.to_string()
}

/// Thousandths as `1.5`; at least one decimal.
fn fixed(number: i64) -> String {
    let decimals = format!("{:03}", number % 1000);
    let decimals = decimals.trim_end_matches('0');
    format!("{}.{}", number / 1000, if decimals.is_empty() { "0" } else { decimals })
}

/// A value as `-bP` writes it; None if it is unset.
#[must_use]
pub fn printed(kind: OptionKind, value: Option<&Value>) -> Option<String> {
    match (kind, value?) {
        (OptionKind::Octal, Value::Int(number)) => {
            Some(if *number == 0 { "0".to_owned() } else { format!("0{number:o}") })
        }
        (OptionKind::Kint | OptionKind::KintWide, Value::Int(number)) => Some(with_letter(*number)),
        (OptionKind::Fixed, Value::Int(number)) => Some(fixed(*number)),
        (_, Value::Int(number)) => Some(number.to_string()),
        (_, Value::Time(seconds)) => Some(clock::interval(*seconds)),
        (_, Value::Times(list)) => {
            Some(list.iter().map(|seconds| clock::interval(*seconds)).collect::<Vec<_>>().join(":"))
        }
        (OptionKind::UidExpanded, Value::Text(text)) if !text.contains('$') => {
            Some(super::value::user(text).map_or_else(|_| text.clone(), user_name))
        }
        (OptionKind::GidExpanded, Value::Text(text)) if !text.contains('$') => {
            Some(super::value::group(text).map_or_else(|_| text.clone(), group_name))
        }
        (_, Value::Text(text)) => Some(escaped(text)),
        (OptionKind::Gid, Value::Id(id)) => Some(group_name(*id)),
        (_, Value::Id(id)) => Some(user_name(*id)),
        (_, Value::Ids(ids)) if ids.is_empty() => None,
        (OptionKind::GidList, Value::Ids(ids)) => {
            Some(ids.iter().map(|id| group_name(*id)).collect::<Vec<_>>().join(":"))
        }
        (_, Value::Ids(ids)) => Some(ids.iter().map(|id| user_name(*id)).collect::<Vec<_>>().join(":")),
        (_, Value::Bool(on)) => Some(if *on { "true" } else { "false" }.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, read_bytes, tests::catalogue};

    fn config(text: &str) -> Config {
        read_bytes("/c", text.as_bytes(), &[], &catalogue())
            .map_err(|errors: Vec<ConfigError>| errors)
            .unwrap()
    }

    fn asked(text: &str, words: &[&str], manner: Manner) -> (String, bool) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        print(&config(text), &words, manner, &[("A".to_owned(), "b".to_owned())]).unwrap()
    }

    const ADMIN: Manner = Manner { is_bare: false, is_admin: true };
    const BARE: Manner = Manner { is_bare: true, is_admin: true };

    #[test]
    fn single_options() {
        let text = "queue_only_load = 0.5\ndeliver_queue_load_max = 3\nsmtp_load_reserve = 10.05\n\
            check_spool_space = 12345678901K\nbounce_return_size_limit = 1M\ndelay_warning = 1h:25h\n\
            bounce_message_text = \"a\\tb\\n\\x01\"\nno_message_logs\ntrusted_users = 0 : 54321\n";
        for (name, printed) in [
            ("queue_only_load", "queue_only_load = 0.5\n"),
            ("deliver_queue_load_max", "deliver_queue_load_max = 3.0\n"),
            ("smtp_load_reserve", "smtp_load_reserve = 10.05\n"),
            ("check_spool_space", "check_spool_space = 12345678901K\n"),
            ("return_size_limit", "bounce_return_size_limit = 1M\n"),
            ("delay_warning", "delay_warning = 1h:1d1h\n"),
            ("bounce_message_text", "bounce_message_text = a\\tb\\n\\001\n"),
            ("message_logs", "no_message_logs\n"),
            ("trusted_users", "trusted_users = root:54321\n"),
            ("admin_groups", "admin_groups =\n"),
            ("acl_smtp_rcpt", "acl_smtp_rcpt = \n"),
            ("check_log_space", "check_log_space = 10M\n"),
        ] {
            assert_eq!(asked(text, &[name], ADMIN), (printed.to_owned(), true), "{name}");
        }
        assert_eq!(asked(text, &["nosuch"], ADMIN), ("nosuch is not a known option\n".to_owned(), false));
        assert_eq!(
            asked(text, &["bounce_return_size_limit", "message_logs"], BARE).0,
            "1M\nno_message_logs\n"
        );
    }

    #[test]
    fn hidden_values_lists_and_macros() {
        let text = "ABC = 12\nhide unknown_login = abc\ndomainlist a = b :  c\nhostlist a = <; d\n";
        let plain = Manner::default();
        assert_eq!(asked(text, &["unknown_login"], plain).0, "unknown_login = <value not displayable>\n");
        assert_eq!(asked(text, &["unknown_login"], ADMIN).0, "unknown_login = abc\n");
        assert_eq!(asked(text, &["+a"], ADMIN).0, "domainlist a = b :  c\nhostlist a = <; d\n");
        assert_eq!(asked(text, &["macro", "ABC"], ADMIN).0, "ABC=12\n");
        assert_eq!(asked(text, &["macro", "NOSUCH"], ADMIN), ("macro NOSUCH not found\n".to_owned(), false));
        assert_eq!(print(&config(text), &["macros".to_owned()], plain, &[]), Err(Refused::NotAdmin));
        assert_eq!(asked(text, &["environment"], ADMIN).0, "A=b\n");
        assert_eq!(asked(text, &["environment"], BARE).0, "A\n");
        let whole = asked(text, &["config"], plain).0;
        assert!(
            whole.contains("\nABC = <value not displayable>\nunknown_login = <value not displayable>\n"),
            "{whole}"
        );
    }

    #[test]
    fn the_file_as_understood() {
        let text = "queue_only\n# c\nbegin acl\nfoo:\n  accept  hosts = \"a  b\" \\\n   c\nbegin routers\n\
            A = b\nr:\n driver = redirect\n data = A\nbegin retry\n*   * F,1h,1m\n";
        assert_eq!(
            asked(text, &["config"], ADMIN).0,
            "# Exim Configuration (4.96)\n# 1 \"/c\"\nqueue_only\n\nbegin acl\n\n  foo:\n    accept hosts = \"a b\" c\n\n\
             begin routers\n  A = b\n\n  r:\n    driver = redirect\n    data = b\n\nbegin retry\n  * * F,1h,1m\n"
        );
    }
}
