//! What lists and lookups need to know of this host and its configuration; the only place that asks for it.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use oxim_base::{Text, debug};
use oxim_net::dns::{BlockingResolver, Family};

use super::{Defer, List, NamedLists, Subject};
use crate::context::Context;
use crate::dns_names::DnsNames;
use crate::interfaces::Interfaces;

/// Where a log line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// The main log.
    Main,
    /// The main log and the panic log.
    Panic,
    /// The panic log alone.
    PanicOnly,
}

/// Takes log lines, without time stamp.
pub type LogSink = Arc<dyn Fn(LogKind, &str) + Send + Sync>;

/// What is known around a list; made from the configuration once, in [`crate::context::Services::surroundings`].
#[derive(Default)]
pub struct Surroundings {
    /// The named lists.
    pub named: Arc<NamedLists>,
    /// `primary_hostname`: `@` in domain and host lists.
    pub primary_hostname: String,
    /// `hosts_treat_as_local`, for `@mx_any` and kin.
    pub hosts_treat_as_local: Option<List>,
    /// `dns_again_means_nonexist`: names for which "ask again" means "not there".
    pub dns_again_means_nonexist: Option<List>,
    /// `dns_check_names_pattern`.
    pub dns_names: DnsNames,
    /// Which addresses are this host's.
    pub interfaces: Interfaces,
    /// Which addresses host names are looked up for (`disable_ipv6`).
    pub family: Family,
    /// DNS. Without it, items that need it defer.
    pub resolver: Option<BlockingResolver>,
    /// The logs. Without it, lines are shown under `-d+lists` only.
    pub log: Option<LogSink>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("primary_hostname", &self.primary_hostname)
            .finish_non_exhaustive()
    }
}

static NOTHING: LazyLock<Arc<Surroundings>> = LazyLock::new(Arc::default);

fn of(context: &Context) -> &Surroundings {
    context.services.surroundings.get().unwrap_or(&NOTHING)
}

/// The named lists.
pub(super) fn named_lists(context: &Context) -> Arc<NamedLists> {
    Arc::clone(&of(context).named)
}

/// `primary_hostname`.
pub(super) fn primary_hostname(context: &Context) -> String {
    of(context).primary_hostname.clone()
}

/// Which addresses are looked up for a name.
pub(crate) fn family(context: &Context) -> Family {
    of(context).family
}

/// Whether an address is one of this host's.
pub(super) fn is_local_address(context: &Context, address: IpAddr) -> bool {
    of(context).interfaces.is_local(address)
}

/// Whether a host name is in `hosts_treat_as_local`.
pub(super) fn is_treated_as_local(context: &mut Context, host: &str) -> Result<bool, Defer> {
    let list = of(context).hosts_treat_as_local.clone();
    is_in(context, list, host)
}

/// Whether a name that cannot be looked up now is to be taken for one that does not exist.
pub(super) fn again_means_nonexist(context: &mut Context, host: &str) -> Result<bool, Defer> {
    let list = of(context).dns_again_means_nonexist.clone();
    is_in(context, list, host)
}

fn is_in(context: &mut Context, list: Option<List>, host: &str) -> Result<bool, Defer> {
    let Some(list) = list else {
        return Ok(false);
    };
    let captures = context.local.captures.clone();
    let matched = list.matches(context, &Subject::Domain(&Text::tainted(host)));
    context.local.captures = captures;
    Ok(matched?.is_yes())
}

/// Whether the DNS may be asked for a name at all.
pub(crate) fn is_good_name(context: &Context, name: &str) -> bool {
    of(context).dns_names.allow(name)
}

/// The resolver; the error is a text for a deferral.
pub(crate) fn resolver(context: &Context) -> Result<BlockingResolver, String> {
    of(context).resolver.clone().ok_or_else(|| "no DNS resolver is available here".to_owned())
}

/// Writes a line to the main log.
pub(super) fn log_main(context: &Context, line: &str) {
    write_log(context, LogKind::Main, line);
}

/// `+unknown_in_list`: an item could not be decided, and with it the list does not match.
pub(super) fn log_unknown(context: &Context, why: &str) {
    let log = context.services.log.get();
    if log.is_some_and(|log| log.selectors().has(oxim_spool::log::Selector::UnknownInList)) {
        log_main(context, &format!("list matching forced to fail: {why}"));
    }
}

/// Writes a line to the main log and the panic log.
pub(crate) fn log_panic(context: &Context, line: &str) {
    write_log(context, LogKind::Panic, line);
}

/// Writes a line, without time stamp, to a log. The message that it is about, if there is one, stands in front. While addresses
/// are tested, it is told on standard error in Exim's form.
pub fn write_log(context: &Context, kind: LogKind, line: &str) {
    if context.shows_log {
        let logs = match kind {
            LogKind::Main => "MAIN",
            LogKind::Panic => "MAIN PANIC",
            LogKind::PanicOnly => "PANIC",
        };
        eprintln!("LOG: {logs}\n  {line}");
        return;
    }
    match (&of(context).log, context.message.id) {
        (Some(sink), Some(id)) => sink(kind, &format!("{id} {line}")),
        (Some(sink), None) => sink(kind, line),
        (None, _) => debug::line(debug::LISTS, || line.to_owned()),
    }
}
