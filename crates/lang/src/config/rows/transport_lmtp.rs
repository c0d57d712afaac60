//! Options of the lmtp transport (manual chapter 28).

use crate::config::options::OptionKind::{Bool, Int, Str, Time};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of lmtp.
pub static TRANSPORT_LMTP: &[OptionRow] = &[
    row("batch_id", Str, "", Works, "text that must be equal within a batch"),
    row("batch_max", Int, "1", Works, "addresses in a batch"),
    row("command", Str, "", Works, "command that is run"),
    row("ignore_quota", Bool, "false", Works, "offer IGNOREQUOTA"),
    row("socket", Str, "", Works, "socket that is connected"),
    row("timeout", Time, "5m", Works, "time allowed"),
];
