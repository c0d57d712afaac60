//! What the command line does to a queued message (manual section 5.2, `-M...`): each claims it, changes it, lets go.
//!
//! They return what a log line or an answer needs; the words are the caller's.

use std::fmt;

use oxim_mail::message_id::MessageId;

use super::{Claim, Store};
use crate::error::{ClaimError, SpoolError};
use crate::message::{Message, Recipient};

/// Why it could not be done.
#[derive(Debug)]
pub enum AdminError {
    /// The message could not be claimed.
    Claim(ClaimError),
    /// The change could not be written.
    Spool(SpoolError),
    /// It is frozen already (`-Mf`).
    AlreadyFrozen,
    /// It is not frozen (`-Mt`).
    NotFrozen,
    /// This address is not among its recipients (`-Mmd`).
    NotARecipient(Vec<u8>),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Claim(error) => error.fmt(f),
            AdminError::Spool(error) => error.fmt(f),
            AdminError::AlreadyFrozen => f.write_str("is already frozen"),
            AdminError::NotFrozen => f.write_str("is not frozen"),
            AdminError::NotARecipient(address) => {
                write!(f, "{} is not a recipient: message not updated", String::from_utf8_lossy(address))
            }
        }
    }
}

impl std::error::Error for AdminError {}

impl From<ClaimError> for AdminError {
    fn from(error: ClaimError) -> AdminError {
        AdminError::Claim(error)
    }
}

impl From<SpoolError> for AdminError {
    fn from(error: SpoolError) -> AdminError {
        AdminError::Spool(error)
    }
}

/// Claims a message, changes a copy, writes it back; the claim comes back for further use, such as its message log.
///
/// # Errors
/// What the change says, or that the message could not be claimed or written.
pub fn change(
    store: &dyn Store,
    id: &MessageId,
    edit: impl FnOnce(&mut Message) -> Result<(), AdminError>,
) -> Result<Claim, AdminError> {
    let mut claim = store.claim(id)?;
    let mut message = Message::clone(claim.message());
    edit(&mut message)?;
    store.update(&mut claim, &message)?;
    Ok(claim)
}

/// `-Mf`: freezes at `now`, seconds since 1970.
///
/// # Errors
/// `AlreadyFrozen`, or as `change`.
pub fn freeze(store: &dyn Store, id: &MessageId, now: i64) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        if message.frozen.is_some() {
            return Err(AdminError::AlreadyFrozen);
        }
        message.frozen = Some(now);
        message.manual_thaw = false;
        Ok(())
    })
}

/// `-Mt`: thaws by hand.
///
/// # Errors
/// `NotFrozen`, or as `change`.
pub fn thaw(store: &dyn Store, id: &MessageId) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        if message.frozen.take().is_none() {
            return Err(AdminError::NotFrozen);
        }
        message.manual_thaw = true;
        Ok(())
    })
}

/// `-Mar`: adds recipients.
///
/// # Errors
/// As `change`.
pub fn add_recipients(store: &dyn Store, id: &MessageId, addresses: &[Vec<u8>]) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        message.recipients.extend(addresses.iter().map(|a| Recipient::new(a.clone())));
        Ok(())
    })
}

/// `-Mes`: changes the sender.
///
/// # Errors
/// As `change`.
pub fn set_sender(store: &dyn Store, id: &MessageId, sender: &[u8]) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        message.sender = sender.to_vec();
        Ok(())
    })
}

/// `-Mmd`: marks recipients as delivered. The local part is compared with regard to case, the domain without.
///
/// # Errors
/// `NotARecipient`, then nothing was changed; or as `change`.
pub fn mark_delivered(store: &dyn Store, id: &MessageId, addresses: &[Vec<u8>]) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        for address in addresses {
            let found = message.recipients.iter().find(|r| same_address(&r.address, address));
            let stored = found.ok_or_else(|| AdminError::NotARecipient(address.clone()))?.address.clone();
            message.non_recipients.insert(stored);
        }
        Ok(())
    })
}

/// `-Mmad`: marks all recipients as delivered.
///
/// # Errors
/// As `change`.
pub fn mark_all_delivered(store: &dyn Store, id: &MessageId) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        let all: Vec<Vec<u8>> = message.recipients.iter().map(|r| r.address.clone()).collect();
        message.non_recipients.extend(all);
        Ok(())
    })
}

/// `-MG`: moves it to another queue; the empty name is the default one.
///
/// # Errors
/// As `change`.
pub fn set_queue(store: &dyn Store, id: &MessageId, queue_name: &[u8]) -> Result<Claim, AdminError> {
    change(store, id, |message| {
        message.queue_name = queue_name.to_vec();
        Ok(())
    })
}

fn same_address(a: &[u8], b: &[u8]) -> bool {
    let domain = |x: &[u8]| memchr::memrchr(b'@', x).unwrap_or(x.len());
    let (local_a, domain_a) = a.split_at_checked(domain(a)).unwrap_or((a, b""));
    let (local_b, domain_b) = b.split_at_checked(domain(b)).unwrap_or((b, b""));
    local_a == local_b && domain_a.eq_ignore_ascii_case(domain_b)
}

#[cfg(test)]
mod tests {
    use super::same_address;

    #[test]
    fn domains_are_caseless_local_parts_are_not() {
        assert!(same_address(b"a@B.ex", b"a@b.EX"));
        assert!(!same_address(b"A@b.ex", b"a@b.ex"));
        assert!(same_address(b"a", b"a"));
        assert!(!same_address(b"a@b", b"a"));
    }
}
