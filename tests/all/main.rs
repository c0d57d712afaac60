//! All tests that need more than one crate: scenarios (each against Oxim and, where Exim has the feature, against the
//! installed exim4), tidy checks of the source tree, and the long runs.
//!
//! The same binary, called as `--stage` or `--ground`, is the process inside the namespaces of one scenario or comparison.
//! `UPDATE=1` writes what exim4 did (or Oxim, where there is no oracle) into the scenario files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may fail loudly"
)]
#![allow(clippy::too_many_lines, clippy::cast_possible_truncation, missing_docs, reason = "test code")]

mod again;
mod crash;
mod decisions;
mod dialogues;
mod generator;
mod imap_folders;
mod lookup_servers;
mod oracle;
mod peers;
mod place;
mod quickstart;
mod scenario;
mod separators;
mod signatures;
mod tidy;

use libtest_mimic::Arguments;

fn main() {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("--stage") => return scenario::stage::main(&words.next().unwrap()),
        Some("--ground") => return oracle::ground::main(&words.next().unwrap()),
        Some("--dialogues") => return dialogues::stage::main(&words.next().unwrap()),
        Some("--peer") => return peers::main(&words.next().unwrap(), &words.next().unwrap()),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let mut trials = tidy::trials();
    trials.extend(scenario::trials());
    trials.extend(separators::trials());
    trials.extend(decisions::trials());
    trials.extend(oracle::trials());
    trials.extend(crash::trials());
    trials.extend(peers::trials());
    trials.extend(lookup_servers::trials());
    trials.extend(generator::trials());
    trials.extend(dialogues::trials());
    trials.extend(imap_folders::trials());
    trials.extend(signatures::trials());
    trials.extend(quickstart::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
