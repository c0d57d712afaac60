//! How a daemon comes up: goes into the background, opens its ports, gives up root, and says when it is ready.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_deliver::agent::Identity;
use oxim_lang::context::Context;
use oxim_net::listen::{self, ListenSettings};
use parking_lot::Mutex;

use super::interfaces::{self, Wanted};
use super::parent::{self, AskParent};
use super::pid_file::PidFile;
use super::worker::{self, Place, Start};
use crate::args::{CommandLine, Mode};
use crate::assemble::Program;
use crate::control;

/// The word that makes a started daemon stay behind in a session of its own; it then tells its starter that it is ready.
pub(crate) const DETACHED_ARGUMENT: &str = "--detached";

/// `-bd`: starts the daemon as another process and waits until it accepts connections.
pub(crate) fn detach(words: &[OsString]) -> u8 {
    let child = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .arg(DETACHED_ARGUMENT)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    });
    let mut ready = [0];
    match child {
        Ok(mut child) => match child.stdout.take().map(|mut out| out.read_exact(&mut ready)) {
            Some(Ok(())) => 0,
            _ => 1,
        },
        Err(error) => {
            complain!("exim: the daemon cannot be started: {}", error_text(&error));
            1
        }
    }
}

/// Tells the starter, and the service manager, that connections are accepted.
fn tell_ready(is_detached: bool) {
    if is_detached {
        let _ = io::stdout().write_all(b"+").and_then(|()| io::stdout().flush());
        let_terminal_go();
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Nothing is written to the terminal, and nobody waits for us to close it.
fn let_terminal_go() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Whether the daemon stays where it was started: `-bdf`, `-bw`, or that somebody wants to see what it does.
#[must_use]
pub(crate) fn is_foreground(line: &CommandLine) -> bool {
    matches!(line.mode, Mode::Daemon { foreground: true, .. }) || line.verbose
}

fn wanted(program: &Program) -> Wanted {
    let main = &program.config.main;
    Wanted {
        interfaces: main.local_interfaces.clone(),
        ports: main.daemon_smtp_ports.clone(),
        command_line: program.line.listen.as_ref().map(|l| String::from_utf8_lossy(l).into_owned()),
        disable_ipv6: main.disable_ipv6,
    }
}

/// The sockets that a service manager passed, or those that the configuration asks for.
fn listeners(program: &Program) -> Result<Vec<TcpListener>, String> {
    if matches!(program.line.mode, Mode::Daemon { inherited: Some(_), .. }) {
        return inherited().map(|listener| vec![listener]);
    }
    let passed = listen::passed().map_err(|e| format!("passed sockets: {e}"))?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    let main = &program.config.main;
    let settings = ListenSettings {
        backlog: u16::try_from(main.smtp_connect_backlog).unwrap_or(20),
        ..ListenSettings::default()
    };
    let mut opened = Vec::new();
    for address in interfaces::addresses(&wanted(program))? {
        match bind(address, &settings, program) {
            Ok(listener) => opened.push(listener),
            // Without IPv6 on this machine the wildcard of IPv4 is all there is.
            Err(error)
                if address.ip().is_unspecified()
                    && address.is_ipv6()
                    && error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32) => {}
            Err(error) => {
                let error = error_text(&error);
                return Err(format!(
                    "socket bind() to port {} for address {} failed: {error}: daemon abandoned",
                    address.port(),
                    address.ip()
                ));
            }
        }
    }
    Ok(opened)
}

/// `-bw`: the socket on standard input.
fn inherited() -> Result<TcpListener, String> {
    let stdin = io::stdin();
    if !rustix::net::sockopt::socket_acceptconn(&stdin).is_ok_and(|listens| listens) {
        return Err("-bw needs a listening socket on standard input".to_owned());
    }
    let listener = stdin
        .as_fd()
        .try_clone_to_owned()
        .map(TcpListener::from)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| format!("the socket on standard input cannot be used: {}", error_text(&error)))
}

/// A port that is still in use is tried again, as often as `daemon_startup_retries` says.
fn bind(address: SocketAddr, settings: &ListenSettings, program: &Program) -> io::Result<TcpListener> {
    let main = &program.config.main;
    let mut left = main.daemon_startup_retries;
    loop {
        match listen::bind(address, settings) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && left > 0 => {
                left -= 1;
                program.services.log().main(format!("socket bind() to port {} for address {} failed: Address already in use: waiting {}s before trying again ({} more tries)", address.port(), address.ip(), main.daemon_startup_sleep.as_secs(), left + 1));
                std::thread::sleep(main.daemon_startup_sleep);
            }
            other => return other,
        }
    }
}

/// Where the pid file is: `-oP` names it; with `-oX`, `-bw`, or without listening there is none.
fn pid_path(program: &Program) -> Option<PathBuf> {
    let line = &program.line;
    let is_usual = line.listen.is_none() && matches!(line.mode, Mode::Daemon { inherited: None, .. })
        || line.delete_pid_file;
    match &line.pid_file {
        Some(path) => std::path::absolute(OsStr::from_bytes(path)).ok(),
        None if !is_usual => None,
        None => {
            let mut context = Context::new(Arc::clone(&program.config), Arc::clone(&program.services));
            let text = program
                .config
                .main
                .pid_file_path
                .expand(&mut context)
                .map(|t| t.to_string_lossy())
                .unwrap_or_default();
            Some(if text.is_empty() {
                program.services.spool_directory.join("exim-daemon.pid")
            } else {
                PathBuf::from(text.replace("%s", ""))
            })
        }
    }
}

/// `-oPX`: removes the pid file of a daemon that has ended.
pub(crate) fn delete_pid_file(program: &Program) -> u8 {
    if !crate::privilege::is_admin(&program.config) {
        complain!("exim: permission denied");
        return 1;
    }
    match pid_path(program).map(|path| PidFile::remove_stale(&path)) {
        Some(Ok(())) => 0,
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => 0,
        Some(Err(error)) => {
            complain!("exim: the pid file is not removed: {}", error_text(&error));
            1
        }
        None => 1,
    }
}

fn pid_file(program: &Program) -> Option<PidFile> {
    let path = pid_path(program)?;
    match PidFile::write(&path) {
        Ok(file) => Some(file),
        Err(error) => {
            program.services.log().both(format!("pid file {}: {}", path.display(), error_text(&error)));
            None
        }
    }
}

/// The folder of the public control socket, which the worker fills.
fn make_public_folder(program: &Program) {
    if !rustix::process::geteuid().is_root() || !control::is_public(&program.line) {
        return;
    }
    let folder = control::PUBLIC_FOLDER;
    let made = match std::fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let main = &program.config.main;
    let owned =
        made.and_then(|()| std::os::unix::fs::lchown(folder, Some(main.exim_user), Some(main.exim_group)));
    if let Err(error) = owned {
        let error = error_text(&error);
        program.services.log().both(format!("{folder}: {error}: users cannot submit through the daemon"));
    }
}

/// The daemon in the foreground, or as the process that stays behind.
pub(crate) fn run(program: Program, words: &[OsString], is_detached: bool, only_queue: bool) -> u8 {
    if is_detached {
        let _ = nix::unistd::setsid();
    }
    // A worker that cannot be built would be started again and again.
    if let Err(errors) = crate::build::all(&program.config) {
        crate::assemble::report(&errors);
        return 1;
    }
    let tls_at_once = match interfaces::tls_at_once(&program.line, &program.config) {
        Ok(tls_at_once) => tls_at_once,
        Err(error) => {
            crate::assemble::report(&[error]);
            return 1;
        }
    };
    // The configuration has been read; relative names of `-C` are read again only by the worker, which is started here.
    let listeners = if only_queue { Ok(Vec::new()) } else { listeners(&program) };
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(text) => {
            program.services.log().main(&text);
            complain!("exim: {text}");
            return 1;
        }
    };
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let pid_file = pid_file(&program);
    let place = Place { pid: std::process::id(), addresses };
    let main = &program.config.main;
    if main.tls_certificate.is_none() && !main.tls_advertise_hosts.trim().is_empty() {
        program.services.log().main(
            "Warning: No server certificate defined; will use a selfsigned one.\n Suggested action: either install a certificate or change tls_advertise_hosts option",
        );
    }
    program.services.log().main(worker::started_text(&program, &tls_at_once, &place));
    let ready = move || tell_ready(is_detached);
    make_public_folder(&program);
    if rustix::process::geteuid().is_root() && program.config.main.exim_user != 0 {
        return parent::run(&program, words, &listeners, ready, pid_file);
    }
    worker::run(Start {
        program,
        listeners,
        spawners: worker::own_spawners(),
        ready: Box::new(ready),
        pid_file,
        place,
    })
}

/// The worker below a root parent: takes its sockets from standard input and becomes the Exim user before anything else.
pub(crate) fn run_worker(program: Program) -> u8 {
    let taken = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).and_then(|socket| {
        let mut word = [0; 64];
        let (_, sockets) = super::descriptors::receive(&socket, &mut word)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok((socket, sockets.into_iter().map(TcpListener::from).collect::<Vec<_>>()))
    });
    let (socket, listeners) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            complain!("exim: the worker got no sockets: {}", error_text(&error));
            return 1;
        }
    };
    let main = &program.config.main;
    let identity = Identity {
        uid: main.exim_user,
        gid: main.exim_group,
        groups_of: Some(crate::privilege::login_of(main.exim_user)),
    };
    if let Err(error) = identity.assume() {
        complain!("exim: the worker cannot become uid {}: {error}", main.exim_user);
        return 1;
    }
    // Giving up root has unset it, so this comes after that. The parent may have died before.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    let place = Place {
        pid: rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs()),
        addresses: listeners.iter().filter_map(|l| l.local_addr().ok()).collect(),
    };
    if place.pid <= 1 {
        return 1;
    }
    let socket = Arc::new(Mutex::new(socket));
    let (to_parent, stays) = (Arc::clone(&socket), is_foreground(&program.line));
    let ready = Box::new(move || {
        parent::tell_ready(&to_parent);
        if !stays {
            let_terminal_go();
        }
    });
    let spawners = Box::new(move || {
        Box::new(AskParent::new(Arc::clone(&socket))) as Box<dyn oxim_deliver::agent::client::Spawner>
    });
    worker::run(Start { program, listeners, spawners, ready, pid_file: None, place })
}
