//! Access control lists: when they run, what they see and change, what they answer.
//!
//! The session asks [`Acls::run`] for one [`Phase`] and gets a [`Step`]: done, or "go on after this", so that a `delay`
//! holds no thread. An ACL whose templates cannot block ([`Acls::may_block`]) is run by the session itself; any other runs
//! on a worker thread, to which the [`Scene`] moves and from which it comes back.
//! Failure modes: an ACL that cannot be found or evaluated gives [`Verdict::Defer`] without a text for the client; the
//! reason is in the log message. Manual chapter 44.

mod clause;
mod compile;
mod condition;
mod control;
mod controls;
mod host;
mod interpreter;
mod modifier;
mod phase;
mod run;
mod verb;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_base::limits::ACL_DEPTH_MAX;
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use parking_lot::RwLock;

pub(crate) use clause::{Answer, Tested};
pub use clause::{built_conditions, built_modifiers, documentation};
pub use compile::Acl;
pub(crate) use condition::decode::decode_part;
pub use condition::malware::scan_for_malware;
pub use control::debug::Debugging;
pub use controls::{
    AddedHeader, ConnectionControls, CutThrough, FAKE_REJECT_TEXT, Fake, Freeze, MessageControls,
    QueueControl, Submission,
};
pub use host::run_in_expansion;
pub use interpreter::Resume;
pub use phase::{Phase, Phases, phases};
pub(crate) use run::Run;

use crate::reception::Reception;

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
    /// Whether it could not be found out, rather than failed.
    pub is_deferred: bool,
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

    /// `: text` for the log line about a message or recipient that is thrown away; nothing without a text.
    #[must_use]
    pub fn discard_reason(&self) -> String {
        let text = self.log_message.as_ref().or(self.user_message.as_ref());
        text.map(|text| format!(": {}", crate::log_line::address(text.as_bytes()))).unwrap_or_default()
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
    /// The connection to the next host that is held for the message.
    pub(crate) held: Option<Box<crate::verify::Held>>,
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
            held: None,
        }
    }
}

/// What an `acl_…` option names.
#[derive(Debug)]
enum Choice {
    /// The option has no variables: the ACL was found when the configuration was read.
    Fixed {
        /// It.
        acl: Arc<Acl>,
        /// Whether it, or an ACL that it calls, may block.
        may_block: bool,
    },
    /// The option is expanded for each run.
    Chosen(Template),
}

/// All ACLs of a configuration, compiled.
#[derive(Debug)]
pub struct Acls {
    choices: BTreeMap<Phase, Choice>,
    named: BTreeMap<String, Arc<Acl>>,
    /// ACLs that were read from files: kept as long as the process, as in Exim.
    files: RwLock<HashMap<String, Arc<Acl>>>,
    /// ACLs that came out of expansions.
    inline: RwLock<HashMap<Text, Arc<Acl>>>,
}

/// ACL texts out of expansions that are remembered. When there are more, all are forgotten.
const INLINE_ACLS_MAX: usize = 256;

impl Acls {
    /// Compiles the ACL section and finds the ACLs that the main options name.
    ///
    /// # Errors
    /// Every fault in an ACL, with its place.
    pub fn build(config: &Config) -> Result<Acls, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut acls = Acls {
            choices: BTreeMap::new(),
            named: BTreeMap::new(),
            files: RwLock::default(),
            inline: RwLock::default(),
        };
        for source in &config.acls {
            match Acl::compile(source) {
                Ok(acl) => {
                    acls.named.insert(source.name.clone(), Arc::new(acl.with_lists_of(config)));
                }
                Err(faults) => errors.extend(faults),
            }
        }
        for phase in Phase::ALL {
            let Some(template) = option_template(config, phase) else { continue };
            acls.choices.insert(phase, acls.choice(config, template));
        }
        if errors.is_empty() { Ok(acls) } else { Err(errors) }
    }

    fn choice(&self, config: &Config, template: Template) -> Choice {
        let Some(constant) = template.constant().map(Text::trimmed) else {
            return Choice::Chosen(template);
        };
        let name = constant.to_string_lossy();
        let found = match self.named.get(&name) {
            Some(acl) => Some(Arc::clone(acl)),
            // A file is read, and a faulty text found out, when the ACL runs, as Exim does: the option may never be used.
            None if name.starts_with('/') => None,
            None => Acl::compile_text(&name).ok().map(|acl| Arc::new(acl.with_lists_of(config))),
        };
        match found {
            Some(acl) => Choice::Fixed { may_block: self.blocks(&acl, ACL_DEPTH_MAX), acl },
            None => Choice::Chosen(template),
        }
    }

    /// Whether an ACL, or one that it calls, may block. What cannot be found may.
    fn blocks(&self, acl: &Acl, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return true };
        let called = |name: &String| self.named.get(name).is_none_or(|acl| self.blocks(acl, depth));
        acl.may_block() || acl.calls.iter().any(called)
    }

    /// What would fail whenever it is reached: ACLs that there are not, arguments that nothing understands, conditions and
    /// modifiers that are illegal where the ACL is used. For `oxim check`; Exim finds out when it runs.
    #[must_use]
    pub fn check(&self, config: &Config) -> Vec<ConfigError> {
        let is_acl = |name: &str| self.named.contains_key(name);
        let mut errors = Vec::new();
        for phase in Phase::ALL {
            let Some(template) = option_template(config, phase) else { continue };
            let Some(name) = template.constant().map(|name| name.trimmed().to_string_lossy()) else {
                continue;
            };
            if let (Some(message), Some(location)) =
                (compile::missing(&name, &is_acl), config.main_options.location(phase.option()))
            {
                let start = format!("{} = ", phase.option());
                let line = format!("{start}{name}");
                let error =
                    ConfigError::at(location, message).shown(&line, start.len()..line.len(), location.line);
                errors.push(error.helped(Some(format!("there is no ACL \"{name}\""))));
            }
        }
        errors.extend(self.named.values().flat_map(|acl| acl.faults(&is_acl)));
        errors.extend(self.illegal());
        errors
    }

    fn illegal(&self) -> Vec<ConfigError> {
        let fixed = self.choices.iter().filter_map(|(phase, choice)| match choice {
            Choice::Fixed { acl, .. } => Some((*phase, acl)),
            Choice::Chosen(_) => None,
        });
        fixed.flat_map(|(phase, acl)| acl.illegal_in(phase)).collect()
    }

    /// Whether there is an ACL for the phase. Without one, the answer is [`Phase::when_unset`].
    #[must_use]
    pub fn is_set(&self, phase: Phase) -> bool {
        self.choices.contains_key(&phase)
    }

    /// Whether the option of the phase, expanded for this connection, names an ACL. What cannot be expanded names none.
    pub(crate) fn is_offered(&self, phase: Phase, context: &mut Context) -> bool {
        match self.choices.get(&phase) {
            None => false,
            Some(Choice::Fixed { .. }) => true,
            Some(Choice::Chosen(template)) => {
                template.expand(context).is_ok_and(|text| !text.trimmed().is_empty())
            }
        }
    }

    /// Whether the ACL of the phase must run on a worker thread.
    #[must_use]
    pub fn may_block(&self, phase: Phase) -> bool {
        match self.choices.get(&phase) {
            None => false,
            Some(Choice::Fixed { may_block, .. }) => *may_block,
            Some(Choice::Chosen(_)) => true,
        }
    }

    /// An ACL by its name, by the path of its file, or written inline.
    ///
    /// # Errors
    /// The text for the log when there is none or its text is faulty.
    pub(crate) fn find(&self, run: &Run<'_>, text: &Text) -> Result<Arc<Acl>, String> {
        let text = text.trimmed();
        if text.is_foreign() {
            run.log_panic(&format!("attempt to use tainted ACL text \"{text}\""));
            return Err("internal configuration error".to_owned());
        }
        let name = text.to_string_lossy();
        if name.starts_with('/') {
            return self.file(run, &name);
        }
        if let Some(acl) = self.named.get(&name) {
            return Ok(Arc::clone(acl));
        }
        if let Some(acl) = self.inline.read().get(&text) {
            return Ok(Arc::clone(acl));
        }
        let acl = Arc::new(Acl::compile_text(&name)?);
        let mut inline = self.inline.write();
        if inline.len() >= INLINE_ACLS_MAX {
            inline.clear();
        }
        inline.insert(text, Arc::clone(&acl));
        Ok(acl)
    }

    fn file(&self, run: &Run<'_>, path: &str) -> Result<Arc<Acl>, String> {
        if let Some(acl) = self.files.read().get(path) {
            return Ok(Arc::clone(acl));
        }
        let text = std::fs::read(path).map_err(|error| {
            let what = error_text(&error);
            format!("failed to open ACL file \"{path}\": {what}")
        })?;
        run.trace(|| format!("read ACL from file {path}"));
        let acl = Arc::new(Acl::compile_file(path, &String::from_utf8_lossy(&text))?);
        self.files.write().insert(path.to_owned(), Arc::clone(&acl));
        Ok(acl)
    }

    /// Runs the ACL of a phase. The scene says who and what.
    pub fn run(&self, reception: &Reception, scene: &mut Scene, phase: Phase) -> Step {
        let acl = match self.choices.get(&phase) {
            None => return Step::Done(Outcome::plain(phase.when_unset())),
            Some(Choice::Fixed { acl, .. }) => Arc::clone(acl),
            Some(Choice::Chosen(template)) => match self.choose(reception, scene, phase, template) {
                Ok(acl) => acl,
                Err(outcome) => return Step::Done(*outcome),
            },
        };
        interpreter::run(self, reception, scene, phase, acl)
    }

    /// Goes on after a [`Step::Delay`].
    pub fn resume(&self, reception: &Reception, scene: &mut Scene, resume: Resume) -> Step {
        interpreter::resume(self, reception, scene, resume)
    }

    /// The ACL that an option chooses, or what happens without one. An empty text is an ACL without statements, which denies;
    /// a forced failure accepts, in every phase.
    fn choose(
        &self,
        reception: &Reception,
        scene: &mut Scene,
        phase: Phase,
        template: &Template,
    ) -> Result<Arc<Acl>, Box<Outcome>> {
        let mut run =
            Run { acls: self, reception, scene, phase, targets: RejectTargets::default(), depth: 0 };
        match run.expand(template) {
            Ok(text) => self.find(&run, &text).map_err(|reason| Box::new(Outcome::error(reason))),
            Err(ExpandError::Forced(_)) => Err(Box::new(Outcome::plain(Verdict::Accept))),
            Err(error) => {
                let reason = format!("failed to expand ACL string \"{}\": {error}", template.source());
                Err(Box::new(Outcome::error(reason)))
            }
        }
    }
}

/// The value of the option that belongs to a phase. Options that the configuration crate does not know yet are unset.
fn option_template(config: &Config, phase: Phase) -> Option<Template> {
    let options = &config.main_options;
    if options.has(phase.option()) { options.template(phase.option()) } else { None }
}

#[cfg(test)]
mod tests;
