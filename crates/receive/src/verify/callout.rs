//! Callouts: asks the hosts to which an address is routed whether they would take mail for it, without sending any.
//!
//! Each host in turn gets EHLO (or HELO), MAIL, RCPT, QUIT; perhaps an invented local part before the real one, and postmaster
//! after it. 2xx is yes, 5xx no, anything else goes to the next host; with no host left the answer is "later". The transport opens
//! the session, so that TLS, authentication, interface and names are those of a delivery. Manual sections 44.46 to 44.48.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use oxim_base::Text;
use oxim_deliver::address::{Address, RouteHost, TransportId};
use oxim_deliver::event::{self, Event};
use oxim_deliver::transport::smtp::{Downconvert, Form, Limits, NotOpened, Opened};
use oxim_lang::config::Options as ConfigOptions;
use oxim_lang::context::AddressScope;
use oxim_lang::expand::Template;
use oxim_mail::address::split_at_domain;
use oxim_mail::smtp::reply::Reply;
use oxim_net::dns::Family;
use oxim_net::smtp_client::{Connection, SmtpError};

use super::address::{Checked, Role, outcome_text};
use super::callout_cache::{Cache, Domain, Said};
use super::held::Held;
use super::options::CalloutOptions;
use crate::acl::{Answer, Run};

/// One callout: what is asked, and what the transport says of how.
struct Callout {
    address: Vec<u8>,
    domain: Vec<u8>,
    /// The sender that is shown.
    sender: Vec<u8>,
    /// The invented address, if one is to be tried.
    random: Option<Vec<u8>>,
    role: Role,
    transport: TransportId,
    /// For an international message: when addresses are converted.
    downconvert: Option<Downconvert>,
}

/// A host to ask.
pub(super) struct Host {
    name: String,
    pub(super) address: IpAddr,
    port: Option<u16>,
}

/// How a host has ended the matter.
enum Ended {
    /// It takes the address.
    Accepted,
    /// It takes any address.
    TakesAll,
    /// It refuses: at which step, in answer to which command, and how.
    Refused { step: Step, sent: String, reply: Reply },
    /// It does not take international addresses, and they are not to be converted.
    NotInternational,
    /// Another host may know.
    Unclear { why: String },
}

/// What a refusal was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Mail,
    Recipient,
    Postmaster,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Step::Mail => "mail",
            Step::Recipient => "recipient",
            Step::Postmaster => "postmaster",
        }
    }
}

/// Asks. An address without remote hosts is good as it is.
pub(super) fn check(
    run: &mut Run<'_>,
    routed: &Address,
    address: &[u8],
    role: Role,
    options: &CalloutOptions,
) -> Checked {
    if run.scene.context.connection.without_callouts {
        run.trace(|| "The callout is left out in this test".to_owned());
        return Checked::plain(Answer::Yes);
    }
    let Some(transport) = routed.transport else { return no_hosts(run) };
    if run.reception.delivery.is_local_transport(transport) {
        return Checked::plain(Answer::Yes);
    }
    let hosts = hosts(run, routed, transport);
    if hosts.is_empty() {
        return no_hosts(run);
    }
    let callout = match callout(run, routed, address, transport, role, options) {
        Ok(callout) => callout,
        Err(why) => return deferred(role, options, &why),
    };
    // Redirection may have changed the address: the one that is delivered is asked for.
    let mut known = Domain::default();
    // What is recalled opens no connection, and one that is to be held is wanted.
    let is_held = can_hold(&callout, options);
    if let Some(checked) = recalled(run, &callout, options, &mut known)
        && (!is_held || checked.answer != Answer::Yes)
    {
        return checked;
    }
    let began = Instant::now();
    let mut last = String::new();
    for host in &hosts {
        if began.elapsed() > options.maxwait() {
            break;
        }
        run.trace(|| {
            format!("Attempting full verification using callout to {} [{}]", host.name, host.address)
        });
        match held_or_new(run, routed, &callout, host, options, &mut known) {
            Ended::Unclear { why } => last = format!("{} [{}] : {why}", host.name, host.address),
            ended @ (Ended::Accepted | Ended::TakesAll | Ended::NotInternational | Ended::Refused { .. }) => {
                remember(run, &callout, options, &ended, known);
                return told(&callout, host, ended);
            }
        }
    }
    remember(run, &callout, options, &Ended::Unclear { why: String::new() }, known);
    deferred(role, options, &last)
}

fn no_hosts(run: &Run<'_>) -> Checked {
    run.trace(|| "Cannot do callout: neither router nor transport provided a host list".to_owned());
    Checked::plain(Answer::Yes)
}

fn deferred(role: Role, options: &CalloutOptions, why: &str) -> Checked {
    if options.defer_ok {
        return Checked::plain(Answer::Yes);
    }
    let text = outcome_text(role.word(), true);
    let log = if why.is_empty() { text.to_string_lossy() } else { format!("{text}: {why}") };
    Checked { user: Some(text), log: Some(Text::tainted(log)), ..Checked::plain(Answer::Later) }
}

/// Puts together what will be said, from the condition and the transport.
fn callout(
    run: &mut Run<'_>,
    routed: &Address,
    address: &[u8],
    transport: TransportId,
    role: Role,
    options: &CalloutOptions,
) -> Result<Callout, String> {
    let delivery = run.reception.delivery.clone();
    let address = if role == Role::Recipient { routed.address.clone() } else { address.to_vec() };
    let (_, domain) = split_at_domain(&address);
    let domain = domain.unwrap_or_default().to_vec();
    let sender = match role {
        Role::Sender => Vec::new(),
        Role::HeaderSender => options.mailfrom.clone().unwrap_or_default().into_bytes(),
        Role::Recipient if options.use_sender => run.scene.context.message.sender.clone(),
        Role::Recipient if options.use_postmaster => {
            format!("postmaster@{}", String::from_utf8_lossy(&delivery.settings.qualify_domain)).into_bytes()
        }
        Role::Recipient => Vec::new(),
    };
    let random = if options.random { invented(run, &domain) } else { None };
    let downconvert = downconvert(run, transport)?;
    Ok(Callout { address, domain, sender, random, role, transport, downconvert })
}

/// When addresses are converted, if the message is an international one.
fn downconvert(run: &mut Run<'_>, transport: TransportId) -> Result<Option<Downconvert>, String> {
    if !run.scene.context.message.smtputf8 {
        return Ok(None);
    }
    let delivery = run.reception.delivery.clone();
    let options = delivery.config.transports.get(transport.0).map(|instance| &instance.options);
    let option = options.filter(|o| o.has("utf8_downconvert")).and_then(|o| o.template("utf8_downconvert"));
    let flag = run.scene.message.utf8_downconvert.filter(|form| *form != 0);
    run.lending(|context| Downconvert::wanted(option.as_ref(), flag, context)).map(Some)
}

/// An option of the transport; None if it is unset, or forced to fail.
fn expanded(run: &mut Run<'_>, options: &ConfigOptions, name: &str) -> Result<Option<String>, String> {
    let Some(template) = options.has(name).then(|| options.template(name)).flatten() else { return Ok(None) };
    match run.expand(&template) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.to_string_lossy())),
        Err(error) if error.is_forced() => Ok(None),
        Err(error) => Err(format!("failed to expand transport option {name} for callout: {error}")),
    }
}

/// The address with the local part of `callout_random_local_part`.
fn invented(run: &mut Run<'_>, domain: &[u8]) -> Option<Vec<u8>> {
    let template: Template = run.reception.config.main_options.template("callout_random_local_part")?;
    let local_part = run.expand(&template).ok().filter(|text| !text.is_empty())?;
    Some([local_part.as_bytes(), b"@", domain].concat())
}

/// The hosts of the route, or of the transport if the router gave none or the transport overrides them.
pub(super) fn hosts(run: &mut Run<'_>, routed: &Address, transport: TransportId) -> Vec<Host> {
    let delivery = run.reception.delivery.clone();
    let options = delivery.config.transports.get(transport.0).map(|instance| &instance.options);
    let overrides = options.is_some_and(|o| o.has("hosts_override") && o.bool("hosts_override"));
    if routed.hosts.is_empty() || overrides {
        let listed = options.and_then(|options| expanded(run, options, "hosts").ok().flatten());
        if let Some(listed) = listed {
            return oxim_lang::list::split(listed.as_bytes())
                .flat_map(|name| addresses(run, &String::from_utf8_lossy(&name), None))
                .collect();
        }
    }
    let usable = routed.hosts.iter().flat_map(|host| match host.address {
        Some(address) => vec![Host { name: host.name.clone(), address, port: host.port }],
        None => addresses(run, &host.name, host.port),
    });
    usable.collect()
}

fn addresses(run: &Run<'_>, name: &str, port: Option<u16>) -> Vec<Host> {
    let host = |address| Host { name: name.to_owned(), address, port };
    if let Ok(address) = name.parse() {
        return vec![host(address)];
    }
    let Some(resolver) = &run.reception.resolver else { return Vec::new() };
    let found = resolver.addresses_of(name, Family::default()).records().unwrap_or_default();
    found.into_iter().map(host).collect()
}

/// What is known from earlier callouts, if that settles it.
fn recalled(
    run: &mut Run<'_>,
    callout: &Callout,
    options: &CalloutOptions,
    known: &mut Domain,
) -> Option<Checked> {
    let hints = run.scene.context.services.hints.get().filter(|_| !options.no_cache)?.clone();
    let cache = Cache::new(&hints, &run.reception.config.main_options);
    *known = cache.domain(&callout.domain);
    let refused = |step: Step, text: &'static str, log: bool| {
        let text = Text::clean(text);
        let log = log.then(|| text.clone());
        Some(Checked { user: Some(text), log, failure: Some(step.word()), ..Checked::plain(Answer::No) })
    };
    let is_recipient = callout.role == Role::Recipient;
    if known.mail == Said::No && callout.sender.is_empty() {
        return refused(Step::Mail, "(result of an earlier callout reused).", is_recipient);
    }
    if options.random && known.random == Said::Yes {
        return Some(Checked { failure: Some("random"), ..Checked::plain(Answer::Yes) });
    }
    if options.postmaster.is_some() && known.postmaster == Said::No {
        return refused(Step::Postmaster, "(result of earlier verification reused).", is_recipient);
    }
    match cache.address(&callout.address, &callout.sender) {
        Said::Nothing => None,
        // postmaster has not been asked for yet.
        Said::Yes if options.postmaster.is_some() && known.postmaster != Said::Yes => None,
        Said::Yes => Some(Checked::plain(Answer::Yes)),
        Said::No => refused(Step::Recipient, "Previous (cached) callout verification failure", is_recipient),
    }
}

/// Writes down what a host has said.
fn remember(run: &Run<'_>, callout: &Callout, options: &CalloutOptions, ended: &Ended, mut known: Domain) {
    let Some(hints) = run.scene.context.services.hints.get().filter(|_| !options.no_cache) else { return };
    let cache = Cache::new(hints, &run.reception.config.main_options);
    match ended {
        Ended::Unclear { .. } | Ended::NotInternational => return,
        Ended::Accepted => cache.put_address(&callout.address, &callout.sender, Said::Yes),
        Ended::TakesAll => {}
        Ended::Refused { step: Step::Recipient, .. } => {
            cache.put_address(&callout.address, &callout.sender, Said::No);
        }
        // A refusal of a real sender says nothing about the domain.
        Ended::Refused { step: Step::Mail, .. } if !callout.sender.is_empty() => return,
        Ended::Refused { step: Step::Mail, .. } => known.mail = Said::No,
        Ended::Refused { step: Step::Postmaster, .. } => {
            cache.put_address(&callout.address, &callout.sender, Said::Yes);
            known.postmaster = Said::No;
        }
    }
    if known.mail == Said::Nothing {
        known.mail = Said::Yes;
    }
    cache.put_domain(&callout.domain, known);
}

/// What the answer of a host means to the condition.
fn told(callout: &Callout, host: &Host, ended: Ended) -> Checked {
    match ended {
        Ended::Accepted => Checked::plain(Answer::Yes),
        Ended::TakesAll => Checked { failure: Some("random"), ..Checked::plain(Answer::Yes) },
        Ended::Refused { step, sent, reply } => {
            let user = if callout.role == Role::Recipient {
                format!("Callout verification failed:\n{reply}")
            } else {
                format!("Called:   {}\nSent:     {sent}\nResponse: {reply}", host.address)
            };
            let (name, address) = (&host.name, host.address);
            // On one line, so that the log shows all of it.
            let shown = crate::log_line::printable(&reply.to_text());
            let log =
                format!("{name} [{address}] : SMTP error from remote mail server after {sent}: {shown}");
            Checked {
                user: Some(Text::tainted(user)),
                log: Some(Text::tainted(log)),
                failure: Some(step.word()),
                ..Checked::plain(Answer::No)
            }
        }
        Ended::NotInternational => {
            let log =
                format!("{} [{}] : response to \"EHLO\" did not include SMTPUTF8", host.name, host.address);
            Checked {
                user: Some(Text::clean("533 no support for internationalised mailbox name")),
                log: Some(Text::tainted(log)),
                failure: Some(Step::Recipient.word()),
                ..Checked::plain(Answer::No)
            }
        }
        Ended::Unclear { .. } => Checked::plain(Answer::Later),
    }
}

/// A conversation with one host.
struct Talk {
    connection: Connection,
    timeout: Duration,
    form: Form,
}

/// What interrupts a conversation: an end, one way or the other.
type Spoken<T> = Result<T, Box<Ended>>;

impl Talk {
    fn say(&mut self, command: &str) -> Spoken<Reply> {
        self.connection.command(command, self.timeout).map_err(|error| unclear(&error))
    }

    /// `MAIL FROM:` with the sender in its form.
    fn mail(&self, sender: &[u8]) -> Spoken<String> {
        let mark = if self.form == Form::Utf8 { " SMTPUTF8" } else { "" };
        Ok(format!("MAIL FROM:<{}>{mark}", self.address(sender)?))
    }

    /// `RCPT TO:` with the address in its form.
    fn rcpt(&self, address: &[u8]) -> Spoken<String> {
        Ok(format!("RCPT TO:<{}>", self.address(address)?))
    }

    fn address(&self, address: &[u8]) -> Spoken<String> {
        match self.form.of(address) {
            Ok(sent) => Ok(String::from_utf8_lossy(&sent).into_owned()),
            Err(error) => Err(Box::new(Ended::Unclear { why: error.to_string() })),
        }
    }

    /// Says what must be accepted to go on.
    fn insist(&mut self, command: &str, step: Step) -> Spoken<()> {
        let reply = self.say(command)?;
        accepted(reply, command, step)
    }
}

fn unclear(error: &SmtpError) -> Box<Ended> {
    Box::new(Ended::Unclear { why: error.to_string() })
}

fn accepted(reply: Reply, sent: &str, step: Step) -> Spoken<()> {
    if reply.is_success() {
        return Ok(());
    }
    let sent = sent.to_owned();
    if reply.is_permanent() {
        return Err(Box::new(Ended::Refused { step, sent, reply }));
    }
    Err(Box::new(Ended::Unclear { why: format!("SMTP error from remote mail server after {sent}: {reply}") }))
}

/// Opens a connection as the transport would.
pub(super) fn connect(
    run: &mut Run<'_>,
    transport: TransportId,
    host: &Host,
    limits: Limits,
) -> Option<Result<Opened, NotOpened>> {
    let delivery = run.reception.delivery.clone();
    let to = RouteHost {
        name: host.name.clone(),
        address: Some(host.address),
        port: host.port,
        ..RouteHost::default()
    };
    let transport = delivery.transport(transport)?;
    run.lending(|context| transport.driver.open_for_callout(transport, &delivery, context, &to, limits))
}

/// Asks over the connection that is held, if it leads there, or over a new one.
fn held_or_new(
    run: &mut Run<'_>,
    routed: &Address,
    callout: &Callout,
    host: &Host,
    options: &CalloutOptions,
    known: &mut Domain,
) -> Ended {
    let given = run.scene.subject.clone();
    if let Some(held) = &mut run.scene.held
        && options.hold
        && held.serves(callout.transport, host.address, &callout.sender)
    {
        let sent = format!("RCPT TO:<{}>", String::from_utf8_lossy(&callout.address));
        let asked = held.ask(&given, routed, options.timeout);
        return match asked.map_err(|error| unclear(&error)).and_then(|r| accepted(r, &sent, Step::Recipient))
        {
            Ok(()) => Ended::Accepted,
            Err(ended) => *ended,
        };
    }
    ask(run, routed, callout, host, options, known)
}

/// Whether the connection can stay open after a success: the transaction on it is that of the message.
fn can_hold(callout: &Callout, options: &CalloutOptions) -> bool {
    options.hold
        && callout.role == Role::Recipient
        && options.use_sender
        && callout.random.is_none()
        && options.postmaster.is_none()
}

fn ask(
    run: &mut Run<'_>,
    routed: &Address,
    callout: &Callout,
    host: &Host,
    options: &CalloutOptions,
    known: &mut Domain,
) -> Ended {
    let limits = Limits { connect: options.connect(), command: options.timeout };
    let outer = enter(run, callout);
    let opened = connect(run, callout.transport, host, limits);
    leave(run, outer);
    let (connection, used) = match opened {
        Some(Ok(opened)) => (opened.connection, opened.used),
        Some(Err(NotOpened::Unclear(why))) => return Ended::Unclear { why },
        Some(Err(NotOpened::Refused { sent, reply })) => {
            return accepted(reply, &sent, Step::Mail).err().map_or(Ended::Accepted, |ended| *ended);
        }
        None => return Ended::Unclear { why: "the transport cannot ask".to_owned() },
    };
    let form = match callout.downconvert {
        None => Some(Form::Plain),
        Some(wanted) => wanted.form(connection.extensions().smtputf8),
    };
    let Some(form) = form else {
        connection.quit(options.timeout.min(Duration::from_secs(5)));
        closed(run, callout);
        return Ended::NotInternational;
    };
    let mut talk = Talk { connection, timeout: options.timeout, form };
    let ended = match converse(callout, &mut talk, options, known) {
        Ok(ended) => ended,
        Err(ended) => *ended,
    };
    if matches!(ended, Ended::Accepted) && can_hold(callout, options) && form == Form::Plain {
        let opened = Opened { connection: talk.connection, used };
        let given = run.scene.subject.clone();
        let held = Held::new(opened, routed, callout.transport, host.address, callout.sender.clone(), given);
        run.scene.held = Some(Box::new(held));
        return ended;
    }
    talk.connection.quit(options.timeout.min(Duration::from_secs(5)));
    closed(run, callout);
    ended
}

/// Sets the variables of the address that is verified, for the events of the connection. Gives what was there.
fn enter(run: &mut Run<'_>, callout: &Callout) -> (&'static str, AddressScope) {
    let context = &mut run.scene.context;
    let outer = (context.delivery.verify_mode, context.address.clone());
    context.delivery.verify_mode = match callout.role {
        Role::Recipient => "R",
        Role::Sender | Role::HeaderSender => "S",
    };
    let (local_part, domain) = split_at_domain(&callout.address);
    context.address.local_part = Text::tainted(local_part);
    context.address.domain = Text::tainted(domain.unwrap_or_default());
    outer
}

fn leave(run: &mut Run<'_>, outer: (&'static str, AddressScope)) {
    let context = &mut run.scene.context;
    (context.delivery.verify_mode, context.address) = outer;
}

/// `tcp:close`.
fn closed(run: &mut Run<'_>, callout: &Callout) {
    let delivery = run.reception.delivery.clone();
    let Some(transport) = delivery.transport(callout.transport).filter(|t| t.has_events()) else { return };
    let outer = enter(run, callout);
    run.lending(|context| {
        let name = context.delivery.transport_name.replace(transport.name.clone());
        event::raise_transport(context, transport, Event::new("tcp:close", b""));
        context.delivery.transport_name = name;
    });
    leave(run, outer);
}

fn converse(
    callout: &Callout,
    talk: &mut Talk,
    options: &CalloutOptions,
    known: &mut Domain,
) -> Spoken<Ended> {
    let mail = talk.mail(&callout.sender)?;
    talk.insist(&mail, Step::Mail)?;
    if callout.random.is_some() && known.random != Said::No {
        if random(callout, talk, known)? {
            return Ok(Ended::TakesAll);
        }
        talk.insist("RSET", Step::Mail)?;
        talk.insist(&mail, Step::Mail)?;
    }
    let rcpt = talk.rcpt(&callout.address)?;
    talk.insist(&rcpt, Step::Recipient)?;
    if let Some(sender) = &options.postmaster
        && known.postmaster != Said::Yes
    {
        postmaster(callout, talk, sender, options.full_postmaster)?;
        known.postmaster = Said::Yes;
    }
    Ok(Ended::Accepted)
}

/// Whether the host takes a local part that cannot exist.
fn random(callout: &Callout, talk: &mut Talk, known: &mut Domain) -> Spoken<bool> {
    let invented = callout.random.as_deref().unwrap_or_default();
    let rcpt = talk.rcpt(invented)?;
    let reply = talk.say(&rcpt)?;
    if reply.is_success() {
        known.random = Said::Yes;
    } else if reply.is_permanent() {
        known.random = Said::No;
    }
    Ok(reply.is_success())
}

/// Asks for postmaster, in a transaction of its own.
fn postmaster(callout: &Callout, talk: &mut Talk, sender: &Text, full: bool) -> Spoken<()> {
    talk.insist("RSET", Step::Mail)?;
    let mail = talk.mail(sender.as_bytes())?;
    talk.insist(&mail, Step::Postmaster)?;
    let rcpt = talk.rcpt(&[b"postmaster@", callout.domain.as_slice()].concat())?;
    let reply = talk.say(&rcpt)?;
    if reply.is_permanent() && full {
        return talk.insist("RCPT TO:<postmaster>", Step::Postmaster);
    }
    accepted(reply, &rcpt, Step::Postmaster)
}
