//! Address rewriting at reception (manual chapter 31): where the rules are applied, not what they do.

use std::sync::Arc;

use crate::reception::Reception;
use crate::talk::Talk;

/// Rewrites the addresses in the header lines of the message.
pub fn headers(_: &Arc<Reception>, _: &mut Talk) {}

/// Rewrites the argument of MAIL or RCPT by rules with the flag `S`, before it is parsed.
pub fn smtp(_: &Reception, _: &mut Talk, path: &[u8], _: &[u8]) -> Vec<u8> {
    path.to_vec()
}
