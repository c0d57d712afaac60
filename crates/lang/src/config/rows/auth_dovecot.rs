//! Options of the dovecot authenticator (manual chapter 37).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of dovecot.
pub static AUTH_DOVECOT: &[OptionRow] = &[row("server_socket", Str, "", Works, "socket of Dovecot")];
