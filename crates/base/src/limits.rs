//! Every fixed limit of the program: its name, its reason, its one home.
//!
//! Limits that the postmaster sets are options; these are the ones behind them, so that memory and work stay
//! bounded whatever a peer, a file or a configuration holds.

/// Longest SMTP command line accepted, in bytes, including CR LF. Exim's figure: room for AUTH with long initial responses.
pub const SMTP_COMMAND_BYTES_MAX: usize = 16_384;
/// What a session keeps of its last command while it waits for the next one, in bytes: a host's name, an address, a few parameters.
pub const KEPT_COMMAND_BYTES_MAX: usize = 1_024;
/// Longest name in HELO, in bytes (RFC 5321 section 4.5.3.1.2).
pub const HELO_NAME_BYTES_MAX: usize = 255;
/// Longest ENVID of MAIL, in bytes (RFC 3461 section 4.4).
pub const ENVID_BYTES_MAX: usize = 100;
/// Longest ORCPT of RCPT, in bytes (RFC 3461 section 4.2): each recipient keeps one.
pub const ORCPT_BYTES_MAX: usize = 500;
/// Longest AUTH of MAIL, in bytes (RFC 4954 section 5).
pub const AUTH_PARAMETER_BYTES_MAX: usize = 500;
/// How deep expansions, lists and ACLs may call each other. Deeper ones fail with an error, not with the stack.
pub const EXPANSION_DEPTH_MAX: usize = 40;
/// DKIM signatures of one message that are verified: each costs a question to the DNS and a calculation.
pub const DKIM_SIGNATURES_MAX: usize = 20;
/// Largest file that WELLKNOWN sends, in bytes: such files are small texts.
pub const WELLKNOWN_BYTES_MAX: u64 = 64 * 1024;
/// Most that `control = debug` keeps in memory until its trigger, in bytes.
pub const DEBUG_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// How many threads may wait for files, DNS or other hosts at once, for all sessions of a process together. Each costs its stack
/// while it waits, a few dozen kilobytes of memory.
pub const BLOCKING_THREADS_MAX: usize = 4096;
/// Bytes of a message that count as a line for `smtp_receive_timeout`, where no line end comes.
pub const LINE_PROGRESS_BYTES: usize = 1024;
/// How deep ACLs may call ACLs. Exim's figure.
pub const ACL_DEPTH_MAX: usize = 20;
/// How deep items may stand in one another, in one string and through all the calls above. Bounds the stack used.
pub const EXPANSION_NESTING_MAX: usize = 200;
/// Longest result of one expansion, in bytes.
pub const EXPANSION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How deep configuration files may include each other.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// Longest logical line of a configuration file after macro replacement, in bytes.
pub const CONFIG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many macro replacements one configuration line may cause.
pub const MACRO_REPLACEMENTS_MAX: usize = 100_000;
/// How many addresses may be made from one original recipient by redirection.
pub const REDIRECTED_ADDRESSES_MAX: usize = 100_000;
/// How many ancestors of an address one router may have had before.
pub const REDIRECT_DEPTH_MAX: usize = 101;
/// Steps that one regular expression match may take (PCRE2 match limit).
pub const REGEX_MATCH_STEPS_MAX: u32 = 10_000_000;
/// Heap depth of one regular expression match (PCRE2 depth limit).
pub const REGEX_DEPTH_MAX: u32 = 10_000;
/// Largest answer section taken from one DNS response, in records.
pub const DNS_RECORDS_MAX: usize = 1_000;
/// Longest CNAME chain that is followed. Exim's dns_cname_loops goes below it.
pub const DNS_CNAMES_MAX: usize = 10;
/// Longest reply line taken from an SMTP server, in bytes.
pub const SMTP_REPLY_LINE_BYTES_MAX: usize = 4_096;
/// Longest whole reply taken from an SMTP server, in bytes.
pub const SMTP_REPLY_BYTES_MAX: usize = 64 * 1024;
/// Bodies up to this size, in bytes, stay in memory and in the journal; larger ones get a file of their own.
/// With the rest of a session it keeps what a client can hold in memory within a quarter of a mebibyte, header lines aside.
pub const JOURNAL_BODY_BYTES_MAX: usize = 128 * 1024;
/// Up to this size, in bytes, a body in memory counts as small: it doubles when it grows.
pub const BODY_SMALL_BYTES: usize = 32 * 1024;
/// Longest answer of dccifd, in bytes: two short lines and a header line.
pub const DCC_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest answer of a virus scanner or spam scanner, in bytes: a report is a few pages.
pub const SCANNER_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest texts of the verdicts about one message together, in bytes: they are a line of the spool. Room for 100,000 recipients.
pub const BMI_VERDICTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much is read of the file that `bmi_config_file` names, in bytes.
pub const BMI_CONFIGURATION_BYTES_MAX: u64 = 1024 * 1024;
/// How deep multiparts may be nested; in a message that goes deeper, something is to be hidden.
pub const MIME_DEPTH_MAX: usize = 100;
/// How deep attached messages may be nested.
pub const MIME_MESSAGES_MAX: usize = 20;
/// Most MIME parts of one message that are looked at, attached messages included: each runs an ACL.
pub const MIME_PARTS_MAX: usize = 10_000;
/// Longest header of a MIME part, in bytes.
pub const MIME_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Longest line that `regex` looks at, and most of a part that `mime_regex` looks at, in bytes (manual section 45.5).
pub const SCANNED_LINE_BYTES_MAX: usize = 32 * 1024;
/// Output taken from a child process run by an expansion, in bytes.
pub const CHILD_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest file that a lookup or a list item reads, in bytes.
pub const LOOKUP_FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How many files of lookups and list items are kept parsed.
pub const LOOKUP_FILES_CACHED_MAX: usize = 64;
/// Bytes of all files that are kept parsed.
pub const LOOKUP_CACHE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How many lists that come out of expansions are kept parsed.
pub const LISTS_CACHED_MAX: usize = 500;
/// How many results of named lists one message remembers.
pub const LIST_RESULTS_MAX: usize = 1_000;
/// Most that a transport filter may give: it is held in memory until it is delivered.
pub const FILTERED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest frame between parent, worker and delivery agents, in bytes.
pub const AGENT_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// How long a server of a lookup may take to be reached and to accept the login, unless the lookup says otherwise.
pub const LOOKUP_CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a server of a lookup may take for one answer, unless the lookup says otherwise.
pub const LOOKUP_ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Connections to one server of a lookup. PostgreSQL allows 100 in all unless told otherwise.
pub const LOOKUP_CONNECTIONS_MAX: usize = 16;
/// Connections to one Redis server, which serves thousands and is the faster the more of them it finds ready at once.
pub const REDIS_CONNECTIONS_MAX: usize = 128;
/// A connection to a server of a lookup that has not been used for so long is closed.
pub const LOOKUP_IDLE_TIME: std::time::Duration = std::time::Duration::from_secs(60);
/// For so long after a failure to connect, other servers of a list are asked first.
pub const LOOKUP_SERVER_REST_TIME: std::time::Duration = std::time::Duration::from_secs(15);
/// Answers of databases that one message remembers.
pub const LOOKUP_RESULTS_MAX: usize = 1_000;
/// How deep values may stand in one another in a JSON file, and filters in an LDAP query.
pub const LOOKUP_NESTING_MAX: usize = 100;
/// Memory for the hash of one password (yescrypt, scrypt); the dearest of Debian's cost factors, 11, takes as much.
pub const PASSWORD_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Memory that the hash of one password may go through in all, which bounds its time: some seconds.
pub const PASSWORD_WORK_BYTES_MAX: u64 = 4 << 30;
/// How long the fetch of an MTA-STS policy may take, from the connection to the last byte (RFC 8461 section 3.3 speaks of a minute).
pub const MTA_STS_FETCH_TIME: std::time::Duration = std::time::Duration::from_secs(30);
/// Largest MTA-STS policy, in bytes (RFC 8461 section 3.3).
pub const MTA_STS_POLICY_BYTES_MAX: usize = 64 * 1024;
