//! The TLS handshake of a session: after STARTTLS, or at once (`tls_on_connect_ports`, `-tls-on-connect`).
//!
//! A policy that cannot be made ready gives 454 and the session goes on; a handshake that fails ends it. Manual chapter 43.

use std::sync::Arc;
use std::time::Duration;

use oxim_net::tls::{TlsFacts, server as tls_server};

use super::Session;
use crate::channel::{Channel, Wire};
use crate::command::{self, auth};
use crate::connect::{self, Crowd};
use crate::log_line;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::Talk;
use crate::tls::NotReady;

/// How long a TLS handshake may take where no other limit is set.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(300);

/// A client of `hosts_require_alpn` has not named our protocol.
const NO_ALPN: &str = "(handshake): ALPN required but not negotiated";

impl Session {
    /// Starts TLS, after the reply if there is one. False: the connection is of no further use.
    pub(super) async fn start_tls(&mut self, reply: Option<Reply>) -> bool {
        let Some(ready) = self.ready_for_tls().await else { return false };
        let server = match ready {
            Ok(server) => server,
            Err(reason) => {
                let reason = reason.told(&self.reception.logs);
                let client = self.talk.as_ref().map(|talk| log_line::client(&self.reception, talk, false));
                let client = client.unwrap_or_default();
                self.reception.logs.main(&format!("TLS error on connection from {client} {reason}"));
                if reply.is_some() {
                    Reply::fixed(454, "TLS currently unavailable").write(self.channel.output());
                }
                return reply.is_some();
            }
        };
        if let Some(reply) = reply {
            reply.write(self.channel.output());
            self.channel.flush(self.timeout()).await;
        }
        // What came in the clear behind the command must not be taken for something said under TLS.
        if !self.channel.pending().is_empty() {
            self.tls_failed("input was sent in the clear after STARTTLS".to_owned()).await;
            return false;
        }
        match self.handshake(server).await {
            Ok(facts) => {
                let has_events = self.reception.config.main.event_action.is_some();
                let blocking = has_events || auth::judges_tls(&self.reception);
                let started =
                    self.on_talk(blocking, move |r, talk| command::tls_started(r, talk, facts)).await;
                started.unwrap_or(false)
            }
            Err(reason) => {
                self.tls_failed(reason).await;
                false
            }
        }
    }

    /// The policy for this client. Most are known from clients before, which need no worker thread. None: the worker broke.
    async fn ready_for_tls(&mut self) -> Option<Result<Arc<tls_server::ServerTls>, NotReady>> {
        let at_once =
            |r: &Arc<Reception>, talk: &mut Talk| r.tls.as_ref()?.ready_at_once(&mut talk.scene.context);
        if let Some(server) = self.on_talk(false, at_once).await? {
            return Some(Ok(server));
        }
        self.on_talk(true, |r, talk| match &r.tls {
            Some(tls) => tls.ready(&mut talk.scene.context),
            None => Err(NotReady::Unusable("TLS is not configured".to_owned())),
        })
        .await
    }

    /// Whether this client is greeted before the handshake ends (`tls_early_banner_hosts`).
    fn greets_early(&mut self) -> bool {
        let reception = Arc::clone(&self.reception);
        let context = &mut self.talk_mut().scene.context;
        reception.tls.as_ref().is_some_and(|tls| tls.greets_early(context))
    }

    /// A session in which TLS comes first. What the number of connections forbids is not worth a handshake.
    pub(super) async fn run_in_tls(&mut self, crowd: Option<Crowd>) {
        if self.greets_early() {
            return self.run_greeting_early(crowd).await;
        }
        let is_proxied = self.talk_mut().scene.context.connection.proxy.is_some();
        if !is_proxied {
            let blocking = self.reception.blocking.connect;
            let refusal = self.on_talk(blocking, move |r, talk| {
                talk.is_announced = true;
                connect::announce(r, talk, crowd)
            });
            match refusal.await {
                Some(None) => {}
                Some(reply) => return Box::pin(self.end(reply)).await,
                None => return,
            }
        }
        if Box::pin(self.start_tls(None)).await {
            self.run(crowd).await;
        }
    }

    /// A session in which TLS comes first, for a client that gets the greeting with our part of the handshake: it saves
    /// a turn under TLS 1.3. So the connect ACL runs before TLS.
    async fn run_greeting_early(&mut self, crowd: Option<Crowd>) {
        let greeted = Box::pin(self.greet(crowd, false)).await;
        if let Err(Some(reply)) = &greeted {
            reply.write(self.channel.output());
        }
        if !Box::pin(self.start_tls(None)).await {
            return;
        }
        match greeted {
            Ok(()) => self.converse().await,
            Err(_) => Box::pin(self.end(None)).await,
        }
    }

    async fn tls_failed(&mut self, reason: String) {
        let blocking = self.reception.config.main.event_action.is_some();
        self.on_talk(blocking, move |r, talk| command::tls_failed(r, talk, &reason)).await;
    }

    /// The handshake itself; the policy may depend on the name that the client asks for. What is to be sent goes into it.
    async fn handshake(&mut self, mut server: Arc<tls_server::ServerTls>) -> Result<TlsFacts, String> {
        let reception = Arc::clone(&self.reception);
        let Some(tls) = &reception.tls else { return Err("TLS is not configured".to_owned()) };
        let depends = tls.depends_on_name;
        let timeout = self.timeout().unwrap_or(HANDSHAKE_TIMEOUT);
        let nothing: Box<dyn Wire> = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        let mut channel = std::mem::replace(&mut self.channel, Channel::new(nothing));
        let first = std::mem::take(channel.output());
        let hello =
            tls_server::begin(channel.into_wire(), timeout).await.map_err(|error| error.to_string())?;
        if let Some(name) = hello.sni().filter(|_| depends) {
            let ready = self
                .on_talk(true, move |r, talk| {
                    talk.scene.context.connection.tls =
                        Some(TlsFacts { sni: Some(name), ..TlsFacts::default() });
                    let ready = r.tls.as_ref().map(|tls| tls.ready(&mut talk.scene.context));
                    talk.scene.context.connection.tls = None;
                    ready
                })
                .await;
            if let Some(Some(ready)) = ready {
                server = ready.map_err(|reason| reason.told(&self.reception.logs))?;
            }
        }
        let protocols = hello.alpn();
        if protocols.len() > 1 && server.has_protocols() {
            let names: Vec<String> = protocols.iter().map(|name| log_line::printable(name)).collect();
            self.reception.logs.main(&format!("TLS ALPN ({}) rejected", names.join(":")));
        }
        let must_agree = tls.requires_alpn(&mut self.talk_mut().scene.context);
        if must_agree && protocols.is_empty() {
            return Err(NO_ALPN.to_owned());
        }
        let accepted = hello.accept_saying(&server, &first).await;
        for note in server.take_notes() {
            if note.is_panic {
                self.reception.logs.panic(&note.text);
            } else {
                self.reception.logs.main(&note.text);
            }
        }
        let (stream, facts) = accepted.map_err(|error| error.to_string())?;
        if must_agree && facts.alpn.is_none() {
            return Err(NO_ALPN.to_owned());
        }
        self.channel = Channel::new(Box::new(stream));
        Ok(facts)
    }
}
