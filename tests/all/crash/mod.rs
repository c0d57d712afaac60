//! What must survive: kills, power cuts, full disks, exhausted descriptors, broken configurations, hostile input.
//!
//! Each trial has a daemon of its own on a free loopback port, in a private folder, bounded in time and ended by process
//! id. `cargo test` runs a seeded sample; `OXIM_PROOF=full` runs all of it; `OXIM_SEED` chooses other moments. What a
//! trial needs and the machine does not have (root, loop devices) is said on standard error, and the trial passes.

mod behind_proxy;
mod calls;
mod clock;
mod control;
mod corrupt;
mod crowd;
mod hostile;
mod kill;
mod ledger;
mod memory;
mod power;
mod shortage;
mod smuggling;
mod smuggling_out;
mod stand;

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| {
        Trial::test(format!("crash::{name}"), move || {
            run();
            Ok(())
        })
    };
    // These depend on how busy the machine is.
    let measured = |name: &str, run: fn()| {
        crate::again::trial(format!("crash::{name}"), move || {
            run();
            Ok(())
        })
    };
    vec![
        trial("kill::queued_mail_survives", kill::queued_mail_survives),
        trial("kill::delivered_mail_survives", kill::delivered_mail_survives),
        trial("calls::one_delivery_dies_everywhere", calls::one_delivery_dies_everywhere),
        trial("calls::mailboxes_of_one_user_die_everywhere", calls::mailboxes_of_one_user_die_everywhere),
        measured("clock::a_day_and_ten_years", clock::a_day_and_ten_years),
        trial("corrupt::damaged_files_concern_one_message", corrupt::damaged_files_concern_one_message),
        trial("corrupt::damaged_hints_are_set_aside", corrupt::damaged_hints_are_set_aside),
        measured("crowd::waiting_mail_does_not_slow_new_mail", crowd::waiting_mail_does_not_slow_new_mail),
        trial("power::a_cut_loses_nothing", power::a_cut_loses_nothing),
        trial("power::without_fsync_mail_is_lost", power::without_fsync_mail_is_lost),
        trial("shortage::full_disk", shortage::full_disk),
        trial("shortage::spool_space_option", shortage::spool_space_option),
        trial("shortage::full_inode_table", shortage::full_inode_table),
        trial("shortage::descriptors", shortage::descriptors),
        trial("control::reload", control::reload),
        trial(
            "control::a_faulty_configuration_does_not_start",
            control::a_faulty_configuration_does_not_start,
        ),
        trial("control::log_rotation", control::log_rotation),
        trial("smuggling::one_message_stays_one", smuggling::one_message_stays_one),
        measured("memory::sessions_are_small", memory::sessions_are_small),
        measured("memory::idle_sessions_are_small", memory::idle_sessions_are_small),
        measured("memory::idle_sessions_under_tls_are_small", memory::idle_sessions_under_tls_are_small),
        trial(
            "smuggling::one_message_stays_one_on_its_way_out",
            smuggling_out::one_message_stays_one_on_its_way_out,
        ),
        trial("hostile::random_input", hostile::random_input),
        trial("behind_proxy::any_header_and_random_input", behind_proxy::any_header_and_random_input),
        trial(
            "behind_proxy::bad_and_slow_headers_open_no_session",
            behind_proxy::bad_and_slow_headers_open_no_session,
        ),
        trial("hostile::slow_clients_are_dropped", hostile::slow_clients_are_dropped),
        trial("hostile::a_storm_of_connections", hostile::a_storm_of_connections),
        trial(
            "hostile::waiting_sessions_do_not_keep_others_waiting",
            hostile::waiting_sessions_do_not_keep_others_waiting,
        ),
    ]
}

/// Whether everything is run, not a sample.
fn is_full() -> bool {
    std::env::var_os("OXIM_PROOF").is_some_and(|v| v == "full")
}

/// The smaller number in a sample, the larger one in full.
fn amount(sample: usize, full: usize) -> usize {
    if is_full() { full } else { sample }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Says why a trial does nothing on this machine.
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Runs a command of the system; whether it succeeded.
fn system(words: &[&str]) -> bool {
    let status =
        Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

/// Small, seeded, and the same everywhere (xorshift).
struct Chance(u64);

impl Chance {
    /// The seed is `OXIM_SEED` and the trial's own number, so that trials do not walk in step.
    fn new(own: u64) -> Chance {
        let seed = std::env::var("OXIM_SEED").ok().and_then(|s| s.parse::<u64>().ok()).unwrap_or(1);
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(own).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A file system that is unmounted when this goes.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Mounts; `None` if that is not to be had here.
    fn mount(place: &'a Path, words: &[&str]) -> Option<Mounted<'a>> {
        std::fs::create_dir_all(place).unwrap();
        let mut all = vec!["mount"];
        all.extend(words);
        all.push(place.to_str().unwrap());
        system(&all).then_some(Mounted(place))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let place = self.0.to_str().unwrap();
        if !system(&["umount", place]) {
            system(&["umount", "-l", place]);
        }
    }
}
