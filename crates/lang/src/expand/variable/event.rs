//! `$event_…`: what an `event_action` is expanded for; `$tpda_…`: the names of older versions for some of it.

use std::net::IpAddr;

use oxim_base::Taint::{Clean, Tainted};

use super::{Scope, Value, VariableRow, row};
use crate::context::{Context, EventFacts};

fn data(context: &Context) -> Value<'_> {
    context.local.event.as_deref().map_or(Value::Empty, |event| Value::Bytes(&event.data))
}

fn errno(context: &Context) -> Value<'_> {
    Value::Number(context.local.event.as_deref().map_or(0, |event| event.errno))
}

/// The older names are empty outside the events that they were made for.
fn within<'a>(context: &'a Context, name: &str, get: impl FnOnce(&'a EventFacts) -> Value<'a>) -> Value<'a> {
    context.local.event.as_deref().filter(|event| event.name == name).map_or(Value::Empty, get)
}

const DELIVERY: &str = "msg:delivery";
const DEFER: &str = "msg:host:defer";
const EVALUATION: Scope = Scope::Evaluation;

fn address(address: Option<IpAddr>) -> Value<'static> {
    address.map_or(Value::Empty, |address| Value::Made(address.to_string().into_bytes()))
}

pub(super) static ROWS: &[VariableRow] = &[
    row("event_data", EVALUATION, Tainted, "What an event has to tell.", |c, _| data(c)),
    row(
        "event_defer_errno",
        EVALUATION,
        Clean,
        "The number of the error that made a delivery wait.",
        |c, _| errno(c),
    ),
    row("event_name", EVALUATION, Clean, "The event that `event_action` is expanded for.", |c, _| {
        c.local.event.as_deref().map_or(Value::Empty, |event| Value::Bytes(event.name.as_bytes()))
    }),
    row("tpda_defer_errno", EVALUATION, Clean, "Older name of `$event_defer_errno`.", |c, _| {
        within(c, DEFER, |event| Value::Number(event.errno))
    }),
    row("tpda_defer_errstr", EVALUATION, Tainted, "Older name of `$event_data`.", |c, _| {
        within(c, DEFER, |event| Value::Bytes(&event.data))
    }),
    row("tpda_delivery_confirmation", EVALUATION, Tainted, "Older name of `$event_data`.", |c, _| {
        within(c, DELIVERY, |event| Value::Bytes(&event.data))
    }),
    row("tpda_delivery_domain", EVALUATION, Tainted, "Older name of `$domain`.", |c, _| {
        within(c, DELIVERY, |_| Value::Text(&c.address.domain))
    }),
    row("tpda_delivery_fqdn", EVALUATION, Tainted, "Older name of `$host`.", |c, _| {
        within(c, DELIVERY, |_| c.delivery.host.as_ref().map_or(Value::Empty, Value::Text))
    }),
    row("tpda_delivery_ip", EVALUATION, Clean, "Older name of `$host_address`.", |c, _| {
        within(c, DELIVERY, |_| address(c.delivery.host_address))
    }),
    row("tpda_delivery_local_part", EVALUATION, Tainted, "Older name of `$local_part`.", |c, _| {
        within(c, DELIVERY, |_| Value::Text(&c.address.local_part))
    }),
    row("tpda_delivery_port", EVALUATION, Clean, "Older name of `$host_port`.", |c, _| {
        within(c, DELIVERY, |_| Value::Number(i64::from(c.delivery.host_port)))
    }),
];
