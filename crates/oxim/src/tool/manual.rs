//! The manual pages of the companion programs, made of what is told elsewhere: a tool's row (name, what it is for, how it is
//! called) and its part of `docs/features/tools.md`. The pages stand in `docs/man`, `UPDATE=1` writes them; `oxim.8` there is
//! written by hand, and every option of the command line has its place in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{TOOLS, Tool};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Text as troff takes it literally. Backquotes set names in bold.
fn escaped(line: &str) -> String {
    let mut out = String::new();
    if line.starts_with(['.', '\'']) {
        out.push_str("\\&");
    }
    let mut is_bold = false;
    for c in line.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '`' => {
                is_bold = !is_bold;
                out.push_str(if is_bold { "\\fB" } else { "\\fR" });
            }
            other => out.push(other),
        }
    }
    out
}

/// Lines as they stand.
fn literal<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut out = ".nf\n".to_owned();
    for line in lines {
        out.push_str(&if line.is_empty() { "\\&".to_owned() } else { escaped(line) });
        out.push('\n');
    }
    out + ".fi\n"
}

/// What the page of all tools says of this one: the paragraphs below the heading that names it.
fn told(page: &str, name: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut is_ours = false;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            is_ours = heading.split(", ").any(|word| word == name);
        } else if is_ours && line.is_empty() {
            paragraphs.push(String::new());
        } else if is_ours && let Some(last) = paragraphs.last_mut() {
            *last += &format!("{}\n", escaped(line));
        }
    }
    paragraphs.retain(|text| !text.is_empty());
    paragraphs
}

fn manual_page(tool: &Tool, page: &str) -> String {
    let usage = tool
        .usage
        .strip_prefix(&format!("{}: ", tool.name))
        .map_or(tool.usage, |rest| rest.split_once("\n\n").map_or(rest, |(_, rest)| rest));
    let (calls, options) = match usage.split_once("\n\n") {
        Some((calls, options)) if calls.to_lowercase().starts_with("usage:") => (calls, options),
        None if usage.to_lowercase().starts_with("usage:") => (usage, ""),
        _ => ("", usage),
    };
    let calls = calls.get("usage:".len()..).unwrap_or_default().trim_start();
    let calls = if calls.is_empty() { format!("{} [options]", tool.name) } else { calls.to_owned() };
    let mut out = format!(
        ".\\\" Written by UPDATE=1 cargo test -p oxim manual_pages; from docs/features/tools.md and the tool's own usage.\n\
         .TH {} 8 \"\" Oxim \"System administration\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n",
        tool.name.to_uppercase(),
        tool.name,
        escaped(tool.summary),
    );
    out += &literal(calls.lines().map(str::trim_start));
    let options = options.trim_end();
    if !options.is_empty() {
        let _ = write!(out, ".SH OPTIONS\n{}", literal(options.lines()));
    }
    out += ".SH DESCRIPTION\n";
    let _ = writeln!(
        out,
        "This is the program of this name that belongs to Exim, done by Oxim, with the same arguments and output."
    );
    for paragraph in told(page, tool.name) {
        let _ = write!(out, ".PP\n{paragraph}");
    }
    out + ".SH SEE ALSO\n.BR oxim (8)\n"
}

#[test]
fn manual_pages_are_in_step() {
    let page = std::fs::read_to_string(source().join("docs/features/tools.md")).unwrap();
    for tool in TOOLS {
        let path = source().join(format!("docs/man/{}.8", tool.name));
        let text = manual_page(tool, &page);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{}: run it again with UPDATE=1", path.display());
        assert!(
            told(&page, tool.name).iter().any(|p| !p.is_empty()),
            "tools.md tells nothing of {}",
            tool.name
        );
    }
}

/// The options that the page of the command line names, all stand in the manual page too.
#[test]
fn every_option_has_its_place_in_the_manual_page() {
    let page = std::fs::read_to_string(source().join("docs/features/command-line.md")).unwrap();
    let manual = std::fs::read_to_string(source().join("docs/man/oxim.8")).unwrap().replace("\\-", "-");
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let options =
        rows.flat_map(|row| row.split('`')).filter(|word| word.starts_with('-') && !word.starts_with("--"));
    let mut count = 0;
    for option in options {
        let stem: String = option.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        assert!(manual.contains(&stem), "docs/man/oxim.8 lacks {option}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn what_troff_would_take_as_its_own_is_escaped() {
    assert_eq!(escaped(".x `-a` \\n"), "\\&.x \\fB\\-a\\fR \\en");
}

/// The Debian package has a link, and puts the program of exim4-base aside, for each.
#[test]
fn the_package_has_every_tool() {
    let read = |name: &str| std::fs::read_to_string(source().join("debian").join(name)).unwrap();
    let names: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
    assert_eq!(read("companions").lines().collect::<Vec<_>>(), names);
    for script in ["oxim.preinst", "oxim.postrm"] {
        let text = read(script);
        let list = text.split("companions=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(list.split_whitespace().collect::<Vec<_>>(), names, "{script}");
    }
}
