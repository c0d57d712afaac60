//! What the program does, one file for each command-line mode. Each returns the exit code.

pub mod address_test;
pub mod check;
pub mod expand_test;
pub mod list_queue;
pub mod message;
pub mod print_config;
pub mod queue_run;
pub mod receive;
pub mod version;
