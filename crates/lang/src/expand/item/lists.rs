//! Items that work on lists: filter, listextract, map, reduce, sort.

use std::cmp::Ordering;

use oxim_base::Text;

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::condition::compare::order;
use crate::expand::condition::{self, Test};
use crate::expand::elements::{self, Joined};
use crate::expand::yes_no::Branches;
use crate::expand::{Body, ExpandError, Fault, Parser, integer};

pub(super) static ROWS: &[&ItemRow] = &[
    &row(
        "filter",
        "The elements of a list for which a condition on `$item` holds.",
        &[("${filter{a:b:c}{!eq{$item}{b}}}", "a:c")],
        filter,
    ),
    &row(
        "listextract",
        "The element of a list with this number, counted from the end if negative.",
        &[
            ("${listextract{2}{x:42:99}}", "42"),
            ("${listextract{-3}{<, x,42,99,& Mailer,,/bin/bash}{result: $value}}", "result: 42"),
        ],
        list_extract,
    ),
    &row(
        "map",
        "A list with each element made anew from `$item`.",
        &[("${map{a:b:c}{[$item]}} ${map{<- x-y-z}{($item)}}", "[a]:[b]:[c] (x)-(y)-(z)")],
        map,
    ),
    &row(
        "reduce",
        "A value made from `$value` and `$item` for each element in turn.",
        &[("${reduce {<, 1,2,3}{0}{${eval:$value+$item}}}", "6")],
        reduce,
    ),
    &row(
        "sort",
        "A list sorted by a comparison of what is extracted from each element.",
        &[("${sort{3:2:1:4}{<}{$item}}", "1:2:3:4"), ("${sort{c:a:B:b}{lti}{$item}}", "a:B:b:c")],
        sort,
    ),
];

/// Runs something for each element, with the element in `$item`, and restores `$item`.
fn for_each(
    context: &mut Context,
    items: Vec<Text>,
    mut work: impl FnMut(&mut Context, &Text) -> Result<(), ExpandError>,
) -> Result<(), ExpandError> {
    let saved = context.local.item.take();
    let mut result = Ok(());
    for item in items {
        context.local.item = Some(item.clone());
        result = work(context, &item);
        if result.is_err() {
            break;
        }
    }
    context.local.item = saved;
    result
}

fn first_string(parser: &mut Parser<'_>, item: &str) -> Result<Body, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault(format!("missing '{{' for first arg of {item}"));
    }
    parser.body()
}

fn last_string(parser: &mut Parser<'_>, item: &str) -> Result<Body, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault(format!("missing '{{' for last arg of {item}"));
    }
    let body =
        parser.body().map_err(|f| Fault { message: format!("{} inside \"{item}\" item", f.message), ..f })?;
    end(parser, item)?;
    Ok(body)
}

fn end(parser: &mut Parser<'_>, item: &str) -> Result<(), Fault> {
    if parser.space_eat(b'}') { Ok(()) } else { parser.fault(format!("missing }} at end of \"{item}\"")) }
}

fn inside(error: ExpandError, item: &str) -> ExpandError {
    match error {
        ExpandError::Failed(message) => ExpandError::Failed(format!("{message} inside {item}")),
        ExpandError::Forced(message) => ExpandError::Forced(format!("{message} inside {item}")),
        ExpandError::Defer(message) => ExpandError::Defer(format!("{message} inside {item}")),
    }
}

struct Filter {
    list: Body,
    test: Test,
}

fn filter(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let list = first_string(parser, "filter")?;
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for last arg of filter");
    }
    let test = parser
        .condition()
        .map_err(|f| Fault { message: format!("{} inside \"filter\" item", f.message), ..f })?;
    if !parser.space_eat(b'}') {
        return parser.fault("missing } at end of condition or expression inside \"filter\"; could be an unquoted } in the content");
    }
    end(parser, "filter")?;
    Ok(Box::new(Filter { list, test }))
}

impl Item for Filter {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let list = elements::split(&self.list.expand(context)?);
        let mut joined = Joined::new(list.separator);
        let value = context.local.value.clone();
        let captures = self.test.sets_captures().then(|| context.local.captures.clone());
        let result = for_each(context, list.items, |context, item| {
            if self.test.holds(context).map_err(|e| inside(e, "\"filter\" condition"))? {
                joined.push(item);
            }
            Ok(())
        });
        // Conditions may have set these.
        context.local.value = value;
        if let Some(captures) = captures {
            context.local.captures = captures;
        }
        result?;
        out.push(&joined.into_text());
        Ok(())
    }
}

struct Map {
    list: Body,
    element: Body,
}

fn map(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let list = first_string(parser, "map")?;
    Ok(Box::new(Map { list, element: last_string(parser, "map")? }))
}

impl Item for Map {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let list = elements::split(&self.list.expand(context)?);
        let mut joined = Joined::new(list.separator);
        for_each(context, list.items, |context, _| {
            joined.push(&self.element.expand(context).map_err(|e| inside(e, "\"map\" item"))?);
            Ok(())
        })?;
        out.push(&joined.into_text());
        Ok(())
    }
}

struct Reduce {
    list: Body,
    start: Body,
    step: Body,
}

fn reduce(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let list = first_string(parser, "reduce")?;
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for second arg of reduce");
    }
    let start = parser.body()?;
    Ok(Box::new(Reduce { list, start, step: last_string(parser, "reduce")? }))
}

impl Item for Reduce {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let list = elements::split(&self.list.expand(context)?);
        let start = self.start.expand(context)?;
        let saved = context.local.value.replace(start);
        let result = for_each(context, list.items, |context, _| {
            let next = self.step.expand(context).map_err(|e| inside(e, "\"reduce\" item"))?;
            context.local.value = Some(next);
            Ok(())
        });
        let value = std::mem::replace(&mut context.local.value, saved);
        result?;
        out.push(&value.unwrap_or_default());
        Ok(())
    }
}

struct ListExtract {
    number: Body,
    list: Body,
    branches: Branches,
}

fn list_extract(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let mut bodies = Vec::new();
    for index in 1..=2 {
        if !parser.space_eat(b'{') {
            return parser.fault(format!("missing '{{' for arg {index} of listextract"));
        }
        bodies.push(parser.body()?);
    }
    let list = bodies.pop().unwrap_or_default();
    let number = bodies.pop().unwrap_or_default();
    if let Some(text) = number.constant().filter(|text| !text.is_empty()) {
        list_number(&text.to_string_lossy()).map_err(|e| parser.complaint(e))?;
    }
    Ok(Box::new(ListExtract { number, list, branches: Branches::parse(parser, "listextract")? }))
}

impl Item for ListExtract {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let number = self.number.expand_word(context)?;
        let number = list_number(&number)?;
        let list = self.list.expand(context)?;
        let items = elements::split(&list).items;
        let value = pick(number, items.len()).and_then(|index| items.into_iter().nth(index));
        self.branches.append_value(context, out, value)
    }
}

/// The first argument of `${listextract`.
fn list_number(text: &str) -> Result<i64, ExpandError> {
    whole_number(text).ok_or_else(|| {
        let problem = if text.trim_ascii().is_empty() { "must not be empty" } else { "must be numeric" };
        ExpandError::Failed(format!("first argument of \"listextract\" {problem}"))
    })
}

/// A number with an optional minus and white space around it, wrapped to 32 bits as Exim has it.
pub(super) fn whole_number(text: &str) -> Option<i64> {
    let trimmed = text.trim_ascii();
    let digits = trimmed.strip_prefix('-').unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let add = |sum: i32, digit: u8| sum.wrapping_mul(10).wrapping_add(i32::from(digit.wrapping_sub(b'0')));
    let number = digits.bytes().fold(0, add);
    Some(i64::from(if trimmed.starts_with('-') { number.wrapping_neg() } else { number }))
}

/// What becomes of a number of any size that C keeps in an int.
pub(crate) fn int(digits: &str) -> i64 {
    let limit = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
    let long: i64 = digits.parse().unwrap_or(limit);
    let [a, b, c, d, ..] = long.to_le_bytes();
    i32::from_le_bytes([a, b, c, d]).into()
}

/// The index of the element with a number from one on, or from the end with a negative one.
pub(super) fn pick(number: i64, count: usize) -> Option<usize> {
    let magnitude = usize::try_from(number.unsigned_abs()).ok()?;
    match number {
        0 => None,
        1.. => magnitude.checked_sub(1).filter(|index| *index < count),
        _ => count.checked_sub(magnitude),
    }
}

#[derive(Clone, Copy)]
enum Comparator {
    Numbers(fn(Ordering) -> bool),
    Strings(fn(Ordering) -> bool, bool),
}

struct Sort {
    list: Body,
    comparator: Comparator,
    key: Body,
    /// The key as it is written, for complaints.
    key_source: String,
}

fn sort(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for list arg of sort");
    }
    let list = parser.body()?;
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for comparator arg of sort");
    }
    let word = parser.plain_string()?;
    let comparator = match comparator(&String::from_utf8_lossy(&word)) {
        Ok(comparator) => comparator,
        Err(message) => return parser.fault(message),
    };
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for extractor arg of sort");
    }
    let written = parser.rest();
    let key = parser.body()?;
    let length = written.len().saturating_sub(parser.rest().len()).saturating_sub(b"}".len());
    let key_source = String::from_utf8_lossy(written.get(..length).unwrap_or_default()).into_owned();
    end(parser, "sort")?;
    Ok(Box::new(Sort { list, comparator, key, key_source }))
}

fn comparator(word: &str) -> Result<Comparator, String> {
    let name: String = match word.bytes().next() {
        Some(b'<' | b'>' | b'=') => {
            let length = if word.get(1..).is_some_and(|rest| rest.starts_with('=')) { 2 } else { 1 };
            word.chars().take(length).collect()
        }
        _ => word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect(),
    };
    if name.is_empty() {
        let start: String = word.chars().take(16).collect();
        return Err(format!("condition name expected, but found \"{start}\""));
    }
    Ok(match name.as_str() {
        "<" => Comparator::Numbers(Ordering::is_lt),
        "<=" => Comparator::Numbers(Ordering::is_le),
        ">" => Comparator::Numbers(Ordering::is_gt),
        ">=" => Comparator::Numbers(Ordering::is_ge),
        "lt" => Comparator::Strings(Ordering::is_lt, false),
        "lti" => Comparator::Strings(Ordering::is_lt, true),
        "le" => Comparator::Strings(Ordering::is_le, false),
        "lei" => Comparator::Strings(Ordering::is_le, true),
        "gt" => Comparator::Strings(Ordering::is_gt, false),
        "gti" => Comparator::Strings(Ordering::is_gt, true),
        "ge" => Comparator::Strings(Ordering::is_ge, false),
        "gei" => Comparator::Strings(Ordering::is_ge, true),
        other if condition::find(other).is_some() => return Err("comparator not handled for sort".to_owned()),
        other => return Err(format!("unknown condition \"{other}\"")),
    })
}

impl Comparator {
    /// Whether the first key sorts before the second. Keys that are no numbers stay where they are, as observed.
    fn before(self, first: &Text, second: &Text) -> bool {
        match self {
            Comparator::Strings(accept, caseless) => {
                accept(order(first.as_bytes(), second.as_bytes(), caseless))
            }
            Comparator::Numbers(accept) => {
                let read = |text: &Text| integer::parse(&text.to_string_lossy()).ok();
                match (read(first), read(second)) {
                    (Some(first), Some(second)) => accept(first.cmp(&second)),
                    _ => false,
                }
            }
        }
    }
}

impl Sort {
    /// Why the key failed is not told, as in Exim.
    fn without_key(&self, error: &ExpandError) -> ExpandError {
        let message = format!("field-extract in sort: \"{}\"", self.key_source);
        match error {
            ExpandError::Forced(_) => ExpandError::Forced(message),
            ExpandError::Failed(_) => ExpandError::Failed(message),
            ExpandError::Defer(_) => ExpandError::Defer(message),
        }
    }
}

impl Item for Sort {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let list = elements::split(&self.list.expand(context)?);
        let mut sorted: Vec<(Text, Text)> = Vec::with_capacity(list.items.len());
        for_each(context, list.items, |context, item| {
            let key = self.key.expand(context).map_err(|error| self.without_key(&error))?;
            let place = sorted.iter().position(|(other, _)| self.comparator.before(&key, other));
            sorted.insert(place.unwrap_or(sorted.len()), (key, item.clone()));
            Ok(())
        })?;
        let mut joined = Joined::new(list.separator);
        for (_, item) in &sorted {
            joined.push(item);
        }
        out.push(&joined.into_text());
        Ok(())
    }
}
