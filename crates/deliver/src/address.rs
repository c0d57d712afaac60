//! One address on its way through the routers, and what they decided about it.
//!
//! An address is made from a message's recipient or by a redirect router (a child, which keeps its parent behind an
//! `Arc`). Routing fills in the transport, the host list and what the transport needs to know; after routing it does
//! not change. Nothing here does I/O. Manual chapters 3 and 15.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::text::Taint;

/// Index of a router in the configuration's order: `Delivery::router` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub usize);

/// Index of a transport in the configuration's order: `Delivery::transport` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub usize);

/// What an address names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// A mail address.
    #[default]
    Mail,
    /// A pipe command from a redirection; `Address::address` is the command with its leading `|`.
    Pipe,
    /// A file from a redirection; `Address::address` is its absolute path.
    File,
    /// A directory from a redirection; `Address::address` is its path, with the slash at its end.
    Directory,
    /// An automatic reply from a filter; `Address::address` begins with `>`.
    Reply,
}

/// What goes from an address to its children, and from router to router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Propagated {
    /// `$address_data`.
    pub address_data: Option<Text>,
    /// `$domain_data` of the accepting router, for its transport and the pipes and files that it makes.
    pub domain_data: Option<Text>,
    /// `$local_part_data`, likewise.
    pub local_part_data: Option<Text>,
    /// Where bounces go instead of the envelope sender; empty: nowhere. An address without angle brackets.
    pub errors_to: Option<Vec<u8>>,
    /// The envelope sender with which the message goes on, if SRS has made one (the router option `srs`).
    pub srs_sender: Option<Vec<u8>>,
    /// Header lines that the transport adds; each whole, with its line end(s), in the order of adding.
    pub headers_add: Vec<Text>,
    /// Names of header lines that the transport leaves out; one that ends in `*` stands for all with that beginning.
    pub headers_remove: Vec<Vec<u8>>,
    /// Router variables, under their names without the leading `r_`.
    pub variables: BTreeMap<Vec<u8>, Text>,
}

/// [`Propagated`] of an address. Most addresses have nothing of it, and those of one redirection or domain have the same: it is
/// copied when one of them changes it.
#[derive(Clone, Debug, Default)]
pub struct Shared(Option<Arc<Propagated>>);

static NOTHING: Propagated = Propagated {
    address_data: None,
    domain_data: None,
    local_part_data: None,
    errors_to: None,
    srs_sender: None,
    headers_add: Vec::new(),
    headers_remove: Vec::new(),
    variables: BTreeMap::new(),
};

impl Shared {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        **self == NOTHING
    }

    /// Forgets what the lists of one router matched: it is for that router and its transport.
    pub fn forget_matches(&mut self) {
        if self.domain_data.is_some() || self.local_part_data.is_some() {
            self.domain_data = None;
            self.local_part_data = None;
        }
    }
}

impl Deref for Shared {
    type Target = Propagated;

    fn deref(&self) -> &Propagated {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Propagated {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

/// What a recipient asked for by RFC 3461, and what must still be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DsnRequest {
    /// NOTIFY was given (without it the defaults hold).
    pub notify_given: bool,
    /// NOTIFY=NEVER.
    pub never: bool,
    /// NOTIFY=SUCCESS.
    pub success: bool,
    /// NOTIFY=FAILURE.
    pub failure: bool,
    /// NOTIFY=DELAY.
    pub delay: bool,
    /// ORCPT, as received.
    pub orcpt: Option<Vec<u8>>,
    /// The router says that the next hop gets no DSN request (`dsn_lasthop`).
    pub last_hop: bool,
}

impl DsnRequest {
    /// Whether the sender is told of a failure.
    #[must_use]
    pub fn wants_failure(&self) -> bool {
        !self.notify_given || self.failure
    }

    /// Whether the sender is told of a delay.
    #[must_use]
    pub fn wants_delay(&self) -> bool {
        !self.notify_given || self.delay
    }
}

/// The AD bit of the answers that named a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostDnssec {
    /// Nothing was looked up in the DNS, or DNSSEC was not asked for.
    #[default]
    Unknown,
    /// All answers were authenticated.
    Yes,
    /// Asked for, and at least one answer was not authenticated.
    No,
}

/// One host with one address, as a router found it: a host with several addresses stands here several times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteHost {
    /// The host's name, or the text of its IP address if the route named only that.
    pub name: String,
    /// Its address; `None` until somebody looks it up (fallback hosts, and hosts for a transport that does so itself).
    pub address: Option<IpAddr>,
    /// The port from the route or the SRV record; it goes before the transport's.
    pub port: Option<u16>,
    /// MX (or SRV) preference; `None` if the host did not come from such a record.
    pub mx: Option<u16>,
    /// Hosts are tried by rising key; equal keys may be reordered.
    pub sort_key: i64,
    /// Group in a randomized list: `hosts_randomize` of the transport shuffles inside a group only.
    pub group: u32,
    /// Whether the lookup of the name (MX, SRV) and of the address was authenticated.
    pub dnssec: HostDnssec,
    /// The name before CNAMEs led to `name`: what a certificate must bear, and the other name that DANE tries.
    pub certificate_name: Option<String>,
    /// The domain whose MX records led here, if that is not the recipient's own.
    pub mx_domain: Option<String>,
}

/// An account of this machine, from `check_local_user`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// The comment field, `$gecos`-like.
    pub gecos: String,
}

/// The user that a router sets for the delivery (manual chapter 23); the transport's own settings go before these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAs {
    /// From `user`, or from the account of `check_local_user`.
    pub uid: Option<u32>,
    /// From `group`, or the group that belongs to the user.
    pub gid: Option<u32>,
    /// Whether the user's supplementary groups are set up too.
    pub initgroups: bool,
}

/// Why a pipe, file or reply that a redirection names is not delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `forbid_pipe`, `forbid_file`, `forbid_filter_reply` or `one_time`.
    Forbidden {
        /// Its transport could not be found either.
        setup: Option<String>,
    },
    /// The transport for it is not set or not known; the text says which.
    Setup(String),
}

/// One address: a recipient or something made from one.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// The address as written, in its own case, without angle brackets; or a pipe, file or reply: see `kind`.
    pub address: Vec<u8>,
    /// What makes it the same as another: the journal, the non-recipients tree and the duplicate check use this.
    /// Lower-case domain; a child that equals an ancestor has `\N\` before it, a pipe or file its parent's address after it.
    pub unique: Vec<u8>,
    /// What the address names.
    pub kind: AddressKind,
    /// The local part in its own case, with affixes, unquoted. For a pipe, file or reply, that of its parent.
    pub local_part: Vec<u8>,
    /// The domain in lower case. For a pipe, file or reply, that of its parent.
    pub domain: Vec<u8>,
    /// `$local_part` as the accepting router saw it: without affixes, in lower case unless `caseful_local_part`.
    pub routed_local_part: Vec<u8>,
    /// The last router that looked at it distinguishes case (`caseful_local_part`).
    pub is_caseful: bool,
    /// It was offered to the routers: from then on the log has it as they see it.
    pub is_offered: bool,
    /// The prefix that the accepting router took off.
    pub prefix: Option<Vec<u8>>,
    /// The part of it that a wildcard matched.
    pub prefix_v: Option<Vec<u8>>,
    /// The suffix that the accepting router took off.
    pub suffix: Option<Vec<u8>>,
    /// The part of it that a wildcard matched.
    pub suffix_v: Option<Vec<u8>>,
    /// The address this one was made from.
    pub parent: Option<Arc<Address>>,
    /// Index of the recipient of the message that it all began with.
    pub recipient: usize,
    /// Recipients that led to the same address: they share its delivery, and `Envelope-to:` names them.
    pub shares_with: Vec<Vec<u8>>,
    /// A copy that went on after an `unseen` router: its parent is the same address, not a redirection.
    pub is_unseen_copy: bool,
    /// The child came from a router with `one_time`: if it is not delivered at once, it becomes a recipient itself.
    pub is_one_time: bool,
    /// The redirect router said `hide_child_in_errmsg`: a bounce names the top address only.
    pub is_hidden_in_bounces: bool,
    /// An address that is not a recipient's fault to have: its errors are not told (`noerror` of filters).
    pub ignores_errors: bool,
    /// The configuration, or what it looked up, has named it, and nobody outside: `$local_part` and `$domain` are not tainted.
    pub is_ours: bool,
    /// What passes on from address to child and router to router.
    pub propagated: Shared,
    /// What RFC 3461 asks of it.
    pub dsn: DsnRequest,

    /// The router that accepted it (or failed or deferred it).
    pub router: Option<RouterId>,
    /// Where it goes. `None` together with kind `File` and `/dev/null`: delivery is bypassed.
    pub transport: Option<TransportId>,
    /// Hosts in the order in which they are to be tried.
    pub hosts: Arc<[RouteHost]>,
    /// Hosts of the domain that have no address now; only shown by `-bt`.
    pub unusable_hosts: Arc<[RouteHost]>,
    /// `$host` of a local transport: the route's host list under manualroute, the first host under queryprogram.
    pub host_list: Option<Text>,
    /// Hosts to try when all of `hosts` deferred; goes before the transport's own list.
    pub fallback_hosts: Arc<[RouteHost]>,
    /// `hosts` was put in random order already: the transport must not do so again.
    pub is_randomized: bool,
    /// `$self_hostname`: the name under which a router with `self = pass` met this host.
    pub self_hostname: Option<String>,
    /// Who runs the delivery.
    pub run_as: RunAs,
    /// The account that `check_local_user` of the accepting router found.
    pub local_user: Option<Arc<LocalUser>>,
    /// `$home` while the accepting router ran, from `router_home_directory`.
    pub router_home: Option<Text>,
    /// `log_as_local` of the router: the log shows the local part alone.
    pub is_logged_as_local: bool,
    /// The router at which routing begins; the first one if unset (`redirect_router`, `unseen`).
    pub start: Option<RouterId>,
    /// The redirect router said `no_rewrite`: rewriting rules are not applied to it.
    pub skips_rewriting: bool,
    /// A pipe, file or reply that cannot be delivered: the router forbids it, or has no transport for it.
    pub refusal: Option<Refusal>,
    /// A filter threw it away: the log says so.
    pub is_filtered_out: bool,
    /// The pipe, file or directory that a redirection names is made of what came from outside: it is refused. `$local_part` and
    /// `$domain` are those of the parent: see `is_ours`.
    pub is_tainted: bool,
    /// The command of a filter that made it: mode, reply, and what its pipe is expanded with.
    pub made: Option<Arc<crate::filter::Made>>,
}

impl RouteHost {
    /// Takes the name that CNAMEs led to, and keeps the one that was asked for.
    #[must_use]
    pub fn named_after(mut self, owner: &str) -> RouteHost {
        if !owner.eq_ignore_ascii_case(&self.name) {
            self.certificate_name = Some(std::mem::replace(&mut self.name, owner.to_owned()));
        }
        self
    }
}

impl Address {
    /// A recipient of a message: `address` with its domain, already qualified. The split is at the last `@`
    /// outside quotes; the caller has checked the syntax.
    #[must_use]
    pub fn recipient(address: impl Into<Vec<u8>>, recipient: usize) -> Address {
        let address = address.into();
        let start = domain_start(&address);
        let (local_part, domain) = split_at(&address, start);
        let unique = with_lower_domain(&address, start);
        Address {
            routed_local_part: local_part.to_ascii_lowercase(),
            address,
            unique,
            local_part,
            domain,
            recipient,
            ..Address::default()
        }
    }

    /// A mail address made from this one by redirection. Nothing that a router decided for the parent passes on,
    /// but for the propagated data. What the sender asked to be told of (RFC 3461) ends here too.
    #[must_use]
    pub fn child(parent: &Arc<Address>, address: impl Into<Vec<u8>>) -> Address {
        let mut child = Address::recipient(address, parent.recipient);
        child.propagated = parent.propagated.clone();
        child.is_hidden_in_bounces = parent.is_hidden_in_bounces;
        child.ignores_errors = parent.ignores_errors;
        child.parent = Some(Arc::clone(parent));
        let generation = child.ancestors().filter(|a| a.address_key() == child.address_key()).count();
        if generation > 0 {
            child.unique = homonym(generation, &child.unique);
        }
        child
    }

    /// A pipe, file, directory or reply made from this address by redirection.
    #[must_use]
    pub fn special_child(parent: &Arc<Address>, kind: AddressKind, text: impl Into<Vec<u8>>) -> Address {
        let text = text.into();
        let mut unique = text.clone();
        unique.push(b':');
        unique.extend_from_slice(without_homonym_mark(&parent.unique));
        let mut child = Address::clone(parent);
        child.address = text;
        child.unique = unique;
        child.kind = kind;
        child.is_unseen_copy = false;
        child.dsn = DsnRequest::default();
        child.start = None;
        child.made = None;
        child.is_tainted = false;
        child.parent = Some(Arc::clone(parent));
        child
    }

    /// What the spool says of it once it is delivered. Exim has the mark of a child that equals an ancestor only for
    /// as long as it routes: of the delivery it notes the address and the transport.
    #[must_use]
    pub fn done_mark(&self, transport: &str) -> Cow<'_, [u8]> {
        match without_homonym_mark(&self.unique) {
            address if address.len() < self.unique.len() => {
                Cow::Owned([address, b"/", transport.as_bytes()].concat())
            }
            address => Cow::Borrowed(address),
        }
    }

    /// An equal address gives way to this one: its recipient shares in what becomes of it.
    pub fn share_with(&mut self, equal: &Address) {
        let recipient = &equal.top().address;
        if self.shares_with.last() != Some(recipient) {
            self.shares_with.push(recipient.clone());
        }
    }

    /// The unique form that it had while it was routed: that of an `unseen` delivery has its router's name behind it since.
    #[must_use]
    pub fn unique_of_routing(&self) -> &[u8] {
        let parents = self.parent.as_deref().map_or(b"".as_slice(), |parent| &parent.unique);
        match self.unique.strip_prefix(parents) {
            Some([b'/', ..]) if self.kind == AddressKind::Mail => parents,
            _ => &self.unique,
        }
    }

    /// The addresses this one was made from, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Address> {
        std::iter::successors(self.parent.as_deref(), |a| a.parent.as_deref())
    }

    /// The recipient that it all began with: itself, if it has no parent.
    #[must_use]
    pub fn top(&self) -> &Address {
        self.ancestors().last().unwrap_or(self)
    }

    /// The address with its domain in lower case: what is compared with ancestors.
    #[must_use]
    pub fn address_key(&self) -> Vec<u8> {
        unique_form(&self.address)
    }

    /// Whether this is the file `/dev/null`, to which nothing is really delivered (`**bypassed**` in the log).
    #[must_use]
    pub fn is_bypassed(&self) -> bool {
        self.kind == AddressKind::File && self.address == b"/dev/null" && self.refusal.is_none()
    }

    /// The address as `$local_part` in its own case: without the affixes that the router took off.
    #[must_use]
    pub fn local_part_without_affixes(&self) -> Vec<u8> {
        let start = self.prefix.as_ref().map_or(0, Vec::len);
        let end = self.local_part.len().saturating_sub(self.suffix.as_ref().map_or(0, Vec::len));
        self.local_part.get(start..end).unwrap_or(&self.local_part).to_vec()
    }

    /// The address as the last router saw it, unquoted: local part and domain in lower case, unless that router
    /// distinguishes case.
    #[must_use]
    pub fn routed(&self, with_affixes: bool) -> Vec<u8> {
        [&self.routed_local_part(with_affixes), b"@".as_slice(), &self.domain].concat()
    }

    /// The local part of [`Address::routed`].
    #[must_use]
    pub fn routed_local_part(&self, with_affixes: bool) -> Cow<'_, [u8]> {
        match (with_affixes, self.is_caseful) {
            (false, _) => Cow::Borrowed(&self.routed_local_part),
            (true, true) => Cow::Borrowed(&self.local_part),
            (true, false) => Cow::Owned(self.local_part.to_ascii_lowercase()),
        }
    }

    /// The text, and behind it the address that it was made from, if there is one.
    #[must_use]
    pub fn text_with_parent(&self) -> String {
        match &self.parent {
            Some(parent) => format!("{} <{}>", self.text(), parent.text()),
            None => self.text().into_owned(),
        }
    }

    /// The text for log lines and messages; see [`oxim_base::text::shown`].
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        oxim_base::text::shown(&self.address)
    }

    /// Whether nobody wants to hear of its failures: those under `noerror`, and where `errors_to` says nobody.
    #[must_use]
    pub fn is_nobodys_error(&self) -> bool {
        self.ignores_errors || self.propagated.errors_to.as_ref().is_some_and(Vec::is_empty)
    }

    /// The local part as the variables show it.
    #[must_use]
    pub fn local_part_text(&self) -> Text {
        Text::with_taint(self.routed_local_part.clone(), self.taint())
    }

    /// The domain as the variables show it.
    #[must_use]
    pub fn domain_text(&self) -> Text {
        Text::with_taint(self.domain.clone(), self.taint())
    }

    fn taint(&self) -> Taint {
        if self.is_ours { Taint::Clean } else { Taint::Tainted }
    }
}

/// Where the domain begins: after the last `@` that is not quoted. `None` without a domain.
#[must_use]
pub fn domain_start(address: &[u8]) -> Option<usize> {
    let at = memchr::memrchr(b'@', address)?;
    // An address that ends inside quotes has no domain: `"a@b"`.
    let mut quoted = false;
    let mut escaped = false;
    for byte in address.iter().take(at) {
        match (escaped, byte) {
            (true, _) => escaped = false,
            (false, b'\\') => escaped = true,
            (false, b'"') => quoted = !quoted,
            (false, _) => {}
        }
    }
    (!quoted).then_some(at.saturating_add(1))
}

/// The address with its domain in lower case and its local part untouched.
#[must_use]
pub fn unique_form(address: &[u8]) -> Vec<u8> {
    with_lower_domain(address, domain_start(address))
}

fn with_lower_domain(address: &[u8], start: Option<usize>) -> Vec<u8> {
    let mut out = address.to_vec();
    if let Some(domain) = start.and_then(|start| out.get_mut(start..)) {
        domain.make_ascii_lowercase();
    }
    out
}

/// Local part (unquoted, in its own case) and domain (in lower case).
#[must_use]
pub fn split(address: &[u8]) -> (Vec<u8>, Vec<u8>) {
    split_at(address, domain_start(address))
}

fn split_at(address: &[u8], start: Option<usize>) -> (Vec<u8>, Vec<u8>) {
    match start {
        Some(start) => {
            let local = address.get(..start.saturating_sub(1)).unwrap_or_default();
            (unquote(local), address.get(start..).unwrap_or_default().to_ascii_lowercase())
        }
        None => (unquote(address), Vec::new()),
    }
}

/// Takes the quoting off a local part: `"a\ b"` and `a\ b` name the same mailbox.
fn unquote(local_part: &[u8]) -> Vec<u8> {
    if memchr::memchr2(b'\\', b'"', local_part).is_none() {
        return local_part.to_vec();
    }
    let mut out = Vec::with_capacity(local_part.len());
    let mut bytes = local_part.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            b'"' => {}
            _ => out.push(byte),
        }
    }
    out
}

/// The unique form without the mark that tells it from its ancestor.
fn without_homonym_mark(unique: &[u8]) -> &[u8] {
    match unique {
        [b'\\', digit, b'\\', rest @ ..] if digit.is_ascii_digit() => rest,
        _ => unique,
    }
}

/// `\N\` before the address tells a child from the ancestor it equals, so that the journal can hold one as done and
/// the other not.
fn homonym(generation: usize, address: &[u8]) -> Vec<u8> {
    let mut out = format!("\\{}\\", generation.saturating_sub(1)).into_bytes();
    out.extend_from_slice(address);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_keeps_its_case_and_loses_its_quotes() {
        let address = Address::recipient("\"Two Words\"@Test.EX", 3);
        assert_eq!(address.local_part, b"Two Words");
        assert_eq!(address.domain, b"test.ex");
        assert_eq!(address.unique, b"\"Two Words\"@test.ex");
        assert_eq!(address.routed_local_part, b"two words");
        assert_eq!(domain_start(b"\"a@b\""), None);
    }

    #[test]
    fn a_child_that_equals_its_ancestor_is_another_address() {
        let parent = Arc::new(Address::recipient("cleo@test.ex", 0));
        let same = Arc::new(Address::child(&parent, "cleo@TEST.ex"));
        assert_eq!(same.unique, b"\\0\\cleo@test.ex");
        assert_eq!(Address::child(&same, "cleo@test.ex").unique, b"\\1\\cleo@test.ex");
        assert_eq!(Address::child(&parent, "bob@test.ex").unique, b"bob@test.ex");
        assert_eq!(same.top().address, b"cleo@test.ex");
        assert_eq!(*same.done_mark("box"), *b"cleo@test.ex/box");
        assert_eq!(*parent.done_mark("box"), *b"cleo@test.ex");
    }

    #[test]
    fn an_unseen_delivery_is_remembered_under_its_address() {
        let parent = Arc::new(Address::recipient("a@test.ex", 0));
        let delivery = Address { unique: b"a@test.ex/copy".to_vec(), ..Address::child(&parent, "a@test.ex") };
        assert_eq!(delivery.unique_of_routing(), b"a@test.ex");
        assert_eq!(Address::child(&parent, "b@test.ex").unique_of_routing(), b"b@test.ex");
        assert_eq!(parent.unique_of_routing(), b"a@test.ex");
    }

    #[test]
    fn a_pipe_belongs_to_its_parent() {
        let parent = Arc::new(Address::recipient("a@test.ex", 0));
        let pipe = Address::special_child(&parent, AddressKind::Pipe, "|/bin/cat");
        assert_eq!(pipe.unique, b"|/bin/cat:a@test.ex");
        assert_eq!(pipe.domain, b"test.ex");
    }

    #[test]
    fn affixes_come_off_the_cased_local_part() {
        let mut address = Address::recipient("Real-Bob+x@test.ex", 0);
        address.prefix = Some(b"Real-".to_vec());
        address.suffix = Some(b"+x".to_vec());
        assert_eq!(address.local_part_without_affixes(), b"Bob");
    }
}
