//! Options of every authenticator (manual chapter 33).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Options of every authenticator.
pub static AUTH_GENERIC: &[OptionRow] = &[
    row("client_condition", Str, "", Works, "whether the client uses it"),
    row("client_set_id", Str, "", Works, "id that is logged for the client"),
    row("driver", Str, "", Works, "which driver it is"),
    row("public_name", Str, "", Works, "name of the mechanism"),
    row("server_advertise_condition", Str, "", Works, "whether it is offered"),
    row("server_condition", Str, "", Works, "whether a client is let in"),
    row("server_debug_print", Str, "", Works, "text for the debugging output"),
    row("server_mail_auth_condition", Str, "", Works, "whether an AUTH parameter of MAIL is believed"),
    row("server_set_id", Str, "", Works, "id of an authenticated client"),
];
