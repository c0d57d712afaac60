//! Items that are not built, each with the reason.

use super::{ItemRow, row};

pub(super) static ROWS: &[&ItemRow] = &[
    &row("authresults", "Not implemented yet.", &[], |p| p.fault("${authresults} is not implemented yet")),
    &row("certextract", "Not implemented yet.", &[], |p| p.fault("${certextract} is not implemented yet")),
    &row("dlfunc", "Refused: no foreign code is loaded into this program.", &[], |p| {
        p.fault("${dlfunc} is not available: this program loads no foreign code; use ${run} or ${readsocket}")
    }),
    &row("imapfolder", "Not implemented yet.", &[], |p| p.fault("${imapfolder} is not implemented yet")),
    &row("perl", "Not implemented yet.", &[], |p| {
        p.fault("${perl} is not implemented yet: there is no Perl interpreter in this program; use ${run} or ${readsocket}")
    }),
    &row("srs_encode", "Not implemented yet.", &[], |p| p.fault("${srs_encode} is not implemented yet")),
];
