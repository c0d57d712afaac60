//! The table of ACL conditions (manual section 44.26). Each is a file here.

pub(crate) mod atrn_domains;
pub(crate) mod authenticated;
pub(crate) mod dcc;
pub(crate) mod decode;
pub(crate) mod dkim;
pub(crate) mod dmarc;
pub(crate) mod dnslists;
pub(crate) mod domains;
pub(crate) mod encrypted;
pub(crate) mod expression;
pub(crate) mod hosts;
pub(crate) mod local_parts;
pub(crate) mod malware;
pub(crate) mod ratelimit;
pub(crate) mod recipients;
pub(crate) mod regex;
pub(crate) mod seen;
pub(crate) mod sender_domains;
pub(crate) mod senders;
pub(crate) mod spam;
pub(crate) mod spf;
pub(crate) mod verify;

use oxim_lang::list::List;

use super::clause::{Argument, ClauseRow, Kind, Tested};
use super::run::Run;

/// `acl`: run by the interpreter itself, because the called ACL may pause.
static ACL: ClauseRow = ClauseRow {
    name: "acl",
    doc: "The named ACL, with up to nine arguments, accepts.",
    forbidden: 0,
    is_expanded: false,
    kind: Kind::Acl,
};

/// All conditions.
pub(crate) static ROWS: &[&ClauseRow] = &[
    &ACL,
    &atrn_domains::ROW,
    &authenticated::ROW,
    &expression::ROW,
    &dcc::ROW,
    &decode::ROW,
    &dkim::SIGNERS_ROW,
    &dkim::STATUS_ROW,
    &dmarc::ROW,
    &dnslists::ROW,
    &domains::ROW,
    &encrypted::ROW,
    &hosts::ROW,
    &local_parts::ROW,
    &malware::ROW,
    &regex::MIME_ROW,
    &ratelimit::ROW,
    &recipients::ROW,
    &regex::ROW,
    &seen::ROW,
    &sender_domains::ROW,
    &senders::ROW,
    &spam::ROW,
    &spf::ROW,
    &spf::GUESS_ROW,
    &verify::ROW,
];

/// Compiles a list argument: its items are parsed once if they are constant.
fn list(kind: oxim_lang::list::ListKind, argument: &Argument<'_>) -> List {
    List::from_template(kind, argument.template.clone())
}

/// The answer of a list, where nothing is done with what it matched.
fn answer(run: &mut Run<'_>, list: &List, subject: &oxim_lang::list::Subject<'_>) -> Tested {
    match run.matches(list, subject) {
        Ok(found) => Tested::of(found.is_some()),
        Err(tested) => tested,
    }
}
