//! `exigrep`: shows all lines of the messages, in main logs, that have a line with a pattern (manual section 54.4).
//!
//! A message is shown when it is completed, or at the end. Lines that belong to no message are shown by themselves. What goes
//! on is kept in memory until the message is completed. Exit codes: 2 for wrong options and files, 25 for a faulty pattern.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufWriter, Write};

use oxim_base::errno::error_text;
use oxim_lang::regex::Regex;
use oxim_mail::message_id::MessageId;

use super::Call;
use super::log_file;
use super::log_line::LogLine;

const USAGE: &str = "Usage:\n    exigrep [options] pattern [log] ...\n";
pub(super) const HELP: &str = "Usage:
    exigrep [options] pattern [log] ...

  -l, --literal            the pattern is a string, no regular expression
  -I, --sensitive          upper and lower case differ
  -t, --queue-time SECONDS only completed messages that took longer, and those that are not completed
  -v, --invert             what does not match
  -M, --related            also messages that came of those found, such as bounces
      --no-pager           taken and without meaning: there is no pager
  -h, --help               this text
";

/// How the last line of a message begins.
const ENDS: &[&str] = &["Completed", "rejected", "SMTP data timeout"];

/// What was asked for.
#[derive(Default)]
struct Wish {
    literal: bool,
    sensitive: bool,
    invert: bool,
    related: bool,
    queue_time: Option<i64>,
    pattern: Vec<u8>,
    files: Vec<Vec<u8>>,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let wish = match read(&call.words) {
        Ok(Some(wish)) => wish,
        Ok(None) => {
            say_part!("{HELP}");
            return 0;
        }
        Err(text) => {
            complain_part!("{text}{USAGE}");
            return 2;
        }
    };
    let pattern = if wish.literal { quoted(&wish.pattern) } else { wish.pattern.clone() };
    let regex = match Regex::compile(&pattern, !wish.sensitive) {
        Ok(regex) => regex,
        Err(error) => return call.fail(25, error.describe(&wish.pattern)),
    };
    let mut search = Search::new(&wish, regex, BufWriter::new(std::io::stdout().lock()));
    let mut code = 0;
    let stdin = [b"-".to_vec()];
    for name in if wish.files.is_empty() { stdin.as_slice() } else { &wish.files } {
        let done = log_file::open(name).and_then(|reader| log_file::lines(reader, |line| search.line(line)));
        if let Err(error) = done {
            complain!("Unable to open {}: {}", String::from_utf8_lossy(name), error_text(&error));
            code = 2;
        }
    }
    // Whoever read our output may have gone.
    if search.end().is_err() { 1 } else { code }
}

/// The command line. `Ok(None)`: help.
fn read(words: &[Vec<u8>]) -> Result<Option<Wish>, String> {
    let mut wish = Wish::default();
    let mut words = words.iter().map(Vec::as_slice);
    let mut rest: Vec<Vec<u8>> = Vec::new();
    let seconds = |value: Option<&[u8]>| {
        let number = value.and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok());
        number.ok_or_else(|| "Option queue-time requires a number\n".to_owned())
    };
    while let Some(word) = words.next() {
        match word {
            b"--" => rest.extend(words.by_ref().map(<[u8]>::to_vec)),
            b"-l" | b"--literal" => wish.literal = true,
            b"-I" | b"--sensitive" => wish.sensitive = true,
            b"-v" | b"--invert" => wish.invert = true,
            b"-M" | b"--related" => wish.related = true,
            b"--no-pager" | b"--pager" => {}
            b"-h" | b"--help" | b"-m" | b"--man" => return Ok(None),
            b"-t" | b"--queue-time" => wish.queue_time = Some(seconds(words.next())?),
            other if other.starts_with(b"--queue-time=") => wish.queue_time = Some(seconds(other.get(13..))?),
            other if other.starts_with(b"-t") => wish.queue_time = Some(seconds(other.get(2..))?),
            other if other.starts_with(b"-") && other.len() > 1 => {
                return Err(format!("Unknown option: {}\n", String::from_utf8_lossy(other)));
            }
            other => rest.push(other.to_vec()),
        }
    }
    let mut rest = rest.into_iter();
    wish.pattern = rest.next().ok_or_else(String::new)?;
    wish.files = rest.collect();
    Ok(Some(wish))
}

/// A pattern that stands for itself.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text {
        if byte.is_ascii_punctuation() {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// What is known of a message that goes on.
#[derive(Default)]
struct Going {
    lines: String,
    is_found: bool,
    since: Option<i64>,
}

/// The search.
struct Search<'a, W: Write> {
    wish: &'a Wish,
    regex: Regex,
    going: HashMap<MessageId, Going>,
    /// Those whose children are wanted too.
    parents: HashSet<MessageId>,
    out: W,
    failed: Option<std::io::Error>,
}

impl<'a, W: Write> Search<'a, W> {
    fn new(wish: &'a Wish, regex: Regex, out: W) -> Search<'a, W> {
        Search { wish, regex, going: HashMap::new(), parents: HashSet::new(), out, failed: None }
    }

    fn line(&mut self, line: &str) {
        let Some(read) = LogLine::read(line) else { return };
        // A match that takes too many steps is none.
        let is_match = self.regex.is_match(read.whole.as_bytes()).unwrap_or(false);
        let Some(id) = read.id else {
            if is_match != self.wish.invert {
                self.show(&[read.whole, "\n\n"]);
            }
            return;
        };
        let going = self.going.entry(id).or_default();
        going.lines.push_str(read.whole);
        going.lines.push('\n');
        going.is_found |= is_match;
        if going.since.is_none() {
            going.since = read.seconds();
        }
        if self.wish.related {
            let parent = read.text.starts_with("<= ").then(|| parent(read.text)).flatten();
            going.is_found |= parent.is_some_and(|p| self.parents.contains(&p));
            if going.is_found {
                self.parents.insert(id);
            }
        }
        if ENDS.iter().any(|end| read.text.starts_with(end)) {
            let now = read.seconds();
            if let Some(going) = self.going.remove(&id) {
                let took = now.zip(going.since).map_or(0, |(now, since)| now.saturating_sub(since));
                let is_slow = self.wish.queue_time.is_none_or(|limit| took > limit);
                if going.is_found != self.wish.invert && is_slow {
                    self.show(&[&going.lines, "\n"]);
                }
            }
        }
    }

    fn show(&mut self, texts: &[&str]) {
        for text in texts {
            if let Err(error) = self.out.write_all(text.as_bytes()) {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// What has not been completed.
    fn end(&mut self) -> std::io::Result<()> {
        let left: BTreeMap<MessageId, Going> = self.going.drain().collect();
        for (id, going) in left {
            if going.is_found != self.wish.invert {
                self.show(&[&format!("+++ {id} has not completed +++\n"), &going.lines, "\n"]);
            }
        }
        self.out.flush()?;
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// The message that an arrival came of: `R=ID`.
fn parent(text: &str) -> Option<MessageId> {
    let word = text.split(' ').find_map(|word| word.strip_prefix("R="))?;
    MessageId::parse(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-20 03:00:00 1xUh6V-0007qv-19 <= root@test.ex U=root P=local S=400
2026-11-20 03:00:01 1xUh6V-0007qv-19 ** nobody@far.ex R=dns T=smtp: no (such) user
2026-11-20 03:00:01 1xUh6V-0007qv-1a <= <> R=1xUh6V-0007qv-19 U=Debian-exim P=local S=900
2026-11-20 03:00:02 1xUh6V-0007qv-1a Completed
2026-11-20 03:00:02 1xUh6V-0007qv-19 Completed
2026-11-20 03:00:03 connection from nobody
2026-11-20 03:00:04 1xUh6V-0007qv-20 <= x@y S=3
2026-11-20 03:00:05 1xUh6V-0007qv-21 rejected from <q@z>: message too big
";

    fn found(line: &str) -> (usize, usize) {
        let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        let wish = read(&words).unwrap().unwrap();
        let pattern = if wish.literal { quoted(&wish.pattern) } else { wish.pattern.clone() };
        let mut out = Vec::new();
        let mut search = Search::new(&wish, Regex::compile(&pattern, !wish.sensitive).unwrap(), &mut out);
        LOG.lines().for_each(|line| search.line(line));
        search.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        (text.lines().filter(|l| !l.is_empty()).count(), text.matches("+++ 1x").count())
    }

    #[test]
    fn messages_are_found_whole() {
        for (line, expected) in [
            ("nobody", (4, 0)),
            ("-M nobody", (6, 0)),
            ("-I NOBODY", (0, 0)),
            ("-l (such)", (3, 0)),
            ("(such)", (3, 0)),
            ("-t1 root", (3, 0)),
            ("-t 2 root", (0, 0)),
            ("x@y", (2, 1)),
            ("-v nobody", (5, 1)),
            ("-t0 root", (3, 0)),
            ("BIG", (1, 0)),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
        assert!(read(&[]).is_err() && read(&[b"-q".to_vec()]).is_err());
        assert!(read(&[b"-h".to_vec()]).unwrap().is_none());
    }
}
