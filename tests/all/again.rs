//! Second tries. A trial starts real servers and real clients, and the machine that runs hundreds of them may be too busy
//! for one of those; it fails when it fails twice. A try that failed is told on standard error with its reason, for
//! somebody to look into. `OXIM_TRIES=1`, as in `make proof`, allows no second try. Of what is drawn, each case that differs has one.
//! Trials that read the source or crash Oxim never have one, but for those of the last that measure a busy machine too.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Failed, Trial};

/// How often what needs real servers is tried: `OXIM_TRIES`, twice unless it says otherwise.
pub(crate) fn tries() -> u32 {
    std::env::var("OXIM_TRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(2).max(1)
}

/// A trial that has as many tries.
pub(crate) fn trial(name: String, run: impl Fn() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name.clone(), move || {
        for left in (1..tries()).rev() {
            let reason = match catch_unwind(AssertUnwindSafe(&run)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failed)) => failed.message().unwrap_or("no reason given").to_owned(),
                Err(_) => "it panicked, see above".to_owned(),
            };
            eprintln!("{name}: failed, tries left: {left}. {reason}");
        }
        run()
    })
}
