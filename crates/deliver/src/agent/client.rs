//! The delivering side: finds or starts an agent for a user, hands it a job, takes its answer.

use std::collections::HashMap;
use std::io::{self, BufReader, BufWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::identity::Identity;
use super::job::{FileExists, InTurn, Job, JobResult, Messages, ProgramJob, Trouble, perform};
use super::{server, wire};
use crate::transport::error_code;

/// The command-line word that makes this program an agent.
pub const AGENT_ARGUMENT: &str = "--delivery-agent";
/// Agents that wait for their next job, over all users.
const IDLE_MAX: usize = 32;
/// An agent that had nothing to do for so long is let go.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// Longest wait for any one answer beyond the job's own limits.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Starts agents. The daemon's worker asks its root parent; a process that is root starts them itself.
pub trait Spawner: Send + Sync {
    /// A connected socket to a new agent that will become `identity`, and the child if it is ours to wait for.
    ///
    /// # Errors
    /// No process or descriptor to be had, or the parent refuses that user.
    fn spawn(&self, identity: &Identity) -> io::Result<(UnixStream, Option<Child>)>;
}

/// Starts this program again as an agent.
pub struct Reexecute;

impl Spawner for Reexecute {
    fn spawn(&self, _identity: &Identity) -> io::Result<(UnixStream, Option<Child>)> {
        let (ours, theirs) = UnixStream::pair()?;
        let program = std::env::current_exe()?;
        let child = Command::new(program)
            .arg(AGENT_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        Ok((ours, Some(child)))
    }
}

struct Agent {
    input: BufReader<UnixStream>,
    output: BufWriter<UnixStream>,
    child: Option<Child>,
    idle_since: Instant,
    /// It has become another program, which somebody else talks to.
    is_given_away: bool,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_given_away {
            return;
        }
        // Closing the socket ends the agent; one that hangs is not waited for longer than it takes to say so.
        let _ = self.input.get_ref().shutdown(std::net::Shutdown::Both);
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(Some(_)))
        {
            std::thread::sleep(Duration::from_millis(2));
            if !matches!(child.try_wait(), Ok(Some(_))) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// All agents of this process.
pub struct Agents {
    spawner: Box<dyn Spawner>,
    /// Who acts whatever is asked for (`deliver_drop_privilege`).
    always: Option<Identity>,
    idle: Mutex<HashMap<Identity, Vec<Agent>>>,
}

impl Agents {
    /// No agents yet.
    #[must_use]
    pub fn new(spawner: Box<dyn Spawner>) -> Self {
        Agents { spawner, always: None, idle: Mutex::new(HashMap::new()) }
    }

    /// With a user here, all jobs are done as that one (`deliver_drop_privilege`).
    #[must_use]
    pub fn always_as(mut self, user: Option<Identity>) -> Self {
        self.always = user;
        self
    }

    /// Performs a job as a user, in this process where that is possible, else in an agent.
    ///
    /// Whatever goes wrong on the way is a deferral: the message is still in the spool.
    pub fn perform(&self, identity: &Identity, job: &Job, message: &mut dyn Read) -> JobResult {
        self.perform_with(identity, job, &mut [message])
    }

    /// The same, with as many messages as the job wants.
    pub fn perform_with(&self, identity: &Identity, job: &Job, messages: &mut [&mut dyn Read]) -> JobResult {
        let identity = self.always.as_ref().unwrap_or(identity);
        // Commands change the file creation mask, which belongs to the whole process.
        if identity.is_current() && !matches!(job, Job::Command(_) | Job::Filter(_)) {
            return perform(job, &mut InTurn::new(messages));
        }
        match self.perform_elsewhere(identity, job, messages) {
            Ok(result) => result,
            Err(error) => JobResult::Deferred(Trouble {
                code: error.raw_os_error().unwrap_or(error_code::AGENT_LOST),
                text: format!(
                    "delivery agent for uid {}: {}",
                    identity.uid,
                    oxim_base::errno::error_text(&error)
                ),
                ..Trouble::default()
            }),
        }
    }

    fn perform_elsewhere(
        &self,
        identity: &Identity,
        job: &Job,
        messages: &mut [&mut dyn Read],
    ) -> io::Result<JobResult> {
        let mut agent = match self.take_idle(identity) {
            Some(agent) => agent,
            None => self.start(identity)?,
        };
        wire::send(&mut agent.output, job)?;
        for message in messages.iter_mut().take(server::messages_of(job)) {
            wire::send_message(&mut agent.output, *message)?;
        }
        io::Write::flush(&mut agent.output)?;
        let mut result = wire::receive(&mut agent.input)?;
        if let (Job::Filter(_), JobResult::Exited { output, .. }) = (job, &mut result) {
            wire::MessageReader::new(&mut agent.input, 1).next().read_to_end(output)?;
        }
        agent.idle_since = Instant::now();
        self.keep(identity, agent);
        Ok(result)
    }

    /// Starts a program as a user: the socket that is its standard input and output, and the process if it is ours to
    /// wait for.
    ///
    /// # Errors
    /// No agent to be had.
    pub fn start_program(
        &self,
        identity: &Identity,
        job: ProgramJob,
    ) -> io::Result<(UnixStream, Option<Child>)> {
        let mut agent = self.start(self.always.as_ref().unwrap_or(identity))?;
        wire::send(&mut agent.output, &Job::Become(job))?;
        io::Write::flush(&mut agent.output)?;
        let _: JobResult = wire::receive(&mut agent.input)?;
        // Dropping the agent would end the socket for both.
        let socket = agent.input.get_ref().try_clone()?;
        let child = agent.child.take();
        agent.is_given_away = true;
        Ok((socket, child))
    }

    fn start(&self, identity: &Identity) -> io::Result<Agent> {
        let (socket, child) = self.spawner.spawn(identity)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut agent = Agent {
            input: BufReader::new(socket.try_clone()?),
            output: BufWriter::with_capacity(64 * 1024, socket),
            child,
            idle_since: Instant::now(),
            is_given_away: false,
        };
        wire::send(&mut agent.output, identity)?;
        io::Write::flush(&mut agent.output)?;
        let greeting: JobResult = wire::receive(&mut agent.input)?;
        if greeting == JobResult::Exists(FileExists::Yes) {
            return Ok(agent);
        }
        Err(io::Error::other(greeting.trouble().text))
    }

    fn take_idle(&self, identity: &Identity) -> Option<Agent> {
        let mut idle = self.idle.lock();
        let waiting = idle.get_mut(identity)?;
        let agent = waiting.pop();
        if waiting.is_empty() {
            idle.remove(identity);
        }
        agent
    }

    fn keep(&self, identity: &Identity, agent: Agent) {
        let mut gone = Vec::new();
        let mut idle = self.idle.lock();
        for waiting in idle.values_mut() {
            gone.extend(waiting.extract_if(.., |a| a.idle_since.elapsed() > IDLE_FOR));
        }
        idle.entry(identity.clone()).or_default().push(agent);
        if idle.values().map(Vec::len).sum::<usize>() > IDLE_MAX {
            // The first of a user's has waited longest.
            let users = idle.values_mut().filter(|waiting| !waiting.is_empty());
            let oldest = users.min_by_key(|waiting| waiting.first().map(|agent| agent.idle_since));
            gone.extend(oldest.map(|waiting| waiting.remove(0)));
        }
        idle.retain(|_, waiting| !waiting.is_empty());
        drop(idle);
        drop(gone);
    }
}
