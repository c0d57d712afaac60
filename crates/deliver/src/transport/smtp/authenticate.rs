//! The client's side of AUTH: which authenticator, and what follows from its failure (manual section 33.5).

use std::sync::Arc;
use std::time::Duration;

use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::{Connection, SmtpError};

use super::session::{Opening, Session, lost};
use super::trouble::{self, Codes, Trouble};
use super::{Target, Work};
use crate::authenticator::{Authenticator, ClientOutcome, Wire};
use crate::transport::{DeliveryError, error_code};

struct Line<'a> {
    connection: &'a mut Connection,
    limit: Duration,
}

impl Wire for Line<'_> {
    fn exchange(&mut self, line: &[u8], shown: &str) -> Result<Reply, SmtpError> {
        self.connection.queue_secret(line, shown)?;
        self.connection.read_reply(self.limit)
    }
}

impl Work<'_> {
    pub(super) fn authenticate(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let is_required = self.is_in(self.smtp.require_auth.as_ref(), target);
        if !is_required && !self.is_in(self.smtp.try_auth.as_ref(), target) {
            return Ok(());
        }
        self.settle_early(session, target)?;
        let offered = session.connection.extensions().auth.clone();
        if offered.is_empty() {
            return without(is_required, "server did not advertise AUTH support");
        }
        // For `client_condition`, and to bind the exchange to the channel.
        self.context.delivery.tls.clone_from(&session.tls);
        let candidates: Vec<Arc<Authenticator>> = self
            .delivery
            .authenticators
            .iter()
            .filter(|a| a.is_client() && offered.iter().any(|name| name.eq_ignore_ascii_case(&a.public_name)))
            .cloned()
            .collect();
        let mut was_refused = false;
        for authenticator in candidates {
            match authenticator.is_for_client(self.context) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(text) => {
                    let error = DeliveryError::new(error_code::AUTH_FAILED, text);
                    return Err(Opening::Trouble(Trouble::host(error)));
                }
            }
            let mut line = Line { connection: &mut session.connection, limit: self.limits.command };
            let name = &authenticator.name;
            let (outcome, field) = authenticator.authenticate(self.context, &mut line);
            match outcome {
                ClientOutcome::Accepted => {
                    session.authenticator = Some(field);
                    session.may_be_kept &= authenticator.is_same_for_all_messages();
                    return Ok(());
                }
                ClientOutcome::Refused(reply) => {
                    was_refused = true;
                    let line = format!("{name} authenticator failed {} {reply}", target.field());
                    self.authentication_failed(&reply.to_text(), Some(line));
                }
                ClientOutcome::Cancelled(reason) => {
                    was_refused = true;
                    let line =
                        format!("{name} authenticator cancelled authentication {} {reason}", target.field());
                    self.authentication_failed(reason.as_bytes(), Some(line));
                }
                ClientOutcome::NotForThis => {}
                ClientOutcome::TemporarilyRefused { after, reply } => {
                    self.authentication_failed(&reply.to_text(), None);
                    let error = trouble::refused(&session.used(target), &after, &reply, Codes::Other);
                    return Err(Opening::Trouble(Trouble::host(error)));
                }
                ClientOutcome::Faulty(text) => {
                    let text = format!("{name} authenticator: {text}");
                    return Err(Opening::Trouble(Trouble::host(DeliveryError::new(
                        error_code::AUTH_FAILED,
                        text,
                    ))));
                }
                ClientOutcome::Broken(error) => return Err(lost(session, target, error)),
            }
        }
        without(
            is_required,
            if was_refused { "authentication attempt(s) failed" } else { "no common mechanisms were found" },
        )
    }
}

/// Goes on without authentication if it is not required.
fn without(is_required: bool, reason: &str) -> Result<(), Opening> {
    if !is_required {
        return Ok(());
    }
    let text = format!("authentication required but {reason}");
    Err(Opening::Trouble(Trouble::quiet(DeliveryError::new(error_code::AUTH_FAILED, text))))
}
