//! The table of controls: `control = name/options` (manual section 44.22).
//!
//! A row says where the control is illegal, whether it takes options, and what it does. Controls that are known but not built
//! are refused when the configuration is read; if their name comes out of an expansion, when they are reached.

mod bmi;
mod cutthrough;
pub(super) mod debug;
mod dscp;
mod fake;
mod freeze;
mod local_part;
mod queue;
mod submission;
mod switches;
mod utf8_downconvert;
mod wellknown;

use oxim_base::Text;

use super::Phase;
use super::clause::{Answer, Tested};
use super::phase::{Phases, all_but, phases};
use super::run::Run;

/// What a control does. The text is what follows the name: empty, or a slash and the options.
type Apply = fn(&mut Run<'_>, &Text) -> Result<(), Fault>;

/// Why a control cannot be obeyed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its options are wrong: the ACL is faulty.
    Syntax,
    /// Its options are wrong, and this says how: the ACL is faulty.
    Wrong(String),
    /// It fails as a condition does, with a text for the log.
    NoMatch(Option<String>),
}

/// A control.
pub(crate) struct ControlRow {
    /// Its name.
    pub name: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
    /// Where it is illegal.
    pub forbidden: Phases,
    /// Whether something may follow the name.
    pub has_options: bool,
    /// What it does; None: not built.
    pub apply: Option<Apply>,
}

/// Only while a message is received.
const MESSAGE_ONLY: Phases = all_but(&[
    Phase::Mail,
    Phase::Rcpt,
    Phase::Predata,
    Phase::Data,
    Phase::Mime,
    Phase::NotSmtp,
    Phase::NotSmtpMime,
    Phase::NotSmtpStart,
]);
/// Not without an SMTP session.
const SMTP_ONLY: Phases = phases(&[Phase::NotSmtp, Phase::NotSmtpStart]);

/// All controls.
pub(crate) static ROWS: &[&ControlRow] = &[
    &switches::ALLOW_AUTH_UNADVERTISED,
    &bmi::ROW,
    &local_part::CASEFUL,
    &local_part::CASELOWER,
    &cutthrough::ROW,
    &debug::ROW,
    &switches::DKIM_DISABLE_VERIFY,
    &switches::DMARC_DISABLE_VERIFY,
    &switches::DMARC_ENABLE_FORENSIC,
    &dscp::ROW,
    &switches::ENFORCE_SYNC,
    &fake::DEFER,
    &fake::REJECT,
    &freeze::ROW,
    &switches::NO_CALLOUT_FLUSH,
    &switches::NO_DELAY_FLUSH,
    &switches::NO_ENFORCE_SYNC,
    &switches::NO_MBOX_UNSPOOL,
    &switches::NO_MULTILINE_RESPONSES,
    &switches::NO_PIPELINING,
    &queue::QUEUE,
    &queue::QUEUE_ONLY,
    &submission::ROW,
    &switches::SUPPRESS_LOCAL_FIXUPS,
    &utf8_downconvert::ROW,
    &wellknown::ROW,
];

/// The row that a text names, and what follows the name.
fn find(text: &Text) -> Option<(&'static ControlRow, Text)> {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|b| *b == b'/').unwrap_or(bytes.len());
    let name = bytes.get(..end).unwrap_or_default();
    let row = ROWS.iter().find(|row| row.name.as_bytes() == name)?;
    (row.has_options || end == bytes.len()).then(|| (*row, text.slice(end, text.len())))
}

/// Why a control cannot be used in a phase.
pub(crate) fn illegality(text: &Text, phase: Phase) -> Option<String> {
    let (row, _) = find(text)?;
    if row.forbidden & phase.bit() == 0 {
        return None;
    }
    // Exim knows `queue_only` as another name of `queue`.
    let name = if row.name == "queue_only" { "queue" } else { row.name };
    Some(format!("cannot use \"control={name}\" in {} ACL", phase.acl_name()))
}

/// What is said of a control that there is not, or that takes no options.
fn syntax_error(text: &Text) -> String {
    format!("syntax error in \"control={}\"", text.to_string_lossy())
}

/// Why a constant control can never be obeyed.
pub(crate) fn fault(text: &Text) -> Option<String> {
    find(text).is_none().then(|| syntax_error(text))
}

/// Why a constant control cannot be used at all.
pub(crate) fn refusal(text: &Text) -> Option<String> {
    let (row, _) = find(text)?;
    row.apply.is_none().then(|| not_built(row.name))
}

/// Whether obeying a constant control, or what follows from it, may wait for files.
pub(crate) fn may_block(text: &Text) -> bool {
    find(text)
        .is_some_and(|(row, _)| matches!(row.name, "bmi_run" | "cutthrough_delivery" | "debug" | "wellknown"))
}

fn not_built(name: &str) -> String {
    format!("ACL control \"{name}\" is not implemented yet")
}

/// Obeys a control. The error is what the statement comes to.
pub(crate) fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Tested> {
    let syntax_error = || Tested::faulty(syntax_error(text));
    let (row, options) = find(text).ok_or_else(syntax_error)?;
    if let Some(illegality) = illegality(text, run.phase) {
        return Err(Tested::faulty(illegality));
    }
    let apply = row.apply.ok_or_else(|| Tested::faulty(not_built(row.name)))?;
    apply(run, &options).map_err(|fault| match fault {
        Fault::Syntax if row.name == utf8_downconvert::NAME => {
            Tested::faulty(utf8_downconvert::BAD_VALUE.to_owned())
        }
        Fault::Syntax => syntax_error(),
        Fault::Wrong(text) => Tested::faulty(text),
        Fault::NoMatch(Some(text)) => Tested::logged(Answer::No, text),
        Fault::NoMatch(None) => Tested::plain(Answer::No),
    })
}

/// The options of a control, after its slash; a slash is doubled to stand for itself in the last of them only.
fn options(text: &Text) -> impl Iterator<Item = Text> {
    let parts: Vec<Text> = match text.as_bytes().split_first() {
        Some((b'/', rest)) => rest.split(|b| *b == b'/').map(|part| text.derive(part)).collect(),
        Some(_) | None => Vec::new(),
    };
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        assert!(names.is_sorted());
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
        assert!(ROWS.iter().all(|row| row.doc.ends_with('.')));
    }

    #[test]
    fn options_follow_a_slash_and_only_where_allowed() {
        let found = |text: &str| find(&Text::clean(text)).map(|(row, _)| row.name);
        assert_eq!(found("freeze/no_tell"), Some("freeze"));
        assert_eq!(found("enforce_sync"), Some("enforce_sync"));
        assert_eq!(found("enforce_sync/x"), None);
        assert_eq!(found("freezex"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn what_is_built_is_not_refused() {
        assert_eq!(refusal(&Text::clean("freeze")), None);
    }
}
