//! Lookup types that are known by name and refused: those to come, and those whose services are gone.
//!
//! A configuration that uses one fails with the reason; it is never taken for "not found". Manual chapter 9;
//! decisions: docs/lookups.md.

use super::{LookupKind, Style};

/// The reason for types that are to come.
const NOT_YET: &str = "is not implemented yet";

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
    DBM "dbm" true NOT_YET, "DBM file, key with a terminating zero";
    DBMJZ "dbmjz" true NOT_YET, "DBM file, key a list that is joined by zeros";
    DBMNZ "dbmnz" true NOT_YET, "DBM file, key without a terminating zero";
    JSON "json" true NOT_YET, "element of a JSON file";
    LMDB "lmdb" true NOT_YET, "LMDB database";
    NMH "nmh" true NOT_YET, "number of messages by host, over a datagram socket";
    PSL "psl" true NOT_YET, "public suffix of a domain";
    REGDOM "regdom" true NOT_YET, "registered domain of a domain";
    SPF "spf" true NOT_YET, "SPF result of an address and a sender";
    LDAP "ldap" false NOT_YET, "LDAP query, one entry";
    LDAPDN "ldapdn" false NOT_YET, "LDAP query, the name of one entry";
    LDAPM "ldapm" false NOT_YET, "LDAP query, several entries";
    MYSQL "mysql" false NOT_YET, "MySQL or MariaDB query";
    PGSQL "pgsql" false NOT_YET, "PostgreSQL query";
    READSOCK "readsock" false NOT_YET, "text exchanged over a socket";
    REDIS "redis" false NOT_YET, "Redis command";
    SQLITE "sqlite" false NOT_YET, "SQLite query";
    NIS "nis" true "is not available: no NIS client library is maintained; export the map to a cdb or lsearch file", "NIS map";
    NIS0 "nis0" true "is not available: no NIS client library is maintained; export the map to a cdb or lsearch file", "NIS map, key with a terminating zero";
    IBASE "ibase" false "is not available: Exim itself has dropped InterBase; use sqlite, pgsql or mysql", "InterBase query";
    NISPLUS "nisplus" false "is not available: NIS+ has been withdrawn by its maker; use ldap", "NIS+ query";
    ORACLE "oracle" false "is not available: the client library is proprietary; use pgsql or mysql, or export to cdb", "Oracle query";
    WHOSON "whoson" false "is not available: Exim itself has dropped Whoson; use SMTP authentication", "Whoson query";
}
