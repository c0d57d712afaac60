//! Options of the heimdal_gssapi authenticator (manual chapter 39).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::NotYet;
use crate::config::options::{OptionRow, row};

/// Private options of heimdal_gssapi.
pub static AUTH_HEIMDAL_GSSAPI: &[OptionRow] = &[
    row("server_hostname", Str, "$primary_hostname", NotYet, "name of this host"),
    row("server_keytab", Str, "", NotYet, "file with the keys"),
    row("server_service", Str, "smtp", NotYet, "name of the service"),
];
