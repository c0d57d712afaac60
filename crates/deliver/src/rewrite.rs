//! Rewriting of addresses: the rewrite section, `headers_rewrite`, and the qualification of header lines (manual chapter 31).
//!
//! [`Rules`] is a parsed list of rules; [`Rules::address`] rewrites an envelope address, [`Rules::header`] the addresses of
//! a header line and not one byte beside them, [`Rules::smtp`] the argument of MAIL or RCPT. Failure modes: faulty rules
//! ([`RuleError`], Exim's text). A replacement that fails to expand, or gives no address, leaves the address as it was,
//! and a line goes to the panic log.

mod header;
mod rule;
mod show;

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::expand::ExpandError;
use oxim_lang::list::{LogKind, Subject, write_log};
use oxim_mail::address::{self, AddressSyntax};
use oxim_spool::log::{Log, Selector};

use crate::scope;

pub use header::replace_domain;
pub use rule::{Flags, Place, Rule, RuleError, Scope};

/// How often the `R` flag repeats a rule. Exim's figure.
const REPEATS_MAX: usize = 10;

/// What rewriting needs to know of the configuration and of where the message came from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How addresses are read.
    pub syntax: AddressSyntax,
    /// `qualify_recipient`, for the `Q` flag.
    pub qualify_recipient: Vec<u8>,
    /// The domain for unqualified addresses in From:, Sender: and Reply-To:; None: they are left alone.
    pub qualify_senders: Option<Vec<u8>>,
    /// The domain for unqualified addresses in To:, Cc: and Bcc:; None: they are left alone.
    pub qualify_recipients: Option<Vec<u8>>,
    /// `headers_charset`, for the `w` flag.
    pub headers_charset: String,
}

/// Rewriting rules in their order.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// What became of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rewritten {
    address: Vec<u8>,
    /// With the `w` flag: the text for the whole item of a header line.
    whole: Option<Vec<u8>>,
}

/// What to do after a rule.
enum Next {
    Rule,
    Stop,
}

impl Rules {
    /// Parses the lines of the rewrite section.
    ///
    /// # Errors
    /// The index of each faulty line, with Exim's text.
    pub fn parse<'a>(
        lines: impl IntoIterator<Item = &'a str>,
        scope: Scope,
    ) -> Result<Rules, Vec<(usize, RuleError)>> {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            match Rule::parse(line, scope) {
                Ok(rule) => rules.push(rule),
                Err(error) => errors.push((index, error)),
            }
        }
        if errors.is_empty() { Ok(Rules { rules }) } else { Err(errors) }
    }

    /// Parses the value of `headers_rewrite`, a list of rules.
    ///
    /// # Errors
    /// As [`Rules::parse`].
    pub fn parse_headers_rewrite(value: &str) -> Result<Rules, Vec<(usize, RuleError)>> {
        let items: Vec<String> = oxim_lang::list::split(value.as_bytes())
            .map(|i| String::from_utf8_lossy(&i).into_owned())
            .collect();
        Rules::parse(items.iter().map(String::as_str), Scope::Transport)
    }

    /// Whether any rule is for a place, so that callers can save themselves the trouble.
    #[must_use]
    pub fn concern(&self, place: Place) -> bool {
        self.rules.iter().any(|rule| rule.flags.admits(place))
    }

    /// Whether there are rules for SMTP time.
    #[must_use]
    pub fn has_smtp_rules(&self) -> bool {
        self.rules.iter().any(|rule| rule.flags.smtp)
    }

    /// Rewrites an envelope address. An empty address stays empty.
    pub fn address(
        &self,
        context: &mut Context,
        place: Place,
        address: &[u8],
        settings: &Settings,
    ) -> Vec<u8> {
        if address.is_empty() || !self.concern(place) {
            return address.to_vec();
        }
        self.rewrite(context, place, address, settings).address
    }

    fn rewrite(&self, context: &mut Context, place: Place, address: &[u8], settings: &Settings) -> Rewritten {
        let mut current = Rewritten { address: address.to_vec(), whole: None };
        let captures = context.local.captures.clone();
        let scope = (context.address.local_part.clone(), context.address.domain.clone());
        for (index, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.flags.admits(place)) {
            let numbered = (index.saturating_add(1), rule);
            if matches!(apply(context, numbered, place, &mut current, settings), Next::Stop) {
                break;
            }
        }
        (context.address.local_part, context.address.domain) = scope;
        context.local.captures = captures;
        current
    }

    /// Applies the rules for SMTP time to the whole argument of MAIL or RCPT, angle brackets included.
    pub fn smtp(&self, context: &mut Context, argument: &[u8]) -> Vec<u8> {
        let mut current = argument.to_vec();
        let captures = context.local.captures.clone();
        'rules: for rule in self.rules.iter().filter(|rule| rule.flags.smtp) {
            let mut done = false;
            for repeat in 0..=REPEATS_MAX {
                if !fits(context, rule, &current) {
                    break;
                }
                done = true;
                let Some(replacement) = rule.replacement.as_ref() else { break 'rules };
                match replacement.expand(context) {
                    Ok(text) => current = text.into_bytes(),
                    Err(ExpandError::Forced(_)) => break,
                    Err(error) => {
                        complain(
                            context,
                            &format!(
                                "Expansion of {} failed while rewriting: {error}",
                                rule.replacement_text
                            ),
                        );
                        break 'rules;
                    }
                }
                if !rule.flags.repeat {
                    break;
                }
                if repeat == REPEATS_MAX {
                    complain(context, "rewrite rule repeat ignored after 10 times");
                }
            }
            if done && rule.flags.stop {
                break;
            }
        }
        context.local.captures = captures;
        current
    }
}

/// Applies one rule, repeatedly if it says so.
fn apply(
    context: &mut Context,
    (number, rule): (usize, &Rule),
    place: Place,
    current: &mut Rewritten,
    settings: &Settings,
) -> Next {
    let mut done = false;
    for repeat in 0..=REPEATS_MAX {
        if !fits(context, rule, &current.address) {
            break;
        }
        done = true;
        let Some(replacement) = rule.replacement.as_ref() else { return Next::Stop };
        scope::enter_address(context, &current.address);
        let text = match replacement.expand(context) {
            Ok(text) => text.into_bytes(),
            Err(ExpandError::Forced(_)) => break,
            Err(error) => {
                complain(
                    context,
                    &format!("Expansion of {} failed while rewriting: {error}", rule.replacement_text),
                );
                return Next::Stop;
            }
        };
        let Some(address) = address_of(context, rule, &current.address, &text, settings) else {
            return Next::Stop;
        };
        // A later rule without `w` replaces what an earlier one with it has made.
        if place.is_header() && (rule.flags.whole || current.whole.is_some()) {
            let text = if rule.flags.whole { header::tidy_phrase(&text, settings) } else { address.clone() };
            current.whole = Some(text);
        }
        log_rewritten(context, place, number, &current.address, &address);
        current.address = address;
        if !rule.flags.repeat {
            break;
        }
        if repeat == REPEATS_MAX {
            complain(context, "rewrite rule repeat ignored after 10 times");
        }
    }
    if done && rule.flags.stop { Next::Stop } else { Next::Rule }
}

/// Matches the pattern; `$0`, `$1`… are set if it fits. What cannot be decided now does not fit, and is told.
fn fits(context: &mut Context, rule: &Rule, address: &[u8]) -> bool {
    let text = Text::tainted(address);
    let subject = Subject::Address { address: &text, caseful: true, captures: true };
    match rule.pattern.matches(context, &subject) {
        Ok(result) => result.is_yes(),
        Err(defer) => {
            complain(
                context,
                &format!("rewrite: pattern \"{}\" could not be matched: {defer}", rule.pattern_text),
            );
            false
        }
    }
}

/// The working part of a replacement, qualified if the rule allows it.
fn address_of(
    context: &Context,
    rule: &Rule,
    old: &[u8],
    text: &[u8],
    settings: &Settings,
) -> Option<Vec<u8>> {
    let old = String::from_utf8_lossy(old);
    let shown = String::from_utf8_lossy(text);
    match address::parse(text, &settings.syntax) {
        Ok(parsed) if parsed.domain().is_some() => Some(parsed.address),
        Ok(parsed) if rule.flags.qualify => {
            Some([parsed.address.as_slice(), b"@", &settings.qualify_recipient].concat())
        }
        Ok(parsed) => {
            let address = String::from_utf8_lossy(&parsed.address);
            complain(context, &format!("Rewrite of {old} yielded unqualified address \"{address}\""));
            None
        }
        Err(error) => {
            complain(
                context,
                &format!("Rewrite of {old} yielded unparseable address: {error} in address {shown}"),
            );
            None
        }
    }
}

fn complain(context: &Context, text: &str) {
    write_log(context, LogKind::Panic, text);
}

/// `+address_rewrite`.
fn log_rewritten(context: &Context, place: Place, number: usize, old: &[u8], new: &[u8]) {
    let wanted = |log: &Arc<Log>| log.selectors().has(Selector::AddressRewrite);
    if context.services.log.get().is_some_and(wanted) {
        let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
        let line = format!("\"{old}\" from {} rewritten as \"{new}\" by rule {number}", place.name());
        write_log(context, LogKind::Main, &line);
    }
}

#[cfg(test)]
mod tests;
