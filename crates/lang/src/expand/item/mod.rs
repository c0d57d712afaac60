//! The table of expansion items, `${name...}`: each reads its own arguments and gives its text. Manual section 11.5.

use std::sync::OnceLock;

use oxim_base::Text;

use super::names::ByName;
use super::{ExpandError, Fault, Parser};
use crate::config::Status;
use crate::context::Context;

pub(crate) mod authresults;
mod certificate;
mod conditional;
mod extract;
pub use extract::named_field;
mod hmac;
mod imapfolder;
mod lists;
pub(crate) use lists::int;
mod lookup;
mod outside;
pub(crate) use outside::ask_socket;
pub use outside::{SocketAnswers, SocketOptions};
mod perl;
pub use perl::{PerlSlot, end_idle as end_idle_perl, start as start_perl};
mod refused;
mod run;
pub use run::own_environment;
pub(crate) use run::run_command;
mod signed;
mod srs;
mod strings;

/// One kind of item.
pub struct ItemRow {
    /// The word after `${`.
    pub name: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Expressions with what they give in an empty context.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whether it is built; the others are refused where they stand.
    pub status: Status,
    /// Whether it may wait for a file, a process or the network.
    pub may_block: bool,
    /// Reads its arguments, after the name, to its closing brace.
    pub(crate) parse: fn(&mut Parser<'_>) -> Result<Box<dyn Item>, Fault>,
}

impl ItemRow {
    /// Whether it is built.
    #[must_use]
    pub fn is_built(&self) -> bool {
        self.status == Status::Works
    }
}

/// A compiled item.
pub(crate) trait Item: Send + Sync {
    /// Evaluates it and adds the result.
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError>;
}

type Examples = &'static [(&'static str, &'static str)];
type Parse = fn(&mut Parser<'_>) -> Result<Box<dyn Item>, Fault>;

/// A row for an item that does not block.
const fn row(name: &'static str, doc: &'static str, examples: Examples, parse: Parse) -> ItemRow {
    ItemRow { name, doc, examples, status: Status::Works, may_block: false, parse }
}

/// All items, by file.
pub static ITEMS: &[&[&ItemRow]] = &[
    &[&conditional::IF],
    authresults::ROWS,
    certificate::ROWS,
    extract::ROWS,
    hmac::ROWS,
    imapfolder::ROWS,
    lists::ROWS,
    lookup::ROWS,
    outside::ROWS,
    perl::ROWS,
    refused::ROWS,
    run::ROWS,
    signed::ROWS,
    srs::ROWS,
    strings::ROWS,
];

/// The row of an item.
#[must_use]
pub fn find(name: &str) -> Option<&'static ItemRow> {
    static BY_NAME: OnceLock<ByName<&'static ItemRow>> = OnceLock::new();
    BY_NAME
        .get_or_init(|| ITEMS.iter().copied().flatten().map(|row| (row.name, *row)).collect())
        .get(name)
        .copied()
}
