//! Variables of TLS: of the incoming connection, of the outgoing one, and the old names that mean either.

use oxim_base::Taint;
use oxim_net::tls::{TlsFacts, certificate_from_pem};
use oxim_spool::message::TlsRecord;

use super::{Scope, Value, VariableRow, row};
use crate::context::Context;

use Scope::{Connection, Delivery};
use Taint::{Clean, Tainted};

/// The two places where TLS facts of an incoming connection are: the session, or the spooled message.
#[derive(Clone, Copy)]
enum Facts<'a> {
    None,
    Session(&'a TlsFacts),
    Spooled(&'a TlsRecord),
}

fn incoming(context: &Context) -> Facts<'_> {
    match (&context.connection.tls, &context.connection.tls_record) {
        (Some(facts), _) => Facts::Session(facts),
        (None, Some(record)) => Facts::Spooled(record),
        (None, None) => Facts::None,
    }
}

fn outgoing(context: &Context) -> Facts<'_> {
    context.delivery.tls.as_deref().map_or(Facts::None, Facts::Session)
}

/// The old names mean the outgoing side while a transport runs, else the incoming one.
fn either(context: &Context) -> Facts<'_> {
    if context.delivery.transport_name.is_some() { outgoing(context) } else { incoming(context) }
}

fn text(bytes: Option<&[u8]>) -> Value<'_> {
    bytes.map_or(Value::Empty, Value::Bytes)
}

fn bits(facts: Facts<'_>) -> Value<'_> {
    Value::Number(match facts {
        Facts::None => 0,
        Facts::Session(facts) => i64::from(facts.bits),
        // The spool has the bits at the end of the cipher text.
        Facts::Spooled(record) => {
            let cipher = record.cipher.as_deref().unwrap_or_default();
            let last = cipher.rsplit(|b| *b == b':').next().unwrap_or_default();
            std::str::from_utf8(last).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
        }
    })
}

fn cipher(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::None => Value::Empty,
        Facts::Session(facts) => Value::Made(facts.cipher_field().into_bytes()),
        Facts::Spooled(record) => text(record.cipher.as_deref()),
    }
}

fn cipher_std(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::Session(facts) => Value::Bytes(facts.cipher_std.as_bytes()),
        Facts::None | Facts::Spooled(_) => Value::Empty,
    }
}

fn verified(facts: Facts<'_>) -> Value<'_> {
    let verified = match facts {
        Facts::None => false,
        Facts::Session(facts) => facts.verified,
        Facts::Spooled(record) => record.verified,
    };
    Value::Bytes(if verified { b"1" } else { b"0" })
}

fn peer_dn(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::None => Value::Empty,
        Facts::Session(facts) => text(facts.peer_dn.as_deref().map(str::as_bytes)),
        Facts::Spooled(record) => text(record.peer_dn.as_deref()),
    }
}

fn sni(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::None => Value::Empty,
        Facts::Session(facts) => text(facts.sni.as_deref().map(str::as_bytes)),
        Facts::Spooled(record) => text(record.sni.as_deref()),
    }
}

fn version(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::None => Value::Empty,
        Facts::Session(facts) => Value::Bytes(facts.version.as_bytes()),
        Facts::Spooled(record) => text(record.version.as_deref()),
    }
}

/// A certificate in its DER form, of which `${certextract` reads the fields and `${sha256:` makes the fingerprint.
fn peer_certificate(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::Session(facts) => text(facts.peer_chain.first().map(|der| &**der)),
        Facts::Spooled(record) => spooled_certificate(record.peer_certificate.as_deref()),
        Facts::None => Value::Empty,
    }
}

fn own_certificate(facts: Facts<'_>) -> Value<'_> {
    match facts {
        Facts::Session(facts) => text(facts.own_certificate.as_deref()),
        Facts::Spooled(record) => spooled_certificate(record.our_certificate.as_deref()),
        Facts::None => Value::Empty,
    }
}

/// The spool has PEM.
fn spooled_certificate(pem: Option<&[u8]>) -> Value<'_> {
    pem.and_then(certificate_from_pem).map_or(Value::Empty, Value::Made)
}

/// What became of the request for a proof that the certificate is not revoked.
fn proof(facts: Facts<'_>) -> Value<'_> {
    Value::Number(match facts {
        Facts::None => 0,
        Facts::Session(facts) => i64::from(facts.ocsp.number()),
        Facts::Spooled(record) => i64::from(record.ocsp),
    })
}

fn resumption(facts: Facts<'_>) -> Value<'_> {
    Value::Number(match facts {
        Facts::Session(facts) => i64::from(facts.resumption_bits()),
        Facts::Spooled(record) => i64::from(record.resumption),
        Facts::None => 0,
    })
}

pub(super) static ROWS: &[VariableRow] = &[
    row("tls_bits", Connection, Clean, "Old name of `$tls_in_bits` and `$tls_out_bits`.", |c, _| {
        bits(either(c))
    }),
    row("tls_certificate_verified", Connection, Clean, "Old name for either side.", |c, _| {
        verified(either(c))
    }),
    row("tls_cipher", Connection, Clean, "Old name for either side.", |c, _| cipher(either(c))),
    row("tls_peerdn", Connection, Tainted, "Old name for either side.", |c, _| peer_dn(either(c))),
    row("tls_sni", Connection, Tainted, "Old name for either side.", |c, _| sni(either(c))),
    row("tls_in_bits", Connection, Clean, "Strength of the client's cipher.", |c, _| bits(incoming(c))),
    row(
        "tls_in_certificate_verified",
        Connection,
        Clean,
        "1 if the client's certificate was found good.",
        |c, _| verified(incoming(c)),
    ),
    row("tls_in_cipher", Connection, Clean, "Version, cipher and strength.", |c, _| cipher(incoming(c))),
    row("tls_in_cipher_std", Connection, Clean, "The cipher by its RFC name.", |c, _| {
        cipher_std(incoming(c))
    }),
    row(
        "tls_in_ocsp",
        Connection,
        Clean,
        "What became of OCSP stapling: 0 not asked for, 1 no proof, 4 a proof was sent.",
        |c, _| proof(incoming(c)),
    ),
    row("tls_in_ourcert", Connection, Clean, "The certificate that the client was shown.", |c, _| {
        own_certificate(incoming(c))
    }),
    row("tls_in_peercert", Connection, Tainted, "The client's certificate.", |c, _| {
        peer_certificate(incoming(c))
    }),
    row("tls_in_resumption", Connection, Clean, "Whether an earlier session goes on, as bits.", |c, _| {
        resumption(incoming(c))
    }),
    row("tls_in_peerdn", Connection, Tainted, "The subject of the client's certificate.", |c, _| {
        peer_dn(incoming(c))
    }),
    row("tls_in_sni", Connection, Tainted, "The name that the client asked for.", |c, _| sni(incoming(c))),
    row("tls_in_ver", Connection, Clean, "The protocol version.", |c, _| version(incoming(c))),
    row("tls_out_bits", Delivery, Clean, "Strength of the server's cipher.", |c, _| bits(outgoing(c))),
    row(
        "tls_out_certificate_verified",
        Delivery,
        Clean,
        "1 if the server's certificate was found good.",
        |c, _| verified(outgoing(c)),
    ),
    row("tls_out_cipher", Delivery, Clean, "Version, cipher and strength.", |c, _| cipher(outgoing(c))),
    row("tls_out_cipher_std", Delivery, Clean, "The cipher by its RFC name.", |c, _| cipher_std(outgoing(c))),
    row("tls_out_dane", Delivery, Clean, "`yes` if the server was verified by DANE, else `no`.", |c, _| {
        let is_dane = c.delivery.tls.as_ref().is_some_and(|facts| facts.dane);
        Value::Bytes(if is_dane { b"yes" } else { b"no" })
    }),
    row(
        "tls_out_tlsa_usage",
        Delivery,
        Clean,
        "Usages of the server's TLSA records: bit n is usage n, 0 without DANE.",
        |c, _| Value::Number(i64::from(c.delivery.tlsa_usage)),
    ),
    row(
        "tls_out_ocsp",
        Delivery,
        Clean,
        "What became of the server's OCSP proof: 0 not wanted, 1 none came, 3 it is bad, 4 it is good.",
        |c, _| proof(outgoing(c)),
    ),
    row("tls_out_ourcert", Delivery, Clean, "The certificate that the server was shown.", |c, _| {
        own_certificate(outgoing(c))
    }),
    row("tls_out_peercert", Delivery, Tainted, "The server's certificate.", |c, _| {
        peer_certificate(outgoing(c))
    }),
    row("tls_out_resumption", Delivery, Clean, "Whether an earlier session goes on, as bits.", |c, _| {
        resumption(outgoing(c))
    }),
    row("tls_out_peerdn", Delivery, Tainted, "The subject of the server's certificate.", |c, _| {
        peer_dn(outgoing(c))
    }),
    row("tls_out_sni", Delivery, Clean, "The name that the transport asked for.", |c, _| sni(outgoing(c))),
    row("tls_out_ver", Delivery, Clean, "The protocol version.", |c, _| version(outgoing(c))),
];
