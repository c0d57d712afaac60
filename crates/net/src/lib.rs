//! Sockets with deadlines: DNS, TLS, the SMTP client.
//!
//! Plain Rust values go in, typed outcomes come out; nothing here knows an option of Exim or its language.
//!
//! | module | what | async or blocking |
//! |---|---|---|
//! | [`dns`] | the resolver, its cache, the hosts file | async, with [`dns::BlockingResolver`] for worker threads |
//! | [`tls`] | both sides of TLS, certificates, cipher strings | server async, client blocking |
//! | [`smtp_client`] | the client's end of SMTP and LMTP | blocking |
//! | [`http`] | one HTTP request | blocking |
//! | [`mta_sts`] | policies of domains about TLS | blocking |
//! | [`socket`] | connected sockets with a limit per step | blocking |
//! | [`socks`] | connections by way of a SOCKS proxy | blocking |
//! | [`listen`] | listening sockets | given to the runtime by the caller |
//! | [`proxy_protocol`] | who a proxy speaks for | async |
//!
//! What faces many idle peers is async; what a worker thread does one step at a time is blocking, because the kernel then wakes
//! the thread that waits, without a hop through the runtime.

pub mod dns;
pub mod http;
pub mod listen;
pub mod mta_sts;
pub mod proxy_protocol;
pub mod smtp_client;
pub mod socket;
pub mod socks;
pub mod tls;
