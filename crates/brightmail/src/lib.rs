//! What the mail transfer agent and the process that holds the Brightmail client library say to each other.
//!
//! The library is proprietary C. It is loaded by the program `oxim-brightmail` (this package's `main.rs`), never by the mail
//! transfer agent: what the library breaks is a process that can be killed and started again. This crate's library half is
//! [`wire`], the language of the pipe between the two; it has no C in it. Manual: docs/features/bmi.md.

pub mod wire;
