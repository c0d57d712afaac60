//! Conditions of an Exim filter: parsing. Manual "Exim's interfaces to mail filtering", sections 3.21 to 3.30.

use oxim_lang::expand::Template;

use super::SyntaxFault;
use super::lexer::Lexer;
use super::tree::{Condition, TextTest};

/// How deep conditions may stand in one another.
const NESTING_MAX: usize = 60;
/// How many conditions `and` and `or` may join on one level: the tree is walked on the stack.
const JOINED_MAX: usize = 500;

/// What ends the condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Then,
    Bracket,
}

#[derive(Clone, Copy)]
enum Test {
    Text(TextTest, bool),
    Number(bool),
}

/// The words of tests, with the whole and the plural form.
static TESTS: &[(&str, Test)] = &[
    ("is", Test::Text(TextTest::Is, false)),
    ("IS", Test::Text(TextTest::Is, true)),
    ("begins", Test::Text(TextTest::Begins, false)),
    ("begin", Test::Text(TextTest::Begins, false)),
    ("BEGINS", Test::Text(TextTest::Begins, true)),
    ("BEGIN", Test::Text(TextTest::Begins, true)),
    ("ends", Test::Text(TextTest::Ends, false)),
    ("end", Test::Text(TextTest::Ends, false)),
    ("ENDS", Test::Text(TextTest::Ends, true)),
    ("END", Test::Text(TextTest::Ends, true)),
    ("contains", Test::Text(TextTest::Contains, false)),
    ("contain", Test::Text(TextTest::Contains, false)),
    ("CONTAINS", Test::Text(TextTest::Contains, true)),
    ("CONTAIN", Test::Text(TextTest::Contains, true)),
    ("matches", Test::Text(TextTest::Matches, false)),
    ("match", Test::Text(TextTest::Matches, false)),
    ("MATCHES", Test::Text(TextTest::Matches, true)),
    ("MATCH", Test::Text(TextTest::Matches, true)),
    ("above", Test::Number(true)),
    ("below", Test::Number(false)),
];

fn test_of(word: &[u8]) -> Option<Test> {
    TESTS.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, test)| *test)
}

/// Reads a condition and the `then` behind it.
pub(super) fn read(lexer: &mut Lexer<'_>) -> Result<Condition, SyntaxFault> {
    sequence(lexer, Until::Then, 0)
}

fn near(lexer: &Lexer<'_>, text: &str) -> SyntaxFault {
    SyntaxFault(format!("{text} near line {} of filter file", lexer.line))
}

/// Conditions with `and` and `or` between them; `and` binds more tightly.
fn sequence(lexer: &mut Lexer<'_>, until: Until, depth: usize) -> Result<Condition, SyntaxFault> {
    if depth > NESTING_MAX {
        return Err(near(lexer, "conditions are nested too deep"));
    }
    let mut alternatives: Option<Condition> = None;
    let mut conjunction: Option<Condition> = None;
    for _ in 0..JOINED_MAX {
        let one = single(lexer, depth)?;
        let joined = match conjunction.take() {
            Some(left) => Condition::And(Box::new(left), Box::new(one)),
            None => one,
        };
        let word = lexer.word(true)?;
        match (word.as_slice(), until) {
            (b"and", _) => conjunction = Some(joined),
            (b"or", _) => alternatives = Some(or(alternatives.take(), joined)),
            (b"then", Until::Then) | (b")", Until::Bracket) => return Ok(or(alternatives, joined)),
            (b"then", Until::Bracket) => return Err(near(lexer, "missing \")\" at end of condition")),
            (b")" | b"(", Until::Then) => {
                let shown = String::from_utf8_lossy(&word);
                let line = lexer.line;
                return Err(SyntaxFault(format!("unexpected \"{shown}\" in line {line} of filter file")));
            }
            (other, until) => {
                let end = if until == Until::Then { "then" } else { ")" };
                let (found, line) = (String::from_utf8_lossy(other), lexer.line);
                return Err(SyntaxFault(format!(
                    "\"and\" or \"or\" or \"{end}\" expected near line {line} of filter file, but found \"{found}\""
                )));
            }
        }
    }
    Err(near(lexer, "too many conditions are joined"))
}

fn or(left: Option<Condition>, right: Condition) -> Condition {
    match left {
        Some(left) => Condition::Or(Box::new(left), Box::new(right)),
        None => right,
    }
}

fn single(lexer: &mut Lexer<'_>, depth: usize) -> Result<Condition, SyntaxFault> {
    let inner = depth.saturating_add(1);
    let mut negated = false;
    let condition = loop {
        if lexer.is_at_end() {
            return Err(SyntaxFault("\"then\" missing at end of filter file".to_owned()));
        }
        if lexer.take(b'(') {
            break sequence(lexer, Until::Bracket, inner)?;
        }
        let mark = lexer.mark();
        let line = lexer.line;
        match lexer.word(true)?.as_slice() {
            b"then" => return Err(near(lexer, "unexpected \"then\"")),
            b"not" => negated = !negated,
            b"error_message" => break Condition::ErrorMessage,
            b"delivered" => break Condition::Delivered,
            b"first_delivery" => break Condition::FirstDelivery,
            b"manually_thawed" => break Condition::ManuallyThawed,
            b"personal" => break personal(lexer)?,
            b"foranyaddress" => {
                let list = lexer.item(true)?;
                if !lexer.take(b'(') {
                    return Err(near(lexer, "\"(\" expected after \"foranyaddress\""));
                }
                let inside = sequence(lexer, Until::Bracket, inner)?;
                break Condition::ForAnyAddress(Template::compile_bytes(&list), Box::new(inside));
            }
            _ => {
                lexer.back_to(mark);
                lexer.line = line;
                break comparison(lexer)?;
            }
        }
    };
    Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
}

fn personal(lexer: &mut Lexer<'_>) -> Result<Condition, SyntaxFault> {
    let mut aliases = Vec::new();
    loop {
        let mark = lexer.mark();
        let line = lexer.line;
        if lexer.word(true)? != b"alias" {
            lexer.back_to(mark);
            lexer.line = line;
            return Ok(Condition::Personal(aliases));
        }
        aliases.push(Template::compile_bytes(&lexer.item(true)?));
    }
}

fn comparison(lexer: &mut Lexer<'_>) -> Result<Condition, SyntaxFault> {
    let left = lexer.item(true)?;
    let word = lexer.word(true)?;
    let (test, negated) = match word.as_slice() {
        b"is" | b"IS" | b"does" => verb(lexer, &word)?,
        other => (test_of(other).ok_or_else(|| unrecognized(lexer, other))?, false),
    };
    let left = Template::compile_bytes(&left);
    let right = Template::compile_bytes(&lexer.item(true)?);
    let condition = match test {
        Test::Text(test, caseful) => Condition::Text { left, right, test, caseful },
        Test::Number(above) => Condition::Number { left, right, above },
    };
    Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
}

fn unrecognized(lexer: &Lexer<'_>, word: &[u8]) -> SyntaxFault {
    near(lexer, &format!("unrecognized condition word \"{}\"", String::from_utf8_lossy(word)))
}

/// Behind `is` and `does`: perhaps `not`, perhaps the word of another test.
fn verb(lexer: &mut Lexer<'_>, first: &[u8]) -> Result<(Test, bool), SyntaxFault> {
    let mut mark = lexer.mark();
    let mut word = lexer.word(true)?;
    let negated = word.eq_ignore_ascii_case(b"not");
    if negated {
        mark = lexer.mark();
        word = lexer.word(true)?;
    }
    match (test_of(&word), first) {
        (Some(test), _) => Ok((test, negated)),
        (None, b"does") => Err(unrecognized(lexer, &word)),
        (None, first) => {
            lexer.back_to(mark);
            Ok((Test::Text(TextTest::Is, first == b"IS"), negated))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::exim::Program;

    fn fault(body: &str) -> String {
        let data = format!("# Exim filter\n{body}");
        Program::parse(data.as_bytes()).fault().unwrap_or("").to_owned()
    }

    #[test]
    fn faults_as_observed() {
        let tail = "of filter file";
        let expected_word = |end: &str, line: usize, found: &str| {
            format!("\"and\" or \"or\" or \"{end}\" expected near line {line} {tail}, but found \"{found}\"")
        };
        for (body, expected) in [
            ("if\n", "\"then\" missing at end of filter file".to_owned()),
            ("if then\n", format!("unexpected \"then\" near line 3 {tail}")),
            ("if a then\n", format!("unrecognized condition word \"then\" near line 3 {tail}")),
            ("if a is then\n", expected_word("then", 4, "")),
            ("if a is b\n", expected_word("then", 4, "")),
            ("if a is b\n\n\n", expected_word("then", 8, "")),
            ("if error_message\n", expected_word("then", 3, "")),
            ("if (a is b\n", expected_word(")", 4, "")),
            (
                "if (a is b then finish endif\n",
                format!("missing \")\" at end of condition near line 2 {tail}"),
            ),
            ("if a is b) then finish endif\n", format!("unexpected \")\" in line 2 {tail}")),
            ("if () then finish endif\n", format!("unexpected \")\" in line 2 {tail}")),
            (
                "if a foo b then finish endif\n",
                format!("unrecognized condition word \"foo\" near line 2 {tail}"),
            ),
            ("if a is b and then finish endif\n", format!("unexpected \"then\" near line 2 {tail}")),
            ("if a is a thenx\n", expected_word("then", 3, "thenx")),
            (
                "if \"a\" \"is\" b then deliver x endif\n",
                format!("unrecognized condition word \"\"is\"\" near line 2 {tail}"),
            ),
            (
                "if abc not contains b then deliver 1 endif\n",
                format!("unrecognized condition word \"not\" near line 2 {tail}"),
            ),
            (
                "if 3 ABOVE 2 then deliver a endif\n",
                format!("unrecognized condition word \"ABOVE\" near line 2 {tail}"),
            ),
            ("if foranyaddress x\n", format!("\"(\" expected after \"foranyaddress\" near line 3 {tail}")),
            (
                "if A does not foo A then deliver x endif\n",
                format!("unrecognized condition word \"foo\" near line 2 {tail}"),
            ),
            ("if A is not above or b is c then deliver x endif\n", expected_word("then", 2, "b")),
        ] {
            assert_eq!(fault(body), expected, "{body:?}");
        }
    }

    #[test]
    fn words_that_were_only_looked_at_count_their_line_ends_twice() {
        for (body, line) in [
            ("if a is a\nthen bogus\nendif\n", 5),
            ("if a\n is\n a\nthen bogus\nendif\n", 7),
            ("if \"a\"\n is\n \"a\"\n\nthen bogus\nendif\n", 9),
            ("if error_message\nthen bogus\nendif\n", 4),
            ("if a does\n not contain\n b\nthen bogus\nendif\n", 6),
            ("if 1 is above 2\n  and a is b # foo\n  and (a is b\n  ) or\n  c is d\nthen bogus\nendif\n", 11),
        ] {
            let expected = format!("unknown filtering command \"bogus\" near line {line} of filter file");
            assert_eq!(fault(body), expected, "{body:?}");
        }
    }

    #[test]
    fn forms_that_are_accepted() {
        for body in [
            "if A is is A then endif",
            "if A IS NOT b then endif",
            "if abc is not begin ab then endif",
            "if (error_message)then finish endif if not(error_message)then finish endif",
            "if personal alias a@b.c alias d@e.f and not delivered then finish endif",
        ] {
            assert_eq!(fault(body), "", "{body:?}");
        }
    }
}
