//! Options of the cyrus_sasl authenticator (manual chapter 36).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of cyrus_sasl.
pub static AUTH_CYRUS_SASL: &[OptionRow] = &[
    row("server_hostname", Str, "$primary_hostname", Works, "name of this host"),
    row("server_mech", Str, "", Works, "mechanism"),
    row("server_realm", Str, "", Works, "realm"),
    row("server_service", Str, "smtp", Works, "name of the service"),
];
