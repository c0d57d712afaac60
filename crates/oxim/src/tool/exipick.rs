//! `exipick`: selects queued messages by anything that the spool says of them (manual section 54.5, `exipick --help`).
//!
//! Reads the spool files themselves, without locks; a running daemon is asked to write its messages out first. A file
//! that cannot be understood is told on standard error and left out. Recipients stand in the order of the message;
//! those that -J tells to be done count as done. Exit code 2 for wrong options and directories, 1 for wrong criteria.

pub(crate) mod criteria;
pub(crate) mod held;
pub(crate) mod options;
mod show;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;

use self::criteria::Criterion;
use self::held::{Held, Source};
use self::options::{Options, Wrong};
use super::Call;
use crate::args::CommandLine;

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let options = match Options::read(&call.words) {
        Ok(options) => options,
        Err(Wrong::Help) => {
            say_part!("{}", options::HELP);
            return 0;
        }
        Err(Wrong::Unknown(text)) => {
            complain!("{text}\n{}", options::USAGE);
            return 2;
        }
    };
    let criteria: Result<Vec<Criterion>, String> =
        options.criteria.iter().map(|text| Criterion::parse(text, options.caseful, options.not)).collect();
    let criteria = match criteria {
        Ok(criteria) => criteria,
        Err(text) => {
            complain!("{text}");
            return 1;
        }
    };
    if options.show_rules {
        criteria.iter().for_each(|criterion| say!("{}\t{}", criterion.name, criterion.rule()));
    }
    if let Some(code) = by_daemon(call, &options) {
        return code;
    }
    let sources = match sources(call, &options) {
        Ok(sources) => sources,
        Err(code) => return code,
    };
    if let Some(file) = &options.freeze
        && let Err(error) = held::freeze(Path::new(OsStr::from_bytes(file)), &sources)
    {
        return call.fail(2, format_args!("{}: {}", String::from_utf8_lossy(file), error_text(&error)));
    }
    let now = Stamp::now().seconds;
    let mut all: Vec<Held> = sources
        .into_iter()
        .filter_map(|source| match Held::read(source, now) {
            Ok(held) => Some(held),
            Err(text) => {
                complain!("{text}");
                None
            }
        })
        .collect();
    let count = all.len();
    order(&mut all, &options);
    let chosen: Vec<Held> =
        all.into_iter().filter(|held| criteria::choose(held, &criteria, &options)).collect();
    u8::from(show::show(&chosen, count, &options).is_err())
}

/// The daemon does it for a caller without rights to the spool.
fn by_daemon(call: &Call, options: &Options) -> Option<u8> {
    use crate::control::{client, order};
    if !options.stays_in_queue() {
        return None;
    }
    if client::is_configuration_closed(&CommandLine::of_configuration(None)) {
        return order::give(&call.command_line(), None);
    }
    let program = super::configuration(None).ok()?;
    let spool = &program.services.spool_directory;
    (!client::may_write(spool)).then(|| order::give(&call.command_line(), Some(spool)))?
}

/// The messages: of a cache, or of a directory.
fn sources(call: &Call, options: &Options) -> Result<Vec<Source>, u8> {
    if let Some(file) = &options.thaw {
        return held::thaw(Path::new(OsStr::from_bytes(file))).map_err(|error| {
            call.fail(2, format_args!("{}: {}", String::from_utf8_lossy(file), error_text(&error)))
        });
    }
    let spool = match &options.spool {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => super::configuration(options.config.as_deref())?.services.spool_directory.clone(),
    };
    crate::control::flush(&spool);
    let directory = spool.join(OsStr::from_bytes(&options.queue)).join(OsStr::from_bytes(&options.input));
    held::sources(&directory).map_err(|error| {
        complain!("Couldn't opendir {}: {}", directory.display(), error_text(&error));
        2
    })
}

/// By the variables of `--sort`, else by arrival.
fn order(chosen: &mut Vec<Held>, options: &Options) {
    if options.random {
        let keys: BTreeSet<(u64, usize)> = (0..chosen.len()).map(|index| (random(), index)).collect();
        let mut slots: Vec<Option<Held>> = chosen.drain(..).map(Some).collect();
        chosen.extend(keys.iter().filter_map(|(_, index)| slots.get_mut(*index).and_then(Option::take)));
    } else if !options.unsorted {
        chosen.sort_by_key(|held| held.arrival());
        if !options.sort.is_empty() {
            let keys = |held: &Held| -> Vec<Vec<u8>> {
                options.sort.iter().map(|name| held.value(name).unwrap_or_default()).collect()
            };
            chosen.sort_by(|a, b| criteria::compare(&keys(a), &keys(b)));
        }
    }
    if options.reverse {
        chosen.reverse();
    }
}

fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // Without randomness the order stays as it is.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}
