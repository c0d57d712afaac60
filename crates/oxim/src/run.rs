//! From a command line to an exit code.

use std::ffi::OsString;
use std::sync::Arc;

use oxim_base::debug;
use oxim_base::errno::error_text;
use oxim_deliver::delivery::Delivery;
use oxim_deliver::route_test::TestMode;
use oxim_lang::context::Context;

use crate::args::{self, CommandLine, Mode};
use crate::assemble::{self, Program};
use crate::control::request::Submission;
use crate::daemon::parent::WORKER_ARGUMENT;
use crate::daemon::start::{self, DETACHED_ARGUMENT};
use crate::{arguments_line, build, control, environment, mode, perl, privilege, services, tool};

/// Runs the program.
pub fn run(words: Vec<OsString>) -> u8 {
    let words = match privilege::on_behalf(words) {
        Ok(words) => words,
        Err(text) => {
            complain!("{text}");
            return 1;
        }
    };
    if let Some(code) = tool::run(&words).or_else(|| own_subcommand(&words)) {
        return code;
    }
    let all_words = words.clone();
    let (internal, words) = Internal::of(words);
    let own_words: Vec<OsString> = words.iter().skip(1).cloned().collect();
    let line = match args::parse(words) {
        Ok(line) => privilege::under_daemon(line),
        Err(error) => {
            complain!("{}", error.0);
            return 1;
        }
    };
    debug::set(line.debug.unwrap_or_default() | if line.verbose { debug::VERBOSE } else { 0 });
    exim(line, &Words { own: &own_words, all: &all_words }, internal)
}

/// The command line in words.
struct Words<'a> {
    /// What the caller gave, without the program's name.
    own: &'a [OsString],
    /// Everything.
    all: &'a [OsString],
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
        (b"oxim", b"dane-check") => Some(dane_check(&rest, words)),
        (b"oxim", b"ocsp-fetch") => Some(ocsp_fetch(&rest, words)),
        (b"oxim", b"tlsa") => Some(mode::tlsa::run(&rest)),
        (b"oxim", b"explain") => Some(explain(&rest, words)),
        (b"oxim", b"queue") => Some(queue(&rest, words)),
        _ => None,
    }
}

/// A program for a subcommand, of a command line of Exim's. `all` is what the process was started with.
fn prepared(line: CommandLine, all: &[OsString]) -> Result<Program, u8> {
    let said = |text: String| {
        complain!("{text}");
        1
    };
    privilege::before_reading(&line).map_err(said)?;
    let program = Program::read(line)?;
    privilege::after_reading(&program).and_then(|()| environment::settle(&program, all)).map_err(said)?;
    Ok(program)
}

/// `oxim explain [-C FILE] [-D…] ADDRESS…`: an address test that tells each step.
fn explain(rest: &[Vec<u8>], all: &[OsString]) -> u8 {
    let Some(line) = mode::explain::command_line(rest) else {
        complain!("usage: oxim explain [-C FILE] ADDRESS...");
        return 2;
    };
    let program = match prepared(line, all) {
        Ok(program) => program,
        Err(code) => return code,
    };
    if let Some(code) = refused(&program) {
        return code;
    }
    with_delivery(&program, |delivery, context| mode::explain::run(&program, delivery, context))
}

/// `oxim dane-check …`: what a sender that knows DANE would do.
fn dane_check(rest: &[Vec<u8>], all: &[OsString]) -> u8 {
    let Some(order) = mode::dane_check::Order::read(rest) else { return mode::dane_check::usage() };
    match prepared(order.line(), all) {
        Ok(program) => with_context(&program, |context| mode::dane_check::run(context, &order)),
        Err(code) => code,
    }
}

/// `oxim ocsp-fetch …`: fetches OCSP proofs.
pub(crate) fn ocsp_fetch(rest: &[Vec<u8>], all: &[OsString]) -> u8 {
    let Some(order) = mode::ocsp_fetch::Order::read(rest) else { return mode::ocsp_fetch::usage() };
    match prepared(order.line(), all) {
        Ok(program) => with_context(&program, |context| mode::ocsp_fetch::run(context, &order)),
        Err(code) => code,
    }
}

/// `oxim queue …`: lists, shows and acts.
fn queue(rest: &[Vec<u8>], all: &[OsString]) -> u8 {
    let wish = match mode::queue::Wish::read(rest) {
        Ok(wish) => wish,
        Err(text) => {
            complain!("{text}");
            return 2;
        }
    };
    if !wish.names_configuration()
        && control::client::is_configuration_closed(&wish.line())
        && let Some(code) = control::order::give(all, None)
    {
        return code;
    }
    match prepared(wish.line(), all) {
        Ok(program) => by_daemon(&program, all)
            .or_else(|| refused(&program))
            .unwrap_or_else(|| mode::queue::run(&program, &wish)),
        Err(code) => code,
    }
}

fn exim(line: CommandLine, words: &Words<'_>, internal: Internal) -> u8 {
    match &line.mode {
        Mode::Help | Mode::Usage => {
            say!(
                "Oxim is a mail transfer agent. It is normally called by mail programs, not from a shell command line.\nOptions and arguments are those of Exim; see its manual, chapter 5, and docs/differences.md."
            );
            return u8::from(line.mode == Mode::Usage);
        }
        Mode::Information(word) => return mode::information::run(word),
        Mode::DeliveryAgent => return u8::from(oxim_deliver::agent::server::serve().is_err()),
        // This is so whatever the configuration says.
        Mode::Version => say!("{}", version_text().trim_end()),
        _ => {}
    }
    if let Err(text) = privilege::before_reading(&line) {
        complain!("{text}");
        return 1;
    }
    if let Some(submission) =
        Submission::of(&line).filter(|_| control::client::is_configuration_closed(&line))
    {
        return through_daemon(submission, None);
    }
    if control::client::is_configuration_closed(&line)
        && let Some(code) = control::order::give(words.all, None)
    {
        return code;
    }
    let program = match Program::read(line) {
        Ok(program) => program,
        Err(code) => return code,
    };
    if let Err(text) =
        privilege::after_reading(&program).and_then(|()| environment::settle(&program, words.all))
    {
        complain!("{text}");
        return 1;
    }
    if matches!(internal, Internal::No) {
        arguments_line::write(&program, words.all);
    }
    if program.line.delete_pid_file {
        return start::delete_pid_file(&program);
    }
    if let Some(text) = &program.line.log_line {
        return by_daemon(&program, words.all).unwrap_or_else(|| write_log_line(&program, text));
    }
    if oxim_base::debug::enabled(debug::ALL) {
        complain_part!("{}", debug_header(&program));
    }
    if is_daemon(&program.line) {
        return start_daemon(program, words.own, &internal);
    }
    if let Err(error) = perl::start(&program) {
        complain!("exim: {}", error.trim_ascii_end());
        return 1;
    }
    with_configuration(&program, words.all)
}

/// What a caller is told who is no admin user and would have to be. The result is the exit code.
fn refused(program: &Program) -> Option<u8> {
    let text = privilege::reserved(&program.config, &program.line.mode)
        .filter(|_| !privilege::is_admin(&program.config))?;
    complain!("{text}");
    Some(1)
}

/// The daemon does what a caller without rights to the spool may order, if there is a daemon.
fn by_daemon(program: &Program, words: &[OsString]) -> Option<u8> {
    let spool = &program.services.spool_directory;
    if control::client::may_write(spool) {
        return None;
    }
    control::order::give(words, Some(spool))
}

/// `-z`: a note of the postmaster's in the main log. Others are refused without a word, as by Exim.
fn write_log_line(program: &Program, text: &[u8]) -> u8 {
    if !privilege::is_admin(&program.config) {
        return 1;
    }
    program.services.log().main(oxim_base::text::shown(text).as_bytes());
    0
}

/// A submission by a caller that cannot write to the spool.
fn through_daemon(submission: Result<Submission, String>, spool: Option<&std::path::Path>) -> u8 {
    match submission {
        Ok(submission) => control::client::submit(&submission, spool),
        Err(text) => {
            complain!("{text}");
            1
        }
    }
}

/// What every debugging start shows first.
fn debug_header(program: &Program) -> String {
    let version = version_text();
    let built_in: Vec<&str> = version.lines().skip_while(|line| !line.starts_with("Support for")).collect();
    format!(
        "Exim version {} uid={} gid={} pid={} D={:x}\n{}\nconfiguration file is {}\n{}{}",
        mode::version::EXIM_VERSION,
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
        std::process::id(),
        debug::mask() & debug::ALL,
        built_in.join("\n"),
        program.config.path,
        if privilege::is_trusted(&program.config) { "trusted user\n" } else { "" },
        if privilege::is_admin(&program.config) { "admin user\n" } else { "" },
    )
}

/// `-bd` and kin, and `-q30m` alone: a daemon that only runs the queue.
fn is_daemon(line: &CommandLine) -> bool {
    matches!(line.mode, Mode::Daemon { .. })
        || line.mode == Mode::QueueRun && line.queue_run.as_ref().is_some_and(|q| q.interval.is_some())
}

fn start_daemon(program: Program, words: &[OsString], internal: &Internal) -> u8 {
    if !privilege::is_admin(&program.config) && rustix::process::geteuid().is_root() {
        complain!("exim: permission denied");
        return 1;
    }
    if program.config.main.mua_wrapper {
        return mode::receive::not_for_wrapper(&program, "Daemon cannot be run when mua_wrapper is set");
    }
    if !matches!(internal, Internal::Worker) {
        if checked(&program) != 0 {
            return 1;
        }
        if let Err(error) = perl::try_out(&program) {
            complain!("exim: {}", error.trim_ascii_end());
            return 1;
        }
    }
    let foreground = start::is_foreground(&program.line);
    let only_queue = program.line.mode == Mode::QueueRun;
    match internal {
        Internal::Worker => start::run_worker(program),
        Internal::Detached => start::run(program, words, true, only_queue),
        Internal::No if foreground => start::run(program, words, false, only_queue),
        Internal::No => start::detach(words),
    }
}

fn with_configuration(program: &Program, words: &[OsString]) -> u8 {
    let spool = &program.services.spool_directory;
    if let Some(submission) = Submission::of(&program.line).filter(|_| !control::client::may_write(spool)) {
        return through_daemon(submission, Some(spool));
    }
    if let Some(code) = refused(program).or_else(|| by_daemon(program, words)) {
        return code;
    }
    match &program.line.mode {
        Mode::Version => {
            say!("Configuration file is {}", program.config.path);
            checked(program)
        }
        Mode::Receive { .. } => mode::receive::message(program),
        Mode::Smtp { .. } => mode::receive::smtp(program),
        Mode::BatchSmtp => mode::receive::batch(program),
        Mode::HostCheck { host, callouts } => mode::receive::host_check(program, host, *callouts),
        Mode::QueueRun => program.line.queue_run.as_ref().map_or(1, |run| mode::queue_run::run(program, run)),
        Mode::ListQueue(listing) => mode::list_queue::list(program, *listing),
        Mode::CountQueue => mode::list_queue::count(program),
        Mode::Message(command) => mode::message::run(program, command),
        Mode::Atrn { host, domains } => mode::atrn::run(program, host, domains),
        Mode::PrintConfig => mode::print_config::run(program),
        Mode::ExpandTest { message } => expand_test(program, message.as_deref()),
        Mode::FilterTest(test) => filter_test(program, test),
        Mode::AddressTest => test_addresses(program, TestMode::Route),
        Mode::Verify { as_sender: false } => test_addresses(program, TestMode::VerifyRecipient),
        Mode::Verify { as_sender: true } => test_addresses(program, TestMode::VerifySender),
        Mode::RetryTest => {
            with_delivery(program, |delivery, context| mode::retry_test::run(program, delivery, context))
        }
        Mode::RewriteTest => {
            with_delivery(program, |delivery, context| mode::rewrite_test::run(program, delivery, context))
        }
        Mode::MalwareTest { file } => mode::malware_test::run(program, file),
        Mode::NewAliases => mode::new_aliases::run(program),
        // These are done before there is a configuration, or by the daemon.
        Mode::Daemon { .. } | Mode::Information(_) | Mode::Help | Mode::Usage | Mode::DeliveryAgent => 1,
    }
}

/// `-be`, `-bem`: as the caller, so that nobody reads other people's files by it.
fn expand_test(program: &Program, message: Option<&[u8]>) -> u8 {
    if privilege::give_up().is_err() {
        complain!("exim: privilege could not be given up");
        return 1;
    }
    if program.line.loaded_message.is_some() && !privilege::is_admin(&program.config) {
        complain!("exim: permission denied");
        return 1;
    }
    with_context(program, |context| {
        let entered = mode::origin::enter(program, context).and_then(|()| {
            message.map_or(Ok(()), |file| mode::message_in_hand::read(program, context, file))
        });
        if let Err(text) = entered {
            complain!("{text}");
            return 1;
        }
        if let Some(id) = &program.line.loaded_message {
            mode::message_in_hand::load(program, context, id);
        }
        mode::expand_test::LateHost::install(program, context);
        mode::expand_test::run(program, context)
    })
}

/// `-bf`, `-bF`: as the caller, whose files they are.
fn filter_test(program: &Program, test: &crate::args::FilterTest) -> u8 {
    if !program.line.arguments.is_empty() {
        complain!("exim: incompatible command-line options or arguments");
        return 1;
    }
    if privilege::give_up().is_err() {
        complain!("exim: privilege could not be given up");
        return 1;
    }
    with_context(program, |context| match mode::origin::enter(program, context) {
        Ok(()) => mode::filter_test::run(program, context, test),
        Err(text) => {
            complain!("{text}");
            1
        }
    })
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
    let catalogue = assemble::catalogue();
    let lookups = oxim_lang::lookup::LOOKUPS
        .iter()
        .filter(|lookup| !matches!(lookup.style, oxim_lang::lookup::Style::Unavailable { .. }));
    let names = |list: &mut dyn Iterator<Item = &'static str>| list.collect::<Vec<_>>();
    mode::version::text(
        &names(&mut catalogue.routers.drivers.iter().map(|driver| driver.name)),
        &names(&mut catalogue.transports.drivers.iter().map(|driver| driver.name)),
        &names(&mut catalogue.authenticators.drivers.iter().map(|driver| driver.name)),
        &names(&mut lookups.map(|lookup| lookup.name)),
        &names(&mut oxim_receive::scan::malware::SCANNERS.iter().map(|kind| kind.name)),
    )
}

/// Makes a runtime for DNS and a context, and works with them.
fn with_context(program: &Program, work: impl FnOnce(&mut Context) -> u8) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("exim: no runtime: {}", error_text(&error));
            return 1;
        }
    };
    services::surround(&program.config, &program.services, Some(runtime.handle().clone()));
    let mut context = Context::new(Arc::clone(&program.config), Arc::clone(&program.services));
    let code = work(&mut context);
    runtime.shutdown_background();
    code
}

/// Builds routers, transports and rules, and works with them.
fn with_delivery(program: &Program, work: impl FnOnce(&Delivery, &mut Context) -> u8) -> u8 {
    let delivery = match build::delivery(&program.config, &program.services) {
        Ok(delivery) => delivery,
        Err(errors) => {
            assemble::report(&errors);
            return 1;
        }
    };
    with_context(program, |context| match mode::origin::enter(program, context) {
        Ok(()) => work(&delivery, context),
        Err(text) => {
            complain!("{text}");
            1
        }
    })
}

fn test_addresses(program: &Program, how: TestMode) -> u8 {
    with_delivery(program, |delivery, context| mode::address_test::run(program, delivery, context, how))
}
