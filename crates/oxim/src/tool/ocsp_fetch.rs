//! `ocsp_fetch.pl`: the name under which the old documents mention what `oxim ocsp-fetch` does.

use super::Call;

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    crate::run::ocsp_fetch(&call.words, &call.command_line())
}
