//! From a command line to an exit code.

use std::ffi::OsString;
use std::sync::Arc;

use oxim_base::debug;
use oxim_deliver::route_test::TestMode;
use oxim_lang::context::Context;

use crate::args::{self, CommandLine, Mode};
use crate::assemble::{self, Program};
use crate::daemon::parent::WORKER_ARGUMENT;
use crate::daemon::start::{self, DETACHED_ARGUMENT};
use crate::{build, mode, services};

/// Runs the program.
pub fn run(words: Vec<OsString>) -> u8 {
    if let Some(code) = own_subcommand(&words) {
        return code;
    }
    let (internal, words) = Internal::of(words);
    let own_words: Vec<OsString> = words.iter().skip(1).cloned().collect();
    let line = match args::parse(words) {
        Ok(line) => line,
        Err(error) => {
            eprintln!("{}", error.0);
            return 1;
        }
    };
    debug::set(line.debug.unwrap_or(if line.verbose { debug::VERBOSE } else { 0 }));
    exim(line, &own_words, internal)
}

/// Words that only this program gives itself, in front of all others.
enum Internal {
    /// None of them.
    No,
    /// The worker of a root parent.
    Worker,
    /// The daemon that stays behind.
    Detached,
}

impl Internal {
    fn of(mut words: Vec<OsString>) -> (Internal, Vec<OsString>) {
        let which = match words.get(1).and_then(|w| w.to_str()) {
            Some(WORKER_ARGUMENT) => Internal::Worker,
            Some(DETACHED_ARGUMENT) => Internal::Detached,
            _ => return (Internal::No, words),
        };
        words.remove(1);
        (which, words)
    }
}

/// Under our own name, a first word that is a subcommand of ours is that.
fn own_subcommand(words: &[OsString]) -> Option<u8> {
    use std::os::unix::ffi::OsStrExt;
    let (name, rest) = words.split_first()?;
    let base = name.as_bytes().rsplit(|b| *b == b'/').next()?;
    let (first, rest) = rest.split_first()?;
    let rest: Vec<Vec<u8>> = rest.iter().map(|w| w.as_bytes().to_vec()).collect();
    match (base, first.as_bytes()) {
        (b"oxim", b"check") => Some(mode::check::run(&rest)),
        _ => None,
    }
}

fn exim(line: CommandLine, words: &[OsString], internal: Internal) -> u8 {
    match &line.mode {
        Mode::Help => {
            println!(
                "Oxim is a mail transfer agent. It is normally called by mail programs, not from a shell command line.\nOptions and arguments are those of Exim; see its manual, chapter 5, and docs/differences.md."
            );
            return 0;
        }
        Mode::DeliveryAgent => return u8::from(oxim_deliver::agent::server::serve().is_err()),
        _ => {}
    }
    if (line.config_files.is_some() || !line.macros.is_empty()) && crate::privilege::give_up().is_err() {
        eprintln!("exim: privilege could not be given up");
        return 1;
    }
    match Program::read(line) {
        Ok(program) if is_daemon(&program.line) => start_daemon(program, words, &internal),
        Ok(program) => with_configuration(&program),
        Err(code) => code,
    }
}

/// `-bd` and kin, and `-q30m` alone: a daemon that only runs the queue.
fn is_daemon(line: &CommandLine) -> bool {
    matches!(line.mode, Mode::Daemon { .. })
        || line.mode == Mode::QueueRun && line.queue_run.as_ref().is_some_and(|q| q.interval.is_some())
}

fn start_daemon(program: Program, words: &[OsString], internal: &Internal) -> u8 {
    if !crate::privilege::is_admin(&program.config) && rustix::process::geteuid().is_root() {
        eprintln!("exim: Permission denied");
        return 1;
    }
    let foreground =
        matches!(program.line.mode, Mode::Daemon { foreground: true, .. }) || program.line.verbose;
    let only_queue = program.line.mode == Mode::QueueRun;
    match internal {
        Internal::Worker => start::run_worker(program),
        Internal::Detached => start::run(program, words, true, only_queue),
        Internal::No if foreground => start::run(program, words, false, only_queue),
        Internal::No => start::detach(words),
    }
}

fn with_configuration(program: &Program) -> u8 {
    match &program.line.mode {
        Mode::Version => {
            print!("{}", version_text());
            println!("Configuration file is {}", program.config.path);
            checked(program)
        }
        Mode::Receive { .. } => mode::receive::message(program),
        Mode::Smtp { .. } => mode::receive::smtp(program),
        Mode::BatchSmtp => mode::receive::batch(program),
        Mode::HostCheck { host, callouts: false } => mode::receive::host_check(program, host),
        Mode::QueueRun => program.line.queue_run.as_ref().map_or(1, |run| mode::queue_run::run(program, run)),
        Mode::ListQueue(listing) => mode::list_queue::list(program, *listing),
        Mode::CountQueue => mode::list_queue::count(program),
        Mode::Message(command) => mode::message::run(program, command),
        Mode::PrintConfig => mode::print_config::run(program),
        Mode::ExpandTest { message: None } => {
            with_context(program, |context| mode::expand_test::run(program, context))
        }
        Mode::AddressTest => test_addresses(program, TestMode::Route),
        Mode::Verify { as_sender: false } => test_addresses(program, TestMode::VerifyRecipient),
        Mode::Verify { as_sender: true } => test_addresses(program, TestMode::VerifySender),
        _ => {
            eprintln!("exim: this mode is not implemented yet");
            1
        }
    }
}

/// `-bV` tells whether the whole configuration can be built, not only read.
fn checked(program: &Program) -> u8 {
    match build::all(&program.config) {
        Ok(()) => 0,
        Err(errors) => {
            assemble::report(&errors);
            1
        }
    }
}

fn version_text() -> String {
    let names = |list: Vec<&'static str>| list;
    let catalogue = assemble::catalogue();
    mode::version::text(
        &names(catalogue.routers.drivers.iter().map(|d| d.name).collect()),
        &names(catalogue.transports.drivers.iter().map(|d| d.name).collect()),
        &names(catalogue.authenticators.drivers.iter().map(|d| d.name).collect()),
        &names(
            oxim_lang::lookup::LOOKUPS
                .iter()
                .filter(|l| !matches!(l.style, oxim_lang::lookup::Style::Unavailable { .. }))
                .map(|l| l.name)
                .collect(),
        ),
    )
}

/// Makes a runtime for DNS and a context, and works with them.
fn with_context(program: &Program, work: impl FnOnce(&mut Context) -> u8) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("exim: no runtime: {error}");
            return 1;
        }
    };
    services::surround(&program.config, &program.services, Some(runtime.handle().clone()));
    let mut context = Context::new(Arc::clone(&program.config), Arc::clone(&program.services));
    let code = work(&mut context);
    runtime.shutdown_background();
    code
}

fn test_addresses(program: &Program, how: TestMode) -> u8 {
    let delivery = match build::delivery(&program.config, &program.services) {
        Ok(delivery) => delivery,
        Err(errors) => {
            assemble::report(&errors);
            return 1;
        }
    };
    with_context(program, |context| mode::address_test::run(program, &delivery, context, how))
}
