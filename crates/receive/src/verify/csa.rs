//! `verify = csa`: whether the owner of the HELO name says that this client may send mail (manual section 44.52).
//!
//! The condition never defers: what could not be found out is `defer` in `$csa_status`, and no reason to refuse.

use oxim_base::Text;
use oxim_net::dns::{CsaCode, Family, Lookup};

use crate::acl::{Answer, Run, Tested};

/// `verify = csa`, `verify = csa/domain`.
pub(super) fn verify(run: &mut Run<'_>, domain: Option<&Text>) -> Tested {
    let connection = &run.scene.context.connection;
    let Some(client) = connection.host_address else {
        run.scene.context.connection.csa_status = Some("unknown");
        return Tested::of(true);
    };
    let key = match (domain, &connection.helo_name) {
        (Some(domain), _) => domain.to_string_lossy(),
        (None, Some(name)) => String::from_utf8_lossy(name).into_owned(),
        (None, None) => client.to_string(),
    };
    let (status, why) = judge(run, &key, client);
    run.scene.context.connection.csa_status = Some(status);
    match why {
        None => Tested::of(true),
        Some(why) => {
            let text = Text::from(format!("client SMTP authorization failed ({why})"));
            Tested { answer: Answer::No, user: Some(text.clone()), log: Some(text) }
        }
    }
}

/// The status, and why the client is refused, if it is.
fn judge(run: &Run<'_>, key: &str, client: std::net::IpAddr) -> (&'static str, Option<&'static str>) {
    let Some(resolver) = &run.reception.resolver else { return ("defer", None) };
    let answer = match resolver.csa(key, run.reception.settings.csa) {
        Lookup::Found(answer) => answer.records,
        Lookup::NotThere(_) => return ("unknown", None),
        Lookup::AskAgain(_) => return ("defer", None),
    };
    let Some(verdict) = answer.into_iter().next() else { return ("unknown", None) };
    match verdict.code {
        CsaCode::Unknown => return ("unknown", None),
        CsaCode::Unauthorized => return ("fail", Some("host name not authorized")),
        CsaCode::ExplicitAbsent => return ("fail", Some("explicit authorization required")),
        CsaCode::Authorized => {}
    }
    if verdict.target.trim_end_matches('.').is_empty() {
        return ("fail", Some("no authorized addresses"));
    }
    let addresses = match resolver.addresses_by_dns(&verdict.target, Family::default()) {
        Lookup::Found(answer) => answer.records,
        Lookup::NotThere(_) => return ("fail", Some("no authorized addresses")),
        Lookup::AskAgain(_) => return ("defer", None),
    };
    let mut of_family = addresses.iter().filter(|address| address.is_ipv4() == client.is_ipv4()).peekable();
    if of_family.peek().is_none() {
        return ("fail", Some("no authorized addresses"));
    }
    if of_family.any(|address| *address == client) {
        return ("ok", None);
    }
    ("fail", Some("client address mismatch"))
}
