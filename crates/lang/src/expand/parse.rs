//! From source text to tree: the general syntax of section 11.5, and what items and conditions need for theirs.
//!
//! Parsing stops at the first fault; what stands before it is kept, since Exim evaluates from left to right and an
//! earlier failure is reported first. Item and condition rows parse their own arguments with [`Parser::body`],
//! [`Parser::strings`] and [`Parser::space`].

use oxim_base::limits::EXPANSION_NESTING_MAX;

use super::item::{self, Item};
use super::tree::{Body, Node};
use super::variable::{self, HeaderReference, VariableReference};
use super::{ExpandError, RefusedName};
use super::{condition, operator};

/// The first syntax fault of a string.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Exim's text.
    pub(crate) message: String,
    /// Byte offset of the place.
    pub(crate) position: usize,
}

/// Operators that Exim looks at for a variable with a certificate before it reads their string as others.
const CERTIFICATE_OPERATORS: [&str; 4] = ["base64", "md5", "sha1", "sha256"];

/// Reads one string.
pub(crate) struct Parser<'a> {
    source: &'a [u8],
    position: usize,
    depth: usize,
    blocks: bool,
    header_ran_on: bool,
    refused_names: Vec<RefusedName>,
}

impl<'a> Parser<'a> {
    /// A parser at the start of a string.
    pub(crate) fn new(source: &'a [u8]) -> Parser<'a> {
        Parser {
            source,
            position: 0,
            depth: 0,
            blocks: false,
            header_ran_on: false,
            refused_names: Vec::new(),
        }
    }

    /// Whether anything read so far may block.
    pub(crate) fn may_block(&self) -> bool {
        self.blocks
    }

    /// Notes that something that was read may block.
    pub(crate) fn note_blocking(&mut self, blocks: bool) {
        self.blocks |= blocks;
    }

    /// Where names of files hold what comes from outside.
    pub(crate) fn into_refused_names(self) -> Vec<RefusedName> {
        self.refused_names
    }

    /// A string in braces that names a file: what stands in it and comes from outside is noted.
    pub(crate) fn file_name(&mut self) -> Result<Body, Fault> {
        let position = self.position;
        let body = self.body()?;
        self.note_file_name(&body, position);
        Ok(body)
    }

    /// Where the next byte stands.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Notes what comes from outside in a string that names a file and begins at a place.
    pub(crate) fn note_file_name(&mut self, body: &Body, position: usize) {
        let names = body.foreign_variables().map(|name| RefusedName { variable: name.to_owned(), position });
        self.refused_names.extend(names);
    }

    /// Reads to the end: the parts before the first fault, and the fault.
    pub(crate) fn whole(&mut self) -> (Body, Option<Fault>) {
        let mut body = Body::default();
        while self.peek().is_some() {
            if let Err(fault) = self.part(&mut body) {
                return (body, Some(fault));
            }
        }
        (body, None)
    }

    /// A fault at the present place.
    pub(crate) fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { message: message.into(), position: self.position.min(self.source.len()) })
    }

    /// A fault at the present place, from what evaluation would say.
    pub(crate) fn complaint(&self, error: ExpandError) -> Fault {
        Fault { message: error.message().to_owned(), position: self.position.min(self.source.len()) }
    }

    /// The next byte.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.source.get(self.position).copied()
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.source.get(self.position..).unwrap_or_default()
    }

    /// Skips bytes.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.position = self.position.saturating_add(bytes).min(self.source.len());
    }

    /// Takes a byte if it is the next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.advance(1);
        }
        there
    }

    /// Skips white space.
    pub(crate) fn space(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)) {
            self.advance(1);
        }
    }

    /// Skips white space and takes a byte if it follows; if not, stays after the space.
    pub(crate) fn space_eat(&mut self, byte: u8) -> bool {
        self.space();
        self.eat(byte)
    }

    /// Takes the bytes that belong to a word.
    pub(crate) fn word(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let length = self.rest().iter().take_while(|b| belongs(**b)).count();
        let word = self.rest().get(..length).unwrap_or_default();
        self.advance(length);
        std::str::from_utf8(word).unwrap_or_default()
    }

    /// A string in braces, after its opening brace; takes the closing one.
    pub(crate) fn body(&mut self) -> Result<Body, Fault> {
        if self.depth >= EXPANSION_NESTING_MAX {
            return self.fault("expansions are nested too deep");
        }
        self.depth = self.depth.saturating_add(1);
        let mut body = Body::default();
        loop {
            match self.peek() {
                None => return self.unterminated(),
                Some(b'}') => break,
                Some(_) => self.part(&mut body)?,
            }
        }
        self.advance(1);
        self.depth = self.depth.saturating_sub(1);
        Ok(body)
    }

    /// A string in braces in which a dollar is nothing special, after its opening brace; takes the closing one.
    pub(crate) fn plain_string(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Body::default();
        loop {
            match self.peek() {
                None => return self.unterminated(),
                Some(b'}') => break,
                Some(b'\\') => self.escape(&mut body)?,
                Some(_) => {
                    let length = self.rest().iter().take_while(|b| !matches!(**b, b'\\' | b'}')).count();
                    body.push_bytes(self.rest().get(..length).unwrap_or_default());
                    self.advance(length);
                }
            }
        }
        self.advance(1);
        Ok(body.constant().unwrap_or_default().into_bytes())
    }

    /// Reads a nested construct other than a string in braces, counting its depth.
    pub(crate) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= EXPANSION_NESTING_MAX {
            return self.fault("expansions are nested too deep");
        }
        self.depth = self.depth.saturating_add(1);
        let result = read(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    fn unterminated<T>(&self) -> Result<T, Fault> {
        let hint = if self.header_ran_on { " - could be header name not terminated by colon" } else { "" };
        self.fault(format!("missing }} at end of string{hint}"))
    }

    /// The text about a brace that is missing after a string, with its hint when a header name has run on.
    pub(crate) fn misplaced_brace(&self) -> Option<&'static str> {
        self.header_ran_on
            .then_some("missing or misplaced { or } - could be header name not terminated by colon")
    }

    /// The strings in braces of an item with a fixed syntax, `{..}{..}}`, to the item's closing brace.
    pub(crate) fn strings(&mut self, name: &str, min: usize, max: usize) -> Result<Vec<Body>, Fault> {
        let bodies = self.open_strings(name, min, max)?;
        self.space();
        if self.eat(b'}') {
            return Ok(bodies);
        }
        if self.peek() == Some(b'{') {
            return self.fault(format!("Too many arguments for '{name}' (max is {max})"));
        }
        self.fault(
            self.misplaced_brace().map_or_else(|| format!("missing '}}' after '{name}'"), str::to_owned),
        )
    }

    /// The strings in braces of an item, without what follows them.
    pub(crate) fn open_strings(&mut self, name: &str, min: usize, max: usize) -> Result<Vec<Body>, Fault> {
        let mut bodies = Vec::new();
        while bodies.len() < max {
            if !self.space_eat(b'{') {
                if let Some(message) = self.misplaced_brace().filter(|_| bodies.len() < min) {
                    return self.fault(message);
                }
                if bodies.len() < min {
                    return self.fault(format!("Not enough arguments for '{name}' (min is {min})"));
                }
                break;
            }
            bodies.push(self.body()?);
        }
        Ok(bodies)
    }

    fn part(&mut self, body: &mut Body) -> Result<(), Fault> {
        match self.peek() {
            Some(b'\\') => self.escape(body),
            Some(b'$') => {
                let node = self.dollar()?;
                body.push(node);
                Ok(())
            }
            _ => {
                let length =
                    self.rest().iter().take_while(|b| !matches!(**b, b'\\' | b'$' | b'}')).count().max(1);
                body.push_bytes(self.rest().get(..length).unwrap_or_default());
                self.advance(length);
                Ok(())
            }
        }
    }

    fn escape(&mut self, body: &mut Body) -> Result<(), Fault> {
        self.advance(1);
        let Some(byte) = self.peek() else {
            return self.fault("\\ at end of string");
        };
        self.advance(1);
        if byte == b'N' {
            let end = memchr::memmem::find(self.rest(), b"\\N").unwrap_or(self.rest().len());
            body.push_bytes(self.rest().get(..end).unwrap_or_default());
            self.advance(end.saturating_add(2));
            return Ok(());
        }
        let value = self.escaped(byte);
        body.push_byte(value);
        Ok(())
    }

    /// The byte that an escape stands for; its first character has been taken.
    fn escaped(&mut self, first: u8) -> u8 {
        match first {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'0'..=b'7' => {
                let mut value = first.wrapping_sub(b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.peek() else { break };
                    value = value.wrapping_mul(8).wrapping_add(digit.wrapping_sub(b'0'));
                    self.advance(1);
                }
                value
            }
            b'x' => {
                let mut value = 0_u8;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else { break };
                    value = value.wrapping_mul(16).wrapping_add(u8::try_from(digit).unwrap_or(0));
                    self.advance(1);
                }
                value
            }
            other => other,
        }
    }

    fn dollar(&mut self) -> Result<Node, Fault> {
        self.advance(1);
        match self.peek() {
            Some(b) if b.is_ascii_alphabetic() => self.bare_reference(),
            Some(b) if b.is_ascii_digit() => Ok(Node::Capture(self.number())),
            Some(b'{') => {
                self.advance(1);
                self.braced()
            }
            _ => self.fault("$ not followed by letter, digit, or {"),
        }
    }

    /// Digits; numbers that are too large are the largest, which no capture has.
    fn number(&mut self) -> usize {
        self.word(|b| b.is_ascii_digit()).parse().unwrap_or(usize::MAX)
    }

    /// `$name` or `$h_name:`.
    fn bare_reference(&mut self) -> Result<Node, Fault> {
        if let Some(header) = self.header_reference() {
            return Ok(Node::Header(header));
        }
        let name = self.word(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.variable(name).map_err(|f| match f {
            Some(fault) => fault,
            None => self.unknown_variable(name),
        })
    }

    fn unknown_variable(&self, name: &str) -> Fault {
        let message = format!("unknown variable name \"{name}\"{}", variable::hint(name));
        Fault { message, position: self.position }
    }

    /// A variable by name. The error is a fault of its own, or None if there is no such variable.
    fn variable(&mut self, name: &str) -> Result<Node, Option<Fault>> {
        let reference = VariableReference::find(name).ok_or(None)?;
        if let Some(message) = reference.refusal() {
            return Err(Some(Fault { message, position: self.position }));
        }
        self.note_blocking(reference.may_block());
        Ok(Node::Variable(reference))
    }

    /// A header reference if one stands here: takes the name, and the colon that ends it.
    pub(crate) fn header_reference(&mut self) -> Option<HeaderReference> {
        let (form, length) = HeaderReference::prefix(self.rest())?;
        self.advance(length);
        let length =
            self.rest().iter().take_while(|b| !matches!(**b, b':' | b' ' | b'\t' | b'\n' | b'\r')).count();
        let name = self.rest().get(..length).unwrap_or_default().to_vec();
        self.advance(length);
        self.eat(b':');
        if name.contains(&b'}') {
            // The name has swallowed a brace: the next error about one says so.
            self.header_ran_on = true;
        }
        Some(HeaderReference::new(form, name))
    }

    /// What follows `${`.
    fn braced(&mut self) -> Result<Node, Fault> {
        match self.peek() {
            Some(b) if b.is_ascii_digit() => {
                let number = self.number();
                if !self.eat(b'}') {
                    return self.fault("} expected after number");
                }
                return Ok(Node::Capture(number));
            }
            Some(b) if b.is_ascii_alphabetic() => {}
            _ => return self.fault("letter or digit expected after ${"),
        }
        let name = self.word(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if let Some(row) = item::find(name) {
            self.note_blocking(row.may_block);
            let item: Box<dyn Item> = self.nested(|parser| (row.parse)(parser))?;
            return Ok(Node::Item(item));
        }
        match self.peek() {
            Some(b':') => self.operator(name),
            Some(b'}') => {
                self.advance(1);
                self.variable(name).map_err(|f| match f {
                    Some(fault) => fault,
                    None => Fault {
                        message: format!("unknown variable in \"${{{name}}}\"{}", variable::hint(name)),
                        position: self.position,
                    },
                })
            }
            _ => self.fault(format!(
                "\"${{{name}\" is not a known operator (or a }} is missing in a variable reference)"
            )),
        }
    }

    fn operator(&mut self, name: &str) -> Result<Node, Fault> {
        let Some((row, arguments)) = operator::find(name) else {
            // A fault in the operand is told first, as Exim does, who expands it first.
            let position = self.position;
            self.advance(1);
            self.body()?;
            return Err(Fault { message: format!("unknown expansion operator \"{name}\""), position });
        };
        if let Err(message) = row.check(name, arguments) {
            return self.fault(message);
        }
        self.note_blocking(row.may_block);
        self.advance(1);
        if CERTIFICATE_OPERATORS.contains(&name) && self.is_cut_off_variable() {
            return self.unterminated();
        }
        let operand = self.body()?;
        Ok(Node::Operator { row, arguments: arguments.map(Into::into), operand })
    }

    /// Whether nothing remains but the beginning of a reference to a variable.
    fn is_cut_off_variable(&self) -> bool {
        let name = self.rest().strip_prefix(b"$").map(|rest| rest.strip_prefix(b"{").unwrap_or(rest));
        name.is_some_and(|name| name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_'))
    }

    /// One condition, with its leading `!`s.
    pub(crate) fn condition(&mut self) -> Result<condition::Test, Fault> {
        self.nested(condition::parse)
    }
}
