//! A connection whose client becomes the server (ATRN, RFC 2645): its stream goes on as a Unix socket.
//!
//! A thread of its own carries bytes between the two, through TLS if there is TLS, until one of them ends. What the other end
//! has said too early is kept. RFC 2645.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

use super::{Connection, Stream};

/// What is carried at once, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

impl Connection {
    /// Gives the line away. The socket speaks in the clear, whatever is spoken on the line. It ends when the line does; when
    /// the receiver is disconnected, all that was said has been passed on.
    ///
    /// # Errors
    /// No sockets or threads are left.
    pub fn into_line(mut self) -> io::Result<(UnixStream, Receiver<()>)> {
        let (near, far) = UnixStream::pair()?;
        let (at_end, ended) = std::sync::mpsc::channel();
        let early = self.input.get(self.input_start..self.input_end).unwrap_or_default().to_vec();
        let stream = std::mem::replace(&mut self.stream, Stream::Closed);
        std::thread::Builder::new().name("turned-line".to_owned()).spawn(move || {
            // Either end has gone: so does the line.
            let _over = Carrier { stream, far }.run(&early);
            drop(at_end);
        })?;
        Ok((near, ended))
    }
}

/// The two ends.
struct Carrier {
    stream: Stream,
    far: UnixStream,
}

impl Carrier {
    fn run(mut self, early: &[u8]) -> io::Result<()> {
        self.far.write_all(early)?;
        match &mut self.stream {
            Stream::Plain(socket) => socket.begin_step(Duration::ZERO),
            Stream::Tls(stream) => stream.get_mut().begin_step(Duration::ZERO),
            Stream::Closed => {}
        }
        loop {
            let (from_line, from_us) = self.wait()?;
            if from_line && !self.inwards()? {
                self.far.shutdown(Shutdown::Both)?;
                return Ok(());
            }
            if from_us && !self.outwards()? {
                if let Stream::Tls(stream) = &mut self.stream {
                    stream.close();
                }
                return Ok(());
            }
        }
    }

    /// Waits until one of them has something to say: the line, or we.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let line = match &self.stream {
            Stream::Plain(socket) => socket.as_fd(),
            Stream::Tls(stream) => stream.get_ref().as_fd(),
            Stream::Closed => return Err(io::ErrorKind::NotConnected.into()),
        };
        let mut both = [PollFd::from_borrowed_fd(line, PollFlags::IN), PollFd::new(&self.far, PollFlags::IN)];
        loop {
            match poll(&mut both, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let [line, us] = both;
        Ok((!line.revents().is_empty(), !us.revents().is_empty()))
    }

    /// Takes what the line has, without waiting for more: a TLS record may hold nothing for us. False: it has ended.
    fn inwards(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; PIECE_BYTES];
        self.set_patient(false)?;
        let result = loop {
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut piece),
                Stream::Tls(stream) => stream.read(&mut piece),
                Stream::Closed => return Ok(false),
            };
            match read {
                Ok(0) => break Ok(false),
                Ok(count) => self.far.write_all(piece.get(..count).unwrap_or_default())?,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    break Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.set_patient(true)?;
        result
    }

    /// Sends what we have to say. False: nothing more will come.
    fn outwards(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; PIECE_BYTES];
        let count = self.far.read(&mut piece)?;
        let piece = piece.get(..count).unwrap_or_default();
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(piece)?,
            Stream::Tls(stream) => {
                stream.write_all(piece)?;
                stream.flush()?;
            }
            Stream::Closed => return Ok(false),
        }
        Ok(count > 0)
    }

    fn set_patient(&self, is_patient: bool) -> io::Result<()> {
        match &self.stream {
            Stream::Plain(socket) => SockRef::from(socket).set_nonblocking(!is_patient),
            Stream::Tls(stream) => SockRef::from(stream.get_ref()).set_nonblocking(!is_patient),
            Stream::Closed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::socket::Socket;

    #[test]
    fn both_directions_and_the_end_go_through() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut theirs = listener.accept().unwrap().0;
        theirs.write_all(b"250 turning\r\nearly").unwrap();
        let mut connection = Connection::over(Socket::from_tcp(ours));
        assert_eq!(connection.command("ATRN", Duration::from_secs(5)).unwrap().code, 250);
        let (mut line, _ended) = connection.into_line().unwrap();
        let mut heard = [0; 5];
        line.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"early");
        line.write_all(b"220 hello\r\n").unwrap();
        let mut said = [0; 17];
        theirs.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"ATRN\r\n220 hello\r\n");
        theirs.write_all(&[b'x'; 100_000]).unwrap();
        let mut many = vec![0; 100_000];
        line.read_exact(&mut many).unwrap();
        drop(theirs);
        assert_eq!(line.read(&mut heard).unwrap(), 0);
    }
}
