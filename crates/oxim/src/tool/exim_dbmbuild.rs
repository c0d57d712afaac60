//! `exim_dbmbuild`: makes a DBM file (a Berkeley DB hash) of a file in the format of lsearch (manual section 54.9).
//!
//! The file is written under a temporary name, synced and renamed. Exit codes: 1 for duplicate keys and wrong arguments, 2 if no file was made.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oxim_base::errno::error_text;
use oxim_lang::lookup::dequote;
use oxim_lang::lookup::format::berkeley_write::{Unwritable, hash_file};

use super::Call;

pub(super) const USAGE: &str = "usage: exim_dbmbuild [-nolc] <source file> <dbm base name>";

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 19_999;

/// The options.
#[derive(Default)]
struct Wish {
    keeps_case: bool,
    no_zero: bool,
    no_duplicate_error: bool,
    no_warnings: bool,
    last_counts: bool,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let mut wish = Wish::default();
    let mut words = call.words.as_slice();
    while let [option, rest @ ..] = words {
        match option.as_slice() {
            b"-nolc" => wish.keeps_case = true,
            b"-nozero" => wish.no_zero = true,
            b"-noduperr" => wish.no_duplicate_error = true,
            b"-nowarn" => wish.no_warnings = true,
            b"-lastdup" => wish.last_counts = true,
            _ => break,
        }
        words = rest;
    }
    let [input, output] = words else { return usage() };
    if input.starts_with(b"-") && input != b"-" {
        return usage();
    }
    if input == output {
        say!("exim_dbmbuild: input and output filenames are the same");
        return 1;
    }
    let path = Path::new(OsStr::from_bytes(input));
    let reader: Box<dyn Read> = if input == b"-" {
        Box::new(std::io::stdin())
    } else {
        match fs::File::open(path) {
            Ok(file) => Box::new(file),
            Err(error) => {
                say!("exim_dbmbuild: unable to open {}: {}", path.display(), error_text(&error));
                return 1;
            }
        }
    };
    build(&wish, BufReader::new(reader), Path::new(OsStr::from_bytes(output)))
}

fn usage() -> u8 {
    say!("{USAGE}");
    1
}

fn build(wish: &Wish, reader: impl BufRead, output: &Path) -> u8 {
    let mut temporary = output.as_os_str().to_owned();
    temporary.push(".dbmbuild_temp");
    let temporary = PathBuf::from(temporary);
    let mut file = match fs::File::create(&temporary) {
        Ok(file) => file,
        Err(error) => {
            say!("exim_dbmbuild: unable to create {}: {}", temporary.display(), error_text(&error));
            return 1;
        }
    };
    let abandon = |text: &str| {
        // What is left is a temporary file; the reason matters more.
        let _ = fs::remove_file(&temporary);
        say!("{text}\ndbmbuild abandoned");
        2
    };
    let mut entries = Entries { wish, pairs: Vec::new(), places: HashMap::new(), duplicates: 0 };
    if let Err(text) = entries.read(reader) {
        return abandon(&text);
    }
    let mut id = [0_u8; 20];
    // The number is for replication, which such a file does not know.
    let _ = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
    let bytes = match hash_file(&entries.pairs, id) {
        Ok(bytes) => bytes,
        Err(Unwritable::TooLong) => return abandon("A key and its data are longer than 32 KiB"),
        Err(Unwritable::TooMany) => return abandon("Too many keys"),
    };
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, output)) {
        return abandon(&format!("{}: {}", output.display(), error_text(&error)));
    }
    let count = entries.pairs.len();
    say!("{count} {} written", if count == 1 { "entry" } else { "entries" });
    if entries.duplicates > 0 {
        let keys = if entries.duplicates == 1 { "key" } else { "keys" };
        say!("{} duplicate {keys} ", entries.duplicates);
    }
    u8::from(entries.duplicates > 0 && !wish.no_duplicate_error)
}

/// The pairs so far.
struct Entries<'a> {
    wish: &'a Wish,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    places: HashMap<Vec<u8>, usize>,
    duplicates: usize,
}

impl Entries<'_> {
    fn read(&mut self, reader: impl BufRead) -> Result<(), String> {
        let mut open: Option<(Vec<u8>, Vec<u8>)> = None;
        for line in reader.split(b'\n') {
            let line = line.map_err(|error| error_text(&error))?;
            if line.len() > LINE_BYTES_MAX {
                return Err(format!("Overlong line read: max permitted length is {LINE_BYTES_MAX}"));
            }
            let text = line.trim_ascii_end();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            if text.first().is_some_and(u8::is_ascii_whitespace) {
                match &mut open {
                    Some((_, data)) => {
                        data.push(b' ');
                        data.extend_from_slice(text.trim_ascii_start());
                    }
                    None => {
                        say!("Unexpected continuation line ignored\n{}\n", String::from_utf8_lossy(text))
                    }
                }
                continue;
            }
            if let Some((key, data)) = open.take() {
                self.add(key, data);
            }
            open = Some(split(text));
        }
        if let Some((key, data)) = open {
            self.add(key, data);
        }
        Ok(())
    }

    fn add(&mut self, mut key: Vec<u8>, mut data: Vec<u8>) {
        if !self.wish.keeps_case {
            key.make_ascii_lowercase();
        }
        let shown = String::from_utf8_lossy(&key).into_owned();
        if !self.wish.no_zero {
            key.push(0);
            data.push(0);
        }
        match self.places.get(&key) {
            None => {
                self.places.insert(key.clone(), self.pairs.len());
                self.pairs.push((key, data));
            }
            Some(place) => {
                self.duplicates = self.duplicates.saturating_add(1);
                if !self.wish.no_warnings {
                    complain!("** Duplicate key \"{shown}\"");
                }
                if self.wish.last_counts
                    && let Some(pair) = self.pairs.get_mut(*place)
                {
                    pair.1 = data;
                }
            }
        }
    }
}

/// Key and data of a line.
fn split(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (key, end) = if line.starts_with(b"\"") {
        dequote(line)
    } else {
        let end = line.iter().position(|b| *b == b':' || b.is_ascii_whitespace()).unwrap_or(line.len());
        (line.get(..end).unwrap_or_default().to_vec(), end)
    };
    let rest = line.get(end..).unwrap_or_default().trim_ascii_start();
    let rest = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
    (key, rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_pairs() {
        let text = "Key1: one\nkey2 :  two\n   more \n# no\n\nkey1: dup\n\"a \\\" : b\": v\nkey3\n";
        for (last, expected) in [(false, "one"), (true, "dup")] {
            let wish = Wish { no_zero: true, no_warnings: true, last_counts: last, ..Wish::default() };
            let mut entries =
                Entries { wish: &wish, pairs: Vec::new(), places: HashMap::new(), duplicates: 0 };
            entries.read(text.as_bytes()).unwrap();
            let pairs: Vec<(&str, &str)> = entries
                .pairs
                .iter()
                .map(|(k, v)| (std::str::from_utf8(k).unwrap(), std::str::from_utf8(v).unwrap()))
                .collect();
            assert_eq!(pairs, [("key1", expected), ("key2", "two more"), ("a \" : b", "v"), ("key3", "")]);
            assert_eq!(entries.duplicates, 1);
        }
    }

    #[test]
    fn overlong_lines_make_no_file() {
        let wish = Wish::default();
        let mut entries = Entries { wish: &wish, pairs: Vec::new(), places: HashMap::new(), duplicates: 0 };
        assert!(entries.read(vec![b'a'; 20_000].as_slice()).is_err());
    }
}
