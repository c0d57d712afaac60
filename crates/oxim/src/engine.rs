//! Reception, delivery and the store put together: what every mode needs that takes or sends mail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use oxim_base::errno::error_text;
use oxim_deliver::agent::Agents;
use oxim_deliver::agent::client::{Reexecute, Spawner};
use oxim_deliver::delivery::Delivery;
use oxim_deliver::queue::{AttemptOptions, Ended, attempt, run};
use oxim_deliver::submission::{Submission, Submitter};
use oxim_deliver::turned_line::{self, TurnedLine};
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::context::{Context, Services};
use oxim_lang::host::Host;
use oxim_mail::message_id::{Form, Generator};
use oxim_receive::admission::Admission;
use oxim_receive::caller::Caller;
use oxim_receive::host::ReceptionHost;
use oxim_receive::local::{self, ExitStatus, Given, Request};
use oxim_receive::logs::{Logs, Shown};
use oxim_receive::reception::{Identity, Parts, Reception};
use oxim_receive::sink::{Queueing, Sink};
use oxim_receive::wants::Wants;
use oxim_spool::log::{Log, LogConfig};
use oxim_spool::store::{Claim, LocalStore, Store};
use tokio::runtime::{Handle, Runtime};

use crate::args::{CommandLine, DeliveryMode};
use crate::assemble::{self, Program};
use crate::daemon::interfaces;
use crate::{privilege, services};

/// How many ACLs and verifications may block at once. Threads are made when they are needed: a lookup that hangs in two thousand
/// sessions must not keep the next one from its answer.
const WORKERS: usize = oxim_base::limits::BLOCKING_THREADS_MAX;

/// What a mode that takes or sends mail works with.
pub struct Engine {
    /// The configuration.
    pub config: Arc<Config>,
    /// What expansions share.
    pub services: Arc<Services>,
    /// The messages.
    pub store: Arc<dyn Store>,
    /// Routers and transports.
    pub delivery: Arc<Delivery>,
    /// Reception.
    pub reception: Arc<Reception>,
    /// Takes accepted messages.
    pub sink: Arc<MessageSink>,
}

/// What differs between modes.
pub struct Settings {
    /// The store is the daemon's, with a journal.
    pub has_journal: bool,
    /// Lines go to standard error in place of the logs (`-bh`).
    pub shows_logs: bool,
    /// Starts delivery agents.
    pub spawner: Box<dyn Spawner>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { has_journal: false, shows_logs: false, spawner: Box::new(Reexecute) }
    }
}

/// A runtime with as many threads as are useful to a short-lived process.
///
/// # Errors
/// The system's.
pub fn small_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// An engine, and the runtime that it lives in, for a mode of the command line. None: why not has been told on standard error.
pub fn for_command(program: &Program, settings: Settings) -> Option<(Runtime, Arc<Engine>)> {
    let runtime =
        small_runtime().inspect_err(|error| complain!("exim: no runtime: {}", error_text(error))).ok()?;
    let engine = Engine::build(program, runtime.handle(), settings)
        .inspect_err(|errors| assemble::report(errors))
        .ok()?;
    Some((runtime, engine))
}

impl Engine {
    /// Builds it all.
    ///
    /// # Errors
    /// What is wrong with the configuration or with the spool.
    pub fn build(
        program: &Program,
        runtime: &Handle,
        settings: Settings,
    ) -> Result<Arc<Engine>, Vec<ConfigError>> {
        services::surround(&program.config, &program.services, Some(runtime.clone()));
        services::open_hints(&program.config, &program.services, settings.has_journal);
        let store = open_store(program, settings.has_journal)?;
        Engine::with_store(program, runtime, store, settings)
    }

    /// Builds all but the store, which is that of a former configuration.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn with_store(
        program: &Program,
        runtime: &Handle,
        store: Arc<dyn Store>,
        settings: Settings,
    ) -> Result<Arc<Engine>, Vec<ConfigError>> {
        let (config, shared) = (&program.config, &program.services);
        let main = &config.main;
        // A wrapper delivers nothing as anybody else.
        let always =
            (main.deliver_drop_privilege || main.mua_wrapper).then_some(oxim_deliver::agent::Identity {
                uid: main.exim_user,
                gid: main.exim_group,
                groups_of: None,
            });
        let agents = Arc::new(Agents::new(settings.spawner).always_as(always));
        let delivery = Arc::new(Delivery::build_with(Arc::clone(config), Arc::clone(shared), agents)?);
        let sink = Arc::new(MessageSink {
            engine: OnceLock::new(),
            line: program.line.clone(),
            scheduler: OnceLock::new(),
            has_failed: AtomicBool::new(false),
        });
        let door = Arc::new(ReceptionHost::default());
        let _ = shared.host.set(Arc::clone(&door) as Arc<dyn Host>);
        let reception = Reception::build(Parts {
            config: Arc::clone(config),
            services: Arc::clone(shared),
            store: Arc::clone(&store),
            sink: Arc::clone(&sink) as Arc<dyn Sink>,
            logs: if settings.shows_logs { Logs::new(Arc::new(Shown)) } else { Logs::new(log_of(shared)) },
            wants: Wants::of(shared.log().selectors()),
            resolver: Some(services::resolver(config, shared).blocking(runtime.clone())),
            identity: identity(&program.config),
            admission: Arc::new(Admission::default()),
            ids: Arc::new(ids(config, shared)?),
            forced_queueing: forced_queueing(&program.line),
            tls_at_once: interfaces::tls_at_once(&program.line, config).map_err(|error| vec![error])?,
            workers: WORKERS,
            delivery: Arc::clone(&delivery),
        })?;
        let engine = Arc::new(Engine {
            config: Arc::clone(config),
            services: Arc::clone(shared),
            store,
            delivery,
            reception,
            sink,
        });
        let _ = engine.sink.engine.set(Arc::downgrade(&engine));
        door.open(&engine.reception);
        Ok(engine)
    }

    /// One delivery attempt, by this thread.
    pub fn attempt(&self, claim: Claim, options: AttemptOptions) -> Ended {
        let ended = attempt(&self.delivery, &*self.store, &*self.sink, claim, options);
        run::deliver_ready(&self.delivery, &*self.store, &*self.sink, |_, _| {});
        ended
    }
}

impl Drop for Engine {
    /// Servers whose connections were kept for a next message are told that there is none.
    fn drop(&mut self) {
        for transport in &self.delivery.transports {
            transport.driver.close_idle();
        }
    }
}

/// The log was set when the services were made.
fn log_of(services: &Services) -> Arc<Log> {
    let _ = services.log();
    services
        .log
        .get()
        .map(Arc::clone)
        .unwrap_or_else(|| Arc::new(Log::new(LogConfig::new(services.spool_directory.clone()))))
}

fn open_store(program: &Program, has_journal: bool) -> Result<Arc<dyn Store>, Vec<ConfigError>> {
    let settings = services::store_config(&program.config, &program.services);
    let opened = if has_journal { LocalStore::journal(settings) } else { LocalStore::direct(settings) };
    opened.map(|store| Arc::new(store) as Arc<dyn Store>).map_err(|error| {
        let text = format!("spool: {error}");
        // Nobody may be looking at a daemon's standard error.
        if has_journal {
            program.services.log().main(&text);
        }
        vec![ConfigError::bare(text)]
    })
}

/// Who our own messages are from: the Exim user, also while this process is still root.
fn identity(config: &Config) -> Identity {
    let (uid, gid) = if rustix::process::geteuid().is_root() {
        (config.main.exim_user, config.main.exim_group)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    };
    Identity { login: privilege::login_of(uid).into_bytes(), uid, gid }
}

fn ids(config: &Arc<Config>, services: &Arc<Services>) -> Result<Generator, Vec<ConfigError>> {
    let number = match &config.main.localhost_number {
        None => None,
        Some(template) => {
            let mut context = Context::new(Arc::clone(config), Arc::clone(services));
            let text = template
                .expand(&mut context)
                .map_err(|e| vec![ConfigError::bare(format!("failed to expand localhost_number: {e}"))])?;
            let number: Option<u32> = text.as_str().and_then(|t| t.trim().parse().ok());
            Some(number.ok_or_else(|| {
                vec![ConfigError::bare(format!("localhost_number is not a number: {text}"))]
            })?)
        }
    };
    let form = if config.main.message_id_form == "short" { Form::Short } else { Form::Long };
    Ok(Generator::new(std::process::id(), number, form))
}

fn forced_queueing(line: &CommandLine) -> Option<Queueing> {
    line.sending.delivery.map(|mode| match mode {
        DeliveryMode::Background => Queueing::Immediate,
        DeliveryMode::Foreground => Queueing::Foreground,
        DeliveryMode::Queue => Queueing::Wait,
        DeliveryMode::QueueRemote => Queueing::RemoteWaits,
    })
}

/// Takes accepted messages, and those that this program writes itself.
pub struct MessageSink {
    engine: OnceLock<Weak<Engine>>,
    line: CommandLine,
    /// Set in the daemon: messages go to its threads.
    pub scheduler: OnceLock<Arc<oxim_deliver::queue::scheduler::Scheduler>>,
    /// `mua_wrapper`: a message was not delivered.
    has_failed: AtomicBool,
}

impl Sink for MessageSink {
    fn accepted(&self, mut claim: Claim, queueing: Queueing) {
        let dont_deliver = self.line.dont_deliver;
        if dont_deliver && let Some(engine) = self.engine.get().and_then(Weak::upgrade) {
            let mut message = oxim_spool::message::Message::clone(claim.message());
            message.dont_deliver = true;
            if let Err(error) = engine.store.update(&mut claim, &message) {
                engine.services.log().both(format!("{} {error}", claim.id()));
                return;
            }
        }
        let options = match queueing {
            Queueing::Immediate | Queueing::Foreground => AttemptOptions::default(),
            Queueing::RemoteWaits => AttemptOptions { local_only: true, ..AttemptOptions::default() },
            Queueing::Wait | Queueing::Frozen { .. } => return,
        };
        if let Some(scheduler) = self.scheduler.get() {
            scheduler.deliver(claim, options);
            return;
        }
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return };
        if queueing == Queueing::Immediate && !self.is_delivering() {
            let id = claim.id();
            drop(claim);
            if self.deliver_in_background(id.as_str()).is_err() {
                engine.services.log().main(format!(
                    "{id} no process for immediate delivery: the message waits for a queue run"
                ));
            }
            return;
        }
        engine.attempt(claim, options);
    }

    fn may_block(&self) -> bool {
        self.scheduler.get().is_none()
    }

    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    fn deliver_over(&self, line: TurnedLine) -> Result<(), String> {
        let engine = self.engine.get().and_then(Weak::upgrade).ok_or("the program is ending")?;
        match self.scheduler.get() {
            Some(scheduler) => {
                turned_line::deliver(&engine.delivery, line, |options| scheduler.run(options, usize::MAX));
            }
            None => turned_line::deliver_here(&engine.delivery, &*engine.store, self, line),
        }
        Ok(())
    }

    fn run_queue_for(&self, text: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(text).into_owned();
        self.start(&["-R", &text]).map_err(|e| error_text(&e))
    }
}

impl MessageSink {
    /// Whether this process was started to deliver, so that what it submits is delivered by it as well.
    fn is_delivering(&self) -> bool {
        use crate::args::{MessageAction, Mode};
        match &self.line.mode {
            Mode::QueueRun => true,
            Mode::Message(command) => matches!(
                command.action,
                MessageAction::Deliver | MessageAction::DeliverForced | MessageAction::GiveUp
            ),
            _ => self.line.sending.delivery == Some(DeliveryMode::Foreground),
        }
    }

    /// The caller goes on at once; a process of its own delivers.
    fn deliver_in_background(&self, id: &str) -> std::io::Result<()> {
        self.start(&["-Mc", id])
    }

    fn start(&self, words: &[&str]) -> std::io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg0("exim");
        if let Some(files) = &self.line.config_files {
            command.arg("-C").arg(std::ffi::OsStr::from_bytes(&files.join(&b':')));
        }
        for (name, value) in &self.line.macros {
            command.arg(format!("-D{name}={}", String::from_utf8_lossy(value)));
        }
        if self.line.verbose {
            command.arg("-v");
        }
        command.args(words).current_dir("/").process_group(0);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.spawn().map(|_| ())
    }
}

impl Submitter for MessageSink {
    fn submit(&self, submission: Submission) -> Result<(), String> {
        let engine = self.engine.get().and_then(Weak::upgrade).ok_or("the program is ending")?;
        let main = &engine.config.main;
        let (uid, gid) = if let Some(caller) = submission.caller {
            caller
        } else if rustix::process::geteuid().is_root() {
            (main.exim_user, main.exim_group)
        } else {
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        };
        let caller = Caller::of(
            &engine.config,
            nix::unistd::Uid::from_raw(uid),
            nix::unistd::Gid::from_raw(gid),
            &[],
            None,
        );
        let auth_sender = main.bounce_sender_authentication.as_ref().filter(|_| submission.sender.is_empty());
        let request = Request {
            arguments: submission.recipients,
            ignore_dots: true,
            sender: Some(if submission.sender.is_empty() { b"<>".to_vec() } else { submission.sender }),
            given: Given {
                message_reference: submission.about.map(|id| id.as_str().as_bytes().to_vec()),
                is_own_message: true,
                auth_sender: auth_sender.map(|address| address.clone().into_bytes()),
                ..Given::default()
            },
            ..Request::default()
        };
        match local::receive(&engine.reception, Arc::new(caller), &request, submission.text.as_slice()) {
            ExitStatus(0) => Ok(()),
            ExitStatus(code) => Err(format!("the message was refused (code {code})")),
        }
    }

    fn tell_caller(&self, complaint: &str) {
        complain!("{complaint}");
        self.has_failed.store(true, Ordering::Relaxed);
    }
}
