//! Exim's language: configuration, lists, lookups, expansions.

pub mod accounts;
pub mod arc;
pub mod bmi;
pub mod config;
pub mod content;
pub mod context;
pub mod dmarc;
pub mod dns_names;
pub mod errand;
pub mod expand;
pub mod host;
pub mod interfaces;
pub mod list;
pub mod lookup;
pub mod regex;
pub mod restrict;
pub mod sender_policy;
pub mod signatures;
