//! RSET: forgets the transaction. RFC 5321 section 4.1.1.5.

use std::sync::Arc;

use crate::ending;
use crate::reception::Reception;
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk) -> Progress {
    ending::log_incomplete(reception, talk, "RSET");
    talk.reset();
    Progress::fixed(250, "Reset OK")
}
