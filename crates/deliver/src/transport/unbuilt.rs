//! Drivers whose delivery is not built yet: routing knows them, deliveries wait.

use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;

use super::{Batch, DeliveryError, Driver, Outcome, Run, Transport, TransportKind, error_code};
use crate::delivery::Delivery;

struct Unbuilt {
    is_local: bool,
}

impl Driver for Unbuilt {
    fn deliver(&self, transport: &Transport, _: &Delivery, _: &mut Context, batch: &Batch<'_>) -> Run {
        let text = format!("the {} transport is not implemented yet", transport.kind.row.name);
        Run::all(batch, &Outcome::Deferred(DeliveryError::new(error_code::UNKNOWN, text)))
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn addresses_max(&self) -> usize {
        1
    }

    fn takes_domains(&self) -> bool {
        false
    }
}

fn local(_: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    Ok(Box::new(Unbuilt { is_local: true }))
}

/// The row.
pub(super) static LMTP: TransportKind =
    TransportKind { row: DriverRow { name: "lmtp", options: rows::TRANSPORT_LMTP }, build: local };
