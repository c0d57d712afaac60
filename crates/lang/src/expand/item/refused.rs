//! Items that are not built, each with the reason.

use super::{Examples, ItemRow, Parse, row};
use crate::config::Status;

const fn refused(name: &'static str, doc: &'static str, parse: Parse) -> ItemRow {
    ItemRow { status: Status::NotYet, ..row(name, doc, NONE, parse) }
}

const NONE: Examples = &[];

pub(super) static ROWS: &[&ItemRow] =
    &[&refused("dlfunc", "Refused: no foreign code is loaded into this program.", |p| {
        p.fault("${dlfunc} is not available: this program loads no foreign code; use ${run} or ${readsocket}")
    })];
