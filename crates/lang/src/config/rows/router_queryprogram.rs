//! Options of the queryprogram router (manual chapter 21).

use crate::config::options::OptionKind::{GidExpanded, Str, Time, UidExpanded};
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of queryprogram.
pub static ROUTER_QUERYPROGRAM: &[OptionRow] = &[
    row("command", Str, "", NotYet, "command that decides"),
    row("command_group", GidExpanded, "", NotYet, "group of the command"),
    row("command_user", UidExpanded, "", NotYet, "user of the command"),
    row("current_directory", Str, "/", NotYet, "current directory of the command"),
    row("timeout", Time, "1h", NotYet, "time allowed"),
];
