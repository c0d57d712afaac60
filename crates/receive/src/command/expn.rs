//! EXPN: what an address becomes, one step of redirection. Refused unless an ACL accepts. Manual section 49.7.

use std::sync::Arc;

use super::rcpt::set_address;
use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    let mut address = argument.trim_ascii().to_vec();
    if memchr::memchr(b'@', &address).is_none() {
        address.push(b'@');
        address.extend_from_slice(&reception.settings.qualify_domain);
    }
    set_address(talk, &address);
    let argument = argument.to_vec();
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        if outcome.verdict == Verdict::Accept {
            // The expansion itself needs the routers in test mode, one generation deep.
            return Progress::fixed(502, "EXPN is not implemented yet");
        }
        let what = format!(" {}", log_line::printable(&argument));
        Progress::Reply(refusal::refuse(reception, talk, Phase::Expn, &what, &outcome))
    };
    Progress::Acl(Phase::Expn, Box::new(then))
}
