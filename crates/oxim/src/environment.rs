//! The environment that the configuration allows (manual options `keep_environment`, `add_environment`, `timezone`).
//!
//! Libraries read variables behind our back and every child inherits them, and the caller of a set-user-id program chooses
//! them. So a process whose environment is not the allowed one executes itself again with that one, before it starts
//! a thread or a child. The environment only gets smaller, so this happens once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_lang::context::Context;
use oxim_lang::list::{self, List, ListKind, Subject};

use crate::args::Mode;
use crate::assemble::Program;

/// What a service manager tells a daemon; it is for the daemon itself, whatever `keep_environment` says.
pub(crate) const FOR_DAEMONS: &[&str] = &["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

type Environment = BTreeMap<OsString, OsString>;

/// The variables that the configuration allows, with their values.
#[must_use]
pub(crate) fn allowed(program: &Program) -> Environment {
    let main = &program.config.main;
    let mut context =
        Context::new(std::sync::Arc::clone(&program.config), std::sync::Arc::clone(&program.services));
    let keep = main.keep_environment.as_deref().filter(|text| !text.is_empty()).map(unexpanded);
    let is_daemon = matches!(program.line.mode, Mode::Daemon { .. } | Mode::QueueRun);
    let mut environment: Environment = std::env::vars_os()
        .filter(|(name, _)| {
            let is_kept = keep.as_ref().is_some_and(|list| {
                let text = Text::tainted(name.as_bytes());
                let subject = Subject::String { text: &text, caseful: true };
                list.matches(&mut context, &subject).is_ok_and(|found| found.is_yes())
            });
            is_kept || is_daemon && FOR_DAEMONS.iter().any(|known| name == known)
        })
        .collect();
    for item in list::split(main.add_environment.as_deref().unwrap_or_default().as_bytes()) {
        if let Some(at) = item.iter().position(|b| *b == b'=') {
            let (name, value) = item.split_at(at);
            let value = value.get(1..).unwrap_or_default();
            environment.insert(OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
        }
    }
    environment.remove(std::ffi::OsStr::new("TZ"));
    if let Some(zone) =
        main.timezone.as_deref().filter(|zone| !zone.is_empty() && !zone.eq_ignore_ascii_case("UTC"))
    {
        environment.insert("TZ".into(), zone.into());
    }
    environment
}

/// The option is a list of patterns that is not expanded.
fn unexpanded(text: &str) -> List {
    List::compile(ListKind::String, &text.replace('\\', "\\\\").replace('$', "\\$"))
}

/// Goes on with the allowed environment: returns if it is that already, or if it does not matter to the mode.
///
/// # Errors
/// The program could not be executed again; the text for standard error.
pub(crate) fn settle(program: &Program, words: &[OsString]) -> Result<(), String> {
    // They start nothing, and show no times of ours.
    let is_harmless = matches!(
        program.line.mode,
        Mode::Version | Mode::PrintConfig | Mode::ListQueue(_) | Mode::CountQueue
    );
    if is_harmless
        || std::env::vars_os().next().is_none()
            && program.config.main.add_environment.is_none()
            && program.config.main.timezone.is_none()
    {
        return Ok(());
    }
    let wanted = allowed(program);
    let now: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    if now.len() == wanted.len() && now.iter().all(|(name, value)| wanted.get(name) == Some(value)) {
        return Ok(());
    }
    if program.config.main.keep_environment.is_none() && logs(&program.line.mode) && may_log(program) {
        program
            .services
            .log()
            .main("Warning: purging the environment.\n Suggested action: use keep_environment.");
    }
    let (name, arguments) = words.split_first().ok_or("exim: no program name")?;
    let this = std::env::current_exe().map_err(|error| format!("exim: {}", error_text(&error)))?;
    let error = Command::new(this).arg0(name).args(arguments).env_clear().envs(wanted).exec();
    Err(format!("exim: cannot be executed again: {}", error_text(&error)))
}

/// Whether this process can write the log: any other user's leaves that to the daemon.
fn may_log(program: &Program) -> bool {
    let user = rustix::process::geteuid();
    user.is_root() || user.as_raw() == program.config.main.exim_user
}

/// Whether a mode does something that belongs into the log; tests do not.
pub(crate) fn logs(mode: &Mode) -> bool {
    !matches!(
        mode,
        Mode::ExpandTest { .. }
            | Mode::RewriteTest
            | Mode::RetryTest
            | Mode::AddressTest
            | Mode::Verify { .. }
            | Mode::HostCheck { .. }
            | Mode::Version
            | Mode::PrintConfig
            | Mode::Information(_)
            | Mode::Help
            | Mode::Usage
            | Mode::DeliveryAgent
    )
}
