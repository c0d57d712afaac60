//! The configuration file: reading it, its options, and printing them.
//!
//! A guided tour. [`source`] finds and opens the file; [`lines`] makes logical lines of it, with the help of [`macros`]
//! and [`builtin`]; [`reader`] goes through the sections and sets options, whose values are read by [`value`]. The tables
//! of options are [`main_options`] and [`rows`]. What comes out is a [`Config`]: [`main::Main`] has the main section in
//! typed fields, everything else is kept as instances and source lines for the code that compiles it.
//! All errors of a file are found in one run ([`report`] shows them); Exim's face prints the first. [`print`] is `-bP`.
//! Manual chapters 6, 14 and the option lists of 15 to 42.

pub mod builtin;
mod derived;
pub mod error;
pub mod lines;
pub mod macros;
pub mod main;
pub mod main_options;
pub mod named_lists;
pub mod options;
pub mod print;
mod reader;
pub mod report;
pub mod rows;
mod setting;
pub mod source;
pub mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use error::{ConfigError, Location};
pub use main::Main;
pub use named_lists::{ListKind, NamedList, NamedLists};
pub use options::{
    Catalogue, DriverRow, Drivers, Instance, OptionKind, OptionRow, Options, Status, Switch, Value,
};
pub use source::ConfigSource;

use builtin::Builtins;
use lines::{Lines, Shown};
use macros::Macros;

/// A logical line of a section that has a grammar of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The line, macros replaced and continuations joined.
    pub text: String,
    /// Where.
    pub location: Location,
}

/// One ACL as written: a statement goes on over several lines, one condition or modifier each.
#[derive(Clone, Debug)]
pub struct AclSource {
    /// Its name.
    pub name: String,
    /// The line with its name.
    pub location: Location,
    /// Its lines.
    pub lines: Vec<SourceLine>,
}

/// Three classes of drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriverClass {
    /// Routers.
    Router,
    /// Transports.
    Transport,
    /// Authenticators.
    Authenticator,
}

impl DriverClass {
    /// The word for one of them.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            DriverClass::Router => "router",
            DriverClass::Transport => "transport",
            DriverClass::Authenticator => "authenticator",
        }
    }
}

/// Whose values only admin users may see: the driver (or "" for generic and main options) and the option.
pub type Hidden = BTreeSet<(Option<DriverClass>, &'static str, &'static str)>;

/// A configuration that has been read without error.
#[derive(Clone, Debug)]
pub struct Config {
    /// The main section in typed fields.
    pub main: Main,
    /// The main section by name.
    pub main_options: Options,
    /// Named lists.
    pub lists: NamedLists,
    /// ACLs, in the order of the file.
    pub acls: Vec<AclSource>,
    /// Routers, in order.
    pub routers: Vec<Instance>,
    /// Transports.
    pub transports: Vec<Instance>,
    /// Authenticators, in order.
    pub authenticators: Vec<Instance>,
    /// Rewriting rules.
    pub rewrite: Vec<SourceLine>,
    /// Retry rules.
    pub retry: Vec<SourceLine>,
    /// The file that was read.
    pub path: String,
    /// Macros, for `-bP`.
    pub macros: Macros,
    /// Options behind `hide`.
    pub hidden: Hidden,
    /// What the file came to, for `-bP config`.
    pub shown: Arc<Vec<Shown>>,
    /// What is doubtful but not wrong.
    pub warnings: Vec<ConfigError>,
}

/// Reads the configuration.
///
/// # Errors
/// All that is wrong, in the order in which it was met: Exim reports the first.
pub fn read(source: &ConfigSource, catalogue: &Catalogue) -> Result<Config, Vec<ConfigError>> {
    let (path, bytes) = source::open(source).map_err(|error| vec![error])?;
    read_bytes(&path, &bytes, &source.macros, catalogue)
}

/// Reads a configuration that is in memory; `path` is what it is called in messages.
///
/// # Errors
/// As for [`read`].
pub fn read_bytes(
    path: &str,
    bytes: &[u8],
    command_line_macros: &[(String, String)],
    catalogue: &Catalogue,
) -> Result<Config, Vec<ConfigError>> {
    let macros = Macros::new(Builtins::new(catalogue), command_line_macros);
    reader::read(path, Lines::new(path, bytes, macros), catalogue)
}

#[cfg(test)]
pub(crate) mod tests;
