//! What all evaluations share, made from the configuration: logs, hints, DNS, named lists.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::clock::Zone;
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::context::{Context, Services};
use oxim_lang::dns_names::DnsNames;
use oxim_lang::interfaces::Interfaces;
use oxim_lang::list::{List, ListKind, LogKind, NamedLists, Subject, Surroundings};
use oxim_mail::address::{self, AddressSyntax};
use oxim_net::dns::{Anchors, Family, Resolver, ResolverConfig, Watch};
use oxim_receive::rate_limit::RateLimit;
use oxim_spool::hints::{Hints, HintsConfig, HintsError};
use oxim_spool::log::{Log, LogConfig, LogPaths, LogSelectors, SyslogConfig};
use oxim_spool::store::LocalConfig;
use oxim_spool::{Owner, Report};

/// The parts that every mode needs. Costs nothing but memory. With `logs_to_stderr` the logs are not written.
///
/// # Errors
/// A main option whose text has not the form that it must have, a faulty `log_selector` or `log_file_path`, or a `spool_directory` that cannot be expanded.
pub fn make(config: &Arc<Config>, logs_to_stderr: bool) -> Result<Services, Vec<ConfigError>> {
    let zone = zone(config);
    let faults = malformed_texts(config);
    if !faults.is_empty() {
        return Err(faults);
    }
    let services = Services { zone, ..Services::default() };
    let shared = Arc::new(services);
    let mut context = Context::new(Arc::clone(config), Arc::clone(&shared));
    let spool = spool_directory(config, &mut context)?;
    let log_config = log_config(config, &mut context, zone, &spool)?;
    let log = Arc::new(Log::new(LogConfig { to_stderr: logs_to_stderr, ..log_config }));
    drop(context);
    let mut services = Arc::try_unwrap(shared).unwrap_or_else(|_| Services { zone, ..Services::default() });
    let _ = services.log.set(log);
    let _ = services.version.set(crate::mode::version::shown(config).to_owned());
    if let Ok(directory) = std::env::current_dir() {
        let _ = services.initial_directory.set(directory.into_os_string().into_encoded_bytes());
    }
    services.spool_directory = spool;
    Ok(services)
}

/// Main options that are strings of a form of their own, and do not have it.
fn malformed_texts(config: &Config) -> Vec<ConfigError> {
    let mut faults = Vec::new();
    let mut fault = |option: &str, text: String| {
        let at = config.main_options.location(option);
        faults.push(match at {
            Some(at) => ConfigError::at(at, text),
            None => ConfigError::new(text),
        });
    };
    if let Some(file) = config.main.dnssec_trust_anchors.as_ref().filter(|file| !file.is_empty())
        && let Err(error) = Anchors::from_file(std::path::Path::new(file))
    {
        fault("dnssec_trust_anchors", format!("dnssec_trust_anchors: {file}: {error}"));
    }
    for option in ["smtp_ratelimit_mail", "smtp_ratelimit_rcpt"] {
        if let Some(data) = config.main_options.string(option)
            && RateLimit::parse(data).is_none()
        {
            fault(option, format!("malformed ratelimit data: {data}"));
        }
    }
    if let Some(to) = &config.main.errors_reply_to {
        match address::parse(to.as_bytes(), &AddressSyntax::default()) {
            Ok(parsed) if parsed.domain().is_none() => {
                fault("errors_reply_to", format!("errors_reply_to ({to}) does not contain a domain"));
            }
            Ok(_) => {}
            Err(error) => fault("errors_reply_to", format!("error in errors_reply_to ({to}): {error}")),
        }
    }
    faults
}

fn zone(config: &Config) -> Zone {
    match config.main.timezone.as_deref() {
        Some("UTC" | "GMT") => Zone::Utc,
        _ => Zone::Local,
    }
}

fn expanded(
    context: &mut Context,
    template: &oxim_lang::expand::Template,
    option: &str,
) -> Result<String, Vec<ConfigError>> {
    template.expand(context).map(|text| text.to_string_lossy()).map_err(|e| {
        vec![ConfigError::bare(format!("failed to expand {option} \"{}\": {e}", template.source()))]
    })
}

fn spool_directory(config: &Config, context: &mut Context) -> Result<PathBuf, Vec<ConfigError>> {
    expanded(context, &config.main.spool_directory, "spool_directory").map(PathBuf::from)
}

fn log_config(
    config: &Config,
    context: &mut Context,
    zone: Zone,
    spool: &std::path::Path,
) -> Result<LogConfig, Vec<ConfigError>> {
    let main = &config.main;
    let paths = expanded(context, &main.log_file_path, "log_file_path")?;
    let located = |name: &str, text: String| match config.main_options.location(name) {
        Some(location) => vec![ConfigError::at(location, text)],
        None => vec![ConfigError::new(text)],
    };
    let paths = LogPaths::parse(&paths, spool).map_err(|e| located("log_file_path", e.to_string()))?;
    let selectors = match &main.log_selector {
        Some(text) => LogSelectors::parse(text).map_err(|e| located("log_selector", e.to_string()))?,
        None => LogSelectors::default(),
    };
    let defaults = SyslogConfig::default();
    Ok(LogConfig {
        paths,
        zone,
        log_timezone: main.log_timezone,
        write_rejectlog: main.write_rejectlog,
        selectors,
        owner: owner(config),
        syslog: SyslogConfig {
            facility: main.syslog_facility.clone().unwrap_or_else(|| defaults.facility.clone()),
            process_name: main.syslog_processname.clone(),
            timestamp: main.syslog_timestamp,
            duplication: main.syslog_duplication,
            pid: main.syslog_pid,
            ..defaults
        },
        panic_to_stderr: true,
        shows: oxim_base::debug::enabled(oxim_base::debug::VERBOSE),
        to_stderr: false,
    })
}

/// Whose files those of spool and logs are, if it is for us to say.
#[must_use]
pub fn owner(config: &Config) -> Option<Owner> {
    rustix::process::geteuid()
        .is_root()
        .then_some(Owner { uid: config.main.exim_user, gid: config.main.exim_group })
}

/// Trouble goes to the panic log.
#[must_use]
pub fn report(services: &Arc<Services>) -> Report {
    let services = Arc::clone(services);
    Arc::new(move |text| services.log().panic(text))
}

/// How the spool is set up.
#[must_use]
pub fn store_config(config: &Config, services: &Arc<Services>) -> LocalConfig {
    if config.main.disable_fsync {
        oxim_spool::durable::disable();
    }
    LocalConfig {
        owner: owner(config),
        split_spool_directory: config.main.split_spool_directory,
        message_logs: config.main.message_logs,
        preserve_message_logs: config.main.preserve_message_logs,
        report: report(services),
        ..LocalConfig::new(services.spool_directory.clone())
    }
}

/// Opens the hints. Without them mail goes on: every host is tried, every callout made.
pub fn open_hints(config: &Config, services: &Arc<Services>, cache: bool) {
    if let Err(error) = try_hints(config, services, cache) {
        services.log().panic(format!("hints cannot be opened: {error}"));
    }
}

/// Opens the hints, if they are not open yet.
///
/// # Errors
/// They cannot be opened now.
pub(crate) fn try_hints(config: &Config, services: &Arc<Services>, cache: bool) -> Result<(), HintsError> {
    if services.hints.get().is_some() {
        return Ok(());
    }
    let settings = HintsConfig {
        spool_directory: services.spool_directory.clone(),
        owner: owner(config),
        cache,
        report: report(services),
    };
    let _ = services.hints.set(Arc::new(Hints::open(settings)?));
    Ok(())
}

/// DNS as the options want it.
#[must_use]
pub fn resolver(config: &Arc<Config>, services: &Arc<Services>) -> Resolver {
    let main = &config.main;
    let servers = main.dns_servers.as_ref().map(|list| {
        let items = oxim_lang::list::split(list.as_bytes());
        items.filter_map(|item| server_address(&String::from_utf8_lossy(&item))).collect()
    });
    let defaults = ResolverConfig::default();
    Resolver::new(ResolverConfig {
        validate: main.dnssec_validate.then(|| anchors(config)),
        servers,
        timeout: Some(main.dns_retrans).filter(|t| !t.is_zero()),
        attempts: usize::try_from(main.dns_retry).ok().filter(|n| *n > 0),
        use_edns: main.dns_use_edns0 > 0,
        cname_loops: usize::try_from(main.dns_cname_loops).unwrap_or(defaults.cname_loops),
        watch: watch(config, services),
        ..defaults
    })
    .with_dnssec(main.dns_dnssec_ok > 0)
}

/// Where validation begins. A file that cannot be used was refused at the start; one that has become so since leaves the root's keys.
fn anchors(config: &Config) -> Anchors {
    let file = config.main.dnssec_trust_anchors.as_ref().filter(|file| !file.is_empty());
    let read = file.map(|file| Anchors::from_file(std::path::Path::new(file)));
    read.and_then(Result::ok).unwrap_or_else(Anchors::of_the_root)
}

/// `dns_trust_aa` and `slow_lookup_log`, and what events want to know. A list that cannot be evaluated trusts nobody.
fn watch(config: &Arc<Config>, services: &Arc<Services>) -> Watch {
    let of_transports = config.transports.iter().any(|transport| transport.options.is_set("event_action"));
    let notes_failures = config.main.event_action.is_some() || of_transports;
    let mut watch = Watch { notes_failures, ..Watch::default() };
    if let Some(text) = &config.main.dns_trust_aa {
        let list = List::compile(ListKind::Domain, text);
        let (config, services) = (Arc::downgrade(config), Arc::downgrade(services));
        watch.trusts_zone = Some(Arc::new(move |zone| {
            let (Some(config), Some(services)) = (config.upgrade(), services.upgrade()) else { return false };
            let mut context = Context::new(config, services);
            list.matches(&mut context, &Subject::Domain(&Text::tainted(zone)))
                .is_ok_and(|found| found.is_yes())
        }));
    }
    let limit = u64::try_from(config.main.slow_lookup_log).unwrap_or(0);
    if limit > 0 {
        let services = Arc::downgrade(services);
        let log = move |line: &str| {
            if let Some(services) = services.upgrade() {
                services.log().main(line);
            }
        };
        watch.slow = Some((Duration::from_millis(limit), Arc::new(log)));
    }
    watch
}

/// `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:5353`.
fn server_address(text: &str) -> Option<std::net::SocketAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|ip| std::net::SocketAddr::new(ip, 53)))
}

/// Gives lists and lookups what they need. `runtime` drives DNS.
pub fn surround(config: &Arc<Config>, services: &Arc<Services>, runtime: Option<tokio::runtime::Handle>) {
    let main = &config.main;
    oxim_lang::accounts::set_rules(main.finduser_retries, main.max_username_length);
    let mut named = NamedLists::default();
    for list in config.lists.iter() {
        named.define(list_kind(list.kind), &list.name, &list.source, list.is_cached, list.is_hidden);
    }
    let for_log = Arc::downgrade(services);
    let surroundings = Surroundings {
        named: Arc::new(named),
        primary_hostname: main.primary_hostname.clone(),
        hosts_treat_as_local: main
            .hosts_treat_as_local
            .as_ref()
            .map(|text| List::compile(ListKind::Domain, text)),
        dns_again_means_nonexist: main
            .dns_again_means_nonexist
            .as_ref()
            .map(|text| List::compile(ListKind::Domain, text)),
        dns_names: DnsNames::new(&main.dns_check_names_pattern),
        interfaces: Interfaces::new(
            &main.local_interfaces,
            main.extra_local_interfaces.as_deref().unwrap_or(""),
        ),
        family: if main.disable_ipv6 { Family::V4Only } else { Family::Any },
        resolver: runtime.map(|handle| resolver(config, services).blocking(handle)),
        log: Some(Arc::new(move |kind, line: &str| {
            if let Some(services) = for_log.upgrade() {
                match kind {
                    LogKind::Main => services.log().main(line),
                    LogKind::Panic => services.log().both(line),
                    LogKind::PanicOnly => services.log().panic(line),
                }
            }
        })),
    };
    let _ = services.surroundings.set(Arc::new(surroundings));
}

fn list_kind(kind: oxim_lang::config::ListKind) -> ListKind {
    use oxim_lang::config::ListKind as Named;
    match kind {
        Named::Domain => ListKind::Domain,
        Named::Host => ListKind::Host,
        Named::Address => ListKind::Address,
        Named::LocalPart => ListKind::LocalPart,
    }
}
