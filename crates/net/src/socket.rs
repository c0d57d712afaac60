//! A connected socket that gives up in time: blocking reads and writes under a limit per step.
//!
//! A step begins with [`Socket::begin_step`]; all reads and writes until the next one share its limit, so a peer that sends
//! one byte a minute does not get more time than a silent one. The kernel's socket timeouts do the waiting, set anew only
//! when they differ. For code on worker threads.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTarget {
    /// The other end.
    pub endpoint: Endpoint,
    /// Our own address (`interface`); the kernel's choice when unset. Must be of the family of the other end.
    pub interface: Option<IpAddr>,
    /// How long to try (`connect_timeout`); zero leaves it to the kernel.
    pub connect_timeout: Duration,
    /// Whether the kernel probes an idle connection (`keepalive`).
    pub keepalive: bool,
    /// Whether small writes leave at once. Commands are coalesced before they are written, so normally yes.
    pub tcp_nodelay: bool,
    /// The field of type of service or traffic class (`dscp`), as [`parse_dscp`] gives it.
    pub dscp: Option<u8>,
}

impl ConnectTarget {
    /// A TCP target with no more than the defaults.
    #[must_use]
    pub fn tcp(address: SocketAddr, connect_timeout: Duration) -> Self {
        ConnectTarget {
            endpoint: Endpoint::Tcp(address),
            interface: None,
            connect_timeout,
            keepalive: true,
            tcp_nodelay: true,
            dscp: None,
        }
    }

    /// A Unix socket with no more than the defaults.
    #[must_use]
    pub fn unix(path: PathBuf, connect_timeout: Duration) -> Self {
        ConnectTarget {
            endpoint: Endpoint::Unix(path),
            ..ConnectTarget::tcp(([0, 0, 0, 0], 0).into(), connect_timeout)
        }
    }
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket.
pub struct Socket {
    kind: Kind,
    limit: Duration,
    began: Instant,
    armed_read: Option<Duration>,
    armed_write: Option<Duration>,
}

/// Reads within this time of a step's begin use the whole limit: a kernel timer need not be that exact.
const SLACK: Duration = Duration::from_millis(250);

impl Socket {
    /// Connects. The error has the errno; a timeout is `ETIMEDOUT` whoever noticed it.
    ///
    /// # Errors
    /// What the kernel says: refused, unreachable, timed out, address not available, and so on.
    pub fn connect(target: &ConnectTarget) -> io::Result<Socket> {
        let limit = target.connect_timeout;
        let kind = match &target.endpoint {
            Endpoint::Tcp(address) => {
                let socket =
                    socket2::Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                set_options(&socket, target, *address)?;
                connect_within(&socket, &SockAddr::from(*address), limit)?;
                Kind::Tcp(socket.into())
            }
            Endpoint::Unix(path) => {
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
                connect_within(&socket, &SockAddr::unix(path)?, limit)?;
                Kind::Unix(socket.into())
            }
        };
        Ok(Socket::new(kind))
    }

    /// Takes over a connected TCP stream.
    #[must_use]
    pub fn from_tcp(stream: TcpStream) -> Socket {
        Socket::new(Kind::Tcp(stream))
    }

    /// Takes over a connected Unix stream: one end of a pair whose other end is a program's standard input and output.
    #[must_use]
    pub fn from_unix(stream: UnixStream) -> Socket {
        Socket::new(Kind::Unix(stream))
    }

    fn new(kind: Kind) -> Socket {
        Socket { kind, limit: Duration::ZERO, began: Instant::now(), armed_read: None, armed_write: None }
    }

    /// Begins a step that may take so long. Zero means that there is no limit.
    pub fn begin_step(&mut self, limit: Duration) {
        self.limit = limit;
        self.began = Instant::now();
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn end_output(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(std::net::Shutdown::Write)
    }

    /// The address of the other end, if it has one.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        if let Kind::Tcp(stream) = &self.kind { stream.peer_addr().ok() } else { None }
    }

    /// Our own address (`$sending_ip_address`, `$sending_port`), if there is one.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        if let Kind::Tcp(stream) = &self.kind { stream.local_addr().ok() } else { None }
    }

    /// Whether bytes or the end of the stream can be read right now: on an idle connection, a sign that the peer has had enough.
    #[must_use]
    pub fn has_input(&self) -> bool {
        use rustix::net::RecvFlags;
        let mut byte = [0_u8];
        let peeked = rustix::net::recv(self, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.err() != Some(rustix::io::Errno::AGAIN)
    }

    /// What is left of the step. The kernel takes zero for "for ever", so nothing left is an error here.
    fn left(&self) -> io::Result<Option<Duration>> {
        if self.limit.is_zero() {
            return Ok(None);
        }
        let spent = self.began.elapsed();
        if spent < SLACK && spent < self.limit {
            return Ok(Some(self.limit));
        }
        match self.limit.checked_sub(spent) {
            Some(left) if !left.is_zero() => Ok(Some(left.max(Duration::from_millis(1)))),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn arm_read(&mut self) -> io::Result<()> {
        let left = self.left()?;
        if left != self.armed_read {
            SockRef::from(&*self).set_read_timeout(left)?;
            self.armed_read = left;
        }
        Ok(())
    }

    fn arm_write(&mut self) -> io::Result<()> {
        let left = self.left()?;
        if left != self.armed_write {
            SockRef::from(&*self).set_write_timeout(left)?;
            self.armed_write = left;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm_read()?;
        let result = match &mut self.kind {
            Kind::Tcp(stream) => stream.read(buffer),
            Kind::Unix(stream) => stream.read(buffer),
        };
        result.map_err(as_timeout)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.arm_write()?;
        let result = match &mut self.kind {
            Kind::Tcp(stream) => stream.write(buffer),
            Kind::Unix(stream) => stream.write(buffer),
        };
        result.map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel says "would block" when a socket timeout ends a call.
fn as_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

fn set_options(socket: &socket2::Socket, target: &ConnectTarget, address: SocketAddr) -> io::Result<()> {
    socket.set_keepalive(target.keepalive)?;
    socket.set_tcp_nodelay(target.tcp_nodelay)?;
    if let Some(dscp) = target.dscp {
        set_dscp(socket, address.is_ipv4(), dscp)?;
    }
    if let Some(interface) = target.interface {
        socket.bind(&SocketAddr::new(interface, 0).into())?;
    }
    Ok(())
}

/// The names of markings, each with the field of type of service that it stands for.
pub const DSCP_NAMES: &[(&str, u8)] = &[
    ("af11", 10 << 2),
    ("af12", 12 << 2),
    ("af13", 14 << 2),
    ("af21", 18 << 2),
    ("af22", 20 << 2),
    ("af23", 22 << 2),
    ("af31", 26 << 2),
    ("af32", 28 << 2),
    ("af33", 30 << 2),
    ("af41", 34 << 2),
    ("af42", 36 << 2),
    ("af43", 38 << 2),
    ("ef", 46 << 2),
    ("lowcost", 0x02),
    ("lowdelay", 0x10),
    ("mincost", 0x02),
    ("reliability", 0x04),
    ("throughput", 0x08),
];

/// The field of type of service that a name, or a code point from 0 to 0x3F, stands for.
#[must_use]
pub fn parse_dscp(text: &str) -> Option<u8> {
    let text = text.trim().to_ascii_lowercase();
    if let Some((_, field)) = DSCP_NAMES.iter().find(|(name, _)| *name == text) {
        return Some(*field);
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    (number <= 0x3f).then_some(number << 2)
}

/// Marks the packets that a socket sends. The code point is the upper six bits of the field.
///
/// # Errors
/// What the kernel says.
pub fn set_dscp(socket: &impl AsFd, is_ipv4: bool, field: u8) -> io::Result<()> {
    let descriptor = socket.as_fd();
    let socket = socket2::SockRef::from(&descriptor);
    if is_ipv4 { socket.set_tos_v4(u32::from(field)) } else { socket.set_tclass_v6(u32::from(field)) }
}

fn connect_within(socket: &socket2::Socket, address: &SockAddr, limit: Duration) -> io::Result<()> {
    if limit.is_zero() {
        return socket.connect(address);
    }
    socket.connect_timeout(address, limit).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
            return io::Error::from_raw_os_error(rustix::io::Errno::TIMEDOUT.raw_os_error());
        }
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxim_base::errno::error_text;
    use std::net::TcpListener;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = ConnectTarget::tcp(listener.local_addr().unwrap(), Duration::from_secs(5));
        (Socket::connect(&target).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn refusals_have_their_errno() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = ConnectTarget::tcp(([127, 0, 0, 1], port).into(), Duration::from_secs(5));
        let error = Socket::connect(&target).err().unwrap();
        assert_eq!(error_text(&error), "Connection refused");
        assert!(error.raw_os_error().is_some());
        let missing = ConnectTarget::unix("/nonexistent/socket".into(), Duration::from_secs(5));
        assert_eq!(error_text(&Socket::connect(&missing).err().unwrap()), "No such file or directory");
    }

    #[test]
    fn the_interface_is_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut target = ConnectTarget::tcp(listener.local_addr().unwrap(), Duration::from_secs(5));
        target.interface = Some([127, 0, 0, 9].into());
        target.dscp = parse_dscp("ef");
        let socket = Socket::connect(&target).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.9");
        assert_eq!(socket.local_address().unwrap().ip().to_string(), "127.0.0.9");
        assert_eq!(SockRef::from(&socket).tos_v4().unwrap(), 46 << 2);
    }

    #[test]
    fn a_step_ends_in_time_even_if_bytes_trickle_in() {
        let (mut socket, mut peer) = pair();
        let feeder = std::thread::spawn(move || {
            for _ in 0..20 {
                let _ = peer.write_all(b"x");
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let start = Instant::now();
        socket.begin_step(Duration::from_millis(500));
        let mut byte = [0];
        let error = loop {
            match socket.read(&mut byte) {
                Ok(count) => assert_eq!(count, 1),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_millis(1_500));
        feeder.join().unwrap();
    }

    #[test]
    fn input_is_noticed_without_waiting() {
        let (socket, mut peer) = pair();
        assert!(!socket.has_input());
        peer.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(socket.has_input());
    }
}
