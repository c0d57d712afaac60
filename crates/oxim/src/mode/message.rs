//! `-M…`: acts on messages of the queue, or shows them. What is printed and logged is Exim's.

use std::io::{self, Write};
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use oxim_deliver::event::{self, Event};
use oxim_deliver::queue::{AttemptOptions, Ended};
use oxim_lang::context::Context;
use oxim_mail::message_id::MessageId;
use oxim_spool::message::Recipient;
use oxim_spool::store::admin::{self, AdminError};
use oxim_spool::store::{Claim, ClaimError, LocalStore, Part, Store};

use crate::args::{MessageAction, MessageCommand};
use crate::assemble::{self, Program};
use crate::engine::{self, Engine, Settings, small_runtime};
use crate::{control, privilege, services};

/// Exim's words for a caller who may not do it; they depend on where it looks.
pub(crate) fn denied(action: MessageAction) -> &'static str {
    match action {
        MessageAction::DeliverForced | MessageAction::Deliver => "exim: Permission denied",
        MessageAction::GiveUp | MessageAction::MoveToQueue => "exim: permission denied",
        MessageAction::AddRecipients
        | MessageAction::EditSender
        | MessageAction::Freeze
        | MessageAction::MarkAllDelivered
        | MessageAction::MarkDelivered
        | MessageAction::Remove
        | MessageAction::Thaw
        | MessageAction::ShowBody
        | MessageAction::ShowCopy
        | MessageAction::ShowHeader
        | MessageAction::ShowLog => "Permission denied",
    }
}

/// Does it. The exit code is 1 if it could not be done for some message.
pub fn run(program: &Program, command: &MessageCommand) -> u8 {
    control::flush(&program.services.spool_directory);
    if control::order::delivers(command.action) {
        return deliver(program, command);
    }
    let store = match LocalStore::direct(services::store_config(&program.config, &program.services)) {
        Ok(store) => store,
        Err(error) => {
            complain!("exim: {error}");
            return 1;
        }
    };
    // Events may run ACLs and lookups: that takes the whole engine.
    let raises_events = command.action == MessageAction::Remove && program.config.main.event_action.is_some();
    let runtime = small_runtime().ok().filter(|_| raises_events);
    let engine =
        runtime.as_ref().map(|runtime| Engine::build(program, runtime.handle(), Settings::default()));
    if let Some(Err(errors)) = &engine {
        assemble::report(errors);
    }
    let work = Work { program, store: &store, who: privilege::caller_login() };
    let code = work.run(command);
    drop(engine);
    if let Some(runtime) = runtime {
        runtime.shutdown_background();
    }
    code
}

fn id_of(word: &[u8]) -> Option<MessageId> {
    MessageId::parse(word)
}

/// `-M`, `-Mc`, `-Mg`: attempts, one message after the other.
fn deliver(program: &Program, command: &MessageCommand) -> u8 {
    let Some((runtime, engine)) = engine::for_command(program, Settings::default()) else { return 1 };
    let code = attempt(&engine, command, program.line.dont_deliver, &privilege::caller_login());
    runtime.shutdown_background();
    code
}

/// The attempts, in the name of `who`.
pub(crate) fn attempt(engine: &Engine, command: &MessageCommand, dont_deliver: bool, who: &str) -> u8 {
    let options = AttemptOptions {
        force: command.action == MessageAction::DeliverForced,
        force_frozen: command.action == MessageAction::DeliverForced,
        give_up: command.action == MessageAction::GiveUp,
        dont_deliver,
        ..AttemptOptions::default()
    };
    for id in command.words.iter().filter_map(|w| id_of(w)) {
        match engine.store.claim(&id) {
            Ok(claim) => {
                if options.give_up {
                    engine.services.log().main(format!("{id} cancelled by {who}"));
                }
                let _: Ended = engine.attempt(claim, options);
            }
            Err(ClaimError::Busy) => engine
                .services
                .log()
                .main(format!("{id} Spool file is locked (another process is handling this message)")),
            Err(ClaimError::Gone) => engine.services.log().main(format!("{id} Spool file {id}-D not found")),
            Err(error) => {
                oxim_deliver::queue::unreadable(&engine.delivery, &*engine.store, &id, &error);
            }
        }
    }
    0
}

struct Work<'a> {
    program: &'a Program,
    store: &'a LocalStore,
    who: String,
}

impl Work<'_> {
    fn run(&self, command: &MessageCommand) -> u8 {
        let (first, rest) = match command.words.split_first() {
            Some((first, rest)) => (first, rest),
            None => return 1,
        };
        match command.action {
            MessageAction::ShowHeader => self.show(first, Part::Header),
            MessageAction::ShowBody => self.show(first, Part::Data),
            MessageAction::ShowLog => self.show(first, Part::Log),
            MessageAction::ShowCopy => self.show_copy(first),
            MessageAction::AddRecipients => self.add_recipients(first, rest),
            MessageAction::EditSender => self.edit_sender(first, rest),
            MessageAction::MarkDelivered => self.mark_delivered(first, rest),
            MessageAction::MoveToQueue => self.each(rest, |work, id| work.move_to(id, first)),
            MessageAction::Freeze => self.each(&command.words, Work::freeze),
            MessageAction::Thaw => self.each(&command.words, Work::thaw),
            MessageAction::MarkAllDelivered => self.each(&command.words, Work::mark_all),
            MessageAction::Remove => self.each(&command.words, Work::remove),
            MessageAction::Deliver | MessageAction::DeliverForced | MessageAction::GiveUp => 1,
        }
    }

    fn each(&self, words: &[Vec<u8>], act: impl Fn(&Self, &MessageId) -> bool) -> u8 {
        // All of them, whatever becomes of one.
        let done: Vec<bool> = words.iter().filter_map(|w| id_of(w)).map(|id| act(self, &id)).collect();
        u8::from(done.contains(&false))
    }

    fn log(&self, id: &MessageId, text: &str) {
        self.program.services.log().main(format!("{id} {text}"));
    }

    fn trouble(&self, id: &MessageId, error: &AdminError) -> bool {
        match error {
            AdminError::AlreadyFrozen | AdminError::NotFrozen => say!("Message {id} {error}"),
            AdminError::Claim(error) => Self::unclaimed(id, error),
            AdminError::NotARecipient(_) => {
                say!("Message {id} - error while marking as delivered:\n  {error}");
            }
            AdminError::Spool(_) => say!("Message {id}: {error}"),
        }
        false
    }

    /// Tells why a message cannot be had.
    fn unclaimed(id: &MessageId, error: &ClaimError) {
        match error {
            ClaimError::Busy => say!("Message {id} is locked"),
            ClaimError::Gone => say!("Spool data file for {id} does not exist"),
            ClaimError::NoHeader => say!("Spool read error for {id}-H: No such file or directory"),
            ClaimError::Corrupt(_) => say!("Spool format error for {id}-H"),
            ClaimError::CorruptData { .. } => say!("Spool format error for {id}-D"),
            ClaimError::Local(error) => say!("Spool read error for {id}: {}", error_text(error)),
        }
    }

    fn freeze(&self, id: &MessageId) -> bool {
        match admin::freeze(self.store, id, Stamp::now().seconds) {
            Ok(claim) => {
                say!("Message {id} is now frozen");
                self.log(&claim.id(), &format!("frozen by {}", self.who));
                true
            }
            Err(error) => self.trouble(id, &error),
        }
    }

    fn thaw(&self, id: &MessageId) -> bool {
        match admin::thaw(self.store, id) {
            Ok(claim) => {
                say!("Message {id} is no longer frozen");
                self.log(&claim.id(), &format!("unfrozen by {}", self.who));
                true
            }
            Err(error) => self.trouble(id, &error),
        }
    }

    fn modified(id: &MessageId) -> bool {
        say!("Message {id} has been modified");
        true
    }

    fn qualified(&self, word: &[u8]) -> Vec<u8> {
        if word.contains(&b'@') || word.is_empty() {
            word.to_vec()
        } else {
            [word, b"@", self.program.config.main.qualify_recipient.as_bytes()].concat()
        }
    }

    fn add_recipients(&self, id: &[u8], words: &[Vec<u8>]) -> u8 {
        let Some(id) = id_of(id) else { return 1 };
        let addresses: Vec<Vec<u8>> = words.iter().map(|w| self.qualified(w)).collect();
        match admin::add_recipients(self.store, &id, &addresses) {
            Ok(claim) => {
                for address in &addresses {
                    self.log(
                        &claim.id(),
                        &format!("recipient <{}> added by {}", String::from_utf8_lossy(address), self.who),
                    );
                }
                u8::from(!Self::modified(&id))
            }
            Err(error) => u8::from(!self.trouble(&id, &error)),
        }
    }

    fn edit_sender(&self, id: &[u8], words: &[Vec<u8>]) -> u8 {
        let (Some(id), Some(sender)) = (id_of(id), words.first()) else { return 1 };
        let sender = if sender == b"<>" { Vec::new() } else { self.qualified(sender) };
        match admin::set_sender(self.store, &id, &sender) {
            Ok(claim) => {
                self.log(
                    &claim.id(),
                    &format!(
                        "sender address changed to <{}> by {}",
                        String::from_utf8_lossy(&sender),
                        self.who
                    ),
                );
                u8::from(!Self::modified(&id))
            }
            Err(error) => u8::from(!self.trouble(&id, &error)),
        }
    }

    fn log_marked<'a>(&self, claim: &Claim, addresses: impl Iterator<Item = &'a Vec<u8>>) {
        for address in addresses {
            self.log(
                &claim.id(),
                &format!("address <{}> marked delivered by {}", String::from_utf8_lossy(address), self.who),
            );
        }
    }

    fn mark_delivered(&self, id: &[u8], words: &[Vec<u8>]) -> u8 {
        let Some(id) = id_of(id) else { return 1 };
        match admin::mark_delivered(self.store, &id, words) {
            Ok(claim) => {
                self.log_marked(&claim, words.iter());
                u8::from(!Self::modified(&id))
            }
            Err(error) => u8::from(!self.trouble(&id, &error)),
        }
    }

    fn mark_all(&self, id: &MessageId) -> bool {
        match admin::mark_all_delivered(self.store, id) {
            Ok(claim) => {
                let message = Arc::clone(claim.message());
                self.log_marked(&claim, message.recipients.iter().map(|r| &r.address));
                Self::modified(id)
            }
            Err(error) => self.trouble(id, &error),
        }
    }

    fn move_to(&self, id: &MessageId, queue: &[u8]) -> bool {
        match admin::set_queue(self.store, id, queue) {
            Ok(claim) => {
                self.log(
                    &claim.id(),
                    &format!("moved from queue '' to '{}' by {}", String::from_utf8_lossy(queue), self.who),
                );
                Self::modified(id)
            }
            Err(error) => self.trouble(id, &error),
        }
    }

    fn remove(&self, id: &MessageId) -> bool {
        match self.store.claim(id) {
            Ok(claim) => {
                self.raise_events(&claim);
                self.log(id, &format!("removed by {}", self.who));
                self.log(id, "Completed");
                match self.store.finish(claim) {
                    Ok(()) => {
                        say!("Message {id} has been removed");
                        true
                    }
                    Err(error) => {
                        say!("Message {id} could not be removed: {error}");
                        false
                    }
                }
            }
            Err(error) => {
                Self::unclaimed(id, &error);
                if !matches!(error, ClaimError::Busy) {
                    self.remove_rest(id, &error);
                }
                false
            }
        }
    }

    /// Removes what there is of a message that cannot be read.
    fn remove_rest(&self, id: &MessageId, error: &ClaimError) {
        let has_data = !matches!(error, ClaimError::Gone);
        if !has_data {
            say!("Continuing, to ensure all files removed");
        }
        let mut has_header_trouble = has_data;
        match self.store.discard(id) {
            Ok(()) => {
                self.log(id, &format!("removed by {}", self.who));
                self.log(id, "Completed");
            }
            Err(ClaimError::Gone) => {
                Self::unclaimed(id, &ClaimError::NoHeader);
                has_header_trouble = true;
            }
            Err(error) => return Self::unclaimed(id, &error),
        }
        if has_header_trouble {
            say!("Continuing to ensure all files removed");
        }
        say!("Message {id} has been removed{}", if has_data { "" } else { " or did not exist" });
    }

    /// A message that is removed fails for those who have not got it.
    fn raise_events(&self, claim: &Claim) {
        if self.program.config.main.event_action.is_none() {
            return;
        }
        let (message, services) = (claim.message(), Arc::clone(&self.program.services));
        let config = Arc::clone(&self.program.config);
        let mut context = Context::for_message(config, services, message, claim.body().clone());
        let text = format!("message removed by {}", self.who);
        let waits = |recipient: &&Recipient| !message.non_recipients.contains(&recipient.address);
        for recipient in message.recipients.iter().filter(waits) {
            let (local_part, domain) = oxim_mail::address::split_at_domain(&recipient.address);
            context.address.local_part = Text::tainted(local_part);
            context.address.domain = Text::tainted(domain.unwrap_or_default());
            event::raise_main(&mut context, Event::new("msg:fail:internal", text.as_bytes()));
        }
        event::completed(&mut context);
    }

    fn show(&self, word: &[u8], part: Part) -> u8 {
        let Some(id) = id_of(word) else { return 1 };
        let suffix = match part {
            Part::Header => "-H",
            Part::Data => "-D",
            Part::Log => "",
        };
        match self.store.read_part(&id, part) {
            Ok(mut reader) => u8::from(io::copy(&mut reader, &mut io::stdout().lock()).is_err()),
            Err(ClaimError::Gone) => {
                say!(
                    "Failed to open {} file for {id}{suffix}: No such file or directory",
                    if part == Part::Log { "msglog" } else { "input" }
                );
                1
            }
            Err(ClaimError::Local(error)) => {
                say!("Failed to open input file for {id}{suffix}: {}", error_text(&error));
                1
            }
            Err(error) => {
                Self::unclaimed(&id, &error);
                1
            }
        }
    }

    fn show_copy(&self, word: &[u8]) -> u8 {
        let Some(id) = id_of(word) else { return 1 };
        match self.store.claim(&id) {
            Ok(claim) => {
                let mut out = io::stdout().lock();
                let mut written = Ok(());
                for header in claim.message().headers.iter_live() {
                    written = written.and_then(|()| out.write_all(&header.text));
                }
                let written = written
                    .and_then(|()| out.write_all(b"\n"))
                    .and_then(|()| io::copy(&mut claim.body().reader(), &mut out));
                u8::from(written.is_err())
            }
            Err(error) => {
                Self::unclaimed(&id, &error);
                1
            }
        }
    }
}
