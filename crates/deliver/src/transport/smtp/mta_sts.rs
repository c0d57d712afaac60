//! Which MTA-STS policy counts for a delivery (RFC 8461): from the hints, or fetched.
//!
//! A policy that was had once counts until its time is over, whatever becomes of the DNS or the web server: who disturbs those
//! cannot take it away. It is fetched when the record in the DNS has another identifier than the one that is known, and once
//! a day, or at half of its life if that is shorter. After a failure the same identifier is not tried again for five minutes.
//! Without any policy mail goes as the other options say.
//!
//! In the hints: the policy's text under its domain, with a line in front; a failure under `!` and the domain.

use std::net::SocketAddr;
use std::time::Duration;

use oxim_base::clock::Stamp;
use oxim_base::limits::{MTA_STS_FETCH_TIME, MTA_STS_POLICY_BYTES_MAX};
use oxim_net::dns::{BlockingResolver, Family, Lookup};
use oxim_net::http::Limits;
use oxim_net::mta_sts::{self, Mode, Policy};
use oxim_net::tls::client::ClientPolicy;
use oxim_net::tls::{CaSource, Verify};
use oxim_spool::hints::Database;
use parking_lot::Mutex;

use super::{Target, Work};
use crate::transport::{DeliveryError, error_code};

/// A known policy is fetched anew after this time.
const REFRESHED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failure nothing is fetched for so long.
const RESTS_FOR: Duration = Duration::from_secs(5 * 60);

/// What `mta_sts` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Policies count as their domains want.
    Enforce,
    /// All count as if they were being tested.
    Testing,
    /// None counts.
    None,
}

impl Wish {
    /// The option's value.
    pub(super) fn of(word: &[u8]) -> Option<Wish> {
        match word {
            b"enforce" => Some(Wish::Enforce),
            b"testing" => Some(Wish::Testing),
            b"none" | b"" => Some(Wish::None),
            _ => None,
        }
    }
}

/// A policy that counts for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sts {
    /// Whose it is.
    domain: String,
    /// Whether a host that does not fulfil it gets no mail.
    pub(super) is_enforced: bool,
    /// Whether the host is one of those that it names.
    pub(super) policy_names_host: bool,
}

impl Sts {
    /// A line about it.
    pub(super) fn text(&self, what: &str) -> String {
        let testing = if self.is_enforced { "" } else { " (testing)" };
        format!("MTA-STS policy of {}{testing} {what}", self.domain)
    }
}

/// A policy as it stands in the hints.
struct Kept {
    id: String,
    fetched: Stamp,
    policy: Policy,
}

impl Kept {
    fn decode(value: &[u8], fetched: Stamp) -> Option<Kept> {
        let end = value.iter().position(|byte| *byte == b'\n')?;
        let (id, text) = value.split_at_checked(end)?;
        let policy = Policy::parse(text).ok()?;
        Some(Kept { id: String::from_utf8(id.to_vec()).ok()?, fetched, policy })
    }

    fn age(&self) -> Duration {
        Stamp::now().since(self.fetched)
    }

    fn is_valid(&self) -> bool {
        self.age() < self.policy.max_age
    }

    fn is_fresh(&self) -> bool {
        self.age() < REFRESHED_AFTER.min(self.policy.max_age / 2)
    }
}

/// One fetch per domain at a time: those who wait find its result in the hints. Domains share a lock by chance.
static FETCHING: [Mutex<()>; 32] = [const { Mutex::new(()) }; 32];

impl Target {
    /// The name in the MX record: what certificates and policies speak of.
    pub(super) fn mx_name(&self) -> &str {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

impl Work<'_> {
    /// The policy that counts for a host, if there is one.
    ///
    /// # Errors
    /// The option cannot be evaluated.
    pub(super) fn sts(&mut self, target: &Target) -> Result<Option<Sts>, DeliveryError> {
        let tls = &self.smtp.tls;
        let Some(word) = self.optional(tls.mta_sts.as_ref(), "mta_sts")? else { return Ok(None) };
        let is_enforcing = match Wish::of(word.as_bytes()) {
            Some(Wish::Enforce) => true,
            Some(Wish::Testing) => false,
            Some(Wish::None) => return Ok(None),
            None => {
                let name = &self.transport.name;
                let text =
                    format!("mta_sts of {name} transport is neither enforce, testing nor none: \"{word}\"");
                let error = DeliveryError::new(error_code::UNKNOWN, text);
                return Err(DeliveryError { is_for_panic_log: true, ..error });
            }
        };
        if !self.is_in(tls.try_mta_sts.as_ref(), target) {
            return Ok(None);
        }
        let Some(domain) = self.policy_domain(target) else { return Ok(None) };
        let authorities = self.authorities()?.unwrap_or_default();
        let Some(policy) = self.policy(&domain, authorities) else { return Ok(None) };
        let is_enforced = match policy.mode {
            Mode::Enforce => is_enforcing,
            Mode::Testing => false,
            Mode::None => return Ok(None),
        };
        Ok(Some(Sts { domain, is_enforced, policy_names_host: policy.names(target.mx_name()) }))
    }

    /// Whose policy counts: that of the domain whose MX records led to the host, or of the host that a route or an address
    /// names itself (section 3.4). An address has none.
    fn policy_domain(&self, target: &Target) -> Option<String> {
        let domain = match (target.mx, &target.mx_domain) {
            (_, Some(domain)) => domain.clone(),
            (Some(_), None) => match self.batch.addresses.first() {
                Some(address) => String::from_utf8_lossy(&address.domain).into_owned(),
                None => self.context.address.domain.to_string_lossy(),
            },
            (None, None) => target.mx_name().to_owned(),
        };
        let domain = oxim_mail::idna::to_ascii(domain.as_bytes()).ok()?;
        let domain = String::from_utf8(domain).ok()?.trim_end_matches('.').to_ascii_lowercase();
        let is_name = domain.contains('.') && !domain.starts_with('[');
        (is_name && domain.parse::<std::net::IpAddr>().is_err()).then_some(domain)
    }

    fn policy(&self, domain: &str, authorities: CaSource) -> Option<Policy> {
        let surroundings = self.delivery.services.surroundings.get()?;
        let resolver = surroundings.resolver.as_ref()?.with_search(false, false);
        let valid = |kept: &Kept| kept.is_valid();
        let mut kept = self.kept(domain).filter(valid);
        let id = match resolver.txt(&format!("_mta-sts.{domain}")) {
            Lookup::Found(answer) => mta_sts::policy_id(&answer.records),
            Lookup::NotThere(_) | Lookup::AskAgain(_) => None,
        };
        let is_current = |kept: &Option<Kept>, id: &str| {
            kept.as_ref().is_some_and(|kept| kept.id == id && kept.is_fresh())
        };
        if let Some(id) = id.filter(|id| !is_current(&kept, id)) {
            let sum =
                domain.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let _turn = FETCHING.get(sum % FETCHING.len()).map(Mutex::lock);
            kept = self.kept(domain).filter(valid);
            if !is_current(&kept, &id) && !self.rests(domain, &id) {
                match self.fetch(domain, &resolver, surroundings.family, authorities) {
                    Ok((policy, text)) => {
                        self.keep(domain, &[id.as_bytes(), b"\n", &text].concat());
                        return Some(policy);
                    }
                    Err(reason) => {
                        self.log(&format!("MTA-STS policy of {domain} cannot be fetched: {reason}"));
                        self.keep(&format!("!{domain}"), id.as_bytes());
                    }
                }
            }
        }
        kept.map(|kept| kept.policy)
    }

    fn kept(&self, domain: &str) -> Option<Kept> {
        let hint = self.delivery.services.hints.get()?.get(&Database::MtaSts, domain.as_bytes()).ok()??;
        Kept::decode(&hint.value, hint.stamp)
    }

    fn keep(&self, key: &str, value: &[u8]) {
        if let Some(hints) = self.delivery.services.hints.get() {
            let put = hints.put(&Database::MtaSts, key.as_bytes(), value, Stamp::now());
            if let Err(error) = put {
                self.delivery.services.log().panic(error.to_string());
            }
        }
    }

    /// Whether this version of the policy could not be had a short while ago.
    fn rests(&self, domain: &str, id: &str) -> bool {
        let key = format!("!{domain}");
        let hint = self
            .delivery
            .services
            .hints
            .get()
            .and_then(|hints| hints.get(&Database::MtaSts, key.as_bytes()).ok().flatten());
        hint.is_some_and(|hint| hint.value == id.as_bytes() && Stamp::now().since(hint.stamp) < RESTS_FOR)
    }

    fn fetch(
        &self,
        domain: &str,
        resolver: &BlockingResolver,
        family: Family,
        authorities: CaSource,
    ) -> Result<(Policy, Vec<u8>), String> {
        let host = mta_sts::policy_host(domain);
        let addresses = match resolver.addresses_of(&host, family) {
            Lookup::Found(answer) => answer.records,
            Lookup::NotThere(_) => return Err(format!("{host} has no address")),
            Lookup::AskAgain(reason) => return Err(format!("{host}: {reason}")),
        };
        let addresses: Vec<SocketAddr> =
            addresses.into_iter().map(|address| SocketAddr::new(address, 443)).collect();
        let policy = ClientPolicy {
            verify: Verify::Require,
            names: vec![host],
            ca: authorities,
            alpn: vec![b"http/1.1".to_vec()],
            ..ClientPolicy::default()
        };
        let limits = Limits { time: MTA_STS_FETCH_TIME, body_bytes: MTA_STS_POLICY_BYTES_MAX };
        mta_sts::fetch(domain, &addresses, &policy, limits).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let policy = b"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 100\n";
        let kept = |age: i64| {
            let now = Stamp::now();
            let earlier = Stamp::from_seconds(
                i64::try_from(now.since(Stamp::from_seconds(0)).as_secs()).unwrap() - age,
            );
            Kept::decode(&[b"id1\n".as_slice(), policy].concat(), earlier).unwrap()
        };
        assert_eq!(kept(1).id, "id1");
        assert!(kept(1).is_valid() && kept(1).is_fresh());
        assert!(kept(60).is_valid() && !kept(60).is_fresh());
        assert!(!kept(101).is_valid());
        assert!(Kept::decode(b"id1", Stamp::now()).is_none());
        assert!(Kept::decode(b"id1\nnonsense", Stamp::now()).is_none());
    }

    #[test]
    fn words() {
        assert_eq!(Wish::of(b"enforce"), Some(Wish::Enforce));
        assert_eq!(Wish::of(b"testing"), Some(Wish::Testing));
        assert_eq!(Wish::of(b"none"), Some(Wish::None));
        assert_eq!(Wish::of(b"Enforce"), None);
    }
}
