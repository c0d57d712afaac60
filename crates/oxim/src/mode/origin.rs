//! What `-f` and `-oM…` say of where a message comes from, for receiving and for the test modes.

use std::net::{IpAddr, SocketAddr};

use oxim_lang::context::{Context, HostLookup};
use oxim_receive::local::Given;

use crate::args::CommandLine;
use crate::assemble::Program;

/// `192.0.2.1.25` and the like: an address with a port after a last full stop, or `[address]:port`.
pub(crate) fn host_and_port(text: &[u8]) -> Option<(IpAddr, u16)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some((ip, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), address.port()));
    }
    if let Some((ip, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return Some((ip.parse().ok()?, port.parse().ok()?));
    }
    let (ip, port) = text.rsplit_once('.')?;
    Some((ip.parse().ok()?, port.parse().ok()?))
}

/// The values of `-oM…`. The error is the text for standard error.
///
/// # Errors
/// An address that is none.
pub(crate) fn given(line: &CommandLine) -> Result<Given, String> {
    let origin = &line.origin;
    let address = |text: &Option<Vec<u8>>| match text {
        None => Ok(None),
        Some(text) => host_and_port(text).map(Some).ok_or_else(|| {
            format!("exim abandoned: \"{}\" is not an IP address", String::from_utf8_lossy(text))
        }),
    };
    Ok(Given {
        is_own_message: false,
        host_address: address(&origin.host_address)?,
        host_name: origin.host_name.clone(),
        ident: origin.ident.clone(),
        protocol: origin.protocol.clone(),
        interface: address(&origin.interface)?.map(|(ip, port)| SocketAddr::new(ip, port)),
        authenticator: origin.authenticator.clone(),
        auth_id: origin.auth_id.clone(),
        auth_sender: origin.auth_sender.clone(),
        message_reference: origin.reference.clone().or(line.sending.error_about.clone()),
        queueing: None,
    })
}

/// Sets a test mode's context: the sender, which is the caller's own address without `-f`, and the `-oM…` values, which
/// any caller may give here.
///
/// # Errors
/// The text for standard error.
pub(crate) fn enter(program: &Program, context: &mut Context) -> Result<(), String> {
    let given = given(&program.line)?;
    let main = &program.config.main;
    let login = crate::privilege::caller_login();
    context.message.sender = match program.line.origin.sender.as_deref().map(<[u8]>::trim_ascii) {
        Some(b"" | b"<>") => Vec::new(),
        Some(sender) if sender.contains(&b'@') => sender.to_vec(),
        Some(sender) => [sender, b"@", main.qualify_domain.as_bytes()].concat(),
        None => format!("{login}@{}", main.qualify_domain).into_bytes(),
    };
    context.message.originator_uid = nix::unistd::Uid::current().as_raw();
    context.message.originator_gid = nix::unistd::Gid::current().as_raw();
    let connection = &mut context.connection;
    connection.caller_login = login.clone().into_bytes();
    connection.caller_uid = context.message.originator_uid;
    connection.caller_gid = context.message.originator_gid;
    connection.ident = given.ident.or_else(|| given.host_address.is_none().then(|| login.into_bytes()));
    if let Some((address, port)) = given.host_address {
        connection.host_address = Some(address);
        connection.host_port = port;
    }
    if given.host_name.is_some() {
        connection.host_name = given.host_name;
        connection.host_lookup = HostLookup::Found;
    }
    connection.authenticator = given.authenticator;
    connection.auth_id = given.auth_id;
    connection.auth_sender = given.auth_sender;
    connection.interface = given.interface;
    if let Some(protocol) = given.protocol {
        connection.protocol = protocol;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_ports() {
        assert_eq!(host_and_port(b"10.9.8.7.1234"), Some(("10.9.8.7".parse().unwrap(), 1234)));
        assert_eq!(host_and_port(b"[10.9.8.7]:1234"), Some(("10.9.8.7".parse().unwrap(), 1234)));
        assert_eq!(host_and_port(b"[fe80::1]:25"), Some(("fe80::1".parse().unwrap(), 25)));
        assert_eq!(host_and_port(b"10.9.8.7"), Some(("10.9.8.7".parse().unwrap(), 0)));
        assert_eq!(host_and_port(b"fe80::a00.5678"), Some(("fe80::a00".parse().unwrap(), 5678)));
        assert_eq!(host_and_port(b"nonsense"), None);
    }
}
