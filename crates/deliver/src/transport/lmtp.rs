//! The lmtp transport: LMTP with a command or a Unix socket (manual chapter 28). Over TCP it is smtp with `protocol = lmtp`.
//!
//! Here options become a job; the dialogue is made by `agent/lmtp`, as the user of the delivery.

use std::time::Duration;

use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

use super::compose;
use super::local::{self, recipient};
use super::pipe::split_command;
use super::{Batch, Delivered, DeliveryError, Driver, Outcome, Run, Transport, TransportKind, error_code};
use crate::agent::job::{Job, JobResult};
use crate::agent::lmtp::{LmtpAnswer, LmtpJob, LmtpPeer};
use crate::delivery::Delivery;

/// The row.
pub static LMTP: TransportKind =
    TransportKind { row: DriverRow { name: "lmtp", options: rows::TRANSPORT_LMTP }, build };

struct Lmtp {
    command: Vec<Template>,
    /// The command as it stands in the configuration, for messages.
    command_line: Option<String>,
    socket: Option<Template>,
    ignore_quota: bool,
    timeout: Duration,
    batch_max: usize,
    batch_id: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    let options = &instance.options;
    let fail = |text: &str| vec![ConfigError::about(format!("{} transport", instance.name), text)];
    let command = match options.string("command") {
        Some(line) => split_command(line).map_err(|error| fail(&error))?,
        None => Vec::new(),
    };
    if command.is_empty() == options.template("socket").is_none() {
        return Err(fail("either \"command\" or \"socket\" must be set"));
    }
    Ok(Box::new(Lmtp {
        command: command.iter().map(|word| Template::compile(word)).collect(),
        command_line: options.string("command").map(str::to_owned),
        socket: options.template("socket"),
        ignore_quota: options.bool("ignore_quota"),
        timeout: options.time("timeout"),
        batch_max: usize::try_from(options.int("batch_max")).unwrap_or(1),
        batch_id: options.template("batch_id"),
    }))
}

impl Lmtp {
    fn peer(&self, transport: &Transport, context: &mut Context) -> Result<LmtpPeer, DeliveryError> {
        let line = self.command_line.as_ref().filter(|_| self.socket.is_none());
        let whole = line.map(|line| format!(" from command \"{line}\"")).unwrap_or_default();
        let mut expand = |template: &Template| {
            let text = template.expand(context).map_err(|error| {
                let text = format!(
                    "Expansion of \"{}\"{whole} in {} transport failed: {error}",
                    template.source(),
                    transport.name
                );
                DeliveryError { is_for_panic_log: true, ..DeliveryError::new(error_code::UNKNOWN, text) }
            })?;
            if text.is_foreign() {
                let text = format!(
                    "Tainted '{text}' (command or socket for {} transport) not permitted",
                    transport.name
                );
                return Err(DeliveryError::new(error_code::UNKNOWN, text));
            }
            Ok(text.into_bytes())
        };
        match &self.socket {
            Some(socket) => expand(socket).map(LmtpPeer::Socket),
            None => self.command.iter().map(expand).collect::<Result<_, _>>().map(LmtpPeer::Command),
        }
    }
}

impl Driver for Lmtp {
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run {
        let prepared = compose::compose(delivery, transport, context, batch).and_then(|composed| {
            self.peer(transport, context).map(|peer| (composed, peer)).map_err(Outcome::Deferred)
        });
        let (composed, peer) = match prepared {
            Ok(prepared) => prepared,
            Err(outcome) => return Run::all(batch, &outcome),
        };
        let rcpt = |address| [b"RCPT TO:<".as_slice(), &recipient(transport, address), b">"].concat();
        let job = Job::Lmtp(LmtpJob {
            peer,
            transport: transport.name.clone(),
            lhlo: delivery.config.main.primary_hostname.clone(),
            mail: [b"MAIL FROM:<", batch.return_path.as_slice(), b">"].concat(),
            recipients: batch.addresses.iter().map(rcpt).collect(),
            ignore_quota: self.ignore_quota,
            timeout: self.timeout,
        });
        let answer = local::perform(delivery, batch, &job, &composed);
        if let JobResult::Lmtp(answers) = answer {
            return Run::of(answers.into_iter().map(outcome).collect());
        }
        local::refused(batch, answer)
    }

    fn is_local(&self) -> bool {
        true
    }

    fn addresses_max(&self) -> usize {
        self.batch_max.max(1)
    }

    fn takes_domains(&self) -> bool {
        true
    }

    fn names_recipients(&self) -> bool {
        true
    }

    fn batch_id(&self) -> Option<&Template> {
        self.batch_id.as_ref()
    }
}

fn outcome(answer: LmtpAnswer) -> Outcome {
    match answer {
        LmtpAnswer::Accepted(confirmation, bytes) => Outcome::Delivered(Delivered {
            confirmation: Some(confirmation.into()),
            bytes: Some(bytes),
            ..Delivered::default()
        }),
        LmtpAnswer::Refused(text) => Outcome::Failed(DeliveryError { text, ..DeliveryError::default() }),
        LmtpAnswer::Deferred(code, more, text) => {
            Outcome::Deferred(DeliveryError { more, ..DeliveryError::new(code, text) })
        }
    }
}
