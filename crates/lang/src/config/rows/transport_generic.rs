//! Options of every transport (manual chapter 24).

use crate::config::options::OptionKind::{
    Bool, GidExpanded, Rewrite, Str, StrLines, StrList, Time, UidExpanded,
};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Options of every transport.
pub static TRANSPORT_GENERIC: &[OptionRow] = &[
    row("body_only", Bool, "false", Works, "deliver the body only"),
    row("current_directory", Str, "", Works, "current directory"),
    row("debug_print", Str, "", Works, "text for the debugging output"),
    row("delivery_date_add", Bool, "false", Works, "add Delivery-date:"),
    row("disable_logging", Bool, "false", Works, "keep deliveries out of the main log"),
    row("driver", Str, "", Works, "which driver it is"),
    row("envelope_to_add", Bool, "false", Works, "add Envelope-to:"),
    row("event_action", Str, "", Works, "expanded for every event of the transport"),
    row("group", GidExpanded, "", Works, "group of the delivery"),
    row("headers_add", StrLines, "", Works, "header lines added"),
    row("headers_only", Bool, "false", Works, "deliver the header section only"),
    row("headers_remove", StrList, "", Works, "header lines removed"),
    row("headers_rewrite", Rewrite, "", Works, "rewriting rules for header lines"),
    row("home_directory", Str, "", Works, "home directory"),
    row("initgroups", Bool, "false", Works, "use the user's other groups too"),
    row("max_parallel", Str, "", Works, "most deliveries with the transport at the same time"),
    row("message_size_limit", Str, "", Works, "largest message"),
    row("rcpt_include_affixes", Bool, "false", Works, "keep prefix and suffix in RCPT commands"),
    row("retry_use_local_part", Bool, "true", Works, "retry data by address and not by domain"),
    row("return_path", Str, "", Works, "return path in place of the sender"),
    row("return_path_add", Bool, "false", Works, "add Return-path:"),
    row("shadow_condition", Str, "", Works, "whether the shadow transport runs"),
    row("shadow_transport", Str, "", Works, "transport that runs afterwards"),
    row("transport_filter", Str, "", Works, "command that the message goes through"),
    row("transport_filter_timeout", Time, "5m", Works, "time allowed for the command"),
    row("user", UidExpanded, "", Works, "user of the delivery"),
];
