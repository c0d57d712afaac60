//! `control = submission`: the message comes from a mail program of our own users, and is mended as theirs are.
//! Options `sender_retain`, `domain=`, `name=`. Manual sections 44.22 and 48.1.

use oxim_base::Text;

use super::super::run::Run;
use super::super::{Phase, Submission};
use super::{ControlRow, Fault, all_but};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "submission",
    doc: "Treats the message as submitted: adds Date: and the like, checks the sender.",
    forbidden: all_but(&[Phase::Mail, Phase::Rcpt, Phase::Predata]),
    has_options: true,
    apply: Some(apply),
};

fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Fault> {
    run.scene.message.submission = Some(read(text.as_bytes()).ok_or(Fault::Syntax)?);
    Ok(())
}

/// The options, each after a slash. A name comes last, as it may have slashes.
fn read(text: &[u8]) -> Option<Submission> {
    let mut submission = Submission::default();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(b"/") {
        if let Some(name) = after.strip_prefix(b"name=") {
            submission.name = Some(name.to_vec());
            return Some(submission);
        }
        let end = memchr::memchr(b'/', after).unwrap_or(after.len());
        let (option, others) = after.split_at_checked(end)?;
        if option == b"sender_retain" {
            submission.sender_retain = true;
        } else {
            submission.domain = Some(option.strip_prefix(b"domain=")?.to_vec());
        }
        rest = others;
    }
    rest.is_empty().then_some(submission)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_all_that_follows() {
        let submission = read(b"/sender_retain/domain=a.example/name=A/B C").unwrap();
        assert!(submission.sender_retain);
        assert_eq!(submission.domain.as_deref(), Some(b"a.example".as_slice()));
        assert_eq!(submission.name.as_deref(), Some(b"A/B C".as_slice()));
        assert!(!read(b"/name=x/sender_retain").unwrap().sender_retain);
        assert!(read(b"/retain").is_none());
        assert!(read(b"x").is_none());
        assert!(read(b"").unwrap().domain.is_none());
    }
}
