//! Copies a message to where it is delivered: prefix, suffix, `From ` escaping, line ends.
//!
//! The message is read in blocks; only the start of each line is looked at, so a message of any size takes one buffer.

use std::io::{self, Read, Write};

use super::job::Framing;

const BLOCK: usize = 64 * 1024;

/// Writes the message with its framing. The result is the number of bytes written.
///
/// # Errors
/// Those of the reader and of the writer, undistinguished: in both cases the file is cut back by the caller.
pub(super) fn copy(message: &mut dyn Read, out: &mut dyn Write, framing: &Framing) -> io::Result<u64> {
    let mut sink = Sink { out, written: 0 };
    sink.put(&framing.prefix)?;
    if framing.check_string.is_empty() && !framing.use_crlf {
        copy_plain(message, &mut sink)?;
    } else {
        copy_lines(message, &mut sink, framing)?;
    }
    sink.put(&framing.suffix)?;
    Ok(sink.written)
}

struct Sink<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

fn copy_plain(message: &mut dyn Read, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    loop {
        let count = message.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|p| !p.is_empty()) else { return Ok(()) };
        sink.put(part)?;
    }
}

/// Line by line, because the start of a line may have to be escaped, and its end changed.
fn copy_lines(message: &mut dyn Read, sink: &mut Sink<'_>, framing: &Framing) -> io::Result<()> {
    let mut reader = io::BufReader::with_capacity(BLOCK, message);
    let mut block: Vec<u8> = Vec::with_capacity(BLOCK + 1024);
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::BufRead::read_until(&mut reader, b'\n', &mut line)? == 0 {
            break;
        }
        let mut rest: &[u8] = &line;
        if !framing.check_string.is_empty()
            && let Some(tail) = line.strip_prefix(framing.check_string.as_slice())
        {
            block.extend_from_slice(&framing.escape_string);
            rest = tail;
        }
        match rest.strip_suffix(b"\n") {
            Some(text) if framing.use_crlf => {
                block.extend_from_slice(text);
                block.extend_from_slice(b"\r\n");
            }
            _ => block.extend_from_slice(rest),
        }
        if block.len() >= BLOCK {
            sink.put(&block)?;
            block.clear();
        }
    }
    sink.put(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(message: &[u8], framing: &Framing) -> Vec<u8> {
        let mut out = Vec::new();
        let written = copy(&mut &*message, &mut out, framing).unwrap();
        assert_eq!(written, out.len() as u64);
        out
    }

    #[test]
    fn from_lines_are_escaped_only_at_the_start() {
        let framing = Framing {
            prefix: b"From a Sat\n".to_vec(),
            suffix: b"\n".to_vec(),
            check_string: b"From ".to_vec(),
            escape_string: b">From ".to_vec(),
            use_crlf: false,
        };
        assert_eq!(
            run(b"S: x\n\nFrom b\nx From c\n", &framing),
            b"From a Sat\nS: x\n\n>From b\nx From c\n\n"
        );
    }

    #[test]
    fn crlf_line_ends() {
        let framing = Framing { use_crlf: true, ..Framing::default() };
        assert_eq!(run(b"a\nb\nc", &framing), b"a\r\nb\r\nc");
    }
}
