//! Opens a connection as far as MAIL: connect, greeting, EHLO, TLS, authentication.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use oxim_lang::context::ProxySession;
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list;
use oxim_mail::smtp::extension::Limits;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::{Connection, SmtpError};
use oxim_net::socket::{ConnectTarget, Endpoint, parse_dscp};
use oxim_net::tls::TlsFacts;

use super::early::Early;
use super::encrypt::TlsWishes;
use super::trouble::{self, About, Codes, Said, Trouble};
use super::{Protocol, Target, Work};
use crate::transport::{DeliveryError, HostUsed, error_code};

/// What may differ from message to message, and therefore decides whether a connection can be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) helo: String,
    pub(super) interface: Option<IpAddr>,
    pub(super) tls: TlsWishes,
    /// `socks_proxy`, expanded.
    pub(super) proxies: Option<Vec<u8>>,
}

impl Wishes {
    /// Whether they come to the same in the clear.
    pub(super) fn are_same_in_the_clear(&self, other: &Wishes) -> bool {
        self.helo == other.helo
            && self.interface == other.interface
            && self.proxies == other.proxies
            && self.tls.allow_the_clear()
            && other.tls.allow_the_clear()
    }
}

/// A connection that is ready for MAIL.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) wishes: Wishes,
    pub(super) local: Option<SocketAddr>,
    /// The SOCKS proxy that leads there.
    pub(super) proxy: Option<ProxySession>,
    pub(super) tls: Option<Arc<TlsFacts>>,
    /// The field `A=`.
    pub(super) authenticator: Option<String>,
    pub(super) is_pipelined: bool,
    pub(super) is_chunked: bool,
    /// The server can answer for each recipient, and may.
    pub(super) is_prdr: bool,
    /// It carried a message before this one.
    pub(super) is_continued: bool,
    /// The answer to EHLO, with its codes.
    pub(super) answer: Vec<u8>,
    /// What has been said before the server's turn.
    pub(super) early: Option<Early>,
    /// The connection began with that, and the server was as it was known.
    pub(super) is_early: bool,
    /// It was not: refusals need not be meant.
    pub(super) has_changed: bool,
    /// Messages that it has carried.
    pub(super) messages: usize,
    /// It may be put into the pool: nothing about it belongs to one message.
    pub(super) may_be_kept: bool,
    /// While it is in the pool: what follows when the connection, declared before this, is gone.
    pub(super) farewell: Farewell,
}

/// What is done when a kept connection is dropped, whoever drops it.
#[derive(Default)]
pub(super) struct Farewell(Option<Box<dyn FnOnce() + Send>>);

impl Farewell {
    pub(super) fn new(work: impl FnOnce() + Send + 'static) -> Farewell {
        Farewell(Some(Box::new(work)))
    }

    /// The connection is in use again.
    pub(super) fn call_off(&mut self) {
        self.0 = None;
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

impl Session {
    /// A connection on which nothing has been said.
    pub(super) fn over(connection: Connection, wishes: Wishes) -> Session {
        Session {
            local: connection.local_address(),
            connection,
            wishes,
            proxy: None,
            tls: None,
            authenticator: None,
            is_pipelined: false,
            is_chunked: false,
            is_prdr: false,
            is_continued: false,
            answer: Vec::new(),
            early: None,
            is_early: false,
            has_changed: false,
            messages: 0,
            may_be_kept: false,
            farewell: Farewell::default(),
        }
    }

    /// Says QUIT and does not wait.
    pub(super) fn quit(self) {
        self.connection.quit(Duration::ZERO);
    }

    /// What the server says that it takes. Said in the clear by one that offers TLS it does not count.
    pub(super) fn limits(&self) -> Limits {
        let extensions = self.connection.extensions();
        if extensions.starttls { Limits::default() } else { extensions.limits }
    }

    /// Nothing about it would be different if the server had been known by another name: it offers no TLS, and nobody has
    /// authenticated.
    pub(super) fn is_nameless(&self) -> bool {
        self.tls.is_none() && !self.connection.extensions().starttls && self.authenticator.is_none()
    }

    pub(super) fn is_reusable(&self) -> bool {
        self.connection.is_reusable()
    }

    /// What log lines say of the server.
    pub(super) fn used(&self, target: &Target) -> HostUsed {
        HostUsed {
            local: self.local,
            proxy: self.proxy.and_then(|session| session.proxy),
            tls: self.tls.clone(),
            authenticator: self.authenticator.clone(),
            is_continued: self.is_continued,
            ..target.used()
        }
    }
}

impl Work<'_> {
    /// An expansion of an option that may be forced to fail, which is as good as unset.
    pub(super) fn optional(
        &mut self,
        template: Option<&Template>,
        option: &str,
    ) -> Result<Option<String>, DeliveryError> {
        let Some(template) = template else { return Ok(None) };
        match template.expand(self.context) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(text.to_string_lossy())),
            Err(ExpandError::Forced(_)) => Ok(None),
            Err(error) => {
                let text = format!(
                    "failed to expand \"{option}\" option for {} transport: {error}",
                    self.transport.name
                );
                Err(DeliveryError { is_for_panic_log: true, ..DeliveryError::new(error_code::UNKNOWN, text) })
            }
        }
    }

    /// What this message asks of a connection. `local` is our end, which `helo_data` may tell.
    pub(super) fn wishes(
        &mut self,
        target: &Target,
        local: Option<SocketAddr>,
    ) -> Result<Wishes, DeliveryError> {
        let interface = self.interface(target)?;
        let proxies = self.proxies()?;
        let tls = self.tls_wishes(target)?;
        self.context.delivery.sending = local;
        Ok(Wishes { helo: self.helo()?, interface, tls, proxies })
    }

    pub(super) fn helo(&mut self) -> Result<String, DeliveryError> {
        let failed = |error: &dyn std::fmt::Display| {
            DeliveryError::new(error_code::HELO_EXPANSION, format!("failed to expand helo_data: {error}"))
        };
        match self.smtp.helo_data.expand(self.context) {
            Ok(text) => {
                let name = oxim_mail::idna::to_ascii(text.as_bytes()).map_err(|error| failed(&error))?;
                Ok(String::from_utf8_lossy(&name).into_owned())
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// The first address of `interface` that is of the host's family.
    fn interface(&mut self, target: &Target) -> Result<Option<IpAddr>, DeliveryError> {
        let Some(text) = self.optional(self.smtp.interface.as_ref(), "interface")? else { return Ok(None) };
        for item in list::split(text.as_bytes()) {
            let item = String::from_utf8_lossy(&item);
            let address: IpAddr = item.parse().map_err(|_| {
                let text = format!(
                    "\"{item}\" is not a valid IP address for the \"interface\" option for {} transport",
                    self.transport.name
                );
                DeliveryError::new(error_code::UNKNOWN, text)
            })?;
            if address.is_ipv4() == target.address.is_ipv4() {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// `dscp`: a value that is none marks nothing, with a line in the log.
    fn dscp(&mut self) -> Option<u8> {
        let text = match self.optional(self.smtp.dscp.as_ref(), "dscp") {
            Ok(text) => text?,
            Err(error) => {
                self.log(&error.text);
                return None;
            }
        };
        let field = parse_dscp(&text);
        if field.is_none() {
            self.log(&format!("\"{text}\" is no value for dscp of the {} transport", self.transport.name));
        }
        field
    }

    /// Opens a connection to a host.
    ///
    /// # Errors
    /// The host cannot be used now, or for this message.
    pub(super) fn open(&mut self, target: &Target) -> Result<Session, Trouble> {
        let silent = |error| Trouble { about: About::Configuration, ..Trouble::quiet(error) };
        let interface = self.interface(target).map_err(silent)?;
        let proxies = self.proxies().map_err(silent)?;
        let tls = self.tls_wishes(target);
        self.dns_events();
        let tls = tls.map_err(|error| match error.code {
            error_code::DANE => Trouble::host(error),
            error_code::MTA_STS => Trouble { about: About::Message, ..Trouble::host(error) },
            _ => silent(error),
        })?;
        for note in &tls.notes {
            self.log(note);
        }
        let proxies = proxies.as_deref();
        match self.open_once(target, interface, proxies, &tls, true) {
            Err(Opening::InTheClear(text)) => {
                self.clear_text_events(&text);
                // The connection is in an unknown state: another one, without TLS.
                let line = format!(
                    "{text}: delivering unencrypted to {} (not in hosts_require_tls)",
                    target.field()
                );
                self.log(&line);
                self.open_once(target, interface, proxies, &tls, false)
                    .map_err(|opening| opening.into_trouble(target))
            }
            Err(Opening::Again) => {
                self.early_allowed = false;
                self.open_once(target, interface, proxies, &tls, true)
                    .map_err(|opening| opening.into_trouble(target))
            }
            other => other.map_err(|opening| opening.into_trouble(target)),
        }
        // Another domain's mail may go there all the same.
        .map_err(|trouble| match trouble.error.code {
            error_code::TLS_FAILED | error_code::TLS_REQUIRED if tls.is_of_mta_sts() => {
                Trouble { about: About::Message, ..trouble }
            }
            _ => trouble,
        })
    }

    fn open_once(
        &mut self,
        target: &Target,
        interface: Option<IpAddr>,
        proxies: Option<&[u8]>,
        tls: &TlsWishes,
        with_tls: bool,
    ) -> Result<Session, Opening> {
        let to = ConnectTarget {
            endpoint: Endpoint::Tcp(SocketAddr::new(target.ip(), target.port)),
            interface,
            connect_timeout: self.limits.connect,
            keepalive: self.smtp.keepalive,
            tcp_nodelay: true,
            dscp: self.dscp(),
        };
        let connected = match proxies {
            Some(list) => self.connect_by_proxy(list, target, &to),
            None => self.connect(target, &to).map(|connection| (connection, None)),
        };
        let (connection, proxy) = connected.map_err(Opening::Trouble)?;
        if proxy.is_some() {
            self.context.connection.proxy = proxy;
        }
        let local = connection.local_address();
        self.context.delivery.sending = local;
        let helo = match self.helo() {
            Ok(helo) => helo,
            Err(error) => {
                connection.quit(Duration::ZERO);
                self.event("tcp:close", b"");
                return Err(Opening::Trouble(Trouble::host(error)));
            }
        };
        let wishes = Wishes { helo, interface, tls: tls.clone(), proxies: proxies.map(<[u8]>::to_vec) };
        let mut session = Session::over(connection, wishes);
        session.proxy = proxy;
        session.may_be_kept = true;
        match self.greet(&mut session, target, with_tls) {
            Ok(()) => {
                self.note_extensions(&mut session, target);
                Ok(session)
            }
            Err(opening) => {
                session.quit();
                self.event("tcp:close", b"");
                Err(opening)
            }
        }
    }

    fn connect(&mut self, target: &Target, to: &ConnectTarget) -> Result<Connection, Trouble> {
        if let Some(trouble) = self.connect_event(target) {
            return Err(trouble);
        }
        Connection::connect(to).map_err(|error| trouble::broken(&target.used(), error, About::Host))
    }

    /// Which of the server's extensions are used.
    pub(super) fn note_extensions(&mut self, session: &mut Session, target: &Target) {
        let avoids = self.smtp.avoid_pipelining.as_ref();
        session.is_pipelined = session.connection.extensions().pipelining && !self.is_in(avoids, target);
        let tries = self.smtp.try_chunking.as_ref();
        session.is_chunked = session.connection.extensions().chunking && self.is_in(tries, target);
        let tries = self.smtp.try_prdr.as_ref();
        session.is_prdr = session.connection.extensions().prdr
            && self.smtp.protocol != Protocol::Lmtp
            && self.is_in(tries, target);
    }

    fn greet(&mut self, session: &mut Session, target: &Target, with_tls: bool) -> Result<(), Opening> {
        if self.smtp.protocol == Protocol::Smtps {
            self.encrypt_at_once(session, target)?;
        }
        if !self.hello_early(session, target, true) {
            self.greeting(session, target)?;
        }
        if with_tls && self.smtp.protocol != Protocol::Smtps {
            self.start_tls(session, target)?;
        }
        self.authenticate(session, target)
    }

    /// The greeting, and EHLO after it.
    fn greeting(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let limit = self.limits.command;
        let reply = session.connection.read_banner(limit).map_err(|error| lost(session, target, error))?;
        if !reply.is_success() {
            return Err(bad_host(session, target, "initial connection", &reply));
        }
        if let Some(said) = self.reply_event("smtp:connect", &reply) {
            let text = format!("deferred by smtp:connect event expansion: {}", said.to_string_lossy());
            let error = DeliveryError {
                host: Some(Arc::new(session.used(target))),
                ..DeliveryError::new(error_code::EXPANSION_FAILED, text)
            };
            return Err(Opening::Trouble(Trouble::host(error)));
        }
        self.hello(session, target)
    }

    /// EHLO, or HELO where that is refused or not to be used; LHLO for LMTP.
    pub(super) fn hello(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let limit = self.limits.command;
        let helo = session.wishes.helo.clone();
        let (verb, reply) = if self.smtp.protocol == Protocol::Lmtp {
            ("LHLO", session.connection.lhlo(&helo, limit))
        } else if self.is_in(self.smtp.avoid_esmtp.as_ref(), target) {
            ("HELO", session.connection.helo(&helo, limit))
        } else {
            match session.connection.ehlo(&helo, limit) {
                Ok(reply) if !reply.is_success() => ("HELO", session.connection.helo(&helo, limit)),
                other => ("EHLO", other),
            }
        };
        let reply = reply.map_err(|error| lost(session, target, error))?;
        if verb != "HELO" {
            self.reply_event("smtp:ehlo", &reply);
        }
        if reply.is_success() {
            if verb == "EHLO" {
                session.answer = reply.to_text();
                self.remember_answer(session, target, &reply);
            }
            Ok(())
        } else {
            Err(bad_host(session, target, &format!("{verb} {helo}"), &reply))
        }
    }
}

/// Why there is no session.
pub(super) enum Opening {
    Trouble(Trouble),
    /// TLS failed where it is not required: the text tells why.
    InTheClear(String),
    /// The server is not as it was: another connection, without assumptions.
    Again,
}

impl Opening {
    pub(super) fn into_trouble(self, target: &Target) -> Trouble {
        match self {
            Opening::Trouble(trouble) => trouble,
            Opening::Again => Trouble::quiet(DeliveryError::new(
                error_code::CONNECTION_LOST,
                "the server has changed its answer to EHLO",
            )),
            Opening::InTheClear(text) => {
                let error = DeliveryError {
                    host: Some(Arc::new(target.used())),
                    ..DeliveryError::new(error_code::TLS_FAILED, text)
                };
                Trouble::quiet(error)
            }
        }
    }
}

pub(super) fn lost(session: &Session, target: &Target, error: SmtpError) -> Opening {
    Opening::Trouble(trouble::broken(&session.used(target), error, About::Host))
}

/// A refusal before MAIL: 5yz fails the addresses, all else is a trouble of the host.
pub(super) fn bad_host(session: &Session, target: &Target, after: &str, reply: &Reply) -> Opening {
    let error = trouble::refused(&session.used(target), after, reply, Codes::Other);
    let said = Some(Box::new(Said::Refused { sent: after.to_owned(), reply: reply.clone() }));
    Opening::Trouble(Trouble { is_final: reply.is_permanent(), said, ..Trouble::host(error) })
}
