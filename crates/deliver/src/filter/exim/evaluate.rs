//! What an Exim filter makes of a message. No I/O beyond what string expansions do.
//!
//! Changes of header lines, of `$n0`… and of the character set are made in the context at once, because later commands
//! see them. Manual "Exim's interfaces to mail filtering", chapter 3; specification chapter 47.

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_mail::address::{AddressSyntax, address_list, parse};
use oxim_mail::header::Header;

use super::Program;
use super::personal::{contains_caseless, is_personal};
use super::tree::{Command, Condition, HeadersVerb, Judgement, Prefix, Step, TextTest};
use crate::filter::{Deed, End, LogEntry, Made, Outcome, printing};

/// Mode of log files that is not given.
const LOG_MODE: u32 = 0o600;
/// How many deliveries one filter may set up.
const DEEDS_MAX: usize = 10_000;

/// What a filter may do, and for whom it runs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// It is the system filter.
    pub is_system: bool,
    /// It is only tested: actions are shown.
    pub is_test: bool,
    /// An address is tested or verified: no log is written, so it need not be open.
    pub writes_no_log: bool,
    /// `defer` is allowed.
    pub allow_defer: bool,
    /// `fail` is allowed.
    pub allow_fail: bool,
    /// `freeze` is allowed.
    pub allow_freeze: bool,
    /// Writing logs is not allowed.
    pub forbid_logwrite: bool,
    /// What is put before relative paths of `save`.
    pub home: Option<Vec<u8>>,
    /// The addresses of the user, full and without affixes, as they are and rewritten.
    pub own: Vec<Vec<u8>>,
    /// The message was thawed by hand.
    pub manually_thawed: bool,
    /// How addresses are read.
    pub syntax: AddressSyntax,
    /// The domain of addresses that have none.
    pub qualify_domain: Vec<u8>,
}

/// Why evaluation stops.
pub(super) struct Halt(pub(super) End);

impl Halt {
    pub(super) fn error(text: String) -> Halt {
        Halt(End::Error(text))
    }
}

/// One run of a filter.
pub(super) struct Evaluation<'a> {
    pub(super) rules: &'a Rules,
    pub(super) context: &'a mut Context,
    outcome: Outcome,
    log_file: Option<(Text, u32)>,
}

impl Program {
    /// Runs the filter. Counters begin at zero; `$thisaddress` and the captures are as before afterwards.
    pub fn evaluate(&self, context: &mut Context, rules: &Rules) -> Outcome {
        if let Some(refusal) = self.refusal(rules) {
            return Outcome { end: End::Error(refusal), ..Outcome::default() };
        }
        let steps = match &self.steps {
            Ok(steps) => steps,
            Err(fault) => {
                return Outcome { end: End::Error(fault.0.clone()), ..Outcome::default() };
            }
        };
        context.address.counters = [0; 10];
        let captures = std::mem::take(&mut context.local.captures);
        let this_address = context.address.this_address.take();
        let charset = context.local.headers_charset.take();
        let mut evaluation = Evaluation { rules, context, outcome: Outcome::default(), log_file: None };
        if let Err(Halt(end)) = evaluation.steps(steps) {
            evaluation.outcome.end = end;
        }
        let outcome = evaluation.outcome;
        context.local.captures = captures;
        context.address.this_address = this_address;
        context.local.headers_charset = charset;
        outcome
    }
}

impl Evaluation<'_> {
    pub(super) fn show(&mut self, text: &[u8]) {
        self.outcome.shown.extend_from_slice(text);
    }

    pub(super) fn show_line(&mut self, parts: &[&[u8]]) {
        if self.rules.is_test {
            for part in parts {
                self.outcome.shown.extend_from_slice(part);
            }
            self.outcome.shown.push(b'\n');
        }
    }

    pub(super) fn make(&mut self, deed: Deed, prefix: Prefix) {
        self.outcome.made.push(Made {
            deed,
            ignores_errors: prefix.noerror,
            captures: self.context.local.captures.clone(),
            this_address: self.context.address.this_address.clone(),
            forbidden: None,
        });
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), Halt> {
        for step in steps {
            if self.outcome.made.len() >= DEEDS_MAX {
                return Err(Halt::error("too many deliveries".to_owned()));
            }
            self.step(step)?;
        }
        Ok(())
    }

    /// Expands a string of a command.
    pub(super) fn expand_in(&mut self, template: &Template, command: &str) -> Result<Text, Halt> {
        template.expand(self.context).map_err(|error| {
            let source = String::from_utf8_lossy(template.source_bytes()).into_owned();
            Halt::error(format!("failed to expand \"{source}\" in {command} command: {error}"))
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), Halt> {
        let prefix = step.prefix;
        if prefix.seen == Some(true) && !matches!(step.command, Command::If { .. } | Command::Finish) {
            self.outcome.is_significant = true;
        }
        match &step.command {
            Command::Deliver { address, errors_to } => self.deliver(prefix, address, errors_to.as_ref())?,
            Command::Save { path, mode } => self.save(prefix, path, *mode)?,
            Command::Pipe(command) => self.pipe(prefix, command),
            Command::Mail(mail) => self.mail(prefix, mail)?,
            Command::Add { number, variable } => self.add(number, variable)?,
            Command::LogFile { path, mode } => {
                let path = self.expand_in(path, "logfile")?;
                self.show_line(&[b"Logfile ", path.as_bytes()]);
                self.log_file = Some((path, mode.unwrap_or(LOG_MODE)));
            }
            Command::LogWrite(text) => self.log_write(text)?,
            Command::Headers(verb, value) => self.headers(*verb, value)?,
            Command::TestPrint(text) => {
                let text = self.expand_in(text, "testprint")?;
                self.show_line(&[b"Testprint: ", &printing(text.as_bytes())]);
            }
            Command::Finish => {
                let seen = prefix.seen == Some(true);
                self.outcome.is_significant |= seen;
                self.show_line(&[if seen { b"Seen finish" } else { b"Finish" }]);
                return Err(Halt(End::Normal));
            }
            Command::Judge { judgement, text } => self.judge(*judgement, text)?,
            Command::If { branches, otherwise } => self.conditional(branches, otherwise)?,
        }
        Ok(())
    }

    /// The words before and behind an action in a test, and whether it is significant.
    fn significance(&mut self, prefix: Prefix) -> (&'static [u8], &'static [u8]) {
        let seen = prefix.seen != Some(false);
        self.outcome.is_significant |= seen;
        (if seen { b"" } else { b"Unseen " }, if prefix.noerror { b" (noerror)" } else { b"" })
    }

    fn deliver(
        &mut self,
        prefix: Prefix,
        address: &Template,
        errors_to: Option<&Template>,
    ) -> Result<(), Halt> {
        let text = self.expand_in(address, "deliver")?;
        let (address, is_unqualified) = self.address(text.as_bytes())?;
        let errors_to = match errors_to {
            None => None,
            Some(template) => {
                let text = self.expand_in(template, "deliver")?;
                let (errors_to, is_unqualified) = self.address(text.as_bytes())?;
                let errors_to = if is_unqualified { self.qualified(&errors_to) } else { errors_to };
                let is_own = self.rules.own.iter().any(|own| own.eq_ignore_ascii_case(&errors_to));
                if !self.rules.is_system && !is_own {
                    return Err(Halt::error("errors_to must point to the caller's address".to_owned()));
                }
                Some(errors_to)
            }
        };
        let (before, behind) = self.significance(prefix);
        if self.rules.is_test {
            let shown = if is_unqualified { self.qualified(&address) } else { address };
            let what: &[u8] =
                if before.is_empty() { b"Deliver message to: " } else { b"deliver message to: " };
            let errors = errors_to.map(|to| [b" errors_to ", to.as_slice()].concat()).unwrap_or_default();
            self.show_line(&[before, what, &shown, behind, &errors]);
            return Ok(());
        }
        self.make(Deed::Mail { address, is_unqualified, errors_to }, prefix);
        Ok(())
    }

    fn qualified(&self, local_part: &[u8]) -> Vec<u8> {
        [local_part, b"@", &self.rules.qualify_domain].concat()
    }

    fn address(&self, text: &[u8]) -> Result<(Vec<u8>, bool), Halt> {
        match parse(text, &self.rules.syntax) {
            Ok(parsed) => Ok((parsed.address.clone(), parsed.domain().is_none())),
            Err(error) => {
                let shown = String::from_utf8_lossy(text);
                Err(Halt::error(format!("malformed address \"{shown}\" in filter file: {error}")))
            }
        }
    }

    fn save(&mut self, prefix: Prefix, path: &Template, mode: Option<u32>) -> Result<(), Halt> {
        let mut path = self.expand_in(path, "save")?;
        let (before, behind) = self.significance(prefix);
        if self.rules.is_test {
            let what: &[u8] = if before.is_empty() { b"Save message to: " } else { b"save message to: " };
            let mode = mode.map(|mode| format!(" {mode:04o}")).unwrap_or_default();
            self.show_line(&[before, what, path.as_bytes(), mode.as_bytes(), behind]);
            return Ok(());
        }
        if !path.as_bytes().starts_with(b"/")
            && let Some(home) = self.rules.home.as_ref().filter(|home| !home.is_empty())
        {
            let mut full = Text::clean([home.as_slice(), b"/"].concat());
            full.push(&path);
            path = full;
        }
        self.make(Deed::Save { path, mode }, prefix);
        Ok(())
    }

    fn pipe(&mut self, prefix: Prefix, command: &[u8]) {
        let (before, behind) = self.significance(prefix);
        if self.rules.is_test {
            let what: &[u8] = if before.is_empty() { b"Pipe message to: " } else { b"pipe message to: " };
            self.show_line(&[before, what, command, behind]);
            return;
        }
        self.make(Deed::Pipe(command.to_vec()), prefix);
    }

    fn add(&mut self, number: &Template, variable: &Template) -> Result<(), Halt> {
        let number = self.expand_in(number, "add")?;
        let variable = self.expand_in(variable, "add")?;
        let value = integer(number.as_bytes())
            .ok_or_else(|| Halt::error(format!("malformed number \"{number}\" in \"add\" command")))?;
        let index = match variable.as_bytes() {
            [b'n', digit @ b'0'..=b'9'] => usize::from(digit.wrapping_sub(b'0')),
            _ => {
                return Err(Halt::error(format!("unknown variable \"{variable}\" in \"add\" command")));
            }
        };
        self.show_line(&[b"Add ", value.to_string().as_bytes(), b" to ", variable.as_bytes()]);
        if let Some(counter) = self.context.address.counters.get_mut(index) {
            *counter = i64::from(wrapped(counter.wrapping_add(i64::from(value))));
        }
        Ok(())
    }

    fn log_write(&mut self, text: &Template) -> Result<(), Halt> {
        let mut text = self.expand_in(text, "logwrite")?.into_bytes();
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        if self.rules.is_test {
            self.show_line(&[b"Logwrite \"", &printing(&text), b"\""]);
            return Ok(());
        }
        if self.rules.forbid_logwrite {
            return Err(Halt::error("logwrite command forbidden".to_owned()));
        }
        if self.rules.writes_no_log {
            return Ok(());
        }
        let Some((path, mode)) = self.log_file.clone() else {
            let text = "attempt to obey \"logwrite\" command without a previous \"logfile\"";
            return Err(Halt::error(text.to_owned()));
        };
        self.outcome.log.push(LogEntry { path, mode, text });
        Ok(())
    }

    fn headers(&mut self, verb: HeadersVerb, value: &Template) -> Result<(), Halt> {
        let text = match value.expand(self.context) {
            Ok(text) => text,
            // A forced failure makes the command do nothing.
            Err(error) if error.is_forced() && verb != HeadersVerb::Charset => return Ok(()),
            Err(error) => {
                let source = String::from_utf8_lossy(value.source_bytes()).into_owned();
                return Err(Halt::error(format!(
                    "failed to expand \"{source}\" in headers command: {error}"
                )));
            }
        };
        match verb {
            HeadersVerb::Charset => {
                self.show_line(&[b"Headers charset \"", &printing(text.as_bytes()), b"\""]);
                self.context.local.headers_charset = Some(text.to_string_lossy());
            }
            HeadersVerb::Add => {
                let lines = text.as_bytes().trim_ascii_start();
                if lines.is_empty() {
                    return Ok(());
                }
                self.show_line(&[b"Headers add \"", &printing(lines), b"\""]);
                for line in header_lines(lines) {
                    self.context.message.headers.push_back(Header::new(line));
                }
                self.outcome.headers_changed = true;
            }
            HeadersVerb::Remove => {
                self.show_line(&[b"Headers remove \"", &printing(text.as_bytes()), b"\""]);
                for name in text.as_bytes().split(|byte| *byte == b':') {
                    let name = name.trim_ascii();
                    while !name.is_empty() && self.context.message.headers.mark_deleted(name, 0) > 0 {
                        self.outcome.headers_changed = true;
                    }
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, judgement: Judgement, text: &Template) -> Result<(), Halt> {
        let text = self.expand_in(text, judgement.word())?.to_string_lossy();
        if self.rules.is_test {
            let name = match judgement {
                Judgement::Defer => "Defer",
                Judgement::Fail => "Fail",
                Judgement::Freeze => "Freeze",
            };
            let shown = printing(text.as_bytes());
            self.show_line(&[name.as_bytes(), b" text \"", &shown, b"\""]);
        }
        // Thawed by hand, the message is not frozen again by the same rule.
        if judgement == Judgement::Freeze && self.rules.manually_thawed && !self.rules.is_test {
            return Ok(());
        }
        Err(Halt(match judgement {
            Judgement::Defer => End::Defer(text),
            Judgement::Fail => End::Fail(text),
            Judgement::Freeze => End::Freeze(text),
        }))
    }

    fn conditional(&mut self, branches: &[(Condition, Vec<Step>)], otherwise: &[Step]) -> Result<(), Halt> {
        let this_address = self.context.address.this_address.clone();
        let mut chosen = otherwise;
        for (condition, steps) in branches {
            if self.holds(condition)? {
                chosen = steps;
                break;
            }
        }
        let result = self.steps(chosen);
        self.context.address.this_address = this_address;
        result
    }

    fn expand_condition(&mut self, template: &Template) -> Result<Text, Halt> {
        template.expand(self.context).map_err(|error| {
            let source = String::from_utf8_lossy(template.source_bytes()).into_owned();
            Halt::error(format!("failed to expand \"{source}\" in filter file: {error}"))
        })
    }

    fn holds(&mut self, condition: &Condition) -> Result<bool, Halt> {
        Ok(match condition {
            Condition::Not(inner) => !self.holds(inner)?,
            Condition::And(left, right) => self.holds(left)? && self.holds(right)?,
            Condition::Or(left, right) => self.holds(left)? || self.holds(right)?,
            Condition::ErrorMessage => self.context.message.sender.is_empty(),
            Condition::Delivered => self.outcome.is_significant,
            Condition::FirstDelivery => self.context.message.first_delivery,
            Condition::ManuallyThawed => self.rules.manually_thawed,
            Condition::Personal(aliases) => {
                let mut own = self.rules.own.clone();
                for alias in aliases {
                    own.push(self.expand_condition(alias)?.into_bytes());
                }
                is_personal(self.context, &own, &[b"To"])
            }
            Condition::ForAnyAddress(list, inner) => self.any_address(list, inner)?,
            Condition::Number { left, right, above } => {
                let left = self.expand_condition(left)?;
                let right = self.expand_condition(right)?;
                let (left, right) = (number(&left)?, number(&right)?);
                if *above { left > right } else { left < right }
            }
            Condition::Text { left, right, test, caseful } => {
                let left = self.expand_condition(left)?;
                let right = self.expand_condition(right)?;
                self.compare(*test, *caseful, &left, &right)?
            }
        })
    }

    fn any_address(&mut self, list: &Template, inner: &Condition) -> Result<bool, Halt> {
        let list = self.expand_condition(list)?;
        let syntax = self.rules.syntax;
        // A fault does not end the search, and the last one is told. If none fits, the variable stays at the last address.
        let mut fault = None;
        for item in address_list(list.as_bytes()) {
            let Ok(parsed) = item.parse(&syntax) else { continue };
            self.context.address.this_address = Some(list.derive(parsed.address));
            match self.holds(inner) {
                Ok(true) => return fault.map_or(Ok(true), Err),
                Ok(false) => {}
                Err(halt) => fault = Some(halt),
            }
        }
        fault.map_or(Ok(false), Err)
    }

    fn compare(&mut self, test: TextTest, caseful: bool, left: &Text, right: &Text) -> Result<bool, Halt> {
        let (subject, object) = (left.as_bytes(), right.as_bytes());
        let same = |a: &[u8], b: &[u8]| if caseful { a == b } else { a.eq_ignore_ascii_case(b) };
        Ok(match test {
            TextTest::Is => same(subject, object),
            TextTest::Begins => subject.get(..object.len()).is_some_and(|head| same(head, object)),
            TextTest::Ends => {
                let start = subject.len().checked_sub(object.len());
                start.and_then(|start| subject.get(start..)).is_some_and(|tail| same(tail, object))
            }
            TextTest::Contains if caseful => memchr::memmem::find(subject, object).is_some(),
            // Nothing is in no text, unless case counts: so Exim has it.
            TextTest::Contains => !object.is_empty() && contains_caseless(subject, object),
            TextTest::Matches => return self.matches(left, object, caseful),
        })
    }

    fn matches(&mut self, subject: &Text, pattern: &[u8], caseful: bool) -> Result<bool, Halt> {
        use oxim_lang::regex::RegexError;
        let compiled = self.context.services.regexes.get(pattern, !caseful).map_err(|error| {
            let shown = String::from_utf8_lossy(pattern);
            let reason = match &error {
                RegexError::Pattern { message, offset } => format!("{message} at offset {offset}"),
                RegexError::Match(message) => message.clone(),
            };
            Halt::error(format!("error while compiling regular expression \"{shown}\": {reason}"))
        })?;
        match compiled.captures(subject) {
            Ok(Some(captures)) => {
                // As in Exim they count as the user's own words, so that `save $home/mail/$1` works: it is done with
                // the user's rights. The name of a command is still not taken from them (`transport::pipe`).
                let own = captures.into_iter().map(|text| Text::clean(text.into_bytes()));
                self.context.local.captures = own.collect();
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(Halt::error(error.describe(pattern))),
        }
    }
}

/// The lines of an added header text, each with its end; what begins with white space belongs to the line before.
fn header_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let goes_on = matches!(line.first(), Some(b' ' | b'\t'));
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.extend_from_slice(line),
            None => lines.push(line.to_vec()),
        }
        if let Some(last) = lines.last_mut() {
            last.push(b'\n');
        }
    }
    lines
}

/// A number as C reads it: blanks, a sign, `0x` or `0` for other bases. It is kept to 32 bits as in Exim.
fn integer(text: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(wrapped(if negative { value.wrapping_neg() } else { value }))
}

fn wrapped(value: i64) -> i32 {
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    i32::from_ne_bytes(low.to_ne_bytes())
}

/// A number with K or M behind it.
fn scaled(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let (digits, scale) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len().saturating_sub(1))?, 1024),
        b'm' | b'M' => (text.get(..text.len().saturating_sub(1))?, 1024 * 1024),
        _ => (text, 1),
    };
    digits.parse::<i64>().ok()?.checked_mul(scale)
}

/// A number of a condition.
fn number(text: &Text) -> Result<i64, Halt> {
    scaled(text.as_bytes()).ok_or_else(|| Halt::error(format!("malformed numerical string \"{text}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> String {
        let program = Program::parse(format!("# Exim filter\n{body}\n").as_bytes());
        let mut context = Context::default();
        context.message.sender = b"alice@else.example".to_vec();
        for line in [
            "From: Alice <alice@else.example>\n",
            "To: root@test.ex, Bob <bob@test.ex>\n",
            "Cc: carl@c.ex\n",
            "Subject: Hello World\n",
        ] {
            context.message.headers.push_back(Header::new(line));
        }
        let rules = Rules {
            is_test: true,
            own: vec![b"bob@test.ex".to_vec()],
            qualify_domain: b"vm".to_vec(),
            ..Rules::default()
        };
        let outcome = program.evaluate(&mut context, &rules);
        let mut text = String::from_utf8(outcome.shown).unwrap();
        if let End::Error(error) = &outcome.end {
            text.push_str(&format!("error: {error}\n"));
        } else if matches!(outcome.end, End::Normal) && outcome.is_significant {
            text.push_str("significant\n");
        }
        text
    }

    #[test]
    fn actions_as_observed() {
        for (body, expected) in [
            ("deliver a@b.c", "Deliver message to: a@b.c\nsignificant\n"),
            ("unseen deliver \"Q <q@r.s>\"", "Unseen deliver message to: q@r.s\n"),
            ("unseen noerror save x 640", "Unseen save message to: x 0640 (noerror)\n"),
            ("save /foo 999", "Save message to: /foo 0000\nsignificant\n"),
            ("pipe \"cmd $h_subject:\"", "Pipe message to: cmd $h_subject:\nsignificant\n"),
            ("add 3 to n1 add -5 to n1 testprint $n1", "Add 3 to n1\nAdd -5 to n1\nTestprint: -2\n"),
            ("add 99999999999 to n1", "Add 1215752191 to n1\n"),
            ("add 0x10 to n2 add 010 to n2 testprint $n2", "Add 16 to n2\nAdd 8 to n2\nTestprint: 24\n"),
            ("add 2k to n3", "error: malformed number \"2k\" in \"add\" command\n"),
            ("add 1 to sn1", "error: unknown variable \"sn1\" in \"add\" command\n"),
            ("logfile /x logwrite \"a\\nb\"", "Logfile /x\nLogwrite \"a\\nb\\n\"\n"),
            ("seen testprint x", "Testprint: x\nsignificant\n"),
            ("seen finish deliver x", "Seen finish\nsignificant\n"),
            (
                "deliver a@@b",
                "error: malformed address \"a@@b\" in filter file: domain missing or malformed\n",
            ),
            (
                "deliver ${lc:",
                "error: failed to expand \"${lc:\" in deliver command: missing } at end of string\n",
            ),
            ("deliver a errors_to x@y.z", "error: errors_to must point to the caller's address\n"),
            ("mail subject \"a\\nb\"", "error: \\n not followed by space in \"a\\nb\" in mail command\n"),
            (
                "vacation subject foo file x once_repeat 5d4h",
                "Mail to: <default> (vacation)\nsubject: foo\n   file: x\n    log: .vacation.log\n   once: .vacation\nonce_repeat: 5d4h\n",
            ),
        ] {
            assert_eq!(shown(body), expected, "{body:?}");
        }
    }

    #[test]
    fn conditions_as_observed() {
        for (condition, expected) in [
            ("A is a", true),
            ("A IS a", false),
            ("not not A is a", true),
            ("ABC begins ab", true),
            ("ABC ENDS bc", false),
            ("abc does not contain b", false),
            ("abc is not begin ab", false),
            ("3k is above 2", true),
            ("2M is not below 2048k", true),
            ("\"3 \" is above 2", true),
            ("a is a or b is c and d is e", true),
            ("not (a is a and b is c)", true),
            ("personal", true),
            ("personal alias x@y.z", true),
            ("foranyaddress \"$h_to:,$h_cc:\" ($thisaddress contains carl)", true),
            ("foranyaddress $h_to: ($thisaddress contains carl)", false),
            ("delivered", false),
            ("error_message", false),
        ] {
            let body = format!("if {condition} then testprint y else testprint n endif");
            let answer = if expected { "Testprint: y\n" } else { "Testprint: n\n" };
            assert_eq!(shown(&body), answer, "{condition}");
        }
    }

    #[test]
    fn captures_and_this_address_last_as_long_as_in_exim() {
        assert_eq!(
            shown("if abc matches \"^(a)(b)\" then testprint \"$1$2\" endif testprint \"$1\""),
            "Testprint: ab\nTestprint: a\n"
        );
        assert_eq!(
            shown(
                "if foranyaddress $h_to: ($thisaddress contains bob) then testprint $thisaddress endif testprint \"-$thisaddress\""
            ),
            "Testprint: bob@test.ex\nTestprint: -\n"
        );
        assert_eq!(
            shown(
                "if foranyaddress $h_to: ($thisaddress contains zzz) then else testprint $thisaddress endif"
            ),
            "Testprint: bob@test.ex\n"
        );
    }

    #[test]
    fn added_header_lines_keep_their_continuations() {
        assert_eq!(header_lines(b"A: 1\n 2\nB: 3"), [b"A: 1\n 2\n".to_vec(), b"B: 3\n".to_vec()]);
    }
}
