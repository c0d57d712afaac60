//! The log line of the selector `+arguments`: how the program was called (manual section 53.15).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::assemble::Program;
use crate::environment;

/// Writes it, if the selector is on and the mode is one that logs.
pub(crate) fn write(program: &Program, words: &[OsString]) {
    let log = program.services.log();
    if !log.selectors().has(oxim_spool::log::Selector::Arguments) || !environment::logs(&program.line.mode) {
        return;
    }
    let directory = program.services.initial_directory.get().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    log.main(text(directory, &words));
}

fn text(directory: &[u8], words: &[&[u8]]) -> String {
    let mut out = format!("cwd={} {} args:", String::from_utf8_lossy(directory), words.len());
    for word in words {
        let shown = printable(word);
        let needs_quotes = word.is_empty() || word.contains(&b' ');
        let quote = if needs_quotes { "\"" } else { "" };
        out.push_str(&format!(" {quote}{shown}{quote}"));
    }
    out
}

/// Control characters in the way of C.
fn printable(word: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(word).chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\{:03o}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_blanks_are_quoted() {
        let words: [&[u8]; 6] = [b"exim4", b"-odq", b"", b"a b@c", b"q\"x", b"new\nline"];
        assert_eq!(text(b"/tmp", &words), "cwd=/tmp 6 args: exim4 -odq \"\" \"a b@c\" q\"x new\\nline");
    }
}
