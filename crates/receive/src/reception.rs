//! Everything that receiving needs, built once for a configuration and shared by all sessions.
//!
//! Failure mode of building: every fault of the configuration that concerns reception, at once.

use std::sync::{Arc, Weak};

use oxim_base::Text;
use oxim_base::clock::Zone;
use oxim_deliver::delivery::Delivery;
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::context::{Context, Services};
use oxim_lang::expand::Template;
use oxim_lang::regex::Regex;
use oxim_mail::header::split::FromLineTest;
use oxim_mail::message_id::Generator;
use oxim_net::dns::BlockingResolver;
use oxim_spool::store::Store;
use tokio::sync::Semaphore;

use crate::acl::{Acls, Phase};
use crate::admission::Admission;
use crate::load::Load;
use crate::logs::Logs;
use crate::settings::Settings;
use crate::sink::{Queueing, Sink};
use crate::space::SpaceLeft;
use crate::tls::{TlsAtOnce, TlsOptions};
use crate::wants::Wants;

/// Who this process is, for messages that come over the network.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Login name.
    pub login: Vec<u8>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What reception is built from.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the language needs.
    pub services: Arc<Services>,
    /// Where messages are kept.
    pub store: Arc<dyn Store>,
    /// Who takes accepted messages.
    pub sink: Arc<dyn Sink>,
    /// Routers, for verification.
    pub delivery: Arc<Delivery>,
    /// The logs.
    pub logs: Logs,
    /// Optional log lines and fields.
    pub wants: Wants,
    /// DNS, for host names.
    pub resolver: Option<BlockingResolver>,
    /// Who we are.
    pub identity: Identity,
    /// Open connections.
    pub admission: Arc<Admission>,
    /// Makes message ids.
    pub ids: Arc<Generator>,
    /// `-odq` and kin: over all options.
    pub forced_queueing: Option<Queueing>,
    /// Where TLS comes before the greeting.
    pub tls_at_once: TlsAtOnce,
    /// How many ACLs, verifications and the like may run on worker threads at a time.
    pub workers: usize,
}

/// Which steps of a session may wait for files, DNS or lookups, and so run on a worker thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blocking {
    /// Before the greeting.
    pub connect: bool,
    /// HELO and EHLO.
    pub helo: bool,
    /// MAIL.
    pub mail: bool,
    /// RCPT.
    pub rcpt: bool,
    /// After the message has arrived.
    pub data: bool,
}

/// Everything that receiving needs.
pub struct Reception {
    /// Itself, for what an ACL has put on the queue.
    pub(crate) own: Weak<Reception>,
    /// The configuration.
    pub config: Arc<Config>,
    /// What the language needs.
    pub services: Arc<Services>,
    /// Options.
    pub settings: Settings,
    /// ACLs.
    pub acls: Acls,
    /// The logs.
    pub logs: Logs,
    /// Optional log lines and fields.
    pub wants: Wants,
    /// Where messages are kept.
    pub store: Arc<dyn Store>,
    /// Who takes accepted messages.
    pub sink: Arc<dyn Sink>,
    /// Routers, for verification.
    pub delivery: Arc<Delivery>,
    /// DNS.
    pub resolver: Option<BlockingResolver>,
    /// TLS; None if it is never offered.
    pub tls: Option<TlsOptions>,
    /// Where TLS comes before the greeting.
    pub tls_at_once: TlsAtOnce,
    /// Who we are.
    pub identity: Identity,
    /// Open connections.
    pub admission: Arc<Admission>,
    /// Makes message ids.
    pub ids: Arc<Generator>,
    /// `-odq` and kin.
    pub forced_queueing: Option<Queueing>,
    /// Room on disk.
    pub space: SpaceLeft,
    /// Room for the log files.
    pub log_space: SpaceLeft,
    /// Load average.
    pub load: Load,
    /// The zone of dates.
    pub zone: Zone,
    /// `uucp_from_pattern`, as a test.
    pub from_line: Option<FromLineTest>,
    from_pattern: Option<Arc<Regex>>,
    /// What must run on worker threads.
    pub blocking: Blocking,
    /// Places on worker threads.
    pub(crate) workers: Arc<Semaphore>,
}

impl Reception {
    /// Builds it all.
    ///
    /// # Errors
    /// Every fault of the configuration that concerns reception.
    pub fn build(parts: Parts) -> Result<Arc<Reception>, Vec<ConfigError>> {
        let config = parts.config;
        let mut context = Context::new(Arc::clone(&config), Arc::clone(&parts.services));
        let settings = Settings::build(&config, &mut context);
        let acls = Acls::build(&config)?;
        let from_pattern = from_pattern(&config, &settings.uucp_from_pattern)?;
        let from_line = from_pattern
            .clone()
            .map(|regex| Arc::new(move |line: &[u8]| regex.is_match(line).unwrap_or(false)) as FromLineTest);
        let tls = TlsOptions::build(&config);
        let needs_tls = !settings.hosts.tls.is_unset() || parts.tls_at_once != TlsAtOnce::Ports(Vec::new());
        let blocking = blocking(&settings, &acls, &parts.delivery, &config.main.dkim_verify_signers);
        let zone = parts.services.zone;
        Ok(Arc::new_cyclic(|own| Reception {
            own: Weak::clone(own),
            config,
            settings,
            acls,
            wants: parts.wants,
            tls: needs_tls.then_some(tls),
            tls_at_once: parts.tls_at_once,
            zone,
            from_line,
            from_pattern,
            blocking,
            services: parts.services,
            logs: parts.logs,
            store: parts.store,
            sink: parts.sink,
            delivery: parts.delivery,
            resolver: parts.resolver,
            identity: parts.identity,
            admission: parts.admission,
            ids: parts.ids,
            forced_queueing: parts.forced_queueing,
            space: SpaceLeft::default(),
            log_space: SpaceLeft::default(),
            load: Load::default(),
            workers: Arc::new(Semaphore::new(parts.workers.max(1))),
        }))
    }

    /// A context for a new connection or submission.
    #[must_use]
    pub fn context(&self) -> Context {
        let mut context = Context::new(Arc::clone(&self.config), Arc::clone(&self.services));
        context.connection.log_ports = self.wants.incoming_port;
        context
    }

    /// The captures of a "From " line; None if it is none.
    pub(crate) fn captures_of_from_line(&self, line: &Text) -> Option<Vec<Text>> {
        self.from_pattern.as_ref()?.captures(line).ok().flatten()
    }
}

fn blocking(settings: &Settings, acls: &Acls, delivery: &Delivery, signers: &Template) -> Blocking {
    let rewrites = crate::rewriting::may_block(delivery);
    let blocks = |template: &Option<Template>| template.as_ref().is_some_and(Template::may_block);
    let fixups = &settings.fixups;
    Blocking {
        connect: settings.hosts.connect_may_block()
            || acls.may_block(Phase::Connect)
            || settings.banner.may_block()
            || settings.message_size_limit.may_block()
            || settings.smtp_receive_timeout.may_block()
            || blocks(&settings.max_per_host)
            || blocks(&settings.active_hostname),
        helo: settings.hosts.helo_may_block()
            || acls.may_block(Phase::Helo)
            || acls.may_block(Phase::Atrn)
            || settings.messages_max.may_block()
            || settings.recipients_max.may_block(),
        mail: rewrites
            || settings.messages_max.may_block()
            || acls.may_block(Phase::Mail)
            || acls.may_block(Phase::MailAuth)
            || delivery.authenticators.iter().any(|a| blocks(&a.mail_auth_condition)),
        rcpt: rewrites || acls.may_block(Phase::Rcpt) || settings.recipients_max.may_block(),
        data: rewrites
            || acls.may_block(Phase::Data)
            // The parts are read from files.
            || acls.is_set(Phase::Mime)
            || acls.is_set(Phase::Dkim) && signers.may_block()
            || fixups.received_header_text.may_block()
            || blocks(&fixups.message_id_domain)
            || blocks(&fixups.message_id_text),
    }
}

/// The pattern of "From " lines. An empty one recognises none.
fn from_pattern(config: &Config, pattern: &str) -> Result<Option<Arc<Regex>>, Vec<ConfigError>> {
    if pattern.is_empty() {
        return Ok(None);
    }
    match Regex::compile(pattern.as_bytes(), false) {
        Ok(regex) => Ok(Some(Arc::new(regex))),
        Err(error) => {
            let message = error.describe(pattern.as_bytes());
            let location = config.main_options.location("uucp_from_pattern");
            Err(vec![location.map_or_else(
                || ConfigError::new(message.clone()),
                |at| ConfigError::at(at, message.clone()),
            )])
        }
    }
}
