//! XCLIENT: a relay in front of this host says for whom it speaks. `hosts_xclient`.
//!
//! The whole command is read before anything of it counts. After it the session begins anew with the client that was named:
//! HELO is due again, and what depends on the client's address is found out for the new one. An address that the relay
//! does not know is refused: a session without an address would have the rights of a local process.

use std::net::IpAddr;
use std::sync::Arc;

use oxim_lang::context::HostLookup;
use oxim_mail::dsn::xtext_decode;

use super::syntax_error;
use crate::connect;
use crate::log_line;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{Offers, Progress, Talk};

/// What EHLO shows behind the keyword.
pub(super) const ATTRIBUTES: &str = "ADDR NAME PORT LOGIN DESTADDR DESTPORT";

/// The authenticator that stands in logs for a login that a relay tells.
const AUTHENTICATOR: &[u8] = b"xclient";

/// What a command sets. The outer option says whether the attribute was there, the inner one whether it had a value.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    address: Option<IpAddr>,
    port: Option<u16>,
    name: Option<Option<Vec<u8>>>,
    login: Option<Option<Vec<u8>>>,
    target_address: Option<Option<IpAddr>>,
    target_port: Option<u16>,
}

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    if !talk.speaks_for_others && talk.helo_required && !talk.greeted {
        return refused(reception, talk, "no HELO/EHLO given");
    }
    if talk.transaction.sender_given {
        return refused(reception, talk, "mail transaction in progress");
    }
    if !talk.offers.xclient && !talk.speaks_for_others {
        return syntax_error(reception, talk, 501, "XCLIENT command used when not advertised");
    }
    let told = match parse(argument, !talk.speaks_for_others) {
        Ok(told) => told,
        Err(fault) => return syntax_error(reception, talk, 501, &fault),
    };
    apply(talk, told);
    talk.speaks_for_others = true;
    talk.helo_required = true;
    connect::set_rights(reception, talk);
    Progress::Reply(Reply::fixed(220, "XCLIENT success"))
}

fn refused(reception: &Arc<Reception>, talk: &Talk, why: &'static str) -> Progress {
    let client = log_line::client(reception, talk, false);
    reception.logs.main_and_reject(&format!("rejected XCLIENT from {client}: {why}"));
    Progress::fixed(503, why)
}

/// Reads the attributes. The first command of a session must say at least who the client is.
fn parse(argument: &[u8], is_first: bool) -> Result<Told, String> {
    let mut told = Told::default();
    let mut words = argument.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).peekable();
    if words.peek().is_none() {
        return Err("XCLIENT must have at least one operand".to_owned());
    }
    let (mut has_address, mut has_port) = (false, false);
    for word in words {
        let shown = || log_line::printable(word);
        let at = word.iter().position(|byte| *byte == b'=');
        let (name, value) = at
            .and_then(|at| word.split_at_checked(at))
            .ok_or_else(|| format!("XCLIENT: missing value for parameter '{}'", shown()))?;
        let value = value.get(1..).unwrap_or_default();
        if value.is_empty() {
            return Err("XCLIENT: zero-length value for param".to_owned());
        }
        let value =
            if value.eq_ignore_ascii_case(b"[UNAVAILABLE]") || value.eq_ignore_ascii_case(b"[TEMPUNAVAIL]") {
                None
            } else {
                Some(xtext_decode(value).ok_or_else(|| failed(value))?)
            };
        match name.to_ascii_uppercase().as_slice() {
            b"ADDR" => {
                told.address = value.as_deref().map(address).transpose()?;
                has_address = told.address.is_some();
                if !has_address {
                    return Err("missing ADDR for XCLIENT".to_owned());
                }
            }
            b"PORT" => {
                told.port = Some(value.as_deref().map_or(Ok(0), port)?);
                has_port = true;
            }
            b"NAME" => told.name = Some(value),
            b"LOGIN" => told.login = Some(value),
            b"DESTADDR" => told.target_address = Some(value.as_deref().map(address).transpose()?),
            b"DESTPORT" => told.target_port = Some(value.as_deref().map_or(Ok(0), port)?),
            _ => return Err(format!("XCLIENT: unrecognised parameter '{}'", shown())),
        }
    }
    if is_first && !has_address {
        return Err("missing ADDR for XCLIENT".to_owned());
    }
    if is_first && !has_port {
        return Err("missing PORT for XCLIENT".to_owned());
    }
    Ok(told)
}

fn failed(value: &[u8]) -> String {
    format!("failed xtext decode for XCLIENT: '{}'", log_line::printable(value))
}

/// An address; `IPV6:` may stand before one of version 6.
fn address(value: &[u8]) -> Result<IpAddr, String> {
    let text = std::str::from_utf8(value).map_err(|_| failed(value))?;
    let bare = match text.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("IPV6:") => text.get(5..).unwrap_or_default(),
        _ => text,
    };
    bare.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| failed(value))
}

fn port(value: &[u8]) -> Result<u16, String> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(|| failed(value))
}

/// The session is now that of the client that was named.
fn apply(talk: &mut Talk, told: Told) {
    talk.reset();
    talk.greeted = false;
    talk.is_extended = false;
    talk.offers = Offers::default();
    let connection = &mut talk.scene.context.connection;
    connection.helo_name = None;
    connection.helo_verified = false;
    connection.helo_verify_failed = false;
    let mut session = connection.proxy.unwrap_or_default();
    let relay = connection.host_address.map(|address| (address, connection.host_port).into());
    // What the relay says a second time is about the client; the relay itself stays the one that called us.
    session.proxy = session.proxy.or(relay);
    if let Some(address) = told.address {
        connection.host_address = Some(address);
        connection.host_name = None;
        connection.host_aliases.clear();
        connection.host_lookup = HostLookup::NotTried;
        connection.host_lookup_message.clear();
        connection.host_dnssec = false;
        connection.ident = None;
    }
    if let Some(port) = told.port {
        connection.host_port = port;
    }
    if let Some(name) = told.name {
        connection.host_aliases.clear();
        connection.host_lookup = if name.is_some() { HostLookup::Found } else { HostLookup::NotTried };
        connection.host_name = name;
    }
    if let Some(login) = told.login {
        connection.authenticator = login.is_some().then(|| AUTHENTICATOR.to_vec());
        connection.auth_id = login;
    }
    let target = session.target;
    let address = told.target_address.unwrap_or_else(|| target.map(|target| target.ip()));
    let port = told.target_port.unwrap_or_else(|| target.map_or(0, |target| target.port()));
    session.target = address.map(|address| (address, port).into());
    connection.proxy = Some(session);
    connection.protocol = Vec::new();
    let protocol = talk.protocol();
    talk.scene.context.connection.protocol = protocol;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_any_order_and_case() {
        let told =
            parse(b"name=a.example PORT=42 addr=IPV6:2001:db8::1 LOGIN=b+2Bc DestPort=25", true).unwrap();
        assert_eq!(told.address, Some("2001:db8::1".parse().unwrap()));
        assert_eq!((told.port, told.target_port), (Some(42), Some(25)));
        assert_eq!(told.name, Some(Some(b"a.example".to_vec())));
        assert_eq!(told.login, Some(Some(b"b+c".to_vec())));
        let told = parse(b"LOGIN=[Unavailable] NAME=[TEMPUNAVAIL]", false).unwrap();
        assert_eq!((told.login, told.name), (Some(None), Some(None)));
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str, first| parse(text.as_bytes(), first).unwrap_err();
        assert_eq!(fault("", true), "XCLIENT must have at least one operand");
        assert_eq!(fault("ADDR", true), "XCLIENT: missing value for parameter 'ADDR'");
        assert_eq!(fault("HELO=x", true), "XCLIENT: unrecognised parameter 'HELO=x'");
        assert_eq!(fault("NAME=", true), "XCLIENT: zero-length value for param");
        assert_eq!(fault("NAME=a+2", true), "failed xtext decode for XCLIENT: 'a+2'");
        assert_eq!(fault("PORT=1", true), "missing ADDR for XCLIENT");
        assert_eq!(fault("ADDR=192.0.2.1", true), "missing PORT for XCLIENT");
        assert_eq!(fault("ADDR=[UNAVAILABLE] PORT=1", true), "missing ADDR for XCLIENT");
        assert_eq!(fault("ADDR=mx PORT=1", true), "failed xtext decode for XCLIENT: 'mx'");
        assert_eq!(fault("ADDR=192.0.2.1 PORT=65536", true), "failed xtext decode for XCLIENT: '65536'");
    }
}
