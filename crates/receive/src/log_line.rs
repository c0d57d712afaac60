//! The parts of which reception's log lines are made. Manual chapter 53.

use std::fmt::Write as _;

use oxim_deliver::log_line::is_in_log_ports;
use oxim_lang::context::Connection;

use crate::reception::Reception;
use crate::talk::Talk;

/// The client: `H=(helo) [ip] I=[ip]:port U=ident`, or without the letters H and U when `flagged` is false.
#[must_use]
pub fn client(reception: &Reception, talk: &Talk, flagged: bool) -> String {
    client_of(reception, &talk.scene.context.connection, flagged)
}

/// As [`client`], from the connection alone.
#[must_use]
pub fn client_of(reception: &Reception, connection: &Connection, flagged: bool) -> String {
    let ident = connection.ident.as_deref().map(printable);
    let mut out = String::new();
    if connection.host_address.is_none() {
        if flagged {
            out.push_str("U=");
        }
        out.push_str(ident.as_deref().unwrap_or("unknown"));
        return out;
    }
    if flagged {
        out.push_str("H=");
    }
    out.push_str(&connection.full_host());
    out.push_str(&interface_of(reception, connection));
    if let Some(ident) = ident {
        let _ = write!(out, " U={ident}");
    }
    out
}

/// ` I=[ip]:port`, if it is wanted and known.
#[must_use]
pub fn interface(reception: &Reception, talk: &Talk) -> String {
    interface_of(reception, &talk.scene.context.connection)
}

fn interface_of(reception: &Reception, connection: &Connection) -> String {
    match connection.interface {
        Some(address) if reception.wants.incoming_interface => {
            let is_shown = is_in_log_ports(&reception.config.main.log_ports, address.port());
            let port = if is_shown { format!(":{}", address.port()) } else { String::new() };
            format!(" I=[{}]{port}", address.ip())
        }
        Some(_) | None => String::new(),
    }
}

/// `SMTP connection from` and the client.
#[must_use]
pub fn connection(reception: &Reception, talk: &Talk) -> String {
    let connection = &talk.scene.context.connection;
    if connection.host_address.is_none() {
        let ident = connection.ident.as_deref().map_or_else(|| "unknown".to_owned(), printable);
        return format!("SMTP connection from {ident}");
    }
    if talk.scene.context.turnaround.is_some() {
        let address = connection.host_address.map(|address| format!("[{address}]")).unwrap_or_default();
        let name = connection.host_name.as_deref().map_or(address, printable);
        return format!("SMTP connection from {name} (ODMR customer)");
    }
    let (interface, id) = (interface(reception, talk), connection_id(reception, talk));
    format!("SMTP connection from {}{interface}{id}", connection.full_host())
}

/// ` Ci=…`, if it is wanted.
#[must_use]
pub fn connection_id(reception: &Reception, talk: &Talk) -> String {
    let connection = &talk.scene.context.connection;
    if reception.wants.connection_id && connection.number > 0 {
        format!(" Ci={}", connection.id())
    } else {
        String::new()
    }
}

/// ` X=… CV=… DN="…" SNI=…`, as far as TLS is on and the fields are wanted.
#[must_use]
pub fn tls(reception: &Reception, talk: &Talk) -> String {
    let mut out = String::new();
    let Some(facts) = &talk.scene.context.connection.tls else { return out };
    let wants = &reception.wants;
    if wants.tls_cipher {
        let _ = write!(out, " X={}", facts.cipher_field());
        if wants.tls_resumption && facts.resumed {
            out.push('*');
        }
    }
    if wants.tls_certificate_verified {
        let _ = write!(out, " CV={}", if facts.verified { "yes" } else { "no" });
    }
    if let Some(dn) = facts.peer_dn.as_deref().filter(|_| wants.tls_peerdn) {
        let _ = write!(out, " DN=\"{}\"", quoted(dn.as_bytes()));
    }
    if let Some(sni) = facts.sni.as_deref().filter(|_| wants.tls_sni) {
        let _ = write!(out, " SNI={}", printable(sni.as_bytes()));
    }
    out
}

/// ` A=name:id:sender`, if the client has authenticated.
#[must_use]
pub fn authentication(reception: &Reception, talk: &Talk) -> String {
    let connection = &talk.scene.context.connection;
    let mut out = String::new();
    let Some(name) = &connection.authenticator else { return out };
    let _ = write!(out, " A={}", printable(name));
    if let Some(id) = &connection.auth_id {
        let _ = write!(out, ":{}", printable(id));
    }
    if let Some(sender) = connection.auth_sender.as_ref().filter(|_| reception.wants.smtp_mailauth) {
        let _ = write!(out, ":{}", printable(sender));
    }
    out
}

/// Text from outside on one line: control characters as escapes, bytes over 127 as octal ones.
#[must_use]
pub fn printable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\{other:03o}");
            }
        }
    }
    out
}

/// An address on one line: UTF-8 stays as it is, as Exim has it in its own fields; controls become escapes, bytes that are no
/// UTF-8 `\xHH`.
#[must_use]
pub fn address(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                out.push_str(&printable(character.encode_utf8(&mut [0; 4]).as_bytes()));
            } else {
                out.push(character);
            }
        }
        out.push_str(&oxim_base::text::shown(chunk.invalid()));
    }
    out
}

/// As [`printable`], for use within double quotes.
#[must_use]
pub fn quoted(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            other => out.push_str(&printable(&[*other])),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_its_line() {
        assert_eq!(printable(b"a\r\nb\x01\xc3"), "a\\r\\nb\\001\\303");
        assert_eq!(quoted(b"a\n\"\\\xc3"), "a\\n\\\"\\\\\\303");
        assert_eq!(address("é\n".as_bytes()), "é\\n");
        assert_eq!(address(b"\xe9"), "\\xE9");
    }
}
