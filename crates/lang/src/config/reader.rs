//! The sections of the configuration file and what stands in them.
//!
//! Reading goes on after an error, so that all can be shown at once; what cannot be judged because of an earlier error
//! (private options of an unknown driver, lines of an unknown section) is passed over in silence.

use std::ops::Range;
use std::sync::Arc;

use super::error::ConfigError;
use super::lines::{Line, Lines};
use super::macros;
use super::main::{self, Main};
use super::main_options::MAIN;
use super::named_lists::{ListKind, NamedList, NamedLists};
use super::options::{Catalogue, Drivers, Instance, OptionRow, Options, Status, Value, default_value};
use super::setting::{
    Fault, Written, fault, is_repeatable, name_length, positive, read_value, store, take_apart,
};
use super::{AclSource, Config, DriverClass, Hidden, SourceLine, derived, report, rows, value};

/// The sections after the main one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    Acl,
    Authenticators,
    LocalScan,
    Retry,
    Rewrite,
    Routers,
    Transports,
}

const SECTIONS: &[(&str, Section)] = &[
    ("acl", Section::Acl),
    ("authenticators", Section::Authenticators),
    ("local_scan", Section::LocalScan),
    ("retry", Section::Retry),
    ("rewrite", Section::Rewrite),
    ("routers", Section::Routers),
    ("transports", Section::Transports),
];

/// An instance being read.
struct Open {
    instance: Instance,
    /// Rows that were named in it.
    named: Vec<&'static str>,
    /// Its driver is known.
    has_driver: bool,
    /// Its driver was named and is not there, which was reported.
    is_broken: bool,
}

struct Reader<'a> {
    lines: Lines,
    catalogue: &'a Catalogue,
    main_options: Options,
    lists: NamedLists,
    acls: Vec<AclSource>,
    instances: [Vec<Instance>; 3],
    rewrite: Vec<SourceLine>,
    retry: Vec<SourceLine>,
    hidden: Hidden,
}

/// Reads all sections.
pub(super) fn read(path: &str, lines: Lines, catalogue: &Catalogue) -> Result<Config, Vec<ConfigError>> {
    let mut reader = Reader {
        lines,
        catalogue,
        main_options: Options::new(MAIN, &[]),
        lists: NamedLists::default(),
        acls: Vec::new(),
        instances: Default::default(),
        rewrite: Vec::new(),
        retry: Vec::new(),
        hidden: Hidden::new(),
    };
    let mut begin = reader.main_section();
    reader.end_of_main();
    let mut seen = Vec::new();
    while let Some(line) = begin {
        begin = reader.section(&line, &mut seen);
    }
    if !reader.lines.errors.is_empty() {
        return Err(reader.lines.errors);
    }
    let [routers, transports, authenticators] = reader.instances;
    Ok(Config {
        main: Main::new(&reader.main_options),
        main_options: reader.main_options,
        lists: reader.lists,
        acls: reader.acls,
        routers,
        transports,
        authenticators,
        rewrite: reader.rewrite,
        retry: reader.retry,
        path: path.to_owned(),
        macros: reader.lines.macros,
        hidden: reader.hidden,
        shown: Arc::new(reader.lines.shown),
        warnings: reader.lines.warnings,
    })
}

/// `begin x`: what follows the word.
fn begins(line: &str) -> Option<&str> {
    let (word, rest) = line.split_at_checked(6)?;
    word.eq_ignore_ascii_case("begin ").then(|| rest.trim())
}

/// `name :` at the start of a line: the name and what follows the colon.
fn labelled(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_at_checked(name_length(text))?;
    let rest = rest.trim_start().strip_prefix(':')?;
    (!name.is_empty()).then(|| (name, rest.trim()))
}

/// The columns of a part of a line.
fn span_of_tail(text: &str, tail: &str) -> Range<usize> {
    text.len().saturating_sub(tail.len())..text.len()
}

/// Names of old texts and the true ones, which win wherever they stand. Of names that Exim has itself, the last one counts.
const OLD_NAMES: [(&str, &str); 2] =
    [("acl_data_smtp_prdr", "acl_smtp_data_prdr"), ("proxy_required_hosts", "hosts_proxy")];

impl Reader<'_> {
    fn fail(&mut self, line: &Line, fault: Fault) {
        let error = ConfigError::at(&line.location, fault.message);
        self.lines.errors.push(error.shown(&line.text, fault.span, line.first_line).helped(fault.help));
    }

    fn warn(&mut self, line: &Line, message: String, span: Range<usize>) {
        let warning = ConfigError::at(&line.location, message);
        self.lines.warnings.push(warning.shown(&line.text, span, line.first_line));
    }

    /// Defines a macro if the line does that. Errors belong to no line, as in Exim.
    fn define(&mut self, line: &Line) -> bool {
        let Some(definition) = macros::definition(&line.text) else { return false };
        if let Err(error) = self.lines.macros.define(&definition) {
            let span = 0..definition.name.len();
            let help = format!("the definition is in {}", line.location);
            self.lines.errors.push(error.shown(&line.text, span, line.first_line).helped(Some(help)));
        }
        true
    }

    /// Reads the main section; gives the `begin` line that ends it.
    fn main_section(&mut self) -> Option<Line> {
        let mut named = Vec::new();
        while let Some(line) = self.lines.next_line() {
            if begins(&line.text).is_some() {
                return Some(line);
            }
            if self.define(&line) {
                continue;
            }
            if line.text.as_bytes().first().is_some_and(u8::is_ascii_uppercase) {
                self.fail(&line, fault("malformed macro definition", 0..line.text.len()));
                continue;
            }
            let result = match list_word(&line.text) {
                Some((kind, rest)) => self.named_list(&line, kind, rest),
                None => self.main_option(&line, &mut named),
            };
            if let Err(fault) = result {
                self.fail(&line, fault);
            }
        }
        None
    }

    fn main_option(&mut self, line: &Line, named: &mut Vec<&'static str>) -> Result<(), Fault> {
        let written = take_apart(&line.text)?;
        if written.is_hidden
            && let Some((kind, rest)) = list_word(written.text)
        {
            return self.named_list(line, kind, rest);
        }
        // Taken out while it is written, because errors and warnings go to the same reader.
        let mut options = std::mem::take(&mut self.main_options);
        let result = self.set(&mut options, named, line, &written, "main option");
        self.main_options = options;
        let row = result?;
        if written.is_hidden {
            self.hidden.insert((None, "", row.name));
        }
        Ok(())
    }

    fn named_list(&mut self, line: &Line, kind: ListKind, rest: &str) -> Result<(), Fault> {
        let (is_cached, rest) = match rest.strip_prefix("_cache") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let Some(rest) = rest.strip_prefix(char::is_whitespace) else {
            return Err(fault("unrecognized configuration line", 0..line.text.len()));
        };
        let rest = rest.trim_start();
        let (name, after) = rest.split_at_checked(name_length(rest)).unwrap_or((rest, ""));
        let Some(text) = after.trim_start().strip_prefix('=') else {
            return Err(fault(format!("missing '=' after \"{name}\""), span_of_tail(&line.text, after)));
        };
        let text = text.trim_start();
        let span = span_of_tail(&line.text, text);
        let source = value::string(name, text).map_err(|message| fault(message, span))?;
        let list = NamedList {
            kind,
            name: name.to_owned(),
            source,
            location: line.location.clone(),
            is_cached,
            is_hidden: line.text.starts_with("hide"),
        };
        if self.lists.add(list) {
            return Ok(());
        }
        let message = format!("duplicate name \"{name}\" for a named {} list", kind.description());
        let start = span_of_tail(&line.text, rest).start;
        Err(fault(message, start..start.saturating_add(name.len())))
    }

    /// Checks that Exim makes between the main section and the others.
    fn end_of_main(&mut self) {
        for (option, message) in crate::lookup::faulty_server_lists(&self.main_options) {
            self.lines.errors.push(match self.main_options.location(option) {
                Some(location) => ConfigError::at(location, message),
                None => ConfigError::new(message),
            });
        }
        for error in main::check(&self.main_options) {
            self.lines.errors.push(error);
        }
        main::compute(&mut self.main_options);
    }

    /// Reads the section that a `begin` line opens; gives the next `begin` line.
    fn section(&mut self, begin: &Line, seen: &mut Vec<Section>) -> Option<Line> {
        let word = begins(&begin.text).unwrap_or_default();
        let span = span_of_tail(&begin.text, word);
        let Some((name, section)) = SECTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) else {
            let message = format!("\"{word}\" is not a known configuration section name");
            let help = report::nearest(word, SECTIONS.iter().map(|(name, _)| *name));
            self.fail(begin, Fault { message, span, help });
            return self.skip_section();
        };
        if seen.contains(section) {
            let message = format!("\"{name}\" section is repeated in the configuration file");
            self.fail(begin, fault(message, span));
            return self.skip_section();
        }
        seen.push(*section);
        match section {
            Section::Acl => self.acl_section(),
            Section::Routers => self.driver_section(DriverClass::Router),
            Section::Transports => self.driver_section(DriverClass::Transport),
            Section::Authenticators => self.driver_section(DriverClass::Authenticator),
            Section::Retry => self.raw_section(|reader| &mut reader.retry),
            Section::Rewrite => self.raw_section(|reader| &mut reader.rewrite),
            Section::LocalScan => {
                let message = "local_scan() options not supported: (LOCAL_SCAN_HAS_OPTIONS not defined in Local/Makefile)";
                self.fail(begin, fault(message, span));
                self.skip_section()
            }
        }
    }

    fn skip_section(&mut self) -> Option<Line> {
        loop {
            let line = self.lines.next_line()?;
            if begins(&line.text).is_some() {
                return Some(line);
            }
        }
    }

    fn raw_section(&mut self, target: fn(&mut Self) -> &mut Vec<SourceLine>) -> Option<Line> {
        loop {
            let line = self.lines.next_line()?;
            if begins(&line.text).is_some() {
                return Some(line);
            }
            target(self).push(SourceLine { text: line.text, location: line.location });
        }
    }

    /// ACLs. A macro definition ends the ACL before it, so a name must follow.
    fn acl_section(&mut self) -> Option<Line> {
        let mut is_inside = false;
        loop {
            let line = self.lines.next_line()?;
            if begins(&line.text).is_some() {
                return Some(line);
            }
            if self.define(&line) {
                is_inside = false;
            } else if let Some((name, rest)) = labelled(&line.text) {
                is_inside = true;
                self.new_acl(&line, name, rest);
            } else if is_inside {
                if let Some(at) = line.text.find("set $acl_") {
                    let message = "a name after \"set\" has no dollar sign: it is left out".to_owned();
                    self.warn(&line, message, at..line.text.len());
                }
                if let Some(acl) = self.acls.last_mut() {
                    acl.lines.push(SourceLine { text: line.text, location: line.location });
                }
            } else {
                let span = 0..line.text.len();
                self.fail(&line, fault("missing or malformed ACL name", span));
                is_inside = true;
                self.acls.push(AclSource { name: String::new(), location: line.location, lines: Vec::new() });
            }
        }
    }

    fn new_acl(&mut self, line: &Line, name: &str, rest: &str) {
        if self.acls.iter().any(|acl| acl.name == name) {
            self.fail(line, fault(format!("there are two ACLs called \"{name}\""), 0..name.len()));
        }
        let mut lines = Vec::new();
        if !rest.is_empty() {
            lines.push(SourceLine { text: rest.to_owned(), location: line.location.clone() });
        }
        self.acls.push(AclSource { name: name.to_owned(), location: line.location.clone(), lines });
    }

    fn drivers(&self, class: DriverClass) -> &Drivers {
        match class {
            DriverClass::Router => &self.catalogue.routers,
            DriverClass::Transport => &self.catalogue.transports,
            DriverClass::Authenticator => &self.catalogue.authenticators,
        }
    }

    fn class_instances(&mut self, class: DriverClass) -> &mut Vec<Instance> {
        let [routers, transports, authenticators] = &mut self.instances;
        match class {
            DriverClass::Router => routers,
            DriverClass::Transport => transports,
            DriverClass::Authenticator => authenticators,
        }
    }

    fn driver_section(&mut self, class: DriverClass) -> Option<Line> {
        let mut open: Option<Open> = None;
        let ending = loop {
            let Some(line) = self.lines.next_line() else { break None };
            if begins(&line.text).is_some() {
                break Some(line);
            }
            if macros::definition(&line.text).is_some() {
                self.finish(class, open.take());
                self.define(&line);
            } else if let Some((name, rest)) = labelled(&line.text) {
                self.finish(class, open.take());
                open = Some(self.new_instance(class, &line, name, rest));
            } else if let Some(open) = &mut open {
                if let Err(fault) = self.driver_option(class, open, &line) {
                    self.fail(&line, fault);
                }
            } else {
                let message = format!("{} name missing", class.word());
                self.fail(&line, fault(message, 0..line.text.len()));
            }
        };
        self.finish(class, open);
        ending
    }

    fn new_instance(&mut self, class: DriverClass, line: &Line, name: &str, rest: &str) -> Open {
        let word = class.word();
        if let Some(first) = self.class_instances(class).iter().find(|instance| instance.name == name) {
            let help = format!("one begins in {}, the other in {}", first.location, line.location);
            let error = ConfigError::new(format!("there are two {word}s called \"{name}\""));
            self.lines.errors.push(error.helped(Some(help)));
        }
        if !rest.is_empty() {
            let span = span_of_tail(&line.text, rest);
            self.fail(line, fault(format!("extra characters follow driver name {name}"), span));
        }
        let options = Options::new(self.drivers(class).generic, &[]);
        let instance =
            Instance { name: name.to_owned(), driver: "", options, location: line.location.clone() };
        Open { instance, named: Vec::new(), has_driver: false, is_broken: false }
    }

    /// Takes an instance as complete.
    fn finish(&mut self, class: DriverClass, open: Option<Open>) {
        let Some(mut open) = open else { return };
        if open.is_broken {
            return;
        }
        if !open.has_driver {
            let message = format!("no driver defined for {} \"{}\"", class.word(), open.instance.name);
            let help = format!("the {} begins in {}", class.word(), open.instance.location);
            self.lines.errors.push(ConfigError::new(message).helped(Some(help)));
            return;
        }
        derived::complete(class, &mut open.instance);
        self.class_instances(class).push(open.instance);
    }

    fn driver_option(&mut self, class: DriverClass, open: &mut Open, line: &Line) -> Result<(), Fault> {
        let written = take_apart(&line.text)?;
        if open.is_broken && !open.instance.options.has(positive(written.name)) {
            return Ok(());
        }
        let Open { instance, named, .. } = open;
        let row = self.set(&mut instance.options, named, line, &written, "option").map_err(|mut fault| {
            if !open.has_driver && fault.message.ends_with("unknown") {
                fault.message.push_str(" (\"driver\" must be specified before any private options)");
            }
            fault
        })?;
        if row.name == "driver" {
            self.choose_driver(class, open, line, written.rest)?;
        }
        if written.is_hidden {
            let is_generic = super::options::find_row(self.drivers(class).generic, row.name).is_some();
            let driver = if is_generic { "" } else { open.instance.driver };
            self.hidden.insert((Some(class), driver, row.name));
        }
        Ok(())
    }

    fn choose_driver(
        &self,
        class: DriverClass,
        open: &mut Open,
        line: &Line,
        rest: &str,
    ) -> Result<(), Fault> {
        let name = open.instance.options.string("driver").unwrap_or_default().to_owned();
        let drivers = self.drivers(class);
        if let Some(driver) = drivers.drivers.iter().find(|driver| driver.name == name) {
            open.instance.driver = driver.name;
            open.instance.options.set_driver(driver);
            open.has_driver = true;
            return Ok(());
        }
        open.is_broken = true;
        let word = class.word();
        let span = span_of_tail(&line.text, rest);
        if let Some((_, _, why)) =
            rows::UNAVAILABLE.iter().find(|(class, driver, _)| (*class, *driver) == (word, name.as_str()))
        {
            return Err(fault(format!("{word} driver \"{name}\" is not available: {why}"), span));
        }
        let message = format!("{word} {}: cannot find {word} driver \"{name}\"", open.instance.name);
        let help = report::nearest(&name, drivers.drivers.iter().map(|driver| driver.name));
        Err(Fault { message, span, help })
    }

    /// Sets an option of an instance.
    fn set(
        &mut self,
        options: &mut Options,
        named: &mut Vec<&'static str>,
        line: &Line,
        written: &Written<'_>,
        what: &str,
    ) -> Result<&'static OptionRow, Fault> {
        let name_start = span_of_tail(&line.text, written.text).start;
        let name_span = name_start..name_start.saturating_add(written.name.len());
        let (row, is_negated) = match options.row(written.name) {
            Some(row) => (row, false),
            None => match Some(positive(written.name))
                .filter(|name| *name != written.name)
                .and_then(|name| options.row(name))
            {
                Some(row) => (row, true),
                None => {
                    let message = format!("{what} \"{}\" unknown", written.name);
                    let (generic, private) = options.tables();
                    let names = generic.iter().chain(private).map(|row| row.name);
                    let help = report::nearest(positive(written.name), names);
                    return Err(Fault { message, span: name_span, help });
                }
            },
        };
        if named.contains(&row.name) && !is_repeatable(row.kind) {
            return Err(fault(format!("\"{}\" option set for the second time", written.name), name_span));
        }
        named.push(row.name);
        let value_span = span_of_tail(&line.text, written.rest);
        let value = read_value(row, written, is_negated).map_err(|message| {
            let span = if value_span.is_empty() { name_span.clone() } else { value_span };
            fault(message, span)
        })?;
        self.judge(line, row, &value, name_span.clone())?;
        let is_twice = |(old, now): &&(&str, &str)| {
            (*old == row.name || *now == row.name) && named.contains(old) && named.contains(now)
        };
        if let Some((old, now)) = OLD_NAMES.iter().find(is_twice) {
            self.warn(line, format!("\"{old}\" has no effect beside \"{now}\""), name_span);
            if row.name == *old {
                return Ok(row);
            }
        }
        store(options, row, value, line);
        Ok(row)
    }

    /// Refuses what is not built, mentions what has no effect.
    fn judge(
        &mut self,
        line: &Line,
        row: &'static OptionRow,
        value: &Value,
        span: Range<usize>,
    ) -> Result<(), Fault> {
        let is_default = default_value(row).is_some_and(|default| default == *value);
        // An empty list or name switches a feature off.
        let is_off = matches!(value, Value::Text(text) if text.is_empty());
        match row.status {
            Status::Works => Ok(()),
            _ if is_default || is_off => Ok(()),
            Status::NotYet => Err(fault(format!("option \"{}\" is not implemented yet", row.name), span)),
            Status::NoEffectYet => {
                self.warn(line, format!("option \"{}\" has no effect", row.name), span);
                Ok(())
            }
        }
    }
}

/// The kind of named list that a line begins with, and what follows the word.
fn list_word(line: &str) -> Option<(ListKind, &str)> {
    ListKind::ALL.iter().find_map(|kind| line.strip_prefix(kind.word()).map(|rest| (*kind, rest)))
}
