//! The daemon: listens, serves sessions, runs the queue (manual section 5.3, `-bd`).
//!
//! Started by root it is two processes: a parent that keeps root for opening ports and starting delivery agents
//! (`parent`), and a worker that is the Exim user and does everything else (`worker`). Started by anybody else it is the
//! worker alone.

pub mod descriptors;
pub mod interfaces;
pub mod parent;
pub mod pid_file;
pub mod start;
pub mod worker;
