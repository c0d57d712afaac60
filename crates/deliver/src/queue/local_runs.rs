//! The local deliveries of one message, one after the other, each as its user. Files that neighbours write as one user go to the disk
//! together, and so do the records of them.

use std::sync::Arc;
use std::time::Instant;

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_spool::store::Claim;

use super::{AttemptOptions, shadow, slots};
use crate::address::{Address, AddressKind};
use crate::agent::Identity;
use crate::debug_print;
use crate::delivery::Delivery;
use crate::plan::Group;
use crate::retry_hints;
use crate::router::{Router, prepare};
use crate::settle::{Finished, Settlement};
use crate::transport::local::{self, TOGETHER_BYTES_MAX, TOGETHER_MAX};
use crate::transport::{
    Batch, Delivered, DeliveryError, FileDriver, Order, Outcome, Run, Transport, error_code,
};

/// What the log has in the place of the transport for `/dev/null`.
pub(crate) const BYPASSED: &str = "**bypassed**";

pub(super) fn run(
    settlement: &Settlement<'_>,
    context: &mut Context,
    claim: &Claim,
    groups: Vec<Group>,
    options: AttemptOptions,
) {
    let mut ordered = Ordered::default();
    for group in groups {
        run_group(settlement, context, claim, group, options, &mut ordered);
    }
    ordered.perform(settlement, context);
}

/// Deliveries that wait for more of their kind: one transport, one user.
#[derive(Default)]
struct Ordered<'a> {
    transport: Option<&'a Transport>,
    waiting: Vec<Waiting<'a>>,
    /// Bytes that their header lines keep in memory.
    bytes: usize,
}

/// One of them.
struct Waiting<'a> {
    batch: Batch<'a>,
    order: Order,
    began: Instant,
}

impl<'a> Ordered<'a> {
    /// Takes a delivery in. Those that it cannot go with are performed before.
    fn add(
        &mut self,
        settlement: &Settlement<'a>,
        context: &mut Context,
        transport: &'a Transport,
        delivery: Waiting<'a>,
    ) {
        if self.waiting.first().is_some_and(|first| first.batch.identity != delivery.batch.identity) {
            self.perform(settlement, context);
        }
        self.transport = Some(transport);
        self.bytes = self.bytes.saturating_add(delivery.order.message.header.len());
        self.waiting.push(delivery);
        if self.waiting.len() >= TOGETHER_MAX || self.bytes >= TOGETHER_BYTES_MAX {
            self.perform(settlement, context);
        }
    }

    /// Performs all that wait.
    fn perform(&mut self, settlement: &Settlement<'a>, context: &mut Context) {
        let Ordered { transport, waiting, .. } = std::mem::take(self);
        let (Some(transport), Some(first)) = (transport, waiting.first()) else { return };
        let identity = first.batch.identity.clone();
        let (rest, orders): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|Waiting { batch, order, began }| ((batch, began), order)).unzip();
        let batches = rest.iter().map(|(batch, _)| batch);
        let runs = local::perform_together(settlement.delivery, &identity, batches.zip(orders).collect());
        let finished = rest.into_iter().zip(runs).map(|((batch, began), run)| Finished {
            addresses: batch.addresses,
            run,
            took: began.elapsed(),
            return_path: batch.return_path,
        });
        settlement.runs(context, &transport.name, finished.collect());
    }
}

/// The driver, if a delivery may wait for others that do the same.
fn files_of<'a>(
    settlement: &Settlement<'_>,
    transport: &'a Transport,
    first: &Address,
) -> Option<&'a dyn FileDriver> {
    let generic = &transport.generic;
    let is_alone =
        generic.max_parallel.is_some() || generic.shadow_transport.is_some() || generic.filter.is_some();
    let is_mailbox = first.kind == AddressKind::Mail && first.made.is_none();
    transport.driver.files().filter(|_| is_mailbox && !is_alone && !settlement.dont_deliver)
}

fn run_group<'a>(
    settlement: &Settlement<'a>,
    context: &mut Context,
    claim: &Claim,
    group: Group,
    options: AttemptOptions,
    ordered: &mut Ordered<'a>,
) {
    let Some(transport) = settlement.delivery.transports.get(group.transport) else { return };
    let is_other = ordered.transport.is_some_and(|other| !std::ptr::eq(other, transport));
    let files = group.addresses.first().and_then(|first| files_of(settlement, transport, first));
    if is_other || files.is_none() {
        ordered.perform(settlement, context);
    }
    let (due, waiting): (Vec<Address>, Vec<Address>) = group
        .addresses
        .into_iter()
        .partition(|a| options.force || retry_hints::is_local_due(settlement.delivery, context, a));
    if !waiting.is_empty() {
        ordered.perform(settlement, context);
    }
    for address in waiting {
        let text = "Retry time not yet reached".to_owned();
        settlement.waits(
            address,
            DeliveryError { code: error_code::LOCAL_RETRY_TIME, text, ..DeliveryError::default() },
        );
    }
    let Some(first) = due.first() else { return };
    if first.is_bypassed() {
        let run = Run::of(vec![Outcome::Delivered(Delivered::of_nothing()); due.len()]);
        settlement.run(context, BYPASSED, due, run, std::time::Duration::ZERO, b"");
        return;
    }
    enter(context, transport, first, due.iter().skip(1));
    let _slot = match slots::take(settlement.delivery, context, transport, first) {
        Ok(slot) => slot,
        Err(error) => {
            leave(context);
            due.into_iter().for_each(|address| settlement.waits(address, error.clone()));
            return;
        }
    };
    let began = Instant::now();
    let prepared = prepare_batch(settlement, context, claim, transport, &due, options);
    let (mut run, return_path) = match prepared {
        Ok(batch) if settlement.dont_deliver => {
            (Run::all(&batch, &Outcome::Delivered(Delivered::of_nothing())), batch.return_path)
        }
        Ok(batch) => {
            let run = match files.map(|files| files.order(transport, settlement.delivery, context, &batch)) {
                Some(Ok(order)) => {
                    leave(context);
                    ordered.add(settlement, context, transport, Waiting { batch, order, began });
                    return;
                }
                Some(Err(run)) => run,
                None => transport.driver.deliver(transport, settlement.delivery, context, &batch),
            };
            crate::event::dns_failures_in(context, transport);
            (run, batch.return_path)
        }
        Err(error) => {
            if error.code == error_code::BAD_USER {
                // A fault of the configuration has a line of its own, in the panic log too.
                settlement.delivery.services.log().both(format!("{} {}", claim.id(), error.text));
            }
            let is_final = error.code == error_code::MESSAGE_TOO_BIG;
            let outcome = if is_final { Outcome::Failed(error) } else { Outcome::Deferred(error) };
            (Run::of(vec![outcome; due.len()]), Vec::new())
        }
    };
    shadow::run(settlement, context, claim, transport, &due, &mut run, options);
    leave(context);
    ordered.perform(settlement, context);
    settlement.run(context, &transport.name, due, run, began.elapsed(), &return_path);
}

/// Sets the variables of a transport run, which is for `first` and these others. With several addresses, `$local_part`
/// stands for none of them, nor does where they came from, nor a domain that they do not share.
pub(crate) fn enter<'a>(
    context: &mut Context,
    transport: &Transport,
    first: &Address,
    others: impl Iterator<Item = &'a Address> + Clone,
) {
    crate::router::scope::enter(context, first);
    let scope = &mut context.address;
    if others.clone().any(|other| other.domain != first.domain) {
        scope.domain = Text::new();
        scope.domain_data = None;
    }
    if others.clone().next().is_some() {
        scope.local_part = Text::new();
        scope.local_part_data = None;
        scope.original_local_part = Text::new();
        scope.original_domain = Text::new();
        scope.parent_local_part = Text::new();
        scope.parent_domain = Text::new();
        scope.bmi = None;
    }
    let host = first.hosts.first();
    let host_name = || host.map(|host| Text::tainted(host.name.as_bytes()));
    context.delivery.host = first.host_list.clone().or_else(host_name);
    context.delivery.host_address = host.and_then(|host| host.address);
    context.delivery.transport_name = Some(transport.name.clone());
    context.delivery.router_name = None;
    context.delivery.address_file = None;
    context.delivery.address_pipe = None;
    if let Some(made) = &first.made {
        context.local.captures.clone_from(&made.captures);
        context.address.this_address.clone_from(&made.this_address);
    }
    if let Some(template) = transport.generic.debug_print.as_ref().filter(|_| debug_print::is_wanted()) {
        debug_print::show(template, context);
    }
    match first.kind {
        AddressKind::File | AddressKind::Directory => {
            context.delivery.address_file = Some(saved_path(first));
        }
        AddressKind::Pipe => {
            let text = first.address.clone();
            // The text of a redirection is the postmaster's or the user's; a filter may have put anything into it.
            context.delivery.address_pipe = Some(match first.made {
                None => Text::clean(text),
                Some(_) => Text::tainted(text),
            });
        }
        AddressKind::Mail | AddressKind::Reply => {}
    }
}

/// The path of a file that a redirection or a filter names; as foreign as the filter has made it.
pub(crate) fn saved_path(address: &Address) -> Text {
    let taint = match address.made.as_ref().map(|made| &made.deed) {
        Some(crate::filter::Deed::Save { path, .. }) => path.taint(),
        _ if address.is_tainted => oxim_base::text::Taint::Tainted,
        _ => oxim_base::text::Taint::Clean,
    };
    Text::with_taint(address.address.clone(), taint)
}

pub(crate) fn leave(context: &mut Context) {
    context.local.captures.clear();
    context.address.this_address = None;
    context.delivery = oxim_lang::context::DeliveryScope::default();
}

pub(super) fn prepare_batch<'a>(
    settlement: &Settlement<'a>,
    context: &mut Context,
    claim: &Claim,
    transport: &Transport,
    addresses: &[Address],
    options: AttemptOptions,
) -> Result<Batch<'a>, DeliveryError> {
    let return_path = return_path(settlement, context, transport, claim, addresses)?;
    check_size(context, transport, claim)?;
    let directories = Directories { settlement, transport, router: router_of(settlement, addresses.first()) };
    directories.set_home(context)?;
    let identity = identity(settlement.delivery, context, transport, addresses.first())?;
    Ok(Batch {
        addresses: addresses.to_vec(),
        message: Arc::clone(settlement.message()),
        body: claim.body().clone(),
        return_path,
        identity,
        current_directory: directories.current(context)?,
        is_forced: options.force,
        history: &crate::transport::NoHistory,
        submitter: Some(settlement.submitter),
        is_shadow: false,
        handed_over: 0,
    })
}

/// The envelope sender of this delivery: `return_path` of the transport, else what SRS made, else `errors_to`, else the
/// sender.
pub(super) fn return_path(
    settlement: &Settlement<'_>,
    context: &mut Context,
    transport: &Transport,
    claim: &Claim,
    addresses: &[Address],
) -> Result<Vec<u8>, DeliveryError> {
    let routed = addresses
        .first()
        .and_then(|a| a.propagated.srs_sender.clone().or_else(|| a.propagated.errors_to.clone()))
        .unwrap_or_else(|| claim.message().sender.clone());
    context.delivery.return_path = Some(routed.clone());
    let Some(template) = &transport.generic.return_path else { return Ok(routed) };
    match template.expand(context) {
        Ok(text) => {
            let path = text.into_bytes();
            context.delivery.return_path = Some(path.clone());
            Ok(path)
        }
        Err(ExpandError::Forced(_)) => Ok(routed),
        Err(error) => {
            let source = template.source();
            let text =
                format!("Failed to expand return path \"{source}\" in {} transport: {error}", transport.name);
            settlement.delivery.services.log().both(format!("{} {text}", claim.id()));
            Err(DeliveryError::new(error_code::EXPANSION_FAILED, text))
        }
    }
}

/// `message_size_limit` of the transport: a larger message fails. The error is a deferral only if the option is faulty.
pub(super) fn check_size(
    context: &mut Context,
    transport: &Transport,
    claim: &Claim,
) -> Result<(), DeliveryError> {
    let Some(template) = &transport.generic.message_size_limit else { return Ok(()) };
    let text = template.expand(context).map_err(|error| {
        let text = format!("failed to expand message_size_limit in {} transport: {error}", transport.name);
        DeliveryError::new(error_code::UNKNOWN, text)
    })?;
    let text = text.to_string_lossy();
    let number = if text.is_empty() {
        Err("integer expected but \"\" found".to_owned())
    } else {
        oxim_lang::expand::integer::parse(&text)
    };
    let limit = number.map_err(|error| {
        let text = format!("invalid message_size_limit in {} transport: {error}", transport.name);
        DeliveryError::new(error_code::UNKNOWN, text)
    })?;
    let size = claim.message().size_with(claim.body().len());
    if limit > 0 && i64::try_from(size).unwrap_or(i64::MAX) > limit {
        return Err(DeliveryError {
            code: error_code::MESSAGE_TOO_BIG,
            text: format!("message is too big (transport limit = {limit})"),
            ..DeliveryError::default()
        });
    }
    Ok(())
}

fn router_of<'a>(settlement: &Settlement<'a>, address: Option<&Address>) -> Option<&'a Router> {
    settlement.delivery.router(address?.router?)
}

/// Where a delivery is at home and where it runs: manual section 23.3. A fault is one of the configuration, for the panic log too.
struct Directories<'s, 'a> {
    settlement: &'s Settlement<'a>,
    transport: &'s Transport,
    router: Option<&'a Router>,
}

impl Directories<'_, '_> {
    /// `$home`: the transport's `home_directory`, else the router's `transport_home_directory`, else what the address came with.
    fn set_home(&self, context: &mut Context) -> Result<(), DeliveryError> {
        let of_router = self.router.and_then(|router| router.generic.transport_home_directory.as_ref());
        if let Some(template) = self.transport.generic.home_directory.as_ref().or(of_router) {
            context.address.home = Some(self.expand("home", template, context)?);
        }
        Ok(())
    }

    /// The transport's `current_directory`, else the router's `transport_current_directory`, else `$home`.
    fn current(&self, context: &mut Context) -> Result<Option<Vec<u8>>, DeliveryError> {
        let of_router = self.router.and_then(|router| router.generic.transport_current_directory.as_ref());
        let directory = match self.transport.generic.current_directory.as_ref().or(of_router) {
            Some(template) => Some(self.expand("current", template, context)?),
            None => context.address.home.clone(),
        };
        Ok(directory.map(Text::into_bytes).filter(|directory| !directory.is_empty()))
    }

    fn expand(&self, what: &str, template: &Template, context: &mut Context) -> Result<Text, DeliveryError> {
        let name = &self.transport.name;
        let (code, text) = match template.expand(context) {
            Ok(path) if path.as_bytes().starts_with(b"/") => return Ok(path),
            Ok(path) => (
                error_code::NOT_ABSOLUTE,
                format!("{what} directory path \"{path}\" is not absolute for {name} transport"),
            ),
            Err(error) => (
                error_code::EXPANSION_FAILED,
                format!(
                    "{what} directory \"{}\" failed to expand for {name} transport: {error}",
                    template.source()
                ),
            ),
        };
        self.settlement.delivery.services.log().both(format!("{} {text}", self.settlement.message().id));
        Err(DeliveryError::new(code, text))
    }
}

/// The text of Exim for a user or group that does not exist.
fn not_found(what: &str, name: &str, template: &Template, transport: &Transport) -> String {
    let source = template.source();
    if source == name {
        return format!("Failed to find {what} \"{name}\" for the {} transport", transport.name);
    }
    format!(
        "Failed to find {what} \"{name}\" from expanded string \"{source}\" for the {} transport",
        transport.name
    )
}

/// Whom the delivery runs as: the transport's user, else the router's, else the Exim user (manual chapter 23).
pub(crate) fn identity(
    delivery: &Delivery,
    context: &mut Context,
    transport: &Transport,
    address: Option<&Address>,
) -> Result<Identity, DeliveryError> {
    let main = &delivery.config.main;
    let refuse =
        |text: String| DeliveryError { code: error_code::BAD_USER, text, ..DeliveryError::default() };
    let creator = (context.message.originator_uid, context.message.originator_gid);
    let mut expand = |template: &Template, option: &str| {
        template.expand(context).map(|t| t.to_string_lossy()).map_err(|error| {
            let (source, name) = (template.source(), &transport.name);
            refuse(format!("Failed to expand {option} string \"{source}\" for the {name} transport: {error}"))
        })
    };
    let run_as = address.map(|a| a.run_as.clone()).unwrap_or_default();
    let (mut uid, mut gid, mut initgroups) = (run_as.uid, run_as.gid, run_as.initgroups);
    let mut login = address.and_then(|a| a.local_user.as_ref()).map(|u| u.name.clone());
    if let Some(template) = &transport.generic.user {
        let text = expand(template, "user")?;
        let account = prepare::find_user(&text).map_err(|p| refuse(p.text().to_owned()))?;
        let account = account.ok_or_else(|| refuse(not_found("user", &text, template, transport)))?;
        uid = Some(account.uid);
        gid = account.gid;
        login = None;
        initgroups = transport.generic.initgroups;
    } else if transport.driver.runs_as_creator() {
        (uid, initgroups) = (Some(creator.0), transport.generic.initgroups);
        gid = Some(creator.1);
        login = None;
    }
    if let Some(template) = &transport.generic.group {
        let text = expand(template, "group")?;
        gid = prepare::find_group(&text).map_err(|p| refuse(p.text().to_owned()))?;
        if gid.is_none() {
            return Err(refuse(not_found("group", &text, template, transport)));
        }
    }
    initgroups |= transport.generic.initgroups;
    let uid = uid.unwrap_or(main.exim_user);
    let gid = gid.or_else(|| (uid == main.exim_user).then_some(main.exim_group));
    let gid =
        gid.ok_or_else(|| refuse(format!("User set without group for {} transport", transport.name)))?;
    if uid == 0 {
        return Err(refuse(format!(
            "User 0 set for {} transport is on the fixed_never_users list",
            transport.name
        )));
    }
    if main.never_users.contains(&uid) {
        return Err(refuse(format!(
            "User {uid} set for {} transport is on the never_users list",
            transport.name
        )));
    }
    if main.deliver_drop_privilege && (uid, gid) != (main.exim_user, main.exim_group) {
        let euid = main.exim_user;
        let text =
            format!("unable to set gid={gid} or uid={uid} (euid={euid}): deliver_drop_privilege is set");
        return Err(DeliveryError { freeze: true, ..refuse(text) });
    }
    // Who it is by name is looked up only where it is needed: that reads /etc/passwd.
    let groups_of = if initgroups { login.or_else(|| prepare::login_of(uid)) } else { None };
    Ok(Identity { uid, gid, groups_of })
}
