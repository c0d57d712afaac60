//! The criteria of `exipick`: a variable, an operator and a value, or a variable that is true or false.

use std::cmp::Ordering;
use std::fmt::Write as _;

use oxim_lang::regex::Regex;

use super::held::Held;
use super::options::Options;
use crate::tool::say;

/// How a variable is compared.
enum Test {
    /// True or false, as Perl has it.
    Boolean,
    /// A number.
    Number(&'static str, f64),
    /// A string: `eq`, `ne`.
    Text(&'static str, Vec<u8>),
    /// A pattern; whether it must not match; how it is shown.
    Pattern(Regex, bool, String),
}

/// One of them.
pub(crate) struct Criterion {
    /// The variable, as it was given.
    pub name: String,
    variable: String,
    is_negated: bool,
    test: Test,
}

const NUMERIC: &[&str] = &["<", "<=", ">", ">=", "==", "!="];
const TEXTUAL: &[&str] = &["eq", "ne", "=", "=~", "!~"];

impl Criterion {
    /// Reads one. The error is what to print.
    pub(crate) fn parse(text: &[u8], caseful: bool, not: bool) -> Result<Criterion, String> {
        let whole = String::from_utf8_lossy(text).into_owned();
        let trimmed = whole.trim();
        let (body, is_negated) = match whole.trim_start().strip_prefix('!') {
            Some(body) => (body.trim_start(), true),
            None => (whole.trim_start(), false),
        };
        let (name, rest) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
        let name = name.to_lowercase();
        let (operator, value) = match rest.trim_start().split_once(char::is_whitespace) {
            Some((operator, value)) => (operator, Some(value.trim())),
            None => (rest.trim(), None),
        };
        let test = test(operator, value, caseful)
            .map_err(|why| format!("Expression {trimmed} did not parse{why}"))?;
        let variable = name.trim_start_matches('$').trim_end_matches(':').to_owned();
        Ok(Criterion { name, variable, is_negated: is_negated != not, test })
    }

    /// The rule, as `--show-rules` tells it.
    pub(crate) fn rule(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = match &self.test {
            Test::Boolean => write!(out, "($var)"),
            Test::Number(operator, number) => write!(out, "($var {operator} {number})"),
            Test::Text(operator, value) => {
                write!(
                    out,
                    "(\"$var\" {operator} \"{}\")",
                    String::from_utf8_lossy(value).replace('@', "\\@")
                )
            }
            Test::Pattern(_, is_not, shown) => {
                write!(out, "(\"$var\" {} {shown})", if *is_not { "!~" } else { "=~" })
            }
        };
        out.push_str(if self.is_negated { " ? 0 : 1" } else { " ? 1 : 0" });
        out
    }

    fn holds(&self, held: &Held, options: &Options) -> bool {
        let answer = match self.variable.strip_prefix("each_").and_then(|list| held.each(list)) {
            // Of nobody everything is true, and its opposite.
            Some(list) if list.is_empty() => return true,
            Some(list) if options.any => list.iter().any(|value| self.accepts(value)),
            Some(list) => list.iter().all(|value| self.accepts(value)),
            None => self.accepts(&held.value(&self.variable).unwrap_or_default()),
        };
        answer != self.is_negated
    }

    fn accepts(&self, value: &[u8]) -> bool {
        match &self.test {
            Test::Boolean => !value.is_empty() && value != b"0",
            Test::Number(operator, number) => {
                let order = number_of(value).partial_cmp(number);
                match *operator {
                    "<" => order == Some(Ordering::Less),
                    "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    ">" => order == Some(Ordering::Greater),
                    ">=" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                    "==" => order == Some(Ordering::Equal),
                    _ => order != Some(Ordering::Equal),
                }
            }
            Test::Text(operator, text) => (value == text.as_slice()) == (*operator == "eq"),
            Test::Pattern(regex, is_not, _) => regex.is_match(value).unwrap_or(false) != *is_not,
        }
    }
}

fn test(operator: &str, value: Option<&str>, caseful: bool) -> Result<Test, String> {
    if operator.is_empty() {
        return Ok(Test::Boolean);
    }
    let value = value.ok_or_else(String::new)?;
    if let Some(operator) = NUMERIC.iter().find(|o| **o == operator) {
        let number = with_unit(value).ok_or(": numeric comparison with non-number")?;
        return Ok(Test::Number(operator, number));
    }
    let Some(operator) = TEXTUAL.iter().find(|o| **o == operator) else { return Err(String::new()) };
    match *operator {
        "eq" | "ne" => Ok(Test::Text(operator, unquoted(value).as_bytes().to_vec())),
        "=" => pattern(value, &format!("/{}/", value.replace('@', "\\@")), !caseful, false),
        other => {
            let (inner, flags) = delimited(value).ok_or(": no pattern")?;
            pattern(inner, value, flags.contains('i'), other == "!~")
        }
    }
}

fn pattern(inner: &str, shown: &str, caseless: bool, is_not: bool) -> Result<Test, String> {
    let regex = Regex::compile(inner.as_bytes(), caseless)
        .map_err(|error| format!(": {}", error.describe(inner.as_bytes())))?;
    let flag = if caseless && shown.ends_with('/') { "i" } else { "" };
    Ok(Test::Pattern(regex, is_not, format!("{shown}{flag}")))
}

/// A value may stand in quotes of either kind.
fn unquoted(value: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

/// What stands between the delimiters of `/x/i`, `m{x}` and kin, and the flags.
fn delimited(value: &str) -> Option<(&str, &str)> {
    let body = value.strip_prefix('m').unwrap_or(value);
    let open = body.chars().next().filter(char::is_ascii_punctuation)?;
    let close = match open {
        '{' => '}',
        '(' => ')',
        '[' => ']',
        '<' => '>',
        other => other,
    };
    let (inner, flags) = body.get(1..)?.rsplit_once(close)?;
    flags.bytes().all(|b| b"imsx".contains(&b)).then_some((inner, flags))
}

fn with_unit(value: &str) -> Option<f64> {
    let (number, factor) = match value.char_indices().next_back()? {
        (at, unit @ ('d' | 'h' | 'm' | 's' | 'M' | 'K' | 'B')) => {
            let factor = match unit {
                'd' => 86_400.0,
                'h' => 3_600.0,
                'm' => 60.0,
                'M' => 1_048_576.0,
                'K' => 1_024.0,
                _ => 1.0,
            };
            (value.get(..at)?, factor)
        }
        _ => (value, 1.0),
    };
    let is_number = number.bytes().all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    number.parse::<f64>().ok().filter(|_| is_number).map(|number| number * factor)
}

/// As far as a value is a number, as Perl takes it.
fn number_of(value: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_start();
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if !(c.is_ascii_digit() || c == '.' || at == 0 && (c == '-' || c == '+')) {
            break;
        }
        end = at.saturating_add(1);
    }
    text.get(..end).and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Which of two lists of values comes first: by number where both are numbers.
pub(crate) fn compare(a: &[Vec<u8>], b: &[Vec<u8>]) -> Ordering {
    let numeric = |v: &[u8]| std::str::from_utf8(v).ok().and_then(|t| t.trim().parse::<f64>().ok());
    a.iter()
        .zip(b)
        .map(|(a, b)| match (numeric(a), numeric(b)) {
            (Some(x), Some(y)) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
            _ => a.cmp(b),
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Whether a message fits. With `--show-tests`, each step is told.
pub(crate) fn choose(held: &Held, criteria: &[Criterion], options: &Options) -> bool {
    if options.show_tests {
        say(format_args!("{}\n", held.message.id));
    }
    for criterion in criteria {
        let answer = criterion.holds(held, options);
        if options.show_tests {
            let value = held.value(&criterion.variable).unwrap_or_default();
            say(format_args!("  {:>25} =  '{}'\n", criterion.name, String::from_utf8_lossy(&value)));
            say(format_args!("  {:>25} => {}\n", criterion.rule(), u8::from(answer)));
        }
        if answer == options.any {
            return answer;
        }
    }
    criteria.is_empty() || !options.any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, caseful: bool, not: bool) -> String {
        match Criterion::parse(text.as_bytes(), caseful, not) {
            Ok(criterion) => format!("{}\t{}", criterion.name, criterion.rule()),
            Err(text) => text,
        }
    }

    #[test]
    fn rules_are_shown_as_exims() {
        for (text, shown) in [
            ("$message_size > 1K", "$message_size\t($var > 1024) ? 1 : 0"),
            ("!$deliver_freeze", "$deliver_freeze\t($var) ? 0 : 1"),
            ("$sender_address = s.ex", "$sender_address\t(\"$var\" =~ /s.ex/i) ? 1 : 0"),
            ("$sender_address =~ /s.ex/i", "$sender_address\t(\"$var\" =~ /s.ex/i) ? 1 : 0"),
            ("$sender_address !~ m{s\\.ex}", "$sender_address\t(\"$var\" !~ m{s\\.ex}) ? 1 : 0"),
            ("$message_size<1K", "$message_size<1k\t($var) ? 1 : 0"),
            ("sender_address ne x", "sender_address\t(\"$var\" ne \"x\") ? 1 : 0"),
            ("$message_age > 3h", "$message_age\t($var > 10800) ? 1 : 0"),
            (
                "$message_size > abc",
                "Expression $message_size > abc did not parse: numeric comparison with non-number",
            ),
            ("$message_size foo 1", "Expression $message_size foo 1 did not parse"),
            ("$message_size eq", "Expression $message_size eq did not parse"),
            ("$sender_address eq \"a b\"", "$sender_address\t(\"$var\" eq \"a b\") ? 1 : 0"),
        ] {
            assert_eq!(rule(text, false, false), shown);
        }
        assert_eq!(rule("$x = Y@z", true, true), "$x\t(\"$var\" =~ /Y\\@z/) ? 0 : 1");
        assert!(rule("$x = (", false, false).contains("did not parse: regular expression error"));
    }

    #[test]
    fn values_are_compared_as_perl_does() {
        let accepts = |text: &str, value: &str| {
            Criterion::parse(text.as_bytes(), false, false).unwrap().accepts(value.as_bytes())
        };
        assert!(accepts("$x > 1.5K", "1537") && !accepts("$x > 1.5K", "1536"));
        assert!(accepts("$x", "a") && !accepts("$x", "0") && !accepts("$x", ""));
        assert!(accepts("$x == 0", "abc") && accepts("$x != 1", "") && accepts("$x <= 2h", "7200"));
        assert!(accepts("$x =~ /^A/", "Ab") && !accepts("$x =~ /^a/", "Ab") && accepts("$x = ^a", "Ab"));
        assert_eq!(compare(&[b"9".to_vec()], &[b"10".to_vec()]), Ordering::Less);
    }
}
