//! The options of `eximstats`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oxim_lang::regex::Regex;

/// What `-help` says.
pub(crate) const HELP: &str = "usage: eximstats [options] [log ...]

  -txt[=FILE] -html[=FILE]   text (the default) or HTML, to a file or standard output
  -hN                        parts of an hour in histograms: 0 (none), 1, 2, 3, 5, 10, 15, 20, 30, 60
  -ne  -nr[/RE/]  -nt[/RE/]  without errors; relays (or those that match); transports (or those)
  -qLIST                     limits of the time on the queue, in seconds; -q0: none
  -show_dt[LIST] -show_rt[LIST]   times of deliveries (deliver_time), of receipt (queue_time_overall)
  -tN  -tnl                  so many in the lists of the greatest; without local ones
  -t_remote_users            addresses of others among the local destinations
  -include_original_destination   original addresses too
  -byhost -bydomain -byemail -byedomain   what the lists are about
  -bylocaldomain             local destinations by domain too
  -nvr                       volumes in bytes
  -pattern NAME /RE/         how many lines match
  -merge                     the files are reports, as text or HTML: one report of all
  -emptyok                   input without lines is no error
";

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// What lists are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// Hosts.
    Host,
    /// What is behind the first dot of their names.
    Domain,
    /// Addresses.
    Email,
    /// Domains of addresses.
    Edomain,
}

impl By {
    /// All, in order.
    pub(super) const ALL: [By; 4] = [By::Host, By::Domain, By::Email, By::Edomain];

    /// Its word.
    pub(super) fn word(self) -> &'static str {
        match self {
            By::Host => "host",
            By::Domain => "domain",
            By::Email => "email",
            By::Edomain => "edomain",
        }
    }
}

impl By {
    /// The head of a column with how many of them there are.
    pub(super) fn heading(self) -> String {
        let word = self.word();
        let first = word.get(..1).unwrap_or_default().to_uppercase();
        format!("{first}{}s", word.get(1..).unwrap_or_default())
    }
}

/// The limits of times, in seconds, where nothing else is said.
const LIMITS: &[i64] = &[60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400];

/// All of them.
#[derive(Debug)]
pub(super) struct Options {
    pub outputs: Vec<(bool, Output)>,
    pub parts: u32,
    pub errors: bool,
    pub relays: bool,
    pub hidden_relays: Option<Regex>,
    pub transports: bool,
    pub hidden_transports: Option<Regex>,
    pub limits: Vec<i64>,
    pub delivery_limits: Option<Vec<i64>>,
    pub receipt_limits: Option<Vec<i64>>,
    pub top: usize,
    pub local: bool,
    pub remote_users: bool,
    pub originals: bool,
    pub by: Vec<By>,
    pub local_domains: bool,
    pub merge: bool,
    pub rounded: bool,
    pub patterns: Vec<(String, Regex)>,
    pub empty_ok: bool,
    pub warnings: Vec<String>,
    pub files: Vec<Vec<u8>>,
}

impl Options {
    /// Reads the words behind the name. `Ok(None)`: help.
    pub(super) fn read(words: &[Vec<u8>]) -> Result<Option<Options>, String> {
        let mut options = Options {
            outputs: Vec::new(),
            parts: 1,
            errors: true,
            relays: true,
            hidden_relays: None,
            transports: true,
            hidden_transports: None,
            limits: LIMITS.to_vec(),
            delivery_limits: None,
            receipt_limits: None,
            top: 50,
            local: true,
            remote_users: false,
            originals: false,
            by: Vec::new(),
            local_domains: false,
            merge: false,
            rounded: true,
            patterns: Vec::new(),
            empty_ok: false,
            warnings: Vec::new(),
            files: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with(b"-") || word == b"-" {
                options.files.push(word.clone());
                options.files.extend(words.by_ref().cloned());
                break;
            }
            let text = String::from_utf8_lossy(word).into_owned();
            match text.as_str() {
                "-help" | "-h" | "--help" => return Ok(None),
                "-pattern" => {
                    let name = words.next().map(|w| String::from_utf8_lossy(w).into_owned());
                    let pattern = words.next().map(|w| String::from_utf8_lossy(w).into_owned());
                    let (Some(name), Some(pattern)) = (name, pattern) else {
                        return Err("-pattern needs a name and a pattern".to_owned());
                    };
                    options.patterns.push((name, regex(&pattern)?));
                }
                "-chartdir" | "-chartrel" => {
                    // Where charts would go.
                    words.next();
                }
                other => options.option(other)?,
            }
        }
        if options.outputs.is_empty() {
            options.outputs.push((false, Output::Stdout));
        }
        if options.outputs.iter().filter(|(_, output)| *output == Output::Stdout).count() > 1 {
            return Err("only one report can go to standard output".to_owned());
        }
        if options.by.is_empty() {
            options.by.push(By::Host);
        }
        options.by.sort_unstable();
        options.by.dedup();
        Ok(Some(options))
    }

    /// What Exim's tool leaves out where Perl has not this module is left out here: the caller is told.
    fn lacks(&mut self, module: &str) {
        self.warnings
            .push(format!("WARNING: there are no charts and no spreadsheets here, as without {module}"));
    }

    fn option(&mut self, text: &str) -> Result<(), String> {
        let unknown = || format!("Unknown or malformed option {text}");
        match text {
            "-ne" => self.errors = false,
            "-nr" => self.relays = false,
            "-nt" => self.transports = false,
            "-tnl" => self.local = false,
            "-t_remote_users" => self.remote_users = true,
            "-include_original_destination" => self.originals = true,
            "-byhost" => self.by.push(By::Host),
            "-bydomain" => self.by.push(By::Domain),
            "-byemail" => self.by.push(By::Email),
            "-byedomain" | "-byemaildomain" => self.by.push(By::Edomain),
            "-bylocaldomain" => self.local_domains = true,
            "-merge" => self.merge = true,
            "-charts" => self.lacks("GD::Graph::pie"),
            "-nvr" => self.rounded = false,
            "-emptyok" => self.empty_ok = true,
            "-txt" => self.outputs.push((false, Output::Stdout)),
            "-html" => self.outputs.push((true, Output::Stdout)),
            "-xls" => self.lacks("Spreadsheet::WriteExcel"),
            file if file.starts_with("-xls=") => self.lacks("Spreadsheet::WriteExcel"),
            other => {
                if let Some(list) = other.strip_prefix("-show_dt") {
                    self.delivery_limits = Some(limits(list).ok_or_else(unknown)?);
                } else if let Some(list) = other.strip_prefix("-show_rt") {
                    self.receipt_limits = Some(limits(list).ok_or_else(unknown)?);
                } else if let Some(file) = other.strip_prefix("-txt=") {
                    self.outputs.push((false, output(file)));
                } else if let Some(file) = other.strip_prefix("-html=") {
                    self.outputs.push((true, output(file)));
                } else if let Some(pattern) = other.strip_prefix("-nr") {
                    self.hidden_relays = Some(regex(pattern)?);
                } else if let Some(pattern) = other.strip_prefix("-nt") {
                    self.hidden_transports = Some(regex(pattern)?);
                } else if let Some(number) = other.strip_prefix("-h") {
                    self.parts = number.parse().map_err(|_| unknown())?;
                    if self.parts != 0 && (60 % self.parts != 0 || self.parts > 60) {
                        return Err("-h must specify a factor of 60".to_owned());
                    }
                } else if let Some(list) = other.strip_prefix("-q") {
                    self.limits = limits(list).filter(|_| !list.is_empty()).ok_or_else(unknown)?;
                } else if let Some(number) = other.strip_prefix("-t") {
                    self.top = number.parse().map_err(|_| unknown())?;
                } else {
                    return Err(unknown());
                }
            }
        }
        Ok(())
    }
}

/// A list of limits; the usual ones if it is empty. `0` stands for none.
fn limits(list: &str) -> Option<Vec<i64>> {
    if list.is_empty() {
        return Some(LIMITS.to_vec());
    }
    let mut limits: Vec<i64> = list.split(',').map(|item| item.parse().ok()).collect::<Option<_>>()?;
    limits.retain(|limit| *limit > 0);
    limits.sort_unstable();
    Some(limits)
}

fn output(file: &str) -> Output {
    if file == "-" { Output::Stdout } else { Output::File(PathBuf::from(OsStr::from_bytes(file.as_bytes()))) }
}

/// A pattern between slashes.
fn regex(text: &str) -> Result<Regex, String> {
    let inner = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
    let inner = inner.ok_or_else(|| format!("{text} is no pattern between slashes"))?;
    Regex::compile(inner.as_bytes(), false).map_err(|error| error.describe(inner.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        Options::read(&line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_what_is_missing_is_refused() {
        let options = read("-h0 -nr/x/ -t5 -q1,60 -byemail -html=- -pattern A /b/ main").unwrap().unwrap();
        assert_eq!((options.parts, options.top, options.limits), (0, 5, vec![1, 60]));
        assert_eq!((options.by, options.outputs), (vec![By::Email], vec![(true, Output::Stdout)]));
        assert_eq!((options.patterns.len(), options.files.len()), (1, 1));
        for wrong in ["-h7", "-show_rtx", "-v", "-q", "-qx", "-nrx", "-pattern a"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("-help").unwrap().is_none());
    }
}
