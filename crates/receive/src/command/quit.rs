//! QUIT. The ACL may change the text, never the code. RFC 5321 section 4.1.1.10; manual section 44.10.

use std::sync::Arc;

use crate::acl::{Outcome, Phase};
use crate::ending;
use crate::reception::Reception;
use crate::reply::{Reply, after_codes};
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk) -> Progress {
    ending::log_incomplete(reception, talk, "QUIT");
    talk.quit = true;
    let then = |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        let text = match &outcome.user_message {
            Some(text) => after_codes(text.as_bytes()).to_vec(),
            None => format!("{} closing connection", talk.active_hostname(reception)).into_bytes(),
        };
        Progress::Close(Some(Reply::new(221, text)))
    };
    Progress::Acl(Phase::Quit, Box::new(then))
}
