//! The events of a connection and of what is said over it. Only `tcp:connect`, `smtp:connect` and `tls:cert` heed a result.

use std::net::SocketAddr;
use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_mail::smtp::reply::Reply;
use oxim_net::tls::TlsFacts;
use oxim_net::tls::certificate::Certificate;

use super::session::{Farewell, Opening, Session};
use super::trouble::{About, Trouble};
use super::{Target, Work};
use crate::event::{self, Event};
use crate::transport::{DeliveryError, error_code};

/// What the log says of a connection that `tcp:connect` forbids.
pub(super) const FORBIDDEN: &str = "Event requests alternate response";

impl Work<'_> {
    /// Raises an event with the variables as they are. Gives a result that is not empty.
    pub(super) fn event(&mut self, name: &'static str, data: &[u8]) -> Option<Text> {
        if !self.transport.has_events() {
            return None;
        }
        let host = (self.context.delivery.host_address, self.context.delivery.host_port);
        show_proxy(self.context, self.proxy);
        let said = event::raise_transport(self.context, self.transport, Event::new(name, data));
        (self.context.delivery.host_address, self.context.delivery.host_port) = host;
        said
    }

    /// An event about what the server has said.
    pub(super) fn reply_event(&mut self, name: &'static str, reply: &Reply) -> Option<Text> {
        if !self.transport.has_events() {
            return None;
        }
        self.event(name, &reply.to_text())
    }

    /// `dns:fail`, for what has been asked in vain.
    pub(super) fn dns_events(&mut self) {
        event::dns_failures_in(self.context, self.transport);
    }

    /// `tcp:connect`: a result means that no connection is made.
    pub(super) fn connect_event(&mut self, target: &Target) -> Option<Trouble> {
        self.event("tcp:connect", b"")?;
        let error = DeliveryError::new(error_code::EVENT_REFUSED, String::new());
        self.log(&format!("{} {FORBIDDEN}", target.field()));
        Some(Trouble::quiet(error))
    }

    /// `tls:cert`, for each certificate that came, the leaf last: a result means that the certificate is not taken.
    pub(super) fn certificate_events(
        &mut self,
        session: &mut Session,
        target: &Target,
    ) -> Result<(), Opening> {
        if !self.transport.has_events() {
            return Ok(());
        }
        let Some(facts) = session.tls.clone() else { return Ok(()) };
        let mut refused = None;
        for depth in (0..facts.peer_chain.len()).rev() {
            let chain = facts.peer_chain.iter().skip(depth).cloned().collect();
            let shown = TlsFacts { peer_chain: chain, ..TlsFacts::clone(&facts) };
            self.context.delivery.tls = Some(Arc::new(shown));
            refused = self.event("tls:cert", depth.to_string().as_bytes()).map(|text| (depth, text));
            if refused.is_some() {
                break;
            }
        }
        self.context.delivery.tls = Some(Arc::clone(&facts));
        let Some((depth, text)) = refused else { return Ok(()) };
        let subject = facts.peer_chain.get(depth).and_then(|der| Certificate::parse(der).ok());
        let subject = subject.map(|certificate| certificate.subject_one_line).unwrap_or_default();
        self.log(&format!(
            "[{}] SSL verify denied by event-action: depth={depth} cert={subject}: {}",
            target.address,
            text.to_string_lossy()
        ));
        // A host that is only tried to be verified is used all the same.
        if session.wishes.tls.policy.verify == oxim_net::tls::Verify::Try {
            return Ok(());
        }
        let what = "TLS session: (certificate verification failed): denied by event-action".to_owned();
        let is_required =
            session.wishes.tls.is_mandatory || self.is_in(self.smtp.tls.require.as_ref(), target);
        if !is_required && self.smtp.tls.tempfail_tryclear && !self.is_tls_at_once() {
            return Err(Opening::InTheClear(what));
        }
        let error = DeliveryError {
            host: Some(Arc::new(session.used(target))),
            ..DeliveryError::new(error_code::TLS_FAILED, what)
        };
        Err(Opening::Trouble(Trouble::quiet(error)))
    }

    fn is_tls_at_once(&self) -> bool {
        self.smtp.protocol == super::Protocol::Smtps
    }

    /// `auth:fail`: a result is logged in place of the line about the attempt.
    pub(super) fn authentication_failed(&mut self, reply: &[u8], line: Option<String>) {
        let said = self.event("auth:fail", reply).map(|text| text.to_string_lossy());
        if let Some(line) = said.or(line) {
            self.log(&line);
        }
    }

    /// What will raise `tcp:close` when a connection that is kept comes to its end.
    pub(super) fn farewell(&self) -> Farewell {
        let Some(action) = self.transport.generic.event_action.clone() else { return Farewell::default() };
        let (mut context, place) = (self.context.clone(), self.transport.name.clone());
        show_proxy(&mut context, self.proxy);
        Farewell::new(move || {
            event::raise(&mut context, &action, &place, Event::new("tcp:close", b""));
        })
    }

    /// `msg:host:defer`, and `msg:defer` if there is no other host: a host could not take the message now.
    pub(super) fn deferral_events(&mut self, trouble: &Trouble) {
        let is_due = trouble.about == About::Host || trouble.about == About::Message && !trouble.is_final;
        if !is_due || !self.transport.has_events() || self.batch.addresses.is_empty() {
            return;
        }
        let data = match trouble.error.text.as_str() {
            "" if trouble.error.code > 0 => oxim_base::errno::errno_text(trouble.error.code),
            text => text.to_owned(),
        };
        let errno = i64::from(trouble.error.code);
        self.with_router(|work| {
            work.errors(["msg:host:defer", "msg:defer"], data.as_bytes(), errno);
        });
    }

    /// TLS failed, and the host is tried without it: to events, that was a host that deferred.
    pub(super) fn clear_text_events(&mut self, text: &str) {
        if self.transport.has_events() && !self.batch.addresses.is_empty() {
            let errno = i64::from(error_code::TLS_FAILED);
            let event = Event { name: "msg:host:defer", data: text.as_bytes(), errno };
            self.with_router(|work| {
                event::raise_transport(work.context, work.transport, event);
            });
        }
        self.context.delivery.tls = None;
    }

    /// `msg:rcpt:host:defer`, and `msg:rcpt:defer` if there is no other host: a recipient was put off.
    pub(super) fn recipient_events(&mut self, index: usize, error: &DeliveryError) {
        if !self.transport.has_events() {
            return;
        }
        let Some(address) = self.batch.addresses.get(index).cloned() else { return };
        let outer = self.context.address.clone();
        crate::router::scope::enter(self.context, &address);
        let errno = i64::from(error.more);
        let text = error.text.clone();
        self.with_router(|work| {
            work.errors(["msg:rcpt:host:defer", "msg:rcpt:defer"], text.as_bytes(), errno);
        });
        self.context.address = outer;
    }

    fn errors(&mut self, [of_host, of_all]: [&'static str; 2], data: &[u8], errno: i64) {
        event::raise_transport(self.context, self.transport, Event { name: of_host, data, errno });
        if !self.has_more_hosts {
            event::raise_transport(self.context, self.transport, Event { name: of_all, data, errno });
        }
    }

    fn with_router(&mut self, work: impl FnOnce(&mut Self)) {
        let router = self.batch.addresses.first().and_then(|address| address.router);
        let name = router.and_then(|id| self.delivery.router(id)).map(|router| router.name.clone());
        let outer = std::mem::replace(&mut self.context.delivery.router_name, name);
        work(self);
        self.context.delivery.router_name = outer;
    }
}

/// By way of a proxy, that is the host to which the connection leads.
fn show_proxy(context: &mut Context, proxy: Option<SocketAddr>) {
    if let Some(proxy) = proxy {
        context.delivery.host_address = Some(proxy.ip());
        context.delivery.host_port = proxy.port();
    }
}
