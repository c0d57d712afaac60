//! The main options that are lists of client hosts: `tls_advertise_hosts`, `host_lookup` and their kin.
//!
//! Most of them are empty or `*`; these two need no matching at all. Failure mode: a list that cannot be evaluated now
//! counts as not matching, with the reason given back for the log. Manual section 10.11.

use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_lang::list::{HostName, List, ListKind, Subject};

/// One compiled host list option.
#[derive(Debug)]
pub struct HostRule {
    name: &'static str,
    hosts: Hosts,
    may_block: bool,
}

#[derive(Debug)]
enum Hosts {
    Unset,
    Everybody,
    Listed(Box<List>),
}

impl HostRule {
    /// Compiles the option of this name.
    #[must_use]
    pub fn build(config: &Config, name: &'static str) -> HostRule {
        let hosts = match config.main_options.string(name).map(str::trim) {
            None | Some("") => Hosts::Unset,
            Some("*") => Hosts::Everybody,
            Some(text) => Hosts::Listed(Box::new(List::compile(ListKind::Host, text))),
        };
        let may_block = matches!(&hosts, Hosts::Listed(list) if list.may_block_in(config));
        HostRule { name, hosts, may_block }
    }

    /// As [`Self::build`] for an option that this build may not have: then nobody matches.
    #[must_use]
    pub fn build_if_known(config: &Config, name: &'static str) -> HostRule {
        if config.main_options.has(name) {
            HostRule::build(config, name)
        } else {
            HostRule { name, hosts: Hosts::Unset, may_block: false }
        }
    }

    /// Whether nobody can match.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        matches!(self.hosts, Hosts::Unset)
    }

    /// Whether matching may wait for DNS or a lookup.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.may_block
    }

    /// Whether the client of the connection is on the list.
    ///
    /// # Errors
    /// The list cannot be evaluated now.
    pub fn try_match(&self, context: &mut Context) -> Result<bool, String> {
        let (matched, why) = match &self.hosts {
            Hosts::Unset => (false, " (option unset)"),
            Hosts::Everybody => (true, " (matched \"*\")"),
            Hosts::Listed(list) => {
                let subject =
                    Subject::Host { address: context.connection.host_address, name: HostName::Caller };
                let found = list.matches(context, &subject).map_err(|defer| defer.to_string())?;
                (found.is_yes(), "")
            }
        };
        if context.connection.host_checking {
            eprintln!(">>> host in {}? {}{why}", self.name, if matched { "yes" } else { "no" });
        }
        Ok(matched)
    }

    /// As [`Self::try_match`], where a list that cannot be evaluated does not match.
    pub fn matches(&self, context: &mut Context) -> bool {
        self.try_match(context).unwrap_or(false)
    }
}
