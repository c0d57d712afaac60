//! Options of the gsasl authenticator (manual chapter 38).

use crate::config::options::OptionKind::{Bool, Str};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of gsasl.
pub static AUTH_GSASL: &[OptionRow] = &[
    row("client_authz", Str, "", Works, "identity to act as"),
    row("client_channelbinding", Bool, "false", Works, "bind to the TLS channel"),
    row("client_password", Str, "", Works, "password"),
    row("client_spassword", Str, "", Works, "password, hashed"),
    row("client_username", Str, "", Works, "user name"),
    row("server_channelbinding", Bool, "false", Works, "bind to the TLS channel"),
    row("server_hostname", Str, "$primary_hostname", Works, "name of this host"),
    row("server_key", Str, "", Works, "SCRAM server key"),
    row("server_mech", Str, "", Works, "mechanism"),
    row("server_password", Str, "", Works, "password of the user in $auth1"),
    row("server_realm", Str, "", Works, "realm"),
    row("server_scram_iter", Str, "4096", Works, "number of SCRAM iterations"),
    row("server_scram_salt", Str, "", Works, "SCRAM salt"),
    row("server_service", Str, "smtp", Works, "name of the service"),
    row("server_skey", Str, "", Works, "SCRAM stored key"),
];
