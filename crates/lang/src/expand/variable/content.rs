//! `$mime_…`, `$malware_name`, `$spam_…`: what content scanning has found out (manual chapter 45).

use oxim_base::Taint::{Clean, Tainted};

use super::{Scope, Value, VariableRow, row};
use crate::content::{PartFacts, SpamFacts};
use crate::context::Context;

fn part<'a>(context: &'a Context, get: impl FnOnce(&'a PartFacts) -> Value<'a>) -> Value<'a> {
    context.message.content.part.as_deref().map_or(Value::Empty, get)
}

fn number<'a>(context: &'a Context, get: impl FnOnce(&'a PartFacts) -> i64) -> Value<'a> {
    Value::Number(context.message.content.part.as_deref().map_or(0, get))
}

fn spam<'a>(context: &'a Context, get: impl FnOnce(&'a SpamFacts) -> &'a [u8]) -> Value<'a> {
    context.message.content.spam.as_deref().map_or(Value::Empty, |facts| Value::Bytes(get(facts)))
}

const MESSAGE: Scope = Scope::Message;

pub(super) static ROWS: &[VariableRow] = &[
    row("av_failed", MESSAGE, Clean, "1 if the last virus scan could not be done.", |c, _| {
        Value::Number(i64::from(c.message.content.av_failed))
    }),
    row("malware_name", MESSAGE, Tainted, "What the virus scanner has found.", |c, _| {
        c.message.content.malware_name.as_deref().map_or(Value::Empty, Value::Bytes)
    }),
    row("mime_anomaly_level", MESSAGE, Clean, "How bad the encoding of the MIME part is.", |c, _| {
        number(c, |p| p.anomaly.level())
    }),
    row("mime_anomaly_text", MESSAGE, Clean, "What is wrong with the encoding of the MIME part.", |c, _| {
        part(c, |p| Value::Bytes(p.anomaly.text().as_bytes()))
    }),
    row("mime_boundary", MESSAGE, Tainted, "The boundary of the multipart.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.boundary))
    }),
    row("mime_charset", MESSAGE, Tainted, "The charset of the MIME part.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.charset))
    }),
    row("mime_content_description", MESSAGE, Tainted, "Content-Description: of the MIME part.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.description))
    }),
    row("mime_content_disposition", MESSAGE, Tainted, "Content-Disposition: of the MIME part.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.disposition))
    }),
    row("mime_content_id", MESSAGE, Tainted, "Content-ID: of the MIME part.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.id))
    }),
    row("mime_content_size", MESSAGE, Clean, "Kilobytes of the decoded MIME part.", |c, _| {
        number(c, |p| i64::try_from(p.size_kilobytes).unwrap_or(i64::MAX))
    }),
    row(
        "mime_content_transfer_encoding",
        MESSAGE,
        Tainted,
        "Content-Transfer-Encoding: of the MIME part.",
        |c, _| part(c, |p| Value::Bytes(&p.header.transfer_encoding)),
    ),
    row("mime_content_type", MESSAGE, Tainted, "The type of the MIME part, without parameters.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.content_type))
    }),
    row("mime_decoded_filename", MESSAGE, Clean, "The file with the decoded MIME part.", |c, _| {
        part(c, |p| p.decoded_filename.as_deref().map_or(Value::Empty, Value::Bytes))
    }),
    row("mime_filename", MESSAGE, Tainted, "The file name that the MIME part proposes.", |c, _| {
        part(c, |p| Value::Bytes(&p.header.filename))
    }),
    row("mime_is_coverletter", MESSAGE, Clean, "1 if the MIME part is no attachment.", |c, _| {
        number(c, |p| i64::from(p.is_cover_letter))
    }),
    row("mime_is_multipart", MESSAGE, Clean, "1 if the MIME part holds others.", |c, _| {
        number(c, |p| i64::from(p.header.is_multipart()))
    }),
    row("mime_is_rfc822", MESSAGE, Clean, "1 if the MIME part is part of an attached message.", |c, _| {
        number(c, |p| i64::from(p.is_rfc822))
    }),
    row("mime_part_count", MESSAGE, Clean, "The number of the MIME part; -1 without one.", |c, _| {
        let content = &c.message.content;
        Value::Number(content.part.as_deref().map_or(content.part_count.unwrap_or(-1), |p| p.number))
    }),
    row("spam_action", MESSAGE, Tainted, "What the spam scanner recommends.", |c, _| spam(c, |s| &s.action)),
    row("spam_bar", MESSAGE, Clean, "The spam score as a row of signs.", |c, _| spam(c, |s| &s.bar)),
    row("spam_report", MESSAGE, Tainted, "The report of the spam scanner.", |c, _| spam(c, |s| &s.report)),
    row("spam_score", MESSAGE, Clean, "The spam score.", |c, _| spam(c, |s| &s.score)),
    row("spam_score_int", MESSAGE, Clean, "Ten times the spam score.", |c, _| spam(c, |s| &s.score_int)),
];
