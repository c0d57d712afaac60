//! One SMTP session: reads commands, lets verbs answer, writes. Only the session touches the socket.
//!
//! An idle session waits in [`Session::next_command`] with small buffers; everything else happens in boxed futures, so that
//! waiting costs a few kilobytes. Replies to pipelined commands go out in one write, before the session waits for more input.
//! Work that may block runs on a worker thread, to which the [`Talk`] moves. A panic there ends this session only.
//! RFC 5321; manual chapter 49.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_base::limits::{KEPT_COMMAND_BYTES_MAX, LINE_PROGRESS_BYTES};
use oxim_deliver::event;
use oxim_lang::context::Context;
use oxim_mail::smtp::command::Command;
use oxim_mail::smtp::dot::Framing;
use tokio::net::TcpStream;

use crate::acceptance::{self, Ready};
use crate::acl::{Debugging, Outcome, Phase, Step};
use crate::admission::Guard;
use crate::body::{Incoming, Place};
use crate::caller::Caller;
use crate::channel::{Channel, Line, Patience, ReadError, Wire};
use crate::command::{self, Verb, auth};
use crate::connect::{self, Crowd};
use crate::ending;
use crate::ident::{self, Ident};
use crate::proxy;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{BodySource, Chunking, LastChunk, Progress, Talk, Then};

/// Whether the session goes on after a command.
enum Flow {
    Next,
    Close(Option<Reply>),
}

/// What a step of work on the talk led to.
enum Ran {
    Progress(Progress),
    Delay { pause: Duration, flush: bool, resume: crate::acl::Resume, phase: Phase, then: Then },
}

/// A session.
pub struct Session {
    reception: Arc<Reception>,
    /// None only while it is on a worker thread.
    talk: Option<Box<Talk>>,
    channel: Channel,
    /// A message of which some chunks have arrived.
    incoming: Option<Box<Incoming>>,
    /// The greeting has been sent.
    is_admitted: bool,
    /// The session cannot go on: a worker broke.
    is_broken: bool,
}

/// Serves a client that has connected to a port of the daemon.
pub async fn serve(
    reception: Arc<Reception>,
    mut stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    mut guard: Guard,
) {
    let mut context = reception.context();
    set_endpoints(&mut context, peer, local);
    let talk = Box::new(Talk::new(context, None));
    let Some(talk) = proxy::begin(&reception, talk, &mut stream, &mut guard).await else { return };
    let crowd = Crowd::from(&guard);
    let mut session = Session::with_talk(reception, Box::new(stream), talk);
    session.run_on(Some(local.port()), Some(crowd)).await;
    drop(guard);
}

/// Fills in who talks to whom.
pub fn set_endpoints(context: &mut Context, peer: SocketAddr, local: SocketAddr) {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    let connection = &mut context.connection;
    connection.number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    connection.host_address = Some(peer.ip().to_canonical());
    connection.host_port = peer.port();
    connection.interface = Some(SocketAddr::new(local.ip().to_canonical(), local.port()));
}

impl Session {
    /// A session before its first byte. `caller` is the local process, if it is one.
    #[must_use]
    pub fn new(
        reception: Arc<Reception>,
        wire: Box<dyn Wire>,
        context: Context,
        caller: Option<Arc<Caller>>,
    ) -> Session {
        Session::with_talk(reception, wire, Box::new(Talk::new(context, caller)))
    }

    /// A session whose state has been prepared.
    #[must_use]
    pub fn with_talk(reception: Arc<Reception>, wire: Box<dyn Wire>, talk: Box<Talk>) -> Session {
        let channel = Channel::new(wire);
        let mut talk = talk;
        talk.scene.connection.has_socket = channel.has_socket();
        Session { reception, talk: Some(talk), channel, incoming: None, is_admitted: false, is_broken: false }
    }

    /// The state, to be prepared before [`Self::run`].
    pub fn talk_mut(&mut self) -> &mut Talk {
        self.talk.as_deref_mut().expect("the talk is away only within on_talk")
    }

    /// Talks to the client on a port of ours, in TLS from the first byte where that is wanted.
    pub async fn run_on(&mut self, port: Option<u16>, crowd: Option<Crowd>) {
        if self.reception.tls_at_once.is_on(port) {
            self.run_in_tls(crowd).await;
        } else {
            self.run(crowd).await;
        }
    }

    /// Talks to the client until one of the two has had enough. `crowd` is None for sessions without limits of number.
    pub async fn run(&mut self, crowd: Option<Crowd>) {
        if let Err(last) = Box::pin(self.greet(crowd, true)).await {
            return Box::pin(self.end(last)).await;
        }
        self.converse().await;
    }

    /// What follows the greeting.
    async fn converse(&mut self) {
        // Not known before MAIL says it.
        self.talk_mut().scene.context.message.size = -1;
        loop {
            let line = match self.next_command().await {
                Ok(line) => line,
                Err(reply) => return Box::pin(self.end(Some(reply))).await,
            };
            match Box::pin(self.obey(line)).await {
                Flow::Next if !self.is_broken => self.forget_long_command(),
                Flow::Next => return Box::pin(self.end(None)).await,
                Flow::Close(last) => return Box::pin(self.end(last)).await,
            }
        }
    }

    /// A client that says something long and then nothing must not cost more than others.
    fn forget_long_command(&mut self) {
        let connection = &mut self.talk_mut().scene.context.connection;
        for text in [&mut connection.smtp_command, &mut connection.smtp_command_argument] {
            if text.capacity() > KEPT_COMMAND_BYTES_MAX {
                text.truncate(KEPT_COMMAND_BYTES_MAX);
                text.shrink_to_fit();
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        self.talk.as_ref().and_then(|talk| talk.timeout)
    }

    /// Everything up to the greeting; the error is the last reply of a session that ends here.
    /// `waits`: the client must not have said anything yet.
    async fn greet(&mut self, crowd: Option<Crowd>, waits: bool) -> Result<(), Option<Reply>> {
        let blocking = self.reception.blocking.connect;
        let progress = self.on_talk(blocking, move |r, talk| connect::greet(r, talk, crowd)).await;
        let Some(progress) = progress else { return Err(None) };
        let greeting = match self.resolve(progress).await {
            Flow::Next => return Err(None),
            Flow::Close(reply) => reply,
        };
        let greeting = match greeting {
            Some(reply) if reply.code == 220 => reply,
            other => return Err(other),
        };
        self.is_admitted = true;
        let checks = waits && self.enforces_sync() && !self.talk_mut().offers.early_pipelining;
        if checks && self.channel.has_input().await {
            let input = self.channel.pending().to_vec();
            let reception = Arc::clone(&self.reception);
            return Err(Some(ending::early_talker(&reception, self.talk_mut(), &input)));
        }
        if self.talk_mut().offers.early_pipelining {
            self.talk_mut().is_early = self.channel.has_input().await;
        }
        greeting.write(self.channel.output());
        Ok(())
    }

    /// Whether clients that do not wait are refused.
    fn enforces_sync(&mut self) -> bool {
        let default = self.reception.settings.enforce_sync;
        let talk = self.talk_mut();
        // A caller on a pipe, even one that speaks for a host (`-oMa`), may send everything at once.
        talk.caller.is_none()
            && !talk.scene.context.connection.host_checking
            && talk.scene.connection.enforce_sync.unwrap_or(default)
    }

    /// The next command line; the error is the reply that ends the session.
    async fn next_command(&mut self) -> Result<Line, Reply> {
        let error = match self.channel.read_line(self.timeout()).await {
            Ok(line) => return Ok(line),
            Err(error) => error,
        };
        let reception = Arc::clone(&self.reception);
        let talk = self.talk_mut();
        Err(match error {
            ReadError::Timeout => ending::command_timeout(&reception, talk),
            ReadError::Closed | ReadError::Broken(_) => ending::connection_lost(&reception, talk),
        })
    }

    /// Obeys one command.
    async fn obey(&mut self, line: Line) -> Flow {
        let (line, is_whole) = match line {
            Line::Whole(line) => (line, true),
            Line::TooLong(head) => (head, false),
        };
        let shown = line.trim_ascii_end();
        let command = if is_whole { oxim_mail::smtp::command::parse(&line) } else { Ok(Command::Unknown) };
        let verb = command.as_ref().ok().and_then(Verb::of);
        let argument = argument_of(shown).to_vec();
        let more = !self.channel.pending().is_empty();
        let talk = self.talk_mut();
        talk.pipelined |= more;
        talk.scene.context.connection.smtp_command = shown.to_vec();
        talk.scene.context.connection.smtp_command_argument = argument;
        let (pipelining, early) = (talk.offers.pipelining, talk.offers.early_pipelining && !talk.greeted);
        let must_be_last = verb.map_or(command.is_ok(), |verb| verb.must_be_last(pipelining));
        if must_be_last && !early && self.enforces_sync() && self.channel.has_input().await {
            let input = self.channel.pending().to_vec();
            let reception = Arc::clone(&self.reception);
            return Flow::Close(Some(ending::synchronization_error(
                &reception,
                self.talk_mut(),
                &line,
                &input,
            )));
        }
        let blocking = command::may_block(&self.reception, &line);
        let answer = if is_whole { command::run } else { command::refuse_long };
        let Some(progress) = self.on_talk(blocking, move |r, talk| answer(r, talk, &line)).await else {
            return Flow::Close(None);
        };
        let flow = self.resolve(progress).await;
        if self.talk.as_ref().is_some_and(|talk| talk.transaction.chunking != Chunking::Between) {
            self.incoming = None;
        }
        match flow {
            Flow::Close(Some(reply)) if !reply.close && !self.talk_mut().quit => {
                reply.write(self.channel.output());
                Flow::Next
            }
            Flow::Close(last) => Flow::Close(last),
            Flow::Next => Flow::Next,
        }
    }

    /// Does what a verb asks for, until there is a reply. The reply is handed back unsent, in `Close`, whether or not it
    /// closes the session; `Next` means that all has been said.
    async fn resolve(&mut self, mut progress: Progress) -> Flow {
        loop {
            progress = match progress {
                Progress::Reply(reply) => return Flow::Close(Some(reply)),
                Progress::Close(reply) => return Flow::Close(reply.map(Reply::closing)),
                Progress::Pause(pause, next) => {
                    self.channel.flush(self.timeout()).await;
                    self.pause(pause).await;
                    *next
                }
                Progress::Say(reply, next) => {
                    reply.write(self.channel.output());
                    // What comes next may take its time, and the client's clock runs from reply to reply.
                    if self.reception.acls.may_block(Phase::Prdr) {
                        self.channel.flush(self.timeout()).await;
                    }
                    *next
                }
                Progress::Acl(phase, then) => match self.run_acl(phase, then).await {
                    Some(next) => next,
                    None => return Flow::Close(Some(internal_error())),
                },
                Progress::Body(source, reply) => match Box::pin(self.receive(source, reply)).await {
                    Ok(next) => next,
                    Err(flow) => return flow,
                },
                Progress::Ident(then) => {
                    let ident = self.ident().await;
                    let blocking = self.reception.blocking.connect;
                    match self.on_talk(blocking, move |r, talk| then(r, talk, ident)).await {
                        Some(next) => next,
                        None => return Flow::Close(None),
                    }
                }
                Progress::StartTls(reply) => {
                    if Box::pin(self.start_tls(Some(reply))).await {
                        return Flow::Next;
                    }
                    return Flow::Close(None);
                }
                Progress::Turn(reply, order) => {
                    Box::pin(self.turn(reply, *order)).await;
                    return Flow::Close(None);
                }
                Progress::Authenticate(exchange) => match Box::pin(self.authenticate(exchange)).await {
                    Ok(next) => next,
                    Err(flow) => return flow,
                },
                Progress::Commit(ready) => match Box::pin(self.commit(*ready)).await {
                    Some(reply) => Progress::Reply(reply),
                    None if self.is_broken => return Flow::Close(Some(internal_error())),
                    None => return Flow::Next,
                },
            };
        }
    }

    /// Asks the client's host who has connected.
    async fn ident(&mut self) -> Ident {
        let limit = self.reception.settings.ident_timeout;
        let connection = &self.talk_mut().scene.context.connection;
        let ends = (connection.host_address, connection.interface, limit);
        let (Some(address), Some(local), Some(limit)) = ends else { return Ident::Unknown };
        let client = SocketAddr::new(address, connection.host_port);
        Box::pin(ident::ask(client, local, limit)).await
    }

    /// Does to the socket what controls have asked for.
    fn mark(&mut self) {
        let Some(field) = self.talk_mut().scene.connection.dscp.take() else { return };
        if let Err(error) = self.channel.mark(field) {
            let text = error_text(&error);
            self.reception.logs.panic(&format!("failed to set DSCP: {text}"));
        }
    }

    /// Runs work on the talk, here or on a worker thread. None: the worker broke, and the session is over.
    async fn on_talk<R: Send + 'static>(
        &mut self,
        blocking: bool,
        work: impl FnOnce(&Arc<Reception>, &mut Talk) -> R + Send + 'static,
    ) -> Option<R> {
        let mut talk = self.talk.take()?;
        if !blocking {
            let result = watched(&self.reception, &mut talk, work);
            self.talk = Some(talk);
            self.mark();
            return Some(result);
        }
        let permit = Arc::clone(&self.reception.workers).acquire_owned().await.ok()?;
        let reception = Arc::clone(&self.reception);
        let running = tokio::task::spawn_blocking(move || {
            let result = watched(&reception, &mut talk, work);
            drop(permit);
            (talk, result)
        });
        match running.await {
            Ok((talk, result)) => {
                self.talk = Some(talk);
                self.mark();
                Some(result)
            }
            Err(error) => {
                self.reception.logs.panic(&format!("SMTP session ended by a fault of the program: {error}"));
                self.is_broken = true;
                self.talk = Some(Box::new(Talk::new(self.reception.context(), None)));
                None
            }
        }
    }

    /// Runs the ACL of a phase and what follows it, with pauses where it asks for them.
    async fn run_acl(&mut self, phase: Phase, then: Then) -> Option<Progress> {
        let acls = &self.reception.acls;
        let holds = phase == Phase::Data && self.talk.as_ref().is_some_and(|talk| talk.scene.held.is_some());
        let scans = matches!(phase, Phase::Data | Phase::Prdr | Phase::Dkim | Phase::Mime)
            && self.talk.as_ref().is_some_and(|talk| talk.scene.message.bmi.is_wanted);
        let blocking = acls.may_block(phase) || self.then_may_block(phase) || holds || scans;
        if !acls.is_set(phase) {
            let outcome = Outcome::plain(phase.when_unset());
            return self.on_talk(blocking, move |r, talk| then(r, talk, outcome)).await;
        }
        let mut ran = self
            .on_talk(blocking, move |r, talk| {
                let step = r.acls.run(r, &mut talk.scene, phase);
                after_step(r, talk, step, phase, then)
            })
            .await?;
        loop {
            let (pause, flush, resume, phase, then) = match ran {
                Ran::Progress(progress) => return Some(progress),
                Ran::Delay { pause, flush, resume, phase, then } => (pause, flush, resume, phase, then),
            };
            if flush {
                self.channel.flush(self.timeout()).await;
            }
            self.pause(pause).await;
            ran = self
                .on_talk(blocking, move |r, talk| {
                    let step = r.acls.resume(r, &mut talk.scene, resume);
                    after_step(r, talk, step, phase, then)
                })
                .await?;
        }
    }

    /// Whether what follows the ACL of a phase may block though the ACL does not.
    fn then_may_block(&self, phase: Phase) -> bool {
        match phase {
            Phase::Helo => self.reception.blocking.helo,
            Phase::Connect => self.reception.blocking.connect,
            // After it come the other ACLs of the data.
            Phase::Data | Phase::Dkim | Phase::Mime => self.reception.blocking.data,
            Phase::Mail | Phase::MailAuth => self.reception.blocking.mail,
            Phase::Rcpt => self.reception.blocking.rcpt,
            Phase::Vrfy | Phase::Expn | Phase::Etrn | Phase::Atrn | Phase::Auth | Phase::Wellknown => true,
            Phase::Predata
            | Phase::Prdr
            | Phase::NotSmtp
            | Phase::NotSmtpMime
            | Phase::NotSmtpStart
            | Phase::NotQuit
            | Phase::Quit
            | Phase::StartTls
            | Phase::Unknown => false,
        }
    }

    /// `delay`: under `-bh` it is only mentioned.
    async fn pause(&mut self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        if self.talk_mut().scene.context.connection.host_checking {
            eprintln!(">>> (delay skipped in -bh checking mode)");
            return;
        }
        tokio::time::sleep(pause).await;
    }

    /// Receives a body or a chunk. The error ends the session or says that there is nothing more to do.
    async fn receive(&mut self, source: BodySource, reply: Option<Reply>) -> Result<Progress, Flow> {
        match source {
            BodySource::Discarded { size } => {
                self.skip(size).await?;
                Ok(Progress::Reply(reply.unwrap_or_else(internal_error)))
            }
            BodySource::Data => {
                if let Some(reply) = reply {
                    reply.write(self.channel.output());
                }
                // Under -bh a person or a script types, with the line ends of this system.
                let talk = self.talk_mut();
                let is_local = talk.is_local() || talk.scene.context.connection.host_checking;
                let framing = if is_local { Framing::Local } else { Framing::Network };
                let mut incoming = Box::new(self.incoming(framing));
                let mut patience = Patience::new(self.timeout());
                loop {
                    let (used, ended) = incoming.feed(self.channel.pending());
                    self.channel.consume(used);
                    if ended {
                        return Ok(self.arrived(*incoming).await);
                    }
                    self.read_data(Some(incoming.place()), &mut patience).await?;
                }
            }
            BodySource::Chunk { size, last } => self.receive_chunk(size, last).await,
        }
    }

    async fn receive_chunk(&mut self, size: u64, last: bool) -> Result<Progress, Flow> {
        let mut incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => Box::new(self.incoming(Framing::Chunks)),
        };
        let mut left = size;
        let mut patience = Patience::new(self.timeout());
        while left > 0 {
            let pending = self.channel.pending();
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(pending.len());
            incoming.feed(pending.get(..take).unwrap_or_default());
            self.channel.consume(take);
            left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
            if left > 0 {
                self.read_data(Some(incoming.place()), &mut patience).await?;
            }
        }
        if last {
            self.talk_mut().transaction.last_chunk = Some(LastChunk { size, total: incoming.read_bytes() });
            incoming.end_of_input();
            self.talk_mut().transaction.chunking = Chunking::Unused;
            return Ok(self.arrived(*incoming).await);
        }
        self.incoming = Some(incoming);
        Ok(Progress::Reply(command::after_chunk(self.talk_mut(), size)))
    }

    fn incoming(&mut self, framing: Framing) -> Incoming {
        let reception = Arc::clone(&self.reception);
        let talk = self.talk_mut();
        let from_line = if talk.may_send_from_line { reception.from_line.clone() } else { None };
        let incoming = Incoming::new(&reception, framing, talk.size_limit, from_line);
        if talk.scene.message.dkim_disable_verify {
            incoming
        } else {
            incoming.verifying(&reception.settings.dkim)
        }
    }

    /// Throws bytes away.
    async fn skip(&mut self, size: u64) -> Result<(), Flow> {
        let mut left = size;
        let mut patience = Patience::new(self.timeout());
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.channel.pending().len());
            self.channel.consume(take);
            left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
            if left > 0 {
                self.read_data(None, &mut patience).await?;
            }
        }
        Ok(())
    }

    /// Reads once within a message. The time limit begins anew with each line, or as many bytes.
    async fn read_data(&mut self, place: Option<Place>, patience: &mut Patience) -> Result<(), Flow> {
        let error = match self.channel.read(patience.left()).await {
            Ok(()) => {
                let input = self.channel.pending();
                let is_line = input.len() >= LINE_PROGRESS_BYTES || memchr::memchr(b'\n', input).is_some();
                if is_line {
                    patience.renew();
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let reception = Arc::clone(&self.reception);
        let talk = self.talk_mut();
        Err(match error {
            ReadError::Timeout => Flow::Close(Some(ending::data_timeout(&reception, talk))),
            ReadError::Closed | ReadError::Broken(_) => {
                Flow::Close(Some(ending::data_lost(&reception, talk, place)))
            }
        })
    }

    /// A whole message is there.
    async fn arrived(&mut self, incoming: Incoming) -> Progress {
        let holds = self.talk_mut().scene.held.is_some();
        let blocking = self.reception.blocking.data || incoming.is_signed() || holds;
        let progress = match incoming.finish() {
            Ok(received) => {
                self.on_talk(blocking, move |r, talk| acceptance::examine(r, talk, received)).await
            }
            Err(refused) => {
                self.on_talk(false, move |r, talk| Progress::Reply(acceptance::refused(r, talk, *refused)))
                    .await
            }
        };
        progress.unwrap_or_else(|| Progress::Reply(internal_error()))
    }

    /// Makes a message durable: the instant of acceptance is when the store says so. Under `-bh` there is no such instant, and
    /// the reply has been written.
    async fn commit(&mut self, ready: Ready) -> Option<Reply> {
        let Ready { message, draft, reply, facts } = ready;
        let reception = Arc::clone(&self.reception);
        if self.talk_mut().scene.context.connection.host_checking {
            let reply = acceptance::pretended(&reception, self.talk_mut(), &message, &facts, reply);
            reply.write(self.channel.output());
            self.channel.write(b"\n**** SMTP testing: that is not a real message id!\n\n");
            return None;
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        reception.store.commit(
            message,
            draft,
            Box::new(move |outcome| {
                // Nobody listens any more when the session was aborted; the claim is then dropped, and with it released.
                let _ = tell.send(outcome);
            }),
        );
        Some(match told.await {
            Ok(Ok(claim)) => {
                let take = move |r: &Arc<Reception>, talk: &mut Talk| {
                    acceptance::accepted(r, talk, &facts, reply, claim)
                };
                return self.on_talk(reception.sink.may_block(), take).await;
            }
            Ok(Err(error)) => acceptance::not_durable(&reception, self.talk_mut(), &error),
            Err(_) => acceptance::not_durable(&reception, self.talk_mut(), &oxim_spool::SpoolError::Closed),
        })
    }

    /// One challenge and its answer.
    async fn authenticate(&mut self, exchange: Box<auth::Exchange>) -> Result<Progress, Flow> {
        exchange.challenge.write(self.channel.output());
        let line = match self.next_command().await {
            Ok(line) => line,
            Err(reply) => return Err(Flow::Close(Some(reply))),
        };
        let progress = match line {
            Line::Whole(line) => {
                self.on_talk(true, move |r, talk| auth::answer(r, talk, exchange, line.trim_ascii())).await
            }
            Line::TooLong(_) => {
                self.on_talk(true, move |r, talk| auth::refuse_long(r, talk, &exchange)).await
            }
        };
        progress.ok_or(Flow::Close(None))
    }

    /// The end of the session: the not-QUIT ACL, the last reply, the last log lines.
    async fn end(&mut self, last: Option<Reply>) {
        let mut last = last;
        let reason = self.talk_mut().scene.context.connection.notquit_reason.clone();
        if self.is_admitted && !self.is_broken && !self.talk_mut().quit && reason.is_some() {
            let from_acl = self.not_quit().await;
            if let (Some(reply), Some(text)) = (&mut last, from_acl)
                && reason.as_deref() != Some(b"acl-drop")
            {
                reply.text = text.into();
            }
        }
        if let Some(line) = self.talk_mut().last_line.take() {
            if line.is_refusal {
                self.reception.logs.main_and_reject(&line.text);
            } else {
                self.reception.logs.main(&line.text);
            }
        }
        if let Some(reply) = last {
            reply.write(self.channel.output());
        }
        self.channel.close().await;
        if self.is_admitted {
            let reception = Arc::clone(&self.reception);
            ending::log_end(&reception, self.talk_mut());
        }
    }

    /// Whether the session was let in and has ended neither by QUIT nor by an ACL: the exit code of `-bs` tells.
    pub(crate) fn was_cut_short(&mut self) -> bool {
        let is_admitted = self.is_admitted;
        let talk = self.talk_mut();
        is_admitted
            && !talk.quit
            && talk.scene.context.connection.notquit_reason.as_deref() != Some(b"acl-drop")
    }

    /// Runs the not-QUIT ACL; its message may replace the last reply.
    async fn not_quit(&mut self) -> Option<Vec<u8>> {
        if !self.reception.acls.is_set(Phase::NotQuit) {
            return None;
        }
        let then: Then = Box::new(|_, _, outcome| {
            let text = outcome.user_message.map(oxim_base::Text::into_bytes);
            Progress::Reply(Reply::new(421, text.unwrap_or_default()))
        });
        match self.run_acl(Phase::NotQuit, then).await {
            Some(Progress::Reply(reply)) if !reply.text.is_empty() => Some(reply.text.into_owned()),
            _ => None,
        }
    }
}

/// Runs work with the debugging output of the connection, if there is any (`control = debug`).
fn watched<R>(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    work: impl FnOnce(&Arc<Reception>, &mut Talk) -> R,
) -> R {
    let was_on = talk.scene.connection.debug.as_ref().map(Debugging::enter).is_some();
    // What another session asked in vain on this thread is no event of this one.
    oxim_net::dns::failures::forget();
    let result = work(reception, talk);
    event::dns_failures(&mut talk.scene.context);
    if was_on || talk.scene.connection.debug.is_some() {
        oxim_base::debug::set_tap(None);
    }
    result
}

/// Goes on after a step of an ACL.
fn after_step(reception: &Arc<Reception>, talk: &mut Talk, step: Step, phase: Phase, then: Then) -> Ran {
    match step {
        Step::Done(outcome) => Ran::Progress(then(reception, talk, outcome)),
        Step::Delay { pause, flush, resume } => Ran::Delay { pause, flush, resume, phase, then },
    }
}

/// What stands behind the verb.
fn argument_of(line: &[u8]) -> &[u8] {
    let verb = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let argument = line.get(verb..).unwrap_or_default().trim_ascii();
    // The verbs of these two have two words.
    let second: &[u8] = match line.get(..verb) {
        Some(verb) if verb.eq_ignore_ascii_case(b"MAIL") => b"FROM:",
        Some(verb) if verb.eq_ignore_ascii_case(b"RCPT") => b"TO:",
        Some(_) | None => b"",
    };
    match argument.split_at_checked(second.len()) {
        Some((first, rest)) if first.eq_ignore_ascii_case(second) => rest.trim_ascii_start(),
        Some(_) | None => argument,
    }
}

fn internal_error() -> Reply {
    Reply::fixed(421, "Temporary local problem - please try later").closing()
}

mod start_tls;
#[cfg(test)]
mod tests;
mod turn;
