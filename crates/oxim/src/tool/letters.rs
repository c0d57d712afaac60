//! Options of one letter, as most of Exim's scripts take them: several in a word, values in the rest of the word or the next.
//!
//! Reading stops at the first word that is no option, or after `--`. An unknown letter is told on standard error and left out.

use std::collections::{BTreeMap, BTreeSet};

/// What was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Letters {
    /// Letters with a value; the last one counts.
    pub values: BTreeMap<u8, Vec<u8>>,
    /// Letters without.
    pub flags: BTreeSet<u8>,
    /// What follows the options.
    pub rest: Vec<Vec<u8>>,
    /// Letters that are not known.
    pub unknown: Vec<char>,
}

impl Letters {
    /// Reads words. `valued` are the letters that have a value.
    pub(super) fn read(words: &[Vec<u8>], valued: &str, plain: &str) -> Letters {
        let mut letters = Letters::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == b"--" {
                break;
            }
            match word.strip_prefix(b"-").filter(|body| !body.is_empty()) {
                Some(body) => letters.take(body, valued, plain),
                None => {
                    letters.rest.push(word.clone());
                    break;
                }
            }
            if let Some(letter) = letters.open_value(valued) {
                match words.next() {
                    Some(value) => letters.values.insert(letter, value.clone()),
                    None => letters.values.remove(&letter),
                };
            }
        }
        letters.rest.extend(words.cloned());
        letters
    }

    /// One word, without its hyphen. A value in the next word is remembered as a flag of its letter.
    fn take(&mut self, mut body: &[u8], valued: &str, plain: &str) {
        while let Some((letter, rest)) = body.split_first() {
            if valued.as_bytes().contains(letter) {
                if rest.is_empty() {
                    self.flags.insert(*letter);
                } else {
                    self.values.insert(*letter, rest.to_vec());
                }
                return;
            }
            if plain.as_bytes().contains(letter) {
                self.flags.insert(*letter);
            } else {
                complain!("Unknown option: {}", char::from(*letter));
                self.unknown.push(char::from(*letter));
            }
            body = rest;
        }
    }

    fn open_value(&mut self, valued: &str) -> Option<u8> {
        let letter = valued.bytes().find(|letter| self.flags.contains(letter))?;
        self.flags.remove(&letter);
        Some(letter)
    }

    /// Whether a letter was given.
    pub(super) fn has(&self, letter: u8) -> bool {
        self.flags.contains(&letter)
    }

    /// The value of a letter.
    pub(super) fn value(&self, letter: u8) -> Option<&[u8]> {
        self.values.get(&letter).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_together_and_values_stand_apart_or_not() {
        let words: Vec<Vec<u8>> =
            ["-zif", "^x", "-rabc", "-q", "--", "-y"].iter().map(|w| w.as_bytes().to_vec()).collect();
        let letters = Letters::read(&words, "fry", "zi");
        assert_eq!(letters.value(b'f'), Some(b"^x".as_slice()));
        assert_eq!(letters.value(b'r'), Some(b"abc".as_slice()));
        assert!(letters.has(b'z') && letters.has(b'i') && !letters.has(b'f'));
        assert_eq!((letters.unknown, letters.rest), (vec!['q'], vec![b"-y".to_vec()]));
    }
}
