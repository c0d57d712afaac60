//! What everybody needs and nothing that does I/O: text with taint, the clock, limits, debug selectors.
//!
//! Every other crate uses this one; it uses none of them.

pub mod bytes;
pub mod clock;
pub mod debug;
pub mod errno;
pub mod limits;
pub mod text;

pub use text::{Taint, Text};
