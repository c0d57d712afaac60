//! Everything that is built once from a configuration and then only read: routers, transports, and what they share.
//!
//! Failure modes: building reports every faulty section, not only the first one.

#![allow(clippy::result_large_err, reason = "errors of a configuration, made once at most")]

use std::sync::Arc;

use oxim_lang::config::{Config, ConfigError, Instance, Options, SourceLine};
use oxim_lang::context::{Context, Services};
use oxim_lang::dns_names::DnsNames;
use oxim_lang::list::{List, ListKind};
use oxim_mail::address::AddressSyntax;
use oxim_mail::header::{Header, HeaderList};

use crate::address::{Address, AddressKind, RouterId, TransportId};
use crate::agent::Agents;
use crate::agent::client::Reexecute;
use crate::authenticator::{self, Authenticator};
use crate::retry;
use crate::rewrite::{self, Place, replace_domain};
use crate::router::user_files::UserFiles;
use crate::router::{Build, ByDomain, DomainChange, Generic, ROUTERS, Router};
use crate::transport::{TRANSPORTS, Transport};

/// A transport as far as routers need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportName {
    /// Its name.
    pub name: String,
    /// Whether it delivers on this machine: then no hosts are looked up for it.
    pub is_local: bool,
}

/// Main options that routing reads.
#[derive(Clone, Default)]
pub struct Settings {
    /// `qualify_domain`.
    pub qualify_domain: Vec<u8>,
    /// `qualify_recipient`.
    pub qualify_recipient: Vec<u8>,
    /// What addresses may look like.
    pub syntax: AddressSyntax,
    /// `allow_mx_to_ip`.
    pub allow_mx_to_ip: bool,
    /// `dns_ipv4_lookup`.
    pub dns_ipv4_lookup: Option<List>,
    /// `dns_again_means_nonexist`.
    pub dns_again_means_nonexist: Option<List>,
    /// `dns_check_names_pattern`.
    pub dns_names: DnsNames,
}

impl Settings {
    /// Reads them.
    #[must_use]
    pub fn of(options: &Options) -> Settings {
        let text =
            |name: &str| options.string(name).filter(|text| !text.is_empty()).map(|t| t.as_bytes().to_vec());
        let list = |name: &str| options.string(name).map(|text| List::compile(ListKind::Domain, text));
        let qualify_domain = text("qualify_domain").or_else(|| text("primary_hostname")).unwrap_or_default();
        Settings {
            qualify_recipient: text("qualify_recipient").unwrap_or_else(|| qualify_domain.clone()),
            qualify_domain,
            syntax: AddressSyntax {
                allow_domain_literals: options.bool("allow_domain_literals"),
                allow_utf8_domains: options.bool("allow_utf8_domains"),
                strip_excess_angle_brackets: options.bool("strip_excess_angle_brackets"),
                strip_trailing_dot: options.bool("strip_trailing_dot"),
                ..AddressSyntax::default()
            },
            allow_mx_to_ip: options.bool("allow_mx_to_ip"),
            dns_ipv4_lookup: list("dns_ipv4_lookup"),
            dns_again_means_nonexist: list("dns_again_means_nonexist"),
            dns_names: DnsNames::new(options.string("dns_check_names_pattern").unwrap_or_default()),
        }
    }
}

/// What is built from a configuration for routing and delivering. Immutable; shared by all sessions and deliveries.
pub struct Delivery {
    /// The configuration.
    pub config: Arc<Config>,
    /// What the process shares.
    pub services: Arc<Services>,
    /// Main options that routing reads.
    pub settings: Settings,
    /// The routers, in order.
    pub routers: Vec<Router>,
    /// The transports, in order.
    pub transports: Vec<Transport>,
    /// The authenticators, in order.
    pub authenticators: Vec<Arc<Authenticator>>,
    /// The processes that act as users.
    pub agents: Arc<Agents>,
    /// How routers read users' files: by the agents, unless a test says otherwise.
    pub user_files: Arc<dyn UserFiles>,
    /// Filters that were parsed before.
    pub filters: crate::filter::cache::Cache,
    /// Which messages wait for which server.
    pub waiting: crate::queue::waiting::WaitLists,
    /// When the clock was set.
    pub clock_steps: crate::clock_steps::ClockSteps,
    /// What gives verdicts about messages.
    pub bmi: crate::bmi::Bmi,
    /// The retry section.
    pub retry: retry::Rules,
    /// The rewrite section.
    pub rewrite: rewrite::Rules,
    /// What rewriting needs beside the rules; unqualified addresses in header lines are left alone.
    pub rewrite_settings: rewrite::Settings,
    transport_names: Vec<TransportName>,
}

impl Delivery {
    /// Builds all drivers. Agents are started by executing this program again; see [`Delivery::build_with`].
    ///
    /// # Errors
    /// All that is wrong, in the order of the file.
    pub fn build(config: Arc<Config>, services: Arc<Services>) -> Result<Delivery, Vec<ConfigError>> {
        Delivery::build_with(config, services, Arc::new(Agents::new(Box::new(Reexecute))))
    }

    /// Builds all drivers, with agents that are started in another way.
    ///
    /// # Errors
    /// All that is wrong, in the order of the file.
    pub fn build_with(
        config: Arc<Config>,
        services: Arc<Services>,
        agents: Arc<Agents>,
    ) -> Result<Delivery, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut transports = Vec::new();
        for instance in &config.transports {
            match build_transport(instance) {
                Ok(transport) => transports.push(transport),
                Err(faults) => errors.extend(faults),
            }
        }
        let transport_names: Vec<TransportName> = transports
            .iter()
            .map(|t| TransportName { name: t.name.clone(), is_local: t.driver.is_local() })
            .collect();
        let names: Vec<&str> = config.routers.iter().map(|instance| instance.name.as_str()).collect();
        let mut routers = Vec::new();
        let settings = Settings::of(&config.main_options);
        for (place, instance) in config.routers.iter().enumerate() {
            let build = RouterPlan {
                names: &names,
                transports: &transport_names,
                settings: &settings,
                config: &config,
            };
            match build.router(instance, RouterId(place)) {
                Ok(router) => routers.push(router),
                Err(error) => errors.push(error),
            }
        }
        let rewrite = rules(&config.rewrite, &mut errors, |lines| {
            rewrite::Rules::parse(lines, rewrite::Scope::Main)
                .map_err(|faults| faults.into_iter().map(|(line, e)| (line, e.to_string())).collect())
        });
        let retry = rules(&config.retry, &mut errors, |lines| {
            retry::Rules::parse(lines)
                .map_err(|faults| faults.into_iter().map(|(line, e)| (line, e.to_string())).collect())
        });
        let bmi = crate::bmi::Bmi::build(&config).map_err(|error| errors.push(error)).ok();
        let authenticators = match authenticator::build_all(&config) {
            Ok(authenticators) => authenticators,
            Err(faults) => {
                errors.extend(faults);
                Vec::new()
            }
        };
        let Some(bmi) = bmi.filter(|_| errors.is_empty()) else { return Err(errors) };
        let rewrite_settings = rewrite::Settings {
            syntax: settings.syntax,
            qualify_recipient: settings.qualify_recipient.clone(),
            qualify_senders: None,
            qualify_recipients: None,
            headers_charset: config.main.headers_charset.clone(),
        };
        let user_files: Arc<dyn UserFiles> = Arc::clone(&agents) as Arc<dyn UserFiles>;
        let clock_steps = crate::clock_steps::ClockSteps::load(services.hints.get());
        clock_steps.notice(services.hints.get());
        Ok(Delivery {
            clock_steps,
            waiting: crate::queue::waiting::WaitLists::default(),
            config,
            services,
            settings,
            routers,
            transports,
            authenticators,
            agents,
            user_files,
            filters: crate::filter::cache::Cache::default(),
            bmi,
            retry,
            rewrite,
            rewrite_settings,
            transport_names,
        })
    }

    /// A router.
    #[must_use]
    pub fn router(&self, id: RouterId) -> Option<&Router> {
        self.routers.get(id.0)
    }

    /// A transport.
    #[must_use]
    pub fn transport(&self, id: TransportId) -> Option<&Transport> {
        self.transports.get(id.0)
    }

    /// The transport of a name.
    #[must_use]
    pub fn transport_named(&self, name: &str) -> Option<TransportId> {
        self.transport_names.iter().position(|transport| transport.name == name).map(TransportId)
    }

    /// The name of a transport.
    #[must_use]
    pub fn transport_name(&self, id: TransportId) -> &str {
        self.transport_names.get(id.0).map_or("", |transport| transport.name.as_str())
    }

    /// Whether a transport delivers on this machine.
    #[must_use]
    pub fn is_local_transport(&self, id: TransportId) -> bool {
        self.transport_names.get(id.0).is_some_and(|transport| transport.is_local)
    }

    /// The addresses in a list, with domains and commas between: how the log names a reply.
    #[must_use]
    pub fn reply_recipients(&self, list: &[u8]) -> Vec<u8> {
        let settings = &self.settings;
        let parsed =
            oxim_mail::address::address_list(list).filter_map(|item| item.parse(&settings.syntax).ok());
        let full = parsed.map(|parsed| match parsed.domain() {
            Some(_) => parsed.address,
            None => [parsed.address.as_slice(), b"@", &settings.qualify_recipient].concat(),
        });
        full.collect::<Vec<_>>().join(&b","[..])
    }

    /// Addresses that a redirection made are rewritten like new ones, unless the router says `no_rewrite`.
    pub(crate) fn rewrite_child(&self, context: &mut Context, child: &mut Address) {
        if child.skips_rewriting || child.kind != AddressKind::Mail {
            return;
        }
        let text = self.rewrite.address(context, Place::EnvelopeTo, &child.address, &self.rewrite_settings);
        if text == child.address {
            return;
        }
        if let Some(parent) = child.parent.clone() {
            let mut rewritten = Address::child(&parent, text);
            rewritten.is_hidden_in_bounces = child.is_hidden_in_bounces;
            rewritten.is_one_time = child.is_one_time;
            rewritten.start = child.start;
            rewritten.made.clone_from(&child.made);
            rewritten.ignores_errors = child.ignores_errors;
            rewritten.propagated = child.propagated.clone();
            *child = rewritten;
        }
    }

    /// A header in which domains have been replaced, as routing found it necessary; `None` if no line is concerned.
    #[must_use]
    pub fn with_changed_domains(&self, headers: &HeaderList, changes: &[DomainChange]) -> Option<HeaderList> {
        let syntax = &self.rewrite_settings.syntax;
        let mut changed: Option<HeaderList> = None;
        for change in changes {
            let lines = changed.as_ref().unwrap_or(headers);
            let new: Vec<(usize, Header)> = lines
                .all()
                .iter()
                .enumerate()
                .filter(|(_, header)| header.is_live())
                .filter_map(|(at, h)| Some((at, replace_domain(h, &change.from, &change.to, syntax)?)))
                .collect();
            // From the end, as each replacement may move those behind it.
            for (at, header) in new.into_iter().rev() {
                changed.get_or_insert_with(|| headers.clone()).replace(at, header.text);
            }
        }
        changed
    }
}

/// Parses the lines of a section; the faults join the others.
fn rules<T: Default>(
    lines: &[SourceLine],
    errors: &mut Vec<ConfigError>,
    parse: impl FnOnce(Vec<&str>) -> Result<T, Vec<(usize, String)>>,
) -> T {
    match parse(lines.iter().map(|line| line.text.as_str()).collect()) {
        Ok(rules) => rules,
        Err(faults) => {
            for (index, message) in faults {
                let at = lines.get(index).map(|line| ConfigError::at(&line.location, message.as_str()));
                errors.push(at.unwrap_or_else(|| ConfigError::new(message)));
            }
            T::default()
        }
    }
}

/// What routers are built with.
struct RouterPlan<'a> {
    names: &'a [&'a str],
    transports: &'a [TransportName],
    settings: &'a Settings,
    config: &'a Config,
}

impl RouterPlan<'_> {
    fn router(&self, instance: &Instance, id: RouterId) -> Result<Router, ConfigError> {
        let kind = ROUTERS.iter().find(|kind| kind.row.name == instance.driver).ok_or_else(|| {
            let text = format!("router {}: cannot find router driver \"{}\"", instance.name, instance.driver);
            ConfigError::at(&instance.location, text)
        })?;
        let generic = Generic::build(instance, kind, self.names)?;
        let driver = (kind.build)(&Build { instance, generic: &generic, transports: self.transports })?;
        let by_domain = ByDomain::of(&generic, driver.inputs(), self.settings, self.config);
        Ok(Router { id, name: instance.name.clone(), kind, generic, driver, by_domain })
    }
}

fn build_transport(instance: &Instance) -> Result<Transport, Vec<ConfigError>> {
    let kind = TRANSPORTS.iter().find(|kind| kind.row.name == instance.driver).ok_or_else(|| {
        let text =
            format!("transport {}: cannot find transport driver \"{}\"", instance.name, instance.driver);
        vec![ConfigError::at(&instance.location, text)]
    })?;
    Transport::build(instance, kind)
}
