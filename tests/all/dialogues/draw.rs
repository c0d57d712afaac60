//! Draws cases: what stands where, and how often.

use super::case::{Case, Section, Step, Way};
use super::configuration::*;
use super::words::*;
use crate::generator::random::Random;

/// Chance in a hundred of each main option to be set.
const OPTION_CHANCE: usize = 6;
/// How deep templates may stand in templates.
const DEPTH_MAX: usize = 3;
/// One case in so many is played with a daemon, which takes long to start.
const DAEMON_EVERY: usize = 40;

/// The case of this number.
pub(super) fn case(seed: u64, number: usize) -> Case {
    let mut writer = Writer { random: Random::of_case(seed, number) };
    let way = match number % 10 {
        _ if number % DAEMON_EVERY == 7 => Way::Daemon,
        0..=6 => Way::Pipes,
        _ => Way::Input,
    };
    let (arguments, user) = writer.call(way);
    let steps = if way == Way::Input { writer.input(&arguments) } else { writer.dialogue(way) };
    let config = writer.config(user.is_some() && way == Way::Pipes);
    Case { name: format!("seed {seed} case {number}"), config, way, arguments, user, steps }
}

struct Writer {
    random: Random,
}

impl Writer {
    fn percent(&mut self, chance: usize) -> bool {
        self.random.percent(chance)
    }

    fn up_to(&mut self, most: usize) -> usize {
        self.random.below(most + 1)
    }

    /// One of the templates, filled in.
    fn one_of(&mut self, templates: &[&str]) -> String {
        let template = self.random.pick(templates);
        self.fill(template, 0)
    }

    fn fill(&mut self, template: &str, depth: usize) -> String {
        let mut text = String::new();
        let mut rest = template.chars();
        while let Some(letter) = rest.next() {
            if letter != '%' {
                text.push(letter);
                continue;
            }
            let Some(code) = rest.next() else { break };
            if let Some(filled) = self.code(code, depth) {
                text.push_str(&filled);
            } else {
                text.push('%');
                text.push(code);
            }
        }
        text
    }

    /// What stands for a code; nothing if it is none.
    fn code(&mut self, code: char, depth: usize) -> Option<String> {
        let table = match code {
            't' if depth >= DEPTH_MAX => WORDS,
            't' => TEXTS,
            'v' => VARIABLES,
            'w' => WORDS,
            'd' => DOMAINS,
            'h' => HOSTS,
            'c' => BOOLEANS,
            'g' => HELO_NAMES,
            'e' => ADDRESSES,
            'r' => RECIPIENTS,
            'M' => MAIL_PARAMETERS,
            'R' => RCPT_PARAMETERS,
            'f' => HEADER_NAMES,
            'F' => CONTENTS,
            'b' => BASE64,
            'S' => SELECTORS,
            'x' => REWRITE_FLAGS,
            'n' => return Some(self.up_to(9).to_string()),
            'E' => loop {
                let address = self.one_of(ADDRESSES);
                if !address.trim().contains(' ') {
                    return Some(address);
                }
            },
            'D' | 'L' | 'A' | 'H' => return Some(self.list(code)),
            _ => return None,
        };
        let template = self.random.pick(table);
        Some(self.fill(template, depth + 1))
    }

    fn list(&mut self, code: char) -> String {
        let count = 1 + self.up_to(2);
        let items: Vec<String> = (0..count).map(|_| self.one_of(items(code))).collect();
        items.join(" : ")
    }

    fn config(&mut self, is_claim: bool) -> Vec<(Section, String)> {
        let mut lines = Vec::new();
        if is_claim {
            // ACLs of exim4 see the sender that a caller has said, those of Oxim the one that the message will have.
            lines.push((Section::Main, "untrusted_set_sender = *".to_owned()));
        }
        for (name, values) in OPTIONS.iter().filter(|(name, _)| !is_claim || *name != "untrusted_set_sender")
        {
            if self.percent(OPTION_CHANCE) {
                let value = self.one_of(values);
                lines.push((Section::Main, format!("{name} = {value}")));
            }
        }
        for name in ["smtp_max_synprot_errors", "smtp_max_unknown_commands"] {
            // Otherwise most dialogues end early.
            if self.percent(75) && !lines.iter().any(|(_, line)| line.starts_with(name)) {
                lines.push((Section::Main, format!("{name} = 30")));
            }
        }
        for (option, acl, chance) in HOOKS {
            if self.percent(*chance) {
                lines.push((Section::Main, format!("{option} = {acl}")));
                self.acl(acl, &mut lines);
            }
        }
        for name in ["sub", "sub2"] {
            self.acl(name, &mut lines);
        }
        if self.percent(15) {
            for _ in 0..=self.up_to(2) {
                lines.push((Section::Rewrite, self.one_of(REWRITES)));
            }
        }
        if self.percent(35) {
            let first = self.random.pick(AUTHENTICATORS).to_owned();
            if !first.starts_with("login") && self.percent(50) {
                lines.push((Section::Authenticators, AUTHENTICATORS[1].to_owned()));
            }
            lines.push((Section::Authenticators, first));
        }
        lines
    }

    fn acl(&mut self, name: &str, lines: &mut Vec<(Section, String)>) {
        let mut push = |line: String| lines.push((Section::Acl(name.to_owned()), line));
        if name == "not_smtp" {
            // A complaint that is itself refused is told in other words.
            push("accept".to_owned());
            push("  senders = :".to_owned());
        }
        for _ in 0..self.up_to(3) {
            let verb = self.verb();
            push(verb.to_owned());
            // Without a condition these would end most ACLs.
            let conditions = if verb == "warn" { self.up_to(1) } else { 1 + self.up_to(1) };
            let mut clauses: Vec<String> = (0..conditions)
                .map(|_| {
                    let not = if self.percent(20) { "!" } else { "" };
                    format!("{not}{}", self.one_of(CONDITIONS))
                })
                .collect();
            for _ in 0..self.up_to(2) {
                let at = self.up_to(clauses.len());
                clauses.insert(at, self.one_of(MODIFIERS));
            }
            if ["accept", "discard"].contains(&verb) && self.percent(15) {
                clauses.insert(0, "endpass".to_owned());
            }
            for clause in clauses {
                push(format!("  {clause}"));
            }
        }
        if self.percent(85) {
            push("accept".to_owned());
        }
    }

    fn verb(&mut self) -> &'static str {
        let mut left = self.random.below(100);
        for (verb, share) in VERBS {
            match left.checked_sub(*share) {
                Some(rest) => left = rest,
                None => return verb,
            }
        }
        "accept"
    }

    fn call(&mut self, way: Way) -> (Vec<String>, Option<String>) {
        let text = match way {
            Way::Daemon => String::new(),
            // There exim4 writes addresses of IPv6 in full.
            Way::Pipes if self.percent(25) => format!("-bh {}", self.random.pick(&HOSTS[..6])),
            Way::Pipes => format!("-bs {}", self.one_of(PIPE_ARGUMENTS)),
            Way::Input if self.percent(30) => match self.one_of(PIPE_ARGUMENTS) {
                // A host is asked for its rights even there.
                host if host.contains("-oMa") => "-bS".to_owned(),
                other => format!("-bS {other}"),
            },
            Way::Input => self.one_of(INPUT_ARGUMENTS),
        };
        let user =
            (way != Way::Daemon && self.percent(30)).then(|| self.random.pick(&["alice", "bob"]).to_owned());
        (text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(), user)
    }

    fn dialogue(&mut self, way: Way) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.percent(92) {
            let hello = self.random.pick(&["EHLO client.test.ex", "EHLO %g", "HELO %g", "EHLO %g"]);
            steps.push(Step::command(&self.fill(hello, 0)));
        }
        for _ in 0..=self.up_to(5) {
            match self.random.below(10) {
                0..=5 => self.transaction(&mut steps),
                6 => self.exchange(&mut steps),
                _ => {
                    for _ in 0..=self.up_to(2) {
                        steps.push(Step::command(&self.one_of(COMMANDS)));
                    }
                }
            }
        }
        if self.percent(85) {
            let quit = self.random.pick(&["QUIT", "QUIT", "quit", "QUIT now", "QUIT "]);
            steps.push(Step::command(quit));
        }
        // A real connection must not depend on how the network cuts what is sent.
        if way == Way::Pipes && self.percent(15) {
            self.pipeline(&mut steps);
        }
        steps
    }

    /// Sends some neighbouring commands together.
    fn pipeline(&mut self, steps: &mut Vec<Step>) {
        let mut at = self.up_to(3);
        while at + 1 < steps.len() {
            if steps[at].after.is_empty() && steps[at + 1].after.is_empty() && self.percent(60) {
                let next = steps.remove(at + 1);
                steps[at].bytes.extend(next.bytes);
                steps[at].replies += next.replies;
            } else {
                at += 1;
            }
        }
    }

    fn transaction(&mut self, steps: &mut Vec<Step>) {
        if self.percent(96) {
            steps.push(Step::command(&self.one_of(MAIL)));
        }
        if self.percent(10) {
            steps.push(Step::command(&self.one_of(COMMANDS)));
        }
        let recipients = if self.percent(5) { 0 } else { 1 + self.up_to(3) };
        for _ in 0..recipients {
            steps.push(Step::command(&self.one_of(RCPT)));
        }
        if self.percent(5) {
            steps.push(Step::command(&self.one_of(COMMANDS)));
        }
        match self.random.below(10) {
            0 => {}
            1 => self.chunks(steps),
            _ => {
                steps.push(Step::command(self.random.pick(&["DATA", "DATA", "DATA", "data", "DATA "])));
                let mut bytes = self.message();
                if !bytes.ends_with(b"\n") {
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b".\r\n");
                steps.push(Step { bytes, replies: 1, after: "354".to_owned() });
            }
        }
    }

    fn chunks(&mut self, steps: &mut Vec<Step>) {
        let message = self.message();
        let first = if self.percent(50) { self.up_to(message.len()) } else { 0 };
        for (part, last) in [(&message[..first], ""), (&message[first..], " LAST")] {
            if part.is_empty() && last.is_empty() {
                continue;
            }
            let mut bytes = format!("BDAT {}{last}\r\n", part.len()).into_bytes();
            bytes.extend(part);
            // Where it is not offered exim4 takes the chunk for commands.
            steps.push(Step { bytes, replies: 1, after: "CHUNKING".to_owned() });
        }
    }

    fn exchange(&mut self, steps: &mut Vec<Step>) {
        let exchange = EXCHANGES[self.random.below(EXCHANGES.len())];
        for (index, line) in exchange.iter().enumerate() {
            let mut step = Step::command(&self.fill(line, 0));
            if index > 0 {
                step.after = "334".to_owned();
            }
            steps.push(step);
        }
    }

    fn message(&mut self) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..self.up_to(6) {
            text.push_str(&self.one_of(HEADER_LINES));
            text.push_str("\r\n");
        }
        if self.percent(92) {
            text.push_str("\r\n");
        }
        for _ in 0..self.up_to(4) {
            text.push_str(&self.one_of(BODY_LINES));
            text.push_str("\r\n");
        }
        if self.percent(5) {
            text.truncate(text.trim_end().len());
        }
        text.into_bytes()
    }

    /// What is written to a program that does not answer.
    fn input(&mut self, arguments: &[String]) -> Vec<Step> {
        let mut bytes = Vec::new();
        if arguments.iter().any(|word| word == "-bS") {
            for _ in 0..=self.up_to(2) {
                let mut steps = Vec::new();
                if self.percent(30) {
                    steps.push(Step::command(&self.one_of(COMMANDS)));
                }
                self.transaction(&mut steps);
                steps.retain(|step| step.after != "CHUNKING");
                bytes.extend(steps.into_iter().flat_map(|step| step.bytes));
            }
        } else {
            bytes = self.message();
            if self.percent(15) {
                bytes.extend(b"\n.\nafter the dot\n");
            }
        }
        if self.percent(70) {
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            bytes = text.into_bytes();
        }
        vec![Step { bytes, replies: 0, after: String::new() }]
    }
}
