//! Events: `event_action` of a transport or of the main section is expanded at points of a delivery or session.
//!
//! `$event_name`, `$event_data` and `$event_defer_errno` are set while it is expanded; the other variables are those that
//! belong to the event. A result counts only where the caller says so (`tcp:connect`, `smtp:connect`, `tls:cert`).
//! Failure modes: an expansion that fails is logged, and as good as empty. Page: docs/features/events.md.

use oxim_base::Text;
use oxim_lang::context::{Context, EventFacts};
use oxim_lang::expand::{ExpandError, Template};
use oxim_net::dns::failures;

use crate::address::Address;
use crate::delivery::Delivery;
use crate::transport::{Delivered, HostUsed, Transport};

/// False in a program that is built to count what the rest costs (`tests/bench/event_instructions`).
pub(crate) const ARE_RAISED: bool = cfg!(not(feature = "bench-without-events"));

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// `$event_name`.
    pub name: &'static str,
    /// `$event_data`.
    pub data: &'a [u8],
    /// `$event_defer_errno`.
    pub errno: i64,
}

impl<'a> Event<'a> {
    /// An event that is no deferral.
    #[must_use]
    pub fn new(name: &'static str, data: &'a [u8]) -> Event<'a> {
        Event { name, data, errno: 0 }
    }
}

/// Expands an action. `place` is the transport's name, or `main`. None: the result is empty.
pub fn raise(context: &mut Context, action: &Template, place: &str, event: Event<'_>) -> Option<Text> {
    let facts = EventFacts { name: event.name, data: event.data.to_vec(), errno: event.errno };
    let outer = context.local.event.replace(Box::new(facts));
    let expanded = action.expand(context);
    context.local.event = outer;
    match expanded {
        Ok(text) => (!text.is_empty()).then_some(text),
        Err(ExpandError::Forced(_)) => None,
        Err(error) => {
            let id = context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
            let line = format!("{id}failed to expand event_action {} in {place}: {error}", event.name);
            context.services.log().both(line);
            None
        }
    }
}

/// Whether the main section's option is set.
fn is_main_set(context: &Context) -> bool {
    ARE_RAISED && context.config.main.event_action.is_some()
}

/// An event of the main section's option, if that is set.
pub fn raise_main(context: &mut Context, event: Event<'_>) -> Option<Text> {
    if !is_main_set(context) {
        return None;
    }
    let config = std::sync::Arc::clone(&context.config);
    let action = config.main.event_action.as_ref()?;
    raise(context, action, "main", event)
}

/// An event of a transport, with variables as they are.
pub fn raise_transport(context: &mut Context, transport: &Transport, event: Event<'_>) -> Option<Text> {
    let generic = &transport.generic;
    let older = match event.name {
        "msg:delivery" => generic.tpda_delivery_action.as_ref(),
        "msg:host:defer" => generic.tpda_host_defer_action.as_ref(),
        _ => None,
    };
    if let Some(action) = older {
        raise(context, action, &transport.name, event);
    }
    raise(context, generic.event_action.as_ref()?, &transport.name, event)
}

/// `dns:fail` of the main section, for each question to the DNS that this thread has asked in vain since the last time.
pub fn dns_failures(context: &mut Context) {
    each_dns_failure(context, |context, event| {
        raise_main(context, event);
    });
}

/// As [`dns_failures`], in a transport.
pub fn dns_failures_in(context: &mut Context, transport: &Transport) {
    each_dns_failure(context, |context, event| {
        raise_transport(context, transport, event);
    });
}

fn each_dns_failure(context: &mut Context, mut raise: impl FnMut(&mut Context, Event<'_>)) {
    if !ARE_RAISED {
        return;
    }
    let failed = failures::take();
    // What an action asks in vain raises no event: it could go on for ever.
    if context.local.event.is_some() || failed.is_empty() {
        return;
    }
    for failure in failed {
        raise(context, Event::new("dns:fail", failure.to_string().as_bytes()));
    }
    failures::forget();
}

/// The transport that an address has gone through, if it has an action.
pub fn listener<'a>(delivery: &'a Delivery, address: &Address) -> Option<&'a Transport> {
    delivery.transport(address.transport?).filter(|transport| transport.has_events())
}

/// An event of one address that has gone through a transport.
pub fn of_address(
    delivery: &Delivery,
    context: &mut Context,
    transport: &Transport,
    address: &Address,
    host: Option<&HostUsed>,
    event: Event<'_>,
) {
    within(delivery, context, address, |context| {
        context.delivery.transport_name = Some(transport.name.clone());
        if let Some(host) = host {
            context.delivery.host = Some(Text::tainted(host.name.clone()));
            context.delivery.host_address = host.address;
            context.delivery.host_port = host.port;
            context.delivery.sending = host.local;
            context.delivery.tls.clone_from(&host.tls);
        }
        raise_transport(context, transport, event);
    });
}

/// `msg:delivery` of an address that has been delivered.
pub fn delivered(delivery: &Delivery, context: &mut Context, address: &Address, done: &Delivered) {
    let Some(transport) = listener(delivery, address) else { return };
    let data = done.confirmation.as_deref().unwrap_or_default();
    let data = if tells_confirmation(transport) || done.host.is_some() { data } else { &[] };
    // Line ends as in the log: a backslash and an n.
    let shown = String::from_utf8_lossy(data).trim_end().replace('\n', "\\n").into_bytes();
    let event = Event::new("msg:delivery", &shown);
    of_address(delivery, context, transport, address, done.host.as_deref(), event);
}

/// Whether what a transport says is of another server, and so part of its events.
#[must_use]
pub fn tells_confirmation(transport: &Transport) -> bool {
    matches!(transport.kind.row.name, "smtp" | "lmtp" | "autoreply")
}

/// An event of one address that never saw a transport: the main section's.
pub fn of_failed_address(delivery: &Delivery, context: &mut Context, address: &Address, data: &[u8]) {
    if !is_main_set(context) {
        return;
    }
    within(delivery, context, address, |context| {
        raise_main(context, Event::new("msg:fail:internal", data));
    });
}

/// `msg:complete`: nothing is left to do for the message. No address is in hand any more.
pub fn completed(context: &mut Context) {
    if is_main_set(context) {
        context.address = oxim_lang::context::AddressScope::default();
        raise_main(context, Event::new("msg:complete", b""));
    }
}

/// With the variables of an address, and those of no host.
fn within(delivery: &Delivery, context: &mut Context, address: &Address, work: impl FnOnce(&mut Context)) {
    let (scope, outer) = (context.delivery.clone(), context.address.clone());
    crate::router::scope::enter(context, address);
    let router = address.router.and_then(|id| delivery.router(id)).map(|router| router.name.clone());
    context.delivery.router_name = router;
    context.delivery.transport_name = None;
    context.delivery.host = None;
    context.delivery.host_address = None;
    context.delivery.host_port = 0;
    context.delivery.sending = None;
    context.delivery.tls = None;
    work(context);
    context.delivery = scope;
    context.address = outer;
}
