//! Messages as data: addresses, header lists, ids, dates, SMTP commands and replies.
//!
//! Everything is bytes, because mail is, and nothing does I/O: what is read from a socket or a file is fed in, what
//! is to be written comes out. What comes from a peer never makes a function here panic; each parser has a property
//! test and a fuzz target (`fuzz/`).
//!
//! Begin with `address::parse`, `header::HeaderList`, `smtp::data::MessageReader` and `message_id::Generator`.

pub mod address;
pub mod date;
pub mod dsn;
pub mod header;
pub mod idna;
pub mod imap_utf7;
pub mod message_id;
pub mod mime;
pub mod rfc2047;
pub mod rfc2231;
pub mod smtp;

pub use address::{AddressError, AddressSyntax, ParsedAddress};
pub use header::{Header, HeaderKind, HeaderList};
pub use message_id::MessageId;
