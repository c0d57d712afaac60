//! The daemon: listens, serves sessions, runs the queue (manual section 5.3, `-bd`).
//!
//! Started by root it is two processes: a parent that keeps root for opening ports and starting delivery agents
//! (`parent`), and a worker that is the Exim user and does everything else (`worker`). Started by anybody else it is the
//! worker alone.

pub(crate) mod descriptors;
pub(crate) mod interfaces;
pub(crate) mod parent;
pub(crate) mod pid_file;
pub(crate) mod process_log;
pub(crate) mod start;
pub(crate) mod worker;
