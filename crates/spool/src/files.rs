//! Exim's own spool files: -H, -D and -J (manual chapter 57), per-message logs, and where they lie.
//!
//! A message at rest is a pair, `ID-H` and `ID-D`, in `input`, in `input/X` (split_spool_directory; X is the sixth
//! character of the id), or in the same places below a directory named after its queue. Exim's lock, an fcntl write
//! lock on the first line of -D, is taken by whoever works on the message.

pub mod beneath;
pub mod directories;
pub mod header_read;
pub mod header_write;
pub mod pair;
#[cfg(test)]
mod tests;
