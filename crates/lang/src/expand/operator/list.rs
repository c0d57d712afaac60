//! Operators on lists: listcount, listnamed.

use oxim_base::Text;

use super::{Arguments, OperatorRow, operator};
use crate::config::{Config, ListKind};
use crate::expand::ExpandError;
use crate::expand::elements;

/// How deep named lists may refer to each other.
const NAMED_DEPTH_MAX: usize = 20;

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "listcount",
        "The number of elements of a list.",
        &[("${listcount:a:b:c}", "3"), ("${listcount:}", "0")],
        |_, _, s| Ok(s.derive(elements::split(&s).items.len().to_string())),
    ),
    &OperatorRow {
        arguments: Arguments::Word,
        ..operator(
            "listnamed",
            "The elements of a named list; `_a`, `_d`, `_h` or `_l` gives its kind.",
            &[],
            |context, kind, s| {
                // What follows the letter does not count.
                let kinds: &[ListKind] = match kind.map(|word| word.get(..1).unwrap_or_default()) {
                    None => &[ListKind::Address, ListKind::Domain, ListKind::Host, ListKind::LocalPart],
                    Some("a") => &[ListKind::Address],
                    Some("d") => &[ListKind::Domain],
                    Some("h") => &[ListKind::Host],
                    Some("l") => &[ListKind::LocalPart],
                    Some(_) => return Err(ExpandError::Failed("bad suffix on \"list\" operator".to_owned())),
                };
                let name = s.to_string_lossy();
                let name = name.strip_prefix('+').unwrap_or(&name);
                let mut items = Vec::new();
                gather(&context.config, kinds, name, 0, &mut items).map_err(|missing| {
                    ExpandError::Failed(format!("\"{missing}\" is not a {}named list", kind_word(kind)))
                })?;
                Ok(Text::from(items.join(" : ")))
            },
        )
    },
];

fn kind_word(kind: Option<&str>) -> &'static str {
    match kind.map(|word| word.get(..1).unwrap_or_default()) {
        Some("a") => "address ",
        Some("d") => "domain ",
        Some("h") => "host ",
        Some("l") => "localpart ",
        _ => "",
    }
}

/// Adds the elements of a named list, quoted for a list with colons; references are replaced by what they stand for.
/// The error is the name that is not there.
fn gather(
    config: &Config,
    kinds: &[ListKind],
    name: &str,
    depth: usize,
    items: &mut Vec<String>,
) -> Result<(), String> {
    let found = kinds.iter().find_map(|kind| config.lists.get(*kind, name).map(|list| (*kind, list)));
    let (kind, list) = found.ok_or_else(|| name.to_owned())?;
    for item in elements::split(&Text::from(list.source.as_str())).items {
        let text = item.to_string_lossy();
        match text.strip_prefix('+') {
            Some(inner) if depth < NAMED_DEPTH_MAX => {
                gather(config, &[kind], inner, depth.saturating_add(1), items)?;
            }
            _ => items.push(text.replace(':', "::")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::config::{Catalogue, read_bytes};
    use crate::context::Context;
    use crate::expand::Template;

    #[test]
    fn named_lists_show_what_they_stand_for() {
        let text = b"domainlist a = x:y\ndomainlist b = z : +a : w\nhostlist h = <, 1.2.3.4, ::1\n";
        let config = read_bytes("test", text, &[], &Catalogue::default()).unwrap();
        let mut context = Context { config: Arc::new(config), ..Context::default() };
        let mut expand =
            |source: &str| Template::compile(source).expand(&mut context).map(|t| t.to_string_lossy());
        assert_eq!(expand("${listnamed:b}").unwrap(), "z : x : y : w");
        assert_eq!(expand("${listnamed_h:h}").unwrap(), "1.2.3.4 : ::::1");
        assert_eq!(expand("${listnamed_d:h}").unwrap_err().message(), "\"h\" is not a domain named list");
        assert_eq!(expand("${listnamed_x:h}").unwrap_err().message(), "bad suffix on \"list\" operator");
    }
}
