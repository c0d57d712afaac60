//! Where a scanner listens, and the conversation with it.
//!
//! Everything from connecting to the last byte shares one deadline. Failure modes: nobody listens there, an answer that is
//! too long, or does not come in time.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oxim_base::errno::error_text;
use oxim_base::limits::SCANNER_ANSWER_BYTES_MAX;
use oxim_net::dns::{BlockingResolver, Family};
use oxim_net::socket::{ConnectTarget, Socket};

/// Where a scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP: the ports are tried in order.
    Tcp {
        /// Name or address.
        host: String,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

impl Place {
    /// Reads `/path`, or `host port` or `host first-last`; gives the words that follow.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Place, Vec<&str>)> {
        let mut words = text.split_ascii_whitespace();
        let first_word = words.next()?;
        if first_word.starts_with('/') {
            return Some((Place::Unix(first_word.into()), words.collect()));
        }
        let ports = words.next()?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let host = first_word.trim_start_matches('[').trim_end_matches(']').to_owned();
        (first > 0 && first <= last).then(|| (Place::Tcp { host, first, last }, words.collect()))
    }

    /// Whether it is a Unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self, Place::Unix(_))
    }

    /// As log lines and `$callout_address` show it: `/path`, `[host]:port`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Place::Unix(path) => path.display().to_string(),
            Place::Tcp { host, first, .. } => {
                let host = if host == "localhost" { "127.0.0.1" } else { host };
                format!("[{host}]:{first}")
            }
        }
    }
}

/// A point in time after which nothing is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Deadline {
        let now = Instant::now();
        Deadline(now.checked_add(time).unwrap_or(now))
    }

    /// What is left; never zero, which a socket would take for "for ever".
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

/// A conversation with a scanner.
pub struct Conversation {
    socket: Socket,
    buffer: Vec<u8>,
    deadline: Deadline,
    /// As [`Place::shown`], with the port that answered.
    pub address: String,
}

impl Conversation {
    /// Connects. `retry` is the pause before one more try.
    ///
    /// # Errors
    /// What failed, for the log.
    pub fn connect(
        place: &Place,
        deadline: Deadline,
        retry: Option<Duration>,
        resolver: Option<&BlockingResolver>,
    ) -> Result<Conversation, String> {
        let mut result = Conversation::try_connect(place, deadline, resolver);
        if let (Err(_), Some(pause)) = (&result, retry) {
            std::thread::sleep(pause.min(deadline.left()));
            result = Conversation::try_connect(place, deadline, resolver);
        }
        result
    }

    fn try_connect(
        place: &Place,
        deadline: Deadline,
        resolver: Option<&BlockingResolver>,
    ) -> Result<Conversation, String> {
        match place {
            Place::Unix(path) => {
                let target = ConnectTarget::unix(path.clone(), deadline.left());
                let socket = Socket::connect(&target).map_err(|error| {
                    let what = error_text(&error);
                    format!("unable to connect to UNIX socket ({}): {what}", path.display())
                })?;
                Ok(Conversation::over(socket, place.shown(), deadline))
            }
            Place::Tcp { host, first, last } => {
                let failed = |what: &str| format!("failed to connect to any address for {host}: {what}");
                let mut reason = "no address is known".to_owned();
                for address in addresses(host, resolver) {
                    for port in *first..=*last {
                        let target = ConnectTarget::tcp(SocketAddr::new(address, port), deadline.left());
                        match Socket::connect(&target) {
                            Ok(socket) => {
                                let shown = format!("[{address}]:{port}");
                                return Ok(Conversation::over(socket, shown, deadline));
                            }
                            Err(error) => reason = error_text(&error),
                        }
                    }
                }
                Err(failed(&reason))
            }
        }
    }

    /// Speaks over a socket that is connected.
    #[must_use]
    pub fn over(socket: Socket, address: String, deadline: Deadline) -> Conversation {
        Conversation { socket, buffer: Vec::new(), deadline, address }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The scanner has gone, or takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.begin_step(self.deadline.left());
        self.socket.write_all(bytes)
    }

    /// Sends what a reader gives.
    ///
    /// # Errors
    /// As [`Self::send`], or reading fails.
    pub fn send_all(&mut self, mut reader: impl Read) -> io::Result<()> {
        self.socket.begin_step(self.deadline.left());
        io::copy(&mut reader, &mut self.socket).map(|_| ())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn end_output(&mut self) -> io::Result<()> {
        self.socket.end_output()
    }

    /// Everything up to the end of the connection.
    ///
    /// # Errors
    /// It did not come in time, or was too long.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Everything up to the end of the connection, or what came together with the first line end.
    ///
    /// # Errors
    /// As [`Self::rest`].
    pub fn answer(&mut self) -> io::Result<Vec<u8>> {
        while memchr::memchr(b'\n', &self.buffer).is_none() && self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The next line without its end; None if the connection ends first.
    ///
    /// # Errors
    /// As [`Self::rest`].
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.up_to(|bytes| memchr::memchr(b'\n', bytes).map(|at| at.saturating_add(1)))?;
        Ok(line.map(|mut line| {
            line.truncate(line.trim_ascii_end().len());
            line
        }))
    }

    /// So many bytes; None if the connection ends first.
    ///
    /// # Errors
    /// As [`Self::rest`].
    pub fn exactly(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        self.up_to(|bytes| (bytes.len() >= count).then_some(count))
    }

    /// What came so far and more, once the test finds an end in it; None if the connection ends first.
    ///
    /// # Errors
    /// As [`Self::rest`].
    pub fn up_to(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = end(&self.buffer) {
                let rest = self.buffer.split_off(at.min(self.buffer.len()));
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Waits for more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() > SCANNER_ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
        self.socket.begin_step(self.deadline.left());
        let mut block = [0; 4096];
        let count = self.socket.read(&mut block)?;
        self.buffer.extend_from_slice(block.get(..count).unwrap_or_default());
        Ok(count > 0)
    }
}

/// What went wrong, as a log line has it.
#[must_use]
pub fn trouble(error: &io::Error) -> String {
    if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        return "Connection timed out".to_owned();
    }
    error_text(error)
}

fn addresses(host: &str, resolver: Option<&BlockingResolver>) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let found = resolver.and_then(|resolver| resolver.addresses_of(host, Family::Any).records());
    match found {
        Some(found) if !found.is_empty() => found,
        // The hosts file may say so, or there may be no resolver at all.
        _ if host == "localhost" => vec![IpAddr::from([127, 0, 0, 1])],
        Some(_) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let tcp = |host: &str, first, last| Place::Tcp { host: host.to_owned(), first, last };
        let of = |text: &'static str| Place::parse(text);
        assert_eq!(of(" /a/b  x=1 y"), Some((Place::Unix("/a/b".into()), vec!["x=1", "y"])));
        assert_eq!(of("127.0.0.1 783"), Some((tcp("127.0.0.1", 783, 783), vec![])));
        assert_eq!(of("[::1] 10-12 pri=2"), Some((tcp("::1", 10, 12), vec!["pri=2"])));
        assert_eq!(of("a.ex 1").unwrap().0.shown(), "[a.ex]:1");
        for bad in ["", "a", "a b", "a 0", "a 2-1", "a 1-", "a 99999"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_in_pieces() {
        let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut conversation = Conversation::over(
            Socket::from_unix(here),
            String::new(),
            Deadline::after(Duration::from_secs(20)),
        );
        there.write_all(b"one\r\ntwo three").unwrap();
        assert_eq!(conversation.line().unwrap().unwrap(), b"one");
        assert_eq!(conversation.exactly(4).unwrap().unwrap(), b"two ");
        drop(there);
        assert_eq!(conversation.line().unwrap(), None);
        assert_eq!(conversation.rest().unwrap(), b"three");
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut conversation = Conversation::over(
            Socket::from_unix(here),
            String::new(),
            Deadline::after(Duration::from_millis(20)),
        );
        assert_eq!(trouble(&conversation.line().unwrap_err()), "Connection timed out");
        drop(there);
    }
}
