//! Lookup types that are known by name and refused: those whose services or libraries are gone.
//!
//! A configuration that uses one fails with the reason; it is never taken for "not found". Manual chapter 9;
//! decisions: docs/lookups.md.

use super::{LookupKind, Style};

macro_rules! refused {
    ($($constant:ident $name:literal $single_key:literal $reason:expr, $doc:literal;)*) => {
        $(#[doc = concat!("The row of `", $name, "`.")]
        pub(super) static $constant: LookupKind = LookupKind {
            name: $name,
            style: Style::Unavailable { single_key: $single_key, reason: $reason },
            doc: $doc,
        };)*
    };
}

refused! {
    NIS "nis" true "is not available: no NIS client library is maintained; export the map to a cdb or lsearch file", "NIS map";
    NIS0 "nis0" true "is not available: no NIS client library is maintained; export the map to a cdb or lsearch file", "NIS map, key with a terminating zero";
    IBASE "ibase" false "is not available: Exim itself has dropped InterBase; use sqlite, pgsql or mysql", "InterBase query";
    NISPLUS "nisplus" false "is not available: NIS+ has been withdrawn by its maker; use ldap", "NIS+ query";
    ORACLE "oracle" false "is not available: the client library is proprietary; use pgsql or mysql, or export to cdb", "Oracle query";
    WHOSON "whoson" false "is not available: Exim itself has dropped Whoson; use SMTP authentication", "Whoson query";
}
