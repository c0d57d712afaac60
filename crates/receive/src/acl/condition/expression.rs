//! The `condition` condition: an expansion gives "yes". Manual section 44.26.

use oxim_base::Text;

use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "condition",
    doc: "The expanded string is `yes`, `true` or a number other than 0.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Truth))
}

#[derive(Debug)]
struct Truth;

impl Condition for Truth {
    fn test(&self, _: &mut Run<'_>, argument: &Text) -> Tested {
        let text = argument.as_bytes();
        match truth(text) {
            Some(holds) => Tested::of(holds),
            None => {
                let why = format!("invalid \"condition\" value \"{}\"", argument.to_string_lossy());
                Tested::logged(Answer::Later, why)
            }
        }
    }
}

/// Empty, `no`, `false` and 0 are false; `yes`, `true` and other numbers are true; all else is neither.
fn truth(text: &[u8]) -> Option<bool> {
    if text.is_empty() || text.eq_ignore_ascii_case(b"no") || text.eq_ignore_ascii_case(b"false") {
        return Some(false);
    }
    if text.eq_ignore_ascii_case(b"yes") || text.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().any(|digit| *digit != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        for (text, expected) in [
            ("", Some(false)),
            ("0", Some(false)),
            ("000", Some(false)),
            ("No", Some(false)),
            ("1", Some(true)),
            ("TRUE", Some(true)),
            ("maybe", None),
            ("1x", None),
        ] {
            assert_eq!(truth(text.as_bytes()), expected, "{text}");
        }
    }
}
