//! `-bp…`: lists the queue, or counts it (`-bpc`).

use std::fmt::Write as _;
use std::io::Write as _;

use oxim_base::clock::Stamp;
use oxim_spool::store::{LocalStore, QueueEntry, Store};

use crate::args::Listing;
use crate::assemble::Program;
use crate::{control, services};

/// Entries that one thread reads at a time.
const SHARE: usize = 256;
/// Threads that read.
const THREADS_MAX: usize = 8;

fn open(program: &Program) -> Result<LocalStore, u8> {
    control::flush(&program.services.spool_directory);
    LocalStore::direct(services::store_config(&program.config, &program.services)).map_err(|error| {
        complain!("exim: {error}");
        1
    })
}

/// The queue that is listed: that of `-qG`, else the default one.
fn queue(program: &Program) -> &[u8] {
    program.line.queue_run.as_ref().map(|run| run.queue_name.as_slice()).unwrap_or_default()
}

/// `-bpc`.
pub(crate) fn count(program: &Program) -> u8 {
    let store = match open(program) {
        Ok(store) => store,
        Err(code) => return code,
    };
    match store.list(Some(queue(program))) {
        Ok(entries) => {
            say!("{}", entries.len());
            0
        }
        Err(error) => {
            complain!("exim: {error}");
            1
        }
    }
}

/// `-bp` and its kin.
pub(crate) fn list(program: &Program, listing: Listing) -> u8 {
    let store = match open(program) {
        Ok(store) => store,
        Err(code) => return code,
    };
    let entries = match store.list(Some(queue(program))) {
        Ok(entries) => entries,
        Err(error) => {
            complain!("exim: {error}");
            return 1;
        }
    };
    let now = Stamp::now().seconds;
    let wanted = &program.line.arguments;
    let is_wanted = |id: &[u8]| wanted.is_empty() || wanted.iter().any(|one| one == id);
    let entries: Vec<&QueueEntry> =
        entries.iter().filter(|entry| is_wanted(entry.id.as_str().as_bytes())).collect();
    let write = |text: &[u8]| std::io::stdout().lock().write_all(text);
    u8::from(rendered(&entries, listing, now, write).is_err())
}

/// Gives the texts of all entries to `write`, in order. To read a message's files takes the time of a few system calls: every
/// processor does some of them.
fn rendered(
    entries: &[&QueueEntry],
    listing: Listing,
    now: i64,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let render = |share: &[&QueueEntry]| {
        let mut out = String::new();
        for entry in share {
            if listing.ids_only {
                let _ = writeln!(out, "{}", entry.id);
            } else {
                let _ = show(&mut out, entry, listing, now);
            }
        }
        out
    };
    for part in entries.chunks(SHARE * processors) {
        std::thread::scope(|scope| {
            let mut shares = part.chunks(SHARE);
            let mine = shares.next().unwrap_or_default();
            let begin =
                |share| (share, std::thread::Builder::new().spawn_scoped(scope, move || render(share)));
            let others: Vec<_> = shares.map(begin).collect();
            write(render(mine).as_bytes())?;
            for (share, other) in others {
                // Where no thread is to be had this one does it.
                let text = other.ok().and_then(|other| other.join().ok()).unwrap_or_else(|| render(share));
                write(text.as_bytes())?;
            }
            Ok::<(), std::io::Error>(())
        })?;
    }
    Ok(())
}

fn show(out: &mut String, entry: &QueueEntry, listing: Listing, now: i64) -> std::fmt::Result {
    let details = match entry.details() {
        Ok(details) => details,
        Err(oxim_spool::store::ClaimError::Gone) => return Ok(()),
        Err(error) => {
            // Without the reason behind it, as Exim.
            let text = error.to_string();
            let text = text.split(" (").next().unwrap_or_default();
            return writeln!(out, "      {}\n    *** {text} ***\n", entry.id);
        }
    };
    let message = &details.message;
    let age = age(now.saturating_sub(message.received.seconds));
    let frozen = if message.frozen.is_some() { " *** frozen ***" } else { "" };
    // Who gave another sender than himself without being trusted to.
    let login = if message.sender_set_untrusted {
        format!(" ({})", String::from_utf8_lossy(&message.login))
    } else {
        String::new()
    };
    writeln!(
        out,
        "{age} {} {} <{}>{login}{frozen}",
        size(details.size),
        entry.id,
        String::from_utf8_lossy(&message.sender)
    )?;
    for (address, is_done) in details.recipients() {
        if is_done && listing.undelivered_only {
            continue;
        }
        writeln!(out, "        {} {}", if is_done { "D" } else { " " }, String::from_utf8_lossy(address))?;
    }
    if listing.with_generated {
        let is_recipient = |address: &Vec<u8>| message.recipients.iter().any(|r| r.address == *address);
        for address in message.non_recipients.iter().filter(|a| !is_recipient(a)) {
            writeln!(out, "       +D {}", String::from_utf8_lossy(address))?;
        }
    }
    writeln!(out)
}

/// Three characters: minutes up to 90, hours up to 72, then days.
pub(crate) fn age(seconds: i64) -> String {
    let minutes = seconds / 60;
    if minutes <= 90 {
        return format!("{minutes:2}m");
    }
    let hours = (minutes + 30) / 60;
    if hours <= 72 { format!("{hours:2}h") } else { format!("{:2}d", (hours + 12) / 24) }
}

/// Five characters: bytes, or K and M with a decimal while it fits.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0 => "     ".to_owned(),
        1..=1023 => format!("{bytes:5}"),
        1024..=10_239 => decimal((bytes * 10 + 512) / 1024, 'K'),
        10_240..=1_048_575 => format!("{:4}K", (bytes + 512) / 1024),
        1_048_576..=10_485_759 => decimal((bytes * 10 + 524_288) / 1_048_576, 'M'),
        _ => format!("{:4}M", (bytes + 524_288) / 1_048_576),
    }
}

/// Rounded to a tenth: 10,239 bytes are `10.0K`.
fn decimal(tenths: u64, unit: char) -> String {
    format!("{:2}.{}{unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_keep_their_columns() {
        assert_eq!(
            (age(0), age(5_400), age(7_200), age(300_000)),
            (" 0m".into(), "90m".into(), " 2h".into(), " 3d".into())
        );
        assert_eq!(size(206), "  206");
        assert_eq!(size(2_048), " 2.0K");
        assert_eq!(size(20_480), "  20K");
    }
}
