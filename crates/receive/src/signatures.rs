//! The DKIM ACL, once for each signer, and the log lines about signatures. Manual section 58.3.
//!
//! Keys are asked for when the message has arrived: this blocks, and runs on a worker thread.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use oxim_base::limits::DKIM_SIGNATURES_MAX;
use oxim_base::{Taint, Text};
use oxim_lang::config::Config;
use oxim_lang::list::split;
use oxim_lang::sender_policy::AuthDns;
use oxim_lang::signatures::{DkimFacts, DkimResult};
use oxim_mailauth::dkim::verify::{Policy, Status, Verifier};
use oxim_mailauth::dkim::{Hash, KeyType};
use oxim_mailauth::dns::{Answer, Dns};

use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

/// Which signatures count, by `dkim_verify_hashes` and its kin. Words that are not known name nothing.
#[must_use]
pub fn policy(config: &Config) -> Policy {
    let items = |text: &str| split(text.as_bytes()).map(|item| item.to_vec()).collect::<Vec<_>>();
    let sizes =
        items(&config.main.dkim_verify_min_keysizes.split_ascii_whitespace().collect::<Vec<_>>().join(":"));
    let bits_min = |name: &str| {
        let size = sizes.iter().find_map(|item| item.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        size.and_then(|size| std::str::from_utf8(size).ok()?.trim().parse().ok()).unwrap_or_default()
    };
    Policy {
        hashes: items(&config.main.dkim_verify_hashes).iter().filter_map(|w| Hash::from_word(w)).collect(),
        key_types: items(&config.main.dkim_verify_keytypes)
            .iter()
            .filter_map(|w| KeyType::from_word(w))
            .collect(),
        rsa_bits_min: bits_min("rsa"),
        ed25519_bits_min: bits_min("ed25519"),
        is_minimal: config.main.dkim_verify_minimal,
        signatures_max: DKIM_SIGNATURES_MAX,
    }
}

/// A DNS without servers.
pub(crate) struct NoDns;

impl Dns for NoDns {
    fn txt(&self, _: &str) -> Answer<Vec<u8>> {
        Answer::AskAgain
    }
    fn addresses(&self, _: &str, _: bool) -> Answer<std::net::IpAddr> {
        Answer::AskAgain
    }
    fn exchangers(&self, _: &str) -> Answer<String> {
        Answer::AskAgain
    }
    fn names_of(&self, _: std::net::IpAddr) -> Answer<String> {
        Answer::AskAgain
    }
}

/// What follows when the DKIM ACL has nothing against the message.
pub type GoOn = Box<dyn FnOnce(&Arc<Reception>, &mut Talk) -> Progress + Send>;

/// Verifies the signatures, asks the DKIM ACL, and goes on.
pub fn examine(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    verifier: Option<Box<Verifier>>,
    go_on: GoOn,
) -> Progress {
    if talk.scene.message.dkim_disable_verify {
        return go_on(reception, talk);
    }
    if let Some(verifier) = verifier {
        let checked = match &reception.resolver {
            Some(resolver) => verifier.finish(&AuthDns(resolver)),
            None => verifier.finish(&NoDns),
        };
        talk.scene.context.message.dkim = Some(Box::new(DkimFacts::new(checked)));
        log_faults(reception, talk);
    }
    if !reception.acls.is_set(Phase::Dkim) {
        log_all(reception, talk);
        return go_on(reception, talk);
    }
    match turns(reception, talk) {
        Ok(turns) => next(reception, talk, turns, Vec::new(), go_on),
        Err(error) => {
            reception.logs.panic(&format!("failed to expand dkim_verify_signers: {error}"));
            talk.message_over();
            Progress::Reply(Reply::fixed(451, "Temporary local problem - please try later"))
        }
    }
}

/// One run of the ACL: the signer, and its signature if it has one.
struct Turn {
    signer: Vec<u8>,
    index: Option<usize>,
}

fn turns(reception: &Reception, talk: &mut Talk) -> Result<VecDeque<Turn>, String> {
    let template = &reception.config.main.dkim_verify_signers;
    let signers = template.expand(&mut talk.scene.context).map_err(|error| error.to_string())?;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut turns = VecDeque::new();
    for signer in split(signers.as_bytes()) {
        let signer = signer.to_vec();
        if signer.is_empty() || seen.contains(&signer) {
            continue;
        }
        seen.push(signer.clone());
        let facts = talk.scene.context.message.dkim.get_or_insert_default();
        let found = facts.of_signer(&signer);
        if found.is_empty() {
            turns.push_back(Turn { signer, index: None });
        } else {
            turns.extend(found.into_iter().map(|index| Turn { signer: signer.clone(), index: Some(index) }));
        }
    }
    Ok(turns)
}

/// Runs the ACL for the next turn; after the last, the statuses of all runs are one list.
fn next(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    mut turns: VecDeque<Turn>,
    mut statuses: Vec<Text>,
    go_on: GoOn,
) -> Progress {
    let Some(turn) = turns.pop_front() else {
        if let Some(facts) = &mut talk.scene.context.message.dkim {
            let taint = statuses.iter().fold(Taint::Clean, |taint, status| taint.join(status.taint()));
            let words: Vec<_> = statuses.iter().map(Text::as_bytes).collect();
            facts.status = Text::with_taint(words.join(b":".as_slice()), taint);
        }
        return go_on(reception, talk);
    };
    if let Some(facts) = &mut talk.scene.context.message.dkim {
        facts.turn_to(&turn.signer, turn.index);
    }
    Progress::Acl(
        Phase::Dkim,
        Box::new(move |reception, talk, outcome| {
            if let Some(facts) = &mut talk.scene.context.message.dkim {
                facts.keep();
                statuses.push(facts.status.clone());
            }
            log_verbose(reception, talk, turn.index);
            after_acl(reception, talk, &outcome)
                .unwrap_or_else(|| next(reception, talk, turns, statuses, go_on))
        }),
    )
}

/// The refusal, if the ACL has refused.
fn after_acl(reception: &Arc<Reception>, talk: &mut Talk, outcome: &Outcome) -> Option<Progress> {
    match outcome.verdict {
        Verdict::Accept => None,
        Verdict::Discard => {
            talk.transaction.discarded_by = Some("DKIM");
            talk.transaction.discard_reason = outcome.discard_reason();
            talk.scene.context.message.recipients = Arc::default();
            None
        }
        Verdict::Deny | Verdict::Defer | Verdict::Drop => {
            crate::acceptance::add_acl_headers(talk);
            let reply = crate::refusal::refuse(reception, talk, Phase::Dkim, " ", outcome);
            talk.message_over();
            Some(Progress::Reply(reply))
        }
    }
}

fn main_log(reception: &Reception, talk: &Talk, line: &str) {
    let id = talk.scene.context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
    reception.logs.main(&format!("{id}{line}"));
}

/// What went wrong in verification is logged whatever the selectors say: each key, and the last signature.
fn log_faults(reception: &Reception, talk: &Talk) {
    let Some(facts) = &talk.scene.context.message.dkim else { return };
    for result in &facts.results {
        let status = result.checked.status;
        if matches!(status, Status::NoKey | Status::KeyLater | Status::KeyRecord | Status::KeyData) {
            let signature = &result.checked.signature;
            let (domain, selector) =
                (log_line::printable(&signature.domain), log_line::printable(&signature.selector));
            main_log(reception, talk, &format!("DKIM: d={domain} s={selector} [failed key import]"));
        }
    }
    let error = match facts.results.last().map(|result| result.checked.status) {
        Some(Status::KeyData) => "ASN1 parser: Error in TAG.",
        Some(Status::Wrong) => "Public key signature verification has failed.",
        Some(_) | None => return,
    };
    main_log(reception, talk, &format!("DKIM: validation error: {error}"));
}

fn log_all(reception: &Reception, talk: &Talk) {
    let count = talk.scene.context.message.dkim.as_ref().map_or(0, |facts| facts.results.len());
    for index in 0..count {
        log_verbose(reception, talk, Some(index));
    }
}

fn log_verbose(reception: &Reception, talk: &Talk, index: Option<usize>) {
    if !reception.wants.dkim_verbose {
        return;
    }
    let Some(facts) = &talk.scene.context.message.dkim else { return };
    if let Some(result) = index.and_then(|index| facts.results.get(index)) {
        main_log(reception, talk, &verbose_line(result));
    }
}

/// `DKIM: d=… s=… c=… a=… b=… [what came of it]`.
fn verbose_line(result: &DkimResult) -> String {
    let signature = &result.checked.signature;
    let mut out = String::from("DKIM:");
    for (name, value) in [("d", &signature.domain), ("s", &signature.selector)] {
        let value = if value.is_empty() { "<UNSET>".to_owned() } else { log_line::printable(value) };
        let _ = write!(out, " {name}={value}");
    }
    let _ = write!(
        out,
        " c={}/{} a={} b={}",
        signature.header_canon.word(),
        signature.body_canon.word(),
        log_line::printable(&signature.algorithm),
        signature.signature.len().saturating_mul(8)
    );
    if let Some(identity) = &signature.identity {
        let _ = write!(out, " i={}", log_line::printable(identity));
    }
    for (name, value) in [("t", signature.created), ("x", signature.expires), ("l", signature.body_length)] {
        if let Some(value) = value {
            let _ = write!(out, " {name}={value}");
        }
    }
    if result.is_changed() {
        let (status, reason) = (result.status.as_bytes(), result.reason.as_bytes());
        let _ = write!(out, " [{} - {}]", log_line::printable(status), log_line::printable(reason));
        return out;
    }
    let text = match result.checked.status {
        Status::Pass => "verification succeeded",
        Status::NotVerified => "not verified",
        Status::BodyHash => "verification failed - body hash mismatch (body probably modified in transit)",
        Status::Wrong => {
            "verification failed - signature did not verify (headers probably modified in transit)"
        }
        Status::ShortKey => "verification failed - signature invalid (key too short)",
        Status::NotAllowed => "verification failed - unspecified reason",
        Status::NoKey | Status::KeyLater => "invalid - public key record (currently?) unavailable",
        Status::KeyRecord | Status::KeyData => "invalid - syntax error in public key record",
        Status::Version => "invalid - unsupported DKIM version",
        Status::Syntax => "invalid - signature tag missing or invalid",
    };
    let _ = write!(out, " [{text}]");
    out
}

/// ` DKIM=domain` for the arrival line: the last good signature.
#[must_use]
pub fn arrival_field(reception: &Reception, talk: &Talk) -> String {
    let facts = talk.scene.context.message.dkim.as_deref().filter(|_| reception.wants.dkim);
    let good = facts.and_then(|facts| facts.results.iter().rfind(|result| result.is_good()));
    good.map(|result| format!(" DKIM={}", log_line::printable(&result.checked.signature.domain)))
        .unwrap_or_default()
}
