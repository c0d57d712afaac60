//! What a Sieve script makes of a message. No I/O.

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_mail::address::address_list;
use oxim_mail::rfc2047::{Undecodable, decode};

use super::compare::compare;
use super::notify::{self, Mailto};
use super::parse::is_field;
use super::tree::{Block, Command, How, Part, Test};
use super::{Fault, Script, vacation};
use crate::filter::{Deed, End, Made, Outcome};

/// For whom a script runs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// It is only tested.
    pub is_test: bool,
    /// `sieve_inbox`, or `inbox`: where `keep` puts a message.
    pub inbox: Vec<u8>,
    /// `sieve_vacation_directory`.
    pub vacation_directory: Option<Vec<u8>>,
    /// `sieve_enotify_mailto_owner`; without it there are no notifications.
    pub enotify_owner: Option<Vec<u8>>,
    /// `sieve_useraddress`: `:user`.
    pub user: Option<Vec<u8>>,
    /// `sieve_subaddress`: `:detail`.
    pub detail: Option<Vec<u8>>,
    /// The addresses of the user.
    pub own: Vec<Vec<u8>>,
    /// The recipient of the message: `envelope "to"`.
    pub recipient: Vec<u8>,
}

enum Halt {
    Stop,
    Fault(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Fault(fault)
    }
}

struct Run<'a> {
    rules: &'a Rules,
    context: &'a Context,
    made: Vec<Made>,
    keeps: bool,
}

impl Script {
    /// Runs the script.
    #[must_use]
    pub fn evaluate(&self, context: &Context, rules: &Rules) -> Outcome {
        let mut run = Run { rules, context, made: Vec::new(), keeps: true };
        let mut outcome = Outcome { is_significant: true, ..Outcome::default() };
        let halted = match self.enotify_line {
            Some(line) => run.need_enotify(line).map_err(Halt::Fault),
            None => Ok(()),
        };
        let halted = halted.and_then(|()| run.block(&self.block));
        let mut shown = String::new();
        match halted {
            Err(Halt::Fault(fault)) => {
                shown = format!("Sieve error: {} in line {}\n", fault.message, fault.line);
                run.file(rules.inbox.clone());
                outcome.end = End::Normal;
            }
            Ok(()) | Err(Halt::Stop) => {
                shown.push_str(if run.keeps { "Implicit keep\n" } else { "No implicit keep\n" });
                if run.keeps {
                    run.file(rules.inbox.clone());
                }
            }
        }
        if rules.is_test {
            outcome.shown = shown.into_bytes();
        } else {
            outcome.made = run.made;
        }
        outcome
    }
}

impl Run<'_> {
    fn make(&mut self, deed: Deed, ignores_errors: bool) {
        let made = Made { deed, ignores_errors, captures: Vec::new(), this_address: None, forbidden: None };
        if !self.made.contains(&made) {
            self.made.push(made);
        }
    }

    fn file(&mut self, folder: Vec<u8>) {
        self.make(Deed::Save { path: Text::clean(folder), mode: None }, false);
    }

    fn block(&mut self, block: &Block) -> Result<(), Halt> {
        for command in &block.commands {
            self.command(command)?;
        }
        match &block.fault {
            Some(fault) => Err(fault.clone().into()),
            None => Ok(()),
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), Halt> {
        match command {
            Command::Stop => return Err(Halt::Stop),
            Command::Keep => {
                self.file(self.rules.inbox.clone());
                self.keeps = false;
            }
            Command::Discard => self.keeps = false,
            Command::Redirect { address, copy } => {
                self.keeps &= *copy;
                let address = address.clone();
                self.make(Deed::Mail { address, is_unqualified: false, errors_to: None }, false);
            }
            Command::FileInto { folder, copy, line } => {
                if folder.is_empty() || folder.split(|b| *b == b'/').any(|part| part == b"..") {
                    return Err(Fault { message: "invalid folder".to_owned(), line: *line }.into());
                }
                self.keeps &= *copy;
                self.file(folder.clone());
            }
            Command::Vacation(vacation) => {
                if self.rules.vacation_directory.is_none() && !self.rules.is_test {
                    let message = "vacation disabled".to_owned();
                    return Err(Fault { message, line: vacation.line }.into());
                }
                if let Some(reply) = vacation::reply(vacation, self.context, self.rules) {
                    self.make(Deed::Reply(Box::new(reply)), true);
                }
            }
            Command::Notify(notify) => {
                self.need_enotify(notify.line)?;
                // A notification about a notification would go on for ever.
                let is_automatic = self.context.message.sender.is_empty()
                    || self
                        .context
                        .message
                        .headers
                        .find(b"Auto-Submitted")
                        .any(|h| !h.body().trim_ascii().eq_ignore_ascii_case(b"no"));
                let subject = vacation::encoded_subject(&vacation::subject_of(self.context));
                let reply = notify::reply(notify, self.rules, &subject).filter(|_| !is_automatic);
                if let Some(reply) = reply {
                    self.make(Deed::Reply(Box::new(reply)), true);
                }
            }
            Command::If { branches, otherwise, fault } => {
                self.conditional(branches, otherwise.as_ref())?;
                if let Some(fault) = fault {
                    return Err(fault.clone().into());
                }
            }
        }
        Ok(())
    }

    fn need_enotify(&self, line: usize) -> Result<(), Fault> {
        match &self.rules.enotify_owner {
            Some(_) => Ok(()),
            None => Err(Fault { message: "enotify disabled".to_owned(), line }),
        }
    }

    /// Blocks that are not executed are read all the same: a fault in them counts.
    fn conditional(&mut self, branches: &[(Test, Block)], otherwise: Option<&Block>) -> Result<(), Halt> {
        let mut is_done = false;
        for (test, block) in branches {
            if !is_done && self.holds(test)? {
                is_done = true;
                self.block(block)?;
            } else if let Some(fault) = block.first_fault() {
                return Err(fault.clone().into());
            }
        }
        match otherwise {
            Some(block) if !is_done => self.block(block),
            Some(block) => match block.first_fault() {
                Some(fault) => Err(fault.clone().into()),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn holds(&self, test: &Test) -> Result<bool, Fault> {
        Ok(match test {
            Test::Constant(answer) => *answer,
            Test::Not(inner) => !self.holds(inner)?,
            // All are evaluated, even if the first decides: a fault in any of them counts.
            Test::All(tests) => {
                let mut all = true;
                for test in tests {
                    all &= self.holds(test)?;
                }
                all
            }
            Test::Any(tests) => {
                let mut any = false;
                for test in tests {
                    any |= self.holds(test)?;
                }
                any
            }
            Test::Header(how, fields, keys) => {
                let values = fields.iter().flat_map(|name| self.values(name));
                self.any(how, values, keys)?
            }
            Test::Address(how, fields, keys) => {
                let values = fields.iter().flat_map(|name| self.addresses(name));
                let parts = values.filter_map(|address| part_of(how.part, &address));
                self.any(how, parts, keys)?
            }
            Test::Envelope(how, parts, keys) => {
                let values = parts.iter().filter_map(|part| {
                    if part.eq_ignore_ascii_case(b"from") {
                        return part_of(how.part, &self.context.message.sender);
                    }
                    match how.part {
                        Part::User if self.rules.user.is_some() => self.rules.user.clone(),
                        Part::Detail => self.rules.detail.clone(),
                        part @ (Part::All | Part::LocalPart | Part::Domain | Part::User) => {
                            part_of(part, &self.rules.recipient)
                        }
                    }
                });
                self.any(how, values, keys)?
            }
            Test::Exists(fields, line) => self.exists(fields, *line)?,
            Test::Size(over, limit) => {
                let size = u64::try_from(self.context.message.size).unwrap_or(0);
                if *over { size > *limit } else { size < *limit }
            }
            Test::ValidNotifyMethod(methods) => methods.iter().all(|method| Mailto::parse(method).is_ok()),
            Test::NotifyMethodCapability(how, method, capability, keys) => {
                let known = Mailto::parse(method).is_ok() && capability.eq_ignore_ascii_case(b"online");
                known && self.any(how, std::iter::once(b"maybe".to_vec()), keys)?
            }
        })
    }

    fn exists(&self, fields: &[Vec<u8>], line: usize) -> Result<bool, Fault> {
        for name in fields {
            if !is_field(name) {
                return Err(Fault { message: "header string expansion failed".to_owned(), line });
            }
            if !self.context.message.headers.contains(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn any(&self, how: &How, values: impl Iterator<Item = Vec<u8>>, keys: &[Vec<u8>]) -> Result<bool, Fault> {
        for value in values {
            for key in keys {
                let matched = compare(how.matching, how.comparator, key, &value);
                if matched.map_err(|message| Fault { message: message.to_owned(), line: how.line })? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The values of a field, each in UTF-8; words that cannot be decoded stay as they are.
    fn values(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let headers = self.context.message.headers.find(name);
        headers
            .map(|header| {
                let raw = header.unfolded();
                decode(&raw, Some(b"UTF-8"), false, Undecodable::KeepBytes).unwrap_or(raw)
            })
            .collect()
    }

    fn addresses(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for header in self.context.message.headers.find(name) {
            let items = address_list(header.body());
            let parsed =
                items.filter_map(|item| item.parse(&oxim_mail::address::AddressSyntax::default()).ok());
            found.extend(parsed.map(|parsed| parsed.address));
        }
        found
    }
}

/// A part of an address. Only of the recipient of the envelope is it known how it is divided further (RFC 5233).
fn part_of(part: Part, address: &[u8]) -> Option<Vec<u8>> {
    let start = crate::address::domain_start(address);
    match part {
        Part::All => Some(address.to_vec()),
        Part::Domain => Some(start.and_then(|start| address.get(start..)).unwrap_or_default().to_vec()),
        Part::LocalPart | Part::User => Some(match start {
            Some(start) => address.get(..start.saturating_sub(1)).unwrap_or_default().to_vec(),
            None => address.to_vec(),
        }),
        Part::Detail => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxim_mail::header::Header;

    fn run(body: &str) -> (String, Vec<String>) {
        let mut context = Context::default();
        context.message.sender = b"alice@else.example".to_vec();
        context.message.size = 189;
        for line in [
            "From: Alice <alice@else.example>\n",
            "To: root@test.ex, Bob <bob@test.ex>\n",
            "Subject: Hello World\n",
            "X-Enc: =?iso-8859-1?Q?caf=E9?=\n",
        ] {
            context.message.headers.push_back(Header::new(line));
        }
        let rules = Rules {
            inbox: b"inbox".to_vec(),
            vacation_directory: Some(b"/v".to_vec()),
            enotify_owner: Some(b"bob@test.ex".to_vec()),
            own: vec![b"bob@test.ex".to_vec()],
            recipient: b"bob@test.ex".to_vec(),
            ..Rules::default()
        };
        let script = Script::parse(format!("# Sieve filter\n{body}\n").as_bytes());
        let test = Rules { is_test: true, ..rules.clone() };
        let shown = String::from_utf8(script.evaluate(&context, &test).shown).unwrap();
        let made = script.evaluate(&context, &rules).made;
        let names = made.iter().map(|made| match &made.deed {
            Deed::Mail { address, .. } => String::from_utf8_lossy(address).into_owned(),
            Deed::Save { path, .. } => path.to_string_lossy(),
            Deed::Reply(reply) => format!(">{}", String::from_utf8_lossy(&reply.to)),
            Deed::Pipe(_) => unreachable!(),
        });
        (shown.trim_end().to_owned(), names.collect())
    }

    #[test]
    fn faults_as_observed() {
        for (body, expected) in [
            ("", "Implicit keep"),
            ("keep;", "No implicit keep"),
            ("require \"fileinto\"; fileinto \"a/../b\";", "Sieve error: invalid folder in line 2"),
            (
                "require [\"fileinto\",\"copy\"]; fileinto :copy \"foo\"; redirect :copy \"a@b.c\";",
                "Implicit keep",
            ),
            ("redirect \"abc\";", "Sieve error: unqualified recipient address in line 2"),
            ("stop; bogus", "Implicit keep"),
            ("bogus", "Sieve error: syntax error in line 2"),
            ("keep", "Sieve error: missing semicolon in line 3"),
            ("require \"exists\"; keep;", "Sieve error: unknown capability in line 2"),
            ("keep; require \"fileinto\";", "Sieve error: syntax error in line 2"),
            ("fileinto \"x\";", "Sieve error: missing previous require \"fileinto\"; in line 2"),
            (
                "require \"envelope\";\nif envelope \"foo\" \"x\" { keep; }",
                "Sieve error: invalid envelope string in line 3",
            ),
            ("if header \"a:b\" \"x\" { keep; }", "Sieve error: invalid header field in line 2"),
            ("/* comment */ keep; # other\n/* unclosed", "Sieve error: missing end of comment in line 3"),
            ("if header :contains \"subject\" text:\nHello\n.\n{ keep; }", "Implicit keep"),
            ("redirect text: # comment\na@b.c\n.\n;", "No implicit keep"),
            ("redirect \"a@b.c", "Sieve error: missing end of string in line 3"),
            ("if true keep;", "Sieve error: missing block in line 2"),
            ("if { keep; }", "Sieve error: missing test in line 2"),
            ("if true { keep;", "Sieve error: expecting command or closing brace in line 3"),
            ("if allof { keep; }", "Sieve error: missing test list in line 2"),
            ("if allof(true { keep; }", "Sieve error: missing closing paren in line 2"),
            ("if header :bogus \"a\" \"b\" { keep; }", "Sieve error: header string list expected in line 2"),
            ("if header \"a\" { keep; }", "Sieve error: key string list expected in line 2"),
            ("if header [\"a\" \"b\"] \"c\" { keep; }", "Sieve error: missing string list in line 2"),
            ("if size 3 { keep; }", "Sieve error: missing :over or :under in line 2"),
            ("if size :over { keep; }", "Sieve error: missing number in line 2"),
            ("if size :over 1g { keep; }", "Sieve error: missing block in line 2"),
            ("if address \"subject\" \"x\" { keep; }", "Sieve error: invalid header field in line 2"),
            ("redirect;", "Sieve error: missing redirect recipient string in line 2"),
            ("require;", "Sieve error: capability string list expected in line 2"),
            ("keep; if false { bogus; }", "Sieve error: expecting command or closing brace in line 2"),
            ("if true { keep; } }", "Sieve error: syntax error in line 2"),
            ("if true { stop; } else { bogus }", "Implicit keep"),
            ("if not not true { redirect \"1@x.y\"; } if true", "Sieve error: missing block in line 3"),
            (
                "if header :is :is \"subject\" \"x\" { keep; }",
                "Sieve error: match type already specified in line 2",
            ),
            (
                "if header :comparator i \"subject\" \"x\" { keep; }",
                "Sieve error: missing comparator in line 2",
            ),
            (
                "if header :contains \"subject\" text:x\na\n.\n { keep; }",
                "Sieve error: syntax error in line 2",
            ),
            (
                "if header :contains \"subject\" text:\n..hello\n{ keep; }",
                "Sieve error: missing end of multi line string in line 5",
            ),
            ("require \"vacation\"; vacation;", "Sieve error: missing reason string in line 2"),
            (
                "require \"encoded-character\"; if header \"subject\" \"${unicode:d800}\" { keep; }",
                "Sieve error: unicode character out of range in line 2",
            ),
            (
                "require \"enotify\";\nnotify :importance \"9\" \"mailto:a@b.c\";",
                "Sieve error: invalid importance in line 3",
            ),
            (
                "if header :matches \"subject\" \"hello world\\\\\" { keep; }",
                "Sieve error: syntactically invalid pattern in line 2",
            ),
        ] {
            assert_eq!(run(body).0, expected, "{body:?}");
        }
    }

    #[test]
    fn tests_as_observed() {
        for (test, expected) in [
            ("header :is \"subject\" \"hello world\"", true),
            ("header :comparator \"i;octet\" :is \"subject\" \"hello world\"", false),
            ("header \"x-enc\" \"café\"", true),
            ("exists [\"to\",\"from\"]", true),
            ("exists []", true),
            ("exists \"foo\"", false),
            ("size :over 100", true),
            ("size :under 1K", true),
            ("allof(true, not false)", true),
            ("anyof(false, true)", true),
            ("address :localpart \"from\" \"alice\"", true),
            ("address :domain :matches \"from\" \"*.example\"", true),
            ("address :all :contains [\"to\",\"cc\"] \"bob@\"", true),
            ("address \"from\" \"ALICE@else.example\"", true),
            ("header :is \"nonexist\" \"\"", false),
            ("header :contains \"subject\" []", false),
        ] {
            let body = format!("if {test} {{ redirect \"y@x.y\"; }} else {{ redirect \"n@x.y\"; }}");
            let answer = if expected { "y@x.y" } else { "n@x.y" };
            assert_eq!(run(&body).1, [answer], "{test}");
        }
    }

    #[test]
    fn a_fault_keeps_what_was_done_before_and_the_message() {
        assert_eq!(run("redirect \"a@b.c\"; bogus").1, ["a@b.c", "inbox"]);
        assert_eq!(run("keep; keep;").1, ["inbox"]);
        assert_eq!(run("discard;").1, [""; 0]);
    }

    #[test]
    fn replies_and_notifications() {
        assert_eq!(run("require \"vacation\"; vacation \"gone\";").1, [">alice@else.example", "inbox"]);
        assert_eq!(run("require \"enotify\"; notify \"mailto:a@b.c\"; discard;").1, [">a@b.c"]);
    }
}
