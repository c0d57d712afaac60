//! `control = submission`: the message comes from a mail program of our own users, and is mended as theirs are.
//! Options `sender_retain`, `domain=`, `name=`. Manual sections 44.22 and 48.1.

use oxim_base::Text;

use super::super::run::Run;
use super::super::{Phase, Submission};
use super::{ControlRow, Fault, all_but, options};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "submission",
    doc: "Treats the message as submitted: adds Date: and the like, checks the sender.",
    forbidden: all_but(&[Phase::Mail, Phase::Rcpt, Phase::Predata]),
    has_options: true,
    apply: Some(apply),
};

fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Fault> {
    let mut submission = Submission::default();
    for option in options(text) {
        let option = option.as_bytes();
        if option == b"sender_retain" {
            submission.sender_retain = true;
        } else if let Some(domain) = option.strip_prefix(b"domain=") {
            submission.domain = Some(domain.to_vec());
        } else if let Some(name) = option.strip_prefix(b"name=") {
            submission.name = Some(name.to_vec());
        } else {
            return Err(Fault::Syntax);
        }
    }
    run.scene.message.submission = Some(submission);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doc_names_the_options() {
        let text = Text::clean("/sender_retain/domain=a.example/name=A B");
        let seen: Vec<_> = options(&text).map(|option| option.to_string_lossy()).collect();
        assert_eq!(seen, ["sender_retain", "domain=a.example", "name=A B"]);
    }
}
