//! Messages from standard input: `-bm`, `-t`, `-bs`, `-bS`; and `-bh`, which only pretends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oxim_receive::caller::Caller;
use oxim_receive::local::{self, Errors, Given, Request, batch, dialogue};

use crate::args::{CommandLine, ErrorReport};
use crate::assemble::{self, Program};
use crate::engine::{Engine, Settings, small_runtime};

fn engine(program: &Program, shows_logs: bool) -> Result<(tokio::runtime::Runtime, Arc<Engine>), u8> {
    let runtime = small_runtime().map_err(|error| {
        eprintln!("exim: no runtime: {error}");
        1
    })?;
    let engine = Engine::build(program, runtime.handle(), Settings { shows_logs, ..Settings::default() })
        .map_err(|errors| {
            assemble::report(&errors);
            1
        })?;
    Ok((runtime, engine))
}

/// `192.0.2.1.25` and the like: an address with a port after a last full stop.
fn host_and_port(text: &[u8]) -> Option<(IpAddr, u16)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some((ip, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), address.port()));
    }
    let (ip, port) = text.rsplit_once('.')?;
    Some((ip.parse().ok()?, port.parse().ok()?))
}

fn given(line: &CommandLine) -> Result<Given, u8> {
    let origin = &line.origin;
    let address = |text: &Option<Vec<u8>>, option: &str| match text {
        None => Ok(None),
        Some(text) => host_and_port(text).map(Some).ok_or_else(|| {
            eprintln!("exim: invalid IP address after {option}: {}", String::from_utf8_lossy(text));
            1
        }),
    };
    Ok(Given {
        host_address: address(&origin.host_address, "-oMa")?,
        host_name: origin.host_name.clone(),
        ident: origin.ident.clone(),
        protocol: origin.protocol.clone(),
        interface: address(&origin.interface, "-oMi")?.map(|(ip, port)| SocketAddr::new(ip, port)),
        authenticator: origin.authenticator.clone(),
        auth_id: origin.auth_id.clone(),
        auth_sender: origin.auth_sender.clone(),
        message_reference: origin.reference.clone(),
    })
}

/// `-bm` and `-t`.
pub fn message(program: &Program) -> u8 {
    let line = &program.line;
    let given = match given(line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let (runtime, engine) = match engine(program, false) {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    let caller = Arc::new(Caller::current(&program.config, line.origin.full_name.as_deref()));
    let request = Request {
        arguments: line.arguments.clone(),
        extract: line.sending.extract_recipients,
        ignore_dots: line.sending.ignore_dot,
        sender: line.origin.sender.clone(),
        no_qualify: line.sending.allow_unqualified,
        errors: match line.sending.error_report {
            ErrorReport::Mail | ErrorReport::Write => Errors::Mail,
            ErrorReport::MailExitZero => Errors::MailQuietly,
            ErrorReport::Print | ErrorReport::Quiet => Errors::Print,
        },
        given,
    };
    let status = local::receive(&engine.reception, caller, &request, std::io::stdin().lock());
    drop(engine);
    runtime.shutdown_background();
    status.0
}

/// `-bs`: a dialogue on standard input and output, with a local caller or, from inetd, with a host.
pub fn smtp(program: &Program) -> u8 {
    let given = match given(&program.line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let (runtime, engine) = match engine(program, false) {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    let caller = Arc::new(Caller::current(&program.config, program.line.origin.full_name.as_deref()));
    let reception = Arc::clone(&engine.reception);
    let done = match dialogue::inetd_endpoints() {
        Some((peer, local)) => runtime.block_on(dialogue::inetd(reception, peer, local)),
        None => runtime.block_on(dialogue::local(
            reception,
            caller,
            &given,
            program.line.sending.allow_unqualified,
        )),
    };
    runtime.shutdown_background();
    u8::from(done.is_err())
}

/// `-bS`: batched SMTP.
pub fn batch(program: &Program) -> u8 {
    let given = match given(&program.line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let (runtime, engine) = match engine(program, false) {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    let caller = Arc::new(Caller::current(&program.config, program.line.origin.full_name.as_deref()));
    let status = batch::receive(
        &engine.reception,
        &caller,
        &given,
        program.line.sending.allow_unqualified,
        std::io::stdin().lock(),
    );
    runtime.shutdown_background();
    status.0
}

/// `-bh`: as if from a host; nothing is accepted.
pub fn host_check(program: &Program, host: &[u8]) -> u8 {
    let Some((ip, port)) = host_and_port(host) else {
        eprintln!("exim: \"{}\" is not an IP address (-bh)", String::from_utf8_lossy(host));
        return 1;
    };
    let given = match given(&program.line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let (runtime, engine) = match engine(program, true) {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    let done = runtime.block_on(dialogue::pretended(
        Arc::clone(&engine.reception),
        SocketAddr::new(ip, port),
        &given,
    ));
    runtime.shutdown_background();
    u8::from(done.is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_ports() {
        assert_eq!(host_and_port(b"10.9.8.7.1234"), Some(("10.9.8.7".parse().unwrap(), 1234)));
        assert_eq!(host_and_port(b"10.9.8.7"), Some(("10.9.8.7".parse().unwrap(), 0)));
        assert_eq!(host_and_port(b"fe80::a00.5678"), Some(("fe80::a00".parse().unwrap(), 5678)));
        assert_eq!(host_and_port(b"nonsense"), None);
    }
}
