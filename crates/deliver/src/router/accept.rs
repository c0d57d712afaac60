//! The `accept` router: takes every address whose preconditions are met. Manual chapter 16.

use oxim_lang::config::{ConfigError, DriverRow, rows};

use super::{Build, Inputs, RouterDriver, RouterKind, Run, TransportUse, Verdict, prepare};
use crate::address::Address;

/// The row.
pub static ACCEPT: RouterKind = RouterKind {
    row: &DriverRow { name: "accept", options: rows::ROUTER_ACCEPT },
    transport: TransportUse::Required,
    build,
};

struct Accept;

fn build(_: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    Ok(Box::new(Accept))
}

impl RouterDriver for Accept {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        match prepare::for_delivery(run, address, None) {
            Ok(()) => Verdict::Deliver,
            Err(problem) => Verdict::Defer(problem),
        }
    }

    fn inputs(&self) -> Option<Inputs<'_>> {
        Some(Inputs::default())
    }
}
