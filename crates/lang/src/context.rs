//! What variables read: the state of a connection, a message, an address and a delivery.
//!
//! A `Context` is owned by an SMTP session or by a delivery, and moves to worker threads and back with the work. Each
//! field group has one lifetime: [`Connection`] lives as long as the SMTP connection, [`Message`] one transaction,
//! [`AddressScope`] one address being routed, verified or checked, [`DeliveryScope`] one transport run, [`Local`] one
//! evaluation (captures, `$item`, `$value`). Manual section 11.9 says which variable belongs where.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use oxim_base::Text;
use oxim_base::clock::{Stamp, Zone};
use oxim_mail::header::HeaderList;
use oxim_mail::message_id::MessageId;
use oxim_net::tls::TlsFacts;
use oxim_spool::hints::Hints;
use oxim_spool::log::{Log, LogConfig};
use oxim_spool::message::{Body, Recipient, TlsRecord};

use crate::config::{Catalogue, Config};
use crate::expand::SocketAnswers;
use crate::host::Host;
use crate::regex;

/// Everything that an expansion, a list match or an ACL can see.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the whole process shares.
    pub services: Arc<Services>,
    /// The SMTP connection, or the caller of a local submission.
    pub connection: Connection,
    /// The message being received or delivered.
    pub message: Message,
    /// The address in hand.
    pub address: AddressScope,
    /// The router or transport that is running.
    pub delivery: DeliveryScope,
    /// What one evaluation sets and restores.
    pub local: Local,
    /// The part in a line that ATRN has turned around, if there is one.
    pub turnaround: Option<Turnaround>,
    /// Log lines go to standard error, as under `-bt`.
    pub shows_log: bool,
    /// What the crate above keeps here while it calls down, for the way back through [`Host`].
    pub upper: Upper,
}

/// The part that we have in a line that was turned around by ATRN (RFC 2645).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turnaround {
    /// The mail is delivered over the line to the customer, who has this address and port.
    Provider(SocketAddr),
    /// The mail is ours, and comes over the line.
    Customer,
}

/// A thing of the crates above, of which the language knows nothing. A clone of a context does not have it.
#[derive(Default)]
pub struct Upper(Option<Box<dyn std::any::Any + Send + Sync>>);

impl Upper {
    /// Puts a thing in; gives back what was there.
    pub fn put(
        &mut self,
        thing: Box<dyn std::any::Any + Send + Sync>,
    ) -> Option<Box<dyn std::any::Any + Send + Sync>> {
        self.0.replace(thing)
    }

    /// Takes it out.
    pub fn take(&mut self) -> Option<Box<dyn std::any::Any + Send + Sync>> {
        self.0.take()
    }
}

impl Clone for Upper {
    fn clone(&self) -> Upper {
        Upper(None)
    }
}

impl std::fmt::Debug for Upper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Upper(..)" } else { "Upper" })
    }
}

impl Context {
    /// A context in which nothing has happened yet.
    #[must_use]
    pub fn new(config: Arc<Config>, services: Arc<Services>) -> Context {
        Context {
            config,
            services,
            connection: Connection::default(),
            message: Message::default(),
            address: AddressScope::default(),
            delivery: DeliveryScope::default(),
            local: Local::default(),
            turnaround: None,
            shows_log: false,
            upper: Upper::default(),
        }
    }

    /// A context for the delivery of a message of the spool: what was known when it came is known again.
    #[must_use]
    pub fn for_message(
        config: Arc<Config>,
        services: Arc<Services>,
        spooled: &oxim_spool::message::Message,
        body: Body,
    ) -> Context {
        let mut context = Context::new(config, services);
        context.connection = Connection::of(spooled);
        context.message = Message::of(spooled, body);
        context
    }

    /// The character set to which `$h_` translates (`headers_charset`, or a filter's own).
    #[must_use]
    pub fn headers_charset(&self) -> &str {
        self.local.headers_charset.as_deref().unwrap_or(&self.config.main.headers_charset)
    }
}

impl Default for Context {
    /// A context under an empty configuration, for tests and for modes that read none.
    fn default() -> Self {
        static EMPTY: OnceLock<Arc<Config>> = OnceLock::new();
        let config = EMPTY.get_or_init(|| {
            let config = crate::config::read_bytes("none", b"", &[], &Catalogue::default());
            Arc::new(config.expect("an empty configuration has no errors"))
        });
        Context::new(config.clone(), Arc::new(Services::default()))
    }
}

/// What one process shares: caches and connections to the outside.
#[derive(Default)]
pub struct Services {
    /// The zone in which times are written (`timezone`).
    pub zone: Zone,
    /// `spool_directory`, expanded.
    pub spool_directory: PathBuf,
    /// The logs; set once at start.
    pub log: OnceLock<Arc<Log>>,
    /// The hints, in modes that need them; without them every host is tried and every callout made.
    pub hints: OnceLock<Arc<Hints>>,
    /// ACLs and host names, implemented by the crates above; set once at start.
    pub host: OnceLock<Arc<dyn Host>>,
    /// Regular expressions that come out of expansions.
    pub regexes: regex::Cache,
    /// Named lists, DNS and what else lists and lookups need; set once at start.
    pub surroundings: OnceLock<Arc<crate::list::Surroundings>>,
    /// The directory in which the program was started: `$initial_cwd`.
    pub initial_directory: OnceLock<Vec<u8>>,
    /// What `-bV` and `$exim_version` give; set once at start.
    pub version: OnceLock<String>,
}

impl Services {
    /// The logs. Before they are set (in tests), entries go to standard error as far as they are panics.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.log.get_or_init(|| {
            let mut config = LogConfig::new(&self.spool_directory);
            config.paths.files = false;
            config.panic_to_stderr = true;
            Arc::new(Log::new(config))
        })
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// Whether the calling host's name has been looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostLookup {
    /// Nobody has asked.
    #[default]
    NotTried,
    /// The name is known and leads back to the address.
    Found,
    /// There is no name, or none that leads back: `$host_lookup_failed` is 1.
    Failed,
    /// It could not be found out now; it is tried again: `$host_lookup_deferred` is 1.
    Deferred,
}

/// The SMTP connection over which a message comes, or the local caller.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The client's address; None for local submission.
    pub host_address: Option<IpAddr>,
    /// Answers that `${readsocket` keeps (`cache=yes`).
    pub socket_answers: SocketAnswers,
    /// `$connection_id`, among the connections of this process; 0: it is no connection of a host.
    pub number: u64,
    /// The client's port; 0 if unknown.
    pub host_port: u16,
    /// The client's verified name, or the name given in a spool file.
    pub host_name: Option<Vec<u8>>,
    /// Further verified names of the client.
    pub host_aliases: Vec<Vec<u8>>,
    /// Whether the name has been looked for.
    pub host_lookup: HostLookup,
    /// Why the name is not known, after [`HostLookup::Failed`] or [`HostLookup::Deferred`]; may be empty.
    pub host_lookup_message: String,
    /// Whether reverse and forward lookup were both authenticated by DNSSEC.
    pub host_dnssec: bool,
    /// The argument of HELO or EHLO.
    pub helo_name: Option<Vec<u8>>,
    /// Whether the HELO name has been verified.
    pub helo_verified: bool,
    /// Whether HELO verification has been tried and failed.
    pub helo_verify_failed: bool,
    /// Whether HELO verification used authenticated DNS data.
    pub helo_dnssec: bool,
    /// Our own address and port.
    pub interface: Option<SocketAddr>,
    /// The message in hand is out of the spool, and its connection over: an unknown port of ours is 0 then, not -1.
    pub is_over: bool,
    /// RFC 1413 answer, or the login name of a local caller.
    pub ident: Option<Vec<u8>>,
    /// `$authenticated_id`.
    pub auth_id: Option<Vec<u8>>,
    /// `$authenticated_fail_id`.
    pub auth_fail_id: Option<Vec<u8>>,
    /// The authenticator that let the client in: `$sender_host_authenticated`.
    pub authenticator: Option<Vec<u8>>,
    /// `$authenticated_sender`.
    pub auth_sender: Option<Vec<u8>>,
    /// Whether an AUTH command failed: `$authentication_failed`.
    pub auth_failed: bool,
    /// `$auth1`… while an authenticator runs.
    pub auth_vars: Vec<Text>,
    /// `$received_protocol`: `esmtps`, `local`, ….
    pub protocol: Vec<u8>,
    /// What is known of its TLS session.
    pub tls: Option<TlsFacts>,
    /// What the spool knows of the TLS session on which a message came that is now delivered.
    pub tls_record: Option<TlsRecord>,
    /// What a proxy has said; None if the peer is no proxy.
    pub proxy: Option<ProxySession>,
    /// `$acl_c…`: the key is the name without the prefix `acl_c`: `0`, `_x`.
    pub acl_c: BTreeMap<Vec<u8>, Text>,
    /// The whole current SMTP command.
    pub smtp_command: Vec<u8>,
    /// Its argument.
    pub smtp_command_argument: Vec<u8>,
    /// `$csa_status`: what the last `verify = csa` found out.
    pub csa_status: Option<&'static str>,
    /// The last commands, oldest first.
    pub smtp_command_history: Vec<Vec<u8>>,
    /// `$smtp_active_hostname`; None: the primary host name.
    pub active_hostname: Option<Vec<u8>>,
    /// Connections open when this one came: `$smtp_count_at_connection_start`.
    pub count_at_start: u32,
    /// `$smtp_notquit_reason`.
    pub notquit_reason: Option<Vec<u8>>,
    /// Login name of the caller.
    pub caller_login: Vec<u8>,
    /// Real uid of the calling process.
    pub caller_uid: u32,
    /// Real gid of the calling process.
    pub caller_gid: u32,
    /// `-bh`: a faked session in which nothing is sent out.
    pub host_checking: bool,
    /// Verification goes no further than routing: a test without callouts.
    pub without_callouts: bool,
    /// Ports are shown in host texts (`log_selector` +incoming_port).
    pub log_ports: bool,
}

/// The message in hand.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id; None until it has one.
    pub id: Option<MessageId>,
    /// Its header lines, once they have been received.
    pub headers: HeaderList,
    /// Its envelope recipients so far. Shared, because deliveries side by side have a context each.
    pub recipients: Arc<Vec<Recipient>>,
    /// Its body, once it has been received.
    pub body: Option<Body>,
    /// Envelope sender; empty for a bounce.
    pub sender: Vec<u8>,
    /// The size given by MAIL or found out; -1 if unknown.
    pub size: i64,
    /// `$acl_m…`: the key is the name without the prefix `acl_m`.
    pub acl_m: BTreeMap<Vec<u8>, Text>,
    /// When it was received.
    pub received: Stamp,
    /// `$rcpt_count`.
    pub rcpt_count: u32,
    /// `$rcpt_defer_count`.
    pub rcpt_defer_count: u32,
    /// `$rcpt_fail_count`.
    pub rcpt_fail_count: u32,
    /// `$received_count`.
    pub received_count: u32,
    /// `$received_for`.
    pub received_for: Option<Vec<u8>>,
    /// `$body_linecount`.
    pub body_lines: u64,
    /// `$body_zerocount`.
    pub body_zeros: u64,
    /// `$message_linecount`.
    pub lines: u64,
    /// `$max_received_linelength`.
    pub max_line: u64,
    /// `$originator_uid`.
    pub originator_uid: u32,
    /// `$originator_gid`.
    pub originator_gid: u32,
    /// Whether this is the first delivery attempt; set by the delivery.
    pub first_delivery: bool,
    /// Whether it was frozen and then thawed by hand; set by the delivery.
    pub manually_thawed: bool,
    /// Whether a queue runner delivers it.
    pub queue_running: bool,
    /// Whether `$recipients` may be seen here (system filter, DATA and non-SMTP ACLs).
    pub recipients_visible: bool,
    /// The queue it is on; empty for the default one.
    pub queue_name: Vec<u8>,
    /// Lines that `add_header` has collected so far: `$headers_added`.
    pub headers_added: Vec<Text>,
    /// `$message_smtputf8`.
    pub smtputf8: bool,
    /// `$prdr_requested`.
    pub prdr_requested: bool,
    /// What Brightmail has said of it; None while it is received, and if nothing was asked.
    pub bmi: Option<Arc<crate::bmi::Verdicts>>,
    /// What DCC says of it.
    pub dcc: Option<Box<DccFacts>>,
    /// What content scanning has found out.
    pub content: crate::content::ContentFacts,
    /// What the last `spf` condition found.
    pub spf: Option<Box<crate::sender_policy::SpfFacts>>,
    /// What is known of its ARC chain.
    pub arc: crate::arc::ArcFacts,
    /// What the first `dmarc_status` condition found.
    pub dmarc: Option<Box<crate::dmarc::DmarcFacts>>,
    /// What is known of its DKIM signatures; None if none were looked at.
    pub dkim: Option<Box<crate::signatures::DkimFacts>>,
    /// `$local_scan_data`.
    pub local_scan_data: Option<Vec<u8>>,
    /// `$sn0` to `$sn9`, left by the system filter.
    pub system_counters: [i64; 10],
    /// Results of named lists that need not be found out again for this message.
    pub list_results: crate::list::Results,
    /// Answers of databases that need not be asked again for this message.
    pub lookup_results: crate::lookup::Results,
}

impl Default for Message {
    fn default() -> Self {
        Message {
            id: None,
            headers: HeaderList::new(),
            recipients: Arc::default(),
            body: None,
            sender: Vec::new(),
            size: 0,
            acl_m: BTreeMap::new(),
            received: Stamp::default(),
            rcpt_count: 0,
            rcpt_defer_count: 0,
            rcpt_fail_count: 0,
            received_count: 0,
            received_for: None,
            body_lines: 0,
            body_zeros: 0,
            lines: 0,
            max_line: 0,
            originator_uid: 0,
            originator_gid: 0,
            first_delivery: false,
            manually_thawed: false,
            queue_running: false,
            recipients_visible: false,
            queue_name: Vec::new(),
            headers_added: Vec::new(),
            smtputf8: false,
            prdr_requested: false,
            bmi: None,
            dcc: None,
            content: crate::content::ContentFacts::default(),
            spf: None,
            dkim: None,
            arc: crate::arc::ArcFacts::default(),
            dmarc: None,
            local_scan_data: None,
            system_counters: [0; 10],
            list_results: crate::list::Results::default(),
            lookup_results: crate::lookup::Results::default(),
        }
    }
}

impl Message {
    /// The message as it was spooled.
    fn of(spooled: &oxim_spool::message::Message, body: Body) -> Message {
        let lines = u64::try_from(spooled.headers.line_count()).unwrap_or(u64::MAX);
        let received_count = spooled.headers.find(b"received").count();
        Message {
            id: Some(spooled.id),
            headers: spooled.headers.clone(),
            recipients: Arc::new(spooled.recipients.clone()),
            sender: spooled.sender.clone(),
            size: i64::try_from(spooled.size_with(body.len())).unwrap_or(i64::MAX),
            body: Some(body),
            acl_m: spooled.acl_m.clone(),
            received: spooled.received,
            received_count: u32::try_from(received_count).unwrap_or(u32::MAX),
            body_lines: spooled.body_lines,
            body_zeros: spooled.body_zeros,
            lines: lines.saturating_add(spooled.body_lines),
            max_line: spooled.max_line,
            originator_uid: spooled.uid,
            originator_gid: spooled.gid,
            first_delivery: spooled.first_delivery,
            queue_name: spooled.queue_name.clone(),
            smtputf8: spooled.smtputf8,
            local_scan_data: spooled.local_scan_data.clone(),
            content: crate::content::ContentFacts::of(spooled),
            ..Message::default()
        }
    }
}

/// `$srs_db_address`, `$srs_db_key`, `$srs_orig_recipient`, `$srs_orig_sender`.
#[derive(Clone, Debug, Default)]
pub struct SrsFacts {
    /// The sender that is put into the database.
    pub db_address: Option<Text>,
    /// Its key.
    pub db_key: Option<Text>,
    /// The SRS address to which a bounce came.
    pub orig_recipient: Option<Text>,
    /// The sender before it was rewritten.
    pub orig_sender: Option<Text>,
}

/// What the `dcc` condition has found out about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DccFacts {
    /// `$dcc_result`: `A`, `R`, `G` or `T`.
    pub result: &'static str,
    /// `$dcc_header`: a header line with its newline, or empty.
    pub header: Vec<u8>,
}

/// A connection through a proxy (`hosts_proxy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxySession {
    /// The proxy's end of the connection to us; None if it spoke for itself, or not well.
    pub proxy: Option<SocketAddr>,
    /// Where the client connected to.
    pub target: Option<SocketAddr>,
    /// Whether the header was missing, late or malformed.
    pub is_failed: bool,
}

/// The address that is being checked, verified, routed or delivered.
#[derive(Clone, Debug, Default)]
pub struct AddressScope {
    /// `$local_part`, unquoted, without prefix and suffix.
    pub local_part: Text,
    /// `$domain`, lower case.
    pub domain: Text,
    /// `$local_part_data`.
    pub local_part_data: Option<Text>,
    /// `$domain_data`.
    pub domain_data: Option<Text>,
    /// `$original_local_part`.
    pub original_local_part: Text,
    /// `$original_domain`.
    pub original_domain: Text,
    /// `$parent_local_part`.
    pub parent_local_part: Text,
    /// `$parent_domain`.
    pub parent_domain: Text,
    /// `$local_part_prefix`.
    pub local_part_prefix: Option<Text>,
    /// `$local_part_prefix_v`.
    pub local_part_prefix_v: Option<Text>,
    /// `$local_part_suffix`.
    pub local_part_suffix: Option<Text>,
    /// `$local_part_suffix_v`.
    pub local_part_suffix_v: Option<Text>,
    /// `$local_part_verified`.
    pub local_part_verified: Option<Text>,
    /// `$address_data`.
    pub address_data: Option<Text>,
    /// `$sender_address_data`.
    pub sender_address_data: Option<Text>,
    /// `$r_…`: the key is the name without the prefix `r_`.
    pub router_variables: BTreeMap<Vec<u8>, Text>,
    /// `$home`.
    pub home: Option<Text>,
    /// `$local_user_uid`.
    pub local_user_uid: Option<u32>,
    /// `$local_user_gid`.
    pub local_user_gid: Option<u32>,
    /// `$self_hostname`.
    pub self_hostname: Option<Text>,
    /// `$host_data`.
    pub host_data: Option<Text>,
    /// `$sender_data`.
    pub sender_data: Option<Text>,
    /// `$recipient_data`.
    pub recipient_data: Option<Text>,
    /// `$n0` to `$n9` of a filter file.
    pub counters: [i64; 10],
    /// `$thisaddress` of a filter file.
    pub this_address: Option<Text>,
    /// `$srs_recipient`.
    pub srs_recipient: Option<Text>,
    /// What the older SRS options work with.
    pub srs: SrsFacts,
    /// What Brightmail has said of the message for the recipient that it all began with.
    pub bmi: Option<Arc<crate::bmi::Verdict>>,
}

/// What the running router or transport has set.
#[derive(Clone, Debug, Default)]
pub struct DeliveryScope {
    /// `$router_name`.
    pub router_name: Option<String>,
    /// `$transport_name`.
    pub transport_name: Option<String>,
    /// `$verify_mode`: `S`, `R` or empty.
    pub verify_mode: &'static str,
    /// `$host`.
    pub host: Option<Text>,
    /// `$host_address`.
    pub host_address: Option<IpAddr>,
    /// `$host_port`.
    pub host_port: u16,
    /// Our own end of an outgoing connection: `$sending_ip_address`, `$sending_port`.
    pub sending: Option<SocketAddr>,
    /// What is known of the TLS session with that host.
    pub tls: Option<Arc<TlsFacts>>,
    /// `$tls_out_tlsa_usage`: the usages of the host's TLSA records as bits.
    pub tlsa_usage: u8,
    /// `$return_path`; None where nothing is routed or delivered.
    pub return_path: Option<Vec<u8>>,
    /// `$dkim_domain` while the smtp transport signs.
    pub signing_domain: Option<Text>,
    /// `$dkim_selector` while the smtp transport signs.
    pub signing_selector: Option<Text>,
    /// `$address_file`.
    pub address_file: Option<Text>,
    /// `$address_pipe`.
    pub address_pipe: Option<Text>,
    /// `$bounce_recipient`.
    pub bounce_recipient: Option<Vec<u8>>,
    /// `$warn_message_delay`.
    pub warn_message_delay: Option<String>,
    /// `$warn_message_recipients`.
    pub warn_message_recipients: Option<Vec<u8>>,
    /// `$message_age`, fixed when the delivery attempt starts.
    pub message_age: u64,
    /// `$inode`.
    pub inode: u64,
    /// `$mailstore_basename`.
    pub mailstore_basename: Option<Vec<u8>>,
}

/// What an `event_action` is expanded for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFacts {
    /// `$event_name`.
    pub name: &'static str,
    /// `$event_data`.
    pub data: Vec<u8>,
    /// `$event_defer_errno`.
    pub errno: i64,
}

/// What one evaluation sets and restores.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// `$0`, `$1`… of the last successful match.
    pub captures: Vec<Text>,
    /// `$item`.
    pub item: Option<Text>,
    /// `$value`.
    pub value: Option<Text>,
    /// `$runrc`.
    pub runrc: i32,
    /// `$acl_arg1`…; `$acl_narg` is their number.
    pub acl_arguments: Vec<Text>,
    /// `$acl_verify_message`.
    pub acl_verify_message: Option<Text>,
    /// `$sender_verify_failure`.
    pub sender_verify_failure: Option<&'static str>,
    /// `$recipient_verify_failure`.
    pub recipient_verify_failure: Option<&'static str>,
    /// `$callout_address`.
    pub callout_address: Option<String>,
    /// `$dnslist_domain`.
    pub dnslist_domain: Option<Text>,
    /// `$dnslist_matched`.
    pub dnslist_matched: Option<Text>,
    /// `$dnslist_text`.
    pub dnslist_text: Option<Text>,
    /// `$dnslist_value`.
    pub dnslist_value: Option<Text>,
    /// The event for which an `event_action` is expanded.
    pub event: Option<Box<EventFacts>>,
    /// `$ldap_dn`: the name of the entry that the last LDAP lookup has found.
    pub ldap_dn: Option<Text>,
    /// `$lookup_dnssec_authenticated`: empty, `no` or `yes`.
    pub lookup_dnssec: &'static str,
    /// `$prvscheck_address`.
    pub prvscheck_address: Option<Text>,
    /// `$prvscheck_keynum`.
    pub prvscheck_keynum: Option<Text>,
    /// `$prvscheck_result`.
    pub prvscheck_result: Option<Text>,
    /// `$regex_match_string`.
    pub regex_match_string: Option<Text>,
    /// `$regex1`….
    pub regex_captures: Vec<Text>,
    /// `$sender_rate`, `$sender_rate_limit`, `$sender_rate_period`.
    pub sender_rate: Option<[String; 3]>,
    /// What a filter's `headers charset` command has set.
    pub headers_charset: Option<String>,
    /// What expansions of a filter may do, while one runs.
    pub restrictions: Option<Arc<crate::restrict::Restrictions>>,
    /// How deep evaluations are nested; kept by the evaluators.
    pub depth: usize,
}

impl Connection {
    /// The connection over which a spooled message came.
    fn of(spooled: &oxim_spool::message::Message) -> Connection {
        let host = spooled.host.as_ref();
        let host_lookup = match host {
            Some(host) if host.name.is_some() => HostLookup::Found,
            Some(host) if host.lookup_failed => HostLookup::Failed,
            Some(host) if host.lookup_deferred => HostLookup::Deferred,
            _ => HostLookup::NotTried,
        };
        Connection {
            host_address: host.map(|h| h.address),
            host_port: host.map_or(0, |h| h.port),
            host_name: host.and_then(|h| h.name.clone()),
            host_lookup,
            helo_name: spooled.helo_name.clone(),
            interface: spooled.interface,
            is_over: true,
            ident: spooled.ident.clone(),
            auth_id: spooled.auth_id.clone(),
            authenticator: spooled.authenticator.clone(),
            auth_sender: spooled.auth_sender.clone(),
            protocol: spooled.protocol.clone().unwrap_or_default(),
            tls_record: spooled.tls.clone(),
            acl_c: spooled.acl_c.clone(),
            active_hostname: spooled.active_hostname.clone(),
            caller_login: spooled.login.clone(),
            caller_uid: spooled.uid,
            caller_gid: spooled.gid,
            ..Connection::default()
        }
    }

    /// What `$connection_id` and `Ci=` show: the process and the number in it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}", std::process::id(), self.number)
    }

    /// The host as log lines and `$sender_fullhost` show it: `name (helo) [ip]:port`.
    ///
    /// Beside a verified name, the HELO name is left out when it is that name or the address in brackets; the port is
    /// shown under `log_selector = +incoming_port`.
    #[must_use]
    pub fn full_host(&self) -> String {
        let Some(address) = self.host_address else {
            return String::new();
        };
        let mut out = String::new();
        if let Some(name) = &self.host_name {
            out.push_str(&String::from_utf8_lossy(name));
            out.push(' ');
        }
        // Without a verified name Exim shows the HELO name whatever it is.
        let helo = if self.host_name.is_some() { self.helo_to_show() } else { self.helo_name.as_deref() };
        if let Some(helo) = helo {
            let _ = write!(out, "({}) ", String::from_utf8_lossy(helo));
        }
        let _ = write!(out, "[{address}]");
        if self.log_ports && self.host_port != 0 {
            let _ = write!(out, ":{}", self.host_port);
        }
        out
    }

    /// The host as `$sender_rcvhost` and Received: lines show it: `name ([ip]:port helo=x ident=y)` or
    /// `[ip] (port=n helo=x ident=y)`.
    #[must_use]
    pub fn received_host(&self) -> String {
        let Some(address) = self.host_address else {
            return String::new();
        };
        let mut details = Vec::new();
        if self.host_name.is_some() {
            let port = if self.log_ports { format!(":{}", self.host_port) } else { String::new() };
            details.push(format!("[{address}]{port}"));
        } else if self.log_ports {
            details.push(format!("port={}", self.host_port));
        }
        if let Some(helo) = self.helo_to_show() {
            details.push(format!("helo={}", String::from_utf8_lossy(helo)));
        }
        if let Some(ident) = &self.ident {
            details.push(format!("ident={}", String::from_utf8_lossy(ident)));
        }
        let first = match &self.host_name {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => format!("[{address}]"),
        };
        match details.len() {
            0 => first,
            // With a name and all three the line is folded before the parenthesis.
            3 if self.host_name.is_some() => format!("{first}\n\t({})", details.join(" ")),
            _ => format!("{first} ({})", details.join(" ")),
        }
    }

    /// The HELO name unless it says nothing beyond the verified name or the address.
    #[must_use]
    pub fn helo_to_show(&self) -> Option<&[u8]> {
        let helo = self.helo_name.as_deref()?;
        if self.host_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(helo)) {
            return None;
        }
        let literal = self.host_address.map(|a| format!("[{a}]")).unwrap_or_default();
        (!literal.as_bytes().eq_ignore_ascii_case(helo)).then_some(helo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_text_has_only_what_is_known() {
        let mut connection = Connection::default();
        assert_eq!(connection.full_host(), "");
        connection.host_address = Some("192.0.2.1".parse().unwrap());
        connection.host_port = 4000;
        assert_eq!(connection.full_host(), "[192.0.2.1]");
        connection.helo_name = Some(b"[192.0.2.1]".to_vec());
        assert_eq!(connection.full_host(), "([192.0.2.1]) [192.0.2.1]");
        assert_eq!(connection.received_host(), "[192.0.2.1]");
        connection.helo_name = Some(b"client".to_vec());
        assert_eq!(connection.full_host(), "(client) [192.0.2.1]");
        connection.host_name = Some(b"a.example".to_vec());
        assert_eq!(connection.full_host(), "a.example (client) [192.0.2.1]");
        connection.ident = Some(b"me".to_vec());
        assert_eq!(connection.received_host(), "a.example\n\t([192.0.2.1] helo=client ident=me)");
        connection.helo_name = Some(b"A.example".to_vec());
        connection.log_ports = true;
        assert_eq!(connection.full_host(), "a.example [192.0.2.1]:4000");
    }
}
