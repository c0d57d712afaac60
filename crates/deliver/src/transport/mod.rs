//! Transports: what carries a message to a mailbox, a command or another server.
//!
//! Here are the shapes that routing needs: which transports there are, and which of them are local.

pub mod error_code;

use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};

/// A transport driver, built once from its options.
pub trait Driver: Send + Sync {
    /// Whether deliveries run as a user, one batch at a time, before the remote ones.
    fn is_local(&self) -> bool;
}

/// A transport driver's row.
pub struct TransportKind {
    /// Name and private options.
    pub row: DriverRow,
    /// Reads the options.
    pub build: fn(&Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>>,
}

/// A configured transport.
pub struct Transport {
    /// Its name.
    pub name: String,
    /// Its driver's row.
    pub kind: &'static TransportKind,
    /// Its driver.
    pub driver: Box<dyn Driver>,
}

struct Place {
    is_local: bool,
}

impl Driver for Place {
    fn is_local(&self) -> bool {
        self.is_local
    }
}

fn local(_: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    Ok(Box::new(Place { is_local: true }))
}

fn remote(_: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    Ok(Box::new(Place { is_local: false }))
}

/// All transport drivers.
pub static TRANSPORTS: &[&TransportKind] = &[
    &TransportKind {
        row: DriverRow { name: "appendfile", options: rows::TRANSPORT_APPENDFILE },
        build: local,
    },
    &TransportKind { row: DriverRow { name: "autoreply", options: rows::TRANSPORT_AUTOREPLY }, build: local },
    &TransportKind { row: DriverRow { name: "lmtp", options: rows::TRANSPORT_LMTP }, build: local },
    &TransportKind { row: DriverRow { name: "pipe", options: rows::TRANSPORT_PIPE }, build: local },
    &TransportKind { row: DriverRow { name: "smtp", options: rows::TRANSPORT_SMTP }, build: remote },
];

impl Transport {
    /// Builds a transport.
    ///
    /// # Errors
    /// Settings that cannot be.
    pub fn build(instance: &Instance, kind: &'static TransportKind) -> Result<Transport, Vec<ConfigError>> {
        Ok(Transport { name: instance.name.clone(), kind, driver: (kind.build)(instance)? })
    }
}
