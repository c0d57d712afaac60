//! Messages from standard input: `-bm`, `-t`, `-bs`, `-bS`; and `-bh`, which only pretends.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use oxim_receive::caller::Caller;
use oxim_receive::local::told::Told;
use oxim_receive::local::{self, Errors, Given, Request, batch, dialogue};
use oxim_receive::sink::Sink as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::{CommandLine, ErrorReport};
use crate::assemble::Program;
use crate::engine::{self, Engine, Settings};
use crate::mode::origin::{self, host_and_port};

fn given(line: &CommandLine) -> Result<Given, u8> {
    origin::given(line).map_err(|text| {
        complain!("{text}");
        1
    })
}

/// What the process ends with: a message that `mua_wrapper` could not deliver counts as an error.
fn exit_code(engine: &Engine, code: u8) -> u8 {
    if engine.sink.has_failed() { 1 } else { code }
}

/// What `mua_wrapper` does not go with: both logs say so, and the panic log is for the caller's eyes too. The result is the exit code.
pub(crate) fn not_for_wrapper(program: &Program, text: &str) -> u8 {
    program.services.log().both(text);
    1
}

/// Standard input, which may be read until then (`receive_timeout`).
struct TimedInput {
    until: Option<Instant>,
}

impl Read for TimedInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            if poll(&mut ready, Some(&left))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        // Past the buffer of `Stdin`, of which the poll knows nothing.
        Ok(rustix::io::read(&stdin, buffer)?)
    }
}

/// `-bm` and `-t`.
pub(crate) fn message(program: &Program) -> u8 {
    let line = &program.line;
    let given = match given(line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let Some((runtime, engine)) = engine::for_command(program, Settings::default()) else { return 1 };
    let caller = Arc::new(Caller::current(&program.config, line.origin.full_name.as_deref()));
    let request = Request {
        arguments: line.arguments.clone(),
        extract: line.sending.extract_recipients,
        ignore_dots: line.sending.ignore_dot,
        sender: line.origin.sender.clone(),
        no_qualify: line.sending.allow_unqualified,
        suppress_fixups: line.sending.suppress_fixups,
        errors: match line.sending.error_report {
            ErrorReport::Mail | ErrorReport::Write => Errors::Mail,
            ErrorReport::MailExitZero => Errors::MailQuietly,
            ErrorReport::Print | ErrorReport::Quiet => Errors::Print,
        },
        given,
    };
    let limit = Some(program.config.main.receive_timeout).filter(|limit| !limit.is_zero());
    let input = TimedInput { until: limit.map(|limit| Instant::now() + limit) };
    let status = local::receive(&engine.reception, caller, &request, input);
    let code = exit_code(&engine, status.0);
    drop(engine);
    runtime.shutdown_background();
    code
}

/// `-bs`: a dialogue on standard input and output, with a local caller or, from inetd, with a host.
pub(crate) fn smtp(program: &Program) -> u8 {
    let given = match given(&program.line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let Some((runtime, engine)) = engine::for_command(program, Settings::default()) else { return 1 };
    let caller = Arc::new(Caller::current(&program.config, program.line.origin.full_name.as_deref()));
    let reception = Arc::clone(&engine.reception);
    let endpoints = dialogue::inetd_endpoints();
    if endpoints.is_some() && program.config.main.mua_wrapper {
        return not_for_wrapper(program, "Input from inetd is not supported when mua_wrapper is set");
    }
    let done = match endpoints {
        Some((peer, local)) => runtime.block_on(dialogue::inetd(reception, peer, local)),
        None => runtime.block_on(dialogue::local(
            reception,
            caller,
            &given,
            program.line.sending.allow_unqualified,
        )),
    };
    runtime.shutdown_background();
    exit_code(&engine, u8::from(done.unwrap_or(true)))
}

/// `-bS`: batched SMTP.
pub(crate) fn batch(program: &Program) -> u8 {
    let given = match given(&program.line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let Some((runtime, engine)) = engine::for_command(program, Settings::default()) else { return 1 };
    let caller = Arc::new(Caller::current(&program.config, program.line.origin.full_name.as_deref()));
    let status = batch::receive(
        &engine.reception,
        &caller,
        &given,
        program.line.sending.allow_unqualified,
        std::io::stdin().lock(),
        &Told::Here,
    );
    runtime.shutdown_background();
    exit_code(&engine, status.0)
}

/// `-bh`, `-bhc`: as if from a host; nothing is accepted.
pub(crate) fn host_check(program: &Program, host: &[u8], callouts: bool) -> u8 {
    let Some((ip, port)) = host_and_port(host) else {
        complain!("exim abandoned: \"{}\" is not an IP address", String::from_utf8_lossy(host));
        return 1;
    };
    let given = match given(&program.line) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let settings = Settings { shows_logs: true, ..Settings::default() };
    let Some((runtime, engine)) = engine::for_command(program, settings) else { return 1 };
    let done = runtime.block_on(dialogue::pretended(
        Arc::clone(&engine.reception),
        SocketAddr::new(ip, port),
        &given,
        callouts,
    ));
    runtime.shutdown_background();
    u8::from(done.is_err())
}
