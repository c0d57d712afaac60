//! Options of the gsasl authenticator (manual chapter 38).

use crate::config::options::OptionKind::{Bool, Str};
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of gsasl.
pub static AUTH_GSASL: &[OptionRow] = &[
    row("client_authz", Str, "", NotYet, "identity to act as"),
    row("client_channelbinding", Bool, "false", NotYet, "bind to the TLS channel"),
    row("client_password", Str, "", NotYet, "password"),
    row("client_spassword", Str, "", NotYet, "password, hashed"),
    row("client_username", Str, "", NotYet, "user name"),
    row("server_channelbinding", Bool, "false", NotYet, "bind to the TLS channel"),
    row("server_hostname", Str, "$primary_hostname", NotYet, "name of this host"),
    row("server_key", Str, "", NotYet, "SCRAM server key"),
    row("server_mech", Str, "", NotYet, "mechanism"),
    row("server_password", Str, "", NotYet, "password of the user in $auth1"),
    row("server_realm", Str, "", NotYet, "realm"),
    row("server_scram_iter", Str, "4096", NotYet, "number of SCRAM iterations"),
    row("server_scram_salt", Str, "", NotYet, "SCRAM salt"),
    row("server_service", Str, "smtp", NotYet, "name of the service"),
    row("server_skey", Str, "", NotYet, "SCRAM stored key"),
];
