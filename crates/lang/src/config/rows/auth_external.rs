//! Options of the external authenticator (manual chapter 41).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of external.
pub static AUTH_EXTERNAL: &[OptionRow] = &[
    row("client_send", Str, "", NotYet, "what the client sends"),
    row("server_param2", Str, "", NotYet, "second text to check"),
    row("server_param3", Str, "", NotYet, "third text to check"),
];
