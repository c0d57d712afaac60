//! The door from the language to the crates on its right: ACLs run by expansions, host names found on demand.

use std::sync::{Arc, Weak};

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::host::{AclOutcome, AclVerdict, Host};
use oxim_receive::host_name;
use oxim_receive::reception::Reception;

/// Answers for one reception, as long as it lives.
pub struct Door(Weak<Reception>);

impl Door {
    /// For a reception.
    #[must_use]
    pub fn of(reception: &Arc<Reception>) -> Arc<dyn Host> {
        Arc::new(Door(Arc::downgrade(reception)))
    }
}

impl Host for Door {
    fn run_acl(&self, context: &mut Context, name_or_text: &[u8], arguments: Vec<Text>) -> AclVerdict {
        let Some(reception) = self.0.upgrade() else {
            return AclVerdict {
                outcome: AclOutcome::Error("the program is ending".to_owned()),
                message: None,
                log_message: None,
            };
        };
        oxim_receive::acl::run_in_expansion(&reception, context, name_or_text, arguments)
    }

    fn look_up_host_name(&self, context: &mut Context) {
        if let Some(reception) = self.0.upgrade() {
            host_name::look_up(&reception, context);
        }
    }
}
