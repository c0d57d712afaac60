//! Access control lists: when they run, what they see and change, what they answer.
//!
//! The session asks [`Acls::run`] for one [`Phase`] and gets a [`Step`]: done, or "go on after this", so that a `delay`
//! holds no thread. An ACL whose templates cannot block ([`Acls::may_block`]) is run by the session itself; any other runs
//! on a worker thread, to which the [`Scene`] moves and from which it comes back.
//! Failure modes: an ACL that cannot be found or evaluated gives [`Verdict::Defer`] without a text for the client; the
//! reason is in the log message. Manual chapter 44.

mod controls;
mod interpreter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use oxim_base::Text;
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};

pub use controls::{
    AddedHeader, ConnectionControls, FAKE_REJECT_TEXT, Fake, Freeze, MessageControls, QueueControl,
    Submission,
};
pub use interpreter::{Acl, Resume};

use crate::reception::Reception;

/// The points at which an ACL runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// A recipient has been named.
    Rcpt,
    /// A sender has been named.
    Mail,
    /// DATA has been given, nothing read yet.
    Predata,
    /// One MIME part of a message received over SMTP.
    Mime,
    /// One DKIM signature.
    Dkim,
    /// The whole message is there.
    Data,
    /// The whole message is there, once for each recipient.
    Prdr,
    /// The whole message from a non-SMTP source is there.
    NotSmtp,
    /// AUTH.
    Auth,
    /// A client has connected.
    Connect,
    /// ETRN.
    Etrn,
    /// EXPN.
    Expn,
    /// HELO or EHLO.
    Helo,
    /// The AUTH parameter of MAIL.
    MailAuth,
    /// One MIME part of a message from a non-SMTP source.
    NotSmtpMime,
    /// Before a non-SMTP message is read.
    NotSmtpStart,
    /// The session ends without QUIT.
    NotQuit,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// VRFY.
    Vrfy,
    /// ATRN.
    Atrn,
    /// WELLKNOWN.
    Wellknown,
    /// Called from an expansion, outside all of these.
    Unknown,
}

impl Phase {
    /// All phases that have an option, in the order of the enumeration.
    pub const ALL: [Phase; 22] = [
        Phase::Rcpt,
        Phase::Mail,
        Phase::Predata,
        Phase::Mime,
        Phase::Dkim,
        Phase::Data,
        Phase::Prdr,
        Phase::NotSmtp,
        Phase::Auth,
        Phase::Connect,
        Phase::Etrn,
        Phase::Expn,
        Phase::Helo,
        Phase::MailAuth,
        Phase::NotSmtpMime,
        Phase::NotSmtpStart,
        Phase::NotQuit,
        Phase::Quit,
        Phase::StartTls,
        Phase::Vrfy,
        Phase::Atrn,
        Phase::Wellknown,
    ];

    /// The bit of this phase in a mask of phases.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << (self as u8)
    }

    /// Whether log lines about a refusal show the envelope sender.
    #[must_use]
    pub const fn concerns_envelope(self) -> bool {
        matches!(self, Phase::Rcpt | Phase::Data | Phase::Mime | Phase::Dkim | Phase::Prdr)
    }

    /// The main option that names the ACL of this phase.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Phase::Rcpt => "acl_smtp_rcpt",
            Phase::Mail => "acl_smtp_mail",
            Phase::Predata => "acl_smtp_predata",
            Phase::Mime => "acl_smtp_mime",
            Phase::Dkim => "acl_smtp_dkim",
            Phase::Data => "acl_smtp_data",
            Phase::Prdr => "acl_smtp_data_prdr",
            Phase::NotSmtp => "acl_not_smtp",
            Phase::Auth => "acl_smtp_auth",
            Phase::Connect => "acl_smtp_connect",
            Phase::Etrn => "acl_smtp_etrn",
            Phase::Expn => "acl_smtp_expn",
            Phase::Helo => "acl_smtp_helo",
            Phase::MailAuth => "acl_smtp_mailauth",
            Phase::NotSmtpMime => "acl_not_smtp_mime",
            Phase::NotSmtpStart => "acl_not_smtp_start",
            Phase::NotQuit => "acl_smtp_notquit",
            Phase::Quit => "acl_smtp_quit",
            Phase::StartTls => "acl_smtp_starttls",
            Phase::Vrfy => "acl_smtp_vrfy",
            Phase::Atrn => "acl_smtp_atrn",
            Phase::Wellknown => "acl_smtp_wellknown",
            Phase::Unknown => "",
        }
    }

    /// The phase as log lines and error messages name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Rcpt => "RCPT",
            Phase::Mail => "MAIL",
            Phase::Predata | Phase::Data => "DATA",
            Phase::Mime => "MIME",
            Phase::Dkim => "DKIM",
            Phase::Prdr => "PRDR",
            Phase::NotSmtp => "non-SMTP",
            Phase::Auth => "AUTH",
            Phase::Connect => "connection",
            Phase::Etrn => "ETRN",
            Phase::Expn => "EXPN",
            Phase::Helo => "EHLO or HELO",
            Phase::MailAuth => "MAILAUTH",
            Phase::NotSmtpMime => "non-SMTP-MIME",
            Phase::NotSmtpStart => "non-SMTP-start",
            Phase::NotQuit => "notquit",
            Phase::Quit => "QUIT",
            Phase::StartTls => "STARTTLS",
            Phase::Vrfy => "VRFY",
            Phase::Atrn => "ATRN",
            Phase::Wellknown => "WELLKNOWN",
            Phase::Unknown => "unknown",
        }
    }

    /// What an unset option means (manual section 44.14).
    #[must_use]
    pub const fn when_unset(self) -> Verdict {
        match self {
            Phase::Rcpt | Phase::Etrn | Phase::Expn | Phase::Vrfy | Phase::Atrn | Phase::Wellknown => {
                Verdict::Deny
            }
            Phase::Mail
            | Phase::Predata
            | Phase::Mime
            | Phase::Dkim
            | Phase::Data
            | Phase::Prdr
            | Phase::NotSmtp
            | Phase::Auth
            | Phase::Connect
            | Phase::Helo
            | Phase::MailAuth
            | Phase::NotSmtpMime
            | Phase::NotSmtpStart
            | Phase::NotQuit
            | Phase::Quit
            | Phase::StartTls
            | Phase::Unknown => Verdict::Accept,
        }
    }
}

/// How an ACL ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Accept,
    /// No, for good.
    Deny,
    /// Not now; also when the ACL could not be evaluated.
    Defer,
    /// No, and the connection is closed.
    Drop,
    /// Yes, and thrown away.
    Discard,
}

/// Which logs a rejection goes to (`log_reject_target`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectTargets {
    /// The main log.
    pub main: bool,
    /// The reject log.
    pub reject: bool,
    /// The panic log.
    pub panic: bool,
}

impl Default for RejectTargets {
    fn default() -> Self {
        RejectTargets { main: true, reject: true, panic: false }
    }
}

/// Why a sender did not verify, when that is the reason for a refusal: the reply then begins with
/// `Verification failed for <address>`, and a log line of its own precedes that of the refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderVerifyFailure {
    /// The address that was verified.
    pub address: Vec<u8>,
    /// What the routers or the callout said for the client.
    pub user_message: Option<Text>,
    /// The detail for the log line.
    pub detail: Option<String>,
}

/// The answer of an ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Yes, no or later.
    pub verdict: Verdict,
    /// The text for the client, perhaps with a code at its start; may have several lines.
    pub user_message: Option<Text>,
    /// The text for the log line; the user message is logged if there is none.
    pub log_message: Option<Text>,
    /// Where a refusal is logged.
    pub targets: RejectTargets,
    /// Set if the refusal comes from sender verification.
    pub sender_verify: Option<Box<SenderVerifyFailure>>,
}

impl Outcome {
    /// An answer without texts.
    #[must_use]
    pub fn plain(verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            user_message: None,
            log_message: None,
            targets: RejectTargets::default(),
            sender_verify: None,
        }
    }

    /// The answer when an ACL cannot be evaluated: later, with the reason for the log only.
    #[must_use]
    pub fn error(reason: String) -> Outcome {
        Outcome { log_message: Some(Text::from(reason)), ..Outcome::plain(Verdict::Defer) }
    }
}

/// How far a run has come.
#[derive(Debug)]
pub enum Step {
    /// It is over.
    Done(Outcome),
    /// Go on with [`Acls::resume`] after this time. `flush` says whether replies that wait are sent first.
    Delay {
        /// How long to wait; zero when only the flush is wanted (before a callout).
        pause: Duration,
        /// Whether pending replies are sent before the pause (unless `control = no_delay_flush`).
        flush: bool,
        /// Where to go on.
        resume: Resume,
    },
}

/// What an ACL sees and may change. One for each connection; boxed, so that it moves cheaply.
#[derive(Debug)]
pub struct Scene {
    /// What variables read.
    pub context: Context,
    /// What `control` has set for the connection.
    pub connection: ConnectionControls,
    /// What `control`, `add_header` and their kin have set for the message.
    pub message: MessageControls,
    /// The address of the RCPT, VRFY or EXPN command in hand, qualified, as given.
    pub subject: Vec<u8>,
}

impl Scene {
    /// A scene in which no ACL has run.
    #[must_use]
    pub fn new(context: Context) -> Scene {
        Scene {
            context,
            connection: ConnectionControls::default(),
            message: MessageControls::default(),
            subject: Vec::new(),
        }
    }
}

/// What an `acl_…` option names.
#[derive(Debug)]
enum Choice {
    /// The option has no variables: the ACL was found when the configuration was read.
    Fixed(Arc<Acl>),
    /// The option is expanded for each run.
    Chosen(Template),
}

/// All ACLs of a configuration, compiled.
#[derive(Debug)]
pub struct Acls {
    choices: BTreeMap<Phase, Choice>,
    named: BTreeMap<String, Arc<Acl>>,
}

impl Acls {
    /// Compiles the ACL section and finds the ACLs that the main options name.
    ///
    /// # Errors
    /// Every fault in an ACL, with its place.
    pub fn build(config: &Config) -> Result<Acls, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut named = BTreeMap::new();
        for source in &config.acls {
            match Acl::compile(source) {
                Ok(acl) => {
                    named.insert(source.name.clone(), Arc::new(acl));
                }
                Err(faults) => errors.extend(faults),
            }
        }
        let mut acls = Acls { choices: BTreeMap::new(), named };
        for phase in Phase::ALL {
            let Some(template) = option_template(config, phase) else { continue };
            let choice = match template.constant().map(Text::to_string_lossy) {
                Some(text) if text.trim().is_empty() => continue,
                Some(text) if !text.trim().starts_with('/') => match acls.find(&text) {
                    Ok(acl) => Choice::Fixed(acl),
                    // Found out when it runs, as Exim does: the option may never be used.
                    Err(_) => Choice::Chosen(template),
                },
                Some(_) | None => Choice::Chosen(template),
            };
            acls.choices.insert(phase, choice);
        }
        if errors.is_empty() { Ok(acls) } else { Err(errors) }
    }

    /// Whether there is an ACL for the phase. Without one, the answer is [`Phase::when_unset`].
    #[must_use]
    pub fn is_set(&self, phase: Phase) -> bool {
        self.choices.contains_key(&phase)
    }

    /// Whether the ACL of the phase must run on a worker thread.
    #[must_use]
    pub fn may_block(&self, phase: Phase) -> bool {
        match self.choices.get(&phase) {
            None => false,
            Some(Choice::Fixed(acl)) => acl.may_block(),
            Some(Choice::Chosen(_)) => true,
        }
    }

    /// An ACL by its name, or one written inline.
    ///
    /// # Errors
    /// The text for the log when there is no such ACL or the inline text is faulty.
    pub fn find(&self, text: &str) -> Result<Arc<Acl>, String> {
        let text = text.trim();
        if let Some(acl) = self.named.get(text) {
            return Ok(Arc::clone(acl));
        }
        Acl::compile_text(text).map(Arc::new)
    }

    /// Runs the ACL of a phase. The scene says who and what.
    pub fn run(&self, reception: &Reception, scene: &mut Scene, phase: Phase) -> Step {
        let acl = match self.choices.get(&phase) {
            None => return Step::Done(Outcome::plain(phase.when_unset())),
            Some(Choice::Fixed(acl)) => Arc::clone(acl),
            Some(Choice::Chosen(template)) => match self.choose(template, scene) {
                Ok(Some(acl)) => acl,
                Ok(None) => return Step::Done(Outcome::plain(phase.when_unset())),
                Err(reason) => return Step::Done(Outcome::error(reason)),
            },
        };
        interpreter::run(self, reception, scene, phase, acl)
    }

    /// Runs an ACL that [`Self::find`] gave, outside of all phases.
    pub fn run_found(&self, reception: &Reception, scene: &mut Scene, acl: Arc<Acl>) -> Step {
        interpreter::run(self, reception, scene, Phase::Unknown, acl)
    }

    /// Goes on after a [`Step::Delay`].
    pub fn resume(&self, reception: &Reception, scene: &mut Scene, resume: Resume) -> Step {
        interpreter::resume(self, reception, scene, resume)
    }

    fn choose(&self, template: &Template, scene: &mut Scene) -> Result<Option<Arc<Acl>>, String> {
        match template.expand(&mut scene.context) {
            Ok(text) if text.trimmed().is_empty() => Ok(None),
            Ok(text) => self.find(&text.to_string_lossy()).map(Some),
            Err(ExpandError::Forced(_)) => Ok(None),
            Err(ExpandError::Failed(reason) | ExpandError::Defer(reason)) => {
                Err(format!("failed to expand ACL string \"{}\": {reason}", template.source()))
            }
        }
    }
}

/// The value of the option that belongs to a phase. Options that the configuration crate does not know yet are unset.
fn option_template(config: &Config, phase: Phase) -> Option<Template> {
    let options = &config.main_options;
    if options.has(phase.option()) { options.template(phase.option()) } else { None }
}
