//! `verify = arc`: the chain of ARC sets is in a state of the list. Sets `$arc_…`.
//!
//! The header lines are those that came, before any was changed. Failure mode: a key that no server could give is "later".

use std::io::Read as _;
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_lang::list::{List, ListKind, Subject};
use oxim_lang::sender_policy::AuthDns;
use oxim_mailauth::arc::verify::{ArcVerifier, Checked, Later};

use crate::acl::{Answer, Run, Tested};
use crate::signatures::NoDns;

/// What is accepted if nothing is said.
const DEFAULT: &str = "none:pass";
/// Bytes of the body that are hashed at a time.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) fn chain(run: &mut Run<'_>, states: Option<&Text>) -> Tested {
    if run.scene.context.message.arc.checked.is_none() {
        match check(run) {
            Ok(Ok(checked)) => run.scene.context.message.arc.checked = Some(Arc::new(checked)),
            Ok(Err(Later(name))) => {
                return Tested::logged(Answer::Later, format!("ARC: no answer about the key {name}"));
            }
            Err(error) => {
                return Tested::logged(
                    Answer::Later,
                    format!("ARC: the body cannot be read: {}", error_text(&error)),
                );
            }
        }
    }
    let word = run.scene.context.message.arc.state().word();
    run.trace(|| format!("ARC state is {word}"));
    let subject = Text::from(word);
    let list = List::compile(ListKind::String, &states.map_or(DEFAULT.to_owned(), Text::to_string_lossy));
    match run.matches(&list, &Subject::String { text: &subject, caseful: false }) {
        Ok(found) => Tested::of(found.is_some()),
        Err(tested) => tested,
    }
}

fn check(run: &Run<'_>) -> std::io::Result<Result<Checked, Later>> {
    let message = &run.scene.context.message;
    let lines = Arc::clone(&message.arc.lines);
    let mut verifier = ArcVerifier::new(&lines);
    if let Some(body) = message.body.as_ref().filter(|_| verifier.wants_body()) {
        let mut reader = body.reader();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = reader.read(&mut piece)?;
            if count == 0 {
                break;
            }
            verifier.update(piece.get(..count).unwrap_or_default());
        }
    }
    Ok(match &run.reception.resolver {
        Some(resolver) => verifier.finish(&AuthDns(resolver)),
        None => verifier.finish(&NoDns),
    })
}
