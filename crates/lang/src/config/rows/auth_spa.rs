//! Options of the spa authenticator (manual chapter 40).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of spa.
pub static AUTH_SPA: &[OptionRow] = &[
    row("client_domain", Str, "", NotYet, "domain of the user"),
    row("client_password", Str, "", NotYet, "password"),
    row("client_username", Str, "", NotYet, "user name"),
    row("server_password", Str, "", NotYet, "password of the user in $auth1"),
];
