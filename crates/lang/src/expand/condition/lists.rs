//! Conditions that match against lists of the configuration's kinds. Manual section 11.7, `match_local_part`.
//!
//! The list is not expanded (backslashes count, dollars do not), so it is compiled once.

use oxim_base::Text;

use super::{Condition, ConditionRow, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::operator::ip;
use crate::expand::{Body, ExpandError, Fault, Parser};
use crate::list::{HostName, List, ListKind, Match, Subject};

pub(super) static ROWS: &[&ConditionRow] = &[
    &row(
        "match_address",
        "The address is in an address list.",
        &[("${if match_address{a@b}{*@b}{$value}}", "*@b")],
        |p| parse(p, "match_address", ListKind::Address),
    ),
    &row(
        "match_domain",
        "The domain is in a domain list.",
        &[("${if match_domain{a.b.c}{x.y.z:*.c}{$value}}", "*.c")],
        |p| parse(p, "match_domain", ListKind::Domain),
    ),
    &row(
        "match_ip",
        "The IP address is in a list of addresses.",
        &[("${if match_ip{1.2.3.4}{1.2.3.0/24}{y}{n}}", "y"), ("${if match_ip{}{:1.2.3.0/24}{y}{n}}", "y")],
        |p| parse(p, "match_ip", ListKind::Host),
    ),
    &row(
        "match_local_part",
        "The local part is in a local part list.",
        &[("${if match_local_part{ab}{cd:AB}{$value}}", "AB")],
        |p| parse(p, "match_local_part", ListKind::LocalPart),
    ),
];

const fn row(
    name: &'static str,
    doc: &'static str,
    examples: &'static [(&'static str, &'static str)],
    parse: fn(&mut Parser<'_>) -> Result<Box<dyn Condition>, Fault>,
) -> ConditionRow {
    ConditionRow { name, doc, examples, status: Status::Works, may_block: false, sets_captures: true, parse }
}

struct InList {
    subject: Body,
    source: String,
    list: List,
}

fn parse(parser: &mut Parser<'_>, name: &str, kind: ListKind) -> Result<Box<dyn Condition>, Fault> {
    let subject = strings(parser, name, 1)?.pop().unwrap_or_default();
    if !parser.space_eat(b'{') {
        return parser.fault(format!("missing 2nd string in {{}} after \"{name}\""));
    }
    let text = Text::clean(parser.plain_string()?);
    let list = List::from_text(kind, &text);
    parser.note_blocking(list.may_block());
    Ok(Box::new(InList { subject, source: text.to_string_lossy(), list }))
}

impl Condition for InList {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let subject = self.subject.expand(context)?;
        let subject = match self.list.kind() {
            ListKind::Domain => Subject::Domain(&subject),
            ListKind::LocalPart => Subject::LocalPart { text: &subject, caseful: false },
            ListKind::Address => Subject::Address { address: &subject, caseful: false, captures: false },
            ListKind::String => Subject::String { text: &subject, caseful: true },
            ListKind::Host => {
                let address = ip::parse(subject.as_bytes());
                if address.is_none() && !subject.is_empty() {
                    return Err(ExpandError::Failed(format!("\"{subject}\" is not an IP address")));
                }
                Subject::Host { address, name: HostName::None }
            }
        };
        let matched = self.list.matches(context, &subject).map_err(|defer| {
            ExpandError::Defer(format!("unable to complete match against \"{}\": {defer}", self.source))
        })?;
        match matched {
            Match::No => Ok(false),
            Match::Yes { data } => {
                if data.is_some() {
                    context.local.value = data;
                }
                Ok(true)
            }
        }
    }
}
