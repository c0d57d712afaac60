//! What the program does, one file for each command-line mode. Each returns the exit code.

pub(crate) mod address_test;
pub(crate) mod atrn;
pub(crate) mod check;
pub(crate) mod dane_check;
pub(crate) mod expand_test;
pub(crate) mod explain;
pub(crate) mod filter_test;
pub(crate) mod information;
pub(crate) mod list_queue;
pub(crate) mod malware_test;
pub(crate) mod message;
pub(crate) mod message_in_hand;
pub(crate) mod new_aliases;
pub(crate) mod ocsp_fetch;
pub(crate) mod origin;
pub(crate) mod print_config;
pub(crate) mod queue;
pub(crate) mod queue_run;
pub(crate) mod receive;
pub(crate) mod retry_test;
pub(crate) mod rewrite_test;
pub(crate) mod tlsa;
pub(crate) mod version;
