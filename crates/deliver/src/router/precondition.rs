//! Whether a router is run for an address: the preconditions, in the order of manual section 3.12.

use std::borrow::Cow;
use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::bmi::Destination;
use oxim_lang::expand::ExpandError;
use oxim_lang::list::Subject;

use super::affix::Cut;
use super::generic::BmiConditions;
use super::{Generic, Problem, Purpose, Run, error_code, matching, prepare, require_files, scope};
use crate::address::{Address, LocalUser};
use crate::debug_print;

/// What the preconditions came to.
pub enum Outcome {
    /// All are met.
    Met,
    /// One is not: the next router is asked. The text is for debugging.
    Skip(Cow<'static, str>),
    /// `domains` is not.
    OtherDomain,
    /// One cannot be decided now.
    Defer(Problem),
}

/// Tests all preconditions, and leaves in `run`, the context and the address what they found out.
pub fn test(run: &mut Run<'_>, address: &mut Address) -> Outcome {
    match test_in_order(run, address) {
        Ok(None) => Outcome::Met,
        Ok(Some(Miss::Domain)) => Outcome::OtherDomain,
        Ok(Some(Miss::Other(reason))) => Outcome::Skip(reason),
        Err(problem) => Outcome::Defer(problem),
    }
}

/// The first precondition that is not met.
enum Miss {
    Domain,
    Other(Cow<'static, str>),
}

type Skip = Option<Miss>;

fn skip(text: impl Into<Cow<'static, str>>) -> Result<Skip, Problem> {
    Ok(Some(Miss::Other(text.into())))
}

fn test_in_order(run: &mut Run<'_>, address: &mut Address) -> Result<Skip, Problem> {
    let generic = &run.router.generic;
    if let Some(reason) = take_affixes(generic, address) {
        return skip(reason);
    }
    scope::enter(run.context, address);
    if let Some(reason) = wrong_purpose(generic, run.purpose) {
        return skip(reason);
    }
    if let Some(list) = &generic.domains {
        match matching::test(list, run.context, &Subject::Domain(&address.domain_text()), "domains")? {
            None => return Ok(Some(Miss::Domain)),
            Some(data) => address.propagated.domain_data = data,
        }
        run.context.address.domain_data.clone_from(&address.propagated.domain_data);
    }
    if let Some(list) = &generic.local_parts {
        // In the original case: without `caseful_local_part` the list begins caseless, until `+caseful`.
        let text = Text::tainted(address.local_part_without_affixes());
        let subject = Subject::LocalPart { text: &text, caseful: generic.caseful_local_part };
        match matching::test(list, run.context, &subject, "local_parts")? {
            None => return skip("local_parts mismatch"),
            Some(data) => address.propagated.local_part_data = data,
        }
        run.context.address.local_part_data.clone_from(&address.propagated.local_part_data);
    }
    if generic.check_local_user {
        match prepare::local_user(&String::from_utf8_lossy(&address.routed_local_part))? {
            None => {
                return skip(format!(
                    "{} is not a local user",
                    String::from_utf8_lossy(&address.routed_local_part)
                ));
            }
            Some(user) => found_user(run, address, user),
        }
    }
    set_home(run)?;
    debug_print(run);
    if let Some(list) = &generic.senders {
        let sender = Text::tainted(run.context.message.sender.clone());
        let subject = Subject::Address { address: &sender, caseful: false, captures: false };
        if matching::test(list, run.context, &subject, "senders")?.is_none() {
            return skip("senders mismatch");
        }
    }
    if !generic.require_files.is_empty() && !require_files::are_met(run)? {
        return skip("file check");
    }
    if let Some(miss) = condition(run)? {
        return Ok(Some(miss));
    }
    verdict(run)
}

/// Cuts prefix and suffix off; the reason if a mandatory one is missing.
fn take_affixes(generic: &Generic, address: &mut Address) -> Option<&'static str> {
    address.prefix = None;
    address.prefix_v = None;
    address.suffix = None;
    address.suffix_v = None;
    let whole = address.local_part.clone();
    let mut rest = whole.as_slice();
    if !generic.prefixes.is_empty() {
        match generic.prefixes.iter().find_map(|p| p.cut_prefix(rest)) {
            Some(Cut { length, wild_length }) => {
                let (cut, after) = rest.split_at_checked(length)?;
                address.prefix_v = wild_length.and_then(|n| cut.get(..n)).map(<[u8]>::to_vec);
                address.prefix = Some(cut.to_vec());
                rest = after;
            }
            None if generic.is_prefix_optional => {}
            None => return Some("prefix mismatch"),
        }
    }
    if !generic.suffixes.is_empty() {
        match generic.suffixes.iter().find_map(|s| s.cut_suffix(rest)) {
            Some(Cut { length, wild_length }) => {
                let (before, cut) = rest.split_at_checked(rest.len().saturating_sub(length))?;
                let wild_start = wild_length.map(|n| cut.len().saturating_sub(n));
                address.suffix_v = wild_start.and_then(|at| cut.get(at..)).map(<[u8]>::to_vec);
                address.suffix = Some(cut.to_vec());
                rest = before;
            }
            None if generic.is_suffix_optional => {}
            None => return Some("suffix mismatch"),
        }
    }
    if rest.is_empty() && address.prefix.is_some() && address.suffix.is_some() {
        return Some("suffix mismatch");
    }
    address.is_caseful = generic.caseful_local_part;
    address.routed_local_part = rest.to_vec();
    if !generic.caseful_local_part {
        let affixes =
            [&mut address.prefix, &mut address.prefix_v, &mut address.suffix, &mut address.suffix_v];
        affixes
            .into_iter()
            .flatten()
            .chain([&mut address.routed_local_part])
            .for_each(|part| part.make_ascii_lowercase());
    }
    None
}

fn wrong_purpose(generic: &Generic, purpose: Purpose) -> Option<&'static str> {
    match purpose {
        Purpose::VerifySender if !generic.verify_sender => Some("verify_sender unset"),
        Purpose::VerifyRecipient if !generic.verify_recipient => Some("verify_recipient unset"),
        Purpose::Expn if !generic.expn => Some("no_expn set"),
        Purpose::Test if !generic.address_test => Some("address_test is unset"),
        Purpose::Deliver | Purpose::Test | Purpose::Expn if generic.verify_only => Some("verify_only set"),
        Purpose::Deliver
        | Purpose::Test
        | Purpose::VerifySender
        | Purpose::VerifyRecipient
        | Purpose::Expn => None,
    }
}

fn found_user(run: &mut Run<'_>, address: &mut Address, user: LocalUser) {
    let scope = &mut run.context.address;
    // The name came out of the system's own list, so it is clean now.
    address.propagated.local_part_data = Some(Text::clean(user.name.as_bytes()));
    scope.local_part_data.clone_from(&address.propagated.local_part_data);
    scope.home = Some(Text::clean(user.home.as_bytes()));
    scope.local_user_uid = Some(user.uid);
    scope.local_user_gid = Some(user.gid);
    run.local_user = Some(Arc::new(user));
}

/// `router_home_directory` goes before the home directory of the account, from here on.
fn set_home(run: &mut Run<'_>) -> Result<(), Problem> {
    let Some(template) = &run.router.generic.router_home_directory else {
        return Ok(());
    };
    match template.expand(run.context) {
        Ok(home) => {
            run.context.address.home = Some(home.clone());
            run.router_home = Some(home);
            Ok(())
        }
        Err(ExpandError::Forced(_)) => Ok(()),
        Err(error) => {
            let source = String::from_utf8_lossy(template.source_bytes()).into_owned();
            let text = format!("failed to expand \"{source}\" for router_home_directory: {error}");
            Err(Problem::new(error_code::UNKNOWN, text))
        }
    }
}

fn debug_print(run: &mut Run<'_>) {
    if let Some(template) = &run.router.generic.debug_print
        && (run.purpose == Purpose::Test || debug_print::is_wanted())
    {
        debug_print::show(template, run.context);
    }
}

/// `condition`: false, no, 0, nothing and a forced failure skip the router.
///
/// Any other failure defers, as the manual says: a table that cannot be read must not bounce mail.
fn condition(run: &mut Run<'_>) -> Result<Skip, Problem> {
    let Some(template) = &run.router.generic.condition else {
        return Ok(None);
    };
    match template.expand(run.context) {
        Ok(text) if is_true(text.as_bytes()) => Ok(None),
        Ok(_) | Err(ExpandError::Forced(_)) => skip("condition failure"),
        Err(error) => {
            let text = format!(
                "failed to expand condition \"{}\" for {} router: {error}",
                String::from_utf8_lossy(template.source_bytes()),
                run.router.name
            );
            run.log_panic(&text);
            Err(Problem::new(error_code::UNKNOWN, text))
        }
    }
}

/// What Brightmail has said of the message for this recipient. Without a verdict, it is to be delivered.
fn verdict(run: &mut Run<'_>) -> Result<Skip, Problem> {
    let wanted = &run.router.generic.bmi;
    if *wanted == BmiConditions::default() {
        return Ok(None);
    }
    let verdicts = run.context.message.bmi.as_deref();
    if let Some(why) = verdicts.and_then(|verdicts| verdicts.trouble.as_deref()) {
        return Err(Problem::new(error_code::UNKNOWN, why));
    }
    let verdict = run.context.address.bmi.as_deref();
    let destination = verdict.map_or(&Destination::Default, |verdict| &verdict.destination);
    let has_fired = |rule: &u32| verdict.is_some_and(|verdict| verdict.rules.contains(rule));
    let miss = if wanted.rules.as_ref().is_some_and(|rules| !rules.iter().any(has_fired)) {
        Some("none of bmi_rule rules fired")
    } else if wanted.dont_deliver && *destination != Destination::Nowhere {
        Some("bmi_dont_deliver is FALSE")
    } else if wanted.deliver_alternate && !matches!(destination, Destination::Elsewhere(_)) {
        Some("bmi_deliver_alternate is FALSE")
    } else if wanted.deliver_default && *destination != Destination::Default {
        Some("bmi_deliver_default is FALSE")
    } else {
        None
    };
    Ok(miss.map(|text| Miss::Other(text.into())))
}

/// Router options take everything for true but a few words; a blank beside one makes it another word.
pub(super) fn is_true(text: &[u8]) -> bool {
    !matches!(text.to_ascii_lowercase().as_slice(), b"" | b"0" | b"no" | b"false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_few_words_are_false() {
        for text in ["", "0", "no", "FALSE"] {
            assert!(!is_true(text.as_bytes()), "{text:?}");
        }
        for text in ["yes", "true", "1", "foobar", "00", " ", " no"] {
            assert!(is_true(text.as_bytes()), "{text:?}");
        }
    }
}
