//! EXPN: what an address becomes, one step of redirection. Refused unless an ACL accepts. Manual section 49.7.

use std::sync::Arc;

use oxim_deliver::address::Address;
use oxim_deliver::rewrite::Place;
use oxim_deliver::router::Purpose;
use oxim_deliver::router::walk::{Step, walk};

use super::rcpt::set_address;
use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
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
            return Progress::Reply(expansion(reception, talk, &address));
        }
        let what = format!(" {}", log_line::printable(&argument));
        Progress::Reply(refusal::refuse(reception, talk, Phase::Expn, &what, &outcome))
    };
    Progress::Acl(Phase::Expn, Box::new(then))
}

/// What the routers make of an address, one generation deep.
fn expansion(reception: &Reception, talk: &mut Talk, address: &[u8]) -> Reply {
    let context = &mut talk.scene.context;
    let scope = context.address.clone();
    let delivery = &reception.delivery;
    let address = delivery.rewrite.address(context, Place::EnvelopeTo, address, &delivery.rewrite_settings);
    let address = Address::recipient(address, 0);
    let shown = address.text().into_owned();
    let walked = walk(delivery, context, address, Purpose::Expn, &mut Vec::new());
    context.address = scope;
    match walked.step {
        Step::Deliver(address) => Reply::new(250, format!("<{}>", address.text())),
        Step::Children(children, _) => {
            let lines: Vec<String> = children.iter().map(|child| format!("<{}>", child.text())).collect();
            Reply::new(250, lines.join("\n"))
        }
        Step::Discard(_) => Reply::new(250, format!("mail to <{shown}> is discarded")),
        Step::Fail(..) => Reply::new(553, format!("{shown} is undeliverable")),
        Step::Defer(..) => Reply::new(553, format!("{shown} cannot be resolved at this time")),
    }
}
