//! Where a message goes: routers, transports, authenticators, retry and rewrite rules, the queue.
//!
//! A guided tour: `address` is one recipient and what becomes of it; `router` decides (manual chapters 3 and 15 to
//! 22), `verify` asks the routers without delivering, `route_test` prints what they decided (`-bt`, `-bv`);
//! `delivery` holds everything that is built once from a configuration.

pub mod address;
pub mod agent;
/// Transports.
pub mod transport {
    pub mod error_code;
}
