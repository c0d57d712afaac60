//! What becomes of an accepted message: the queue behind this trait takes it.

use oxim_deliver::turned_line::TurnedLine;
use oxim_spool::store::Claim;

/// When a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queueing {
    /// Now, in the background.
    Immediate,
    /// Now, and the caller waits for the attempt (`-odf`).
    Foreground,
    /// Routed and delivered locally now; remote deliveries wait for a queue run (`-odqs`).
    RemoteWaits,
    /// By a queue run (`queue_only`, `-odq`, `control = queue`, high load).
    Wait,
    /// Not until somebody thaws it (`control = freeze`). `tell` says whether `freeze_tell` applies.
    Frozen {
        /// Whether the postmaster is told.
        tell: bool,
    },
}

/// Takes accepted messages. The message is durable; the claim on it changes hands.
pub trait Sink: Send + Sync {
    /// A message has been accepted.
    fn accepted(&self, claim: Claim, queueing: Queueing);

    /// `mua_wrapper`: a message was not delivered. The caller has been told; no other message is taken.
    fn has_failed(&self) -> bool {
        false
    }

    /// Whether [`accepted`](Self::accepted) may wait, for a delivery by this process (`-bs -odf`): then it is called on a
    /// worker thread.
    fn may_block(&self) -> bool {
        false
    }

    /// ATRN: delivers over a line whose client has become the server, and returns when it has ended. Called on a worker thread.
    ///
    /// # Errors
    /// Why nothing can be delivered.
    fn deliver_over(&self, line: TurnedLine) -> Result<(), String> {
        drop(line);
        Err("no queue is running".to_owned())
    }

    /// ETRN: starts a queue run for messages with a recipient that contains the text.
    ///
    /// # Errors
    /// Why no queue run can be started, for the client.
    fn run_queue_for(&self, text: &[u8]) -> Result<(), String> {
        let _ = text;
        Err("no queue is running".to_owned())
    }
}
