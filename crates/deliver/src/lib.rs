//! Where a message goes: routers, transports, authenticators, retry and rewrite rules, the queue.
//!
//! A guided tour: `address` is one recipient and what becomes of it; `router` decides (manual chapters 3 and 15 to
//! 22), `verify` asks the routers without delivering, `room`
//! asks a mailbox whether one more message fits, `route_test` prints what they decided (`-bt`, `-bv`);
//! `transport` carries it out, with `agent` acting as the user; `delivery` holds everything that is built once from a
//! configuration.

pub mod address;
pub mod agent;
pub mod authenticator;
pub mod bmi;
pub mod bounce;
pub mod clock_steps;
mod debug_print;
pub mod delivery;
pub mod event;
pub mod filter;
pub mod log_line;
pub mod plan;
pub mod queue;
pub mod report_text;
pub mod retry;
pub mod retry_hints;
pub mod rewrite;
pub mod room;
pub mod route_test;
pub mod router;
pub mod scope;
pub mod settle;
pub mod submission;
pub mod success_report;
pub mod transport;
pub mod turned_line;
pub mod verify;
