//! Options of the accept router (manual chapter 16).

use crate::config::options::OptionKind::Bool;
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of accept, and the generic defaults that differ for it.
pub static ROUTER_ACCEPT: &[OptionRow] =
    &[row("log_as_local", Bool, "true", Works, "log deliveries without @domain")];
