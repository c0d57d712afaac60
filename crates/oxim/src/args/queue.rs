//! `-q…`, `-R…`, `-S…`: queue runs; `-bp…`: queue lists.

use std::time::Duration;

use super::mode::{self, Mode};
use super::{ArgumentError, CommandLine, Cursor};

/// Which messages a queue run takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// A string or pattern.
    pub text: Vec<u8>,
    /// It is a regular expression (`-Rr`).
    pub is_regex: bool,
}

/// A queue run (manual section 5.3, `-q…`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueRun {
    /// `-qq`: remote addresses are routed first, then delivered in a second pass.
    pub two_stage: bool,
    /// `-qi`: only messages that have not been tried yet.
    pub first_only: bool,
    /// `-qf`: retry times are not looked at.
    pub force: bool,
    /// `-qff`: nor is freezing.
    pub force_frozen: bool,
    /// `-ql`: local deliveries only.
    pub local_only: bool,
    /// `-qG<name>`: a named queue.
    pub queue_name: Vec<u8>,
    /// First message id.
    pub start: Option<Vec<u8>>,
    /// Last message id.
    pub stop: Option<Vec<u8>>,
    /// A run is started this often.
    pub interval: Option<Duration>,
    /// Messages with such a recipient.
    pub recipient: Option<Selection>,
    /// Messages with such a sender.
    pub sender: Option<Selection>,
}

/// How the queue is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Generated addresses that were delivered are shown too (`a`).
    pub with_generated: bool,
    /// Delivered addresses are left out (`u`).
    pub undelivered_only: bool,
    /// Not sorted (`r`).
    pub unsorted: bool,
    /// Ids only (`i`).
    pub ids_only: bool,
}

/// Reads the letters behind `-bp`.
pub(super) fn listing(letters: &[u8]) -> Option<Listing> {
    let mut listing = Listing::default();
    for letter in letters {
        match letter {
            b'a' => listing.with_generated = true,
            b'u' => listing.undelivered_only = true,
            b'r' => listing.unsorted = true,
            b'i' => listing.ids_only = true,
            _ => return None,
        }
    }
    Some(listing)
}

pub(super) fn option(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    first: u8,
    rest: &[u8],
) -> Result<(), ArgumentError> {
    let mut run = line.queue_run.take().unwrap_or_default();
    let done = match (first, rest) {
        // `-qR` and `-qS` are `-R` and `-S`.
        (b'q', [first @ (b'R' | b'S'), rest @ ..]) => selection(&mut run, cursor, *first, rest),
        (b'q', _) => letters(&mut run, cursor, word, rest),
        (first, _) => selection(&mut run, cursor, first, rest),
    };
    line.queue_run = Some(run);
    done?;
    if matches!(line.mode, Mode::Receive { explicit: false }) {
        mode::set(line, Mode::QueueRun)?;
    }
    Ok(())
}

fn letters(run: &mut QueueRun, cursor: &mut Cursor, word: &[u8], rest: &[u8]) -> Result<(), ArgumentError> {
    let mut rest = rest;
    let mut take = |letter: &[u8]| match rest.strip_prefix(letter) {
        Some(tail) => {
            rest = tail;
            true
        }
        None => false,
    };
    run.two_stage |= take(b"q");
    run.first_only |= take(b"i");
    if take(b"f") {
        run.force = true;
        run.force_frozen |= take(b"f");
    }
    run.local_only |= take(b"l");
    if let Some(name) = rest.strip_prefix(b"G") {
        let end = name.iter().position(|b| *b == b'/').unwrap_or(name.len());
        run.queue_name = name.get(..end).unwrap_or_default().to_vec();
        rest = name.get(end + 1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        let text = std::str::from_utf8(rest).ok().and_then(oxim_base::clock::parse_interval_with_units);
        let seconds = text.filter(|s| *s > 0).ok_or_else(|| ArgumentError::bad_time(word))?;
        run.interval = Some(Duration::from_secs(seconds));
        return Ok(());
    }
    // Message ids, if the next words are such.
    let next = cursor.words.as_slice().first().cloned();
    if next.as_deref().is_some_and(|w| oxim_mail::message_id::MessageId::parse(w).is_some()) {
        run.start = cursor.words.next();
        let next = cursor.words.as_slice().first().cloned();
        if next.as_deref().is_some_and(|w| oxim_mail::message_id::MessageId::parse(w).is_some()) {
            run.stop = cursor.words.next();
        }
    }
    Ok(())
}

/// `-R[r][f|ff]` and `-S[r][f|ff]` with a string of their own or in the next word.
fn selection(run: &mut QueueRun, cursor: &mut Cursor, first: u8, rest: &[u8]) -> Result<(), ArgumentError> {
    let mut rest = rest;
    let mut is_regex = false;
    for (letters, regex, force, frozen) in [
        (&b"rff"[..], true, true, true),
        (b"rf", true, true, false),
        (b"ff", false, true, true),
        (b"r", true, false, false),
        (b"f", false, true, false),
    ] {
        if rest == letters {
            is_regex = regex;
            run.force |= force;
            run.force_frozen |= frozen;
            rest = b"";
            break;
        }
    }
    let text = if rest.is_empty() {
        cursor.expected("string", if first == b'R' { b"-R" } else { b"-S" })?
    } else {
        rest.to_vec()
    };
    let chosen = Selection { text, is_regex };
    if first == b'R' {
        run.recipient = Some(chosen)
    } else {
        run.sender = Some(chosen)
    }
    Ok(())
}
