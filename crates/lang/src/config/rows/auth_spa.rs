//! Options of the spa authenticator (manual chapter 40).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of spa.
pub static AUTH_SPA: &[OptionRow] = &[
    row("client_domain", Str, "", Works, "domain of the user"),
    row("client_password", Str, "", Works, "password"),
    row("client_username", Str, "", Works, "user name"),
    row("server_password", Str, "", Works, "password of the user in $auth1"),
];
