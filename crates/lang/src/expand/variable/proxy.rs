//! `$proxy_…`: the proxy through which the client has come, under its names of all versions.

use std::net::SocketAddr;

use oxim_base::Taint::{Clean, Tainted};

use super::{Scope, Value, VariableRow, row};
use crate::context::{Context, ProxySession};

fn end(context: &Context, which: fn(&ProxySession) -> Option<SocketAddr>) -> Option<SocketAddr> {
    context.connection.proxy.as_ref().and_then(which)
}

fn address(end: Option<SocketAddr>) -> Value<'static> {
    end.map_or(Value::Empty, |end| Value::Made(end.ip().to_canonical().to_string().into_bytes()))
}

fn port(end: Option<SocketAddr>) -> Value<'static> {
    Value::Number(end.map_or(0, |end| end.port().into()))
}

pub(super) static ROWS: &[VariableRow] = &[
    row(
        "proxy_external_address",
        Scope::Connection,
        Tainted,
        "The address that the client called.",
        |c, _| address(end(c, |s| s.target)),
    ),
    row("proxy_external_port", Scope::Connection, Tainted, "The port that the client called.", |c, _| {
        port(end(c, |s| s.target))
    }),
    row("proxy_host_address", Scope::Connection, Clean, "Older name of `$proxy_local_address`.", |c, _| {
        address(end(c, |s| s.proxy))
    }),
    row("proxy_host_port", Scope::Connection, Clean, "Older name of `$proxy_local_port`.", |c, _| {
        port(end(c, |s| s.proxy))
    }),
    row("proxy_local_address", Scope::Connection, Clean, "The proxy's address.", |c, _| {
        address(end(c, |s| s.proxy))
    }),
    row("proxy_local_port", Scope::Connection, Clean, "The proxy's port.", |c, _| port(end(c, |s| s.proxy))),
    row("proxy_session", Scope::Connection, Clean, "Whether the peer is a proxy: yes or no.", |c, _| {
        Value::Bytes(if c.connection.proxy.is_some() { b"yes" } else { b"no" })
    }),
    row(
        "proxy_target_address",
        Scope::Connection,
        Tainted,
        "Older name of `$proxy_external_address`.",
        |c, _| address(end(c, |s| s.target)),
    ),
    row("proxy_target_port", Scope::Connection, Tainted, "Older name of `$proxy_external_port`.", |c, _| {
        port(end(c, |s| s.target))
    }),
];
