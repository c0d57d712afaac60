//! HELP: the verbs that this host obeys. RFC 5321 section 4.1.1.8.

use std::sync::Arc;

use crate::acl::Phase;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk) -> Progress {
    let mut text = "Commands supported:\nAUTH".to_owned();
    if !talk.is_encrypted
        && reception.tls.is_some()
        && reception.settings.hosts.tls.matches(&mut talk.scene.context)
    {
        text.push_str(" STARTTLS");
    }
    text.push_str(" HELO EHLO MAIL RCPT DATA BDAT NOOP QUIT RSET HELP");
    for (phase, word) in [(Phase::Etrn, " ETRN"), (Phase::Expn, " EXPN"), (Phase::Vrfy, " VRFY")] {
        if reception.acls.is_set(phase) {
            text.push_str(word);
        }
    }
    if talk.speaks_for_others || reception.settings.hosts.xclient.matches(&mut talk.scene.context) {
        text.push_str(" XCLIENT");
    }
    Progress::Reply(Reply::new(214, text))
}
