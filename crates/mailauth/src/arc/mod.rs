//! ARC: what earlier stations have found out about a message, and whether their seals hold (RFC 8617).
//!
//! [`set`] collects the header lines into sets, [`verify`] checks a chain, [`seal`] adds a set to it.

pub mod seal;
pub mod set;
#[cfg(test)]
mod tests;
pub mod verify;

/// The most sets that a message may have (RFC 8617 section 4.2.1).
pub const INSTANCES_MAX: u32 = 50;
