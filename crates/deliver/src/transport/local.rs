//! What the local transports share: how a message is framed, limits with units, and how a job's answer becomes an outcome.

use std::borrow::Cow;
use std::io::{self, Read};

use oxim_base::errno::error_text;
use oxim_lang::config::Options;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

use super::compose::{Composed, expansion_error};
use super::{Batch, Delivered, DeliveryError, Order, Outcome, Run, Transport, error_code};
use crate::address::{Address, AddressKind, TransportId};
use crate::agent::Identity;
use crate::agent::job::{Framing, Job, JobResult, Trouble};
use crate::delivery::Delivery;

/// The options that say how a message is written.
pub(super) struct FramingOptions {
    prefix: Option<Template>,
    suffix: Option<Template>,
    check_string: Vec<u8>,
    escape_string: Vec<u8>,
    has_own_prefix: bool,
    has_own_suffix: bool,
    has_own_check: bool,
    use_crlf: bool,
    pub(super) use_bsmtp: bool,
}

impl FramingOptions {
    /// Reads the options. `defaults` are prefix, suffix, check string and escape string of this transport, if it has any.
    pub(super) fn build(options: &Options, defaults: Option<(&str, &str, &str, &str)>) -> FramingOptions {
        let use_bsmtp = options.bool("use_bsmtp");
        let defaults = defaults.filter(|_| !use_bsmtp);
        let template = |name: &str, default: Option<&str>| {
            if options.is_set(name) { options.template(name) } else { default.map(Template::compile) }
        };
        let literal = |name: &str, default: Option<&str>| {
            let value = if options.is_set(name) { options.string(name) } else { default };
            value.unwrap_or_default().as_bytes().to_vec()
        };
        let may_escape = options.is_set("escape_string") || defaults.is_some_and(|d| !d.3.is_empty());
        let (check_string, escape_string) = if use_bsmtp {
            (b".".to_vec(), b"..".to_vec())
        } else if may_escape {
            (literal("check_string", defaults.map(|d| d.2)), literal("escape_string", defaults.map(|d| d.3)))
        } else {
            (Vec::new(), Vec::new())
        };
        FramingOptions {
            prefix: template("message_prefix", defaults.map(|d| d.0)),
            suffix: template("message_suffix", defaults.map(|d| d.1)),
            check_string,
            escape_string,
            has_own_prefix: options.is_set("message_prefix"),
            has_own_suffix: options.is_set("message_suffix"),
            has_own_check: options.is_set("check_string"),
            use_crlf: options.bool("use_crlf"),
            use_bsmtp,
        }
    }
}

/// The framing for one delivery. Defaults that make an mbox are left out when each message has its own file.
pub(super) fn framing_with(
    options: &FramingOptions,
    transport: &Transport,
    context: &mut Context,
    batch: &Batch<'_>,
    composed: &Composed,
    own_file: bool,
) -> Result<Framing, DeliveryError> {
    let _ = composed;
    let mut part =
        |template: &Option<Template>, option: &str| match template.as_ref().map(|t| t.expand(context)) {
            None => Ok(Vec::new()),
            Some(Ok(text)) => Ok(text.into_bytes()),
            Some(Err(error)) => Err(expansion_error(transport, option, &error)),
        };
    let has_prefix = !own_file || options.has_own_prefix;
    let has_suffix = !own_file || options.has_own_suffix;
    let mut prefix = if has_prefix { part(&options.prefix, "message_prefix")? } else { Vec::new() };
    let mut suffix = if has_suffix { part(&options.suffix, "message_suffix")? } else { Vec::new() };
    if options.use_bsmtp {
        let end: &[u8] = if options.use_crlf { b"\r\n" } else { b"\n" };
        prefix.extend_from_slice(&batched_envelope(transport, batch, end));
        suffix.splice(0..0, [b".", end].concat());
    }
    let escapes = !own_file || options.has_own_check || options.use_bsmtp;
    Ok(Framing {
        prefix,
        suffix,
        check_string: if escapes { options.check_string.clone() } else { Vec::new() },
        escape_string: if escapes { options.escape_string.clone() } else { Vec::new() },
        use_crlf: options.use_crlf,
    })
}

/// MAIL, RCPT and DATA lines of batch SMTP.
fn batched_envelope(transport: &Transport, batch: &Batch<'_>, end: &[u8]) -> Vec<u8> {
    let mut out = [b"MAIL FROM:<", batch.return_path.as_slice(), b">", end].concat();
    for address in &batch.addresses {
        let recipient = match address.kind {
            AddressKind::Mail => recipient(transport, address).into_owned(),
            // A file or a command is no recipient; who it stands for is.
            AddressKind::File | AddressKind::Directory | AddressKind::Pipe | AddressKind::Reply => {
                address.routed(transport.generic.rcpt_include_affixes)
            }
        };
        out.extend_from_slice(&[b"RCPT TO:<", recipient.as_slice(), b">", end].concat());
    }
    out.extend_from_slice(b"DATA");
    out.extend_from_slice(end);
    out
}

/// The address as it goes to the next hop: without the affixes that the router took off, unless `rcpt_include_affixes`.
pub(super) fn recipient<'a>(transport: &Transport, address: &'a Address) -> Cow<'a, [u8]> {
    let has_affixes = address.prefix.is_some() || address.suffix.is_some();
    if !has_affixes || transport.generic.rcpt_include_affixes {
        return Cow::Borrowed(&address.address);
    }
    let mut out = oxim_mail::address::quote_local_part(&address.local_part_without_affixes());
    out.push(b'@');
    out.extend_from_slice(&address.domain);
    Cow::Owned(out)
}

/// Bytes that will be written. What escaping adds to lines is not counted: the figure serves the names of files.
pub(super) fn written_bytes(composed: &Composed, framing: &Framing) -> u64 {
    let lines = if framing.use_crlf { count_lines(composed) } else { 0 };
    let around = framing.prefix.len().saturating_add(framing.suffix.len());
    composed.len().saturating_add(lines).saturating_add(around as u64)
}

fn count_lines(composed: &Composed) -> u64 {
    let mut count = memchr::memchr_iter(b'\n', &composed.header).count() as u64;
    if let Some(body) = &composed.body {
        let mut buffer = vec![0; 64 * 1024];
        let mut reader = body.reader();
        while let Ok(read) = std::io::Read::read(&mut reader, &mut buffer) {
            let Some(part) = buffer.get(..read).filter(|p| !p.is_empty()) else { break };
            count += memchr::memchr_iter(b'\n', part).count() as u64;
        }
    }
    count
}

/// A limit such as `10M`, `1.5G/no_check` or `75%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) value: u64,
    pub(super) no_check: bool,
    pub(super) is_percentage: bool,
}

/// Reads a limit. None if it is malformed.
pub(super) fn number_with_unit(text: &[u8]) -> Option<Limit> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (number, modifiers) = text.split_once('/').map_or((text, ""), |(n, m)| (n.trim_end(), m));
    let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (digits, unit) = number.split_at_checked(end)?;
    let (scale, is_percentage) = match unit.trim() {
        "" => (1, false),
        "k" | "K" => (1 << 10, false),
        "m" | "M" => (1 << 20, false),
        "g" | "G" => (1 << 30, false),
        "%" => (1, true),
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let parts = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let whole: u64 = whole.parse().ok()?;
    let value = whole.checked_mul(scale)?.checked_add(part.checked_mul(scale)? / parts)?;
    let no_check = match modifiers {
        "" => false,
        "no_check" => true,
        _ => return None,
    };
    Some(Limit { value, no_check, is_percentage })
}

/// Where a command runs.
pub(super) fn working_directory(batch: &Batch<'_>) -> Vec<u8> {
    batch.current_directory.clone().unwrap_or_else(|| b"/".to_vec())
}

/// Performs the job as the batch's user, with the composed message.
pub(super) fn perform(delivery: &Delivery, batch: &Batch<'_>, job: &Job, composed: &Composed) -> JobResult {
    match composed.reader() {
        Ok(mut reader) => delivery.agents.perform(&batch.identity, job, &mut reader),
        Err(error) => JobResult::Deferred(Trouble {
            code: error.raw_os_error().unwrap_or(0),
            text: format!("failed to read the message: {}", error_text(&error)),
            ..Trouble::default()
        }),
    }
}

/// Most deliveries that are performed together, and the header bytes that they may keep in memory.
pub(crate) const TOGETHER_MAX: usize = 32;
/// See above.
pub(crate) const TOGETHER_BYTES_MAX: usize = 256 * 1024;

/// Performs several orders as one user. One run for each, in order.
pub(crate) fn perform_together(
    delivery: &Delivery,
    identity: &Identity,
    orders: Vec<(&Batch<'_>, Order)>,
) -> Vec<Run> {
    let (batches, orders): (Vec<_>, Vec<_>) = orders.into_iter().unzip();
    let (jobs, messages): (Vec<_>, Vec<_>) =
        orders.into_iter().map(|order| (order.job, order.message)).unzip();
    let readers: io::Result<Vec<_>> = messages.iter().map(Composed::reader).collect();
    let result = match readers {
        Ok(mut readers) => {
            let mut readers: Vec<&mut dyn Read> = readers.iter_mut().map(|r| &mut **r as _).collect();
            delivery.agents.perform_with(identity, &Job::NewFiles(jobs), &mut readers)
        }
        Err(error) => JobResult::Deferred(Trouble::system(&error, "failed to read the message")),
    };
    let mut results =
        if let JobResult::Each(results) = result { results } else { vec![result; batches.len()] };
    // Of what nothing is said, that is an answer of which nothing is known.
    results.resize(batches.len(), JobResult::Each(Vec::new()));
    batches.into_iter().zip(results).map(|(batch, result)| written(batch, result)).collect()
}

/// The run of a file that was to be written, with no quota to warn of.
pub(super) fn written(batch: &Batch<'_>, result: JobResult) -> Run {
    if let JobResult::Delivered { bytes, .. } = result {
        return Run::all(
            batch,
            &Outcome::Delivered(Delivered { bytes: Some(bytes), ..Delivered::default() }),
        );
    }
    refused(batch, result)
}

/// The outcome of a job that did not deliver.
pub(super) fn refused(batch: &Batch<'_>, result: JobResult) -> Run {
    let outcome = if let JobResult::Failed(trouble) = result {
        Outcome::Failed(error_of(trouble))
    } else {
        Outcome::Deferred(error_of(result.trouble()))
    };
    Run::all(batch, &outcome)
}

fn error_of(trouble: Trouble) -> DeliveryError {
    DeliveryError {
        code: trouble.code,
        more: trouble.quota_age.and_then(|age| i32::try_from(age).ok()).unwrap_or(0),
        text: trouble.text,
        // Where the mailbox is, and who says how big it may be, is not for senders.
        bounce_text: (trouble.code == error_code::MAILBOX_FULL).then(|| "mailbox is full".into()),
        freeze: trouble.freeze,
        ..DeliveryError::default()
    }
}

/// The mailbox belongs to another transport (`file_format`): that one delivers.
pub(super) fn hand_over(
    delivery: &Delivery,
    from: &Transport,
    context: &mut Context,
    batch: &Batch<'_>,
    name: &str,
    format: &str,
) -> Run {
    match delivery.transports.iter().enumerate().find(|(_, t)| t.name == name) {
        // Each one's list may name the next, and the last one's the first.
        Some(_) if batch.handed_over >= delivery.transports.len() => {
            let text = format!("{format} format goes from transport to transport");
            Run::all(batch, &Outcome::Deferred(DeliveryError::new(error_code::NO_SUCH_TRANSPORT, text)))
        }
        Some((index, other)) if other.name != from.name => {
            let batch = Batch { handed_over: batch.handed_over.saturating_add(1), ..batch.clone() };
            let run = other.driver.deliver(other, delivery, context, &batch);
            Run { handed_to: run.handed_to.or(Some(TransportId(index))), ..run }
        }
        _ => {
            let text = format!("{name} transport (for {format} format) not found");
            Run::all(batch, &Outcome::Deferred(DeliveryError::new(error_code::NO_SUCH_TRANSPORT, text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_with_units() {
        let value = |text: &str| number_with_unit(text.as_bytes()).map(|l| l.value);
        assert_eq!(value("10"), Some(10));
        assert_eq!(value("10M"), Some(10 << 20));
        assert_eq!(value("1.5k"), Some(1536));
        assert_eq!(value(" 2G "), Some(2 << 30));
        assert_eq!(value("x"), None);
        assert_eq!(value("99999999999999999999"), None);
        assert_eq!(number_with_unit(b"75%"), Some(Limit { value: 75, no_check: false, is_percentage: true }));
        assert_eq!(
            number_with_unit(b"5M/no_check"),
            Some(Limit { value: 5 << 20, no_check: true, is_percentage: false })
        );
    }
}
