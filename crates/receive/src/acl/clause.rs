//! Conditions and modifiers: the shapes of their rows, and the tables of all of them.
//!
//! A row names a condition or modifier, says where it is illegal, and compiles its argument. To add one: a file in
//! `condition/` or `modifier/`, its `mod` line, and its row in the table there. Manual sections 44.21 and 44.26.

use std::fmt;

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::expand::Template;

use super::phase::Phases;
use super::run::Run;
use super::{condition, control, modifier};

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It cannot be found out now.
    Later,
    /// The ACL is faulty; it ends, whatever the verb.
    Faulty,
}

/// What testing a condition gave, with the texts that the statement's own modifiers replace or extend.
#[derive(Clone, Debug)]
pub(crate) struct Tested {
    /// Whether it holds.
    pub answer: Answer,
    /// A text for the client.
    pub user: Option<Text>,
    /// A text for the log.
    pub log: Option<Text>,
}

impl Tested {
    /// An answer without texts.
    pub(crate) fn plain(answer: Answer) -> Tested {
        Tested { answer, user: None, log: None }
    }

    /// Yes or no.
    pub(crate) fn of(holds: bool) -> Tested {
        Tested::plain(if holds { Answer::Yes } else { Answer::No })
    }

    /// The ACL is faulty.
    pub(crate) fn faulty(log: impl Into<String>) -> Tested {
        Tested { log: Some(Text::from(log.into())), ..Tested::plain(Answer::Faulty) }
    }

    /// An answer with a text for the log.
    pub(crate) fn logged(answer: Answer, log: impl Into<String>) -> Tested {
        Tested { log: Some(Text::from(log.into())), ..Tested::plain(answer) }
    }
}

/// What stands after the name in the configuration.
pub(crate) struct Argument<'a> {
    /// The name of the variable, for `set`: `c1`, `m_x`.
    pub variable: &'a str,
    /// What stands after the equals sign.
    pub template: &'a Template,
}

impl Argument<'_> {
    /// The argument as it was written.
    pub(crate) fn source(&self) -> &str {
        self.template.source()
    }
}

/// A condition, compiled.
pub(crate) trait Condition: fmt::Debug + Send + Sync {
    /// Tests it. `argument` is the expanded argument if the row says that it is expanded.
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested;

    /// Whether testing may wait for files, DNS or other hosts, beyond the expansion of the argument, when the named lists
    /// are those of the configuration.
    fn may_block(&self, _: &Config) -> bool {
        false
    }

    /// Why it can never be tested, as far as its argument is constant.
    fn fault(&self) -> Option<String> {
        None
    }

    /// Whether something is to be sent to the client before it waits long (a callout).
    fn wants_flush(&self) -> bool {
        false
    }
}

/// A modifier that acts at once, compiled.
pub(crate) trait Modifier: fmt::Debug + Send + Sync {
    /// Acts.
    ///
    /// # Errors
    /// The text for the log; the ACL ends as faulty.
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String>;

    /// As [`Self::apply`], for a modifier that can also fail as a condition does.
    ///
    /// # Errors
    /// What the statement comes to.
    fn act(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), Tested> {
        self.apply(run, argument).map_err(Tested::faulty)
    }

    /// Whether acting may wait for files, DNS or other hosts, beyond the expansion of the argument.
    fn may_block(&self) -> bool {
        false
    }
}

/// Compiles the argument of a condition. The error refuses the configuration.
pub(crate) type CompileCondition = fn(&Argument<'_>) -> Result<Box<dyn Condition>, String>;
/// Compiles the argument of a modifier. The error refuses the configuration.
pub(crate) type CompileModifier = fn(&Argument<'_>) -> Result<Box<dyn Modifier>, String>;

/// What a row is. Some are the interpreter's own business.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A condition.
    Condition(CompileCondition),
    /// `acl`: another ACL, which may pause.
    Acl,
    /// A modifier that acts at once.
    Modifier(CompileModifier),
    /// `delay`.
    Delay,
    /// `message`.
    Message,
    /// `log_message`.
    LogMessage,
    /// `log_reject_target`.
    LogRejectTarget,
    /// `endpass`.
    Endpass,
}

/// A condition or modifier.
pub(crate) struct ClauseRow {
    /// Its name.
    pub name: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
    /// Where it is illegal.
    pub forbidden: Phases,
    /// Whether the argument is expanded before it is used.
    pub is_expanded: bool,
    /// What it is.
    pub kind: Kind,
}

impl ClauseRow {
    /// Whether it is a condition, which may be negated.
    pub(crate) fn is_condition(&self) -> bool {
        matches!(self.kind, Kind::Condition(_) | Kind::Acl)
    }
}

/// The names of all conditions, modifiers and controls, each with its line of documentation; controls as `control = name`.
pub fn documentation() -> impl Iterator<Item = (String, &'static str)> {
    let clauses = condition::ROWS.iter().chain(modifier::ROWS).map(|row| (row.name.to_owned(), row.doc));
    clauses.chain(control::ROWS.iter().map(|row| (format!("control = {}", row.name), row.doc)))
}

/// The names of all conditions.
pub fn built_conditions() -> impl Iterator<Item = &'static str> {
    condition::ROWS.iter().map(|row| row.name)
}

/// The names of the modifiers that are built.
pub fn built_modifiers() -> impl Iterator<Item = &'static str> {
    modifier::ROWS.iter().map(|row| row.name)
}

/// The row of a name. Case counts.
pub(crate) fn find(name: &str) -> Option<&'static ClauseRow> {
    condition::ROWS.iter().chain(modifier::ROWS).find(|row| row.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let mut names: Vec<_> = condition::ROWS.iter().chain(modifier::ROWS).map(|row| row.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(condition::ROWS.iter().chain(modifier::ROWS).all(|row| row.doc.ends_with('.')));
    }
}
