//! The message that `-be` expressions may refer to: read from a file (`-bem`) or loaded from the queue (`-Mset`).

use std::sync::Arc;

use oxim_base::clock::Stamp;
use oxim_lang::context::Context;
use oxim_mail::address;
use oxim_mail::header::split::{HeaderLimits, split_header_block};
use oxim_mail::message_id::{Form, Generator, MessageId};
use oxim_spool::message::{Body, Recipient};
use oxim_spool::store::{ClaimError, LocalStore, Store};

use crate::assemble::Program;
use crate::{control, services};

/// Largest file of `-bem`, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads a file as a message of the caller's; with `-t` the recipients come from its header.
///
/// # Errors
/// The text for standard error.
pub(crate) fn read(program: &Program, context: &mut Context, file: &[u8]) -> Result<(), String> {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    let shown = String::from_utf8_lossy(file);
    let failed = |error: &std::io::Error| {
        let reason = error
            .raw_os_error()
            .map_or_else(|| error.to_string(), |n| nix::errno::Errno::from_raw(n).desc().to_owned());
        format!("exim: failed to open {shown}: {reason}")
    };
    let opened = std::fs::File::open(std::ffi::OsStr::from_bytes(file)).map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    let bytes = without_carriage_returns(bytes);
    let (headers, body_start) = split_header_block(&bytes, HeaderLimits::default())
        .map_err(|_| format!("exim: the header of {shown} is too long"))?;
    let body = bytes.get(body_start..).unwrap_or_default().to_vec();
    let message = &mut context.message;
    message.id = Some(Generator::new(std::process::id(), None, Form::Long).next(Stamp::now()));
    message.body_lines = body.iter().filter(|b| **b == b'\n').count() as u64;
    message.lines =
        u64::try_from(headers.line_count()).unwrap_or(0).saturating_add(1).saturating_add(message.body_lines);
    message.size =
        i64::try_from(headers.size_bytes().saturating_add(body.len()).saturating_add(1)).unwrap_or(i64::MAX);
    let (headers_end, _) = bytes.split_at_checked(body_start).unwrap_or_default();
    let header_lines = headers_end.iter().filter(|b| **b == b'\n').count() as u64;
    message.lines = header_lines.saturating_add(message.body_lines);
    message.max_line = bytes.split(|b| *b == b'\n').map(<[u8]>::len).max().unwrap_or(0) as u64;
    // With the line that its reception would have added.
    let received = headers.iter_live().filter(|h| h.is_named(b"Received")).count().saturating_add(1);
    message.received_count = u32::try_from(received).unwrap_or(u32::MAX);
    message.recipients_visible = true;
    if program.line.sending.extract_recipients {
        for header in
            headers.iter_live().filter(|h| [&b"To"[..], b"Cc", b"Bcc"].iter().any(|n| h.is_named(n)))
        {
            for item in address::address_list(header.body()) {
                if let Ok(parsed) = item.parse(&address::AddressSyntax::default()) {
                    Arc::make_mut(&mut message.recipients).push(Recipient::new(parsed.address));
                }
            }
        }
    }
    message.headers = headers;
    message.body = Some(Body::Memory(body.into()));
    Ok(())
}

fn without_carriage_returns(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.contains(&b'\r') {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().peekable();
    while let Some(byte) = rest.next() {
        if *byte != b'\r' || rest.peek() != Some(&&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// Loads a message of the queue. One that cannot be loaded is told of, and the expressions are expanded without it.
pub(crate) fn load(program: &Program, context: &mut Context, id: &[u8]) {
    let Some(id) = MessageId::parse(id) else { return };
    context.message.id = Some(id);
    control::flush(&program.services.spool_directory);
    let loaded = LocalStore::direct(services::store_config(&program.config, &program.services))
        .map_err(|error| error.to_string())
        .and_then(|store| {
            store.claim(&id).map_err(|error| {
                let is_gone = matches!(error, ClaimError::Gone);
                if is_gone { format!("Spool file {id}-D not found") } else { error.to_string() }
            })
        });
    match loaded {
        Ok(claim) => {
            let message = Arc::clone(claim.message());
            oxim_deliver::scope::enter_message(context, &message, claim.body());
            context.message.recipients_visible = true;
        }
        Err(reason) => {
            complain!("{} {reason}", program.services.log().stamp());
            say!("Failed to load message datafile {id}\nFailed to load message {id}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_ends_lose_their_carriage_return() {
        assert_eq!(without_carriage_returns(b"a\r\nb\rc\r\n".to_vec()), b"a\nb\rc\n");
        assert_eq!(without_carriage_returns(b"plain\n".to_vec()), b"plain\n");
    }
}
