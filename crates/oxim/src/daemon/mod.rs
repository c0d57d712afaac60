//! The daemon: listens, serves sessions, runs the queue (manual section 5.3, `-bd`).

pub mod descriptors;
pub mod interfaces;
pub mod pid_file;
