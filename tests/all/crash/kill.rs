//! Every process of the daemon is killed at a random moment under load, and started again.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::ledger::{Found, Ledger, first_written};
use super::stand::{PATIENCE, Plan, Stand};
use super::{Chance, amount};

/// A message delivered so long before a kill must have been recorded as delivered.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// Kills again and again; the times of the kills.
fn kill_and_restart(
    stand: &Mutex<Stand>,
    ledger: &Ledger,
    pause: Duration,
    own_seed: u64,
) -> Vec<SystemTime> {
    let mut chance = Chance::new(own_seed);
    ledger.storm(stand, pause, || {
        let mut kills = Vec::new();
        for _ in 0..amount(3, 50) {
            let before = ledger.acknowledged_count();
            let end = Instant::now() + PATIENCE;
            // Some mail at least has to be under way.
            while ledger.acknowledged_count() < before + 10 {
                assert!(Instant::now() < end, "no mail is accepted: {}", stand.lock().unwrap().trouble());
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(chance.below(800)));
            let mut stand = stand.lock().unwrap();
            kills.push(SystemTime::now());
            stand.kill();
            stand.launch();
        }
        kills
    })
}

pub(super) fn queued_mail_survives() {
    let stand = Mutex::new(Stand::start(&Plan::default()));
    let ledger = Ledger::default();
    kill_and_restart(&stand, &ledger, Duration::from_millis(3), 1);
    let mut stand = stand.into_inner().unwrap();
    stand.stop();
    ledger.compare(&ledger.acknowledged(), &Found::in_spool(stand.spool()), |_| false);
}

pub(super) fn delivered_mail_survives() {
    let stand = Mutex::new(Stand::start(&Plan { delivers: true, ..Plan::default() }));
    let ledger = Ledger::default();
    let kills = kill_and_restart(&stand, &ledger, Duration::from_millis(25), 2);
    let mut stand = stand.into_inner().unwrap();
    let end = Instant::now() + PATIENCE * 2;
    while stand.queue_count() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(stand.queue_count(), 0, "the queue does not become empty: {}", stand.trouble());
    stand.stop();
    // Twice only if a delivery was under way at a kill.
    let was_in_flight = |copies: &[std::path::PathBuf]| {
        let first = first_written(copies);
        let is_near = |kill: &SystemTime| {
            let early = kill.duration_since(first);
            early.map_or_else(|late| late.duration() < IN_FLIGHT, |early| early < IN_FLIGHT)
        };
        kills.iter().any(is_near)
    };
    ledger.compare(&ledger.acknowledged(), &Found::in_maildir(&stand.mail()), was_in_flight);
}
