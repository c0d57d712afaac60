//! Options of the queryprogram router (manual chapter 21).

use crate::config::options::OptionKind::{GidExpanded, Str, Time, UidExpanded};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of queryprogram.
pub static ROUTER_QUERYPROGRAM: &[OptionRow] = &[
    row("command", Str, "", Works, "command that decides"),
    row("command_group", GidExpanded, "", Works, "group of the command"),
    row("command_user", UidExpanded, "", Works, "user of the command"),
    row("current_directory", Str, "/", Works, "current directory of the command"),
    row("timeout", Time, "1h", Works, "time allowed"),
];
