//! Sockets with deadlines: DNS, TLS, the SMTP client.

pub mod dns;
pub mod listen;
pub mod socket;
pub mod tls;
