//! `vacation` (RFC 5230): who is answered, and with what.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use oxim_lang::context::Context;
use oxim_mail::rfc2047::{Undecodable, decode};

use super::evaluate::Rules;
use super::tree::Vacation;
use crate::filter::Reply;
use crate::filter::exim::is_personal;

/// Days after which somebody is answered again, if the script does not say.
const DAYS: u64 = 7;
/// Longest line of quoted-printable text, without the mark of continuation.
const LINE_BYTES_MAX: usize = 75;
/// Bytes that fit into one encoded word beside its frame.
const WORD_BYTES_MAX: usize = 60;

/// The answer, or `None` if the message is not one that a person wrote to this user.
pub(super) fn reply(vacation: &Vacation, context: &Context, rules: &Rules) -> Option<Reply> {
    let own: Vec<Vec<u8>> = rules.own.iter().chain(&vacation.addresses).cloned().collect();
    if !is_personal(context, &own, &[b"To", b"Cc", b"Bcc", b"Resent-To", b"Resent-Cc", b"Resent-Bcc"]) {
        return None;
    }
    let subject = match &vacation.subject {
        Some(subject) => encoded_subject(subject),
        None => {
            let mut text = b"Auto: ".to_vec();
            text.extend_from_slice(&subject_of(context));
            encoded_subject(&text)
        }
    };
    let (headers, text) = if vacation.mime {
        mime_parts(&vacation.reason)
    } else {
        let headers = "MIME-Version: 1.0\nContent-Type: text/plain;\n\tcharset=\"utf-8\"\nContent-Transfer-Encoding: quoted-printable";
        (headers.as_bytes().to_vec(), quoted_printable(&vacation.reason))
    };
    Some(Reply {
        to: context.message.sender.clone(),
        from: vacation.from.clone().unwrap_or_default(),
        subject,
        headers,
        text,
        once: memory(vacation, rules),
        once_repeat: vacation.days.unwrap_or(DAYS).saturating_mul(86_400),
        ..Reply::default()
    })
}

/// The Subject: of the message in UTF-8.
pub(super) fn subject_of(context: &Context) -> Vec<u8> {
    let Some(header) = context.message.headers.find(b"Subject").next() else { return Vec::new() };
    decode(&header.unfolded(), Some(b"UTF-8"), false, Undecodable::KeepBytes)
        .unwrap_or_else(|_| header.unfolded())
}

/// Responses with the same handle, or the same contents, are remembered together.
fn memory(vacation: &Vacation, rules: &Rules) -> Vec<u8> {
    let mut digest = Md5::new();
    // A length before each part, lest two parts that are divided otherwise count as the same.
    let mut add = |part: &[u8]| {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    };
    match &vacation.handle {
        Some(handle) => add(handle),
        None => {
            add(vacation.subject.as_deref().unwrap_or_default());
            add(vacation.from.as_deref().unwrap_or_default());
            add(if vacation.mime { b"mime" } else { b"" });
            add(&vacation.reason);
        }
    }
    let mut name = rules.vacation_directory.clone().unwrap_or_default();
    name.push(b'/');
    for byte in digest.finalize() {
        name.extend_from_slice(format!("{byte:02X}").as_bytes());
    }
    name
}

/// A `:mime` reason: its header goes to the header of the message.
fn mime_parts(reason: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let text: Vec<u8> = reason.iter().copied().filter(|byte| *byte != b'\r').collect();
    match memchr::memmem::find(&text, b"\n\n") {
        Some(at) => {
            let body = text.get(at.saturating_add(2)..).unwrap_or_default().to_vec();
            (text.get(..at).unwrap_or_default().to_vec(), body)
        }
        None => (text, Vec::new()),
    }
}

/// A subject as encoded words of UTF-8; each word holds whole characters.
pub(super) fn encoded_subject(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut words = vec![String::new()];
    for character in text.chars().filter(|c| !c.is_control()) {
        let mut piece = String::new();
        match character {
            ' ' => piece.push('_'),
            c if c.is_ascii_alphanumeric() => piece.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(piece, "={byte:02X}");
                }
            }
        }
        if words.last().is_some_and(|word| word.len().saturating_add(piece.len()) > WORD_BYTES_MAX) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push_str(&piece);
        }
    }
    let framed: Vec<String> = words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect();
    framed.join("\n ").into_bytes()
}

/// Quoted-printable text (RFC 2045 section 6.7) with LF line ends.
pub(super) fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let mut column = 0_usize;
        for (index, byte) in content.iter().enumerate() {
            let is_last = index.saturating_add(1) == content.len();
            let plain = match byte {
                b' ' | b'\t' => !is_last,
                b'=' => false,
                byte => byte.is_ascii_graphic(),
            };
            let width = if plain { 1 } else { 3 };
            if column.saturating_add(width) > LINE_BYTES_MAX {
                out.extend_from_slice(b"=\n");
                column = 0;
            }
            if plain {
                out.push(*byte);
            } else {
                out.extend_from_slice(format!("={byte:02X}").as_bytes());
            }
            column = column.saturating_add(width);
        }
        if line.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded_as_observed() {
        assert_eq!(encoded_subject("Auto: Hello World".as_bytes()), b"=?utf-8?Q?Auto=3A_Hello_World?=");
        assert_eq!(encoded_subject("Out ü".as_bytes()), b"=?utf-8?Q?Out_=C3=BC?=");
        assert_eq!(quoted_printable("rea\nson ü".as_bytes()), b"rea\nson =C3=BC");
        assert_eq!(quoted_printable(b"a=b \n"), b"a=3Db=20\n");
    }

    #[test]
    fn long_texts_are_broken() {
        let words = String::from_utf8(encoded_subject("ü".repeat(100).as_bytes())).unwrap();
        assert!(words.lines().all(|line| line.len() <= 76), "{words}");
        let lines = String::from_utf8(quoted_printable(&[0xe9; 200])).unwrap();
        assert!(lines.lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn no_line_of_the_header_can_be_added_by_a_subject() {
        assert!(!encoded_subject(b"a\nX: b").contains(&b'\n'));
    }
}
