//! The part of the daemon that does the work: sessions, deliveries, queue runs, reloads. It needs no privilege.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxim_base::errno::error_text;
use oxim_deliver::agent::client::{Reexecute, Spawner};
use oxim_deliver::queue::scheduler::Scheduler;
use oxim_deliver::submission::Submitter;
use oxim_lang::config::ConfigError;
use oxim_receive::admission::Admission;
use oxim_receive::reception::Reception;
use oxim_receive::session;
use oxim_receive::tls::TlsAtOnce;
use parking_lot::{Mutex, RwLock};
use tokio::signal::unix::{SignalKind, signal};

use super::pid_file::PidFile;
use super::{interfaces, process_log};
use crate::args::{CommandLine, Mode, QueueRun};
use crate::assemble::Program;
use crate::control;
use crate::control::server::Control;
use crate::engine::{Engine, Settings};
use crate::mode::queue_run;
use crate::{perl, services};

/// Threads beyond those of sessions, for what the daemon itself has to wait for.
const SPARE_THREADS: usize = 64;
/// How long the daemon waits before it looks again whether the spool can be written.
const SPOOL_PAUSE: Duration = Duration::from_secs(2);
/// How long sessions and deliveries may go on after SIGTERM.
const LAST_MINUTE: Duration = Duration::from_secs(10);

/// Makes agents' starters: a worker asks its parent, a process without a parent starts them itself.
pub type MakeSpawner = Box<dyn Fn() -> Box<dyn Spawner> + Send + Sync>;

/// Starters for a process that may start agents itself.
#[must_use]
pub fn own_spawners() -> MakeSpawner {
    Box::new(|| Box::new(Reexecute))
}

/// What the worker is given.
pub struct Start {
    /// Configuration and command line.
    pub program: Program,
    /// Sockets that listen.
    pub listeners: Vec<TcpListener>,
    /// Starts delivery agents.
    pub spawners: MakeSpawner,
    /// Told when connections are accepted.
    pub ready: Box<dyn FnOnce() + Send>,
    /// The pid file, where it is ours to write.
    pub pid_file: Option<PidFile>,
    /// What others know of the daemon.
    pub place: Place,
}

/// What others know of the daemon.
pub struct Place {
    /// The process to send signals to.
    pub pid: u32,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

struct Worker {
    engine: RwLock<Arc<Engine>>,
    scheduler: Arc<Scheduler>,
    admission: Arc<Admission>,
    spawners: MakeSpawner,
    line: CommandLine,
    place: Place,
    /// When the last connection came.
    last_connection: Mutex<Instant>,
}

/// Works until SIGTERM. The exit code is 0 then.
pub fn run(start: Start) -> u8 {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(oxim_base::limits::BLOCKING_THREADS_MAX.saturating_add(SPARE_THREADS))
        .enable_all()
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("exim: no runtime: {}", error_text(&error));
            return 1;
        }
    };
    if let Err(error) = perl::start(&start.program) {
        start.program.services.log().both(error.trim_ascii_end());
        return 1;
    }
    let settings = Settings { has_journal: true, spawner: (start.spawners)(), ..Settings::default() };
    let engine = match Engine::build(&start.program, runtime.handle(), settings) {
        Ok(engine) => engine,
        Err(errors) => {
            crate::assemble::report(&errors);
            return 1;
        }
    };
    let code = runtime.block_on(work(start, engine));
    runtime.shutdown_background();
    code
}

async fn work(start: Start, engine: Arc<Engine>) -> u8 {
    let submitter = Arc::clone(&engine.sink) as Arc<dyn Submitter>;
    let scheduler = Scheduler::new(Arc::clone(&engine.delivery), Arc::clone(&engine.store), submitter);
    let _ = engine.sink.scheduler.set(Arc::clone(&scheduler));
    let worker = Arc::new(Worker {
        admission: Arc::clone(&engine.reception.admission),
        engine: RwLock::new(Arc::clone(&engine)),
        scheduler: Arc::clone(&scheduler),
        spawners: start.spawners,
        line: start.program.line.clone(),
        place: start.place,
        last_connection: Mutex::new(Instant::now()),
    });
    let (Ok(mut asked), Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)) = (
        signal(SignalKind::user_defined1()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
        signal(SignalKind::interrupt()),
    ) else {
        complain!("exim: signals cannot be received");
        return 1;
    };
    if let Err(error) = listen(&worker, start.listeners) {
        engine.services.log().both(format!("listening failed: {}", error_text(&error)));
        return 1;
    }
    let has_control = open_control(&worker, &engine);
    if !has_control || engine.services.hints.get().is_none() {
        tokio::spawn(open_later(Arc::clone(&worker), has_control));
    }
    if let Some(run) = start.program.line.queue_run.clone() {
        if let Err(error) = scheduler.watch_due() {
            engine.services.log().both(format!("messages wait for queue runs: {}", error_text(&error)));
        }
        tokio::spawn(queue_runs(Arc::clone(&worker), run));
    }
    tokio::spawn(ocsp_proofs(Arc::clone(&worker)));
    drop(engine);
    // The configuration will be read again by its whole name.
    let _ = std::env::set_current_dir("/");
    (start.ready)();
    let limit = idle_limit(&worker.line);
    loop {
        tokio::select! {
            () = idle_for(&worker, limit) => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&worker),
            _ = asked.recv() => tell(&worker),
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop(&worker).await;
    drop(start.pid_file);
    0
}

/// `-bw5m`: the daemon ends when nobody has connected for so long.
fn idle_limit(line: &CommandLine) -> Option<Duration> {
    if let Mode::Daemon { inherited: Some(seconds), .. } = line.mode {
        return (seconds > 0).then(|| Duration::from_secs(seconds));
    }
    None
}

/// Returns when the limit is reached and nobody is connected; without a limit never.
async fn idle_for(worker: &Worker, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let idle = worker.last_connection.lock().elapsed();
        match limit.checked_sub(idle) {
            Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
            _ if worker.admission.open() == 0 => return,
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Opens the control socket, and the public one if this is the machine's daemon and may use the folder. False: the one in the
/// spool cannot be made now.
fn open_control(worker: &Arc<Worker>, engine: &Engine) -> bool {
    let control = control_of(worker);
    let serve = |path: std::path::PathBuf| {
        let served = control::server::serve(&path, Arc::clone(&control));
        if let Err(error) = &served {
            let (path, error) = (path.display(), error_text(error));
            engine.services.log().both(format!("the control socket {path} cannot be made: {error}"));
        }
        served.is_ok()
    };
    if control::is_public(&worker.line) && std::path::Path::new(control::PUBLIC_FOLDER).is_dir() {
        serve(control::public_path());
    }
    serve(control::path(&engine.services.spool_directory))
}

fn control_of(worker: &Arc<Worker>) -> Arc<Control> {
    let current = Arc::clone(worker);
    Arc::new(Control {
        engine: Box::new(move || Arc::clone(&current.engine.read())),
        line: worker.line.clone(),
        runtime: tokio::runtime::Handle::current(),
        open: parking_lot::Mutex::default(),
    })
}

/// The spool could not be written when the daemon started: what is missing in it is made when that is possible.
async fn open_later(worker: Arc<Worker>, mut has_control: bool) {
    loop {
        tokio::time::sleep(SPOOL_PAUSE).await;
        let engine = Arc::clone(&worker.engine.read());
        let path = control::path(&engine.services.spool_directory);
        has_control = has_control || control::server::serve(&path, control_of(&worker)).is_ok();
        if has_control && services::try_hints(&engine.config, &engine.services, true).is_ok() {
            return;
        }
    }
}

/// Lets what goes on end, for a while; writes the rest out.
async fn stop(worker: &Arc<Worker>) {
    let engine = Arc::clone(&worker.engine.read());
    let scheduler = Arc::clone(&worker.scheduler);
    let _ = tokio::task::spawn_blocking(move || scheduler.close(LAST_MINUTE)).await;
    if let Err(error) = engine.store.flush() {
        engine
            .services
            .log()
            .both(format!("at the end of the daemon the journal could not be written out: {error}"));
    }
    if let Some(hints) = engine.services.hints.get() {
        let _ = hints.flush();
    }
    let _ = std::fs::remove_file(control::path(&engine.services.spool_directory));
}

fn listen(worker: &Arc<Worker>, listeners: Vec<TcpListener>) -> std::io::Result<()> {
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(accept(Arc::clone(worker), listener));
    }
    Ok(())
}

async fn accept(worker: Arc<Worker>, listener: tokio::net::TcpListener) {
    let mut inherited = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(local) = stream.local_addr() else { continue };
                let reception = Arc::clone(&worker.engine.read().reception);
                let wanted = SocketOptions::of(&reception);
                if inherited != Some(wanted) {
                    wanted.set(&stream);
                    wanted.set(&listener);
                    inherited = Some(wanted);
                }
                *worker.last_connection.lock() = Instant::now();
                monitor(&reception, local);
                let guard = worker.admission.enter(peer.ip().to_canonical());
                tokio::spawn(session::serve(reception, stream, peer, local, guard));
            }
            Err(error) => {
                // No descriptors left, most likely: those who wait are answered when one is free again.
                let engine = Arc::clone(&worker.engine.read());
                engine.services.log().both(format!("accept() failure: {}", error_text(&error)));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// `smtp_backlog_monitor`: tells the log when more connections than that wait. The one that was just accepted counts.
fn monitor(reception: &Reception, local: SocketAddr) {
    let limit = reception.config.main.smtp_backlog_monitor;
    if limit <= 0 {
        return;
    }
    let waiting = oxim_net::listen::waiting(local).map_or(0, |count| count.saturating_add(1));
    if i64::from(waiting) > limit {
        reception.logs.main(&format!("listen backlog {waiting} I=[{}]:{}", local.ip(), local.port()));
    }
}

/// What a connection has from the socket that listens: set once there, it need not be set for each.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SocketOptions {
    keep_alive: bool,
    no_delay: bool,
}

impl SocketOptions {
    fn of(reception: &Reception) -> SocketOptions {
        let main = &reception.config.main;
        SocketOptions { keep_alive: main.smtp_accept_keepalive, no_delay: main.tcp_nodelay }
    }

    fn set(self, socket: &impl AsFd) {
        let descriptor = socket.as_fd();
        let socket = socket2::SockRef::from(&descriptor);
        // A connection without them works too.
        let _ = socket.set_keepalive(self.keep_alive);
        let _ = socket.set_tcp_nodelay(self.no_delay);
    }
}

/// How often the daemon looks whether a new configuration wants OCSP proofs.
const OCSP_IDLE: Duration = Duration::from_secs(60);

/// Starts a queue run at once and then at each interval.
async fn queue_runs(worker: Arc<Worker>, wanted: QueueRun) {
    let Some(interval) = wanted.interval else { return };
    let Ok(options) = queue_run::options(&wanted, worker.line.dont_deliver) else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let (worker, options) = (Arc::clone(&worker), options.clone());
        tokio::task::spawn_blocking(move || {
            let most = queue_run_max(&worker);
            worker.scheduler.run(&options, most);
        });
    }
}

/// Fetches OCSP proofs before they expire, where `tls_ocsp_fetch_interval` says so. The option may change at a reload.
async fn ocsp_proofs(worker: Arc<Worker>) {
    loop {
        let engine = Arc::clone(&worker.engine.read());
        let interval = engine.config.main.tls_ocsp_fetch_interval;
        if !interval.is_zero() {
            let (config, services) = (Arc::clone(&engine.config), Arc::clone(&engine.services));
            drop(engine);
            let mut context = oxim_lang::context::Context::new(config, services);
            let fetched = tokio::task::spawn_blocking(move || crate::mode::ocsp_fetch::refresh(&mut context));
            let _ended = fetched.await;
        }
        tokio::time::sleep(if interval.is_zero() { OCSP_IDLE } else { interval }).await;
    }
}

fn queue_run_max(worker: &Worker) -> usize {
    let engine = Arc::clone(&worker.engine.read());
    let mut context =
        oxim_lang::context::Context::new(Arc::clone(&engine.config), Arc::clone(&engine.services));
    let text = engine
        .config
        .main
        .queue_run_max
        .expand(&mut context)
        .map(|t| t.to_string_lossy())
        .unwrap_or_default();
    text.trim().parse().ok().filter(|n| *n > 0).unwrap_or(5)
}

/// Reads the configuration anew. A faulty one changes nothing; sessions and deliveries that go on keep the old one.
fn reload(worker: &Arc<Worker>) {
    let old = Arc::clone(&worker.engine.read());
    old.services.log().main(format!("pid {}: SIGHUP received: re-exec daemon", worker.place.pid));
    let program = match crate::assemble::read_again(&worker.line) {
        Ok(program) => program,
        Err(errors) => {
            report_faulty(&old, &errors);
            return;
        }
    };
    crate::services::surround(&program.config, &program.services, Some(tokio::runtime::Handle::current()));
    if let Some(hints) = old.services.hints.get() {
        let _ = program.services.hints.set(Arc::clone(hints));
    }
    let settings = Settings { has_journal: true, spawner: (worker.spawners)(), ..Settings::default() };
    match Engine::with_store(&program, &tokio::runtime::Handle::current(), Arc::clone(&old.store), settings) {
        Ok(engine) => {
            let _ = engine.sink.scheduler.set(Arc::clone(&worker.scheduler));
            worker
                .scheduler
                .set_delivery(Arc::clone(&engine.delivery), Arc::clone(&engine.sink) as Arc<dyn Submitter>);
            engine.services.log().main(started_text(&program, &engine.reception.tls_at_once, &worker.place));
            *worker.engine.write() = engine;
        }
        Err(errors) => {
            report_faulty(&old, &errors);
        }
    }
}

/// SIGUSR1: writes what is going on into the file of `process_log_path`, for exiwhat.
fn tell(worker: &Worker) {
    let engine = Arc::clone(&worker.engine.read());
    let (deliveries, runs) = worker.scheduler.in_hand();
    let doings = process_log::Doings {
        daemon: format!(
            "daemon({}): {}",
            crate::mode::version::EXIM_VERSION,
            duties(&worker.line, &engine.reception.tls_at_once, &worker.place)
        ),
        hosts: worker.admission.hosts(),
        deliveries,
        queue_runs: runs,
    };
    if let Err(error) = process_log::append(&engine.config, &engine.services, worker.place.pid, &doings) {
        engine.services.log().panic(format!("process log: {}", error_text(&error)));
    }
}

/// One line, though the terminal gets two.
fn report_faulty(old: &Engine, errors: &[ConfigError]) {
    if let Some(error) = errors.first() {
        let text = error.exim_text().replace("\n  ", " ");
        old.services.log().both(format!("the new configuration is faulty, the old one stays: {text}"));
    }
}

/// `exim 4.99 daemon started: pid=1, -q30m, listening for SMTP on port 25 (IPv6 and IPv4)`.
#[must_use]
pub fn started_text(program: &Program, tls_at_once: &TlsAtOnce, place: &Place) -> String {
    let version = crate::mode::version::EXIM_VERSION;
    let duties = duties(&program.line, tls_at_once, place);
    format!("exim {version} daemon started: pid={}, {duties}", place.pid)
}

/// `-q30m, listening for SMTP on port 25 (IPv6 and IPv4)`.
fn duties(line: &CommandLine, tls_at_once: &TlsAtOnce, place: &Place) -> String {
    let queue = match line.queue_run.as_ref().and_then(|q| q.interval) {
        Some(interval) => format!("-q{}", oxim_base::clock::interval(interval.as_secs())),
        None => "no queue runs".to_owned(),
    };
    format!("{queue}, {}", interfaces::shown(&place.addresses, tls_at_once))
}
