//! Every list of the configuration with a changed separator: each option and ACL condition that the tables call a list is
//! given `<; a ; b` in place of `a : b` in scenarios that set it, and these must still come out as they are written.
//!
//! Nothing is listed by hand: the options are those of `docs/options.md`, which is generated from the rows, the conditions
//! those whose row says so, and the scenarios those of the corpus. Where the type of the list allows it an item with a colon
//! in it is added, so that a list which is taken apart at colons all the same does something else. A list that no scenario
//! shows so is a fault of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use oxim_lang::list::split_at;

use crate::scenario::{self, Program};
use crate::{again, place};

/// Where an option stands, and its name.
type Place = (Section, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Main,
    Acl,
    Routers,
    Transports,
    Authenticators,
}

/// What a table says of a list.
#[derive(Clone, Debug)]
struct Row {
    separator: u8,
    /// An item that nothing in any scenario is, with colons in it; none where every item has a meaning.
    stranger: Option<&'static str>,
}

fn row(kind: &str) -> Option<Row> {
    let separator = kind.split_once("list by `").map_or(b':', |(_, rest)| rest.as_bytes()[0]);
    let stranger = match kind {
        "host list" => Some("2001:db8::77:77"),
        "domain list" | "local part list" => Some("no:thing"),
        "address list" => Some("no:body@no.invalid"),
        _ if kind.starts_with("list") => None,
        _ => return None,
    };
    Some(Row { separator, stranger })
}

/// The lists among the options that work.
fn options() -> BTreeMap<Place, Row> {
    let page = std::fs::read_to_string(place::source().join("docs/options.md")).unwrap();
    let mut section = Section::Main;
    let mut found = BTreeMap::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let title = title.to_ascii_lowercase();
            let sections = [
                ("router", Section::Routers),
                ("transport", Section::Transports),
                ("authenticator", Section::Authenticators),
            ];
            let by_title = sections.iter().find(|(word, _)| title.contains(word));
            section = by_title.map_or(Section::Main, |(_, section)| *section);
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, kind, _, status, _] = cells.as_slice() else { continue };
        let name = name.trim_start_matches("| ").trim_matches('`');
        if let Some(row) = row(kind.trim()).filter(|_| status.trim().is_empty()) {
            found.insert((section, name.to_owned()), row);
        }
    }
    found
}

/// The ACL conditions that take a list.
fn conditions() -> BTreeMap<Place, Row> {
    let built: BTreeSet<&str> = oxim_receive::acl::built_conditions().collect();
    oxim_receive::acl::documentation()
        .filter(|(name, doc)| built.contains(name.as_str()) && doc.contains(" list"))
        .map(|(name, _)| ((Section::Acl, name), Row { separator: b':', stranger: None }))
        .collect()
}

/// A line `name = value` of a section, taken apart at the value.
fn setting(section: Section, line: &str) -> Option<(String, &str, &str)> {
    let at = line.find('=')?;
    let (head, value) = (line[..at].trim(), line[at + 1..].trim());
    let words: Vec<&str> = head.split_whitespace().collect();
    let name = match (section, words.as_slice()) {
        (_, [name]) | (Section::Acl, [.., name]) => name.trim_start_matches('!'),
        _ => return None,
    };
    let is_plain = !value.is_empty()
        && !value.starts_with(['<', '"'])
        && !value.contains(['$', '{', '\\', '\n'])
        && !name.is_empty();
    is_plain.then(|| (name.to_owned(), &line[..line.len() - line[at + 1..].trim_start().len()], value))
}

/// The value with another separator; None if that would show nothing.
fn changed(value: &str, row: &Row) -> Option<String> {
    let separator = if row.separator == b';' { '|' } else { ';' };
    let doubled = format!("{separator}{separator}");
    let mut items: Vec<String> = split_at(value.as_bytes(), row.separator)
        .map(|item| String::from_utf8_lossy(&item).replace(separator, &doubled))
        .collect();
    if items.len() == 1 && items[0].contains(char::is_whitespace) && row.separator == b';' {
        return None;
    }
    let last = items.last().cloned().unwrap_or_default();
    if let Some(stranger) = row.stranger.filter(|_| !last.starts_with('/')) {
        // The last item says what the end of the list means.
        items.push(if last.starts_with('!') { format!("! {stranger}") } else { stranger.to_owned() });
    }
    let list = items.join(&format!(" {separator} "));
    // An empty item at the end needs a separator behind it.
    let end = if last.is_empty() { format!(" {separator}") } else { String::new() };
    Some(format!("<{separator} {list}{end}"))
}

/// A scenario with all its lists changed, and which they were.
fn rewritten(text: &str, rows: &BTreeMap<Place, Row>) -> (String, BTreeSet<Place>) {
    let mut out = String::new();
    let mut places = BTreeSet::new();
    let (mut in_config, mut goes_on) = (false, false);
    let mut section = Section::Main;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("== ") {
            in_config = heading.starts_with("config");
            section = Section::Main;
        } else if let Some(name) = line.strip_prefix("begin ") {
            section = match name.trim() {
                "acl" => Section::Acl,
                "routers" => Section::Routers,
                "transports" => Section::Transports,
                "authenticators" => Section::Authenticators,
                _ => continue_with(&mut in_config),
            };
        }
        let found = if in_config && !goes_on && !line.trim_end().ends_with('\\') {
            setting(section, line)
        } else {
            None
        };
        goes_on = in_config && line.trim_end().ends_with('\\');
        let new = found.and_then(|(name, head, value)| {
            let row = rows.get(&(section, name.clone()))?;
            let value = changed(value, row)?;
            places.insert((section, name));
            Some(format!("{head}{value}"))
        });
        out.push_str(new.as_deref().unwrap_or(line));
        out.push('\n');
    }
    (out, places)
}

/// Sections of rules have no options.
fn continue_with(in_config: &mut bool) -> Section {
    *in_config = false;
    Section::Main
}

/// A scenario, its changed text, and the lists that are changed in it.
type Candidate = (PathBuf, String, BTreeSet<Place>);

/// The fewest scenarios, found greedily, that show every list which any scenario shows.
fn chosen(rows: &BTreeMap<Place, Row>) -> (Vec<(PathBuf, String)>, BTreeSet<Place>) {
    let mut files = Vec::new();
    scenario::collect(&place::source().join("tests/scenarios"), &mut files);
    files.sort();
    let mut candidates: Vec<Candidate> = files
        .into_iter()
        .map(|file| {
            let (text, places) = rewritten(&std::fs::read_to_string(&file).unwrap(), rows);
            (file, text, places)
        })
        .collect();
    let mut wanted: BTreeSet<Place> = rows.keys().cloned().collect();
    let mut chosen = Vec::new();
    while let Some(best) = (0..candidates.len())
        .max_by_key(|at| (candidates[*at].2.intersection(&wanted).count(), usize::MAX - at))
    {
        let (file, text, places) = candidates.swap_remove(best);
        if places.is_disjoint(&wanted) {
            break;
        }
        wanted.retain(|place| !places.contains(place));
        candidates.sort_by(|a, b| a.0.cmp(&b.0));
        chosen.push((file, text));
    }
    (chosen, wanted)
}

fn run(name: &str, text: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(format!("{}.txt", name.replace("::", "_")));
    std::fs::write(&file, text)?;
    scenario::check_once(&file, Program::Oxim, false)
}

fn name_of(file: &Path) -> String {
    let top = place::source().join("tests/scenarios");
    file.strip_prefix(top).unwrap().with_extension("").to_string_lossy().replace('/', "::")
}

/// A trial for each chosen scenario, and one that there is one for each list.
pub(crate) fn trials() -> Vec<Trial> {
    let mut rows = options();
    rows.extend(conditions());
    let (chosen, missing) = chosen(&rows);
    let mut trials: Vec<Trial> = chosen
        .into_iter()
        .map(|(file, text)| {
            let name = name_of(&file);
            let inner = name.clone();
            again::trial(format!("separators::{name}"), move || run(&inner, &text))
                .with_ignored_flag(!scenario::is_root())
        })
        .collect();
    trials.push(Trial::test("separators::every_list_is_shown", move || {
        if missing.is_empty() && rows.len() > 100 {
            return Ok(());
        }
        let names: Vec<String> =
            missing.iter().map(|(section, name)| format!("{section:?} {name}")).collect();
        Err(format!("{} lists; no scenario sets these to a plain value: {}", rows.len(), names.join(", "))
            .into())
    }));
    trials
}
