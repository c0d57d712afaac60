//! Early pipelining (PIPECONNECT; `hosts_pipe_connect`, manual chapter 30): EHLO, and where possible the envelope, leave before
//! the greeting, because the server's answer to EHLO is known from an earlier connection.
//!
//! The answers, one in the clear and one under TLS, are hints by address, port and our own name. What was assumed is compared
//! with what the server says now: before STARTTLS and AUTH, and before anything of the message leaves. If the server has
//! changed, the hint is corrected; a refusal that may come of it is never final, and the connection is made again where going on
//! could harm.

use std::net::SocketAddr;

use oxim_base::clock::Stamp;
use oxim_mail::smtp::extension::Extensions;
use oxim_mail::smtp::reply::Reply;
use oxim_spool::hints::Database;

use super::session::{Opening, Session, bad_host, lost};
use super::{Protocol, Target, Work};

/// A longer answer to EHLO is not remembered, in bytes.
const ANSWER_BYTES_MAX: usize = 4096;
/// Parts the two answers of a hint.
const PART: u8 = 0;

/// What has been said too early, and what was assumed.
#[derive(Clone, Debug)]
pub(super) struct Early {
    assumed: Extensions,
    /// The greeting is still to be read, too.
    awaits_banner: bool,
}

/// The answers to EHLO that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    clear: Vec<u8>,
    tls: Vec<u8>,
}

impl Known {
    fn read(value: &[u8]) -> Known {
        let mut parts = value.splitn(2, |byte| *byte == PART).map(<[u8]>::to_vec);
        Known { clear: parts.next().unwrap_or_default(), tls: parts.next().unwrap_or_default() }
    }

    fn write(&self) -> Vec<u8> {
        [self.clear.as_slice(), &[PART], self.tls.as_slice()].concat()
    }

    fn part(&mut self, in_tls: bool) -> &mut Vec<u8> {
        if in_tls { &mut self.tls } else { &mut self.clear }
    }
}

impl Work<'_> {
    fn early_key(target: &Target, helo: &str) -> Vec<u8> {
        format!("ehlo:{}:{helo}", SocketAddr::new(target.address, target.port)).into_bytes()
    }

    fn known(&self, target: &Target, helo: &str) -> Option<(Known, Stamp)> {
        let hints = self.delivery.services.hints.get()?;
        let hint = hints.get(&Database::Misc, &Self::early_key(target, helo)).ok()??;
        let age = Stamp::now().since(hint.stamp);
        (age < self.delivery.config.main.retry_data_expire).then(|| (Known::read(&hint.value), hint.stamp))
    }

    /// Whether early pipelining can be tried with the host at all.
    fn may_be_early(&mut self, target: &Target) -> bool {
        let smtp = self.smtp;
        self.early_allowed
            && smtp.protocol != Protocol::Lmtp
            && smtp.pipe_connect.is_some()
            // What events say of the greeting comes too late then.
            && !self.transport.has_events()
            && self.is_in(smtp.pipe_connect.as_ref(), target)
            && !self.is_in(smtp.avoid_esmtp.as_ref(), target)
            && !self.is_in(smtp.avoid_pipelining.as_ref(), target)
    }

    /// Queues EHLO before the greeting, or before the answer to the handshake, if the server is known to take it. False: it is
    /// not known.
    pub(super) fn hello_early(
        &mut self,
        session: &mut Session,
        target: &Target,
        awaits_banner: bool,
    ) -> bool {
        if !self.may_be_early(target) {
            return false;
        }
        let helo = session.wishes.helo.clone();
        let Some((mut known, _)) = self.known(target, &helo) else { return false };
        let answer = known.part(session.tls.is_some());
        if answer.is_empty() {
            return false;
        }
        let assumed = Extensions::parse(&Reply::new(250, &*answer));
        if !assumed.pipe_connect || !assumed.pipelining {
            return false;
        }
        if awaits_banner {
            session.connection.expect_banner();
        }
        if session.connection.queue(format!("EHLO {helo}").as_bytes()).is_err() {
            return false;
        }
        session.connection.assume_extensions(assumed.clone());
        session.early = Some(Early { assumed, awaits_banner });
        session.is_early = true;
        true
    }

    /// Remembers an answer to EHLO, if the server offers early pipelining and the options want it.
    pub(super) fn remember_answer(&mut self, session: &Session, target: &Target, reply: &Reply) {
        if !self.may_be_early(target) {
            return;
        }
        let helo = &session.wishes.helo;
        let answer = reply.lines.join(&b"\n"[..]);
        let is_offered = reply.is_success() && session.connection.extensions().pipe_connect;
        let is_kept = is_offered && answer.len() <= ANSWER_BYTES_MAX && !answer.contains(&PART);
        let before = self.known(target, helo);
        let is_fresh = before.as_ref().is_some_and(|(_, stamp)| {
            Stamp::now().since(*stamp) < self.delivery.config.main.retry_data_expire / 2
        });
        let before = before.map(|(known, _)| known).unwrap_or_default();
        let mut now = before.clone();
        *now.part(session.tls.is_some()) = if is_kept { answer } else { Vec::new() };
        if now == before && (is_fresh || !is_kept) {
            return;
        }
        let Some(hints) = self.delivery.services.hints.get() else { return };
        let key = Self::early_key(target, helo);
        // Hints may be lost.
        let _lost = if now == Known::default() {
            hints.delete(&Database::Misc, &key)
        } else {
            hints.put(&Database::Misc, &key, &now.write(), Stamp::now())
        };
    }

    /// Nothing is assumed of the host any more.
    pub(super) fn forget_answers(&mut self, session: &Session, target: &Target) {
        self.early_allowed = false;
        if let Some(hints) = self.delivery.services.hints.get() {
            let _lost = hints.delete(&Database::Misc, &Self::early_key(target, &session.wishes.helo));
        }
    }

    /// Reads the greeting and the answer to EHLO if they are outstanding, and compares.
    ///
    /// # Errors
    /// The server does not want us; or [`Opening::Again`]: another connection has to be made, without haste.
    pub(super) fn settle_early(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let Some(early) = session.early.take() else { return Ok(()) };
        let limit = self.limits.command;
        if early.awaits_banner {
            let reply = session.connection.read_reply(limit).map_err(|error| {
                self.forget_answers(session, target);
                lost(session, target, error)
            })?;
            if !reply.is_success() {
                self.forget_answers(session, target);
                return Err(bad_host(session, target, "initial connection", &reply));
            }
        }
        let reply = session.connection.read_reply(limit).map_err(|error| {
            self.forget_answers(session, target);
            lost(session, target, error)
        })?;
        session.connection.take_extensions(&reply);
        if !reply.is_success() {
            self.forget_answers(session, target);
            return Err(Opening::Again);
        }
        session.answer = reply.to_text();
        self.remember_answer(session, target, &reply);
        let now = session.connection.extensions();
        if *now == early.assumed {
            return Ok(());
        }
        session.is_early = false;
        session.has_changed = true;
        if now.starttls && !early.assumed.starttls {
            self.early_allowed = false;
            return Err(Opening::Again);
        }
        session.is_chunked &= now.chunking;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_answers_are_kept() {
        let known = Known { clear: b"a\nPIPECONNECT".to_vec(), tls: b"b".to_vec() };
        assert_eq!(Known::read(&known.write()), known);
        assert_eq!(Known::read(b""), Known::default());
        let extensions = Extensions::parse(&Reply::new(250, &known.clear));
        assert!(extensions.pipe_connect && !extensions.pipelining);
    }
}
