//! Options of the cram_md5 authenticator (manual chapter 35).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of cram_md5.
pub static AUTH_CRAM_MD5: &[OptionRow] = &[
    row("client_name", Str, "", Works, "user name"),
    row("client_secret", Str, "", Works, "password"),
    row("server_secret", Str, "", Works, "password of the user in $auth1"),
];
