//! Options of the queuefile transport (fact page `newer.md`).

use crate::config::options::OptionKind::Str;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of queuefile.
pub static TRANSPORT_QUEUEFILE: &[OptionRow] =
    &[row("directory", Str, "", Works, "directory for copies of the spool files")];
