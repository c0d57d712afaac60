//! How a message comes in: the SMTP session, ACLs, verification.
//!
//! A tour, in the order in which a message passes:
//! - [`admission`] counts connections; [`connect`] decides before the greeting; [`channel`] holds the socket and its buffers;
//! - [`session`] reads commands and writes replies, and owns a [`talk::Talk`]: the state that verbs work on;
//! - `command/*`, one file for each verb, answer with a [`talk::Progress`]: a reply, or what has to be done first;
//! - [`acl`] is asked at each point; [`refusal`] turns its answer into a reply and log lines;
//! - [`body`] takes the message in, [`fixup`] completes its header, [`acceptance`] makes it durable, [`arrival`] logs it,
//!   [`sink`] hands it to the queue;
//! - [`local`] does the same for messages that local processes submit on standard input;
//! - [`reception`] is what all of them share, built once for a configuration from [`settings`].
//!
//! Sockets and timers are asynchronous; verbs, ACLs and everything that evaluates the configuration language are ordinary
//! functions, run on a worker thread when they may block.

pub mod acceptance;
pub mod acl;
pub mod admission;
pub mod arrival;
pub mod bmi;
pub mod body;
pub mod caller;
pub mod channel;
pub mod command;
pub mod connect;
mod cutthrough;
pub mod dcc;
pub mod dmarc;
pub mod each_second;
pub mod ending;
pub mod fixup;
pub mod hint_record;
pub mod host;
pub mod host_name;
pub mod host_rule;
pub mod ident;
pub mod load;
pub mod local;
pub mod log_line;
pub mod logs;
pub mod originator;
mod prdr;
mod proxy;
pub mod rate_limit;
pub mod reception;
pub mod refusal;
pub mod reply;
mod rewriting;
pub mod scan;
pub mod session;
pub mod settings;
pub mod signatures;
pub mod sink;
pub mod space;
pub mod talk;
#[cfg(test)]
mod test_support;
pub mod tls;
mod verify;
pub mod wants;
