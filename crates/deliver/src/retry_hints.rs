//! Retry times, from the rules and the hints to what a delivery attempt asks: may this be tried, and is it given up?
//!
//! Keys as Exim has them: `R:domain` or `R:address` for routing, `T:address` for local deliveries and for recipients that a
//! server deferred, `T:name:ip[:port]` for hosts, with `:id` behind it for trouble of one message. A hint that cannot be
//! read is a hint that is not there: mail is tried rather than held.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_lang::context::Context;
use oxim_lang::list::{Defer, List, ListKind, Subject};
use oxim_spool::hints::Database;
use oxim_spool::message::Message;

use crate::address::{Address, AddressKind};
use crate::delivery::Delivery;
use crate::retry::{Cause, Due, Failure, Key, RetryRecord, Rule};
use crate::router::Problem;
use crate::transport::{DeliveryError, HostHistory, HostKey, HostResult, HostStatus, error_code};

/// The key of an address's local delivery: the mailbox as the router saw it, whatever the case in which it was written.
fn address_key(delivery: &Delivery, address: &Address) -> Vec<u8> {
    let by_local_part = address
        .transport
        .and_then(|id| delivery.transport(id))
        .is_none_or(|t| t.generic.retry_use_local_part);
    let name = match address.kind {
        AddressKind::Mail if !by_local_part => address.domain.clone(),
        AddressKind::Mail => address.routed(true),
        AddressKind::Pipe | AddressKind::File | AddressKind::Directory | AddressKind::Reply => {
            address.unique.clone()
        }
    };
    [b"T:", name.as_slice()].concat()
}

/// The key of a recipient that a server has put off; with the sender if it is this pair that waits.
#[must_use]
pub fn recipient_key(address: &Address, sender: Option<&[u8]>) -> Vec<u8> {
    match sender {
        Some(sender) => [b"R:", address.unique_of_routing(), b":<", sender, b">"].concat(),
        None => [b"R:", address.unique_of_routing()].concat(),
    }
}

fn host_key(name: &str, address: Option<IpAddr>, port: Option<u16>) -> Vec<u8> {
    let mut key = format!("T:{name}");
    if let Some(ip) = address {
        key.push_str(&format!(":{ip}"));
    }
    if let Some(port) = port {
        key.push_str(&format!(":{port}"));
    }
    key.into_bytes()
}

fn with_message(key: &[u8], id: &str) -> Vec<u8> {
    [key, b":", id.as_bytes()].concat()
}

fn read(delivery: &Delivery, key: &[u8]) -> Option<RetryRecord> {
    if delivery.config.main.mua_wrapper {
        // There is one attempt; no other waits for it, and it waits for no other.
        return None;
    }
    let hint = delivery.services.hints.get()?.get(&Database::Retry, key).ok()??;
    let record = RetryRecord::decode(&hint.value)?;
    delivery.clock_steps.notice(delivery.services.hints.get());
    let record = record.carried(|then| delivery.clock_steps.carried(then));
    (!record.is_stale(Stamp::now().seconds, delivery.config.main.retry_data_expire.as_secs()))
        .then_some(record)
}

/// When the message of an attempt came in, by today's clock.
fn received(delivery: &Delivery, context: &Context) -> i64 {
    delivery.clock_steps.carried(context.message.received.seconds)
}

fn write(delivery: &Delivery, key: &[u8], record: &RetryRecord) {
    if let Some(hints) = delivery.services.hints.get()
        && let Err(error) = hints.put(&Database::Retry, key, &record.encode(), Stamp::now())
    {
        delivery.services.log().panic(format!("retry hint not written: {error}"));
    }
}

fn delete(delivery: &Delivery, key: &[u8]) {
    if let Some(hints) = delivery.services.hints.get() {
        // A record that stays delays an address that works: the next failure or success mends it.
        let _ = hints.delete(&Database::Retry, key);
    }
}

fn rule<'a>(
    delivery: &'a Delivery,
    context: &mut Context,
    address: &Address,
    host: Option<&str>,
    cause: Cause,
) -> Result<Option<&'a Rule>, Defer> {
    let name = String::from_utf8_lossy(&address.unique).into_owned();
    let sender = Text::tainted(context.message.sender.clone());
    let key = Key { address: &name, host, sender: Some(&sender) };
    delivery.retry.find(context, &key, cause)
}

fn below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    if limit == 0 || rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        return 0;
    }
    u64::from_ne_bytes(bytes) % limit
}

/// Whether routing of an address must wait. Only queue runs wait: a new message is always routed.
#[must_use]
pub fn routing_hold(delivery: &Delivery, context: &Context, address: &Address) -> Option<Problem> {
    if !context.message.queue_running {
        return None;
    }
    let keys = [
        [b"R:", address.domain.as_slice()].concat(),
        recipient_key(address, None),
        recipient_key(address, Some(&context.message.sender)),
    ];
    let now = Stamp::now().seconds;
    let record = keys
        .iter()
        .filter_map(|key| read(delivery, key))
        .find(|r| r.due(now, received(delivery, context), None) == Due::NotYet)?;
    let user_message = Some(record.text).filter(|text| !text.is_empty()).map(|text| on_lines(&text));
    Some(Problem { user_message, ..Problem::new(error_code::RETRY_TIME, "retry time not reached") })
}

/// A text that was written down, for people: what a server has said begins a line of its own.
fn on_lines(text: &str) -> String {
    let is_reply = |rest: &str| rest.len() > 3 && rest.bytes().take(3).all(|byte| byte.is_ascii_digit());
    match text.match_indices(": ").find(|(at, _)| text.get(at + 2..).is_some_and(is_reply)) {
        Some((at, _)) => {
            let (ours, reply) = text.split_at_checked(at.saturating_add(1)).unwrap_or((text, ""));
            format!("{ours}\n{}", reply.trim_start())
        }
        None => text.to_owned(),
    }
}

/// Whether a domain waits because the postmaster says so: `hold_domains` until it is forced, `queue_domains` until a queue run.
#[must_use]
pub fn domain_hold(delivery: &Delivery, context: &mut Context, address: &Address) -> Option<Problem> {
    let main = &delivery.config.main;
    let domain = address.domain_text();
    let mut is_in = |list: &Option<String>| {
        list.as_ref().is_some_and(|text| {
            List::compile(ListKind::Domain, text)
                .matches(context, &Subject::Domain(&domain))
                .is_ok_and(|m| m.is_yes())
        })
    };
    if is_in(&main.hold_domains) {
        return Some(Problem::new(error_code::HELD, "domain is held"));
    }
    let queue_only = is_in(&main.queue_domains);
    (queue_only && !context.message.queue_running)
        .then(|| Problem::new(error_code::QUEUED_DOMAIN, "domain is in queue_domains"))
}

/// Whether a local delivery may be tried. Only queue runs wait.
#[must_use]
pub fn is_local_due(delivery: &Delivery, context: &Context, address: &Address) -> bool {
    if !context.message.queue_running {
        return true;
    }
    let record = read(delivery, &address_key(delivery, address));
    record.is_none_or(|r| r.due(Stamp::now().seconds, received(delivery, context), None) != Due::NotYet)
}

/// Addresses are done with: what was held against them goes, so that their next trouble is a new one. What this attempt itself
/// holds against other addresses of their domains stays.
pub fn forget_addresses<'a>(
    delivery: &Delivery,
    context: &Context,
    addresses: impl Iterator<Item = &'a Address>,
    is_of_this_attempt: impl Fn(&[u8]) -> bool,
) {
    let Some(hints) = delivery.services.hints.get() else { return };
    // Little is held against those to whom a new message goes: it is worth asking first.
    let is_new = context.message.first_delivery && !context.message.queue_running;
    let keys = addresses.flat_map(|address| {
        [
            address_key(delivery, address),
            [b"R:", address.domain.as_slice()].concat(),
            recipient_key(address, None),
            recipient_key(address, Some(&context.message.sender)),
        ]
    });
    let held = |key: &Vec<u8>| !is_of_this_attempt(key) && (!is_new || hints.may_have(&Database::Retry, key));
    let keys: Vec<Vec<u8>> = keys.filter(held).collect();
    if !keys.is_empty() {
        // A record that stays delays an address that works: the next failure or success mends it.
        let _ = hints.delete_all(&Database::Retry, keys);
    }
}

/// What follows from a failure that was written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// It has failed for as long as the rules allow.
    pub is_over: bool,
    /// When it is due again, seconds since 1970.
    pub due: Option<i64>,
}

/// The key under which it is written down that an address must wait.
#[must_use]
pub fn deferral_key(delivery: &Delivery, address: &Address, error: &DeliveryError) -> Vec<u8> {
    error.retry_key.clone().map_or_else(|| address_key(delivery, address), Vec::from)
}

/// Writes down that an address must wait.
pub fn note_deferral(
    delivery: &Delivery,
    context: &mut Context,
    message: &Message,
    address: &Address,
    key: &[u8],
    error: &DeliveryError,
) -> Noted {
    note(delivery, context, message, address, None, key, error)
}

fn note(
    delivery: &Delivery,
    context: &mut Context,
    message: &Message,
    address: &Address,
    host: Option<&str>,
    key: &[u8],
    error: &DeliveryError,
) -> Noted {
    if delivery.config.main.mua_wrapper || error.is_unremembered {
        return Noted::default();
    }
    let rule = match rule(delivery, context, address, host, Cause::from_code(error.code, error.more)) {
        Ok(Some(rule)) => rule,
        Ok(None) => {
            // There is no second attempt, so there is nothing to remember.
            delete(delivery, key);
            return Noted { is_over: true, due: None };
        }
        // Nobody knows whether it is time to give up.
        Err(_) => return Noted::default(),
    };
    let previous = read(delivery, key);
    let received = delivery.clock_steps.carried(message.received.seconds);
    // As exinext shows it: an error of the system is told in the system's words, that of a server with its host.
    let system = (error.code > 0)
        .then(|| oxim_base::errno::error_text(&std::io::Error::from_raw_os_error(error.code)));
    let said = error.host.as_ref().and_then(|host| {
        let address = host.address?;
        Some(format!("H={} [{address}]: {}", host.name, error.text))
    });
    let failure = Failure {
        errno: error.code,
        more_errno: error.more,
        text: system.as_deref().or(said.as_deref()).unwrap_or(&error.text),
        now: Stamp::now().seconds,
        received,
        interval_max: delivery.config.main.retry_interval_max.as_secs(),
    };
    let record = RetryRecord::after_failure(previous.as_ref(), Some(rule), &failure, below);
    let is_over = record.is_timed_out(Some(rule), received);
    if !record.expired && record.is_overdue(Some(rule), received) {
        // This message is too old; others for the address are to be tried at once.
        delete(delivery, key);
    } else {
        write(delivery, key, &record);
    }
    Noted { is_over, due: Some(record.next_try) }
}

/// Writes down how hosts did. It is over when every host that was tried has failed for as long as its rule allows.
pub fn note_hosts(
    delivery: &Delivery,
    context: &mut Context,
    message: &Message,
    hosts: &[HostResult],
    address: Option<&Address>,
) -> Noted {
    let Some(address) = address else { return Noted::default() };
    let mut all = Noted { is_over: !hosts.is_empty(), due: None };
    for host in hosts {
        let key = host_key(&host.name, host.address, host.port);
        match &host.error {
            None => {
                if read(delivery, &key).is_some() {
                    delete(delivery, &key);
                }
                if !message.first_delivery {
                    delete(delivery, &with_message(&key, message.id.as_str()));
                }
                all.is_over = false;
            }
            Some(error) => {
                let key = if host.is_about_message { with_message(&key, message.id.as_str()) } else { key };
                let one = note(delivery, context, message, address, Some(&host.name), &key, error);
                all.is_over &= one.is_over;
                all.due = earlier(all.due, one.due);
            }
        }
    }
    all
}

/// The earlier of two times, where there are any.
#[must_use]
pub fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// When an address that waits for its retry time is due: what its own records say.
#[must_use]
pub fn due(delivery: &Delivery, address: &Address) -> Option<i64> {
    let keys = [
        address_key(delivery, address),
        [b"R:", address.domain.as_slice()].concat(),
        [b"R:", address.unique.as_slice()].concat(),
    ];
    keys.iter().filter_map(|key| read(delivery, key)).map(|record| record.next_try).max()
}

/// The hints as remote transports ask them.
pub struct Hosts<'a> {
    /// Everything that is configured.
    pub delivery: &'a Delivery,
    /// The message.
    pub message: &'a Message,
    /// The first address of the batch, for the rules.
    pub address: &'a Address,
    /// Times are not looked at.
    pub is_forced: bool,
    /// The earliest time at which a host that may not be tried yet is due; 0 without one.
    pub due: AtomicI64,
}

impl Hosts<'_> {
    fn not_before(&self, time: i64) {
        let known = self.due.load(Ordering::Relaxed);
        if known == 0 || time < known {
            self.due.store(time, Ordering::Relaxed);
        }
    }
}

impl HostHistory for Hosts<'_> {
    fn status(&self, context: &mut Context, host: &HostKey<'_>) -> HostStatus {
        if self.is_forced {
            return HostStatus::Usable { is_expired: false };
        }
        let key = host_key(host.name, host.address, host.port);
        let now = Stamp::now().seconds;
        let received = self.delivery.clock_steps.carried(self.message.received.seconds);
        let about_message = if self.message.first_delivery {
            None
        } else {
            read(self.delivery, &with_message(&key, host.message.as_str()))
        };
        let Some(record) = about_message.or_else(|| read(self.delivery, &key)) else {
            return HostStatus::Usable { is_expired: false };
        };
        let cause = Cause::from_code(record.errno, record.more_errno);
        let cutoff = rule(self.delivery, context, self.address, Some(host.name), cause)
            .ok()
            .flatten()
            .map(Rule::ultimate_cutoff);
        match record.host_due(now, received, cutoff, host.delay_after_cutoff) {
            Due::Now => HostStatus::Usable { is_expired: record.expired },
            Due::NotYet => {
                self.not_before(record.next_try);
                HostStatus::NotYet
            }
            Due::GivenUp => HostStatus::GivenUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_forms_of_exinext() {
        let ip = Some("192.0.2.1".parse().unwrap());
        assert_eq!(host_key("mx.ex", ip, None), b"T:mx.ex:192.0.2.1");
        assert_eq!(host_key("mx.ex", ip, Some(26)), b"T:mx.ex:192.0.2.1:26");
        assert_eq!(with_message(b"T:mx.ex", "id"), b"T:mx.ex:id");
    }

    #[test]
    fn random_numbers_stay_below() {
        assert_eq!(below(0), 0);
        assert!((0..100).all(|_| below(7) < 7));
    }
}
