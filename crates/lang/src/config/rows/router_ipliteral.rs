//! Options of the ipliteral router (manual chapter 18).

use crate::config::options::OptionRow;

/// Private options of ipliteral.
pub static ROUTER_IPLITERAL: &[OptionRow] = &[];
