//! The lines of log files, plain or compressed: what is compressed goes through the command for its ending.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

const COMMANDS: &[(&[u8], &str)] =
    &[(b".gz", "zcat"), (b".bz2", "bzcat"), (b".xz", "xzcat"), (b".zst", "zstdcat")];

/// Opens one; `-` is standard input.
pub(super) fn open(name: &[u8]) -> io::Result<Box<dyn BufRead>> {
    if name == b"-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(OsStr::from_bytes(name))?;
    match COMMANDS.iter().find(|(ending, _)| name.ends_with(ending)) {
        None => Ok(Box::new(BufReader::with_capacity(1 << 16, file))),
        Some((_, command)) => {
            let mut child = Command::new(command).arg("-dc").stdin(file).stdout(Stdio::piped()).spawn()?;
            let output = child.stdout.take();
            let output = output.ok_or_else(|| io::Error::other("no output of the command"))?;
            Ok(Box::new(BufReader::new(Unpacked { output, child })))
        }
    }
}

/// The output of a command; it is waited for at the end.
struct Unpacked {
    output: std::process::ChildStdout,
    child: std::process::Child,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        if count == 0 && !self.child.wait()?.success() {
            return Err(io::Error::other("the file could not be unpacked"));
        }
        Ok(count)
    }
}

/// Calls `each` with every line, without its end.
pub(super) fn lines(mut reader: impl BufRead, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        each(text.strip_suffix('\n').unwrap_or(&text));
    }
}
