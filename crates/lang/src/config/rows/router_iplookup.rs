//! Options of the iplookup router (manual chapter 19).

use crate::config::options::OptionKind::{Bool, Int, Str, Time};
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of iplookup.
pub static ROUTER_IPLOOKUP: &[OptionRow] = &[
    row("hosts", Str, "", NotYet, "hosts that are asked"),
    row("optional", Bool, "false", NotYet, "decline when no host answers"),
    row("port", Int, "0", NotYet, "port that is asked"),
    row("protocol", Str, "udp", NotYet, "udp or tcp"),
    row("query", Str, "", NotYet, "text that is sent"),
    row("reroute", Str, "", NotYet, "address made from the answer"),
    row("response_pattern", Str, "", NotYet, "what the answer must look like"),
    row("timeout", Time, "5s", NotYet, "time allowed"),
];
