//! One retry rule: pattern, error, senders, and the parameters that give the times (manual sections 32.2 and 32.7).

use std::fmt;
use std::fmt::Write as _;

use oxim_base::clock::{interval, parse_interval_with_units};
use oxim_lang::list::{List, ListKind};
use oxim_lang::lookup::dequote;

use super::cause::ErrorField;

/// What is wrong with a rule; the text is Exim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(pub String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

/// How the intervals of a parameter set are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `F`: always the same.
    Fixed,
    /// `G`: multiplied by a factor, in thousandths.
    Geometric(u64),
    /// `H`: random, with a maximum that is multiplied by a factor, in thousandths.
    Random(u64),
}

/// One parameter set. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The letter with its factor.
    pub algorithm: Algorithm,
    /// Until how long after the first failure it applies.
    pub cutoff: u64,
    /// The interval, or the first one.
    pub interval: u64,
}

/// A line of the retry section.
#[derive(Debug)]
pub struct Rule {
    pub(super) pattern: List,
    pub(super) error: ErrorField,
    pub(super) senders: Option<List>,
    pattern_text: String,
    parameters: Vec<Parameter>,
}

/// Takes a field off the front: in double quotes, or up to white space.
pub(crate) fn field(text: &str) -> (String, &str) {
    let text = text.trim_start();
    if text.starts_with('"') {
        let (value, end) = dequote(text.as_bytes());
        return (String::from_utf8_lossy(&value).into_owned(), text.get(end..).unwrap_or_default());
    }
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    (value.to_owned(), rest)
}

impl Rule {
    /// Parses a line.
    ///
    /// # Errors
    /// The first fault, in Exim's words.
    pub fn parse(line: &str) -> Result<Rule, RuleError> {
        let (pattern_text, rest) = field(line);
        let (error, rest) = bare(rest.trim_start());
        if error.is_empty() {
            return Err(RuleError("missing error type in retry rule".to_owned()));
        }
        let error = ErrorField::parse(error).map_err(RuleError)?;
        let rest = rest.trim_start();
        let (senders, rest) = match rest.strip_prefix("senders") {
            Some(list) => {
                let list = list
                    .trim_start()
                    .strip_prefix('=')
                    .ok_or_else(|| RuleError("\"=\" expected after \"senders\" in retry rule".to_owned()))?;
                let (list, rest) = field(list);
                (Some(List::compile(ListKind::Address, &list)), rest)
            }
            None => (None, rest),
        };
        let parameters = parse_parameters(rest.trim_start())?;
        let pattern = List::single_expanded(ListKind::Address, &pattern_text);
        Ok(Rule { pattern, error, senders, pattern_text, parameters })
    }

    /// The parameter sets. None: give up at once.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The set that applies after failing for so many seconds; None when all are past.
    #[must_use]
    pub fn parameter_at(&self, failing: u64) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| failing < parameter.cutoff)
    }

    /// The last cutoff: after failing for so long, or after that long on the queue, an address is given up.
    #[must_use]
    pub fn ultimate_cutoff(&self) -> u64 {
        self.parameters.last().map_or(0, |parameter| parameter.cutoff)
    }

    /// The line that `-brt` prints, without its line end.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = format!("Retry rule: {}  {}  ", self.pattern_text, self.error.show());
        for parameter in &self.parameters {
            let cutoff = interval(parameter.cutoff);
            let step = interval(parameter.interval);
            let _ = match parameter.algorithm {
                Algorithm::Fixed => write!(out, "F,{cutoff},{step}; "),
                Algorithm::Geometric(factor) => write!(out, "G,{cutoff},{step},{}; ", thousandths(factor)),
                Algorithm::Random(_) => write!(out, "H,{cutoff},{step}; "),
            };
        }
        out
    }
}

fn bare(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `1.5`, `2.0`, `1.123`.
fn thousandths(value: u64) -> String {
    let fraction = format!("{:03}", value % 1000);
    let short = fraction.trim_end_matches('0');
    format!("{}.{}", value / 1000, if short.is_empty() { "0" } else { short })
}

/// Reads a number with at most three decimals that count.
fn parse_thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let three: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(three.parse().ok()?)
}

fn parse_parameters(text: &str) -> Result<Vec<Parameter>, RuleError> {
    let fault = |text: &str| RuleError(text.to_owned());
    let mut parameters = Vec::new();
    let mut rest = text;
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        rest = letters.as_str();
        let cutoff = argument(&mut rest)?;
        let algorithm = match letter.to_ascii_uppercase() {
            'F' | 'G' | 'H' => letter.to_ascii_uppercase(),
            _ => return Err(fault("unknown retry rule letter")),
        };
        let first = argument(&mut rest)?;
        let times = parse_interval_with_units(cutoff)
            .zip(parse_interval_with_units(first))
            .filter(|(c, i)| *c > 0 && *i > 0);
        let factor = match algorithm {
            'F' => Some(1000),
            _ => parse_thousandths(argument(&mut rest)?).filter(|factor| *factor >= 1000),
        };
        let ((cutoff, interval), factor) =
            times.zip(factor).ok_or_else(|| fault("bad parameters for retry rule"))?;
        let algorithm = match algorithm {
            'F' => Algorithm::Fixed,
            'G' => Algorithm::Geometric(factor),
            _ => Algorithm::Random(factor),
        };
        parameters.push(Parameter { algorithm, cutoff, interval });
        rest = rest.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(';').ok_or_else(|| fault("semicolon expected"))?.trim_start();
        }
        letters = rest.chars();
    }
    Ok(parameters)
}

/// Takes `,value` off the front.
fn argument<'a>(rest: &mut &'a str) -> Result<&'a str, RuleError> {
    let after = rest.strip_prefix(',').ok_or_else(|| RuleError("comma expected".to_owned()))?;
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(after.len());
    let (value, tail) = after.split_at_checked(end).unwrap_or((after, ""));
    if !tail.is_empty() && !tail.starts_with([',', ';', ' ', '\t']) {
        return Err(RuleError("comma or semicolon expected".to_owned()));
    }
    *rest = tail;
    Ok(value)
}
