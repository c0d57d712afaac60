//! The message as a transport sends it: header lines added, removed and rewritten, then the body.
//!
//! Order, as Exim has it: `Return-path:`, `Envelope-to:`, `Delivery-date:`; the message's own lines less those removed;
//! lines added by routers; lines added by the transport. Line ends are LF.

use std::io::{self, Read};

use oxim_base::errno::error_text;
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_spool::message::Body;

use super::{Batch, DeliveryError, Outcome, Transport, error_code};
use crate::address::Address;
use crate::delivery::Delivery;

/// A message ready to be sent.
pub struct Composed {
    /// The header block with the blank line that ends it; empty under `body_only`.
    pub header: Vec<u8>,
    /// The body; none under `headers_only`.
    pub body: Option<Body>,
}

impl Composed {
    /// Bytes of header and body, LF line ends.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.header.len() as u64 + self.body.as_ref().map_or(0, Body::len)
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole message as a stream.
    ///
    /// # Errors
    /// The body's file cannot be read.
    pub fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        match &self.body {
            Some(body) => Ok(Box::new(self.header.as_slice().chain(body.reader()))),
            None => Ok(Box::new(self.header.as_slice())),
        }
    }
}

/// An expansion that failed defers the delivery; the text names the option.
pub(crate) fn expansion_error(transport: &Transport, option: &str, error: &ExpandError) -> DeliveryError {
    DeliveryError {
        code: error_code::EXPANSION_FAILED,
        text: format!("failed to expand {option} for the {} transport: {error}", transport.name),
        ..DeliveryError::default()
    }
}

/// Puts the message together for one batch, and sends it through the transport filter if there is one.
///
/// # Errors
/// What becomes of the addresses instead: an option that could not be expanded, a filter that failed.
pub fn compose(
    delivery: &Delivery,
    transport: &Transport,
    context: &mut Context,
    batch: &Batch<'_>,
) -> Result<Composed, Outcome> {
    let generic = &transport.generic;
    let header = if generic.body_only {
        Vec::new()
    } else {
        header_block(delivery, transport, context, batch).map_err(Outcome::Deferred)?
    };
    let body = (!generic.headers_only).then(|| batch.body.clone());
    let composed = Composed { header, body };
    let Some(filter) = &generic.filter else { return Ok(composed) };
    let mut reader = composed.reader().map_err(|error| {
        let text = format!("failed to read the message: {}", error_text(&error));
        Outcome::Deferred(DeliveryError::new(error.raw_os_error().unwrap_or(0), text))
    })?;
    let filtered = filter.run(delivery, transport, context, batch, &mut *reader)?;
    drop(reader);
    // What a filter gives has no header and body that anybody must tell apart.
    Ok(filtered.map_or(composed, |whole| Composed { header: whole, body: None }))
}

fn header_block(
    delivery: &Delivery,
    transport: &Transport,
    context: &mut Context,
    batch: &Batch<'_>,
) -> Result<Vec<u8>, DeliveryError> {
    let generic = &transport.generic;
    let mut out = Vec::with_capacity(4096);
    if generic.return_path_add {
        out.extend_from_slice(b"Return-path: <");
        out.extend_from_slice(&batch.return_path);
        out.extend_from_slice(b">\n");
    }
    if generic.envelope_to_add {
        out.extend_from_slice(b"Envelope-to: ");
        out.extend_from_slice(&envelope_to(&batch.addresses));
        out.push(b'\n');
    }
    if generic.delivery_date_add {
        let now = oxim_base::clock::Stamp::now().rfc5322(context.services.zone);
        out.extend_from_slice(format!("Delivery-date: {now}\n").as_bytes());
    }
    let removed = removed_names(transport, context, batch)?;
    for header in batch.message.headers.iter_live() {
        if removed.iter().any(|name| name_matches(name, header.name())) {
            continue;
        }
        let rewritten = generic
            .headers_rewrite
            .as_ref()
            .and_then(|rules| rules.header(context, header, &delivery.rewrite_settings));
        out.extend_from_slice(rewritten.as_ref().map_or(&header.text, |new| &new.text));
    }
    for line in batch.addresses.first().map(|a| a.propagated.headers_add.as_slice()).unwrap_or_default() {
        push_line(line.as_bytes(), &mut out);
    }
    for line in added_lines(transport, context)? {
        push_line(&line, &mut out);
    }
    out.push(b'\n');
    Ok(out)
}

/// The recipients that it all began with, each once, a line each.
fn envelope_to(addresses: &[Address]) -> Vec<u8> {
    let mut seen: Vec<&[u8]> = Vec::new();
    for address in addresses {
        let shared = address.shares_with.iter().map(Vec::as_slice);
        // What a `one_time` list has made a recipient stands for itself; its parent is only for the log.
        let ancestors = address.ancestors().filter(|a| a.recipient == address.recipient);
        let own = ancestors.last().unwrap_or(address);
        for top in shared.chain([own.address.as_slice()]) {
            if !seen.contains(&top) {
                seen.push(top);
            }
        }
    }
    seen.join(&b",\n "[..])
}

fn push_line(line: &[u8], out: &mut Vec<u8>) {
    if !line.is_empty() {
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
}

fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.strip_suffix(b"*") {
        Some(start) => name.get(..start.len()).is_some_and(|n| n.eq_ignore_ascii_case(start)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

/// Names from the routers and from the transport. `Bcc:` of a resent message and the like were dealt with at reception.
fn removed_names(
    transport: &Transport,
    context: &mut Context,
    batch: &Batch<'_>,
) -> Result<Vec<Vec<u8>>, DeliveryError> {
    let mut names: Vec<Vec<u8>> =
        batch.addresses.first().map(|a| a.propagated.headers_remove.clone()).unwrap_or_default();
    for item in expanded_items(transport, context, &transport.generic.headers_remove, "headers_remove")? {
        let name = item.trim_ascii();
        names.push(name.strip_suffix(b":").unwrap_or(name).to_vec());
    }
    Ok(names)
}

fn added_lines(transport: &Transport, context: &mut Context) -> Result<Vec<Vec<u8>>, DeliveryError> {
    expanded_items(transport, context, &transport.generic.headers_add, "headers_add")
}

/// What the items expand to; those that are empty, or are forced to fail, are left out.
fn expanded_items(
    transport: &Transport,
    context: &mut Context,
    items: &[Template],
    option: &str,
) -> Result<Vec<Vec<u8>>, DeliveryError> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        match item.expand(context) {
            Ok(text) if text.trimmed().is_empty() => {}
            Ok(text) => out.push(text.into_bytes()),
            Err(ExpandError::Forced(_)) => {}
            Err(error) => return Err(expansion_error(transport, option, &error)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_star() {
        assert!(name_matches(b"x-spam*", b"X-Spam-Score"));
        assert!(!name_matches(b"x-spam", b"X-Spam-Score"));
        assert!(name_matches(b"subject", b"Subject"));
    }

    #[test]
    fn each_original_recipient_once() {
        let parent = std::sync::Arc::new(Address::recipient("list@test.ex", 0));
        let mut first = Address::child(&parent, "a@test.ex");
        first.shares_with.push(b"d@test.ex".to_vec());
        let addresses = [first, Address::child(&parent, "b@test.ex"), Address::recipient("c@test.ex", 1)];
        assert_eq!(envelope_to(&addresses), b"d@test.ex,\n list@test.ex,\n c@test.ex");
    }
}
