//! Options of the iplookup router (manual chapter 19).

use crate::config::options::OptionKind::{Bool, Int, Str, StringList, Time};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of iplookup.
pub static ROUTER_IPLOOKUP: &[OptionRow] = &[
    row("hosts", StringList, "", Works, "hosts that are asked"),
    row("optional", Bool, "false", Works, "decline when no host answers"),
    row("port", Int, "0", Works, "port that is asked"),
    row("protocol", Str, "udp", Works, "udp or tcp"),
    row("query", Str, "", Works, "text that is sent"),
    row("reroute", Str, "", Works, "address made from the answer"),
    row("response_pattern", Str, "", Works, "what the answer must look like"),
    row("timeout", Time, "5s", Works, "time allowed"),
];
