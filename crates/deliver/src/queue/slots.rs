//! `max_parallel`: how many runs of a transport go on at once, over all processes (manual chapter 24).
//!
//! A slot is a locked file in the spool's `db` folder; the lock goes with the process, so that a crash leaves nothing to clean up.
//! A limit that cannot be evaluated, or a folder that cannot be written, limits nothing; the log says so.

use std::fs::File;
use std::path::{Path, PathBuf};

use oxim_lang::context::Context;
use oxim_lang::expand::ExpandError;

use crate::address::Address;
use crate::delivery::Delivery;
use crate::transport::{DeliveryError, Transport, error_code};

/// Larger limits are as good as none.
const LIMIT_MAX: i64 = 1_000;

/// The right to run a transport; given back when dropped.
pub(super) struct Slot(Option<File>);

/// Takes a slot.
///
/// # Errors
/// All are taken: the addresses wait.
pub(super) fn take(
    delivery: &Delivery,
    context: &mut Context,
    transport: &Transport,
    address: &Address,
) -> Result<Slot, DeliveryError> {
    let Some(limit) = limit(delivery, context, transport, address) else { return Ok(Slot(None)) };
    let spool = delivery.config.main.spool_directory.expand(context).unwrap_or_default();
    let folder = PathBuf::from(spool.to_string_lossy()).join("db");
    match lock_one(&folder, &transport.name, limit) {
        Ok(Some(file)) => Ok(Slot(Some(file))),
        Ok(None) => {
            Err(DeliveryError::new(error_code::CONCURRENCY_LIMIT, "concurrency limit reached for transport"))
        }
        Err(error) => {
            let (name, error) = (&transport.name, oxim_base::errno::error_text(&error));
            let text = format!("cannot keep max_parallel of the {name} transport: {error}");
            delivery.services.log().both(text);
            Ok(Slot(None))
        }
    }
}

fn limit(
    delivery: &Delivery,
    context: &mut Context,
    transport: &Transport,
    address: &Address,
) -> Option<i64> {
    let template = transport.generic.max_parallel.as_ref()?;
    let complain = |text: String| {
        let id = context_id(context);
        delivery.services.log().both(format!(
            "{id}{text} in {} transport ({})",
            transport.name,
            address.text()
        ));
    };
    match template.expand(&mut context.clone()) {
        Ok(text) => {
            let text = text.to_string_lossy();
            let number = oxim_lang::config::value::integer(&text).ok();
            if number.is_none() {
                complain(format!("max_parallel \"{text}\" is no number,"));
            }
            number.filter(|number| (1..=LIMIT_MAX).contains(number))
        }
        Err(ExpandError::Forced(_)) => None,
        Err(error) => {
            complain(format!("Failed to expand max_parallel option ({error})"));
            None
        }
    }
}

fn context_id(context: &Context) -> String {
    context.message.id.map(|id| format!("{id} ")).unwrap_or_default()
}

/// The first of `limit` files that can be locked; None if all are locked.
fn lock_one(folder: &Path, name: &str, limit: i64) -> std::io::Result<Option<File>> {
    std::fs::create_dir_all(folder)?;
    for number in 1..=limit {
        let path = folder.join(format!("parallel-{name}-{number}"));
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Closing the file would do; said so that the field is not taken for unused.
        drop(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_slots_than_the_limit_and_each_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let take = || lock_one(folder.path(), "t", 2).unwrap();
        let (first, second) = (take(), take());
        assert!(first.is_some() && second.is_some());
        assert!(take().is_none());
        drop(first);
        assert!(take().is_some());
    }
}
