//! What the language asks of reception: ACLs within expansions, and the name of the calling host.
//!
//! The language cannot see this crate, so the program hands a [`ReceptionHost`] to it when reception has been built.
//! Manual: `${acl`, `$sender_host_name` in chapter 11.

use std::sync::{Arc, OnceLock, Weak};

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::host::{AclOutcome, AclVerdict, Host};

use crate::host_name;
use crate::reception::Reception;

/// The door from the language to reception. It is closed until [`Self::open`].
#[derive(Default)]
pub struct ReceptionHost {
    reception: OnceLock<Weak<Reception>>,
}

impl ReceptionHost {
    /// Says which reception is behind the door. Only the first call counts.
    pub fn open(&self, reception: &Arc<Reception>) {
        let _ = self.reception.set(Arc::downgrade(reception));
    }

    fn get(&self) -> Option<Arc<Reception>> {
        self.reception.get().and_then(Weak::upgrade)
    }
}

impl Host for ReceptionHost {
    fn run_acl(&self, context: &mut Context, name_or_text: &[u8], arguments: Vec<Text>) -> AclVerdict {
        let Some(reception) = self.get() else { return failed("no ACLs are available here".to_owned()) };
        crate::acl::run_in_expansion(&reception, context, name_or_text, arguments)
    }

    fn look_up_host_name(&self, context: &mut Context) {
        if let Some(reception) = self.get() {
            host_name::look_up(&reception, context);
        }
    }
}

fn failed(reason: String) -> AclVerdict {
    AclVerdict { outcome: AclOutcome::Error(reason), message: None, log_message: None }
}
