//! Options of the tls authenticator (manual chapter 42).

use crate::config::options::OptionKind::{Alias, Str};
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of tls.
pub static AUTH_TLS: &[OptionRow] = &[
    row("server_param", Alias("server_param1"), "", NotYet, "first text to check"),
    row("server_param1", Str, "", NotYet, "first text to check"),
    row("server_param2", Str, "", NotYet, "second text to check"),
    row("server_param3", Str, "", NotYet, "third text to check"),
];
