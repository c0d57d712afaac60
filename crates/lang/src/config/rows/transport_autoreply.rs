//! Options of the autoreply transport (manual chapter 27).

use crate::config::options::OptionKind::{AddressList, Bool, Int, Octal, Str};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of autoreply.
pub static TRANSPORT_AUTOREPLY: &[OptionRow] = &[
    row("bcc", Str, "", Works, "Bcc: of the reply"),
    row("cc", Str, "", Works, "Cc: of the reply"),
    row("file", Str, "", Works, "file to append to"),
    row("file_expand", Bool, "false", Works, "expand the file"),
    row("file_optional", Bool, "false", Works, "the file may be missing"),
    row("from", Str, "", Works, "From: of the reply"),
    row("headers", Str, "", Works, "further header lines"),
    row("log", Str, "", Works, "file that each reply is written to"),
    row("mode", Octal, "0600", Works, "mode of the file"),
    row("never_mail", AddressList, "", Works, "addresses that never get a reply"),
    row("once", Str, "", Works, "file that remembers who got a reply"),
    row("once_file_size", Int, "0", Works, "size of a once file that is not a database"),
    row("once_repeat", Str, "", Works, "time after which somebody gets another reply"),
    row("reply_to", Str, "", Works, "Reply-To: of the reply"),
    row("return_message", Bool, "false", Works, "put the message into the reply"),
    row("subject", Str, "", Works, "Subject: of the reply"),
    row("text", Str, "", Works, "text of the reply"),
    row("to", Str, "", Works, "To: of the reply"),
];
