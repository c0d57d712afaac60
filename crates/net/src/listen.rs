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
    /// Differentiated services code point for accepted connections, 0 to 63.
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
    fn nothing_passed_is_no_error() {
        assert!(passed().unwrap().is_empty());
    }
}
