//! Retry rules: which one applies to a failure, and when the next attempt is due (manual chapter 32).
//!
//! [`Rules`] is the retry section of the configuration, parsed; [`RetryRecord`] is what the hints remember of a host, a
//! message on a host, or an address. All times are seconds since 1970 and are given in, so nothing here looks at a
//! clock or at a database. Failure modes: a rule with a faulty field ([`RuleError`], Exim's text); a pattern or a
//! sender list that cannot be decided now ([`Defer`]), for which callers take the next attempt as not yet timed out.

mod cause;
mod record;
mod rule;

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::list::{Defer, Subject};

pub use cause::{Cause, MORE_A, MORE_CONNECT, MORE_MX, code};
pub use record::{Due, Failure, RetryRecord};
pub(crate) use rule::field;
pub use rule::{Algorithm, Parameter, Rule, RuleError};

/// The text of a deferral because it is too early.
pub const NOT_REACHED: &str = "retry time not reached";
/// The text of a deferral because it is too early for every host.
pub const NOT_REACHED_FOR_ANY_HOST: &str = "retry time not reached for any host";
/// The text of a failure without an attempt, because all hosts have been failing for too long.
pub const NOT_REACHED_AFTER_LONG_FAILURE: &str =
    "retry time not reached for any host after a long failure period";
/// What is added to the last error when an address is given up.
pub const TIMEOUT_EXCEEDED: &str = "retry timeout exceeded";

/// What a rule is searched for.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The address that failed, `local@domain`; or only its domain, if the local part does not count.
    pub address: &'a str,
    /// The host that failed: its name, or its IP address in a route without names. Tried before the domain.
    pub host: Option<&'a str>,
    /// The envelope sender; None: unknown, then no rule with a list of senders applies.
    pub sender: Option<&'a Text>,
}

/// The retry section.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// Parses the lines of the section.
    ///
    /// # Errors
    /// The index of each faulty line, with Exim's text.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Rules, Vec<(usize, RuleError)>> {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            match Rule::parse(line) {
                Ok(rule) => rules.push(rule),
                Err(error) => errors.push((index, error)),
            }
        }
        if errors.is_empty() { Ok(Rules { rules }) } else { Err(errors) }
    }

    /// Whether there are no rules: then temporary errors are permanent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule that applies. Without one there are no retries.
    ///
    /// # Errors
    /// [`Defer`], when a pattern or a list of senders could not be matched.
    pub fn find(&self, context: &mut Context, key: &Key<'_>, cause: Cause) -> Result<Option<&Rule>, Defer> {
        for rule in &self.rules {
            if rule.error.admits(cause) && self.fits(context, rule, key)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    fn fits(&self, context: &mut Context, rule: &Rule, key: &Key<'_>) -> Result<bool, Defer> {
        if let Some(senders) = &rule.senders {
            let Some(sender) = key.sender else { return Ok(false) };
            let subject = Subject::Address { address: sender, caseful: false, captures: false };
            if !senders.matches(context, &subject)?.is_yes() {
                return Ok(false);
            }
        }
        match key.host {
            None => matches(context, rule, key.address),
            Some(host) => {
                let domain = key.address.rsplit_once('@').map_or(key.address, |(_, domain)| domain);
                Ok(matches(context, rule, host)? || matches(context, rule, domain)?)
            }
        }
    }
}

/// A domain on its own matches a domain pattern, or one that starts with `*@`; a regular expression sees `*@domain`.
fn matches(context: &mut Context, rule: &Rule, key: &str) -> Result<bool, Defer> {
    let address = if key.contains('@') { Text::tainted(key) } else { Text::tainted(format!("*@{key}")) };
    let subject = Subject::Address { address: &address, caseful: false, captures: false };
    Ok(rule.pattern.matches(context, &subject)?.is_yes())
}

#[cfg(test)]
mod tests;
