//! The TLS handshake of a session: after STARTTLS, or at once on the ports of `tls_on_connect_ports`.
//!
//! A policy that cannot be made ready gives 454 and the session goes on; a handshake that fails ends it. Manual chapter 43.

use std::sync::Arc;
use std::time::Duration;

use oxim_net::tls::{TlsFacts, server as tls_server};

use super::Session;
use crate::channel::{Channel, Wire};
use crate::command;
use crate::reply::Reply;

/// How long a TLS handshake may take where no other limit is set.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(300);

impl Session {
    /// Starts TLS, after the reply if there is one. False: the connection is of no further use.
    pub(super) async fn start_tls(&mut self, reply: Option<Reply>) -> bool {
        let ready = self.on_talk(true, |r, talk| match &r.tls {
            Some(tls) => tls.ready(&mut talk.scene.context),
            None => Err("TLS is not configured".to_owned()),
        });
        let Some(ready) = ready.await else { return false };
        let server = match ready {
            Ok(server) => server,
            Err(reason) => {
                self.reception.logs.panic(&format!("TLS currently unavailable: {reason}"));
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
            self.tls_failed("input was sent in the clear after STARTTLS");
            return false;
        }
        match self.handshake(server).await {
            Ok(facts) => {
                let talk = self.talk_mut();
                command::tls_started(talk, facts);
                true
            }
            Err(reason) => {
                self.tls_failed(&reason);
                false
            }
        }
    }

    fn tls_failed(&mut self, reason: &str) {
        let reception = Arc::clone(&self.reception);
        command::tls_failed(&reception, self.talk_mut(), reason);
    }

    /// The handshake itself; the certificate may depend on the name that the client asks for.
    async fn handshake(&mut self, mut server: Arc<tls_server::ServerTls>) -> Result<TlsFacts, String> {
        let Some(tls) = &self.reception.tls else { return Err("TLS is not configured".to_owned()) };
        let depends = tls.depends_on_name;
        let timeout = self.timeout().unwrap_or(HANDSHAKE_TIMEOUT);
        let nothing: Box<dyn Wire> = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        let wire = std::mem::replace(&mut self.channel, Channel::new(nothing)).into_wire();
        let hello = tls_server::begin(wire, timeout).await.map_err(|error| error.to_string())?;
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
                server = ready?;
            }
        }
        let (stream, facts) = hello.accept(&server).await.map_err(|error| error.to_string())?;
        self.channel = Channel::new(Box::new(stream));
        Ok(facts)
    }
}
