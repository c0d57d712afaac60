//! ACLs that expansions run: `${acl}`, and the `acl` condition of `${if`.
//!
//! An ACL that an expansion runs inside another ACL shares its controls, which [`super::run::Run::lending`] has put into the
//! context; one that runs elsewhere (in a router, say) has none, and what it sets there is lost. It holds its thread while it
//! pauses. Manual sections 11.5 (`acl`) and 44.26.

use std::sync::Arc;

use oxim_base::Text;
use oxim_base::limits::ACL_DEPTH_MAX;
use oxim_lang::context::Context;
use oxim_lang::host::{AclOutcome, AclVerdict};

use super::run::{Lent, Run, take_lent};
use super::{Outcome, Phase, RejectTargets, Scene, Step, Verdict, interpreter};
use crate::reception::Reception;

/// Runs a named ACL, a file or an ACL text for `${acl}` and the `acl` condition of `${if`. May block.
///
/// In the end the context is as before, but for what the ACL has set on purpose.
#[must_use]
pub fn run_in_expansion(
    reception: &Reception,
    context: &mut Context,
    name_or_text: &[u8],
    arguments: Vec<Text>,
) -> AclVerdict {
    let lent = take_lent(context);
    let (phase, depth) = lent.as_ref().map_or((Phase::Unknown, 0), |lent| (lent.phase, lent.depth));
    let spare = Context::new(Arc::clone(&context.config), Arc::clone(&context.services));
    let mut scene = Scene::new(std::mem::replace(context, spare));
    let is_lent = lent.is_some();
    if let Some(lent) = lent {
        scene.connection = lent.connection;
        scene.message = lent.message;
        scene.subject = lent.subject;
    }
    let outer = std::mem::replace(&mut scene.context.local.acl_arguments, arguments);
    let verdict = run(reception, &mut scene, phase, depth, name_or_text);
    scene.context.local.acl_arguments = outer;
    let Scene { context: back, connection, message, subject, held: _ } = scene;
    *context = back;
    if is_lent {
        context.upper.put(Box::new(Lent { connection, message, subject, phase, depth }));
    }
    verdict
}

fn run(reception: &Reception, scene: &mut Scene, phase: Phase, depth: usize, name: &[u8]) -> AclVerdict {
    // Exim counts an expansion as a level of its own.
    let depth = depth.saturating_add(2);
    if depth > ACL_DEPTH_MAX {
        return failed("ACL nested too deep: possible loop".to_owned());
    }
    let acls = &reception.acls;
    let found = {
        let run = Run { acls, reception, scene, phase, targets: RejectTargets::default(), depth };
        acls.find(&run, &Text::clean(name))
    };
    let acl = match found {
        Ok(acl) => acl,
        Err(text) => return failed(text),
    };
    let before = scene.context.local.acl_verify_message.take();
    let mut step = interpreter::run_within(acls, reception, scene, phase, acl, depth);
    let outcome = loop {
        match step {
            Step::Done(outcome) => break outcome,
            Step::Delay { pause, resume, .. } => {
                std::thread::sleep(pause);
                step = interpreter::resume(acls, reception, scene, resume);
            }
        }
    };
    scene.context.local.acl_verify_message = before;
    verdict(outcome)
}

fn verdict(outcome: Outcome) -> AclVerdict {
    let word = match outcome.verdict {
        Verdict::Accept => AclOutcome::Accept,
        Verdict::Deny => AclOutcome::Deny,
        Verdict::Defer => AclOutcome::Defer,
        Verdict::Drop => AclOutcome::Drop,
        Verdict::Discard => AclOutcome::Discard,
    };
    AclVerdict { outcome: word, message: outcome.user_message, log_message: outcome.log_message }
}

fn failed(text: String) -> AclVerdict {
    AclVerdict { outcome: AclOutcome::Error(text), message: None, log_message: None }
}
