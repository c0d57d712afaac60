//! SMTP over standard input and output: `-bs` for local callers and inetd, `-bh` as a test.
//!
//! Manual sections 5.2, 44.1, 49.3 and 49.9.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use oxim_lang::context::Turnaround;
use oxim_net::tls::TlsFacts;

use super::{Given, apply, talk_for};
use crate::caller::Caller;
use crate::channel::Wire;
use crate::reception::Reception;
use crate::session::{Session, set_endpoints};

/// A dialogue with a local process (`-bs`): whether it was cut short.
///
/// # Errors
/// Standard input or output cannot be used.
pub async fn local(
    reception: Arc<Reception>,
    caller: Arc<Caller>,
    given: &Given,
    no_qualify: bool,
) -> std::io::Result<bool> {
    Ok(local_over(reception, caller, given, no_qualify, standard_streams()?).await)
}

/// A dialogue with a local process over any stream: whether it ended otherwise than by QUIT or an ACL.
pub async fn local_over(
    reception: Arc<Reception>,
    caller: Arc<Caller>,
    given: &Given,
    no_qualify: bool,
    wire: Box<dyn Wire>,
) -> bool {
    let mut talk = talk_for(&reception, &caller, given, "");
    // Unlike with -bm, the caller's login is the ident even of a host that -oMa gives.
    let ident = given.ident.clone().filter(|_| caller.is_trusted);
    talk.scene.context.connection.ident = ident.or_else(|| Some(caller.login.clone()));
    talk.allow_unqualified_sender = !no_qualify;
    talk.allow_unqualified_recipient = !no_qualify;
    if !caller.is_trusted {
        talk.scene.context.connection.auth_id = Some(caller.login.clone());
    }
    let mut session = Session::with_talk(reception, wire, Box::new(talk));
    session.run_on(None, None).await;
    session.was_cut_short()
}

/// A dialogue that pretends to come from a host (`-bh`): everything is looked at, nothing is accepted. Hosts are called out
/// to only if `callouts` says so (`-bhc`).
///
/// # Errors
/// Standard input or output cannot be used.
pub async fn pretended(
    reception: Arc<Reception>,
    peer: SocketAddr,
    given: &Given,
    callouts: bool,
) -> std::io::Result<()> {
    let mut context = reception.context();
    set_endpoints(&mut context, peer, SocketAddr::from(([0, 0, 0, 0], 0)));
    context.connection.interface = None;
    context.connection.host_checking = true;
    context.connection.without_callouts = !callouts;
    let mut session = Session::new(Arc::clone(&reception), standard_streams()?, context, None);
    apply(session.talk_mut(), &Given { host_address: None, ..given.clone() });
    let mut stdout = std::io::stdout().lock();
    write!(
        stdout,
        "\n**** SMTP testing session as if from host {}\n**** but without any ident (RFC 1413) callback.\n**** This is not for real!\n\n",
        peer.ip()
    )?;
    stdout.flush()?;
    drop(stdout);
    session.run_on(None, None).await;
    Ok(())
}

/// The two ends of the connection on standard input, if it is a TCP socket: then inetd has called us.
#[must_use]
pub fn inetd_endpoints() -> Option<(SocketAddr, SocketAddr)> {
    let socket = TcpStream::from(duplicate(std::io::stdin().as_fd()).ok()?);
    Some((socket.peer_addr().ok()?, socket.local_addr().ok()?))
}

/// Serves the client that inetd has handed over on standard input: whether the session was cut short.
///
/// # Errors
/// Standard input cannot be used.
pub async fn inetd(reception: Arc<Reception>, peer: SocketAddr, local: SocketAddr) -> std::io::Result<bool> {
    let mut context = reception.context();
    set_endpoints(&mut context, peer, local);
    let socket = TcpStream::from(duplicate(std::io::stdin().as_fd())?);
    socket.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(socket)?;
    let mut session = Session::new(reception, Box::new(stream), context, None);
    session.run_on(Some(local.port()), None).await;
    Ok(session.was_cut_short())
}

/// Serves the provider that ATRN has made a client, over a line that speaks in the clear.
///
/// # Errors
/// The line cannot be used.
pub async fn customer(
    reception: Arc<Reception>,
    stream: UnixStream,
    (peer, name): (SocketAddr, &str),
    local: SocketAddr,
    tls: Option<TlsFacts>,
) -> std::io::Result<()> {
    let mut context = reception.context();
    set_endpoints(&mut context, peer, local);
    context.turnaround = Some(Turnaround::Customer);
    context.connection.host_name = Some(name.as_bytes().to_vec());
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let mut session = Session::new(reception, Box::new(stream), context, None);
    let talk = session.talk_mut();
    talk.is_encrypted = tls.is_some();
    talk.scene.context.connection.tls = tls;
    session.run(None).await;
    Ok(())
}

fn standard_streams() -> std::io::Result<Box<dyn Wire>> {
    let input = File::from(duplicate(std::io::stdin().as_fd())?);
    let output = File::from(duplicate(std::io::stdout().as_fd())?);
    Ok(Box::new(tokio::io::join(tokio::fs::File::from_std(input), tokio::fs::File::from_std(output))))
}

fn duplicate(fd: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}
