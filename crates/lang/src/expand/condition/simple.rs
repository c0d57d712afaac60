//! Conditions on one string, on a variable, on a file, and on the state of the delivery.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

use oxim_base::Text;

use super::{Condition, ConditionRow, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::operator::ip;
use crate::expand::variable::{HeaderReference, VariableReference, hint};
use crate::expand::{Body, ExpandError, Fault, Parser};
use crate::list;
use crate::regex::Regex;
use crate::restrict;

pub(super) static ROWS: &[&ConditionRow] = &[
    &row(
        "bool",
        "The string is true, yes or a number other than 0; not: false, no, 0, nothing.",
        &[("${if bool{yes}}", "true"), ("${if bool{ 00 }}", "")],
        |p| {
            let string = strings(p, "bool", 1)?.pop().unwrap_or_default();
            // A wrong constant is a fault even where it would not be looked at.
            if let Some(constant) = string.constant() {
                strict_bool(&constant).map_err(|e| p.complaint(e))?;
            }
            Ok(Box::new(One { string, test: |_, s| strict_bool(s) }))
        },
    ),
    &row(
        "bool_lax",
        "The string is anything but false, no, 0 and nothing.",
        &[("${if bool_lax{00}}", "true")],
        |p| one(p, "bool_lax", |_, s| Ok(lax_bool(s))),
    ),
    &row(
        "def",
        "The variable or header line is there and not empty.",
        &[("${if def:tod_log{y}{n}}", "y"), ("${if def:h_subject:{y}{n}}", "n")],
        def,
    ),
    &ConditionRow {
        may_block: true,
        ..row("exists", "The file exists.", &[("${if exists{/}{y}{n}}", "y")], |p| one(p, "exists", exists))
    },
    &row(
        "first_delivery",
        "This is the first delivery attempt of the message.",
        &[("${if first_delivery{y}{n}}", "n")],
        |_| Ok(Box::new(State(|c| c.message.first_delivery))),
    ),
    &row(
        "inlist",
        "The string is an element of the list; `$value` is the element.",
        &[("${if inlist{b}{a:b}{$value}}", "b")],
        |p| in_list(p, "inlist", false),
    ),
    &row("inlisti", "As inlist, without regard to case.", &[("${if inlisti{B}{a:b}{$value}}", "b")], |p| {
        in_list(p, "inlisti", true)
    }),
    &row(
        "isip",
        "The string is an IP address.",
        &[("${if isip{1.2.3.4}{y}{n}}", "y"), ("${if isip{999.1.1.1}{y}{n}}", "n")],
        |p| one(p, "isip", |_, s| Ok(ip::parse(s.as_bytes()).is_some())),
    ),
    &row("isip4", "The string is an IPv4 address.", &[("${if isip4{::1}{y}{n}}", "n")], |p| {
        one(p, "isip4", |_, s| Ok(ip::parse(s.as_bytes()).is_some_and(|ip| ip.is_ipv4())))
    }),
    &row("isip6", "The string is an IPv6 address.", &[("${if isip6{::1}{y}{n}}", "y")], |p| {
        one(p, "isip6", |_, s| Ok(ip::parse(s.as_bytes()).is_some_and(|ip| ip.is_ipv6())))
    }),
    &ConditionRow {
        sets_captures: true,
        ..row(
            "match",
            "The regular expression matches; `$0`, `$1`… are its parts.",
            &[("${if match{abc}{^(a)(b)}{$2$1}}", "ba")],
            matches,
        )
    },
    &row(
        "queue_running",
        "A queue runner delivers the message.",
        &[("${if queue_running{y}{n}}", "n")],
        |_| Ok(Box::new(State(|c| c.message.queue_running))),
    ),
];

const fn row(
    name: &'static str,
    doc: &'static str,
    examples: &'static [(&'static str, &'static str)],
    parse: fn(&mut Parser<'_>) -> Result<Box<dyn Condition>, Fault>,
) -> ConditionRow {
    ConditionRow { name, doc, examples, status: Status::Works, may_block: false, sets_captures: false, parse }
}

type OneTest = fn(&mut Context, &Text) -> Result<bool, ExpandError>;

struct One {
    string: Body,
    test: OneTest,
}

fn one(parser: &mut Parser<'_>, name: &str, test: OneTest) -> Result<Box<dyn Condition>, Fault> {
    Ok(Box::new(One { string: strings(parser, name, 1)?.pop().unwrap_or_default(), test }))
}

impl Condition for One {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let string = self.string.expand(context)?;
        (self.test)(context, &string)
    }
}

fn exists(context: &mut Context, path: &Text) -> Result<bool, ExpandError> {
    restrict::check(context, |f| f.existstest, "File existence tests are not permitted")?;
    match restrict::user(context) {
        Some(user) => Ok(user.exists(path.as_bytes())),
        None => Ok(std::fs::metadata(OsStr::from_bytes(path.as_bytes())).is_ok()),
    }
}

fn strict_bool(text: &Text) -> Result<bool, ExpandError> {
    let word = text.as_bytes().trim_ascii().to_ascii_lowercase();
    let digits = word.strip_prefix(b"-").unwrap_or(&word);
    match word.as_slice() {
        b"true" | b"yes" => Ok(true),
        b"" | b"-" | b"false" | b"no" => Ok(false),
        _ if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            Ok(digits.iter().any(|b| *b != b'0'))
        }
        _ => Err(ExpandError::Failed(format!("unrecognised boolean value \"{}\"", text.trimmed()))),
    }
}

/// The loose reading of truth that router and ACL conditions share.
#[must_use]
pub fn lax_bool(text: &Text) -> bool {
    let word = text.as_bytes().trim_ascii();
    !matches!(word, b"" | b"-" | b"0")
        && !word.eq_ignore_ascii_case(b"no")
        && !word.eq_ignore_ascii_case(b"false")
}

enum Def {
    Variable(VariableReference),
    Header(HeaderReference),
}

fn def(parser: &mut Parser<'_>) -> Result<Box<dyn Condition>, Fault> {
    if !parser.eat(b':') {
        return parser.fault("\":\" expected after \"def\"");
    }
    if let Some(header) = parser.header_reference() {
        return Ok(Box::new(Def::Header(header)));
    }
    let name = parser.word(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.is_empty() {
        return parser.fault("variable name omitted after \"def:\"");
    }
    let Some(reference) = VariableReference::find(name) else {
        return parser.fault(format!("unknown variable \"{name}\" after \"def:\"{}", hint(name)));
    };
    if let Some(message) = reference.refusal() {
        return parser.fault(message);
    }
    parser.note_blocking(reference.may_block());
    Ok(Box::new(Def::Variable(reference)))
}

impl Condition for Def {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        match self {
            Def::Header(reference) => Ok(reference.exists(context)),
            Def::Variable(reference) => reference.is_there(context),
        }
    }
}

struct State(fn(&Context) -> bool);

impl Condition for State {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        Ok((self.0)(context))
    }
}

struct InList {
    strings: Vec<Body>,
    caseless: bool,
}

fn in_list(parser: &mut Parser<'_>, name: &str, caseless: bool) -> Result<Box<dyn Condition>, Fault> {
    Ok(Box::new(InList { strings: strings(parser, name, 2)?, caseless }))
}

impl Condition for InList {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let mut texts = [Text::new(), Text::new()];
        for (text, body) in texts.iter_mut().zip(&self.strings) {
            body.append(context, text)?;
        }
        let [wanted, list] = &texts;
        let wanted = wanted.as_bytes();
        let same =
            |item: &[u8]| if self.caseless { item.eq_ignore_ascii_case(wanted) } else { item == wanted };
        let found = list::split(list.as_bytes()).find(|item| same(item));
        let holds = found.is_some();
        if let Some(item) = found {
            context.local.value = Some(list.derive(item));
        }
        Ok(holds)
    }
}

struct Matches {
    subject: Body,
    pattern: Body,
    /// The compiled pattern, if the pattern never changes.
    constant: OnceLock<Arc<Regex>>,
}

fn matches(parser: &mut Parser<'_>) -> Result<Box<dyn Condition>, Fault> {
    let mut both = strings(parser, "match", 2)?;
    let pattern = both.pop().unwrap_or_default();
    let subject = both.pop().unwrap_or_default();
    Ok(Box::new(Matches { subject, pattern, constant: OnceLock::new() }))
}

impl Matches {
    fn regex(&self, context: &mut Context) -> Result<Arc<Regex>, ExpandError> {
        if let Some(regex) = self.constant.get() {
            return Ok(regex.clone());
        }
        let pattern = self.pattern.expand(context)?;
        let regex = compiled(context, &pattern)?;
        if self.pattern.constant().is_some() {
            let _ = self.constant.set(regex.clone());
        }
        Ok(regex)
    }
}

/// A pattern from an expansion, compiled.
pub(crate) fn compiled(context: &Context, pattern: &Text) -> Result<Arc<Regex>, ExpandError> {
    let found = context.services.regexes.get(pattern.as_bytes(), false);
    found.map_err(|error| ExpandError::Failed(error.describe(pattern.as_bytes())))
}

impl Condition for Matches {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let subject = self.subject.expand(context)?;
        let regex = self.regex(context)?;
        let captures = match regex.captures(&subject) {
            Ok(captures) => captures,
            Err(error) => {
                let pattern = self.pattern.expand(context)?;
                return Err(ExpandError::Failed(error.describe(pattern.as_bytes())));
            }
        };
        let holds = captures.is_some();
        if let Some(captures) = captures {
            context.local.captures = captures;
        }
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_has_two_readings() {
        for (text, strict, lax) in [
            ("yes", Some(true), true),
            ("00", Some(false), true),
            ("", Some(false), false),
            ("-", Some(false), false),
            ("-0", Some(false), true),
            ("x", None, true),
            (" NO ", Some(false), false),
        ] {
            let text = Text::from(text);
            assert_eq!(strict_bool(&text).ok(), strict);
            assert_eq!(lax_bool(&text), lax);
        }
    }
}
