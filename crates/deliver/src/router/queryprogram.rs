//! The `queryprogram` router: a command decides where an address goes. Manual chapter 21.
//!
//! The command runs in a delivery agent as `command_user`, in verification too. What it prints, errors included, is read up to 1023 bytes.
//! Failure modes: a command that cannot be run, fails, is killed, takes too long, or says nothing that makes sense
//! defers the address.

use std::time::Duration;

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, rows};
use oxim_lang::expand::Template;
use oxim_lang::expand::item::named_field;
use oxim_lang::list::LogKind;
use oxim_mail::address::AddressSyntax;

use super::generic::{AccountSetting, account};
use super::host_list::{Method, NotFound};
use super::redirect::list::{self, Allowed, Content, Item};
use super::{
    Build, Problem, RouterDriver, RouterKind, Run, TransportUse, Verdict, error_code, host_item, host_list,
    prepare, redirect, write_log,
};
use crate::address::{Address, AddressKind, Refusal, TransportId};
use crate::agent::Identity;
use crate::agent::job::{CommandJob, CommandStatus, Framing, JobResult};
use crate::transport::pipe::split_command;

/// The row.
pub static QUERYPROGRAM: RouterKind = RouterKind {
    row: &DriverRow { name: "queryprogram", options: rows::ROUTER_QUERYPROGRAM },
    transport: TransportUse::Allowed,
    build,
};

/// Bytes of the answer that are read.
const ANSWER_BYTES_MAX: usize = 1023;
/// A command that prints more than this is killed.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// The status that a shell gives for a command that it cannot run.
const EXEC_FAILED: i32 = 127;

struct QueryProgram {
    /// The command as it is written, for errors.
    line: String,
    words: Vec<(String, Template)>,
    user: AccountSetting,
    group: Option<AccountSetting>,
    directory: String,
    timeout: Duration,
}

fn build(build: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    let options = &build.instance.options;
    let line = options
        .string("command")
        .filter(|line| !line.trim().is_empty())
        .ok_or_else(|| build.error("a command specification is required"))?;
    let user =
        account(options, "command_user").ok_or_else(|| build.error("command_user must be specified"))?;
    let words = split_command(line).map_err(|fault| build.error(&fault))?;
    Ok(Box::new(QueryProgram {
        line: line.to_owned(),
        words: words.into_iter().map(|word| (word.clone(), Template::compile(&word))).collect(),
        user,
        group: account(options, "command_group"),
        directory: options.string("current_directory").unwrap_or("/").to_owned(),
        timeout: options.time("timeout"),
    }))
}

/// The first word of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Accept,
    Decline,
    Fail,
    Defer,
    Freeze,
    Pass,
    Redirect,
}

impl Word {
    fn read(word: &[u8]) -> Option<Word> {
        const WORDS: [(&str, Word); 7] = [
            ("accept", Word::Accept),
            ("decline", Word::Decline),
            ("fail", Word::Fail),
            ("defer", Word::Defer),
            ("freeze", Word::Freeze),
            ("pass", Word::Pass),
            ("redirect", Word::Redirect),
        ];
        WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, word)| *word)
    }
}

/// The answer's first word and the rest of it.
fn split_answer(answer: &[u8]) -> (&[u8], &[u8]) {
    let answer = answer.trim_ascii_start();
    let end = answer.iter().position(u8::is_ascii_whitespace).unwrap_or(answer.len());
    let (word, rest) = answer.split_at_checked(end).unwrap_or((answer, &[]));
    (word, rest.trim_ascii_start())
}

impl RouterDriver for QueryProgram {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        self.try_route(run, address).unwrap_or_else(Verdict::Defer)
    }
}

impl QueryProgram {
    fn try_route(&self, run: &mut Run<'_>, address: &mut Address) -> Result<Verdict, Problem> {
        prepare::propagate(run, address)?;
        let identity = self.identity(run)?;
        let argv = self.argv(run)?;
        let answer = self.ask(run, &identity, argv)?;
        let (word, rest) = split_answer(&answer);
        // The answer is one line: what follows must not get into a reply of ours.
        let line = rest.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
        let text = || String::from_utf8_lossy(line).into_owned();
        let problem = |text: String| Problem::new(error_code::UNKNOWN, text);
        Ok(match Word::read(word) {
            Some(Word::Decline) => Verdict::Decline(None),
            Some(Word::Pass) => Verdict::Pass(None),
            Some(Word::Fail) => Verdict::Fail(Problem { is_for_client: true, ..problem(text()) }),
            Some(Word::Defer) => Verdict::Defer(problem(text())),
            Some(Word::Freeze) => Verdict::Defer(Problem { freeze: true, ..problem(text()) }),
            Some(Word::Redirect) => redirected(run, address, rest)?,
            Some(Word::Accept) => accepted(run, address, rest)?,
            None => {
                let fault = format!("bad command yield: {} {}", String::from_utf8_lossy(word), text());
                return Err(answer_fault(run, fault));
            }
        })
    }

    fn identity(&self, run: &mut Run<'_>) -> Result<Identity, Problem> {
        let user = prepare::user_of(run, &self.user)?;
        let gid = match &self.group {
            Some(group) => Some(prepare::group_of(run, group)?),
            None if user.gid.is_none() => prepare::primary_group(user.uid)?,
            None => user.gid,
        };
        let gid = gid.ok_or_else(|| {
            let text = format!("command_user set without command_group for {} router", run.router.name);
            Problem::new(error_code::UNKNOWN, text)
        })?;
        Ok(Identity { uid: user.uid, gid, groups_of: None })
    }

    fn argv(&self, run: &mut Run<'_>) -> Result<Vec<Vec<u8>>, Problem> {
        let mut argv = Vec::with_capacity(self.words.len());
        for (index, (source, template)) in self.words.iter().enumerate() {
            let word = template.expand(run.context).map_err(|error| {
                let text = format!(
                    "Expansion of \"{source}\" from command \"{}\" in {} router failed: {error}",
                    self.line, QUERYPROGRAM.row.name
                );
                Problem::new(error_code::UNKNOWN, text)
            })?;
            if word.is_foreign() {
                let text = format!("Tainted arg {index} for queryprogram router command: '{word}'");
                return Err(Problem::new(error_code::UNKNOWN, text));
            }
            argv.push(word.into_bytes());
        }
        Ok(argv)
    }

    /// Runs the command; what it printed, without the line ends behind it.
    fn ask(&self, run: &Run<'_>, identity: &Identity, argv: Vec<Vec<u8>>) -> Result<Vec<u8>, Problem> {
        let job = CommandJob {
            argv,
            environment: Vec::new(),
            directory: self.directory.clone().into_bytes(),
            umask: 0o077,
            may_dump_core: false,
            timeout: self.timeout,
            output_bytes_max: OUTPUT_BYTES_MAX,
            framing: Framing::default(),
        };
        let problem =
            |text: &str| Problem::new(error_code::UNKNOWN, format!("{} router: {text}", run.router.name));
        let answer = run.delivery.user_files.run(identity, job);
        let JobResult::Exited { status, output, .. } = answer else {
            return Err(problem(&answer.trouble().text));
        };
        match status {
            CommandStatus::Code(0) | CommandStatus::TooMuchOutput => {}
            CommandStatus::Code(code) => {
                return Err(problem(&format!("command returned non-zero code {code}")));
            }
            CommandStatus::NotStarted(_) => {
                return Err(problem(&format!("command returned non-zero code {EXEC_FAILED}")));
            }
            CommandStatus::Signal(signal) => {
                return Err(problem(&format!("command killed by signal {signal}")));
            }
            CommandStatus::TimedOut => return Err(problem("command timed out")),
        }
        let answer = output.get(..ANSWER_BYTES_MAX).unwrap_or(&output);
        if answer.is_empty() {
            return Err(problem("command failed to return data"));
        }
        Ok(answer.trim_ascii_end().to_vec())
    }
}

/// The command is at fault, and the postmaster is told.
fn answer_fault(run: &Run<'_>, text: String) -> Problem {
    let line = format!("{} router: {text}", run.router.name);
    write_log(run.context, run.purpose, LogKind::PanicOnly, &line);
    Problem::new(error_code::UNKNOWN, text)
}

/// `accept transport=… hosts=… lookup=… data=…`.
fn accepted(run: &mut Run<'_>, address: &mut Address, rest: &[u8]) -> Result<Verdict, Problem> {
    let fields = Text::clean(rest);
    let field = |name: &str| named_field(&fields, name.as_bytes());
    let transport = match field("transport") {
        Some(name) => Some(named_transport(run, &name)?),
        None => None,
    };
    let method = match field("lookup").map(|word| word.to_string_lossy().to_ascii_lowercase()).as_deref() {
        None => Method::default(),
        Some("byname") => Method { by_name: true, ..Method::default() },
        Some("bydns") => Method { by_dns: true, ..Method::default() },
        Some(other) => {
            return Err(answer_fault(run, format!("bad lookup type \"{other}\" yielded by command")));
        }
    };
    if let Some(data) = field("data") {
        address.propagated.address_data = Some(data);
    }
    if let Some(hosts) = field("hosts").filter(|hosts| !hosts.trimmed().is_empty()) {
        let items = host_item::list(hosts.as_bytes()).hosts;
        let found = host_list::look_up(run, address, items, method, NotFound::Defer, NotFound::Defer)?;
        let mut hosts = match found {
            Ok(hosts) => hosts,
            Err(verdict) => return Ok(verdict),
        };
        host_list::translate_addresses(run, &mut hosts)?;
        address.hosts = hosts.into();
    }
    address.transport = match (transport, &run.router.generic.transport) {
        (Some(transport), _) => Some(transport),
        (None, Some(template)) => Some(prepare::find_transport(run, template)?),
        (None, None) if run.purpose.is_verify() => return Ok(Verdict::Deliver),
        (None, None) => {
            let text = format!("transport unset in {} router", run.router.name);
            return Err(Problem::new(error_code::BAD_TRANSPORT, text));
        }
    };
    if address.transport.is_some_and(|transport| run.delivery.is_local_transport(transport)) {
        address.host_list = address.hosts.first().map(|host| Text::clean(host.name.clone()));
    }
    prepare::finish(run, address)?;
    Ok(Verdict::Deliver)
}

fn named_transport(run: &Run<'_>, name: &Text) -> Result<TransportId, Problem> {
    run.delivery
        .transport_named(&name.to_string_lossy())
        .ok_or_else(|| answer_fault(run, format!("unknown transport name {name} yielded by command")))
}

/// `redirect` and a list of addresses, none of them a file, a command or an included list.
fn redirected(run: &mut Run<'_>, address: &mut Address, rest: &[u8]) -> Result<Verdict, Problem> {
    let fault =
        |text: &str| Problem::new(error_code::BAD_REDIRECT, format!("error in redirect data: {text}"));
    let smtp_utf8 = run.context.message.smtputf8;
    let syntax = AddressSyntax { smtp_utf8, ..run.delivery.settings.syntax };
    let allowed = Allowed { fail: true, ..Allowed::default() };
    let mut include = |_: &str| Err("included lists are not permitted".to_owned());
    let parsed = list::read(rest, allowed, &syntax, &mut include).map_err(|text| fault(&text))?;
    let told = |text: String| Problem { is_for_client: true, ..Problem::new(error_code::UNKNOWN, text) };
    let items = match parsed.content {
        Content::Fail(text) => return Ok(Verdict::Fail(told(text))),
        Content::Defer(text) => return Ok(Verdict::Defer(told(text))),
        Content::Blackhole => return Err(fault("\":blackhole:\" is not permitted")),
        Content::Items(items) if items.is_empty() => return Err(fault("no addresses supplied")),
        Content::Items(items) => items,
    };
    let parent = prepare::parent(run, address);
    let forbidden = |kind: AddressKind, text: Vec<u8>| {
        let mut child = Address::special_child(&parent, kind, text);
        child.refusal = Some(Refusal::Forbidden { setup: None });
        child
    };
    let children = items.into_iter().map(|item| match item {
        Item::Address { address: text, is_unqualified, keeps_domain } => {
            let full = match (is_unqualified, keeps_domain) {
                (false, _) => text,
                (true, true) => redirect::join(&text, &parent.domain),
                (true, false) => redirect::join(&text, &run.delivery.settings.qualify_recipient),
            };
            let mut child = Address::child(&parent, full);
            child.start = run.router.generic.redirect_router;
            child
        }
        Item::Pipe(text) => forbidden(AddressKind::Pipe, text),
        Item::File(text) => forbidden(AddressKind::File, text),
    });
    Ok(Verdict::Redirect(children.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides() {
        assert_eq!(split_answer(b"  ACCEPT  hosts=a b\n"), (&b"ACCEPT"[..], &b"hosts=a b\n"[..]));
        assert_eq!(split_answer(b"pass"), (&b"pass"[..], &b""[..]));
        assert_eq!(split_answer(b""), (&b""[..], &b""[..]));
        assert_eq!(Word::read(b"Redirect"), Some(Word::Redirect));
        assert_eq!(Word::read(b"accepted"), None);
    }
}
