//! Options of the external authenticator (manual chapter 41).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of external.
pub static AUTH_EXTERNAL: &[OptionRow] = &[
    row("client_send", Str, "", Works, "what the client sends"),
    row("server_param2", Str, "", Works, "second text to check"),
    row("server_param3", Str, "", Works, "third text to check"),
];
