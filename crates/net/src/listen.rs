//! Listening sockets: bound by us, or passed by a service manager.
//!
//! IPv6 sockets take IPv6 only, so that both families can have the same port. All are non-blocking and closed on exec.
//! Manual: chapter 13; `tcp_nodelay`, `smtp_connect_backlog`, `dscp` in chapter 14. Passed sockets: sd_listen_fds(3).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Type};

use crate::socket::set_dscp;

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// Connections that may wait to be accepted (`smtp_connect_backlog`).
    pub backlog: u16,
    /// The field of type of service of accepted connections, as `socket::parse_dscp` gives it.
    pub dscp: Option<u8>,
}

impl Default for ListenSettings {
    fn default() -> Self {
        ListenSettings { backlog: 20, dscp: None }
    }
}

/// Binds and listens. Port 0 takes any.
///
/// # Errors
/// What the kernel says: the port is in use, it is not ours to take, the address is not of this host.
pub fn bind(address: SocketAddr, settings: &ListenSettings) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(dscp) = settings.dscp {
        set_dscp(&socket, address.is_ipv4(), dscp)?;
    }
    socket.bind(&address.into())?;
    socket.listen(settings.backlog.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// How many connections wait to be accepted at a listening address; None if the system does not tell.
#[must_use]
pub fn waiting(local: SocketAddr) -> Option<u32> {
    let table = if local.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    waiting_in(&std::fs::read_to_string(table).ok()?, local.port())
}

/// Of a socket that listens (state 0A), the receive queue is the number of those who wait.
fn waiting_in(table: &str, port: u16) -> Option<u32> {
    let port = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if state != "0A" || !local.ends_with(&port) {
            return None;
        }
        u32::from_str_radix(queues.split_once(':')?.1, 16).ok()
    })
}

/// The TCP sockets that a service manager passed (`LISTEN_FDS`), in its order. Empty if it passed none to this process.
///
/// Works once: the environment variables are taken away, so that children do not see them. Call it before any thread exists.
///
/// # Errors
/// If a passed descriptor is not a TCP listener.
pub fn passed() -> io::Result<Vec<TcpListener>> {
    let mut manager = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..manager.len() {
        if let Some(listener) = manager.take_tcp_listener(index)? {
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn both_families_share_a_port() {
        let settings = ListenSettings { backlog: 5, dscp: Some(10) };
        let v4 = bind(([0, 0, 0, 0], 0).into(), &settings).unwrap();
        let port = v4.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(
            bind(([127, 0, 0, 1], port).into(), &settings).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        match bind((std::net::Ipv6Addr::UNSPECIFIED, port).into(), &settings) {
            Ok(v6) => assert_eq!(v6.local_addr().unwrap().port(), port),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::AddrInUse, "a host without IPv6 says otherwise")
            }
        }
    }

    #[test]
    fn those_who_wait_are_counted() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                        0: 0100007F:0019 00000000:0000 01 00000000:00000009 00:00000000\n\
                        1: 0100007F:0019 00000000:0000 0A 00000000:0000000B 00:00000000\n";
        assert_eq!(waiting_in(table, 25), Some(11));
        assert_eq!(waiting_in(table, 26), None);
        assert_eq!(waiting_in("", 25), None);
    }

    #[test]
    fn nothing_passed_is_no_error() {
        assert!(passed().unwrap().is_empty());
    }
}
