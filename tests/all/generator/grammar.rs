//! What each row of the language takes, as patterns: literal text with codes for what varies.
//!
//! | code | stands for |
//! |---|---|
//! | `@t` | any text |
//! | `@n` `@p` | an integer, a number that is not negative |
//! | `@s` `@k` | an interval, a character set of separators |
//! | `@l` `@j` `@o` | a list, a JSON array, a JSON object |
//! | `@a` `@d` | an address, a domain |
//! | `@i` `@m` | an IP address, one with a mask |
//! | `@h` `@b` `@z` | hexadecimal digits, base 64, digits of other bases |
//! | `@x` | a regular expression |
//! | `@e` | arithmetic |
//! | `@f` `@w` | a file of the test's folder, a word |
//! | `@g` | fields such as `a=1 b=2` |
//! | `@c` | a condition |
//! | `@y` | the strings after a conditional item, or none |
//! | `@v` | the name of a variable or header line |
//! | `@q` | a password, plain or encrypted |
//! | `@u` | the name of a named list |

/// What stands for each item of the language, after its name.
pub(crate) const ITEMS: &[(&str, &[&str])] = &[
    ("acl", &["{take}{@t}", "{refuse}{@t}{@t}", "{echo}{@t}{@t}", "{@w}", "{take}"]),
    ("certextract", &["{@w}{$tls_in_peercert}@y", "{subject,CN}{$tls_in_peercert}@y"]),
    ("env", &["{@w}@y", "{HOME}@y", "{NO_SUCH_NAME}@y"]),
    (
        "extract",
        &[
            "{@w}{@g}@y",
            "{@n}{@k}{@t}@y",
            " json{@w}{@o}@y",
            " json{@n}{@j}@y",
            " jsons{@w}{@o}@y",
            " jsons{@n}{@j}@y",
        ],
    ),
    ("filter", &["{@l}{@c}", " {@l} {@c}"]),
    ("hash", &["{@p}{@t}", "{@p}{@p}{@t}"]),
    ("hmac", &["{md5}{@t}{@t}", "{sha1}{@t}{@t}", "{@w}{@t}{@t}"]),
    ("if", &[" @c@y", " @c {@t} {@t} ", " @c{@t}fail", "!@c@y"]),
    ("length", &["{@p}{@t}"]),
    ("listextract", &["{@n}{@l}@y"]),
    ("listquote", &["{@k}{@t}"]),
    (
        "lookup",
        &[
            "{@w}lsearch{FOLDER/table}@y",
            "{@t}lsearch{FOLDER/table}@y",
            " {@w} lsearch {FOLDER/table}@y",
            "{@w}lsearch*{FOLDER/table}@y",
            "{@a}lsearch*@{FOLDER/table}@y",
            "{@d}partial-lsearch{FOLDER/table}@y",
            "{@t}wildlsearch{FOLDER/wild}@y",
            "{@t}nwildlsearch{FOLDER/wild}@y",
            "{@i}iplsearch{FOLDER/ips}@y",
            "{@w}dsearch{FOLDER}@y",
            "{@w}lsearch,ret=key{FOLDER/table}@y",
            "{@w}lsearch{FOLDER/missing}@y",
        ],
    ),
    ("map", &["{@l}{@t}", "{@l}{<$item>}"]),
    ("nhash", &["{@p}{@t}", "{@p}{@p}{@t}"]),
    ("prvs", &["{@a}{@t}", "{@a}{@t}{@p}"]),
    (
        "prvscheck",
        &["{@a}{@t}", "{@a}{@t}{@t}", "{${prvs{@a}{key}}}{key}{$prvscheck_result$prvscheck_address}"],
    ),
    ("readfile", &["{FOLDER/lines}", "{FOLDER/lines}{@t}", "{FOLDER/@w}", "{FOLDER/empty}{@k}"]),
    (
        "readsocket",
        &[
            "{FOLDER/nosocket}{@t}{3s}{}{@t}",
            "{FOLDER/nosocket}{@t}",
            "{@w}{@t}{@w}{@t}{@t}",
            "{FOLDER/nosocket}{x}{@s:@w=@w}{}{@t}",
        ],
    ),
    ("reduce", &["{@l}{@t}{@t}", "{@l}{0}{${eval:$value+1}}", "{@l}{}{$item$value}"]),
    (
        "run",
        &[
            "{/bin/echo @w}@y",
            "{/bin/false}@y",
            "{/no/such @t}@y",
            ",preexpand{/bin/echo @w}@y",
            "{/bin/echo \"@w\" @t}@y",
        ],
    ),
    ("sg", &["{@t}{@x}{@t}", "{@t}{@x}{<\\$0>}", "{@t}{@x}{\\$1\\$2}", "{@t}{@w}{@w}"]),
    (
        "sort",
        &[
            "{@l}{<}{@t}",
            "{@l}{lt}{$item}",
            "{@l}{>=}{$item}",
            "{@l}{gei}{$item}",
            "{@l}{lti}{${lc:$item}}",
            "{@l}{@w}{$item}",
        ],
    ),
    ("substr", &["{@n}{@t}", "{@n}{@p}{@t}"]),
    ("tr", &["{@t}{@t}{@t}", "{@t}{@w}{@w}"]),
];

/// What each operator works on.
pub(crate) const OPERATORS: &[(&str, &[&str])] = &[
    ("address", &["address:@a", "address:@t"]),
    ("addresses", &["addresses:@a, @a", "addresses:>+ @a, @a", "addresses:@t", "addresses:@k@a,@a"]),
    ("base32", &["base32:@p", "base32:@n"]),
    ("base32d", &["base32d:@z"]),
    ("base62", &["base62:@p", "base62:@n"]),
    ("base62d", &["base62d:@z"]),
    ("base64", &["base64:@t"]),
    ("base64d", &["base64d:@b"]),
    ("domain", &["domain:@a"]),
    ("escape", &["escape:@t"]),
    ("escape8bit", &["escape8bit:@t"]),
    ("eval", &["eval:@e"]),
    ("eval10", &["eval10:@e"]),
    ("expand", &["expand:@t", "expand:\\$@v", "expand:\\${lc:@w\\}"]),
    ("from_utf8", &["from_utf8:@t"]),
    ("hash", &["hash_3:@t", "hash_4_@p:@t", "h_2:@t", "h_@p:@t"]),
    ("hex2b64", &["hex2b64:@h"]),
    ("hexquote", &["hexquote:@t"]),
    ("ipv6denorm", &["ipv6denorm:@i"]),
    ("ipv6norm", &["ipv6norm:@i"]),
    ("lc", &["lc:@t"]),
    ("length", &["length_3:@t", "l_2:@t", "length_@p:@t"]),
    ("listcount", &["listcount:@l"]),
    ("listnamed", &["listnamed:@u", "listnamed_d:@u", "listnamed_h:@u", "listnamed_a:@u", "listnamed_l:@u"]),
    ("local_part", &["local_part:@a"]),
    ("mask", &["mask:@m", "mask_n:@m"]),
    ("md5", &["md5:@t"]),
    ("nhash", &["nhash_8:@t", "nhash_8_64:@t", "nhash_@p_@p:@t"]),
    ("quote", &["quote:@t", "quote_lsearch:@t", "quote_dnsdb:@t", "quote_nosuch:@t"]),
    ("quote_local_part", &["quote_local_part:@t"]),
    ("randint", &["randint:1", "randint:a", "randint:-1"]),
    ("reverse_ip", &["reverse_ip:@i"]),
    ("rfc2047", &["rfc2047:@t"]),
    ("rfc2047d", &["rfc2047d:@t", "rfc2047d:=?iso-8859-1?q?@w?= @t", "rfc2047d:=?utf-8?b?@b?="]),
    ("rxquote", &["rxquote:@t"]),
    ("sha1", &["sha1:@t"]),
    ("sha2", &["sha2:@t", "sha2_512:@t", "sha2_384:@t", "sha2_256:@t", "sha2_224:@t", "sha2_@p:@t"]),
    ("sha256", &["sha256:@t"]),
    ("sha3", &["sha3:@t", "sha3_512:@t", "sha3_384:@t", "sha3_224:@t", "sha3_@p:@t"]),
    ("stat", &["stat:FOLDER/lines", "stat:FOLDER/@w", "stat:@w"]),
    ("str2b64", &["str2b64:@t"]),
    ("strlen", &["strlen:@t"]),
    ("substr", &["substr_1_2:@t", "substr_-3_2:@t", "s_-1:@t", "substr_@p:@t", "substr_2:@t"]),
    ("time_eval", &["time_eval:@s"]),
    ("time_interval", &["time_interval:@p", "time_interval:@n"]),
    ("uc", &["uc:@t"]),
    ("utf8clean", &["utf8clean:@t"]),
];

/// What each condition takes, with its name.
pub(crate) const CONDITIONS: &[(&str, &[&str])] = &[
    ("<", &["< {@n}{@n}", "<{@n}{@n}"]),
    ("<=", &["<= {@n}{@n}"]),
    ("=", &["= {@n}{@n}", "={@n}{@n}"]),
    ("==", &["== {@n}{@n}"]),
    (">", &["> {@n}{@n}"]),
    (">=", &[">= {@n}{@n}"]),
    ("acl", &["acl{{take}{@t}}", "acl{{refuse}}", "acl{{@w}{@t}}"]),
    ("and", &["and{{@c}{@c}}", "and {{@c}}", "and{{@c}{@c}{@c}}"]),
    ("bool", &["bool{@w}", "bool{@t}", "bool{@n}"]),
    ("bool_lax", &["bool_lax{@w}", "bool_lax{@t}"]),
    ("crypteq", &["crypteq{@t}{@q}", "crypteq{test}{@q}"]),
    ("def", &["def:@v", "def:@v "]),
    ("eq", &["eq{@t}{@t}", "eq {@w}{@w}"]),
    ("eqi", &["eqi{@t}{@t}", "eqi{@w}{@w}"]),
    ("exists", &["exists{FOLDER/@w}", "exists{@w}"]),
    ("first_delivery", &["first_delivery"]),
    ("forall", &["forall{@l}{@c}"]),
    ("forall_json", &["forall_json{@j}{@c}"]),
    ("forall_jsons", &["forall_jsons{@j}{@c}"]),
    ("forany", &["forany{@l}{@c}", "forany{@l}{eq{$item}{@w}}"]),
    ("forany_json", &["forany_json{@j}{@c}"]),
    ("forany_jsons", &["forany_jsons{@j}{@c}"]),
    ("ge", &["ge{@t}{@t}"]),
    ("gei", &["gei{@t}{@t}"]),
    ("gt", &["gt{@t}{@t}"]),
    ("gti", &["gti{@t}{@t}"]),
    ("inlist", &["inlist{@w}{@l}", "inlist{@t}{@l}"]),
    ("inlisti", &["inlisti{@w}{@l}"]),
    ("isip", &["isip{@i}", "isip{@m}"]),
    ("isip4", &["isip4{@i}"]),
    ("isip6", &["isip6{@i}"]),
    ("le", &["le{@t}{@t}"]),
    ("lei", &["lei{@t}{@t}"]),
    ("lt", &["lt{@t}{@t}"]),
    ("lti", &["lti{@t}{@t}"]),
    ("match", &["match{@t}{@x}", "match {@w}{@x}"]),
    ("match_address", &["match_address{@a}{@A}", "match_address{@t}{@A}"]),
    ("match_domain", &["match_domain{@d}{@D}", "match_domain{@t}{@D}"]),
    ("match_ip", &["match_ip{@i}{@I}"]),
    ("match_local_part", &["match_local_part{@w}{@L}"]),
    ("or", &["or{{@c}{@c}}", "or{{@c}}"]),
    ("queue_running", &["queue_running"]),
];

/// Rows that are not generated, each with the reason.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("authresults", "needs a message; compared with scenarios"),
    ("dlfunc", "refused: no foreign code is loaded"),
    ("headerwrap", "the installed exim4 does not know it"),
    ("imapfolder", "compared with scenarios; differs on purpose for dots and slashes"),
    ("inbound_srs", "compared with scenarios; depends on the day"),
    ("ldapauth", "needs a server"),
    ("pam", "needs a server"),
    ("perl", "needs an interpreter in both programs; compared with scenarios"),
    ("pwcheck", "needs a server"),
    ("radius", "needs a server"),
    ("saslauthd", "needs a server"),
    ("srs_encode", "compared with scenarios; depends on the day"),
    ("utf8_domain_from_alabel", "compared with the conformance data of internationalised names"),
    ("utf8_domain_to_alabel", "compared with the conformance data of internationalised names"),
    ("utf8_localpart_from_alabel", "compared with the conformance data of internationalised names"),
    ("utf8_localpart_to_alabel", "compared with the conformance data of internationalised names"),
    ("xtextd", "the installed exim4 does not know it"),
];

/// What the rows that are left out take, for tests that need no second program.
pub(crate) const ALONE: &[(&str, &[&str])] = &[
    ("authresults", &["{@w}"]),
    ("dlfunc", &["{@w}{@w}{@t}"]),
    ("headerwrap", &["headerwrap:@t", "headerwrap_20_90:@t"]),
    ("imapfolder", &["{@t}{@k}{@t}"]),
    ("inbound_srs", &["inbound_srs{@a}{@t}"]),
    ("ldapauth", &["ldapauth{@t}"]),
    ("pam", &["pam{@t}"]),
    ("perl", &["{@w}{@t}"]),
    ("pwcheck", &["pwcheck{@t}"]),
    ("radius", &["radius{@t}"]),
    ("saslauthd", &["saslauthd{{@t}{@t}}", "saslauthd{{@t}{@t}{@t}{@t}}"]),
    ("srs_encode", &["{@t}{@a}{@d}"]),
    ("utf8_domain_from_alabel", &["utf8_domain_from_alabel:@d"]),
    ("utf8_domain_to_alabel", &["utf8_domain_to_alabel:@d"]),
    ("utf8_localpart_from_alabel", &["utf8_localpart_from_alabel:@t"]),
    ("utf8_localpart_to_alabel", &["utf8_localpart_to_alabel:@t"]),
    ("xtextd", &["xtextd:@t"]),
];

/// Variables whose values the two programs cannot share, with the reason; they are used in `def` only.
pub(crate) const VOLATILE: &[(&str, &str)] = &[
    ("caller_", "the harness and the programs run as they may"),
    ("compile_", "each program has its own"),
    ("config_", "each program has its own"),
    ("exim_", "each program has its own"),
    ("initial_cwd", "later than the installed exim4 in some builds"),
    ("inode", "not set outside of deliveries"),
    ("load_average", "changes with time"),
    ("log_inodes", "changes with time"),
    ("log_space", "changes with time"),
    ("message_age", "changes with time"),
    ("message_exim_id", "each program has its own"),
    ("message_id", "each program has its own"),
    ("pid", "each program has its own"),
    ("queue_size", "asks the daemon"),
    ("received_time", "changes with time"),
    ("spool_inodes", "changes with time"),
    ("spool_space", "changes with time"),
    ("tod_", "changes with time"),
    ("tls_in_ourcert", "is a certificate"),
    ("tls_in_peercert", "is a certificate"),
    ("tls_out_ourcert", "is a certificate"),
    ("tls_out_peercert", "is a certificate"),
    ("version_number", "each program has its own"),
];
