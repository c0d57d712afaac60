//! `exim_tidydb`: removes hints that are older than 30 days or what `-t` says, and retry records of messages that are
//! gone (manual section 54.13).

use std::collections::HashSet;

use oxim_base::clock::Stamp;
use oxim_mail::message_id::MessageId;
use oxim_spool::files::directories::Directories;
use oxim_spool::hints::Database;

use super::hints::Opened;
use super::{Call, hints};

/// 30 days.
const KEEP: u64 = 30 * 86_400;

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let opened = match hints::open(call, "[-t <time>]") {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    say!("Tidying Exim hints database {}", opened.shown_path);
    match tidy(&opened) {
        Ok(()) => {
            say!("Tidying complete");
            0
        }
        Err(text) => call.fail(1, text),
    }
}

fn tidy(opened: &Opened) -> Result<(), String> {
    let keep = i64::try_from(opened.keep.unwrap_or(KEEP)).unwrap_or(i64::MAX);
    let oldest = Stamp::now().seconds.saturating_sub(keep);
    let mut waiting = None;
    for (key, hint) in opened.all()? {
        let name = String::from_utf8_lossy(&key).into_owned();
        let reason = if hint.stamp.seconds < oldest {
            "too old"
        } else if opened.database == Database::Retry && is_of_gone(opened, &key, &mut waiting)? {
            "no message"
        } else {
            continue;
        };
        opened.hints.delete(&opened.database, &key).map_err(|error| error.to_string())?;
        say!("deleted {name} ({reason})");
    }
    Ok(())
}

/// Whether a key ends in the id of a message that is not there. `waiting` is filled at the first need.
fn is_of_gone(opened: &Opened, key: &[u8], waiting: &mut Option<HashSet<MessageId>>) -> Result<bool, String> {
    let Some(id) = key.rsplit(|b| *b == b':').next().and_then(MessageId::parse) else { return Ok(false) };
    if waiting.is_none() {
        *waiting = Some(messages(opened)?);
    }
    Ok(waiting.as_ref().is_some_and(|all| !all.contains(&id)))
}

fn messages(opened: &Opened) -> Result<HashSet<MessageId>, String> {
    crate::control::flush(&opened.spool);
    let directories = Directories::open(&opened.spool, None, false).map_err(|error| error.to_string())?;
    let mut all: HashSet<MessageId> =
        directories.ids(b"").map_err(|error| error.to_string())?.into_iter().collect();
    for queue in directories.queue_names() {
        all.extend(directories.ids(&queue).map_err(|error| error.to_string())?);
    }
    Ok(all)
}
