//! Walks the statements of an ACL.
//!
//! The state is a stack of [`Frame`]s, one for each ACL that called the next by the `acl` condition, so that a `delay` in any
//! of them can leave the thread and go on later. At the end of every ACL stands an implicit `deny`. Failure modes: a faulty
//! argument or a condition out of place ends the whole run as [`Verdict::Defer`] with a text for the log only.
//! Manual sections 44.13 and 44.17 to 44.21.

use std::sync::Arc;
use std::time::Duration;

use oxim_base::limits::ACL_DEPTH_MAX;
use oxim_base::{Text, clock};
use oxim_deliver::event;
use oxim_lang::expand::{ExpandError, Template};

use super::clause::{Answer, Tested};
use super::compile::{Acl, Action, Call, Clause, Statement};
use super::modifier::add_header;
use super::run::Run;
use super::verb::Verb;
use super::{Acls, Outcome, Phase, RejectTargets, Scene, Step, Verdict};
use crate::reception::Reception;

/// Where a run goes on after a pause.
#[derive(Debug)]
pub struct Resume {
    phase: Phase,
    frames: Vec<Frame>,
    targets: RejectTargets,
    /// How deep the run itself stands in another one (`${acl}`).
    base: usize,
}

/// An ACL that is running, or waiting for the one that it called.
#[derive(Debug)]
struct Frame {
    acl: Arc<Acl>,
    statement: usize,
    clause: usize,
    /// The arguments of the calling ACL, to be put back.
    outer_arguments: Option<Vec<Text>>,
    /// What this statement has come upon so far.
    seen: Seen,
    /// Replies that waited have been sent before the callout in hand.
    is_flushed: bool,
}

/// What a statement has come upon so far.
#[derive(Debug, Default)]
struct Seen {
    message: Option<Template>,
    log_message: Option<Template>,
    user: Option<Text>,
    log: Option<Text>,
    endpass: bool,
}

/// What `warn` does when its conditions hold.
#[derive(Default)]
struct Warning {
    log: Option<Text>,
    header: Option<Text>,
}

/// How the conditions of a statement came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Result {
    Holds,
    Fails,
    /// A called ACL said `drop`.
    FailsDropping,
    /// A called ACL said `discard`.
    Discards,
    Later,
    Faulty,
}

/// What a clause leads to.
enum Flow {
    Next,
    Pause { time: Duration, flush: bool },
    Flush,
    Call(Arc<Acl>, Vec<Text>),
    Ends(Result),
}

/// How one ACL of the stack has ended.
struct Ended {
    result: Result,
    verdict: Verdict,
}

/// Runs an ACL from its first statement.
pub(super) fn run(
    acls: &Acls,
    reception: &Reception,
    scene: &mut Scene,
    phase: Phase,
    acl: Arc<Acl>,
) -> Step {
    // What verification found for one address is not for the ACL of the next command.
    scene.context.address.address_data = None;
    scene.context.address.sender_address_data = None;
    run_within(acls, reception, scene, phase, acl, 0)
}

/// As [`run`], within expansions of other ACLs, `base` of them.
pub(super) fn run_within(
    acls: &Acls,
    reception: &Reception,
    scene: &mut Scene,
    phase: Phase,
    acl: Arc<Acl>,
    base: usize,
) -> Step {
    let mut state = Resume { phase, frames: Vec::new(), targets: RejectTargets::default(), base };
    let run = state.run(acls, reception, scene);
    announce(&run, &acl);
    run.scene.context.local.acl_verify_message = None;
    state.frames.push(Frame::new(acl, None));
    go(acls, reception, scene, state)
}

/// Goes on after a pause.
pub(super) fn resume(acls: &Acls, reception: &Reception, scene: &mut Scene, state: Resume) -> Step {
    go(acls, reception, scene, state)
}

impl Resume {
    fn run<'a>(&self, acls: &'a Acls, reception: &'a Reception, scene: &'a mut Scene) -> Run<'a> {
        let depth = self.base.saturating_add(self.frames.len().saturating_sub(1));
        Run { acls, reception, scene, phase: self.phase, targets: self.targets, depth }
    }
}

impl Frame {
    fn new(acl: Arc<Acl>, outer_arguments: Option<Vec<Text>>) -> Frame {
        Frame { acl, statement: 0, clause: 0, outer_arguments, seen: Seen::default(), is_flushed: false }
    }
}

fn announce(run: &Run<'_>, acl: &Acl) {
    if let super::compile::AclName::Named(_) = acl.name {
        run.trace(|| format!("using {}", acl.name));
    }
}

fn go(acls: &Acls, reception: &Reception, scene: &mut Scene, mut state: Resume) -> Step {
    loop {
        let mut run = state.run(acls, reception, scene);
        let Some(frame) = state.frames.last_mut() else {
            return Step::Done(Outcome::error("ACL ended without a result".to_owned()));
        };
        let acl = Arc::clone(&frame.acl);
        let flow = match acl.statements.get(frame.statement) {
            None => {
                run.trace(|| format!("end of {}: implicit DENY", acl.name));
                Flow::Ends(Result::Fails)
            }
            Some(statement) => match statement.clauses.get(frame.clause) {
                Some(clause) => {
                    if frame.clause == 0 && !frame.is_flushed {
                        begin(&run, statement);
                    }
                    let flow = obey(&mut run, frame, statement, clause);
                    event::dns_failures(&mut run.scene.context);
                    flow
                }
                None => {
                    if statement.clauses.is_empty() {
                        begin(&run, statement);
                    }
                    Flow::Ends(Result::Holds)
                }
            },
        };
        state.targets = run.targets;
        match flow {
            Flow::Next => frame.clause = frame.clause.saturating_add(1),
            Flow::Pause { time, flush } => {
                frame.clause = frame.clause.saturating_add(1);
                return Step::Delay { pause: time, flush, resume: state };
            }
            Flow::Flush => {
                frame.is_flushed = true;
                return Step::Delay { pause: Duration::ZERO, flush: true, resume: state };
            }
            Flow::Call(called, arguments) => {
                let outer = std::mem::replace(&mut scene.context.local.acl_arguments, arguments);
                state.frames.push(Frame::new(called, Some(outer)));
                let run = state.run(acls, reception, scene);
                if let Some(frame) = state.frames.last() {
                    announce(&run, &frame.acl);
                }
            }
            Flow::Ends(result) => {
                let ended = match acl.statements.get(frame.statement) {
                    None => Some(Ended { result: Result::Fails, verdict: Verdict::Deny }),
                    Some(statement) => conclude(&mut run, frame, statement, result),
                };
                if let Some(outcome) = settle(&mut state, scene, reception, acls, ended) {
                    return Step::Done(outcome);
                }
            }
        }
    }
}

fn begin(run: &Run<'_>, statement: &Statement) {
    run.trace(|| match &statement.location {
        Some(location) => {
            format!("processing \"{}\" ({} {})", statement.verb.name(), location.file, location.line)
        }
        None => format!("processing \"{}\"", statement.verb.name()),
    });
}

/// Goes to the next statement, or out of an ACL and perhaps of all.
fn settle(
    state: &mut Resume,
    scene: &mut Scene,
    reception: &Reception,
    acls: &Acls,
    ended: Option<Ended>,
) -> Option<Outcome> {
    let Some(ended) = ended else {
        let frame = state.frames.last_mut()?;
        let was_warning =
            frame.acl.statements.get(frame.statement).is_some_and(|statement| statement.verb == Verb::Warn);
        frame.statement = frame.statement.saturating_add(1);
        frame.clause = 0;
        frame.is_flushed = false;
        // After the last statement its texts stay: they are those of the implicit deny. Those of a warning have been used.
        let was_last = frame.statement >= frame.acl.statements.len();
        let kept = std::mem::take(&mut frame.seen);
        if was_last && !was_warning {
            frame.seen = Seen { user: kept.user, log: kept.log, ..Seen::default() };
        }
        scene.context.local.acl_verify_message = None;
        return None;
    };
    let mut frame = state.frames.pop()?;
    if let Some(outer) = frame.outer_arguments.take() {
        scene.context.local.acl_arguments = outer;
    }
    let seen = frame.seen;
    let mut run = state.run(acls, reception, scene);
    let Some(caller) = state.frames.last_mut() else {
        return Some(finish(&mut run, seen, &ended));
    };
    // The texts of a called ACL stand for its condition in the caller; there a user text alone is for the log too.
    caller.seen.log = seen.log.or_else(|| seen.user.clone()).or(caller.seen.log.take());
    caller.seen.user = seen.user.or(caller.seen.user.take());
    run.scene.context.local.acl_verify_message = caller.seen.user.clone();
    let acl = Arc::clone(&caller.acl);
    let statement = acl.statements.get(caller.statement)?;
    let is_negated = statement.clauses.get(caller.clause).is_some_and(|clause| clause.is_negated);
    let ended = match returned(&ended, statement, is_negated, &mut caller.seen) {
        Result::Holds => {
            caller.clause = caller.clause.saturating_add(1);
            return None;
        }
        other @ (Result::Fails
        | Result::FailsDropping
        | Result::Discards
        | Result::Later
        | Result::Faulty) => conclude(&mut run, caller, statement, other),
    };
    settle(state, scene, reception, acls, ended)
}

/// What the end of a called ACL means to the `acl` condition.
fn returned(ended: &Ended, statement: &Statement, is_negated: bool, seen: &mut Seen) -> Result {
    match (ended.result, ended.verdict) {
        (Result::Later, _) | (_, Verdict::Defer) if ended.result != Result::Faulty => Result::Later,
        (Result::Faulty, _) => Result::Faulty,
        (_, Verdict::Discard) if statement.verb.is_affirmative() => Result::Discards,
        (_, Verdict::Discard) => {
            seen.log = Some(Text::from(format!(
                "nested ACL returned \"discard\" for \"{}\" command (only allowed with \"accept\" or \"discard\")",
                statement.verb.name()
            )));
            seen.user = None;
            Result::Faulty
        }
        (_, Verdict::Accept) => negated(Result::Holds, is_negated),
        (_, Verdict::Drop) if !is_negated => Result::FailsDropping,
        (_, Verdict::Deny | Verdict::Drop | Verdict::Defer) => negated(Result::Fails, is_negated),
    }
}

fn negated(result: Result, is_negated: bool) -> Result {
    match (result, is_negated) {
        (Result::Holds, true) => Result::Fails,
        (Result::Fails, true) => Result::Holds,
        (other, _) => other,
    }
}

/// One condition or modifier.
fn obey(run: &mut Run<'_>, frame: &mut Frame, statement: &Statement, clause: &Clause) -> Flow {
    match &clause.action {
        Action::Message => {
            run.trace(|| format!("  message: {}", clause.template.source()));
            frame.seen.message = Some(clause.template.clone());
            return Flow::Next;
        }
        Action::LogMessage => {
            run.trace(|| format!("l_message: {}", clause.template.source()));
            frame.seen.log_message = Some(clause.template.clone());
            return Flow::Next;
        }
        Action::Endpass => {
            debug_assert!(statement.verb.is_affirmative(), "refused when compiled");
            frame.seen.endpass = true;
            return Flow::Next;
        }
        Action::Test(condition) => {
            let wants_flush = condition.wants_flush() && !run.scene.connection.no_callout_flush;
            if wants_flush && !frame.is_flushed && !run.is_host_checking() {
                return Flow::Flush;
            }
            frame.is_flushed = false;
        }
        Action::Apply(_) | Action::Call(_) | Action::Delay | Action::LogRejectTarget => {}
    }
    let argument = match expanded(run, clause) {
        Ok(Some(argument)) => argument,
        // Forced to fail: as if it were not there.
        Ok(None) => return Flow::Next,
        Err(tested) => return note(run, frame, tested, false),
    };
    if let Some(text) = clause.illegality(run.phase) {
        return note(run, frame, Tested::faulty(text), false);
    }
    let tested = match &clause.action {
        Action::Test(condition) => condition.test(run, &argument),
        Action::Apply(modifier) => match modifier.act(run, &argument) {
            Ok(()) => return Flow::Next,
            Err(tested) => tested,
        },
        Action::Call(call) => match called(run, call) {
            Ok((acl, arguments)) => return Flow::Call(acl, arguments),
            Err(tested) => tested,
        },
        Action::Delay => match pause(run, &argument) {
            Ok(flow) => return flow,
            Err(text) => Tested::faulty(text),
        },
        Action::LogRejectTarget => {
            run.targets = targets(run, &argument);
            return Flow::Next;
        }
        Action::Message | Action::LogMessage | Action::Endpass => return Flow::Next,
    };
    note(run, frame, tested, clause.is_negated)
}

/// Remembers the texts of a condition, and goes on if it holds.
fn note(run: &mut Run<'_>, frame: &mut Frame, tested: Tested, is_negated: bool) -> Flow {
    if tested.user.is_some() {
        run.scene.context.local.acl_verify_message = tested.user.clone();
        frame.seen.user = tested.user;
    }
    if tested.log.is_some() {
        frame.seen.log = tested.log;
    }
    let result = match tested.answer {
        Answer::Yes => Result::Holds,
        Answer::No => Result::Fails,
        Answer::Later => Result::Later,
        Answer::Faulty => Result::Faulty,
    };
    let result = negated(result, is_negated);
    if result == Result::Holds { Flow::Next } else { Flow::Ends(result) }
}

/// Expands the argument and shows it; `Ok(None)` if the expansion was forced to fail.
fn expanded(run: &mut Run<'_>, clause: &Clause) -> std::result::Result<Option<Text>, Tested> {
    let source = &clause.template;
    let not = if clause.is_negated { "!" } else { "" };
    if !clause.row.is_expanded {
        run.trace(|| format!("check {not}{} = {}", clause.label, source.source()));
        return Ok(Some(Text::new()));
    }
    let text = match run.expand(source) {
        Ok(text) => text,
        Err(ExpandError::Forced(_)) => return Ok(None),
        Err(error) => return Err(failed_expansion(source, &error)),
    };
    let width = "check  ".len().saturating_add(not.len()).saturating_add(clause.label.len());
    run.trace(|| {
        let mut shown = format!("check {not}{} = {}", clause.label, source.source());
        if text.as_bytes() != source.source_bytes() {
            shown.push_str(&format!("\n{:width$}= {}", "", text.to_string_lossy()));
        }
        shown
    });
    Ok(Some(text))
}

fn failed_expansion(source: &Template, error: &ExpandError) -> Tested {
    let answer = if error.is_defer() { Answer::Later } else { Answer::Faulty };
    Tested::logged(answer, format!("failed to expand ACL string \"{}\": {error}", source.source()))
}

/// The ACL that the `acl` condition names, and its arguments.
fn called(run: &mut Run<'_>, call: &Call) -> std::result::Result<(Arc<Acl>, Vec<Text>), Tested> {
    let too_deep = run.depth >= ACL_DEPTH_MAX;
    let mut words = Vec::with_capacity(call.arguments.len());
    let mut name = Text::new();
    for (index, template) in std::iter::once(&call.name).chain(&call.arguments).enumerate() {
        match run.expand(template) {
            Ok(text) if index == 0 => name = text,
            Ok(text) => words.push(text),
            Err(ExpandError::Forced(_)) if index == 0 => return Err(Tested::plain(Answer::Yes)),
            Err(error) => {
                let answer = if error.is_defer() { Answer::Later } else { Answer::Faulty };
                // Exim names the ACL here, whichever word is at fault.
                let text = format!("failed to expand ACL string \"{}\": {error}", call.name.source());
                return Err(Tested::logged(answer, text));
            }
        }
    }
    if too_deep {
        return Err(Tested::faulty("ACL nested too deep: possible loop"));
    }
    let acl = run.acls.find(run, &name).map_err(Tested::faulty)?;
    Ok((acl, words))
}

/// The argument of `delay`.
pub(super) fn delay_seconds(text: &str) -> std::result::Result<u64, String> {
    clock::parse_interval(text.trim()).ok_or_else(|| {
        format!("syntax error in argument for \"delay\" modifier: \"{text}\" is not a time value")
    })
}

fn pause(run: &Run<'_>, argument: &Text) -> std::result::Result<Flow, String> {
    let text = argument.to_string_lossy();
    let seconds = delay_seconds(&text)?;
    run.trace(|| format!("delay modifier requests {seconds}-second delay"));
    if run.is_host_checking() {
        run.trace(|| "delay skipped in -bh checking mode".to_owned());
        return Ok(Flow::Next);
    }
    Ok(Flow::Pause { time: Duration::from_secs(seconds), flush: !run.scene.connection.no_delay_flush })
}

/// `log_reject_target`: an unknown word is logged, and stands for the default.
fn targets(run: &Run<'_>, argument: &Text) -> RejectTargets {
    let mut targets = RejectTargets { main: false, reject: false, panic: false };
    for word in oxim_lang::list::split(argument.as_bytes()) {
        match word.as_ref() {
            b"main" => targets.main = true,
            b"reject" => targets.reject = true,
            b"panic" => targets.panic = true,
            b"" => {}
            other => {
                run.log_panic(&format!(
                    "unknown log name \"{}\" in \"log_reject_target\" in {} ACL",
                    String::from_utf8_lossy(other),
                    run.phase.acl_name()
                ));
                targets.main = true;
                targets.reject = true;
            }
        }
    }
    targets
}

/// The outcome of a statement is known: texts, debug line, and what the verb makes of it. None: to the next statement.
fn conclude(run: &mut Run<'_>, frame: &mut Frame, statement: &Statement, result: Result) -> Option<Ended> {
    let verb = statement.verb;
    let name = frame.acl.name.clone();
    let word = match result {
        Result::Holds => "succeeded",
        Result::Fails => "failed",
        Result::FailsDropping => "yielded \"drop\"",
        Result::Discards => "yielded \"discard\"",
        Result::Later => "deferred",
        Result::Faulty => "error",
    };
    let mut warning = Warning::default();
    if result == Result::Holds && verb.is_affirmative() {
        // What a condition or a called ACL says of a refusal is no answer to those who are let in.
        (frame.seen.user, frame.seen.log) = (None, None);
    }
    if texts_count(verb, result, frame.seen.endpass) {
        warning = texts(run, verb, &mut frame.seen);
    }
    run.trace(|| format!("{}: condition test {word} in {name}", verb.name()));
    match (result, verb) {
        (Result::Faulty, _) => return Some(Ended { result, verdict: Verdict::Defer }),
        (Result::Later, Verb::Warn) => {
            let why = frame.seen.log.as_ref().map(|log| format!(": {log}")).unwrap_or_default();
            if run.reception.wants.acl_warn_skipped {
                run.log_main(&format!(
                    "{} Warning: ACL \"warn\" statement skipped: condition test deferred{why}",
                    run.client()
                ));
            }
            return None;
        }
        (Result::Later, _) => return Some(Ended { result, verdict: Verdict::Defer }),
        (Result::Discards, _) => {
            run.trace(|| format!("end of {name}: {}", verb.verdict().map_or("", |(_, word)| word)));
            return Some(Ended { result, verdict: Verdict::Discard });
        }
        (Result::Holds | Result::Fails | Result::FailsDropping, _) => {}
    }
    match (result == Result::Holds, verb.verdict()) {
        (true, Some((verdict, word))) => {
            if verdict != Verdict::Accept && run.phase.end_of_session().is_some() {
                fault_at_end(run, &not_at_end(verb));
            } else if !verb.is_allowed(run.phase) {
                let line = format!("\"{}\" verb not allowed in {} ACL", verb.name(), run.phase.acl_name());
                run.log_panic(&line);
                return Some(Ended { result: Result::Faulty, verdict: Verdict::Defer });
            }
            run.trace(|| format!("end of {name}: {word}"));
            Some(Ended { result, verdict })
        }
        (true, None) => {
            if verb == Verb::Warn {
                warn(run, warning);
            }
            None
        }
        (false, _) => unmet(run, frame, verb, result),
    }
}

/// What a verb does when its conditions are not met.
fn unmet(run: &Run<'_>, frame: &Frame, verb: Verb, result: Result) -> Option<Ended> {
    let verdict = if result == Result::FailsDropping { Verdict::Drop } else { Verdict::Deny };
    if verb == Verb::Require {
        if run.phase.end_of_session().is_some() {
            fault_at_end(run, &not_at_end(verb));
        }
        run.trace(|| format!("end of {}: not OK", frame.acl.name));
        return Some(Ended { result, verdict });
    }
    if verb.is_affirmative() && frame.seen.endpass {
        run.trace(|| format!("{}: endpass encountered - denying access", verb.name()));
        return Some(Ended { result, verdict });
    }
    None
}

/// Whether `message` and `log_message` of the statement count for this outcome.
fn texts_count(verb: Verb, result: Result, endpass: bool) -> bool {
    let is_failure = matches!(result, Result::Fails | Result::FailsDropping);
    match verb {
        Verb::Accept | Verb::Discard => is_failure || (result == Result::Holds && !endpass),
        Verb::Defer | Verb::Deny | Verb::Drop | Verb::Warn => result == Result::Holds,
        Verb::Require => is_failure,
    }
}

/// Puts the statement's own texts in the place of those of its conditions. Gives what `warn` does with them.
fn texts(run: &mut Run<'_>, verb: Verb, seen: &mut Seen) -> Warning {
    let old_user = seen.user.clone();
    let mut warning = Warning::default();
    if let Some(template) = seen.message.take() {
        run.scene.context.local.acl_verify_message = old_user.clone();
        if let Some(text) = message_text(run, &template) {
            seen.user = Some(text.clone());
            warning.header = Some(text);
        }
    }
    if let Some(template) = seen.log_message.take() {
        // Without a text for the log, that for the client is one; here the one before this statement's own.
        let old = seen.log.take().or(old_user);
        run.scene.context.local.acl_verify_message.clone_from(&old);
        seen.log.clone_from(&old);
        if let Some(text) = message_text(run, &template) {
            if verb == Verb::Warn {
                warning.log = Some(text);
            } else {
                seen.log = Some(match seen.log.take() {
                    Some(old) => Text::with_taint(format!("{text}: {old}"), text.taint().join(old.taint())),
                    None => text,
                });
            }
        }
    }
    run.scene.context.local.acl_verify_message = None;
    warning
}

/// Expands a text. A faulty one is logged; that, a forced failure and an empty result count as no modifier.
fn message_text(run: &mut Run<'_>, template: &Template) -> Option<Text> {
    match run.expand(template) {
        Ok(text) if text.is_empty() => None,
        Ok(text) => Some(text),
        Err(ExpandError::Forced(_)) => None,
        Err(error) => {
            run.log_panic(&format!("failed to expand ACL message \"{}\": {error}", template.source()));
            None
        }
    }
}

/// `warn`, when its conditions hold: its log line, once for a message, and its deprecated header line.
fn warn(run: &mut Run<'_>, warning: Warning) {
    if let Some(text) = warning.log {
        let line = format!("{} Warning: {}", run.client(), crate::log_line::printable(text.as_bytes()));
        let logged = &mut run.scene.message.warnings_logged;
        if !logged.contains(&line) {
            logged.push(line.clone());
            run.log_main(&line);
        }
    }
    let Some(text) = &warning.header else { return };
    if add_header::FORBIDDEN & run.phase.bit() == 0 {
        add_header::add(run, text);
    } else {
        run.log_panic(&format!(
            "ACL \"warn\" with \"message\" setting found in a non-message ({}) ACL: cannot specify header lines here: message ignored",
            run.phase.acl_name()
        ));
    }
}

/// The fault of a verb that says no when the session is over.
fn not_at_end(verb: Verb) -> String {
    format!("QUIT or not-QUIT toplevel ACL may not fail ('{}' verb used incorrectly)", verb.name())
}

/// Logs what is wrong with an ACL that runs when the session is over; what it says is of no consequence.
fn fault_at_end(run: &Run<'_>, reason: &str) {
    if let Some(end) = run.phase.end_of_session().filter(|_| run.depth == 0) {
        run.log_panic(&format!("ACL for {end} returned ERROR: {reason}"));
    }
}

/// The answer of the outermost ACL.
fn finish(run: &mut Run<'_>, seen: Seen, ended: &Ended) -> Outcome {
    if ended.result == Result::Faulty {
        let reason = seen.log.as_ref().map(|text| crate::log_line::printable(text.as_bytes()));
        fault_at_end(run, &reason.unwrap_or_default());
    }
    let is_refusal = !matches!(ended.verdict, Verdict::Accept | Verdict::Discard);
    let sender_verify = if is_refusal { run.scene.message.sender_verification.report() } else { None };
    Outcome {
        verdict: ended.verdict,
        user_message: seen.user.filter(|_| ended.result != Result::Faulty),
        log_message: seen.log,
        targets: run.targets,
        sender_verify,
    }
}
