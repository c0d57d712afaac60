//! Commands and tests of a Sieve script (RFC 5228 section 8.2). Faults have Exim's words.

use oxim_mail::address::{AddressSyntax, parse};

use super::Fault;
use super::lexer::{Lexer, Parsed};
use super::notify;
use super::tree::{Block, Command, Comparator, How, Match, Notify, Part, Test, Vacation};

/// How deep tests and blocks may stand in one another.
const NESTING_MAX: usize = 50;
/// Fields that hold addresses, so that `address` may be asked of them.
const ADDRESS_FIELDS: [&[u8]; 13] = [
    b"from",
    b"to",
    b"cc",
    b"bcc",
    b"sender",
    b"reply-to",
    b"resent-from",
    b"resent-to",
    b"resent-cc",
    b"resent-bcc",
    b"resent-sender",
    b"resent-reply-to",
    b"return-path",
];

/// The extensions that a script has required.
#[derive(Default)]
struct Required {
    copy: bool,
    enotify: bool,
    enotify_line: Option<usize>,
    envelope: bool,
    fileinto: bool,
    numeric: bool,
    subaddress: bool,
    vacation: bool,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    required: Required,
}

/// A script up to its first fault.
pub(super) fn script(data: &[u8]) -> (Block, Option<usize>) {
    let mut parser = Parser { lexer: Lexer::new(data), required: Required::default() };
    let mut block = Block::default();
    if let Err(fault) = parser.requires() {
        block.fault = Some(fault);
        return (block, parser.required.enotify_line);
    }
    let mut block = parser.commands(0);
    if block.first_fault().is_none() && !parser.lexer.is_at_end() {
        block.fault = Some(Fault { message: "syntax error".to_owned(), line: parser.lexer.line() });
    }
    (block, parser.required.enotify_line)
}

impl Parser<'_> {
    fn requires(&mut self) -> Parsed<()> {
        while self.lexer.word("require")? {
            let Some(names) = self.lexer.strings()? else {
                return self.lexer.fault("capability string list expected");
            };
            for name in names {
                let required = &mut self.required;
                match name.to_ascii_lowercase().as_slice() {
                    b"copy" => required.copy = true,
                    b"encoded-character" => self.lexer.decodes = true,
                    b"enotify" => {
                        required.enotify = true;
                        required.enotify_line.get_or_insert(self.lexer.line());
                    }
                    b"envelope" => required.envelope = true,
                    b"fileinto" => required.fileinto = true,
                    b"subaddress" => required.subaddress = true,
                    b"vacation" => required.vacation = true,
                    b"comparator-i;ascii-numeric" => required.numeric = true,
                    b"comparator-i;octet"
                    | b"comparator-i;ascii-casemap"
                    | b"comparator-en;ascii-casemap" => {}
                    _ => return self.lexer.fault("unknown capability"),
                }
            }
            self.lexer.semicolon()?;
        }
        Ok(())
    }

    fn need(&self, has: bool, name: &str) -> Parsed<()> {
        if has { Ok(()) } else { self.lexer.fault(format!("missing previous require \"{name}\";")) }
    }

    /// Commands up to something that is none.
    fn commands(&mut self, depth: usize) -> Block {
        let mut block = Block::default();
        loop {
            match self.command(depth) {
                Ok(Some(command)) => {
                    let is_faulty =
                        matches!(&command, Command::If { .. }) && faulty(std::slice::from_ref(&command));
                    block.commands.push(command);
                    if is_faulty {
                        return block;
                    }
                }
                Ok(None) => return block,
                Err(fault) => {
                    block.fault = Some(fault);
                    return block;
                }
            }
        }
    }

    fn command(&mut self, depth: usize) -> Parsed<Option<Command>> {
        let command = if self.lexer.word("if")? {
            return Ok(Some(self.conditional(depth)));
        } else if self.lexer.word("stop")? {
            Command::Stop
        } else if self.lexer.word("keep")? {
            Command::Keep
        } else if self.lexer.word("discard")? {
            Command::Discard
        } else if self.lexer.word("redirect")? {
            self.redirect()?
        } else if self.lexer.word("fileinto")? {
            self.need(self.required.fileinto, "fileinto")?;
            let copy = self.copy()?;
            let Some(folder) = self.lexer.string()? else {
                return self.lexer.fault("missing fileinto folder string");
            };
            Command::FileInto { folder, copy, line: self.lexer.line() }
        } else if self.lexer.word("notify")? {
            self.need(self.required.enotify, "enotify")?;
            Command::Notify(Box::new(self.notify()?))
        } else if self.lexer.word("vacation")? {
            self.need(self.required.vacation, "vacation")?;
            Command::Vacation(Box::new(self.vacation()?))
        } else {
            return Ok(None);
        };
        self.lexer.semicolon()?;
        Ok(Some(command))
    }

    fn copy(&mut self) -> Parsed<bool> {
        let mut copy = false;
        while self.lexer.word(":copy")? {
            self.need(self.required.copy, "copy")?;
            copy = true;
        }
        Ok(copy)
    }

    fn redirect(&mut self) -> Parsed<Command> {
        let copy = self.copy()?;
        let Some(text) = self.lexer.string()? else {
            return self.lexer.fault("missing redirect recipient string");
        };
        if !text.contains(&b'@') {
            return self.lexer.fault("unqualified recipient address");
        }
        let parsed = parse(&text, &AddressSyntax::default());
        let address = parsed.map(|parsed| parsed.address).unwrap_or(text);
        Ok(Command::Redirect { address, copy })
    }

    fn block(&mut self, depth: usize) -> Parsed<Block> {
        if depth > NESTING_MAX {
            return self.lexer.fault("blocks are nested too deep");
        }
        if !self.lexer.take(b'{')? {
            return self.lexer.fault("missing block");
        }
        let mut block = self.commands(depth.saturating_add(1));
        if block.first_fault().is_some() {
            return Ok(block);
        }
        match self.lexer.take(b'}') {
            Ok(true) => {}
            Ok(false) => {
                let fault = self.lexer.fault::<()>("expecting command or closing brace");
                block.fault = fault.err();
            }
            Err(fault) => block.fault = Some(fault),
        }
        Ok(block)
    }

    fn conditional(&mut self, depth: usize) -> Command {
        let mut branches = Vec::new();
        let mut otherwise = None;
        let fault = self.branches(depth, &mut branches, &mut otherwise).err();
        Command::If { branches, otherwise, fault }
    }

    fn branches(
        &mut self,
        depth: usize,
        branches: &mut Vec<(Test, Block)>,
        otherwise: &mut Option<Block>,
    ) -> Parsed<()> {
        loop {
            let Some(test) = self.test(0)? else { return self.lexer.fault("missing test") };
            let block = self.block(depth)?;
            let is_faulty = block.first_fault().is_some();
            branches.push((test, block));
            if is_faulty {
                return Ok(());
            }
            if self.lexer.word("elsif")? {
                continue;
            }
            if self.lexer.word("else")? {
                *otherwise = Some(self.block(depth)?);
            }
            return Ok(());
        }
    }

    fn test(&mut self, depth: usize) -> Parsed<Option<Test>> {
        if depth > NESTING_MAX {
            return self.lexer.fault("tests are nested too deep");
        }
        let inner = depth.saturating_add(1);
        if self.lexer.word("address")? {
            let how = self.how(true)?;
            let fields = self.fields()?;
            let keys = self.keys()?;
            let fields = self.valid(fields, is_address_field)?;
            return Ok(Some(Test::Address(self.at_end(how), fields, keys)));
        }
        if self.lexer.word("allof")? {
            return Ok(Some(Test::All(self.tests(inner)?)));
        }
        if self.lexer.word("anyof")? {
            return Ok(Some(Test::Any(self.tests(inner)?)));
        }
        if self.lexer.word("exists")? {
            // What is no name is a fault only when it is asked for.
            return Ok(Some(Test::Exists(self.fields()?, self.lexer.line())));
        }
        if self.lexer.word("false")? {
            return Ok(Some(Test::Constant(false)));
        }
        if self.lexer.word("true")? {
            return Ok(Some(Test::Constant(true)));
        }
        if self.lexer.word("header")? {
            let how = self.how(false)?;
            let fields = self.fields()?;
            let keys = self.keys()?;
            // `exists` may ask for the empty name; here it is none.
            let fields = self.valid(fields, |name| !name.is_empty() && is_field(name))?;
            return Ok(Some(Test::Header(self.at_end(how), fields, keys)));
        }
        if self.lexer.word("not")? {
            return match self.test(inner)? {
                Some(test) => Ok(Some(Test::Not(Box::new(test)))),
                None => self.lexer.fault("missing test"),
            };
        }
        if self.lexer.word("size")? {
            let over = self.lexer.word(":over")?;
            if !over && !self.lexer.word(":under")? {
                return self.lexer.fault("missing :over or :under");
            }
            return match self.lexer.number()? {
                Some(limit) => Ok(Some(Test::Size(over, limit))),
                None => self.lexer.fault("missing number"),
            };
        }
        self.extension_test()
    }

    fn extension_test(&mut self) -> Parsed<Option<Test>> {
        if self.lexer.word("envelope")? {
            self.need(self.required.envelope, "envelope")?;
            let how = self.how(true)?;
            let Some(parts) = self.lexer.strings()? else {
                return self.lexer.fault("envelope string list expected");
            };
            let keys = self.keys()?;
            let known = |part: &Vec<u8>| [&b"from"[..], b"to"].iter().any(|n| n.eq_ignore_ascii_case(part));
            if !parts.iter().all(known) {
                return self.lexer.fault("invalid envelope string");
            }
            return Ok(Some(Test::Envelope(self.at_end(how), parts, keys)));
        }
        if self.lexer.word("valid_notify_method")? {
            self.need(self.required.enotify, "enotify")?;
            return match self.lexer.strings()? {
                Some(methods) => Ok(Some(Test::ValidNotifyMethod(methods))),
                None => self.lexer.fault("URI string list expected"),
            };
        }
        if self.lexer.word("notify_method_capability")? {
            self.need(self.required.enotify, "enotify")?;
            let how = self.how(false)?;
            let Some(method) = self.lexer.string()? else {
                return self.lexer.fault("missing notification URI string");
            };
            let Some(capability) = self.lexer.string()? else {
                return self.lexer.fault("missing notification capability string");
            };
            let keys = self.keys()?;
            return Ok(Some(Test::NotifyMethodCapability(self.at_end(how), method, capability, keys)));
        }
        Ok(None)
    }

    fn at_end(&self, how: How) -> How {
        How { line: self.lexer.line(), ..how }
    }

    fn tests(&mut self, depth: usize) -> Parsed<Vec<Test>> {
        if !self.lexer.take(b'(')? {
            return self.lexer.fault("missing test list");
        }
        let mut tests = Vec::new();
        loop {
            match self.test(depth)? {
                Some(test) => tests.push(test),
                None => return self.lexer.fault("missing test"),
            }
            if self.lexer.take(b',')? {
                continue;
            }
            if self.lexer.take(b')')? {
                return Ok(tests);
            }
            return self.lexer.fault("missing closing paren");
        }
    }

    fn fields(&mut self) -> Parsed<Vec<Vec<u8>>> {
        match self.lexer.strings()? {
            Some(fields) => Ok(fields),
            None => self.lexer.fault("header string list expected"),
        }
    }

    /// The names, if all are of the kind that is wanted. The line of the fault is that where the test ends.
    fn valid(&self, fields: Vec<Vec<u8>>, is_valid: impl Fn(&[u8]) -> bool) -> Parsed<Vec<Vec<u8>>> {
        if fields.iter().all(|name| is_valid(name)) {
            Ok(fields)
        } else {
            self.lexer.fault("invalid header field")
        }
    }

    fn keys(&mut self) -> Parsed<Vec<Vec<u8>>> {
        match self.lexer.strings()? {
            Some(keys) => Ok(keys),
            None => self.lexer.fault("key string list expected"),
        }
    }

    /// Tags in any order: match type, comparator and, for addresses, the part.
    fn how(&mut self, of_address: bool) -> Parsed<How> {
        let (mut matching, mut comparator, mut part) = (None, None, None);
        loop {
            if let Some(found) = self.match_type()? {
                if matching.replace(found).is_some() {
                    return self.lexer.fault("match type already specified");
                }
            } else if self.lexer.word(":comparator")? {
                let found = self.comparator()?;
                if comparator.replace(found).is_some() {
                    return self.lexer.fault("comparator already specified");
                }
            } else if of_address && let Some(found) = self.part()? {
                if part.replace(found).is_some() {
                    return self.lexer.fault("address part already specified");
                }
            } else {
                break;
            }
        }
        Ok(How {
            matching: matching.unwrap_or_default(),
            comparator: comparator.unwrap_or_default(),
            part: part.unwrap_or_default(),
            line: self.lexer.line(),
        })
    }

    fn match_type(&mut self) -> Parsed<Option<Match>> {
        for (word, matching) in
            [(":is", Match::Is), (":contains", Match::Contains), (":matches", Match::Matches)]
        {
            if self.lexer.word(word)? {
                return Ok(Some(matching));
            }
        }
        Ok(None)
    }

    fn comparator(&mut self) -> Parsed<Comparator> {
        let Some(name) = self.lexer.string()? else { return self.lexer.fault("missing comparator") };
        match name.to_ascii_lowercase().as_slice() {
            b"i;octet" => Ok(Comparator::Octet),
            b"i;ascii-casemap" | b"en;ascii-casemap" => Ok(Comparator::Casemap),
            b"i;ascii-numeric" if self.required.numeric => Ok(Comparator::Numeric),
            b"i;ascii-numeric" => Ok(Comparator::NumericUnrequired),
            _ => self.lexer.fault("invalid comparator"),
        }
    }

    fn part(&mut self) -> Parsed<Option<Part>> {
        for (word, part) in [
            (":localpart", Part::LocalPart),
            (":domain", Part::Domain),
            (":all", Part::All),
            (":user", Part::User),
            (":detail", Part::Detail),
        ] {
            if self.lexer.word(word)? {
                if matches!(part, Part::User | Part::Detail) {
                    self.need(self.required.subaddress, "subaddress")?;
                }
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    fn tag_string(&mut self, missing: &str) -> Parsed<Vec<u8>> {
        match self.lexer.string()? {
            Some(string) => Ok(string),
            None => self.lexer.fault(missing),
        }
    }

    fn vacation(&mut self) -> Parsed<Vacation> {
        let mut vacation = Vacation::default();
        loop {
            if self.lexer.word(":days")? {
                match self.lexer.number()? {
                    Some(days) => vacation.days = Some(days.clamp(1, 31)),
                    None => return self.lexer.fault("missing number"),
                }
            } else if self.lexer.word(":subject")? {
                vacation.subject = Some(self.tag_string("subject string expected")?);
            } else if self.lexer.word(":from")? {
                let from = self.tag_string("from string expected")?;
                if parse(&from, &AddressSyntax::default()).is_err() {
                    return self.lexer.fault("malformed address in :from");
                }
                vacation.from = Some(from);
            } else if self.lexer.word(":addresses")? {
                match self.lexer.strings()? {
                    Some(addresses) => vacation.addresses = addresses,
                    None => return self.lexer.fault("addresses string list expected"),
                }
            } else if self.lexer.word(":mime")? {
                vacation.mime = true;
            } else if self.lexer.word(":handle")? {
                vacation.handle = Some(self.tag_string("handle string expected")?);
            } else {
                break;
            }
        }
        vacation.reason = self.tag_string("missing reason string")?;
        vacation.line = self.lexer.line();
        Ok(vacation)
    }

    fn notify(&mut self) -> Parsed<Notify> {
        let mut parsed = Notify::default();
        loop {
            if self.lexer.word(":from")? {
                parsed.from = Some(self.tag_string("from string expected")?);
            } else if self.lexer.word(":importance")? {
                parsed.importance = match self.tag_string("importance string expected")?.as_slice() {
                    [digit @ b'1'..=b'3'] => Some(digit.wrapping_sub(b'0')),
                    _ => return self.lexer.fault("invalid importance"),
                };
            } else if self.lexer.word(":options")? {
                // The only method, mailto, has none.
                if self.lexer.strings()?.is_none() {
                    return self.lexer.fault("options string list expected");
                }
            } else if self.lexer.word(":message")? {
                parsed.message = Some(self.tag_string("message string expected")?);
            } else {
                break;
            }
        }
        parsed.method = self.tag_string("missing method string")?;
        parsed.line = self.lexer.line();
        if let Err(message) = notify::Mailto::parse(&parsed.method) {
            return self.lexer.fault(message);
        }
        Ok(parsed)
    }
}

fn faulty(commands: &[Command]) -> bool {
    commands.iter().any(|command| {
        let Command::If { branches, otherwise, fault } = command else { return false };
        fault.is_some()
            || branches.iter().any(|(_, block)| block.first_fault().is_some())
            || otherwise.as_ref().is_some_and(|block| block.first_fault().is_some())
    })
}

/// RFC 5322 field names; bytes over 127 are let through as in Exim.
pub(super) fn is_field(name: &[u8]) -> bool {
    name.iter().all(|byte| *byte > b' ' && *byte != b':' && *byte != 127)
}

fn is_address_field(name: &[u8]) -> bool {
    ADDRESS_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}
