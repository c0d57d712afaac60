//! `transport_filter`: a command that a message goes through on its way out (manual chapter 24).
//!
//! It runs before the delivery begins, as the user that the delivery runs as, with an empty environment; what it prints on
//! standard output and standard error is the message from then on. Failure modes: a filter that fails, is killed or takes too long
//! defers; an argument that comes from outside fails the address.

use std::io::Read;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::limits::FILTERED_BYTES_MAX;
use oxim_lang::config::Options;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

use super::local::{recipient, working_directory};
use super::pipe::split_command;
use super::{Batch, DeliveryError, Outcome, Transport, error_code};
use crate::agent::job::{CommandJob, CommandStatus, Framing, Job, JobResult};
use crate::delivery::Delivery;

/// The command, taken apart once.
pub struct Filter {
    line: String,
    /// None: a quote is not closed.
    words: Result<Vec<(String, Template)>, String>,
    timeout: Duration,
}

impl Filter {
    /// Reads the options; None without a command.
    #[must_use]
    pub fn build(options: &Options) -> Option<Filter> {
        let line = options.string("transport_filter").filter(|line| !line.trim().is_empty())?.to_owned();
        let words = split_command(&line)
            .map(|words| words.into_iter().map(|w| (w.clone(), Template::compile(&w))).collect());
        Some(Filter { line, words, timeout: options.time("transport_filter_timeout") })
    }

    /// Sends a message through the command. `Ok(None)`: the command expands to nothing, there is no filter.
    ///
    /// # Errors
    /// What becomes of the addresses instead.
    pub fn run(
        &self,
        delivery: &Delivery,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
        message: &mut dyn Read,
    ) -> Result<Option<Vec<u8>>, Outcome> {
        let argv = self.argv(transport, context, batch)?;
        if argv.first().is_none_or(Vec::is_empty) {
            return Ok(None);
        }
        if !argv.first().is_some_and(|program| program.starts_with(b"/")) {
            return Err(failed("127", ": unable to execute command"));
        }
        let job = Job::Filter(CommandJob {
            argv,
            environment: Vec::new(),
            directory: working_directory(batch),
            umask: 0o077,
            may_dump_core: false,
            timeout: self.timeout,
            output_bytes_max: FILTERED_BYTES_MAX,
            framing: Framing::default(),
        });
        let answer = delivery.agents.perform(&batch.identity, &job, message);
        let JobResult::Exited { status, output, .. } = answer else {
            let trouble = answer.trouble();
            return Err(Outcome::Deferred(DeliveryError::new(trouble.code, trouble.text)));
        };
        match status {
            CommandStatus::Code(0) => Ok(Some(output)),
            CommandStatus::TimedOut => Err(transport.driver.filter_timed_out()),
            CommandStatus::TooMuchOutput => {
                let text = "transport filter gave too much output";
                Err(Outcome::Deferred(DeliveryError::new(error_code::FILTER_FAILED, text)))
            }
            CommandStatus::Code(code) => Err(failed(&code.to_string(), "")),
            CommandStatus::Signal(signal) => Err(failed(&format!("-{signal}"), "")),
            CommandStatus::NotStarted(_) => Err(failed("127", ": unable to execute command")),
        }
    }

    /// The words of the command; `$pipe_addresses` becomes one for each address, which alone may come from outside.
    fn argv(
        &self,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<Vec<Vec<u8>>, Outcome> {
        let fault = |text: String| {
            let error = DeliveryError::new(error_code::UNKNOWN, text);
            Outcome::Deferred(DeliveryError { is_for_panic_log: true, ..error })
        };
        let words = self.words.as_ref().map_err(|e| fault(format!("{e} in transport filter")))?;
        let mut argv: Vec<Text> = Vec::with_capacity(words.len());
        for (source, template) in words {
            if source == "$pipe_addresses" || source == "${pipe_addresses}" {
                argv.extend(
                    batch.addresses.iter().map(|a| Text::clean(recipient(transport, a).into_owned())),
                );
                continue;
            }
            let word = template.expand(context).map_err(|e| {
                fault(format!(
                    "Expansion of \"{source}\" from command \"{}\" in transport filter failed: {e}",
                    self.line
                ))
            })?;
            if word.is_foreign() && !(is_host(source) && is_host_text(word.as_bytes())) {
                let text = format!("Tainted arg {} for transport filter command: '{word}'", argv.len());
                return Err(Outcome::Failed(DeliveryError { text, ..DeliveryError::default() }));
            }
            argv.push(word);
        }
        Ok(argv.into_iter().map(Text::into_bytes).collect())
    }
}

/// The server of a remote delivery: its name and address were looked up, not written by a sender.
fn is_host(source: &str) -> bool {
    matches!(
        source.trim_start_matches(['$', '{']).trim_end_matches('}'),
        "host" | "host_address" | "host_port"
    )
}

fn is_host_text(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'_'))
}

fn failed(status: &str, detail: &str) -> Outcome {
    let text = format!("transport filter process failed ({status}){detail}");
    let error = DeliveryError::new(error_code::FILTER_FAILED, text);
    Outcome::Deferred(DeliveryError { is_for_panic_log: true, ..error })
}
