//! SPF as the language sees it: the check with this program's resolver, and what `$spf_…` hold.
//!
//! A check is made anew for each condition that asks; the resolver remembers the answers. Facts: the manual's chapter on
//! SPF; RFC 7208; the texts of `$spf_header_comment` and `$spf_smtp_comment` are those that Exim shows.

use std::net::IpAddr;

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_mailauth::dns::{Answer, Dns};
use oxim_mailauth::spf::{Identity, Outcome, Verdict};
use oxim_net::dns::{BlockingResolver, Lookup};

use crate::context::Context;
use crate::expand::ExpandError;

/// The resolver, as `mailauth` wants it.
pub struct AuthDns<'a>(pub &'a BlockingResolver);

fn answer<T, U>(lookup: Lookup<Vec<T>>, change: impl FnMut(T) -> U) -> Answer<U> {
    match lookup {
        Lookup::Found(found) => Answer::Found(found.records.into_iter().map(change).collect()),
        Lookup::NotThere(_) => Answer::NotThere,
        Lookup::AskAgain(_) => Answer::AskAgain,
    }
}

impl Dns for AuthDns<'_> {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        answer(self.0.txt(name), |text| text)
    }

    fn addresses(&self, name: &str, is_v6: bool) -> Answer<IpAddr> {
        if is_v6 { answer(self.0.aaaa(name), IpAddr::V6) } else { answer(self.0.a(name), IpAddr::V4) }
    }

    fn exchangers(&self, name: &str) -> Answer<String> {
        answer(self.0.mx(name), |mx| mx.exchange)
    }

    fn names_of(&self, address: IpAddr) -> Answer<String> {
        answer(self.0.ptr(&oxim_net::dns::reverse_name(address)), |name| name)
    }
}

/// What the last check found: `$spf_…`.
#[derive(Clone, Debug, Default)]
pub struct SpfFacts {
    /// `$spf_result`.
    pub result: &'static str,
    /// `$spf_result_guessed`.
    pub is_guessed: bool,
    /// `$spf_header_comment`.
    pub header_comment: Text,
    /// `$spf_received`.
    pub received: Text,
    /// `$spf_smtp_comment`.
    pub smtp_comment: Text,
    /// `$spf_used_domain`.
    pub used_domain: Text,
}

/// Checks the sender of the message in hand, and remembers the facts in the context. With `may_guess`, a domain without
/// record is judged by `spf_guess`. Without a client or HELO name there is nothing to check: `PermError`, and no facts.
///
/// # Errors
/// The expansion of `spf_smtp_comment_template`, or the macros in it.
pub fn check(
    context: &mut Context,
    resolver: &BlockingResolver,
    may_guess: bool,
) -> Result<Verdict, ExpandError> {
    context.message.spf = None;
    let Some(client) = context.connection.host_address else { return Ok(Verdict::PermError) };
    let Some(helo) = context.connection.helo_name.clone() else { return Ok(Verdict::PermError) };
    let sender = if context.message.sender.is_empty() {
        [b"postmaster@", helo.as_slice()].concat()
    } else {
        context.message.sender.clone()
    };
    let config = std::sync::Arc::clone(&context.config);
    let template = config.main.spf_smtp_comment_template.expand(context)?;
    let at = sender.iter().rposition(|b| *b == b'@').unwrap_or(sender.len());
    let (local_part, domain) = sender.split_at_checked(at).unwrap_or_default();
    let domain = domain.strip_prefix(b"@").unwrap_or(domain);
    let identity = Identity {
        client,
        helo: &helo,
        local_part,
        domain,
        receiver: config.main.primary_hostname.as_bytes(),
        now: Stamp::now().seconds,
        wants_explanation: false,
    };
    let dns = AuthDns(resolver);
    let mut outcome = identity.check(&dns);
    let is_guessed = may_guess && outcome.verdict == Verdict::None;
    if is_guessed {
        outcome = identity.check_guess(&dns, config.main.spf_guess.as_bytes());
    }
    let verdict = outcome.verdict;
    let smtp_comment = match verdict {
        Verdict::Fail | Verdict::SoftFail | Verdict::Neutral => {
            let text = identity
                .explain(&dns, template.as_bytes())
                .map_err(|error| ExpandError::Failed(format!("spf_smtp_comment_template: {error}")))?;
            let reason = if outcome.is_by_mechanism { "mechanism" } else { "default" };
            [&text, format!(" : Reason: {reason}").as_bytes()].concat()
        }
        Verdict::Pass | Verdict::None | Verdict::TempError | Verdict::PermError => Vec::new(),
    };
    let comment = header_comment(&identity, &outcome);
    let received = [
        format!("Received-SPF: {verdict} (").as_bytes(),
        &comment,
        format!(") client-ip={client}; envelope-from=").as_bytes(),
        &sender,
        b"; helo=",
        &helo,
        b";",
    ]
    .concat();
    context.message.spf = Some(Box::new(SpfFacts {
        result: verdict.word(),
        is_guessed,
        header_comment: Text::tainted(comment),
        received: Text::tainted(received),
        smtp_comment: Text::tainted(smtp_comment),
        used_domain: Text::tainted(domain),
    }));
    Ok(verdict)
}

/// The verdict on a sender alone, without a message: `a@b.ex`, or a domain. There is no HELO name, and nothing is remembered.
pub fn verdict_on(context: &Context, resolver: &BlockingResolver, client: IpAddr, sender: &[u8]) -> Verdict {
    let at = sender.iter().rposition(|b| *b == b'@');
    let (local_part, domain) = match at {
        Some(at) => {
            let (local_part, rest) = sender.split_at_checked(at).unwrap_or_default();
            (local_part, rest.get(1..).unwrap_or_default())
        }
        None => (&b""[..], sender),
    };
    let identity = Identity {
        client,
        helo: b"",
        local_part,
        domain,
        receiver: context.config.main.primary_hostname.as_bytes(),
        now: Stamp::now().seconds,
        wants_explanation: false,
    };
    identity.check(&AuthDns(resolver)).verdict
}

fn header_comment(identity: &Identity<'_>, outcome: &Outcome) -> Vec<u8> {
    let client = identity.client.to_string();
    let (receiver, domain, client) = (identity.receiver, identity.domain, client.as_bytes());
    let text: Vec<&[u8]> = match outcome.verdict {
        Verdict::Pass => vec![b"domain of ", domain, b" designates ", client, b" as permitted sender"],
        Verdict::Fail => {
            vec![b"domain of ", domain, b" does not designate ", client, b" as permitted sender"]
        }
        Verdict::SoftFail => {
            vec![
                b"transitioning domain of ",
                domain,
                b" does not designate ",
                client,
                b" as permitted sender",
            ]
        }
        Verdict::Neutral => vec![client, b" is neither permitted nor denied by domain of ", domain],
        Verdict::None => vec![b"domain of ", domain, b" does not provide an SPF record"],
        Verdict::TempError => {
            vec![b"encountered temporary error during SPF processing of domain of ", domain]
        }
        Verdict::PermError => vec![b"error in processing during lookup of domain of ", domain],
    };
    let mut out = [receiver, b": ", &text.concat()].concat();
    if let Some(fault) = &outcome.fault {
        out.extend_from_slice(format!(": {fault}").as_bytes());
    }
    out
}
