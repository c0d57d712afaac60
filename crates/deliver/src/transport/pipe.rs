//! The pipe transport: a command gets the message on its standard input (manual chapter 29).
//!
//! The command line is split into arguments before anything is expanded, so that no value from outside can add an
//! argument. It is run without a shell unless `use_shell` says otherwise.

use std::time::Duration;

use oxim_base::Text;
use oxim_lang::config::rows;
use oxim_lang::config::{ConfigError, DriverRow, Instance};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};

use super::compose::{self, Composed, expansion_error};
use super::local::{self, framing_with};
use super::{Batch, Delivered, DeliveryError, Driver, Outcome, Run, Transport, TransportKind};
use crate::address::AddressKind;
use crate::agent::job::{CommandJob, CommandStatus, Job, JobResult};
use crate::delivery::Delivery;
use crate::filter::printing;
use crate::filter::rights::with_rights_of;

/// The row.
pub static PIPE: TransportKind =
    TransportKind { row: DriverRow { name: "pipe", options: rows::TRANSPORT_PIPE }, build };

const DEFAULT_PREFIX: &str = "From ${if def:return_path{$return_path}{MAILER-DAEMON}} ${tod_bsdinbox}\\n";

/// A command's environment: names and values.
type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// One argument of a command line, still to be expanded.
struct Argument {
    source: String,
    template: Template,
}

/// Why a command is not run.
enum Refusal {
    /// It will never be.
    Final(String),
    /// Perhaps later.
    Later(Box<DeliveryError>),
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Refusal {
        Refusal::Later(Box::new(error))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TemporaryErrors {
    All,
    Listed,
}

struct Pipe {
    command: Option<Vec<Argument>>,
    command_text: Option<Template>,
    allow_commands: Option<Template>,
    environment: Option<Template>,
    path: Template,
    may_dump_core: bool,
    as_creator: bool,
    force_command: bool,
    restrict_to_path: bool,
    use_shell: bool,
    ignore_status: bool,
    freeze_exec_fail: bool,
    freeze_signal: bool,
    log_output: bool,
    log_fail_output: bool,
    log_defer_output: bool,
    return_output: bool,
    return_fail_output: bool,
    temporary: TemporaryErrors,
    temporary_codes: Vec<i32>,
    output_bytes_max: u64,
    timeout: Duration,
    timeout_defer: bool,
    umask: u32,
    framing: local::FramingOptions,
    batch_max: usize,
    batch_id: Option<Template>,
}

/// Switches of which only one can be on.
const EXCLUSIVE: [(&str, &str); 3] = [
    ("return_output", "return_fail_output"),
    ("log_output", "log_fail_output"),
    ("restrict_to_path", "use_shell"),
];

fn build(instance: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    let options = &instance.options;
    let fail = |text: &str| vec![ConfigError::about(format!("{} transport", instance.name), text)];
    let both = |one: &str, other: &str| {
        let text = format!("both {one} and {other} set for {} transport", instance.name);
        Err(vec![ConfigError::new(text)])
    };
    for (one, other) in EXCLUSIVE {
        if options.bool(one) && options.bool(other) {
            return both(one, other);
        }
    }
    if options.is_set("allow_commands") && options.bool("use_shell") {
        return both("allow_commands", "use_shell");
    }
    let (temporary, temporary_codes) = match options.string("temp_errors").unwrap_or("75:73").trim() {
        "*" => (TemporaryErrors::All, Vec::new()),
        list => {
            let codes: Option<Vec<i32>> = oxim_lang::list::split(list.as_bytes())
                .map(|i| std::str::from_utf8(&i).ok()?.parse().ok())
                .collect();
            (
                TemporaryErrors::Listed,
                codes.ok_or_else(|| fail("temp_errors must be a list of numbers or an asterisk"))?,
            )
        }
    };
    let use_shell = options.bool("use_shell");
    let command = match options.string("command").filter(|_| !use_shell) {
        Some(line) => Some(split_command(line).map_err(|e| fail(&e))?),
        None => None,
    };
    Ok(Box::new(Pipe {
        command: command.map(|words| {
            words
                .into_iter()
                .map(|source| Argument { template: Template::compile(&source), source })
                .collect()
        }),
        command_text: options.template("command"),
        allow_commands: options.template("allow_commands"),
        environment: options.template("environment"),
        path: options.template("path").unwrap_or_else(|| Template::compile("/bin:/usr/bin")),
        may_dump_core: options.bool("permit_coredump"),
        as_creator: options.bool("pipe_as_creator"),
        force_command: options.bool("force_command"),
        restrict_to_path: options.bool("restrict_to_path"),
        use_shell,
        ignore_status: options.bool("ignore_status"),
        freeze_exec_fail: options.bool("freeze_exec_fail"),
        freeze_signal: options.bool("freeze_signal"),
        log_output: options.bool("log_output"),
        log_fail_output: options.bool("log_fail_output"),
        log_defer_output: options.bool("log_defer_output"),
        return_output: options.bool("return_output"),
        return_fail_output: options.bool("return_fail_output"),
        temporary,
        temporary_codes,
        output_bytes_max: u64::try_from(options.int("max_output")).unwrap_or(20 * 1024),
        timeout: options.time("timeout"),
        timeout_defer: options.bool("timeout_defer"),
        umask: options.octal("umask"),
        framing: local::FramingOptions::build(options, Some((DEFAULT_PREFIX, "\\n", "", ""))),
        batch_max: usize::try_from(options.int("batch_max")).unwrap_or(1),
        batch_id: options.template("batch_id"),
    }))
}

/// Splits a command line into words: white space separates; double quotes hold words with backslash escapes, single quotes without.
/// A quote that is not closed holds the rest, as in Exim.
///
/// # Errors
/// There is no word at all.
pub fn split_command(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let mut word = String::new();
        let mut letters = rest.chars();
        match first {
            '"' => {
                letters.next();
                loop {
                    match letters.next() {
                        Some('"') | None => break,
                        Some('\\') => word.push(escaped(&mut letters)),
                        Some(letter) => word.push(letter),
                    }
                }
            }
            '\'' => {
                letters.next();
                loop {
                    match letters.next() {
                        Some('\'') | None => break,
                        Some(letter) => word.push(letter),
                    }
                }
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
                word.push_str(head);
                letters = tail.chars();
            }
        }
        words.push(word);
        rest = letters.as_str().trim_start();
    }
    if words.is_empty() { Err("no command specified".to_owned()) } else { Ok(words) }
}

fn escaped(letters: &mut std::str::Chars<'_>) -> char {
    match letters.next() {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some(other) => other,
        None => '\\',
    }
}

/// Expands a word of a filter's command. What the message matched must not name the program.
fn expand_word(context: &mut Context, word: &str, is_program: bool) -> Result<Text, ExpandError> {
    let template = Template::compile(word);
    if !is_program {
        return template.expand(context);
    }
    let foreign = context.local.captures.iter().map(|text| Text::tainted(text.as_bytes())).collect();
    let captures = std::mem::replace(&mut context.local.captures, foreign);
    let result = template.expand(context);
    context.local.captures = captures;
    result
}

/// How a command has ended.
struct End {
    status: CommandStatus,
    /// What it printed; nothing, where nobody is told of it.
    output: Vec<u8>,
    write_error: Option<String>,
}

impl End {
    /// A bounce has nobody to return output to. A command that printed too much was killed for it.
    fn new(status: CommandStatus, mut output: Vec<u8>, write_error: Option<String>, is_bounce: bool) -> End {
        let status = if status == CommandStatus::TooMuchOutput {
            output.extend_from_slice(b"\n\n*** Too much output - remainder discarded ***\n");
            CommandStatus::Signal(nix::libc::SIGKILL)
        } else {
            status
        };
        if is_bounce {
            output.clear();
        }
        End { status, output, write_error }
    }

    fn has_output(&self) -> bool {
        !self.output.is_empty()
    }
}

/// A failure of the command, of which the sender learns no more than that.
fn local_failure(text: String) -> DeliveryError {
    DeliveryError { text, bounce_text: Some("local delivery failed".into()), ..DeliveryError::default() }
}

impl Pipe {
    /// The configuration is at fault.
    fn fault(text: String) -> DeliveryError {
        DeliveryError { is_for_panic_log: true, ..Self::error(text) }
    }

    fn error(text: String) -> DeliveryError {
        DeliveryError { text, ..DeliveryError::default() }
    }

    /// The command that a redirection names, without its bar.
    fn redirected(batch: &Batch<'_>) -> Option<String> {
        let address = batch.addresses.first().filter(|a| a.kind == AddressKind::Pipe)?;
        let text = String::from_utf8_lossy(&address.address).into_owned();
        Some(text.trim_start_matches('|').trim().to_owned())
    }

    fn argv(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<Vec<Text>, Refusal> {
        let redirected = Self::redirected(batch);
        if let Some(line) = redirected.as_ref().filter(|_| batch.addresses.iter().any(|a| a.is_tainted)) {
            let text = format!("Tainted '{line}' (command for {} transport) not permitted", transport.name);
            let error = DeliveryError { is_for_panic_log: true, is_unremembered: true, ..Self::error(text) };
            return Err(error.into());
        }
        if self.use_shell {
            return self.shell_argv(transport, delivery, context, batch, redirected);
        }
        match (redirected, &self.command) {
            (Some(line), command) if !self.force_command || command.is_none() => {
                // The text of a forward file is a command, not a template; that of a filter is one.
                let made = batch.addresses.first().and_then(|a| a.made.clone());
                let words = split_command(&line)
                    .map_err(|e| Self::error(format!("{e} for {} transport", transport.name)))?;
                let mut out = Vec::new();
                for (index, word) in words.into_iter().enumerate() {
                    let is_program = index == 0;
                    push_word(&word, batch, transport, &mut out, || match &made {
                        None => Ok(Text::clean(word.clone())),
                        Some(made) => with_rights_of(
                            made,
                            context,
                            &batch.identity,
                            &delivery.user_files,
                            |context| expand_word(context, &word, is_program),
                        )
                        .map_err(|e| {
                            Refusal::Final(format!(
                                "Expansion of \"{word}\" from command \"{line}\" in {} transport failed: {e}",
                                transport.name
                            ))
                        }),
                    })?;
                }
                Ok(out)
            }
            (line, Some(command)) => {
                let mut out = Vec::new();
                for argument in command {
                    if argument.source == "$address_pipe"
                        && self.force_command
                        && let Some(line) = &line
                    {
                        let words = split_command(line)
                            .map_err(|e| Self::error(format!("{e} for {} transport", transport.name)))?;
                        out.extend(words.into_iter().map(Text::from));
                        continue;
                    }
                    push_word(&argument.source, batch, transport, &mut out, || {
                        argument.template.expand(context).map_err(|e| {
                            let text = format!(
                                "Expansion of \"{}\" from command \"{}\" in {} transport failed: {e}",
                                argument.source,
                                self.line(),
                                transport.name
                            );
                            Refusal::from(Self::fault(text))
                        })
                    })?;
                }
                Ok(out)
            }
            (_, None) => {
                Err(Self::error(format!("no command specified for {} transport", transport.name)).into())
            }
        }
    }

    fn line(&self) -> String {
        self.command_text.as_ref().map(|t| t.source().to_owned()).unwrap_or_default()
    }

    fn shell_argv(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
        redirected: Option<String>,
    ) -> Result<Vec<Text>, Refusal> {
        let failed = |source: &str, error: &ExpandError| {
            format!("Expansion of command \"{source}\" in {} transport failed: {error}", transport.name)
        };
        let made = batch.addresses.first().and_then(|a| a.made.clone());
        let line = match (redirected, &self.command_text) {
            (Some(line), _) => match made {
                None => Text::clean(line),
                Some(made) => {
                    with_rights_of(&made, context, &batch.identity, &delivery.user_files, |context| {
                        shell_line(&line, transport, context, batch)
                    })
                    .map_err(|e| Refusal::Final(failed(&line, &e)))?
                }
            },
            (None, Some(template)) => {
                let source = template.source();
                shell_line(source, transport, context, batch).map_err(|e| Self::fault(failed(source, &e)))?
            }
            (None, None) => {
                return Err(
                    Self::error(format!("no command specified for {} transport", transport.name)).into()
                );
            }
        };
        Ok(vec![Text::from("/bin/sh"), Text::from("-c"), line])
    }

    /// The program's path: absolute as it is, else looked for on `path`; then the restrictions.
    fn program(&self, transport: &Transport, context: &mut Context, name: &Text) -> Result<Vec<u8>, Refusal> {
        let permitted = self.is_permitted(transport, context, name)?;
        let bytes = name.as_bytes();
        if !permitted && (!self.restrict_to_path || bytes.contains(&b'/')) {
            let text = if self.restrict_to_path {
                format!(
                    "\"/\" found in \"{name}\" (command for {} transport) - failed for security reasons",
                    transport.name
                )
            } else {
                format!("\"{name}\" command not permitted by {} transport", transport.name)
            };
            return Err(Refusal::Final(text));
        }
        if bytes.starts_with(b"/") {
            return Ok(bytes.to_vec());
        }
        let path = self.path.expand(context).map_err(|e| expansion_error(transport, "path", &e))?;
        for directory in path.as_bytes().split(|b| *b == b':') {
            let candidate = [directory, b"/", bytes].concat();
            if std::fs::metadata(std::ffi::OsStr::new(&*String::from_utf8_lossy(&candidate)))
                .is_ok_and(|m| m.is_file())
            {
                return Ok(candidate);
            }
        }
        let text = format!("\"{name}\" command not found for {} transport", transport.name);
        Err(Refusal::Final(text))
    }

    fn is_permitted(
        &self,
        transport: &Transport,
        context: &mut Context,
        name: &Text,
    ) -> Result<bool, DeliveryError> {
        match &self.allow_commands {
            Some(template) => {
                let list =
                    template.expand(context).map_err(|e| expansion_error(transport, "allow_commands", &e))?;
                Ok(oxim_lang::list::split(list.as_bytes()).any(|item| item.as_ref() == name.as_bytes()))
            }
            None => Ok(!self.restrict_to_path),
        }
    }

    fn environment(
        &self,
        delivery: &Delivery,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<Variables, DeliveryError> {
        let mut all = Variables::new();
        let mut set = |name: &str, value: &[u8]| all.push((name.as_bytes().to_vec(), value.to_vec()));
        if let [only] = batch.addresses.as_slice() {
            let local_part = only
                .ancestors()
                .next()
                .filter(|_| only.kind != AddressKind::Mail)
                .map_or(&only.routed_local_part, |p| &p.routed_local_part);
            for name in ["LOCAL_PART", "LOGNAME", "USER"] {
                set(name, local_part);
            }
            set("LOCAL_PART_PREFIX", only.prefix.as_deref().unwrap_or_default());
            set("LOCAL_PART_SUFFIX", only.suffix.as_deref().unwrap_or_default());
        }
        let first = batch.addresses.first();
        if let Some(domain) = first.map(|first| &first.domain)
            && batch.addresses.iter().all(|address| address.domain == *domain)
        {
            set("DOMAIN", domain);
        }
        set("HOME", context.address.home.as_ref().map(Text::as_bytes).unwrap_or_default());
        if let Some(list) = first.and_then(|first| first.host_list.as_ref()) {
            set("HOST", list.as_bytes());
        } else if let Some(host) = first.and_then(|first| first.hosts.first()) {
            set("HOST", host.name.as_bytes());
        }
        let recipient = first.map(|address| address.routed(true)).unwrap_or_default();
        set("RECIPIENT", &recipient);
        set("MESSAGE_ID", batch.message.id.as_str().as_bytes());
        set("QUALIFY_DOMAIN", &delivery.settings.qualify_domain);
        set("SENDER", &batch.message.sender);
        set("SHELL", b"/bin/sh");
        let path = self.path.expand(context).map_err(|e| expansion_error(transport, "path", &e))?;
        set("PATH", path.as_bytes());
        if let Some(zone) = delivery.config.main.timezone.as_deref() {
            set("TZ", zone.as_bytes());
        }
        if let Some(template) = &self.environment {
            let list = template.expand(context).map_err(|e| expansion_error(transport, "environment", &e))?;
            for item in oxim_lang::list::split(list.as_bytes()) {
                let mut halves = item.splitn(2, |b| *b == b'=');
                if let (Some(name), Some(value)) = (halves.next(), halves.next()) {
                    all.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(all)
    }

    fn job(
        &self,
        delivery: &Delivery,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
        composed: &Composed,
    ) -> Result<CommandJob, Refusal> {
        let argv = self.argv(transport, delivery, context, batch)?;
        let Some((first, arguments)) = argv.split_first() else {
            return Err(Self::error(format!("no command specified for {} transport", transport.name)).into());
        };
        // The very words that are run must not come from outside; `$pipe_addresses` alone is safe by its nature.
        if let Some((index, word)) =
            argv.iter().enumerate().find(|(_, word)| word.is_foreign()).filter(|_| !self.use_shell)
        {
            return Err(Refusal::Final(format!(
                "Tainted arg {index} for {} transport command: '{word}'",
                transport.name
            )));
        }
        let program =
            if self.use_shell { first.as_bytes().to_vec() } else { self.program(transport, context, first)? };
        let mut words = vec![program];
        words.extend(arguments.iter().map(|a| a.as_bytes().to_vec()));
        Ok(CommandJob {
            argv: words,
            environment: self.environment(delivery, transport, context, batch)?,
            directory: local::working_directory(batch),
            umask: self.umask,
            may_dump_core: self.may_dump_core,
            timeout: self.timeout,
            output_bytes_max: self.output_bytes_max,
            framing: framing_with(&self.framing, transport, context, batch, composed, false)?,
        })
    }

    fn is_temporary(&self, code: i32) -> bool {
        self.temporary == TemporaryErrors::All || self.temporary_codes.contains(&code)
    }

    /// What the command's end means (manual section 29.2).
    fn judge(&self, transport: &Transport, line: &str, command: &str, end: End) -> Outcome {
        let name = &transport.name;
        let returns = self.return_output && end.has_output();
        let outcome = match end.status {
            CommandStatus::TimedOut => self.timed_out("pipe delivery process timed out"),
            CommandStatus::Signal(signal) if !self.ignore_status || self.freeze_signal => {
                let how = signal_name(signal);
                let text = format!(
                    "Child process of {name} transport (running command \"{line}\") was terminated by signal {signal} ({how})"
                );
                if self.freeze_signal {
                    Outcome::Deferred(DeliveryError { freeze: true, ..local_failure(text) })
                } else {
                    Outcome::Failed(local_failure(text))
                }
            }
            CommandStatus::NotStarted(_) if self.freeze_exec_fail => {
                let text = format!("pipe process failed to exec \"{line}\"");
                Outcome::Deferred(DeliveryError { freeze: true, ..local_failure(text) })
            }
            CommandStatus::NotStarted(_) => self.judge_code(name, command, 127),
            CommandStatus::Code(code) => self.judge_code(name, command, code),
            CommandStatus::Signal(_) | CommandStatus::TooMuchOutput => {
                Outcome::Delivered(Delivered::default())
            }
        };
        match (outcome, end.write_error) {
            (Outcome::Delivered(_), Some(text)) => Outcome::Deferred(local_failure(format!(
                "Error \"{text}\" while writing to {name} transport's pipe"
            ))),
            (outcome, _) => self.with_output(outcome, returns, end.output),
        }
    }

    fn timed_out(&self, text: &str) -> Outcome {
        let error = local_failure(text.to_owned());
        if self.timeout_defer { Outcome::Deferred(error) } else { Outcome::Failed(error) }
    }

    fn judge_code(&self, name: &str, command: &str, code: i32) -> Outcome {
        if code == 0 || self.ignore_status {
            return Outcome::Delivered(Delivered::default());
        }
        let hint = match code {
            127 => " (could mean unable to exec or command does not exist)",
            _ if code > 128 => &format!(
                " (could mean shell command ended by signal {} ({}))",
                code - 128,
                signal_name(code - 128)
            ),
            _ => sysexit_hint(code),
        };
        let text = format!("Child process of {name} transport returned {code}{hint} from command: {command}");
        if self.is_temporary(code) {
            Outcome::Deferred(local_failure(text))
        } else {
            Outcome::Failed(local_failure(text))
        }
    }

    /// Output makes a failure of anything but a freezing under `return_output` (`returns`), and goes with a failure to the sender.
    fn with_output(&self, outcome: Outcome, returns: bool, output: Vec<u8>) -> Outcome {
        match outcome {
            Outcome::Delivered(_) if returns => {
                let text = "return message generated".to_owned();
                Outcome::Failed(DeliveryError { bounce_text: Some("".into()), output, ..Self::error(text) })
            }
            Outcome::Deferred(failure) if returns && !failure.freeze => {
                Outcome::Failed(DeliveryError { output, ..failure })
            }
            Outcome::Failed(failure) if returns || self.return_fail_output => {
                Outcome::Failed(DeliveryError { output, ..failure })
            }
            Outcome::Delivered(_) | Outcome::Failed(_) | Outcome::Deferred(_) => outcome,
        }
    }

    fn log_first_line(
        &self,
        delivery: &Delivery,
        transport: &Transport,
        batch: &Batch<'_>,
        outcome: &Outcome,
        output: &[u8],
    ) {
        let wanted = match outcome {
            Outcome::Delivered(_) => self.log_output,
            Outcome::Failed(_) => self.log_output || self.log_fail_output,
            Outcome::Deferred(_) => self.log_output || self.log_defer_output,
        };
        let wanted = wanted && !batch.is_shadow && !output.is_empty();
        let line = output.split(|b| *b == b'\n').next().map(<[u8]>::trim_ascii_end);
        if let (true, Some(line)) = (wanted, line) {
            let address = batch.addresses.first().map(|a| a.text()).unwrap_or_default();
            super::log_main(
                &delivery.services,
                batch,
                &format!(
                    "<{address}>: {} transport output: {}",
                    transport.name,
                    String::from_utf8_lossy(&printing(line))
                ),
            );
        }
    }
}

/// A program's name as the log has it: in quotes, if it has white space.
fn shown_word(word: &str) -> String {
    if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.to_owned() }
}

/// Adds a word of the command line; the word `$pipe_addresses` becomes one argument for each address.
fn push_word(
    source: &str,
    batch: &Batch<'_>,
    transport: &Transport,
    out: &mut Vec<Text>,
    value: impl FnOnce() -> Result<Text, Refusal>,
) -> Result<(), Refusal> {
    if source == "$pipe_addresses" || source == "${pipe_addresses}" {
        out.extend(batch.addresses.iter().map(|a| Text::clean(local::recipient(transport, a).into_owned())));
        return Ok(());
    }
    out.push(value()?);
    Ok(())
}

/// Stands for `$pipe_addresses` while a shell's command line is expanded.
const ADDRESSES_MARK: &str = "\u{1}pipe addresses\u{1}";

/// A command line for the shell. What an address holds beside letters, digits and a few marks is quoted: it is no
/// command.
fn shell_line(
    source: &str,
    transport: &Transport,
    context: &mut Context,
    batch: &Batch<'_>,
) -> Result<Text, ExpandError> {
    let marked =
        source.replace("${pipe_addresses}", ADDRESSES_MARK).replace("$pipe_addresses", ADDRESSES_MARK);
    let line = Template::compile(&marked).expand(context)?;
    if marked == source {
        return Ok(line);
    }
    let addresses: Vec<String> = batch
        .addresses
        .iter()
        .map(|a| for_shell(&String::from_utf8_lossy(&local::recipient(transport, a))))
        .collect();
    let text = line.to_string_lossy().replace(ADDRESSES_MARK, &addresses.join(" "));
    Ok(Text::with_taint(text.into_bytes(), line.taint()))
}

fn for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@._+-=/".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The words of strsignal().
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        31 => "Bad system call",
        _ => "Unknown signal",
    }
}

/// What the codes of sysexits.h mean.
fn sysexit_hint(code: i32) -> &'static str {
    match code {
        64 => " (could mean usage or syntax error)",
        65 => " (could mean error in input data)",
        66 => " (could mean input data not readable)",
        67 => " (could mean user nonexistent)",
        68 => " (could mean host nonexistent)",
        69 => " (could mean service or program unavailable)",
        70 => " (could mean internal software error)",
        71 => " (could mean internal operating system error)",
        72 => " (could mean system file missing)",
        73 => " (could mean can't create output file)",
        74 => " (could mean input/output error)",
        75 => " (could mean temporary error)",
        76 => " (could mean remote protocol error)",
        77 => " (could mean permission denied)",
        78 => " (could mean configuration error)",
        _ => "",
    }
}

impl Driver for Pipe {
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run {
        let composed = match compose::compose(delivery, transport, context, batch) {
            Ok(composed) => composed,
            Err(outcome) => return Run::all(batch, &outcome),
        };
        let job = match self.job(delivery, transport, context, batch, &composed) {
            Ok(job) => job,
            Err(Refusal::Later(error)) => return Run::all(batch, &Outcome::Deferred(*error)),
            Err(Refusal::Final(text)) => {
                // What the command is concerns the postmaster, not the sender.
                let error = DeliveryError { bounce_text: Some("".into()), ..Self::error(text) };
                return Run::all(batch, &Outcome::Failed(error));
            }
        };
        let line = Self::redirected(batch).unwrap_or_else(|| self.line());
        let command =
            job.argv.first().map(|word| shown_word(&String::from_utf8_lossy(word))).unwrap_or_default();
        let answer = local::perform(delivery, batch, &Job::Command(job), &composed);
        let JobResult::Exited { status, output, bytes, write_error } = answer else {
            return local::refused(batch, answer);
        };
        let end = End::new(status, output.clone(), write_error, batch.message.sender.is_empty());
        let mut outcome = self.judge(transport, &line, &command, end);
        if let Outcome::Delivered(delivered) = &mut outcome {
            delivered.bytes = Some(bytes);
        }
        self.log_first_line(delivery, transport, batch, &outcome, &output);
        Run::all(batch, &outcome)
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
        self.framing.use_bsmtp
    }

    fn filter_timed_out(&self) -> Outcome {
        self.timed_out("transport filter timeout while writing to pipe")
    }

    fn runs_as_creator(&self) -> bool {
        self.as_creator
    }

    fn batch_id(&self) -> Option<&Template> {
        self.batch_id.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_split_before_expansion() {
        let words = |line: &str| split_command(line).unwrap();
        assert_eq!(words("/bin/x -a $local_part"), ["/bin/x", "-a", "$local_part"]);
        assert_eq!(words("x \"two words\\n\" 'no \\n'  y"), ["x", "two words\n", "no \\n", "y"]);
        assert_eq!(words("x \"open a"), ["x", "open a"]);
        assert_eq!(words("x 'open a"), ["x", "open a"]);
        assert!(split_command("  ").is_err());
    }

    #[test]
    fn addresses_are_no_shell_commands() {
        assert_eq!(for_shell("bob+x@test.ex"), "bob+x@test.ex");
        assert_eq!(for_shell("a;b@test.ex"), "'a;b@test.ex'");
        assert_eq!(for_shell("a'`b`@test.ex"), "'a'\\''`b`@test.ex'");
        assert_eq!(for_shell("-e@test.ex"), "'-e@test.ex'");
    }
}
