//! SMTP as data: commands, their arguments, replies, extensions and the message on the wire. No sockets.

pub mod arguments;
pub mod command;
pub mod data;
pub mod dot;
pub mod extension;
pub mod reply;
