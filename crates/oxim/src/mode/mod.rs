//! What the program does, one file for each command-line mode. Each returns the exit code.

pub mod address_test;
pub mod check;
pub mod expand_test;
pub mod information;
pub mod list_queue;
pub mod message;
pub mod message_in_hand;
pub mod new_aliases;
pub mod origin;
pub mod print_config;
pub mod queue_run;
pub mod receive;
pub mod retry_test;
pub mod rewrite_test;
pub mod version;
