//! The line `<=` of the main log, and what a message remembers of where it came from.
//!
//! Manual sections 53.6 and 53.15. The order of the fields is Exim's.

use std::fmt::Write as _;
use std::time::Duration;

use oxim_mail::address::{self, AddressSyntax};
use oxim_mail::header::{Header, HeaderKind, HeaderList};
use oxim_mail::rfc2047;
use oxim_net::tls::certificate_to_pem;
use oxim_spool::message::{Message, SenderHost, TlsRecord};

use crate::acl::{Freeze, QueueControl};
use crate::fixup::Origin;
use crate::log_line;
use crate::reception::Reception;
use crate::talk::Talk;

/// What the arrival line needs beyond the message.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How long reception took.
    pub taken: Duration,
    /// Header and body, in bytes.
    pub size: u64,
    /// The Message-ID: was made here.
    pub id_created: bool,
    /// It came in BDAT chunks.
    pub chunked: bool,
    /// The client is told that it was refused.
    pub fake: bool,
    /// `control = freeze`.
    pub freeze: Option<Freeze>,
    /// `control = queue`.
    pub queue: Option<QueueControl>,
    /// The next host has put it off in cutthrough delivery: it waits for a queue run.
    pub is_put_off: bool,
    /// The sender as it came.
    pub original_sender: Vec<u8>,
    /// The recipients as they came.
    pub original_recipients: Vec<Vec<u8>>,
}

/// What `S=` shows.
#[must_use]
pub fn total_size(headers: &HeaderList, body_bytes: u64) -> u64 {
    u64::try_from(headers.size_bytes()).unwrap_or(u64::MAX).saturating_add(1).saturating_add(body_bytes)
}

/// The arrival line.
#[must_use]
pub fn line(reception: &Reception, talk: &Talk, message: &Message, facts: &Facts) -> String {
    let wants = &reception.wants;
    let connection = &talk.scene.context.connection;
    let sender = if message.sender.is_empty() { "<>".to_owned() } else { log_line::address(&message.sender) };
    let mut out = String::with_capacity(256);
    let _ = write!(out, "{} {} {sender}", message.id, if facts.fake { "(=" } else { "<=" });
    if let Some(reference) = &talk.message_reference {
        let _ = write!(out, " R={}", log_line::printable(reference));
    }
    if connection.host_address.is_some() {
        let _ = write!(out, " H={}{}", connection.full_host(), log_line::interface(reception, talk));
        out.push_str(&log_line::connection_id(reception, talk));
    }
    if let Some(ident) = &connection.ident {
        let _ = write!(out, " U={}", log_line::printable(ident));
    }
    let _ = write!(out, " P={}", log_line::printable(&connection.protocol));
    if wants.pipelining && talk.offers.pipelining {
        out.push_str(" L");
        if talk.offers.early_pipelining {
            out.push(if talk.is_early { '*' } else { '.' });
        }
        if !talk.pipelined {
            out.push('-');
        }
    }
    out.push_str(&log_line::tls(reception, talk));
    out.push_str(&log_line::authentication(reception, talk));
    if talk.transaction.prdr {
        out.push_str(" PRDR");
    }
    if wants.proxy
        && let Some(proxy) = connection.proxy.and_then(|session| session.proxy)
    {
        let _ = write!(out, " PRX={}", proxy.ip().to_canonical());
    }
    if facts.chunked {
        out.push_str(" K");
    }
    let _ = write!(out, " S={}", facts.size);
    if wants.eight_bit_mime {
        let _ = write!(out, " M8S={}", talk.transaction.body);
    }
    out.push_str(&crate::signatures::arrival_field(reception, talk));
    if talk.scene.context.message.arc.state() == oxim_mailauth::arc::verify::State::Pass {
        out.push_str(" ARC");
    }
    out.push_str(crate::dmarc::arrival_field(reception, talk).as_str());
    if wants.receive_time {
        let _ = write!(out, " RT={}", oxim_base::clock::short_interval(facts.taken, wants.millisec));
    }
    if !message.queue_name.is_empty() {
        let _ = write!(out, " Q={}", log_line::printable(&message.queue_name));
    }
    append_id_and_subject(&mut out, reception, message, facts);
    append_envelope(&mut out, reception, facts);
    out
}

fn append_id_and_subject(out: &mut String, reception: &Reception, message: &Message, facts: &Facts) {
    let wants = &reception.wants;
    let id = message.headers.of_kind(HeaderKind::Id).next().and_then(message_id_of);
    if let Some(id) = id {
        if facts.id_created {
            if wants.msg_id_created {
                let _ = write!(out, " id*={id}");
            }
        } else if wants.msg_id {
            let _ = write!(out, " id={id}");
        }
    }
    if wants.subject && message.headers.find(b"subject").next().is_some() {
        let raw: Vec<Vec<u8>> = message.headers.find(b"subject").map(|header| header.unfolded()).collect();
        let raw = raw.join(&b'\n');
        let charset = reception.settings.fixups.headers_charset.as_bytes();
        let decoded =
            rfc2047::decode(&raw, Some(charset), false, rfc2047::Undecodable::KeepBytes).unwrap_or(raw);
        let _ = write!(out, " T=\"{}\"", log_line::quoted(&decoded));
    }
}

fn append_envelope(out: &mut String, reception: &Reception, facts: &Facts) {
    let wants = &reception.wants;
    if wants.received_sender {
        let _ = write!(out, " from <{}>", log_line::printable(&facts.original_sender));
    }
    if wants.received_recipients {
        for (index, recipient) in facts.original_recipients.iter().enumerate() {
            out.push_str(if index == 0 { " for " } else { " " });
            out.push_str(&log_line::address(recipient));
        }
    }
}

/// The id within a Message-ID: line, which has the form of an address; None if it has not.
fn message_id_of(header: &Header) -> Option<String> {
    let syntax = AddressSyntax { allow_domain_literals: true, ..AddressSyntax::default() };
    let id = address::parse(header.body(), &syntax).ok()?;
    Some(log_line::printable(&id.address))
}

/// Fills in what the message remembers of the client or caller.
pub fn describe_source(reception: &Reception, talk: &Talk, origin: &Origin, message: &mut Message) {
    let connection = &talk.scene.context.connection;
    message.login.clone_from(&reception.identity.login);
    message.uid = reception.identity.uid;
    message.gid = reception.identity.gid;
    if let Some(caller) = &talk.caller {
        message.login.clone_from(&caller.login);
        message.uid = caller.uid;
        message.gid = caller.gid;
        message.is_local = origin.is_local && (!origin.sender_set || !caller.is_trusted);
        message.sender_set_untrusted =
            origin.is_local && !origin.is_smtp && origin.sender_set && !caller.is_trusted;
    }
    message.local_error = talk.is_own_error;
    message.protocol = Some(connection.protocol.clone());
    message.helo_name.clone_from(&connection.helo_name);
    message.ident.clone_from(&connection.ident);
    message.interface = connection.interface;
    message.auth_id.clone_from(&connection.auth_id);
    message.auth_sender.clone_from(&connection.auth_sender);
    message.authenticator.clone_from(&connection.authenticator);
    message.authenticator_public_name.clone_from(&talk.auth_public_name);
    message.allow_unqualified_sender = talk.allow_unqualified_sender;
    message.allow_unqualified_recipient = talk.allow_unqualified_recipient;
    if connection.active_hostname.as_deref() != Some(reception.settings.primary_hostname.as_bytes()) {
        message.active_hostname.clone_from(&connection.active_hostname);
    }
    message.host = connection.host_address.map(|address| {
        use oxim_lang::context::HostLookup;
        let mut host = SenderHost::new(address, connection.host_port);
        host.name.clone_from(&connection.host_name);
        host.lookup_failed = connection.host_lookup == HostLookup::Failed;
        host.lookup_deferred = connection.host_lookup == HostLookup::Deferred;
        host
    });
    message.tls = connection.tls.as_ref().map(|facts| TlsRecord {
        cipher: Some(facts.cipher_field().into_bytes()),
        version: Some(facts.version.as_bytes().to_vec()),
        peer_dn: facts.peer_dn.clone().map(String::into_bytes),
        sni: facts.sni.clone().map(String::into_bytes),
        verified: facts.verified,
        ocsp: facts.ocsp.number(),
        resumption: facts.resumption_bits(),
        peer_certificate: facts.peer_chain.first().map(|der| certificate_to_pem(der)),
        our_certificate: facts.own_certificate.as_deref().map(certificate_to_pem),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_form_of_an_address() {
        let id = |text: &str| message_id_of(&Header::new(text));
        assert_eq!(id("Message-ID: <q@z>\n").as_deref(), Some("q@z"));
        assert_eq!(id("Message-ID:\n <q@z> (comment)\n").as_deref(), Some("q@z"));
        assert_eq!(id("Message-ID: <a b@c>\n"), None);
        assert_eq!(id("Message-ID: q@z\n").as_deref(), Some("q@z"));
        assert_eq!(id("Message-ID: <q@z> more\n"), None);
    }
}
