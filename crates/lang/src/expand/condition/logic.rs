//! `and`, `or`, and the conditions that try every element of a list.

use super::{Condition, ConditionRow, Test, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::{Body, ExpandError, Fault, Parser, elements, json};
use oxim_base::Text;

pub(super) static ROWS: &[&ConditionRow] = &[
    &row("and", "All conditions hold.", &[("${if and{{eq{a}{a}}{eq{b}{c}}}{y}{n}}", "n")], |p| {
        group(p, "and", true)
    }),
    &row("or", "One of the conditions holds.", &[("${if or{{eq{a}{a}}{eq{b}{c}}}{y}{n}}", "y")], |p| {
        group(p, "or", false)
    }),
    &row(
        "forall",
        "The condition holds for each element of a list that is not empty; it is in `$item`.",
        &[("${if forall{a:a}{eq{$item}{a}}{y}{n}}", "y")],
        |p| each(p, "forall", true, split_list),
    ),
    &row(
        "forany",
        "The condition holds for an element of a list.",
        &[("${if forany{<, a,b}{eq{$item}{b}}{y}{n}}", "y")],
        |p| each(p, "forany", false, split_list),
    ),
    &row(
        "forall_json",
        "As forall, for a JSON array.",
        &[("${if forall_json{[1,2]}{>{$item}{0}}{y}{n}}", "y")],
        |p| each(p, "forall_json", true, split_json),
    ),
    &row(
        "forany_json",
        "As forany, for a JSON array.",
        &[("${if forany_json{[\"a\"]}{eq{$item}{\"a\"}}{y}{n}}", "y")],
        |p| each(p, "forany_json", false, split_json),
    ),
    &row(
        "forall_jsons",
        "As forall, for a JSON array of strings.",
        &[("${if forall_jsons{[\"a\"]}{eq{$item}{a}}{y}{n}}", "y")],
        |p| each(p, "forall_jsons", true, split_jsons),
    ),
    &row(
        "forany_jsons",
        "As forany, for a JSON array of strings.",
        &[("${if forany_jsons{[\"a\",\"b\"]}{eq{$item}{b}}{y}{n}}", "y")],
        |p| each(p, "forany_jsons", false, split_jsons),
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

struct Group {
    tests: Vec<Test>,
    name: &'static str,
    all: bool,
}

fn group(parser: &mut Parser<'_>, name: &'static str, all: bool) -> Result<Box<dyn Condition>, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault(format!("missing {{ after \"{name}\""));
    }
    let mut tests = Vec::new();
    loop {
        if parser.space_eat(b'}') {
            return Ok(Box::new(Group { tests, name, all }));
        }
        if !parser.eat(b'{') {
            return parser.fault(format!(
                "each subcondition inside an \"{name}{{...}}\" condition must be in its own {{}}"
            ));
        }
        let test = parser
            .condition()
            .map_err(|fault| Fault { message: within_group(name, &fault.message), ..fault })?;
        tests.push(test);
        if !parser.space_eat(b'}') {
            return parser.fault(format!("missing }} at end of condition inside \"{name}\" group"));
        }
    }
}

fn within_group(name: &str, message: &str) -> String {
    format!("{message} inside \"{name}{{...}}\" condition")
}

/// Adds to a message where it happened.
fn placed(error: ExpandError, place: impl FnOnce(&str) -> String) -> ExpandError {
    match error {
        ExpandError::Failed(message) => ExpandError::Failed(place(&message)),
        ExpandError::Forced(message) => ExpandError::Forced(place(&message)),
        ExpandError::Defer(message) => ExpandError::Defer(place(&message)),
    }
}

impl Condition for Group {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        for test in &self.tests {
            let holds = test.holds(context).map_err(|e| placed(e, |m| within_group(self.name, m)))?;
            if holds != self.all {
                return Ok(holds);
            }
        }
        Ok(self.all)
    }

    fn sets_captures(&self) -> bool {
        self.tests.iter().any(Test::sets_captures)
    }
}

/// The elements; one that cannot be used is told of when its turn comes.
type Split = fn(&Text, &str) -> Result<Vec<Result<Text, ExpandError>>, ExpandError>;

struct Each {
    list: Body,
    test: Test,
    name: &'static str,
    all: bool,
    split: Split,
}

fn each(
    parser: &mut Parser<'_>,
    name: &'static str,
    all: bool,
    split: Split,
) -> Result<Box<dyn Condition>, Fault> {
    let list = strings(parser, name, 1)?.pop().unwrap_or_default();
    if !parser.space_eat(b'{') {
        return parser.fault(format!("missing {{ after \"{name}\""));
    }
    let test = parser.condition().map_err(|fault| Fault {
        message: format!("{} inside \"{name}\" condition", fault.message),
        ..fault
    })?;
    if !parser.space_eat(b'}') {
        return parser.fault(format!("missing }} at end of condition inside \"{name}\""));
    }
    Ok(Box::new(Each { list, test, name, all, split }))
}

impl Condition for Each {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let list = self.list.expand(context)?;
        let items = (self.split)(&list, self.name)?;
        // As observed: nothing to try gives false, for forall too.
        let mut outcome = Ok(self.all && !items.is_empty());
        let saved = context.local.item.take();
        for item in items {
            let holds = item.and_then(|item| {
                context.local.item = Some(item);
                self.test
                    .holds(context)
                    .map_err(|e| placed(e, |m| format!("{m} inside \"{}\" condition", self.name)))
            });
            match holds {
                Ok(holds) if holds == self.all => {}
                other => {
                    outcome = other;
                    break;
                }
            }
        }
        context.local.item = saved;
        outcome
    }

    fn sets_captures(&self) -> bool {
        self.test.sets_captures()
    }
}

fn split_list(list: &Text, _: &str) -> Result<Vec<Result<Text, ExpandError>>, ExpandError> {
    Ok(elements::split(list).items.into_iter().map(Ok).collect())
}

fn json_elements<'a>(array: &'a Text, name: &str) -> Result<Vec<&'a [u8]>, ExpandError> {
    json::elements(array.as_bytes()).map_err(|problem| ExpandError::Failed(format!("{problem} for {name}")))
}

fn split_json(array: &Text, name: &str) -> Result<Vec<Result<Text, ExpandError>>, ExpandError> {
    Ok(json_elements(array, name)?.into_iter().map(|e| Ok(array.derive(e.trim_ascii_end()))).collect())
}

fn split_jsons(array: &Text, name: &str) -> Result<Vec<Result<Text, ExpandError>>, ExpandError> {
    let bare = |e: &[u8]| {
        json::unquoted(e).map(|bytes| array.derive(bytes)).ok_or_else(|| {
            ExpandError::Failed("missing '\"' wrapping string result for extract jsons".to_owned())
        })
    };
    Ok(json_elements(array, name)?.into_iter().map(bare).collect())
}
