//! What the program does, one file for each command-line mode. Each returns the exit code.

pub mod address_test;
pub mod check;
pub mod expand_test;
pub mod version;
