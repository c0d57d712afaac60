//! SMTP servers of the outside world that accept everything and keep it byte for byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A transaction: the envelope as it was said, and the data between DATA and the last dot, as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    /// HELO or EHLO and all commands up to DATA.
    pub(super) commands: Vec<String>,
    pub(super) data: Vec<u8>,
}

/// Everything that came so far.
pub(super) type Seen = Arc<Mutex<Vec<Transaction>>>;

/// Listens until the process ends.
pub(super) fn start(address: &str) -> Seen {
    let listener = TcpListener::bind(address).unwrap();
    let seen = Seen::default();
    let record = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let record = record.clone();
            std::thread::spawn(move || serve(stream, &record));
        }
    });
    seen
}

fn serve(stream: TcpStream, seen: &Seen) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut output = stream.try_clone().ok()?;
    let mut input = BufReader::new(stream);
    output.write_all(b"220 sink\r\n").ok()?;
    let mut transaction = Transaction::default();
    loop {
        let line = read_line(&mut input)?;
        let text: String = line.iter().copied().map(char::from).collect();
        let verb = text.get(..4).unwrap_or("").to_ascii_uppercase();
        transaction.commands.push(text.trim_end().to_owned());
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => b"250-sink\r\n250-8BITMIME\r\n250-SIZE\r\n250 PIPELINING\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 OK\r\n",
        };
        output.write_all(reply).ok()?;
        if verb == "DATA" {
            loop {
                let line = read_line(&mut input)?;
                if line == b".\r\n" {
                    break;
                }
                transaction.data.extend(line);
            }
            seen.lock().unwrap().push(std::mem::take(&mut transaction));
            output.write_all(b"250 kept\r\n").ok()?;
        }
    }
}

/// A line up to CR LF; a lone LF or CR does not end one.
fn read_line(input: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if input.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
    }
    Some(line)
}
