//! Who may have sent this: checks that need no I/O of their own.

pub mod arc;
pub mod dkim;
pub mod dmarc;
pub mod dns;
pub mod prvs;
pub mod spf;
pub mod srs;
