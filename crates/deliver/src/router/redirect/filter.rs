//! Redirection data that is a filter: options, evaluation, and what becomes of the address. Manual chapter 22.

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::config::Options;
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::restrict::Forbidden;

use super::super::{Problem, Purpose, Run, Verdict, error_code, prepare};
use super::list::SyntaxError;
use super::{Redirect, identity, join};
use crate::address::{Address, AddressKind};
use crate::agent::Identity;
use crate::filter::{Deed, End, Filter, Kind, Made, Outcome, exim, rights, sieve};
use crate::rewrite::Place;

/// The options of filters.
pub(super) struct FilterOptions {
    pub(super) allow_filter: bool,
    pub(super) forbid_reply: bool,
    pub(super) reply_transport: Option<Template>,
    allow_freeze: bool,
    prepend_home: bool,
    forbid_exim: bool,
    forbid_sieve: bool,
    forbid_logwrite: bool,
    forbidden: Forbidden,
    inbox: Option<Template>,
    vacation_directory: Option<Template>,
    enotify_owner: Option<Template>,
    useraddress: Option<Template>,
    subaddress: Option<Template>,
}

impl FilterOptions {
    pub(super) fn read(options: &Options, one_time: bool) -> FilterOptions {
        FilterOptions {
            allow_filter: options.bool("allow_filter"),
            forbid_reply: one_time || options.bool("forbid_filter_reply"),
            reply_transport: options.template("reply_transport"),
            allow_freeze: options.bool("allow_freeze"),
            prepend_home: options.bool("filter_prepend_home"),
            forbid_exim: options.bool("forbid_exim_filter"),
            forbid_sieve: options.bool("forbid_sieve_filter"),
            forbid_logwrite: options.bool("forbid_filter_logwrite"),
            forbidden: Forbidden {
                existstest: options.bool("forbid_filter_existstest"),
                lookup: options.bool("forbid_filter_lookup"),
                perl: options.bool("forbid_filter_perl"),
                readfile: options.bool("forbid_filter_readfile"),
                readsocket: options.bool("forbid_filter_readsocket"),
                run: options.bool("forbid_filter_run"),
            },
            inbox: options.template("sieve_inbox"),
            vacation_directory: options.template("sieve_vacation_directory"),
            enotify_owner: options.template("sieve_enotify_mailto_owner"),
            useraddress: options.template("sieve_useraddress"),
            subaddress: options.template("sieve_subaddress"),
        }
    }
}

impl Redirect {
    /// The problem of a faulty filter.
    fn faulty(&self, text: &str) -> Problem {
        let text = format!("error in filter {}: {text}", self.source.word());
        Problem::new(error_code::BAD_REDIRECT, text)
    }

    /// Runs the filter and decides about the address.
    pub(super) fn filter(
        &self,
        run: &mut Run<'_>,
        address: &mut Address,
        kind: Kind,
        data: &[u8],
    ) -> Result<Verdict, Problem> {
        let options = &self.filter;
        let refusal = match kind {
            _ if !options.allow_filter => Some("filtering not enabled"),
            Kind::Exim if options.forbid_exim => Some("Exim filtering not enabled"),
            Kind::Sieve if options.forbid_sieve => Some("Sieve filtering not enabled"),
            Kind::Exim | Kind::Sieve => None,
        };
        if let Some(text) = refusal {
            return self.with_fault(run, address, text.to_owned());
        }
        let user = identity(run, address);
        if user.is_none() {
            // Without a user it would run with the rights of the mail system.
            let text = format!("user set without group for {} router", run.router.name);
            return Err(Problem::new(error_code::UNKNOWN, text));
        }
        let own = own_addresses(run, address);
        let filter = run.delivery.filters.get(kind, data);
        let rights = rights::restrictions(options.forbidden, user.as_ref(), &run.delivery.user_files);
        let outer = run.context.local.restrictions.replace(rights);
        let evaluated = match &*filter {
            Filter::Exim(program) => Ok(program.evaluate(run.context, &self.exim_rules(run, own))),
            Filter::Sieve(script) => {
                self.sieve_rules(run, address, own).map(|rules| script.evaluate(run.context, &rules))
            }
        };
        run.context.local.restrictions = outer;
        run.context.address.counters = [0; 10];
        let outcome = evaluated?;
        self.write_log(run, user.as_ref(), &outcome)?;
        self.decide(run, address, outcome)
    }

    fn exim_rules(&self, run: &Run<'_>, own: Vec<Vec<u8>>) -> exim::Rules {
        let settings = &run.delivery.settings;
        let home = run.context.address.home.as_ref().map(|home| home.as_bytes().to_vec());
        exim::Rules {
            allow_defer: self.allowed.defer,
            allow_fail: self.allowed.fail,
            allow_freeze: self.filter.allow_freeze,
            forbid_logwrite: self.filter.forbid_logwrite,
            writes_no_log: run.purpose != Purpose::Deliver,
            home: home.filter(|_| self.filter.prepend_home),
            own,
            manually_thawed: run.context.message.manually_thawed,
            syntax: settings.syntax,
            qualify_domain: settings.qualify_recipient.clone(),
            ..exim::Rules::default()
        }
    }

    fn sieve_rules(
        &self,
        run: &mut Run<'_>,
        address: &Address,
        own: Vec<Vec<u8>>,
    ) -> Result<sieve::Rules, Problem> {
        let options = &self.filter;
        let vacation_directory =
            expanded(run, options.vacation_directory.as_ref(), "sieve_vacation_directory")?;
        let directory = match vacation_directory {
            Some(name) if name.is_foreign() => {
                let text = format!("Tainted name '{name}' for sieve_vacation_directory not permitted");
                return Err(Problem::new(error_code::BAD_REDIRECT, text));
            }
            other => other,
        };
        let bytes = |text: Option<Text>| text.map(Text::into_bytes);
        Ok(sieve::Rules {
            is_test: false,
            inbox: bytes(expanded(run, options.inbox.as_ref(), "sieve_inbox")?)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| b"inbox".to_vec()),
            vacation_directory: bytes(directory),
            enotify_owner: bytes(expanded(
                run,
                options.enotify_owner.as_ref(),
                "sieve_enotify_mailto_owner",
            )?),
            user: bytes(expanded(run, options.useraddress.as_ref(), "sieve_useraddress")?),
            detail: bytes(expanded(run, options.subaddress.as_ref(), "sieve_subaddress")?),
            own,
            recipient: address.top().address.clone(),
        })
    }

    /// Writes what `logwrite` has collected; not when addresses are only tested.
    fn write_log(&self, run: &Run<'_>, user: Option<&Identity>, outcome: &Outcome) -> Result<(), Problem> {
        if run.purpose != Purpose::Deliver {
            return Ok(());
        }
        for entry in &outcome.log {
            let path = &entry.path;
            let written = if path.is_foreign() {
                Err("Permission denied: the name is tainted".to_owned())
            } else {
                run.delivery.user_files.append(user, path.as_bytes(), entry.mode, &entry.text)
            };
            written.map_err(|reason| {
                self.faulty(&format!("failed to open filter log file \"{path}\": {reason}"))
            })?;
        }
        Ok(())
    }

    /// A filter that cannot be run: passed over under `skip_syntax_errors`.
    fn with_fault(&self, run: &mut Run<'_>, address: &Address, text: String) -> Result<Verdict, Problem> {
        if !self.allowed.skip_syntax_errors {
            return Err(self.faulty(&text));
        }
        self.report(run, address, &[SyntaxError { message: text, item: String::new() }], false);
        Ok(Verdict::Decline(None))
    }

    fn decide(&self, run: &mut Run<'_>, address: &mut Address, outcome: Outcome) -> Result<Verdict, Problem> {
        match outcome.end {
            End::Error(text) => self.with_fault(run, address, text),
            End::Defer(text) => Ok(Verdict::Defer(self.told(text))),
            End::Freeze(text) => {
                let mut children = self.deeds(run, address, outcome.made)?;
                run.beside.append(&mut children);
                Ok(Verdict::Defer(Problem { freeze: true, is_for_client: false, ..self.told(text) }))
            }
            End::Fail(text) => {
                let mut children = self.deeds(run, address, outcome.made)?;
                run.beside.append(&mut children);
                Ok(Verdict::Fail(self.told(text)))
            }
            End::Normal => {
                let mut children = self.deeds(run, address, outcome.made)?;
                match (outcome.is_significant, children.is_empty()) {
                    (true, true) => Ok(Verdict::FilteredOut),
                    (true, false) => Ok(Verdict::Redirect(children)),
                    (false, _) => {
                        run.beside.append(&mut children);
                        address.router = None;
                        Ok(Verdict::Decline(None))
                    }
                }
            }
        }
    }

    /// The addresses for what the filter sets up.
    fn deeds(
        &self,
        run: &mut Run<'_>,
        address: &mut Address,
        made: Vec<Made>,
    ) -> Result<Vec<Address>, Problem> {
        let parent = prepare::parent(run, address);
        let mut children = Vec::with_capacity(made.len());
        for (number, mut made) in made.into_iter().enumerate() {
            made.forbidden = Some(self.filter.forbidden);
            let mut child = match &made.deed {
                Deed::Mail { address, is_unqualified, errors_to } => {
                    let full = if *is_unqualified {
                        let domain = if self.qualify_preserve_domain {
                            parent.domain.clone()
                        } else {
                            self.domain_for_unqualified(run)
                                .ok_or_else(|| self.faulty("failed to expand qualify_domain"))?
                        };
                        join(address, &domain)
                    } else {
                        address.clone()
                    };
                    let mut child = self.mail_child(run, &parent, full, false);
                    if errors_to.is_some() {
                        child.propagated.errors_to.clone_from(errors_to);
                    }
                    child
                }
                Deed::Pipe(command) => {
                    let text = if command.starts_with(b"|") {
                        command.clone()
                    } else {
                        [b"|", command.as_slice()].concat()
                    };
                    self.special(run, &parent, AddressKind::Pipe, text)
                }
                Deed::Save { path, .. } if path.as_bytes().ends_with(b"/") => {
                    self.special(run, &parent, AddressKind::Directory, path.as_bytes().to_vec())
                }
                Deed::Save { path, .. } => {
                    self.special(run, &parent, AddressKind::File, path.as_bytes().to_vec())
                }
                Deed::Reply(reply) => {
                    let to = run.delivery.reply_recipients(&reply.to);
                    let mut child =
                        self.special(run, &parent, AddressKind::Reply, [b">", to.as_slice()].concat());
                    // Several replies to the same address are all sent.
                    child.unique.extend_from_slice(format!(":{number}").as_bytes());
                    child
                }
            };
            child.ignores_errors |= made.ignores_errors;
            if !matches!(made.deed, Deed::Mail { .. }) {
                child.made = Some(Arc::new(made));
            }
            children.push(child);
        }
        Ok(children)
    }
}

/// The addresses of the user in question: with and without affixes, and as the rewriting rules change them.
fn own_addresses(run: &mut Run<'_>, address: &Address) -> Vec<Vec<u8>> {
    let domain = address.domain.clone();
    let plain = join(&address.routed_local_part, &domain);
    let mut own = vec![address.address.clone()];
    if !own.contains(&plain) {
        own.push(plain);
    }
    let delivery = run.delivery;
    for place in [Place::From, Place::To] {
        for index in 0..own.len().min(2) {
            let Some(before) = own.get(index).cloned() else { break };
            let after = delivery.rewrite.address(run.context, place, &before, &delivery.rewrite_settings);
            if !own.contains(&after) {
                own.push(after);
            }
        }
    }
    own
}

fn expanded(run: &mut Run<'_>, template: Option<&Template>, option: &str) -> Result<Option<Text>, Problem> {
    let Some(template) = template else { return Ok(None) };
    match template.expand(run.context) {
        Ok(text) => Ok(Some(text)),
        Err(ExpandError::Forced(_)) => Ok(None),
        Err(error) => {
            let source = String::from_utf8_lossy(template.source_bytes());
            let text = format!("failed to expand \"{source}\" for {option}: {error}");
            Err(Problem::new(error_code::BAD_REDIRECT, text))
        }
    }
}
