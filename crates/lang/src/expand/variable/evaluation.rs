//! Variables that one evaluation or one ACL statement sets.

use oxim_base::{Taint, Text};

use super::{Scope, Value, VariableRow, row};

use Scope::{Connection, Evaluation, Message};
use Taint::{Clean, Tainted};

fn optional(text: &Option<Text>) -> Value<'_> {
    text.as_ref().map_or(Value::Empty, Value::Text)
}

fn word(text: Option<&'static str>) -> Value<'static> {
    Value::Bytes(text.unwrap_or_default().as_bytes())
}

/// The element with a number from one on.
fn nth<'a>(texts: &'a [Text], key: &str) -> Value<'a> {
    let index = key.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    index.and_then(|i| texts.get(i)).map_or(Value::Empty, Value::Text)
}

pub(super) static ROWS: &[VariableRow] = &[
    VariableRow {
        family: true,
        ..row(
            "acl_arg",
            Evaluation,
            Clean,
            "`$acl_arg1` to `$acl_arg9`: the arguments of the running ACL.",
            |c, key| nth(&c.local.acl_arguments, key),
        )
    },
    row("acl_narg", Evaluation, Clean, "How many arguments the running ACL has.", |c, _| {
        Value::Number(i64::try_from(c.local.acl_arguments.len()).unwrap_or(0))
    }),
    row("acl_verify_message", Evaluation, Clean, "Why the last verification failed.", |c, _| {
        optional(&c.local.acl_verify_message)
    }),
    VariableRow {
        family: true,
        ..row(
            "auth",
            Connection,
            Tainted,
            "`$auth1` to `$auth4`: what the client gave an authenticator.",
            |c, key| nth(&c.connection.auth_vars, key),
        )
    },
    row(
        "callout_address",
        Evaluation,
        Clean,
        "The address that a callout or scanner was reached at.",
        |c, _| c.local.callout_address.as_deref().map_or(Value::Empty, |t| Value::Bytes(t.as_bytes())),
    ),
    row("dnslist_domain", Evaluation, Clean, "The DNS list in which the key was found.", |c, _| {
        optional(&c.local.dnslist_domain)
    }),
    row("dnslist_matched", Evaluation, Tainted, "The key that was found in a DNS list.", |c, _| {
        optional(&c.local.dnslist_matched)
    }),
    row("dnslist_text", Evaluation, Tainted, "The TXT record of the DNS list entry.", |c, _| {
        optional(&c.local.dnslist_text)
    }),
    row("dnslist_value", Evaluation, Tainted, "The address record of the DNS list entry.", |c, _| {
        optional(&c.local.dnslist_value)
    }),
    row("item", Evaluation, Clean, "The element of a list that is being looked at.", |c, _| {
        optional(&c.local.item)
    }),
    row(
        "ldap_dn",
        Evaluation,
        Clean,
        "The name of the entry that the last LDAP lookup has found.",
        |c, _| optional(&c.local.ldap_dn),
    ),
    row(
        "lookup_dnssec_authenticated",
        Evaluation,
        Clean,
        "`yes` or `no` after a DNS lookup that asked for DNSSEC.",
        |c, _| Value::Bytes(c.local.lookup_dnssec.as_bytes()),
    ),
    row(
        "prvscheck_address",
        Evaluation,
        Tainted,
        "Within `${prvscheck`: the address that was signed.",
        |c, _| optional(&c.local.prvscheck_address),
    ),
    row("prvscheck_keynum", Evaluation, Tainted, "Within `${prvscheck`: the key number.", |c, _| {
        optional(&c.local.prvscheck_keynum)
    }),
    row("prvscheck_result", Message, Clean, "1 if the last `${prvscheck` found a good signature.", |c, _| {
        optional(&c.local.prvscheck_result)
    }),
    row("recipient_verify_failure", Evaluation, Clean, "Where recipient verification failed.", |c, _| {
        word(c.local.recipient_verify_failure)
    }),
    VariableRow {
        family: true,
        ..row("regex", Message, Tainted, "`$regex1`…: captures of the `regex` ACL condition.", |c, key| {
            nth(&c.local.regex_captures, key)
        })
    },
    row(
        "regex_match_string",
        Message,
        Clean,
        "The expression that the `regex` ACL condition has matched.",
        |c, _| optional(&c.local.regex_match_string),
    ),
    row("runrc", Evaluation, Clean, "The return code of the last `${run`.", |c, _| {
        Value::Number(i64::from(c.local.runrc))
    }),
    row("sender_rate", Evaluation, Clean, "The rate that `ratelimit` has computed.", |c, _| {
        rate(&c.local.sender_rate, 0)
    }),
    row("sender_rate_limit", Evaluation, Clean, "The limit that `ratelimit` was given.", |c, _| {
        rate(&c.local.sender_rate, 1)
    }),
    row("sender_rate_period", Evaluation, Clean, "The period that `ratelimit` was given.", |c, _| {
        rate(&c.local.sender_rate, 2)
    }),
    row("sender_verify_failure", Evaluation, Clean, "Where sender verification failed.", |c, _| {
        word(c.local.sender_verify_failure)
    }),
    row("value", Evaluation, Clean, "What a lookup, an extraction or a command has given.", |c, _| {
        optional(&c.local.value)
    }),
];

fn rate(rates: &Option<[String; 3]>, index: usize) -> Value<'_> {
    rates.as_ref().and_then(|r| r.get(index)).map_or(Value::Empty, |t| Value::Bytes(t.as_bytes()))
}
