//! Messages whose files in the spool are damaged: the log says so, all others go on, and in the end they are removed.

use std::time::Duration;

use oxim_base::clock::{Stamp, interval};
use oxim_mail::message_id::MessageId;
use oxim_spool::store::{ClaimError, Store};

use crate::delivery::Delivery;

/// Tells the log that a message could not be claimed. One that has been damaged for longer than `keep_malformed` goes.
///
/// Its age is the time in its id: nothing else of it can be believed.
pub fn unreadable(delivery: &Delivery, store: &dyn Store, id: &MessageId, error: &ClaimError) {
    let log = delivery.services.log();
    let (file, what) = match error {
        ClaimError::Corrupt(what) => ("H", what.clone()),
        ClaimError::CorruptData { size } => ("D", format!("size={size}")),
        ClaimError::NoHeader => {
            log.main(format!("{id} Error reading spool file {id}-H: No such file or directory"));
            return;
        }
        ClaimError::Busy | ClaimError::Gone | ClaimError::Local(_) => {
            log.both(format!("{id} {error}"));
            return;
        }
    };
    // The main log has Exim's words; the panic log says what is wrong as well.
    let short = what.split(" (").next().unwrap_or_default();
    log.main(format!("{id} Format error in spool file {id}-{file}: {short}"));
    log.panic(format!("{id} Format error in spool file {id}-{file}: {what}"));
    let keep = delivery.config.main.keep_malformed;
    delivery.clock_steps.notice(delivery.services.hints.get());
    let age: Duration = delivery.clock_steps.since(Stamp::from_seconds(id.seconds()));
    if age < keep {
        return;
    }
    match store.discard(id) {
        Ok(()) => log.both(format!("{id} Message removed because older than {}", interval(keep.as_secs()))),
        Err(ClaimError::Busy | ClaimError::Gone) => {}
        Err(error) => log.both(format!("{id} {error}")),
    }
}
