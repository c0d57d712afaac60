//! `$dkim_…`: what verification found, and the signature that the DKIM ACL is looking at. The smtp transport fills
//! `$dkim_domain` and `$dkim_selector` while it signs.

use oxim_base::Taint::{Clean, Tainted};
use oxim_mailauth::dkim::key::KeyRecord;
use oxim_mailauth::dkim::signature::Signature;

use super::{Scope, Value, VariableRow, row};
use crate::context::Context;
use crate::signatures::DkimFacts;

/// What numbers are when the signer has set none.
const UNLIMITED: i64 = 9_999_999_999_999;

fn facts<'a>(context: &'a Context, part: fn(&'a DkimFacts) -> &'a [u8]) -> Value<'a> {
    context.message.dkim.as_deref().map_or(Value::Empty, |facts| Value::Bytes(part(facts)))
}

fn signature(context: &Context) -> Option<&Signature> {
    context.message.dkim.as_deref()?.signature()
}

fn tag<'a>(context: &'a Context, part: fn(&'a Signature) -> &'a [u8]) -> Value<'a> {
    signature(context).map_or(Value::Empty, |signature| Value::Bytes(part(signature)))
}

fn number(context: &Context, default: i64, part: fn(&Signature) -> Option<u64>) -> Value<'_> {
    let found = signature(context).and_then(part);
    Value::Number(found.map_or(default, |number| i64::try_from(number).unwrap_or(i64::MAX)))
}

fn record(context: &Context) -> Option<&KeyRecord> {
    context.message.dkim.as_deref()?.checked()?.key.as_ref()
}

fn flag(context: &Context, part: fn(&KeyRecord) -> bool) -> Value<'_> {
    Value::Bytes(if record(context).is_some_and(part) { b"1" } else { b"0" })
}

fn key<'a>(context: &'a Context, default: &'a [u8], part: fn(&'a KeyRecord) -> &'a [u8]) -> Value<'a> {
    Value::Bytes(record(context).map_or(default, part))
}

/// The names in the `z=` tag with their values; what was encoded is as it was.
fn copied(signature: &Signature) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = signature.copied_headers.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let encoded =
            after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, encoded) {
            (b'=', Some(byte)) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

pub(super) static ROWS: &[VariableRow] = &[
    row("dkim_algo", Scope::Message, Tainted, "The algorithm of the signature.", |c, _| {
        tag(c, |s| &s.algorithm)
    }),
    row("dkim_bodylength", Scope::Message, Clean, "How much of the body is signed.", |c, _| {
        number(c, UNLIMITED, |s| s.body_length)
    }),
    row("dkim_canon_body", Scope::Message, Clean, "The form in which the body is signed.", |c, _| {
        tag(c, |s| s.body_canon.word().as_bytes())
    }),
    row("dkim_canon_headers", Scope::Message, Clean, "The form in which header lines are signed.", |c, _| {
        tag(c, |s| s.header_canon.word().as_bytes())
    }),
    row("dkim_copiedheaders", Scope::Message, Tainted, "Header lines copied into the signature.", |c, _| {
        signature(c).map_or(Value::Empty, |s| Value::Made(copied(s)))
    }),
    row("dkim_created", Scope::Message, Clean, "When the signature was made.", |c, _| {
        number(c, 0, |s| s.created)
    }),
    row("dkim_cur_signer", Scope::Message, Tainted, "The signer that the DKIM ACL is looking at.", |c, _| {
        facts(c, |f| &f.current_signer)
    }),
    row("dkim_domain", Scope::Message, Tainted, "The domain of the signature.", |c, _| {
        match &c.delivery.signing_domain {
            Some(domain) => Value::Text(domain),
            None => tag(c, |s| &s.domain),
        }
    }),
    row("dkim_expires", Scope::Message, Clean, "Until when the signature is meant.", |c, _| {
        number(c, UNLIMITED, |s| s.expires)
    }),
    row("dkim_headernames", Scope::Message, Tainted, "The names of the signed header lines.", |c, _| {
        tag(c, |s| &s.header_names)
    }),
    row("dkim_identity", Scope::Message, Tainted, "The identity of the signature.", |c, _| {
        tag(c, |s| s.identity.as_deref().unwrap_or_default())
    }),
    row("dkim_key_granularity", Scope::Message, Tainted, "The granularity of the key.", |c, _| {
        key(c, b"*", |k| &k.granularity)
    }),
    row("dkim_key_length", Scope::Message, Clean, "The bits of the key.", |c, _| {
        Value::Number(record(c).and_then(KeyRecord::bits).unwrap_or_default().into())
    }),
    row(
        "dkim_key_nosubdomains",
        Scope::Message,
        Clean,
        "Whether the key is for the domain alone.",
        |c, _| flag(c, |k| k.forbids_subdomains),
    ),
    row("dkim_key_notes", Scope::Message, Tainted, "Notes in the key record.", |c, _| {
        key(c, b"", |k| &k.notes)
    }),
    row("dkim_key_srvtype", Scope::Message, Tainted, "The services that the key is for.", |c, _| {
        key(c, b"*", |k| &k.services)
    }),
    row("dkim_key_testing", Scope::Message, Clean, "Whether the domain only tries DKIM.", |c, _| {
        flag(c, |k| k.is_testing)
    }),
    row("dkim_selector", Scope::Message, Tainted, "The selector of the signature.", |c, _| {
        match &c.delivery.signing_selector {
            Some(selector) => Value::Text(selector),
            None => tag(c, |s| &s.selector),
        }
    }),
    row("dkim_signers", Scope::Message, Clean, "The domains and identities that have signed.", |c, _| {
        facts(c, |f| &f.signers)
    }),
    row("dkim_verify_reason", Scope::Message, Clean, "Why a signature is not good.", |c, _| {
        c.message.dkim.as_deref().map_or(Value::Empty, |f| Value::Text(&f.reason))
    }),
    row("dkim_verify_status", Scope::Message, Clean, "What came of a signature.", |c, _| {
        c.message.dkim.as_deref().map_or(Value::Empty, |f| Value::Text(&f.status))
    }),
];
