//! Options of the plaintext authenticator (manual chapter 34).

use crate::config::options::OptionKind::{Bool, Str, StringList};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of plaintext.
pub static AUTH_PLAINTEXT: &[OptionRow] = &[
    row("client_ignore_invalid_base64", Bool, "false", Works, "go on after a challenge that is not base64"),
    row("client_send", Str, "", Works, "what the client sends"),
    row("server_prompts", StringList, "", Works, "what the server asks"),
];
