//! Option tables and the values of one instance.
//!
//! A row of a table says everything that is known of an option before the configuration is read; [`Options`] holds what
//! one router, transport, authenticator or the main section sets. Values that are not set come from the row's default.
//! Asking for a name that has no row, or for the wrong type, is a mistake in the program: the answer is the empty value
//! of that type, and tests (`debug_assert`) stop on it.

use std::sync::OnceLock;
use std::time::Duration;

use oxim_base::clock;

use super::error::Location;
use crate::context::Context;
use crate::expand::{ExpandError, Template};

/// One option that may be set.
#[derive(Debug)]
pub struct OptionRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// How its value is written.
    pub kind: OptionKind,
    /// The default as `-bP` prints it (`true` and `false` for switches); empty if there is none.
    pub default: &'static str,
    /// Whether it does something.
    pub status: Status,
    /// One line for docs/options.md and `oxim check`.
    pub doc: &'static str,
}

/// The types of manual sections 6.12 to 6.20, as far as reading and printing tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A switch.
    Bool,
    /// A switch, or a string that is expanded each time and then read as one.
    BoolOrExpanded,
    /// An integer.
    Int,
    /// An integer of bytes that is counted in Kbytes where that is exact when printed.
    Kint,
    /// The same for the space on a disk: up to 64 bits.
    KintWide,
    /// An octal integer.
    Octal,
    /// Up to three decimals; held in thousandths.
    Fixed,
    /// An interval.
    Time,
    /// An interval, or a string that is expanded each time and then read as one.
    TimeExpanded,
    /// A colon list of at most ten rising intervals.
    TimeList,
    /// Text: expanded or not is for the code that uses it to say.
    Str,
    /// A domain list.
    DomainList,
    /// A host list.
    HostList,
    /// An address list.
    AddressList,
    /// A list of local parts.
    LocalPartList,
    /// A list of texts that are used one by one.
    StringList,
    /// The same, with another separator than the colon unless it names its own.
    ListBy(char),
    /// Text that may be set several times; the values are joined by newlines (header lines).
    StrLines,
    /// A list that may be set several times; the values are joined into one colon list.
    StrList,
    /// As `StrList`, joined with semicolons (`set` of routers).
    StrSemicolons,
    /// A condition that may be set several times; the values are joined into one that holds when all do.
    StrConditions,
    /// A user, looked up when the file is read.
    Uid,
    /// A group, looked up when the file is read.
    Gid,
    /// A user, looked up when the file is read unless it has something to expand.
    UidExpanded,
    /// A group, looked up when the file is read unless it has something to expand.
    GidExpanded,
    /// A list of users.
    UidList,
    /// A list of groups.
    GidList,
    /// Rewriting rules.
    Rewrite,
    /// Another name for an option; not printed.
    Alias(&'static str),
    /// A switch that sets two others; not printed.
    Both(&'static str, &'static str),
}

/// Whether an option is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Works,
    /// Its value is taken and changes nothing; docs/options.md says so and `oxim check` mentions it.
    NoEffectYet,
    /// Setting it to anything but its default is refused.
    NotYet,
}

/// The rows of one driver. A row with the name of a generic option replaces that option's default for the driver.
#[derive(Debug)]
pub struct DriverRow {
    /// What `driver =` names.
    pub name: &'static str,
    /// Its private options, in alphabetical order.
    pub options: &'static [OptionRow],
}

/// All drivers of one class.
#[derive(Clone, Debug, Default)]
pub struct Drivers {
    /// Options that every instance has, in alphabetical order.
    pub generic: &'static [OptionRow],
    /// The drivers that are built in.
    pub drivers: Vec<&'static DriverRow>,
}

/// What the reader must know about drivers, handed in by the program from the tables of `deliver`.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Routers.
    pub routers: Drivers,
    /// Transports.
    pub transports: Drivers,
    /// Authenticators.
    pub authenticators: Drivers,
    /// Names of the ACL conditions that are built, for predefined macros.
    pub acl_conditions: Vec<&'static str>,
    /// Names of the ACL modifiers that are built.
    pub acl_modifiers: Vec<&'static str>,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a switch.
    Bool(bool),
    /// Of an integer, octal or not; and thousandths of a fixed-point number.
    Int(i64),
    /// Seconds.
    Time(u64),
    /// Seconds, several times.
    Times(Vec<u64>),
    /// Text.
    Text(String),
    /// A user or group that was looked up.
    Id(u32),
    /// Users or groups.
    Ids(Vec<u32>),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }
}

/// A value and where it was set. A value without a place was worked out, not set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where; None if it is a default that is only known at run time.
    pub location: Option<Location>,
    compiled: OnceLock<Template>,
}

impl Setting {
    /// The text as a template, if it has been asked for as one. What is never expanded is never compiled.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        self.compiled.get()
    }
}

/// A switch that may be a string to expand.
#[derive(Clone, Debug)]
pub enum Switch {
    /// Known now.
    Fixed(bool),
    /// To be expanded each time.
    Expanded(Template),
}

impl Switch {
    /// Whether it is on: its expansion is anything but nothing, `0`, `no` and `false`.
    ///
    /// # Errors
    /// It cannot be expanded.
    pub fn is_on(&self, context: &mut Context) -> Result<bool, ExpandError> {
        match self {
            Switch::Fixed(on) => Ok(*on),
            Switch::Expanded(template) => {
                let value = template.expand(context)?.trimmed().to_string_lossy().to_ascii_lowercase();
                Ok(!matches!(value.as_str(), "" | "0" | "no" | "false"))
            }
        }
    }
}

/// The options of one instance.
#[derive(Clone, Debug, Default)]
pub struct Options {
    generic: &'static [OptionRow],
    private: &'static [OptionRow],
    set: Vec<(&'static str, Setting)>,
}

/// A row, as the tables write it: on one line.
#[must_use]
pub const fn row(
    name: &'static str,
    kind: OptionKind,
    default: &'static str,
    status: Status,
    doc: &'static str,
) -> OptionRow {
    OptionRow { name, kind, default, status, doc }
}

/// Looks a name up in a table in alphabetical order.
#[must_use]
pub fn find_row(rows: &'static [OptionRow], name: &str) -> Option<&'static OptionRow> {
    rows.binary_search_by(|row| row.name.cmp(name)).ok().and_then(|at| rows.get(at))
}

impl Options {
    /// No option set.
    #[must_use]
    pub fn new(generic: &'static [OptionRow], private: &'static [OptionRow]) -> Options {
        Options { generic, private, set: Vec::new() }
    }

    /// Gives an instance its driver's rows.
    pub fn set_driver(&mut self, driver: &DriverRow) {
        self.private = driver.options;
    }

    /// The row of an option; the driver's own before the generic one.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&'static OptionRow> {
        find_row(self.private, name).or_else(|| find_row(self.generic, name))
    }

    /// Whether there is such an option at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.row(name).is_some()
    }

    /// The generic rows and the driver's rows, as `-bP` goes through them.
    #[must_use]
    pub fn tables(&self) -> (&'static [OptionRow], &'static [OptionRow]) {
        (self.generic, self.private)
    }

    /// What was set or worked out, or None.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.set.iter().find(|(known, _)| *known == name).map(|(_, setting)| setting)
    }

    /// Whether the configuration sets it.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.location(name).is_some()
    }

    /// Where the configuration sets it.
    #[must_use]
    pub fn location(&self, name: &str) -> Option<&Location> {
        self.setting(name).and_then(|setting| setting.location.as_ref())
    }

    /// Sets a value. The name must be that of a row.
    pub fn put(&mut self, row: &'static OptionRow, value: Value, location: Option<Location>) {
        let setting = Setting { value, location, compiled: OnceLock::new() };
        match self.set.iter_mut().find(|(known, _)| *known == row.name) {
            Some((_, old)) => *old = setting,
            None => self.set.push((row.name, setting)),
        }
    }

    /// The value in force: what was set, else the default. None if there is neither.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        if let Some(setting) = self.setting(name) {
            return Some(setting.value.clone());
        }
        let row = self.row(name);
        debug_assert!(row.is_some(), "no option \"{name}\"");
        row.and_then(default_value)
    }

    /// A switch.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        match self.setting(name).map(|setting| &setting.value) {
            Some(Value::Bool(on)) => *on,
            Some(_) => false,
            None => matches!(self.value(name), Some(Value::Bool(true))),
        }
    }

    /// A switch that may be expanded.
    #[must_use]
    pub fn switch(&self, name: &str) -> Switch {
        match self.value(name) {
            Some(Value::Text(_)) => {
                Switch::Expanded(self.template(name).unwrap_or_else(|| Template::compile("")))
            }
            Some(Value::Bool(on)) => Switch::Fixed(on),
            _ => Switch::Fixed(false),
        }
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Int(number)) => Some(number),
            Some(Value::Text(text)) => super::value::integer(text.trim()).ok(),
            _ => None,
        }
    }

    /// An integer; bytes for sizes. Of an option that may be expanded, the number if it is one as it stands, else 0.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        self.number(name).unwrap_or(0)
    }

    /// An octal integer, such as a file mode.
    #[must_use]
    pub fn octal(&self, name: &str) -> u32 {
        self.number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    /// A fixed-point number in thousandths; -1 if it is not set.
    #[must_use]
    pub fn fixed(&self, name: &str) -> i64 {
        self.number(name).unwrap_or(-1)
    }

    /// An interval.
    #[must_use]
    pub fn time(&self, name: &str) -> Duration {
        match self.value(name) {
            Some(Value::Time(seconds)) => Duration::from_secs(seconds),
            Some(Value::Text(text)) => {
                clock::parse_interval(text.trim()).map_or(Duration::ZERO, Duration::from_secs)
            }
            _ => Duration::ZERO,
        }
    }

    /// Several intervals.
    #[must_use]
    pub fn times(&self, name: &str) -> Vec<Duration> {
        match self.value(name) {
            Some(Value::Times(list)) => list.into_iter().map(Duration::from_secs).collect(),
            _ => Vec::new(),
        }
    }

    /// A text, before any expansion. An option set to nothing gives the empty string, an unset one None.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.setting(name).map(|setting| &setting.value) {
            Some(Value::Text(text)) => Some(text),
            Some(_) => None,
            None => {
                let row = self.row(name);
                debug_assert!(row.is_some(), "no option \"{name}\"");
                row.map(|row| row.default).filter(|default| !default.is_empty())
            }
        }
    }

    /// A text, compiled. The same tree is given each time.
    #[must_use]
    pub fn template(&self, name: &str) -> Option<Template> {
        match self.setting(name) {
            Some(setting) => {
                let source = self.string(name)?;
                Some(setting.compiled.get_or_init(|| Template::compile(source)).clone())
            }
            None => self.string(name).map(Template::compile),
        }
    }

    /// What the file has set, each with its row.
    pub fn given(&self) -> impl Iterator<Item = (&'static OptionRow, &Setting)> {
        self.set.iter().filter_map(|(name, setting)| Some((self.row(name)?, setting)))
    }

    /// The texts that have been asked for as templates: option name, setting, template.
    pub fn templates(&self) -> impl Iterator<Item = (&'static str, &Setting, &Template)> {
        self.set.iter().filter_map(|(name, setting)| Some((*name, setting, setting.compiled.get()?)))
    }

    /// A user or group that was looked up when the file was read; None if unset or still to be expanded.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        match self.setting(name).map(|setting| &setting.value) {
            Some(Value::Id(id)) => Some(*id),
            Some(Value::Text(text)) if !text.contains('$') => match self.row(name).map(|row| row.kind) {
                Some(OptionKind::UidExpanded) => super::value::user(text).ok(),
                Some(OptionKind::GidExpanded) => super::value::group(text).ok(),
                _ => None,
            },
            _ => None,
        }
    }

    /// A list of users or groups; None if it is not set.
    #[must_use]
    pub fn ids(&self, name: &str) -> Option<Vec<u32>> {
        match self.setting(name).map(|setting| &setting.value) {
            Some(Value::Ids(ids)) => Some(ids.clone()),
            _ => None,
        }
    }
}

/// The default of a row as a value; None if there is none.
#[must_use]
pub fn default_value(row: &'static OptionRow) -> Option<Value> {
    let text = row.default;
    if text.is_empty() {
        return None;
    }
    match row.kind {
        OptionKind::Bool => Some(Value::Bool(text == "true")),
        OptionKind::BoolOrExpanded => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => Some(Value::Text(text.to_owned())),
        },
        OptionKind::Int | OptionKind::Kint | OptionKind::KintWide => {
            super::value::integer(text).ok().map(Value::Int)
        }
        OptionKind::Octal => i64::from_str_radix(text, 8).ok().map(Value::Int),
        OptionKind::Fixed => super::value::fixed(text).ok().map(Value::Int),
        OptionKind::Time => clock::parse_interval(text).map(Value::Time),
        OptionKind::TimeList => Some(Value::Times(
            text.split(':').filter_map(|item| clock::parse_interval(item.trim())).collect(),
        )),
        OptionKind::Str
        | OptionKind::DomainList
        | OptionKind::HostList
        | OptionKind::AddressList
        | OptionKind::LocalPartList
        | OptionKind::StringList
        | OptionKind::ListBy(_)
        | OptionKind::StrLines
        | OptionKind::StrList
        | OptionKind::StrSemicolons
        | OptionKind::StrConditions
        | OptionKind::Rewrite
        | OptionKind::TimeExpanded
        | OptionKind::UidExpanded
        | OptionKind::GidExpanded => Some(Value::Text(text.to_owned())),
        OptionKind::Uid
        | OptionKind::Gid
        | OptionKind::UidList
        | OptionKind::GidList
        | OptionKind::Alias(_)
        | OptionKind::Both(..) => None,
    }
}

/// One driver instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// What `driver =` says.
    pub driver: &'static str,
    /// Its options, generic and private.
    pub options: Options,
    /// The line with its name.
    pub location: Location,
}
