//! Whether the mailbox to which an address was routed has room for a message: `verify = recipient/quota`.
//!
//! Only a local transport with a quota can say no. Manual sections 44.26 and 44.49.

use oxim_lang::context::Context;

use crate::address::Address;
use crate::agent::job::JobResult;
use crate::delivery::Delivery;
use crate::queue;
use crate::transport::{DeliveryError, error_code};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// The message fits, or there is no limit.
    Fits,
    /// It does not.
    Full,
    /// It cannot be found out now: the text is for the log.
    Unknown(String),
}

impl Delivery {
    /// Asks the mailbox of a routed address, as the user who would write to it. May block.
    pub fn room_for(&self, context: &mut Context, address: &Address, message_bytes: u64) -> Room {
        let Some(transport) = address.transport.and_then(|id| self.transport(id)) else { return Room::Fits };
        let scope = (context.address.clone(), context.delivery.clone());
        queue::enter(context, transport, address, std::iter::empty());
        let asked = self.ask(context, address, message_bytes);
        queue::leave(context);
        (context.address, context.delivery) = scope;
        match asked {
            Ok(room) => room,
            Err(error) => Room::Unknown(error.text),
        }
    }

    fn ask(
        &self,
        context: &mut Context,
        address: &Address,
        message_bytes: u64,
    ) -> Result<Room, DeliveryError> {
        let Some(transport) = address.transport.and_then(|id| self.transport(id)) else {
            return Ok(Room::Fits);
        };
        let job = transport.driver.room_job(transport, self, context, address, message_bytes)?;
        let Some(job) = job else { return Ok(Room::Fits) };
        let identity = queue::identity(self, context, transport, Some(address))?;
        let answer = self.agents.perform(&identity, &job, &mut std::io::empty());
        if matches!(answer, JobResult::Delivered { .. }) {
            return Ok(Room::Fits);
        }
        let trouble = answer.trouble();
        Ok(if trouble.code == error_code::MAILBOX_FULL { Room::Full } else { Room::Unknown(trouble.text) })
    }
}
