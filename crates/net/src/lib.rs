//! Sockets with deadlines: DNS, TLS, the SMTP client.

pub mod dns;
