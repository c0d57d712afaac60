//! File names as list items: each line of the file is an item (manual section 10.3).
//!
//! The parsed lines are kept until the file changes. Neither `+name` nor a further file name has a meaning in a file.

use std::sync::Arc;

use oxim_base::Text;

use super::item::Items;
use super::{Defer, ListKind};
use crate::context::Context;
use crate::lookup::files::{self, FileError};
use crate::restrict;

/// The items of a file.
pub(super) fn read(context: &Context, kind: ListKind, name: &Text) -> Result<Arc<Items>, Defer> {
    if name.is_foreign() {
        return Err(Defer::Config(format!("Tainted filename for search: '{name}'")));
    }
    let form = match kind {
        ListKind::Domain => "domain list",
        ListKind::Host => "host list",
        ListKind::Address => "address list",
        ListKind::LocalPart | ListKind::String => "local part list",
    };
    let failed =
        |reason: String| Defer::Config(format!("failed to open {name} when checking \"{name}\": {reason}"));
    if let Some(user) = restrict::user(context) {
        let data = user.read(name.as_bytes()).map_err(failed)?;
        return Ok(Arc::new(Items::from_lines(kind, name.clone(), lines(kind, &data))));
    }
    files::parsed(form, name.as_bytes(), |opened| {
        let data = opened.read()?;
        Ok(Items::from_lines(kind, name.clone(), lines(kind, &data)))
    })
    .map_err(|error| {
        failed(match error {
            FileError::Io(error) => files::reason(&error),
            FileError::NotRegular => "not a regular file".to_owned(),
            FileError::TooLarge => "the file is too large".to_owned(),
        })
    })
}

/// The lines without comments and white space, empty ones left out.
fn lines(kind: ListKind, data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let anywhere = matches!(kind, ListKind::Domain | ListKind::Host);
    data.split(|b| *b == b'\n').filter_map(move |line| {
        let line = line.get(..comment(line, anywhere)).unwrap_or_default().trim_ascii();
        (!line.is_empty()).then(|| line.to_vec())
    })
}

/// Where the comment begins. In lists of addresses and local parts `#` needs white space in front.
fn comment(line: &[u8], anywhere: bool) -> usize {
    let begins = |at: usize| {
        anywhere
            || at.checked_sub(1).is_none_or(|before| line.get(before).is_some_and(u8::is_ascii_whitespace))
    };
    memchr::memchr_iter(b'#', line).find(|at| begins(*at)).unwrap_or(line.len())
}
