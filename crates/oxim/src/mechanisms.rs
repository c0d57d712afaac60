//! Joins the authenticators of `deliver` to the AUTH command of `receive`: the same steps under two names.

use std::sync::Arc;

use oxim_deliver::authenticator::{self, Authenticator};
use oxim_deliver::delivery::Delivery;
use oxim_lang::context::Context;
use oxim_receive::command::auth::{Dialogue, Mechanism, Step};

struct Served(Arc<Authenticator>);

struct Running(authenticator::Dialogue);

/// The authenticators that have a server's half.
#[must_use]
pub fn of(delivery: &Delivery) -> Vec<Arc<dyn Mechanism>> {
    let served = delivery.authenticators.iter().filter(|a| a.is_server());
    served.map(|a| Arc::new(Served(Arc::clone(a))) as Arc<dyn Mechanism>).collect()
}

impl Mechanism for Served {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn public_name(&self) -> &str {
        &self.0.public_name
    }

    fn is_advertised(&self, context: &mut Context) -> bool {
        self.0.is_advertised(context).unwrap_or_else(|error| {
            context.services.log().both(format!("{} authenticator: failed to expand server_advertise_condition: {error}", self.0.name));
            false
        })
    }

    fn begin(&self) -> Box<dyn Dialogue> {
        Box::new(Running(self.0.begin()))
    }
}

impl Dialogue for Running {
    fn step(&mut self, context: &mut Context, input: Option<&[u8]>) -> Step {
        match self.0.step(context, input) {
            authenticator::Step::Challenge(text) => Step::Challenge(text),
            authenticator::Step::Accepted { id } => Step::Accepted { id },
            authenticator::Step::Refused { id } => Step::Refused { id },
            authenticator::Step::Defer(text) => Step::Defer(text),
            authenticator::Step::Malformed => Step::Malformed,
        }
    }
}
