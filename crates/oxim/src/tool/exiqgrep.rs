//! `exiqgrep`: selects from the listing of the queue (manual section 54.2).
//!
//! Asks this program, or that of `-E`, for the listing. A `-C` file that is missing is an error of that program.
//! Exit codes: 1 for wrong options and a listing that failed, 255 for a faulty pattern.

use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use oxim_lang::regex::Regex;

use super::letters::Letters;
use super::listing::{self, Listed};
use super::{Call, say};

pub(super) const HELP: &str = "exiqgrep: lists the messages of the queue that fit

  -h             this help
  -C FILE        the configuration to use
  -E PROGRAM     the Exim to ask

What must fit (all of it):
  -f REGEXP      the sender, as <address>; in any case
  -r REGEXP      a recipient; in any case
  -s REGEXP      the size as it is listed
  -y SECONDS     younger than this
  -o SECONDS     older than this
  -z             frozen
  -x             not frozen
  -G QUEUE       only this queue

How it is shown:
  -c             how many
  -l             as Exim lists it (the default)
  -i             ids only
  -b             one line for each message
  -R             the other way round
  -a             with recipients that are done
";

/// What a message must be.
struct Wanted {
    sender: Option<Regex>,
    recipient: Option<Regex>,
    size: Option<Regex>,
    older: i64,
    younger: i64,
    frozen: bool,
    not_frozen: bool,
    now: i64,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let letters = Letters::read(&call.words, "fryosCGE", "hzxlibRca");
    let selects = letters.values.iter().any(|(letter, value)| match letter {
        b'C' | b'E' | b'G' => false,
        b'y' | b'o' => seconds(value) != 0,
        _ => true,
    }) || [b'z', b'x', b'c'].iter().any(|l| letters.has(*l));
    if letters.has(b'h') || !letters.unknown.is_empty() {
        say_part!("{HELP}");
        return 0;
    }
    if !selects || !letters.rest.is_empty() {
        say_part!("{HELP}");
        return 1;
    }
    let wanted = match Wanted::of(&letters) {
        Ok(wanted) => wanted,
        Err(text) => return call.fail(255, text),
    };
    let text = match ask(call, &letters) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let all = listing::read(&text);
    let count = all.len();
    let mut chosen = Vec::new();
    for listed in all {
        match wanted.fits(&listed) {
            Ok(true) => chosen.push(listed),
            Ok(false) => {}
            Err(text) => return call.fail(255, text),
        }
    }
    if letters.has(b'R') {
        chosen.reverse();
    }
    if letters.has(b'c') {
        say!("{} matches out of {count} messages", chosen.len());
    } else {
        chosen.iter().for_each(|listed| say(shown(listed, &letters)));
    }
    0
}

/// As far as it is a number.
fn seconds(value: &[u8]) -> i64 {
    let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
    value.get(..end).and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn ask(call: &Call, letters: &Letters) -> Result<String, u8> {
    let mut command = match letters.value(b'E') {
        Some(path) => Command::new(std::ffi::OsStr::from_bytes(path)),
        None => call.exim(),
    };
    if let Some(file) = letters.value(b'C') {
        command.arg("-C").arg(std::ffi::OsStr::from_bytes(file));
    }
    command.arg(if letters.has(b'a') { "-bp" } else { "-bpu" });
    if let Some(queue) = letters.value(b'G') {
        command.arg(std::ffi::OsStr::from_bytes(&[b"-qG", queue].concat()));
    }
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| call.fail(2, format_args!("the queue cannot be listed: {}", error_text(&error))))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(call.fail(1, format_args!("the queue cannot be listed: {}", output.status)))
    }
}

impl Wanted {
    fn of(letters: &Letters) -> Result<Wanted, String> {
        let regex = |letter: u8, caseless: bool| {
            let pattern = letters.value(letter);
            pattern.map(|p| Regex::compile(p, caseless).map_err(|e| e.describe(p))).transpose()
        };
        Ok(Wanted {
            sender: regex(b'f', true)?,
            recipient: regex(b'r', true)?,
            size: regex(b's', false)?,
            older: letters.value(b'o').map_or(0, seconds),
            younger: letters.value(b'y').map_or(0, seconds),
            frozen: letters.has(b'z'),
            not_frozen: letters.has(b'x'),
            now: Stamp::now().seconds,
        })
    }

    fn fits(&self, listed: &Listed) -> Result<bool, String> {
        // The id tells the time more exactly than the listing does.
        let age = self.now.saturating_sub(listed.id.seconds());
        let by_state = !(self.frozen && !listed.is_frozen || self.not_frozen && listed.is_frozen);
        let by_age = !(self.older != 0 && age <= self.older || self.younger != 0 && age >= self.younger);
        Ok(by_state
            && by_age
            && matches(self.sender.as_ref(), &[&listed.sender])?
            && matches(self.size.as_ref(), &[&listed.size])?
            && matches(
                self.recipient.as_ref(),
                &listed.recipients.iter().map(String::as_str).collect::<Vec<_>>(),
            )?)
    }
}

fn matches(regex: Option<&Regex>, texts: &[&str]) -> Result<bool, String> {
    let Some(regex) = regex else { return Ok(true) };
    for text in texts {
        if regex.is_match(text.as_bytes()).map_err(|e| e.describe(text.as_bytes()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn shown(listed: &Listed, letters: &Letters) -> String {
    if letters.has(b'i') {
        return format!("{}\n", listed.id);
    }
    if letters.has(b'b') {
        return format!("{} From: {} To: {}\n", listed.id, listed.sender, listed.recipients.join(";"));
    }
    let frozen = if listed.is_frozen { " *** frozen ***" } else { "" };
    let mut out = format!("{:>3} {:>5} {} {}{frozen}\n", listed.age, listed.size, listed.id, listed.sender);
    for recipient in &listed.recipients {
        out.push_str("\t  ");
        out.push_str(recipient);
        out.push('\n');
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(options: &str, listing: &str, age: i64) -> bool {
        let words: Vec<Vec<u8>> = options.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        let mut wanted = Wanted::of(&Letters::read(&words, "fryosCGE", "hzxlibRca")).unwrap();
        let listed = listing::read(listing).remove(0);
        wanted.now = listed.id.seconds() + age;
        wanted.fits(&listed).unwrap()
    }

    #[test]
    fn selections_are_exims() {
        let text = " 2m  1.5K 1xUh6V-0007qv-18 <Loc@x> *** frozen ***\n          Y@defer.ex\n        D z@x\n";
        for (options, expected) in [
            ("-f loc", true),
            ("-f ^<loc@x>$", true),
            ("-f ^loc", false),
            ("-r y@", true),
            ("-r ^D", true),
            ("-s k", false),
            ("-s K", true),
            ("-o 120", false),
            ("-o 119", true),
            ("-y 121x", true),
            ("-y 120", false),
            ("-z", true),
            ("-x", false),
            ("-zx", false),
        ] {
            assert_eq!(fits(options, text, 120), expected, "{options}");
        }
    }
}
