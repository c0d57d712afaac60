//! The system filter: run at the start of each delivery attempt, before any routing. Manual chapter 47.
//!
//! Failure modes: a filter that cannot be read or evaluated, or an option of it that cannot be expanded, defers the
//! whole message; nothing is delivered without the filter's word.

use std::sync::Arc;

use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_spool::message::Message;

use crate::address::{Address, AddressKind, Refusal, RunAs};
use crate::agent::Identity;
use crate::agent::job::FileRead;
use crate::delivery::Delivery;
use crate::filter::{Deed, End, Filter, Kind, Made, Outcome, exim};

/// Largest system filter, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The recipient that stands for all deliveries of the filter: it is none of the message's.
pub(crate) const NO_RECIPIENT: usize = usize::MAX;

/// What became of the message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The recipients get it, beside what the filter sets up.
    GoesOn,
    /// Only what the filter sets up is done.
    Replaced,
    /// All recipients fail, with this text for the log and this one for the sender.
    Fails(String, String),
    /// All recipients wait.
    Waits,
    /// It is frozen, for this reason.
    Freezes(String),
}

/// What the filter came to.
#[derive(Debug)]
pub(super) struct Filtered {
    /// What becomes of the message.
    pub(super) verdict: Verdict,
    /// Deliveries of the filter.
    pub(super) addresses: Vec<Address>,
    /// The header lines were changed.
    pub(super) headers_changed: bool,
}

/// Runs the filter, if there is one.
///
/// # Errors
/// The text for the log; nothing can be delivered now.
pub(super) fn run(
    delivery: &Delivery,
    context: &mut Context,
    message: &Message,
) -> Result<Option<Filtered>, String> {
    let Some(template) = delivery.config.main_options.template("system_filter") else { return Ok(None) };
    let path = match template.expand(context) {
        Ok(path) => path,
        Err(ExpandError::Forced(_)) => return Ok(None),
        Err(error) => return Err(format!("failed to expand \"{}\": {error}", template.source())),
    };
    if path.is_empty() {
        return Ok(None);
    }
    if path.is_foreign() {
        return Err(format!("Tainted name '{path}' for file read not permitted"));
    }
    let data = match delivery.user_files.read(None, path.as_bytes(), FILE_BYTES_MAX) {
        FileRead::Contents { data, .. } => data,
        FileRead::NotThere => return Err(format!("{path} does not exist")),
        FileRead::Error(_, text) => return Err(format!("failed to open {path}: {text}")),
    };
    let filter = delivery.filters.get(Kind::Exim, &data);
    let Filter::Exim(program) = &*filter else { return Ok(None) };
    let rules = rules(delivery, context);
    context.message.recipients_visible = true;
    let outcome = program.evaluate(context, &rules);
    context.message.recipients_visible = false;
    context.message.system_counters = context.address.counters;
    context.address.counters = [0; 10];
    let run_as = account(delivery)?;
    write_log(delivery, &run_as, &outcome)?;
    let verdict = match outcome.end {
        End::Error(text) => return Err(text),
        End::Fail(text) => {
            let (log, told) = fail_texts(&text);
            Verdict::Fails(log, told)
        }
        End::Defer(_) => Verdict::Waits,
        End::Freeze(text) => Verdict::Freezes(text),
        End::Normal if outcome.is_significant => Verdict::Replaced,
        End::Normal => Verdict::GoesOn,
    };
    let parent = Arc::new(pseudo_parent(run_as, message));
    let addresses = outcome
        .made
        .into_iter()
        .enumerate()
        .map(|(number, made)| address(delivery, context, &parent, made, number))
        .collect();
    Ok(Some(Filtered { verdict, addresses, headers_changed: outcome.headers_changed }))
}

/// The rules under which a system filter runs.
fn rules(delivery: &Delivery, context: &Context) -> exim::Rules {
    exim::Rules {
        is_system: true,
        manually_thawed: context.message.manually_thawed,
        syntax: delivery.settings.syntax,
        qualify_domain: delivery.settings.qualify_recipient.clone(),
        ..exim::Rules::default()
    }
}

/// `<<text for the log>>text for the sender`.
fn fail_texts(text: &str) -> (String, String) {
    match text.strip_prefix("<<").and_then(|rest| rest.split_once(">>")) {
        Some((log, told)) => (log.to_owned(), told.to_owned()),
        None => (text.to_owned(), text.to_owned()),
    }
}

/// `system_filter_user` and `system_filter_group`.
fn account(delivery: &Delivery) -> Result<RunAs, String> {
    let options = &delivery.config.main_options;
    let main = &delivery.config.main;
    let Some(uid) = options.id("system_filter_user") else {
        return Ok(RunAs { uid: Some(main.exim_user), gid: Some(main.exim_group), initgroups: false });
    };
    let own_group = || {
        nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten().map(|u| u.gid.as_raw())
    };
    let gid = options.id("system_filter_group").or_else(own_group);
    match gid {
        Some(gid) => Ok(RunAs { uid: Some(uid), gid: Some(gid), initgroups: false }),
        None => Err("system_filter_group must be set when system_filter_user is a number".to_owned()),
    }
}

fn write_log(delivery: &Delivery, run_as: &RunAs, outcome: &Outcome) -> Result<(), String> {
    let (Some(uid), Some(gid)) = (run_as.uid, run_as.gid) else { return Ok(()) };
    let identity = Identity { uid, gid, groups_of: None };
    for entry in &outcome.log {
        let path = &entry.path;
        if path.is_foreign() {
            return Err(format!("Tainted name '{path}' for filter log file not permitted"));
        }
        delivery
            .user_files
            .append(Some(&identity), path.as_bytes(), entry.mode, &entry.text)
            .map_err(|reason| format!("failed to open filter log file \"{path}\": {reason}"))?;
    }
    Ok(())
}

/// What the log shows as the parent: `<system-filter>`.
fn pseudo_parent(run_as: RunAs, message: &Message) -> Address {
    let mut parent = Address::recipient(b"system-filter".to_vec(), NO_RECIPIENT);
    parent.unique = b"system-filter".to_vec();
    parent.run_as = run_as;
    parent.propagated.errors_to = Some(message.sender.clone());
    parent
}

fn address(
    delivery: &Delivery,
    context: &mut Context,
    parent: &Arc<Address>,
    made: Made,
    number: usize,
) -> Address {
    let mut child = match &made.deed {
        Deed::Mail { address, is_unqualified, errors_to } => {
            let full = if *is_unqualified {
                [address.as_slice(), b"@", &delivery.settings.qualify_recipient].concat()
            } else {
                address.clone()
            };
            let mut child = Address::child(parent, full);
            child.propagated.errors_to.clone_from(errors_to);
            child
        }
        Deed::Pipe(command) => {
            let text =
                if command.starts_with(b"|") { command.clone() } else { [b"|", command.as_slice()].concat() };
            special(delivery, context, parent, AddressKind::Pipe, text)
        }
        Deed::Save { path, .. } => {
            let kind =
                if path.as_bytes().ends_with(b"/") { AddressKind::Directory } else { AddressKind::File };
            special(delivery, context, parent, kind, path.as_bytes().to_vec())
        }
        Deed::Reply(reply) => {
            let to = delivery.reply_recipients(&reply.to);
            let text = [b">", to.as_slice()].concat();
            let mut child = special(delivery, context, parent, AddressKind::Reply, text);
            child.unique.extend_from_slice(format!(":{number}").as_bytes());
            child
        }
    };
    child.ignores_errors |= made.ignores_errors;
    if child.kind != AddressKind::Mail {
        child.made = Some(Arc::new(made));
    }
    child
}

fn special(
    delivery: &Delivery,
    context: &mut Context,
    parent: &Arc<Address>,
    kind: AddressKind,
    text: Vec<u8>,
) -> Address {
    let mut child = Address::special_child(parent, kind, text);
    child.propagated.errors_to = None;
    let option = match kind {
        AddressKind::Pipe => "system_filter_pipe_transport",
        AddressKind::Directory => "system_filter_directory_transport",
        AddressKind::Reply => "system_filter_reply_transport",
        AddressKind::File | AddressKind::Mail => "system_filter_file_transport",
    };
    let template = delivery.config.main_options.template(option);
    match template.map(|template| transport(delivery, context, &template, option)) {
        Some(Ok(id)) => child.transport = Some(id),
        Some(Err(text)) => child.refusal = Some(Refusal::Setup(text)),
        None => child.refusal = Some(Refusal::Setup(format!("{option} is unset"))),
    }
    child
}

fn transport(
    delivery: &Delivery,
    context: &mut Context,
    template: &Template,
    option: &str,
) -> Result<crate::address::TransportId, String> {
    let name = template.expand(context).map_err(|error| {
        format!("failed to expand \"{}\" as a system filter transport name: {error}", template.source())
    })?;
    let id = delivery.transport_named(&name.to_string_lossy());
    id.ok_or_else(|| format!("system filter transport \"{name}\" not found ({option})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_may_have_another_text_than_the_bounce() {
        let texts = |text: &str| fail_texts(text);
        assert_eq!(texts("<<log>>told"), ("log".to_owned(), "told".to_owned()));
        assert_eq!(texts("plain"), ("plain".to_owned(), "plain".to_owned()));
        assert_eq!(texts("<<open"), ("<<open".to_owned(), "<<open".to_owned()));
    }
}
