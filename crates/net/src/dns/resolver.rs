//! The resolver: configuration, cache, search domains and the CNAME loop.
//!
//! The AD bit of the server is believed, as Exim does: the server must be on this host or the way to it be safe; unless answers
//! are validated here.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use oxim_base::debug;
use oxim_base::limits::{DNS_CNAMES_MAX, DNS_RECORDS_MAX};
use tokio::sync::OnceCell;

use super::cache::{AnswerCache, Key, NEGATIVE_TTL_SECONDS_MAX, Outcome, RecordSet, TTL_SECONDS_MAX};
use super::hosts_file::HostsFile;
use super::record::{as_mx, as_name, as_soa, as_srv, as_strings, as_tlsa, name_text};
use super::resolv_conf::ResolvConfFile;
use super::transport::{self, Manner, Silence};
use super::validate::{Anchors, Validator};
use super::{Answer, BlockingResolver, Lookup, Mx, NotThere, Soa, Srv, Tlsa, failures};

/// How to ask. `Default` follows the system: resolv.conf, /etc/hosts.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// The name servers; those of resolv.conf when unset.
    pub servers: Option<Vec<SocketAddr>>,
    /// How long to wait for one server (`dns_retrans`); resolv.conf or 5 seconds when unset.
    pub timeout: Option<Duration>,
    /// How many rounds over the servers (`dns_retry`); resolv.conf or 2 when unset.
    pub attempts: Option<usize>,
    /// Whether to send EDNS records (`dns_use_edns0`). Asking for the AD bit sends one all the same.
    pub use_edns: bool,
    /// How many times a CNAME that the server left unresolved is followed (`dns_cname_loops`).
    pub cname_loops: usize,
    /// Search domains; those of resolv.conf when unset. Used only when a caller asks for it.
    pub search: Option<Vec<String>>,
    /// Validate answers, from these keys on, in place of believing the AD bit.
    pub validate: Option<Anchors>,
    /// What is done with answers on their way.
    pub watch: Watch,
    /// Where resolv.conf is.
    pub resolv_conf: PathBuf,
    /// Where the hosts file is.
    pub hosts_file: PathBuf,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        ResolverConfig {
            servers: None,
            timeout: None,
            attempts: None,
            use_edns: false,
            cname_loops: 1,
            search: None,
            validate: None,
            watch: Watch::default(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts_file: PathBuf::from("/etc/hosts"),
        }
    }
}

/// Whether an authoritative answer of a zone counts as secure.
type TrustsZone = Arc<dyn Fn(&str) -> bool + Send + Sync>;
/// Writes a line to the log.
type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What is done with answers on their way.
#[derive(Clone, Default)]
pub struct Watch {
    /// `dns_trust_aa`: whether an authoritative answer of this zone counts as secure.
    pub trusts_zone: Option<TrustsZone>,
    /// `slow_lookup_log`: a question that takes longer is told, with its kind and time.
    pub slow: Option<(Duration, Log)>,
    /// Questions without records are noted for [`failures::take`].
    pub notes_failures: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("trusts", &self.trusts_zone.is_some())
            .field("slow", &self.slow.as_ref().map(|(limit, _)| *limit))
            .field("notes_failures", &self.notes_failures)
            .finish()
    }
}

struct Shared {
    watch: Watch,
    servers: Option<Vec<SocketAddr>>,
    search: Option<Vec<String>>,
    system: ResolvConfFile,
    silence: Arc<Silence>,
    anchors: Option<Anchors>,
    validator: Mutex<Option<Validator>>,
    cname_loops: usize,
    cache: AnswerCache,
    hosts: HostsFile,
    under_way: Mutex<HashMap<Key, Arc<OnceCell<Outcome>>>>,
}

/// The DNS client. Clones share servers and cache; the `with_` methods give a clone that asks in another manner.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    manner: Manner,
    qualify_single: bool,
    search_parents: bool,
}

impl Resolver {
    /// A resolver with an empty cache. Reads resolv.conf now, the hosts file when it is first needed.
    #[must_use]
    pub fn new(config: ResolverConfig) -> Self {
        let system = ResolvConfFile::new(config.resolv_conf);
        let conf = system.get();
        let shared = Shared {
            watch: config.watch,
            servers: config.servers,
            search: config.search,
            system,
            silence: Arc::default(),
            anchors: config.validate,
            validator: Mutex::new(None),
            cname_loops: config.cname_loops.min(DNS_CNAMES_MAX),
            cache: AnswerCache::new(),
            hosts: HostsFile::new(config.hosts_file),
            under_way: Mutex::new(HashMap::new()),
        };
        let manner = Manner {
            timeout: config.timeout.or(conf.timeout).unwrap_or(Duration::from_secs(5)),
            attempts: config.attempts.or(conf.attempts).unwrap_or(2),
            edns: config.use_edns,
            dnssec: false,
            unchecked: false,
        };
        Resolver { shared: Arc::new(shared), manner, qualify_single: false, search_parents: false }
    }

    /// Whether to ask for the AD bit (`dns_dnssec_ok`, `dnssec_request_domains`); off at first.
    #[must_use]
    pub fn with_dnssec(&self, wanted: bool) -> Self {
        Resolver { manner: Manner { dnssec: wanted, ..self.manner }, ..self.clone() }
    }

    /// Another waiting time for one server and one try.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Resolver { manner: Manner { timeout, ..self.manner }, ..self.clone() }
    }

    /// Another number of rounds over the servers.
    #[must_use]
    pub fn with_attempts(&self, attempts: usize) -> Self {
        Resolver { manner: Manner { attempts, ..self.manner }, ..self.clone() }
    }

    /// Whether names without a dot get the first search domain (`qualify_single`), and whether names that are not
    /// there are tried below all of them (`search_parents`). Both are off at first.
    #[must_use]
    pub fn with_search(&self, qualify_single: bool, search_parents: bool) -> Self {
        Resolver { qualify_single, search_parents, ..self.clone() }
    }

    /// The same resolver for code on a worker thread.
    #[must_use]
    pub fn blocking(&self, runtime: tokio::runtime::Handle) -> BlockingResolver {
        BlockingResolver::new(self.clone(), runtime)
    }

    /// Forgets all answers.
    pub fn clear_cache(&self) {
        self.shared.cache.clear();
    }

    pub(super) fn hosts(&self) -> &HostsFile {
        &self.shared.hosts
    }

    /// IPv4 addresses of a name.
    pub async fn a(&self, name: &str) -> Lookup<Vec<Ipv4Addr>> {
        self.typed(name, RecordType::A, |data| if let RData::A(a) = data { Some(a.0) } else { None }).await
    }

    /// IPv6 addresses of a name.
    pub async fn aaaa(&self, name: &str) -> Lookup<Vec<Ipv6Addr>> {
        self.typed(name, RecordType::AAAA, |data| if let RData::AAAA(a) = data { Some(a.0) } else { None })
            .await
    }

    /// Mail exchangers, in the order of the response.
    pub async fn mx(&self, name: &str) -> Lookup<Vec<Mx>> {
        self.typed(name, RecordType::MX, as_mx).await
    }

    /// Services, in the order of the response. The caller writes the whole name (`_imap._tcp.a.example`).
    pub async fn srv(&self, name: &str) -> Lookup<Vec<Srv>> {
        self.typed(name, RecordType::SRV, as_srv).await
    }

    /// Text records, the strings of each joined.
    pub async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        self.typed(name, RecordType::TXT, |data| as_strings(data).map(|parts| parts.concat())).await
    }

    /// Text records (type TXT or the old type SPF) with their strings apart.
    pub(super) async fn strings(&self, name: &str, kind: RecordType) -> Lookup<Vec<Vec<Vec<u8>>>> {
        self.typed(name, kind, as_strings).await
    }

    /// Names that a reverse name points to. See [`super::reverse_name`].
    pub async fn ptr(&self, name: &str) -> Lookup<Vec<String>> {
        self.typed(name, RecordType::PTR, as_name).await
    }

    /// Name servers of a zone.
    pub async fn ns(&self, name: &str) -> Lookup<Vec<String>> {
        self.typed(name, RecordType::NS, as_name).await
    }

    /// The alias record itself; it is not followed.
    pub async fn cname(&self, name: &str) -> Lookup<Vec<String>> {
        self.typed(name, RecordType::CNAME, as_name).await
    }

    /// The start of authority of exactly this name.
    pub async fn soa(&self, name: &str) -> Lookup<Vec<Soa>> {
        self.typed(name, RecordType::SOA, as_soa).await
    }

    /// Certificate associations. The caller writes the whole name (`_25._tcp.mx.a.example`).
    pub async fn tlsa(&self, name: &str) -> Lookup<Vec<Tlsa>> {
        self.typed(name, RecordType::TLSA, as_tlsa).await
    }

    async fn typed<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Lookup<Vec<T>> {
        into_lookup(self.outcome(name, kind).await, pick)
    }

    /// Asks for the name as it stands, then below the search domains where the caller wants that.
    async fn outcome(&self, name: &str, kind: RecordType) -> Outcome {
        let absolute = name.ends_with('.');
        let name = name.trim_end_matches('.');
        let mut first: Option<Outcome> = None;
        for candidate in self.candidates(name, absolute) {
            let outcome = self.one_name(&candidate, kind).await;
            debug::line(debug::DNS, || debug_text(&candidate, kind, &outcome));
            self.note_failure(&candidate, kind, &outcome);
            match outcome {
                Outcome::NotThere(_, _) => {
                    first.get_or_insert(outcome);
                }
                Outcome::Found(_) | Outcome::AskAgain(_) => return outcome,
            }
        }
        first.unwrap_or(Outcome::NotThere(NotThere::NoDomain, 0))
    }

    /// The full names to try. One without a dot is tried bare last, one with a dot first, as the C library does.
    fn candidates(&self, name: &str, absolute: bool) -> Vec<String> {
        let plain = !name.contains('.');
        if absolute || !(if plain { self.qualify_single } else { self.search_parents }) {
            return vec![name.to_owned()];
        }
        let search = self.shared.search.clone().unwrap_or_else(|| self.shared.system.get().search.clone());
        let count = if self.search_parents { search.len() } else { 1 };
        let below = search.iter().take(count).map(|domain| format!("{name}.{domain}"));
        let itself = std::iter::once(name.to_owned());
        if plain { below.chain(itself).collect() } else { itself.chain(below).collect() }
    }

    async fn one_name(&self, name: &str, kind: RecordType) -> Outcome {
        let Some(wire_name) = encode(name) else { return Outcome::NotThere(NotThere::NoDomain, 0) };
        let key = Key { name: name.to_ascii_lowercase(), record_type: kind, dnssec: self.manner.dnssec };
        if let Some(outcome) = self.shared.cache.get(&key) {
            return outcome;
        }
        // Many sessions ask for the same name at the same time: one question serves them all.
        let cell = self.under_way().entry(key.clone()).or_default().clone();
        let question = UnderWay { resolver: self, key, cell };
        let ask = || async {
            let began = std::time::Instant::now();
            let outcome = self.follow(name, wire_name, kind).await;
            self.tell_if_slow(name, kind, began.elapsed());
            self.shared.cache.put(question.key.clone(), &outcome);
            outcome
        };
        question.cell.get_or_init(ask).await.clone()
    }

    /// Who validates, where that is wanted and the caller asks for DNSSEC. It remembers keys, so there is one for all questions.
    fn validator(&self, servers: &[SocketAddr]) -> Option<Validator> {
        let anchors = self.shared.anchors.as_ref().filter(|_| self.manner.dnssec)?;
        let mut validator = self.shared.validator.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = validator.as_ref().filter(|known| known.asks(servers)) {
            return Some(known.clone());
        }
        let silence = Arc::clone(&self.shared.silence);
        Some(validator.insert(Validator::new(anchors, servers.to_vec(), silence, self.manner)).clone())
    }

    fn tell_if_slow(&self, name: &str, kind: RecordType, took: Duration) {
        if let Some((limit, log)) = &self.shared.watch.slow
            && took > *limit
        {
            log(&format!("Long {kind} lookup for '{name}': {} msec", took.as_millis()));
        }
    }

    fn note_failure(&self, name: &str, kind: RecordType, outcome: &Outcome) {
        if !self.shared.watch.notes_failures {
            return;
        }
        match outcome {
            Outcome::Found(_) => {}
            Outcome::NotThere(absence, _) => failures::note(Some(*absence), name, kind),
            Outcome::AskAgain(_) => failures::note(None, name, kind),
        }
    }

    /// Whether a zone's own word is enough.
    fn is_trusted(&self, chase: &Chase) -> bool {
        let trusts = self.shared.watch.trusts_zone.as_ref();
        trusts.zip(chase.authority.as_ref()).is_some_and(|(trusts, zone)| trusts(zone))
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, Arc<OnceCell<Outcome>>>> {
        self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and follows aliases that the server did not resolve itself.
    async fn follow(&self, asked: &str, name: Name, kind: RecordType) -> Outcome {
        let system;
        let servers = match &self.shared.servers {
            Some(servers) => servers,
            None => {
                system = self.shared.system.get();
                &system.servers
            }
        };
        let mut chase =
            Chase { current: name, kind, secure: true, ttl: TTL_SECONDS_MAX, aliases: 0, authority: None };
        for _ in 0..=self.shared.cname_loops {
            let answered = match self.validator(servers) {
                Some(validator) => validator.ask(&chase.current, kind).await,
                None => {
                    let silence = &self.shared.silence;
                    transport::ask(servers, silence, &chase.current, kind, self.manner).await
                }
            };
            let response = match answered {
                Ok(response) => response,
                Err(reason) => return Outcome::AskAgain(reason.into()),
            };
            match chase.read(&response) {
                Step::Found(records) => {
                    let is_secure = chase.secure || self.is_trusted(&chase);
                    return Outcome::Found(Arc::new(RecordSet {
                        name: asked.to_owned(),
                        owner: name_text(&chase.current),
                        records,
                        secure: is_secure && self.manner.dnssec,
                        ttl_seconds: chase.ttl,
                        authority: chase.authority,
                    }));
                }
                Step::NotThere(kind, ttl) => return Outcome::NotThere(kind, ttl.min(chase.ttl)),
                Step::Loop => break,
                Step::Follow => {}
            }
        }
        // A loop, or a chain that we may not follow further: what is behind it nobody has said.
        Outcome::AskAgain(format!("CNAME loop for {asked} encountered").into())
    }
}

/// A question that others may join. It is taken off the list when it is answered, or when the one who asked goes away.
struct UnderWay<'a> {
    resolver: &'a Resolver,
    key: Key,
    cell: Arc<OnceCell<Outcome>>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut list = self.resolver.under_way();
        if list.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.cell)) {
            list.remove(&self.key);
        }
    }
}

/// The state of one question while aliases are followed.
struct Chase {
    current: Name,
    kind: RecordType,
    secure: bool,
    ttl: u32,
    aliases: usize,
    authority: Option<String>,
}

enum Step {
    Found(Vec<RData>),
    NotThere(NotThere, u32),
    Follow,
    Loop,
}

impl Chase {
    /// Walks the alias chain inside one response.
    fn read(&mut self, response: &Message) -> Step {
        self.secure &= response.metadata.authentic_data;
        let zone = response.authorities.iter().find(|record| record.record_type() == RecordType::NS);
        self.authority =
            zone.filter(|_| response.metadata.authoritative).map(|record| name_text(&record.name));
        let mut moved = false;
        loop {
            let here = response
                .answers
                .iter()
                .filter(|record| record.dns_class == DNSClass::IN && record.name == self.current);
            let (mut records, mut alias) = (Vec::new(), None);
            for record in here {
                if record.record_type() == self.kind {
                    self.ttl = self.ttl.min(record.ttl);
                    records.push(record.data.clone());
                } else if let RData::CNAME(target) = &record.data {
                    alias = Some((target.0.clone(), record.ttl));
                }
            }
            if !records.is_empty() {
                records.truncate(DNS_RECORDS_MAX);
                return Step::Found(records);
            }
            let Some((target, ttl)) = alias else { break };
            self.aliases = self.aliases.saturating_add(1);
            if self.aliases > DNS_CNAMES_MAX || target == self.current {
                return Step::Loop;
            }
            self.ttl = self.ttl.min(ttl);
            self.current = target;
            moved = true;
        }
        let ttl = negative_ttl(response);
        match (response.metadata.response_code, moved, ttl) {
            (ResponseCode::NXDomain, _, ttl) => Step::NotThere(NotThere::NoDomain, ttl.unwrap_or(0)),
            // An alias, and no word about what is behind it: this server leaves the chase to us.
            (_, true, None) => Step::Follow,
            (_, _, ttl) => Step::NotThere(NotThere::NoData, ttl.unwrap_or(0)),
        }
    }
}

/// RFC 2308 section 3: the smaller of the SOA record's own time to live and its last field.
fn negative_ttl(response: &Message) -> Option<u32> {
    response.authorities.iter().find_map(|record| {
        let RData::SOA(soa) = &record.data else { return None };
        Some(soa.minimum.min(record.ttl).min(NEGATIVE_TTL_SECONDS_MAX))
    })
}

/// A name for the wire: bytes between dots, no escapes, UTF-8 as A-labels. `None` if a label is empty, too long or not
/// allowed, or the whole is too long.
pub(super) fn encode(name: &str) -> Option<Name> {
    if !name.is_ascii() {
        let ascii = String::from_utf8(oxim_mail::idna::to_ascii(name.as_bytes()).ok()?).ok()?;
        return encode(&ascii);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Some(Name::root());
    }
    if name.len() > 253 || name.split('.').any(str::is_empty) {
        return None;
    }
    Name::from_labels(name.split('.').map(str::as_bytes)).ok()
}

fn into_lookup<T>(outcome: Outcome, pick: impl Fn(&RData) -> Option<T>) -> Lookup<Vec<T>> {
    match outcome {
        Outcome::Found(set) => {
            let records: Vec<T> = set.records.iter().filter_map(pick).collect();
            if records.is_empty() {
                return Lookup::NotThere(NotThere::NoData);
            }
            Lookup::Found(Answer {
                records,
                secure: set.secure,
                name: set.name.clone(),
                owner: set.owner.clone(),
                ttl_seconds: set.ttl_seconds,
                authority: set.authority.clone(),
            })
        }
        Outcome::NotThere(kind, _) => Lookup::NotThere(kind),
        Outcome::AskAgain(reason) => Lookup::AskAgain(reason.to_string()),
    }
}

fn debug_text(name: &str, kind: RecordType, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Found(_) => format!("DNS lookup of {name} ({kind}) succeeded"),
        Outcome::NotThere(NotThere::NoDomain, _) => {
            format!("DNS lookup of {name} ({kind}) gave HOST_NOT_FOUND")
        }
        Outcome::NotThere(NotThere::NoData, _) => format!("DNS lookup of {name} ({kind}) gave NO_DATA"),
        Outcome::AskAgain(reason) => format!("DNS lookup of {name} ({kind}) gave TRY_AGAIN: {reason}"),
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
