//! Variables of the SMTP connection and of the local caller.

use std::net::SocketAddr;

use oxim_base::{Taint, Text};

use super::{Getter, Scope, Value, VariableRow, row};
use crate::context::{Context, HostLookup};
use crate::expand::ExpandError;

use Scope::Connection;
use Taint::{Clean, Tainted};

fn bytes(value: &Option<Vec<u8>>) -> Value<'_> {
    value.as_deref().map_or(Value::Empty, Value::Bytes)
}

fn flag(on: bool) -> Value<'static> {
    Value::Bytes(if on { b"1" } else { b"0" })
}

fn address(interface: Option<SocketAddr>) -> Value<'static> {
    interface.map_or(Value::Empty, |a| Value::Made(a.ip().to_string().into_bytes()))
}

fn own_port(connection: &crate::context::Connection) -> Value<'static> {
    let unknown = if connection.is_over { 0 } else { -1 };
    Value::Number(connection.interface.map_or(unknown, |a| i64::from(a.port())))
}

/// Where the message comes from.
pub(super) static ROWS: &[VariableRow] = &[
    row(
        "connection_id",
        Scope::Connection,
        Clean,
        "Tells the connections of hosts apart: the process and a number.",
        |c, _| {
            if c.connection.number == 0 { Value::Empty } else { Value::Made(c.connection.id().into_bytes()) }
        },
    ),
    VariableRow {
        family: true,
        ..row(
            "acl_c",
            Connection,
            Clean,
            "Set by ACLs; kept for the connection, and with each message.",
            |c, key| c.connection.acl_c.get(key.as_bytes()).map_or(Value::Empty, Value::Text),
        )
    },
    row("authenticated_fail_id", Connection, Tainted, "The id of the last failed authentication.", |c, _| {
        bytes(&c.connection.auth_fail_id)
    }),
    row(
        "authenticated_id",
        Connection,
        Tainted,
        "Who has authenticated; the login name for local submission.",
        |c, _| bytes(&c.connection.auth_id),
    ),
    row(
        "authenticated_sender",
        Connection,
        Tainted,
        "The AUTH= parameter of MAIL, or the caller's address.",
        |c, _| bytes(&c.connection.auth_sender),
    ),
    row("authentication_failed", Connection, Clean, "1 after an AUTH command that failed.", |c, _| {
        flag(c.connection.auth_failed)
    }),
    row("caller_gid", Connection, Clean, "The real gid of the calling process.", |c, _| {
        Value::Number(i64::from(c.connection.caller_gid))
    }),
    row("caller_uid", Connection, Clean, "The real uid of the calling process.", |c, _| {
        Value::Number(i64::from(c.connection.caller_uid))
    }),
    row(
        "host_lookup_deferred",
        Connection,
        Clean,
        "1 if the client's name could not be found out now.",
        |c, _| flag(c.connection.host_lookup == HostLookup::Deferred),
    ),
    row(
        "host_lookup_failed",
        Connection,
        Clean,
        "1 if the client has no name, or none that leads back.",
        |c, _| flag(c.connection.host_lookup == HostLookup::Failed),
    ),
    row("interface_address", Connection, Clean, "Old name of `$received_ip_address`.", |c, _| {
        address(c.connection.interface)
    }),
    row("interface_port", Connection, Clean, "Old name of `$received_port`.", |c, _| own_port(&c.connection)),
    row("received_ip_address", Connection, Clean, "Our own address on the incoming connection.", |c, _| {
        address(c.connection.interface)
    }),
    row("received_port", Connection, Clean, "Our own port on the incoming connection.", |c, _| {
        own_port(&c.connection)
    }),
    row("received_protocol", Connection, Clean, "By which protocol the message came.", |c, _| {
        Value::Bytes(&c.connection.protocol)
    }),
    row("sender_fullhost", Connection, Tainted, "The client's names and address in one text.", |c, _| {
        Value::Made(c.connection.full_host().into_bytes())
    }),
    row(
        "sender_helo_dnssec",
        Connection,
        Clean,
        "Whether HELO verification used authenticated data.",
        |c, _| Value::Bytes(if c.connection.helo_dnssec { b"yes" } else { b"no" }),
    ),
    row("sender_helo_name", Connection, Tainted, "The argument of HELO or EHLO.", |c, _| {
        bytes(&c.connection.helo_name)
    }),
    row("sender_helo_verified", Connection, Clean, "Whether the HELO name has been verified.", |c, _| {
        Value::Bytes(if c.connection.helo_verified { b"yes" } else { b"" })
    }),
    row("sender_host_address", Connection, Tainted, "The client's address.", |c, _| {
        c.connection.host_address.map_or(Value::Empty, |a| Value::Made(a.to_string().into_bytes()))
    }),
    row("csa_status", Connection, Clean, "What `verify = csa` found: ok, fail, defer or unknown.", |c, _| {
        c.connection.csa_status.map_or(Value::Empty, |status| Value::Bytes(status.as_bytes()))
    }),
    row(
        "sender_host_authenticated",
        Connection,
        Clean,
        "The authenticator that let the client in.",
        |c, _| bytes(&c.connection.authenticator),
    ),
    row(
        "sender_host_dnssec",
        Connection,
        Clean,
        "Whether the client's name comes from authenticated data.",
        |c, _| Value::Bytes(if c.connection.host_dnssec { b"yes" } else { b"no" }),
    ),
    VariableRow {
        may_block: true,
        get: Getter::Compute(host_name),
        ..row(
            "sender_host_name",
            Connection,
            Tainted,
            "The client's verified name; the first use looks it up.",
            |_, _| Value::Empty,
        )
    },
    row("sender_host_port", Connection, Clean, "The client's port.", |c, _| {
        Value::Number(i64::from(c.connection.host_port))
    }),
    row(
        "sender_ident",
        Connection,
        Tainted,
        "The client's RFC 1413 answer, or the caller's login name.",
        |c, _| bytes(&c.connection.ident),
    ),
    row("sender_rcvhost", Connection, Tainted, "The client as a Received: line shows it.", |c, _| {
        Value::Made(c.connection.received_host().into_bytes())
    }),
    row("smtp_command", Connection, Tainted, "The SMTP command in hand.", |c, _| {
        Value::Bytes(&c.connection.smtp_command)
    }),
    row("smtp_command_argument", Connection, Tainted, "Its argument.", |c, _| {
        Value::Bytes(&c.connection.smtp_command_argument)
    }),
    row("smtp_command_history", Connection, Tainted, "The last commands, separated by commas.", |c, _| {
        Value::Made(c.connection.smtp_command_history.join(&b','))
    }),
    row(
        "smtp_count_at_connection_start",
        Connection,
        Clean,
        "Connections that were open when this one came.",
        |c, _| Value::Number(i64::from(c.connection.count_at_start)),
    ),
    row("smtp_notquit_reason", Connection, Clean, "Why the connection ends without QUIT.", |c, _| {
        bytes(&c.connection.notquit_reason)
    }),
];

fn host_name(context: &mut Context, _: &str) -> Result<Text, ExpandError> {
    let pending = matches!(context.connection.host_lookup, HostLookup::NotTried | HostLookup::Deferred);
    if context.connection.host_name.is_none() && context.connection.host_address.is_some() && pending {
        let services = context.services.clone();
        if let Some(host) = services.host.get() {
            host.look_up_host_name(context);
        }
    }
    Ok(Text::tainted(context.connection.host_name.clone().unwrap_or_default()))
}
