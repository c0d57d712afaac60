//! Walks the statements of an ACL.
//!
//! A statement is a verb with its modifiers; conditions and further modifiers are refused by name when the configuration is
//! read. At the end of every ACL stands an implicit `deny`. Manual sections 44.17 and 44.18.

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::config::{AclSource, ConfigError, Location};
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

use super::{Acls, Outcome, Phase, Scene, Step, Verdict};
use crate::reception::Reception;

/// The verbs (manual section 44.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Accept,
    Defer,
    Deny,
    Discard,
    Drop,
    Require,
    Warn,
}

impl Verb {
    fn parse(word: &str) -> Option<Verb> {
        Some(match word {
            "accept" => Verb::Accept,
            "defer" => Verb::Defer,
            "deny" => Verb::Deny,
            "discard" => Verb::Discard,
            "drop" => Verb::Drop,
            "require" => Verb::Require,
            "warn" => Verb::Warn,
            _ => return None,
        })
    }

    /// How the ACL ends when all conditions of the statement are true; None: go on.
    fn verdict(self) -> Option<Verdict> {
        match self {
            Verb::Accept => Some(Verdict::Accept),
            Verb::Defer => Some(Verdict::Defer),
            Verb::Deny => Some(Verdict::Deny),
            Verb::Discard => Some(Verdict::Discard),
            Verb::Drop => Some(Verdict::Drop),
            Verb::Require | Verb::Warn => None,
        }
    }
}

/// One statement.
#[derive(Debug)]
struct Statement {
    verb: Verb,
    message: Option<Template>,
    log_message: Option<Template>,
}

/// A compiled ACL.
#[derive(Debug)]
pub struct Acl {
    statements: Vec<Statement>,
}

/// Where a run goes on after a pause.
#[derive(Debug)]
pub enum Resume {}

impl Acl {
    /// Compiles one ACL of the configuration.
    ///
    /// # Errors
    /// Every line that is not understood.
    pub fn compile(source: &AclSource) -> Result<Acl, Vec<ConfigError>> {
        let mut acl = Acl { statements: Vec::new() };
        let mut errors = Vec::new();
        for line in &source.lines {
            if let Err(message) = acl.add_line(&line.text) {
                errors.push(fault(message, &line.location));
            }
        }
        if errors.is_empty() { Ok(acl) } else { Err(errors) }
    }

    /// Compiles an ACL that stands in an option.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile_text(text: &str) -> Result<Acl, String> {
        let mut acl = Acl { statements: Vec::new() };
        for line in text.lines() {
            acl.add_line(line)?;
        }
        Ok(acl)
    }

    /// Whether it must run on a worker thread.
    #[must_use]
    pub fn may_block(&self) -> bool {
        let blocks = |t: &Option<Template>| t.as_ref().is_some_and(Template::may_block);
        self.statements.iter().any(|s| blocks(&s.message) || blocks(&s.log_message))
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = match Verb::parse(word) {
            Some(verb) => {
                self.statements.push(Statement { verb, message: None, log_message: None });
                rest.trim()
            }
            None => line,
        };
        let Some(statement) = self.statements.last_mut() else {
            return Err(format!("unknown ACL verb \"{word}\" in \"{line}\""));
        };
        if rest.is_empty() {
            return Ok(());
        }
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        match name.trim() {
            "message" => statement.message = Some(Template::compile(value.trim())),
            "log_message" => statement.log_message = Some(Template::compile(value.trim())),
            other => return Err(format!("ACL condition or modifier \"{other}\" is not implemented yet")),
        }
        Ok(())
    }
}

fn fault(message: String, location: &Location) -> ConfigError {
    ConfigError::at(location, message)
}

/// Runs an ACL from its first statement.
pub(super) fn run(_: &Acls, _: &Reception, scene: &mut Scene, _: Phase, acl: Arc<Acl>) -> Step {
    for statement in &acl.statements {
        if let Some(verdict) = statement.verb.verdict() {
            let mut outcome = Outcome::plain(verdict);
            outcome.user_message = text(statement.message.as_ref(), &mut scene.context);
            outcome.log_message = text(statement.log_message.as_ref(), &mut scene.context);
            return Step::Done(outcome);
        }
    }
    Step::Done(Outcome::plain(Verdict::Deny))
}

/// Goes on after a pause.
pub(super) fn resume(_: &Acls, _: &Reception, _: &mut Scene, resume: Resume) -> Step {
    match resume {}
}

/// A modifier's text; a failing expansion or an empty result counts as no modifier.
fn text(template: Option<&Template>, context: &mut Context) -> Option<Text> {
    template?.expand(context).ok().filter(|text| !text.is_empty())
}
