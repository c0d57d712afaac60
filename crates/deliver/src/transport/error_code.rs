//! The numbers that Exim logs for errors that the system has no number for: `defer (-22): mailbox is full`.
//!
//! They stand in log lines and retry hints, so postmasters' scripts know them. Positive numbers are the system's errno.

/// Nothing more is known.
pub const UNKNOWN: i32 = -1;
/// The mailbox belongs to somebody else.
pub const NOT_OWNER: i32 = -6;
/// Not a regular file.
pub const NOT_REGULAR: i32 = -4;
/// A directory was expected.
pub const NOT_DIRECTORY: i32 = -5;
/// The mailbox has the wrong permissions.
pub const BAD_MODE: i32 = -7;
/// The file changed between check and open.
pub const INODE_CHANGED: i32 = -8;
/// No lock could be had.
pub const LOCK_FAILED: i32 = -9;
/// The name of a file or directory is not absolute.
pub const NOT_ABSOLUTE: i32 = -21;
/// A transport that `file_format` names does not exist.
pub const NO_SUCH_TRANSPORT: i32 = -30;
/// The file may not be created there (`create_file`).
pub const BAD_CREATE: i32 = -34;
/// An option could not be expanded.
pub const EXPANSION_FAILED: i32 = -27;
/// The connection ended in the middle.
pub const CONNECTION_LOST: i32 = -18;
/// A quota is exceeded, ours or the system's.
pub const MAILBOX_FULL: i32 = -22;
/// The mailbox has a format that no transport knows.
pub const BAD_FORMAT: i32 = -23;
/// A mailbox begins with nothing that `file_format` knows.
pub const UNKNOWN_FORMAT: i32 = -33;
/// A transport filter failed.
pub const FILTER_FAILED: i32 = -24;
/// An event's action wants no connection.
pub const EVENT_REFUSED: i32 = -58;
/// `max_parallel` runs of the transport are under way.
pub const CONCURRENCY_LIMIT: i32 = -57;
/// A file kept appearing and disappearing.
pub const EXIST_RACE: i32 = -24;
/// A delivery agent could not be started or died.
pub const AGENT_LOST: i32 = -99;
/// The message is larger than the transport takes.
pub const MESSAGE_TOO_BIG: i32 = -26;
/// The user or group of a delivery cannot be had.
pub const BAD_USER: i32 = -29;
/// The retry time of routing has not come.
pub const RETRY_TIME: i32 = -52;
/// The retry time of a local delivery has not come.
pub const LOCAL_RETRY_TIME: i32 = -53;
/// The domain is in `queue_domains`.
pub const QUEUED_DOMAIN: i32 = -56;
/// Only local deliveries are made (`-ql`).
pub const LOCAL_ONLY: i32 = -55;
/// The domain is in `hold_domains`.
pub const HELD: i32 = -23;
/// A server sent what is no reply.
pub const BAD_REPLY: i32 = -19;
/// `helo_data` could not be expanded.
pub const HELO_EXPANSION: i32 = -27;
/// A host could not be looked up.
pub const HOST_LOOKUP: i32 = -32;
/// DANE was due and could not be had.
pub const DANE: i32 = -36;
/// No TLS session could be had.
pub const TLS_FAILED: i32 = -37;
/// TLS was required and not offered, or refused.
pub const TLS_REQUIRED: i32 = -38;
/// The host is none of those that an MTA-STS policy names. Ours, as are all below -90.
pub const MTA_STS: i32 = -91;
/// Authentication was required and not had.
pub const AUTH_FAILED: i32 = -42;
/// A 4xx reply to RCPT.
pub const RCPT_4XX: i32 = -44;
/// A 4xx reply to MAIL.
pub const MAIL_4XX: i32 = -45;
/// A 4xx reply to DATA or to the data.
pub const DATA_4XX: i32 = -46;
/// A host is this very host.
pub const HOST_IS_LOCAL: i32 = -50;
/// The retry time of no host has come.
pub const HOSTS_NOT_DUE: i32 = -54;
