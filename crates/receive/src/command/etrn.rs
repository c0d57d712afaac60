//! ETRN: a client asks for its mail (RFC 1985). Refused unless an ACL accepts. Manual section 49.8.
//!
//! It starts a queue run, or `smtp_etrn_command`, and does not wait for it. A command that cannot be started gives 458.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_lang::expand::Template;

use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    if talk.transaction.sender_given {
        return super::protocol_error(reception, talk, 503, "ETRN is not permitted inside a transaction");
    }
    let shown = log_line::printable(argument);
    if reception.wants.etrn {
        let client = log_line::client(reception, talk, false);
        reception.logs.main(&format!("ETRN {shown} received from {client}"));
    }
    let argument = argument.to_vec();
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        if outcome.verdict == Verdict::Accept {
            return after_acl(reception, talk, &argument);
        }
        Progress::Reply(refusal::refuse(reception, talk, Phase::Etrn, &format!(" {shown}"), &outcome))
    };
    Progress::Acl(Phase::Etrn, Box::new(then))
}

fn after_acl(reception: &Reception, talk: &mut Talk, argument: &[u8]) -> Progress {
    let started = match &reception.settings.etrn_command {
        Some(command) => words(command.as_ref(), talk, argument)
            .and_then(|words| start(reception.settings.etrn_serialize, words, argument)),
        // Without a command only the form `#string` is served: a queue run for recipients that contain the string.
        None => match argument.strip_prefix(b"#") {
            Some(text) => match reception.sink.run_queue_for(text) {
                Ok(()) => Ok(()),
                Err(reason) => {
                    return Progress::Reply(Reply::new(458, format!("Unable to start queue run: {reason}")));
                }
            },
            None => return Progress::Reply(Reply::fixed(501, "argument must begin with #")),
        },
    };
    match started {
        Ok(()) => Progress::fixed(250, "OK"),
        Err(Trouble::Running) => {
            Progress::Reply(Reply::new(458, [b"Already processing ", argument].concat()))
        }
        Err(Trouble::NotStarted(reason)) => {
            reception.logs.panic(&format!("failed to set up ETRN command: {reason}"));
            Progress::Reply(Reply::fixed(458, "Internal failure"))
        }
    }
}

/// Why nothing was started.
enum Trouble {
    /// The same is running.
    Running,
    /// The text for the log.
    NotStarted(String),
}

/// `smtp_etrn_command`, expanded with the argument as `$domain`.
fn words(
    command: Result<&Vec<Template>, &String>,
    talk: &mut Talk,
    argument: &[u8],
) -> Result<Vec<String>, Trouble> {
    let templates = command.map_err(|text| Trouble::NotStarted(text.clone()))?;
    let context = &mut talk.scene.context;
    let domain = std::mem::replace(&mut context.address.domain, Text::tainted(argument));
    let expanded: Result<Vec<Text>, _> = templates.iter().map(|word| word.expand(context)).collect();
    context.address.domain = domain;
    let words = expanded.map_err(|error| Trouble::NotStarted(error.to_string()))?;
    if let Some((number, word)) = words.iter().enumerate().find(|(_, word)| word.is_foreign()) {
        let text = format!("Tainted arg {number} for ETRN processing command: '{}'", word.to_string_lossy());
        return Err(Trouble::NotStarted(text));
    }
    Ok(words.iter().map(Text::to_string_lossy).collect())
}

/// Arguments whose commands are running.
static RUNNING: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());

fn start(serialize: bool, words: Vec<String>, argument: &[u8]) -> Result<(), Trouble> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| Trouble::NotStarted("smtp_etrn_command is empty".to_owned()))?;
    if serialize && !RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(argument.to_vec()) {
        return Err(Trouble::Running);
    }
    let done = {
        let argument = argument.to_vec();
        move || {
            if serialize {
                RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&argument);
            }
        }
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            std::thread::spawn(move || {
                let _ = child.wait();
                done();
            });
            Ok(())
        }
        Err(error) => {
            done();
            Err(Trouble::NotStarted(format!("{program} cannot be started: {}", error_text(&error))))
        }
    }
}
