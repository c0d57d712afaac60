//! The `regex` and `mime_regex` conditions: one of several regular expressions matches the message or the MIME part in hand.
//!
//! `regex` looks at lines, in the MIME ACL at those of the raw part; `mime_regex` at the beginning of the decoded part.
//! Sets `$regex_match_string`, `$regex1`…. Failure modes: a faulty expression is logged and skipped; when a match takes
//! too many steps, the condition defers. Manual section 45.5.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_base::limits::SCANNED_LINE_BYTES_MAX;
use oxim_lang::config::Config;
use oxim_lang::list::split;
use oxim_lang::regex::{Regex, RegexError};

use super::super::Phase;
use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;
use super::decode;
use crate::scan;
use crate::scan::walk::Content;

const FORBIDDEN: Phases =
    all_but(&[Phase::Data, Phase::Prdr, Phase::NotSmtp, Phase::Mime, Phase::NotSmtpMime]);

/// `regex`.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "regex",
    doc: "The message, or the raw MIME part, has a line that matches a regular expression.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(|_: &Argument<'_>| Ok(Box::new(Matches { is_mime: false }))),
};

/// `mime_regex`.
pub(crate) static MIME_ROW: ClauseRow = ClauseRow {
    name: "mime_regex",
    doc: "The decoded MIME part matches a regular expression.",
    forbidden: decode::FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(|_: &Argument<'_>| Ok(Box::new(Matches { is_mime: true }))),
};

#[derive(Debug)]
struct Matches {
    is_mime: bool,
}

type Pattern = (Text, Arc<Regex>);

impl Condition for Matches {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let name = if self.is_mime { MIME_ROW.name } else { ROW.name };
        run.scene.context.local.regex_match_string = None;
        run.scene.context.local.regex_captures.clear();
        let patterns = compiled(run, argument);
        if patterns.is_empty() {
            return Tested::of(false);
        }
        let found = if self.is_mime { in_decoded(run, &patterns) } else { in_lines(run, &patterns) };
        match found {
            Ok(Some((pattern, mut groups))) => {
                let local = &mut run.scene.context.local;
                local.regex_match_string = Some(pattern);
                local.regex_captures = groups.drain(1..).collect();
                Tested::of(true)
            }
            Ok(None) => Tested::of(false),
            Err(reason) => Tested::logged(Answer::Later, format!("{name} acl condition: {reason}")),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// The expressions, the last one first: where several match, Exim shows the last.
fn compiled(run: &Run<'_>, argument: &Text) -> VecDeque<Pattern> {
    let mut patterns = VecDeque::new();
    for item in split(argument.as_bytes()) {
        match run.reception.services.regexes.get(&item, false) {
            Ok(regex) => patterns.push_front((argument.derive(item.to_vec()), regex)),
            Err(error) => {
                let what = match error {
                    RegexError::Pattern { message, offset } => format!("{message} at offset {offset}"),
                    RegexError::Match(message) => message,
                };
                let shown = crate::log_line::printable(&item);
                let line =
                    format!("regex acl condition warning - error in regex '{shown}': {what}, skipped.");
                run.log_main(&line);
            }
        }
    }
    patterns
}

type Match = Option<(Text, Vec<Text>)>;

fn first_match(patterns: &VecDeque<Pattern>, subject: &[u8]) -> Result<Match, String> {
    for (source, regex) in patterns {
        let groups = regex.find_at(subject, 0).map_err(|error| error.describe(source.as_bytes()))?;
        if let Some(groups) = groups {
            let subject = Text::tainted(subject);
            return Ok(Some((source.clone(), oxim_lang::regex::texts(&subject, &groups))));
        }
    }
    Ok(None)
}

fn in_lines(run: &mut Run<'_>, patterns: &VecDeque<Pattern>) -> Result<Match, String> {
    let text = |error: io::Error| error_text(&error);
    let part = run.scene.message.scan.part.clone();
    let content = match &part {
        Some(part) => File::open(&part.file).and_then(|f| Content::new(f, part.start, &part.boundaries)),
        None => {
            let copy = scan::copy(run)?;
            File::open(copy.file()).and_then(|file| Content::new(file, 0, &[]))
        }
    };
    let mut content = content.map_err(text)?;
    while let Some(line) = content.next_line().map_err(text)? {
        if let Some(found) = first_match(patterns, line)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_decoded(run: &mut Run<'_>, patterns: &VecDeque<Pattern>) -> Result<Match, String> {
    let file = decode::decode_part(run.scene)?;
    let mut content = Vec::new();
    let limit = u64::try_from(SCANNED_LINE_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(&file)
        .and_then(|file| file.take(limit).read_to_end(&mut content))
        .map_err(|error| error_text(&error))?;
    first_match(patterns, &content)
}
