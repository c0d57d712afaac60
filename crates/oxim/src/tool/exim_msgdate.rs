//! `exim_msgdate`: when a message was received, by its id, in either form (new in 4.97).
//!
//! Six characters alone are the seconds. Ids that make no sense are told on standard error, and the next one is looked at.

use oxim_base::clock::{Stamp, Zone};
use oxim_mail::message_id::MessageId;

use super::{Call, configuration};

pub(super) const HELP: &str = "usage: exim_msgdate [options] ID ...

  -l, --local                 local time (the default)
  --GMT, --UTC, --zulu        UTC
  -u, --unix                  seconds since 1970
  --pid                       also the process
  --base N, --base36, --b36, --base62, --b62   the base of the digits (62)
  --localhost_number N|none   that of the host that made the ids, instead of the configuration's
  -C FILE                     the configuration
  --debug                     taken and without meaning
  --help, --man, --version
";

/// How times are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Local,
    Utc,
    Unix,
}

/// What was asked for.
struct Wish {
    form: Form,
    base: u64,
    shows_pid: bool,
    /// None: the configuration's. Some(None): none.
    localhost_number: Option<Option<u32>>,
    config: Option<Vec<u8>>,
    ids: Vec<String>,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let wish = match read(&call.words) {
        Ok(Some(wish)) => wish,
        Ok(None) => {
            say_part!("{HELP}");
            return 0;
        }
        Err(text) if text == "version" => {
            say!("exim_msgdate {}", crate::mode::version::EXIM_VERSION);
            return 0;
        }
        Err(text) => return call.fail(1, format_args!("{text}\n{HELP}")),
    };
    let number = match wish.localhost_number {
        Some(number) => number,
        None => match configured(wish.config.as_deref()) {
            Ok(number) => number,
            Err(code) => return code,
        },
    };
    for id in &wish.ids {
        match time_and_pid(id, wish.base, number) {
            Some((stamp, pid)) => {
                let pid = if wish.shows_pid { pid } else { None };
                let tail = pid.map_or_else(String::new, |pid| format!("\tpid {pid}"));
                say!("{}{tail}", shown(stamp, wish.form));
            }
            None => complain!("{id} not parsed"),
        }
    }
    0
}

/// `localhost_number` of a configuration that was named; the usual one need not be there.
fn configured(file: Option<&[u8]>) -> Result<Option<u32>, u8> {
    let is_usual_missing = file.is_none()
        && !crate::assemble::DEFAULT_FILES.split(':').any(|path| std::path::Path::new(path).exists());
    if is_usual_missing {
        return Ok(None);
    }
    let program = configuration(file)?;
    let Some(template) = &program.config.main.localhost_number else { return Ok(None) };
    let mut context = oxim_lang::context::Context::new(
        std::sync::Arc::clone(&program.config),
        std::sync::Arc::clone(&program.services),
    );
    let text = template.expand(&mut context).map(|t| t.to_string_lossy()).unwrap_or_default();
    Ok(text.trim().parse().ok())
}

/// The command line. `Ok(None)`: help.
fn read(words: &[Vec<u8>]) -> Result<Option<Wish>, String> {
    let mut wish = Wish {
        form: Form::Local,
        base: 62,
        shows_pid: false,
        localhost_number: None,
        config: None,
        ids: Vec::new(),
    };
    let mut words = words.iter().map(|word| String::from_utf8_lossy(word).into_owned());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "-u" | "--unix" => wish.form = Form::Unix,
            "--GMT" | "--gmt" | "--UTC" | "--utc" | "--zulu" => wish.form = Form::Utc,
            "-l" | "--local" => wish.form = Form::Local,
            "--base" => wish.base = value()?.parse().map_err(|_| "--base needs a number".to_owned())?,
            "--base36" | "--b36" => wish.base = 36,
            "--base62" | "--b62" => wish.base = 62,
            "--pid" => wish.shows_pid = true,
            "--localhost_number" => {
                let value = value()?;
                let number = || value.parse().map(Some).map_err(|_| format!("bad number {value}"));
                wish.localhost_number = Some(if value == "none" { None } else { number()? });
            }
            "-C" => wish.config = Some(value()?.into_bytes()),
            "--debug" => {}
            "--help" | "--man" | "-h" => return Ok(None),
            "--version" => return Err("version".to_owned()),
            other if other.starts_with('-') => return Err(format!("unknown option {other}")),
            _ => wish.ids.push(word),
        }
    }
    if !matches!(wish.base, 36 | 62) {
        return Err("the base is 36 or 62".to_owned());
    }
    if wish.ids.is_empty() { Err("no id was given".to_owned()) } else { Ok(Some(wish)) }
}

/// The time, and the process if the id names one.
fn time_and_pid(id: &str, base: u64, number: Option<u32>) -> Option<(Stamp, Option<u64>)> {
    // As in Message-Id: lines.
    let id = if matches!(id.len(), 7 | 17 | 24) { id.strip_prefix('E').unwrap_or(id) } else { id };
    if id.len() == 6 {
        let seconds = i64::try_from(decode(id, base)?).ok()?;
        return Some((Stamp::from_seconds(seconds), None));
    }
    let parsed = MessageId::parse(id.as_bytes())?;
    if base == 62 {
        return Some((parsed.stamp(number), Some(parsed.pid())));
    }
    let mut fields = id.split('-');
    let seconds = i64::try_from(decode(fields.next()?, base)?).ok()?;
    let pid = decode(fields.next()?, base)?;
    let units = decode(fields.next()?, base)?;
    // In base 36 there is always a number of the host, of which each has so many units.
    let (span, unit) = match (id.len() == 16, number.is_some()) {
        (true, true) => (100, 10_000),
        (true, false) => (1_000, 1_000),
        (false, true) => (500_000, 2),
        (false, false) => (1_000_000, 1),
    };
    let own = units.checked_sub(u64::from(number.unwrap_or(0)).checked_mul(span)?)?;
    let micros = u32::try_from(own.checked_mul(unit)?).ok().filter(|m| *m < 1_000_000)?;
    Some((Stamp { seconds, micros }, Some(pid)))
}

fn decode(text: &str, base: u64) -> Option<u64> {
    text.bytes().try_fold(0_u64, |sum, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'A'..=b'Z' => byte.wrapping_sub(b'A').wrapping_add(10),
            b'a'..=b'z' if base == 36 => byte.wrapping_sub(b'a').wrapping_add(10),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(36),
            _ => return None,
        };
        sum.checked_mul(base)?.checked_add(u64::from(digit))
    })
}

fn shown(stamp: Stamp, form: Form) -> String {
    let pattern = "%Y-%m-%d %H:%M:%S";
    match form {
        Form::Unix => format!("{}.{:06}", stamp.seconds, stamp.micros),
        Form::Utc => format!("{}.{:06}", stamp.strftime(Zone::Utc, pattern), stamp.micros),
        Form::Local => format!(
            "{}.{:06} {}",
            stamp.strftime(Zone::Local, pattern),
            stamp.micros,
            stamp.zone_offset(Zone::Local)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_time() {
        let unix = |id: &str, number| {
            time_and_pid(id, 62, number).map(|(stamp, pid)| (shown(stamp, Form::Unix), pid))
        };
        // Made by exim4 4.96 at 2026-11-21 03:06:59 UTC.
        assert_eq!(unix("1xUbRL-0004r9-33", None), Some(("1795230419.094500".to_owned(), Some(18_671))));
        assert_eq!(unix("E1xUbRL-0004r9-33", None), unix("1xUbRL-0004r9-33", None));
        assert_eq!(unix("1xUbRL", None), Some(("1795230419.000000".to_owned(), None)));
        assert_eq!(unix("16VDhn-000000001bo-0342", None).unwrap().0, "1012231703.011782");
        for bad in ["", "1xUbR", "1xUbRL-0004r9-3", "1xUbRL+0004r9-33", "x"] {
            assert_eq!(unix(bad, None), None, "{bad}");
        }
        let (stamp, _) = time_and_pid("1xUbRL", 62, None).unwrap();
        assert_eq!(shown(stamp, Form::Utc), "2026-11-21 03:06:59.000000");
        assert_eq!(time_and_pid("00000Z", 36, None).map(|(stamp, _)| stamp.seconds), Some(35));
    }

    #[test]
    fn wrong_options_are_told() {
        let read = |line: &str| {
            let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
            read(&words)
        };
        assert!(read("--base 10 1xUbRL").is_err() && read("--bogus 1xUbRL").is_err() && read("-u").is_err());
        let wish = read("--localhost_number none --pid --zulu 1xUbRL").unwrap().unwrap();
        assert_eq!((wish.localhost_number, wish.shows_pid, wish.form), (Some(None), true, Form::Utc));
    }
}
