//! What conditions and modifiers work with while an ACL runs.

use std::any::Any;
use std::borrow::Cow;

use oxim_base::{Text, debug};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::{Defer, List, Subject};

use super::clause::{Answer, Tested};
use super::controls::{ConnectionControls, MessageControls};
use super::{Acls, Phase, RejectTargets, Scene};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;

/// One run of an ACL, as the parts of a statement see it.
pub(crate) struct Run<'a> {
    /// All ACLs.
    pub acls: &'a Acls,
    /// Everything else.
    pub reception: &'a Reception,
    /// Who and what.
    pub scene: &'a mut Scene,
    /// Where in the session.
    pub phase: Phase,
    /// Where a refusal will be logged.
    pub targets: RejectTargets,
    /// How deep ACLs are nested; debug lines are indented by it.
    pub depth: usize,
}

/// What `${acl}` inside an expansion needs of the ACL around it. Lies in the context during the expansion.
pub(crate) struct Lent {
    pub connection: ConnectionControls,
    pub message: MessageControls,
    pub subject: Vec<u8>,
    pub phase: Phase,
    pub depth: usize,
}

impl Run<'_> {
    /// Expands a template that belongs to the ACL.
    pub(crate) fn expand(&mut self, template: &Template) -> Result<Text, ExpandError> {
        if template.may_block() {
            return self.lending(|context| template.expand(context));
        }
        template.expand(&mut self.scene.context)
    }

    /// Matches a list. A list that cannot be used is told to the postmaster; a service without answer, where the ACL's decision is.
    pub(crate) fn matches(
        &mut self,
        list: &List,
        subject: &Subject<'_>,
    ) -> Result<Option<Option<Text>>, Tested> {
        let matched = if list.may_block() {
            self.lending(|context| list.matches(context, subject))
        } else {
            list.matches(&mut self.scene.context, subject)
        };
        match matched {
            Ok(found) if found.is_yes() => Ok(Some(found.data())),
            Ok(_) => Ok(None),
            Err(Defer::Config(text)) => {
                self.log_panic(&text);
                Err(Tested::plain(Answer::Later))
            }
            Err(Defer::Remote(text)) => Err(Tested::logged(Answer::Later, text)),
        }
    }

    /// Calls what may come back with `${acl}`: the controls go along in the context.
    pub(crate) fn lending<R>(&mut self, work: impl FnOnce(&mut Context) -> R) -> R {
        let lent = Lent {
            connection: std::mem::take(&mut self.scene.connection),
            message: std::mem::take(&mut self.scene.message),
            subject: std::mem::take(&mut self.scene.subject),
            phase: self.phase,
            depth: self.depth,
        };
        let before = self.scene.context.upper.put(Box::new(lent));
        let result = work(&mut self.scene.context);
        if let Some(lent) = take_lent(&mut self.scene.context) {
            self.scene.connection = lent.connection;
            self.scene.message = lent.message;
            self.scene.subject = lent.subject;
        }
        if let Some(before) = before {
            self.scene.context.upper.put(before);
        }
        result
    }

    /// A line with the id of the message, once it has one.
    fn with_id<'t>(&self, line: &'t str) -> Cow<'t, str> {
        match self.scene.context.message.id {
            Some(id) => Cow::Owned(format!("{id} {line}")),
            None => Cow::Borrowed(line),
        }
    }

    /// Writes to the main log.
    pub(crate) fn log_main(&self, line: &str) {
        self.reception.logs.main(&self.with_id(line));
    }

    /// Writes to the reject log, with the header of the message once there is one.
    pub(crate) fn log_reject(&self, line: &str) {
        let message = &self.scene.context.message;
        let has_header = self.reception.wants.rejected_header && !message.headers.all().is_empty();
        let header =
            has_header.then(|| refusal::block(&message.sender, &message.recipients, &message.headers));
        self.reception.logs.reject(&self.with_id(line), header.as_deref());
    }

    /// Writes to the panic log, and to the main log as all panics.
    pub(crate) fn log_panic(&self, line: &str) {
        if self.is_host_checking() {
            self.reception.logs.main(&self.with_id(line));
        } else {
            self.reception.logs.panic(&self.with_id(line));
        }
    }

    /// Writes to the panic log alone.
    pub(crate) fn log_panic_only(&self, line: &str) {
        self.reception.logs.panic_only(&self.with_id(line));
    }

    /// The client, for log lines: `H=(helo) [192.0.2.1]` or `U=login`.
    pub(crate) fn client(&self) -> String {
        log_line::client_of(self.reception, &self.scene.context.connection, true)
    }

    /// `-bh`.
    pub(crate) fn is_host_checking(&self) -> bool {
        self.scene.context.connection.host_checking
    }

    /// A line for `-bh` and `-d+acl`.
    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        trace(self.is_host_checking(), self.depth, text);
    }
}

/// Takes back what [`Run::lending`] has put into the context.
pub(crate) fn take_lent(context: &mut Context) -> Option<Box<Lent>> {
    let lent: Box<dyn Any + Send + Sync> = context.upper.take()?;
    lent.downcast::<Lent>().ok()
}

fn trace(is_host_checking: bool, depth: usize, text: impl FnOnce() -> String) {
    if is_host_checking {
        let indent = indent(depth);
        let text = text();
        for (index, line) in text.split('\n').enumerate() {
            let indent = if index == 0 { indent.as_str() } else { "" };
            eprintln!(">>> {indent}{line}");
        }
    } else {
        debug::line(debug::ACL, || format!("{}{}", indent(depth), text()));
    }
}

/// One column for each ACL around this one, with a rule at every fourth.
fn indent(depth: usize) -> String {
    (1..=depth).map(|level| if level % 4 == 0 { '╎' } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_acls_are_indented_as_exim_does() {
        assert_eq!(indent(0), "");
        assert_eq!(indent(3), "   ");
        assert_eq!(indent(9), "   ╎   ╎ ");
    }
}
