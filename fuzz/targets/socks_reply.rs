//! Any bytes as what a SOCKS proxy says: a way through or a complaint, and nothing is read that is the server's.
#![no_main]

use std::io::{self, Cursor, Read, Write};

use libfuzzer_sys::fuzz_target;
use oxim_net::socks::{Login, request};

struct Script<'a>(Cursor<&'a [u8]>);

impl Read for Script<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else { return };
    let login = (flags & 1 != 0).then(|| Login::new(b"user", b"secret").expect("short enough"));
    let to = if flags & 2 != 0 { "[2001:db8::1]:25" } else { "192.0.2.1:25" };
    let mut script = Script(Cursor::new(data));
    match request(&mut script, login.as_ref(), to.parse().expect("an address")) {
        Ok(_) => {
            assert!(data.starts_with(b"\x05"));
            // Method, login, answer with the longest name.
            assert!(script.0.position() <= 2 + 2 + 4 + 256 + 2);
        }
        Err(error) => assert!(error.into_io().raw_os_error().is_some()),
    }
});
