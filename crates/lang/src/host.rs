//! The one door upward: what the language needs from the crates that use it.
//!
//! `${acl}` runs an ACL, and ACLs belong to `receive`; so does the order of methods by which a calling host's name
//! is found. `receive` implements this trait and the program hands it in ([`crate::context::Services::host`]).
//! Without a host (a unit test, a mode that has no ACLs) the expansions that need it fail with an error.

use oxim_base::Text;

use crate::context::Context;

/// How an ACL run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclOutcome {
    /// `accept`.
    Accept,
    /// `deny`, or a `require` that was not met, or the end of the ACL.
    Deny,
    /// `defer`, or a condition that could not be decided now.
    Defer,
    /// `discard`.
    Discard,
    /// `drop`.
    Drop,
    /// The ACL could not be run; the text is Exim's message.
    Error(String),
}

/// The outcome of an ACL with the texts that it set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclVerdict {
    /// How it ended.
    pub outcome: AclOutcome,
    /// What a `message` modifier gave for the client.
    pub message: Option<Text>,
    /// What a `log_message` modifier gave for the log.
    pub log_message: Option<Text>,
}

/// Services of the upper crates.
pub trait Host: Send + Sync {
    /// Runs a named ACL, an ACL file (absolute path), or ACL text, with `$acl_arg1`… set to the arguments.
    ///
    /// May block. The arguments are restored by the implementation when the ACL has ended.
    fn run_acl(&self, context: &mut Context, name_or_text: &[u8], arguments: Vec<Text>) -> AclVerdict;

    /// Finds the name of the calling host by `host_lookup_order`, checks it forward, and stores name, aliases and
    /// outcome in [`crate::context::Connection`]. Called on the first use of `$sender_host_name`. May block.
    fn look_up_host_name(&self, context: &mut Context);

    /// Number of messages on the queue, for `$queue_size`; None if nobody knows without reading the spool.
    fn queue_size(&self) -> Option<u64> {
        None
    }
}
