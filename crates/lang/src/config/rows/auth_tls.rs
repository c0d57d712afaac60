//! Options of the tls authenticator (manual chapter 42).

use crate::config::options::OptionKind::{Alias, Str};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of tls.
pub static AUTH_TLS: &[OptionRow] = &[
    row("server_param", Alias("server_param1"), "", Works, "first text to check"),
    row("server_param1", Str, "", Works, "first text to check"),
    row("server_param2", Str, "", Works, "second text to check"),
    row("server_param3", Str, "", Works, "third text to check"),
];
