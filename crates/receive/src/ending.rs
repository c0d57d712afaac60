//! What is logged and run when a session, or a transaction within it, ends.
//!
//! Manual sections 44.11 (the not-QUIT ACL) and 53.15 (`smtp_connection`, `smtp_no_mail`, `smtp_incomplete_transaction`,
//! `lost_incoming_connection`).

use std::sync::Arc;

use crate::body::Place;
use crate::command::set_end_reason;
use crate::log_line;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{LastLine, Talk};

/// Logs a transaction that is given up, if that is wanted.
pub fn log_incomplete(reception: &Reception, talk: &Talk, why: &str) {
    if !reception.wants.smtp_incomplete_transaction || !talk.transaction.sender_given {
        return;
    }
    let client = log_line::client(reception, talk, true);
    let sender = String::from_utf8_lossy(&talk.scene.context.message.sender);
    let mut line = format!("{client} incomplete transaction ({why}) from <{sender}>");
    for (index, recipient) in talk.transaction.raw_recipients.iter().enumerate() {
        line.push_str(if index == 0 { " for " } else { " " });
        line.push_str(&String::from_utf8_lossy(recipient));
    }
    reception.logs.main(&line);
}

/// The client closed the connection without QUIT while a command was expected.
pub fn connection_lost(reception: &Arc<Reception>, talk: &mut Talk) -> Reply {
    set_end_reason(talk, "connection-lost");
    log_incomplete(reception, talk, "connection lost");
    let duration = oxim_base::clock::short_interval(talk.started.elapsed(), reception.wants.millisec);
    let connection = log_line::connection(reception, talk);
    if reception.wants.lost_incoming_connection && talk.transaction.sender_given {
        let client = log_line::client(reception, talk, false);
        let what = if talk.is_local() { "EOF" } else { "disconnection" };
        let line = format!("unexpected {what} while reading SMTP command from {client} D={duration}");
        talk.last_line = Some(LastLine::plain(line));
    } else if reception.wants.smtp_connection && talk.log_connection {
        talk.last_line = Some(LastLine::plain(format!("{connection} lost D={duration}")));
    }
    Reply::new(421, format!("{} lost input connection", talk.active_hostname(reception))).closing()
}

/// No command came in time.
pub fn command_timeout(reception: &Arc<Reception>, talk: &mut Talk) -> Reply {
    set_end_reason(talk, "command-timeout");
    log_incomplete(reception, talk, "command timeout");
    if reception.wants.lost_incoming_connection {
        let client = log_line::client(reception, talk, false);
        reception.logs.main(&format!("SMTP command timeout on connection from {client}"));
    }
    let name = talk.active_hostname(reception);
    Reply::new(421, format!("{name}: SMTP command timeout - closing connection")).closing()
}

/// The client closed the connection within a message. It may still listen.
pub fn data_lost(reception: &Arc<Reception>, talk: &mut Talk, place: Option<Place>) -> Reply {
    set_end_reason(talk, "connection-lost");
    if reception.wants.lost_incoming_connection {
        let connection = log_line::connection(reception, talk);
        let place = match place {
            Some(Place::Header) => " (header)",
            Some(Place::AfterHeader) => " (after header)",
            Some(Place::Body) | None => "",
        };
        reception.logs.main(&format!("{connection} lost while reading message data{place}"));
    }
    Reply::fixed(421, "Lost incoming connection").closing()
}

/// No message data came in time.
pub fn data_timeout(reception: &Arc<Reception>, talk: &mut Talk) -> Reply {
    set_end_reason(talk, "data-timeout");
    if reception.wants.lost_incoming_connection {
        let client = log_line::client(reception, talk, false);
        let sender = String::from_utf8_lossy(&talk.scene.context.message.sender).into_owned();
        reception
            .logs
            .main(&format!("SMTP data timeout (message abandoned) on connection from {client} F=<{sender}>"));
    }
    let name = talk.active_hostname(reception);
    Reply::new(421, format!("{name} SMTP incoming data timeout - closing connection.")).closing()
}

/// The client did not wait for a reply where it must.
pub fn synchronization_error(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    command: &[u8],
    input: &[u8],
) -> Reply {
    set_end_reason(talk, "synchronization-error");
    log_incomplete(reception, talk, "sync failure");
    let was = if talk.offers.pipelining { "was" } else { "was not" };
    let client = log_line::client(reception, talk, true);
    let line = format!(
        "SMTP protocol synchronization error (next input sent too soon: pipelining {was} advertised): rejected \"{}\" {client} next input=\"{}\"",
        log_line::printable(command),
        shown_input(input)
    );
    reception.logs.main_and_reject(&line);
    Reply::fixed(554, "SMTP synchronization error").closing()
}

/// The client spoke before the greeting.
pub fn early_talker(reception: &Arc<Reception>, talk: &mut Talk, input: &[u8]) -> Reply {
    set_end_reason(talk, "synchronization-error");
    let client = log_line::client(reception, talk, true);
    let line = format!(
        "SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from {client} input=\"{}\"",
        shown_input(input)
    );
    reception.logs.main_and_reject(&line);
    Reply::fixed(554, "SMTP synchronization error").closing()
}

fn shown_input(input: &[u8]) -> String {
    log_line::printable(input.get(..128).unwrap_or(input))
}

/// The last lines of every session that was let in.
pub fn log_end(reception: &Reception, talk: &Talk) {
    if talk.quit && reception.wants.smtp_connection && talk.log_connection {
        let connection = log_line::connection(reception, talk);
        reception.logs.main(&format!("{connection} closed by QUIT"));
    }
    if reception.wants.smtp_no_mail && talk.counts.mail == 0 {
        let client = log_line::client(reception, talk, false);
        let duration = oxim_base::clock::short_interval(talk.started.elapsed(), reception.wants.millisec);
        let authentication = log_line::authentication(reception, talk);
        let tls = log_line::tls(reception, talk);
        let history = talk.history_text();
        let commands = if history.is_empty() { String::new() } else { format!(" C={history}") };
        reception.logs.main(&format!(
            "no MAIL in SMTP connection from {client}{authentication}{tls} D={duration}{commands}"
        ));
    }
}
