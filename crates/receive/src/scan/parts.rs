//! The MIME ACL, once for each part of the message, before the DATA ACL (manual section 45.4).
//!
//! Only messages with a Content-Type: line have it. Attached messages are decoded to files and walked through in their
//! turn, after the message that holds them, the last one first. A message with more or deeper nested parts than the
//! limits allow is refused: what cannot be looked at is not let through.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_base::limits::{MIME_MESSAGES_MAX, MIME_PARTS_MAX};
use oxim_lang::content::PartFacts;
use oxim_lang::context::Context;

use super::walk::{Walk, WalkError};
use super::{PartPlace, copy_of};
use crate::acl::decode_part;
use crate::acl::{Outcome, Phase, Verdict};
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

/// A message being walked through: the one in hand, or one that is attached.
struct Stage {
    file: PathBuf,
    walk: Walk<File>,
    /// Messages attached to it.
    attached: Vec<PathBuf>,
}

/// How far the parts are done.
struct Turns {
    stages: Vec<Stage>,
    parts: usize,
}

/// What comes next.
enum Next {
    /// The ACL is to be run for the part that is now in hand.
    Part,
    /// All parts are done.
    Done,
    /// The message is not taken.
    Refused(Reply, String),
}

/// Whether the ACL is to be run at all.
fn is_due(reception: &Reception, context: &Context, phase: Phase) -> bool {
    reception.acls.is_set(phase) && context.message.headers.contains(b"content-type")
}

/// What follows when the MIME ACL has nothing against the message.
type GoOn = Box<dyn FnOnce(&Arc<Reception>, &mut Talk) -> Progress + Send>;

/// Runs the MIME ACL for all parts of a message that came over SMTP, and goes on.
pub(crate) fn examine(reception: &Arc<Reception>, talk: &mut Talk, go_on: GoOn) -> Progress {
    if !is_due(reception, &talk.scene.context, Phase::Mime) {
        return go_on(reception, talk);
    }
    match Turns::begin(talk) {
        Ok(turns) => next(reception, talk, turns, go_on),
        Err(reason) => refused(reception, talk, local_fault(), &reason),
    }
}

fn next(reception: &Arc<Reception>, talk: &mut Talk, mut turns: Turns, go_on: GoOn) -> Progress {
    match turns.next(talk) {
        Next::Done => go_on(reception, talk),
        Next::Refused(reply, reason) => refused(reception, talk, reply, &reason),
        Next::Part => {
            let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| match after_acl(
                reception, talk, &outcome,
            ) {
                Some(progress) => progress,
                None if talk.scene.context.message.recipients.is_empty() => {
                    over(talk, None);
                    go_on(reception, talk)
                }
                None => match turns.keep_attached(talk) {
                    Ok(()) => next(reception, talk, turns, go_on),
                    Err(reason) => refused(reception, talk, local_fault(), &reason),
                },
            };
            Progress::Acl(Phase::Mime, Box::new(then))
        }
    }
}

/// The refusal, if the ACL has refused.
fn after_acl(reception: &Arc<Reception>, talk: &mut Talk, outcome: &Outcome) -> Option<Progress> {
    match outcome.verdict {
        Verdict::Accept => None,
        Verdict::Discard => {
            discard(talk);
            None
        }
        Verdict::Deny | Verdict::Defer | Verdict::Drop => {
            crate::acceptance::add_acl_headers(talk);
            let reply = crate::refusal::refuse(reception, talk, Phase::Mime, "", outcome);
            talk.message_over();
            Some(Progress::Reply(reply))
        }
    }
}

fn discard(talk: &mut Talk) {
    talk.transaction.discarded_by = Some("MIME");
    // Exim logs no reason here.
    talk.transaction.discard_reason = String::new();
    talk.scene.context.message.recipients = Arc::default();
}

fn local_fault() -> Reply {
    Reply::fixed(451, "Temporary local problem - please try later")
}

fn refused(reception: &Arc<Reception>, talk: &mut Talk, reply: Reply, reason: &str) -> Progress {
    log(reception, talk, reason);
    talk.message_over();
    Progress::Reply(reply)
}

fn log(reception: &Reception, talk: &Talk, reason: &str) {
    let id = talk.scene.context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
    reception.logs.panic(&format!("{id}MIME acl: {reason}"));
}

/// Runs the MIME ACL for all parts of a message from a local process. Gives what it said when it did not accept.
pub(crate) fn examine_local(reception: &Arc<Reception>, talk: &mut Talk) -> Result<(), Box<Outcome>> {
    if !is_due(reception, &talk.scene.context, Phase::NotSmtpMime) {
        return Ok(());
    }
    let fault = |talk: &Talk, reason: String| {
        log(reception, talk, &reason);
        Box::new(Outcome::plain(Verdict::Defer))
    };
    let mut turns = Turns::begin(talk).map_err(|reason| fault(talk, reason))?;
    loop {
        match turns.next(talk) {
            Next::Done => return Ok(()),
            Next::Refused(_, reason) => return Err(fault(talk, reason)),
            Next::Part => {}
        }
        let outcome = crate::local::run_acl(reception, talk, Phase::NotSmtpMime);
        match outcome.verdict {
            Verdict::Accept => {}
            Verdict::Discard => {
                discard(talk);
                over(talk, None);
                return Ok(());
            }
            Verdict::Deny | Verdict::Defer | Verdict::Drop => return Err(Box::new(outcome)),
        }
        turns.keep_attached(talk).map_err(|reason| fault(talk, reason))?;
    }
}

/// No part is in hand any more.
fn over(talk: &mut Talk, count: Option<i64>) {
    let content = &mut talk.scene.context.message.content;
    content.part = None;
    if count.is_some() {
        content.part_count = count;
    }
    talk.scene.message.scan.part = None;
    forget_matches(talk);
}

/// What the regular expressions have matched belongs to one part.
fn forget_matches(talk: &mut Talk) {
    talk.scene.context.local.regex_match_string = None;
    talk.scene.context.local.regex_captures.clear();
}

impl Turns {
    fn begin(talk: &mut Talk) -> Result<Turns, String> {
        let scene = &mut talk.scene;
        let keep = scene.message.no_mbox_unspool;
        let copy = copy_of(&scene.context, &mut scene.message.scan, keep)?;
        let mut turns = Turns { stages: Vec::new(), parts: 0 };
        turns.enter(&scene.context, copy.file().to_owned())?;
        Ok(turns)
    }

    fn enter(&mut self, context: &Context, file: PathBuf) -> Result<(), String> {
        let reader =
            File::open(&file).map_err(|error| format!("{}: {}", file.display(), error_text(&error)))?;
        let walk = Walk::new(reader, context.headers_charset().as_bytes());
        self.stages.push(Stage { file, walk, attached: Vec::new() });
        Ok(())
    }

    /// Goes on to the next part.
    fn next(&mut self, talk: &mut Talk) -> Next {
        loop {
            let depth = self.stages.len();
            let Some(stage) = self.stages.last_mut() else { return Next::Done };
            match stage.walk.next_part() {
                Err(WalkError::Local(error)) => return Next::Refused(local_fault(), error_text(&error)),
                Err(WalkError::TooDeep) => return too_many("MIME parts are nested too deep"),
                Ok(Some(found)) => {
                    self.parts = self.parts.saturating_add(1);
                    if self.parts > MIME_PARTS_MAX {
                        return too_many("too many MIME parts");
                    }
                    forget_matches(talk);
                    talk.scene.message.scan.part = Some(Arc::new(PartPlace {
                        file: stage.file.clone(),
                        start: found.start,
                        boundaries: found.boundaries,
                    }));
                    talk.scene.context.message.content.part = Some(Box::new(PartFacts {
                        header: found.header,
                        number: found.number,
                        is_cover_letter: found.is_cover_letter,
                        is_rfc822: depth > 1,
                        ..PartFacts::default()
                    }));
                    return Next::Part;
                }
                Ok(None) => {
                    let number = stage.walk.number();
                    if let Some(file) = stage.attached.pop() {
                        if depth > MIME_MESSAGES_MAX {
                            return too_many("attached messages are nested too deep");
                        }
                        if let Err(reason) = self.enter(&talk.scene.context, file) {
                            return Next::Refused(local_fault(), reason);
                        }
                        continue;
                    }
                    self.stages.pop();
                    if self.stages.is_empty() {
                        over(talk, Some(number));
                        return Next::Done;
                    }
                }
            }
        }
    }

    /// If the part that was in hand is a message, it is decoded, and will be walked through.
    fn keep_attached(&mut self, talk: &mut Talk) -> Result<(), String> {
        let is_message = |part: &PartFacts| part.header.content_type == b"message/rfc822";
        if !talk.scene.context.message.content.part.as_deref().is_some_and(is_message) {
            return Ok(());
        }
        let file = decode_part(&mut talk.scene)?;
        if let Some(stage) = self.stages.last_mut() {
            stage.attached.push(file);
        }
        Ok(())
    }
}

fn too_many(reason: &str) -> Next {
    let reply = Reply::fixed(550, "Message has too many or too deeply nested MIME parts");
    Next::Refused(reply, format!("{reason}: message refused"))
}
