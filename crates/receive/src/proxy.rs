//! Connections that come through a proxy: the PROXY header before the greeting. `hosts_proxy`, `proxy_protocol_timeout`.
//!
//! The list is matched against the proxy; limits of number count for it (`proxy_counts_clients`: for the client), and the line
//! about the connection names it. After the header the session is the client's. Failure modes: a header that is missing, late or malformed leaves a session in
//! which only QUIT is obeyed; a list that cannot be evaluated ends the session with 421, because to take a proxy for a
//! client would lend its rights to everybody behind it.

use std::sync::Arc;

use oxim_lang::context::ProxySession;
use oxim_net::proxy_protocol::{Header, read_header};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::admission::Guard;
use crate::connect::{self, Crowd};
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::Talk;

/// Reads the header if the peer is a proxy. None: the session is over.
pub(crate) async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
    reception: &Arc<Reception>,
    mut talk: Box<Talk>,
    stream: &mut S,
    guard: &mut Guard,
) -> Option<Box<Talk>> {
    if reception.settings.hosts.proxy.is_unset() {
        return Some(talk);
    }
    let shared = Arc::clone(reception);
    let counts_clients = reception.config.main.proxy_counts_clients;
    let crowd = Crowd::from(&*guard);
    let permit = Arc::clone(&reception.workers).acquire_owned().await.ok()?;
    let matching = tokio::task::spawn_blocking(move || {
        let matched = shared.settings.hosts.proxy.try_match(&mut talk.scene.context);
        let refusal = match &matched {
            // Whom the connection counts for is not known yet.
            Ok(true) if counts_clients => {
                connect::announce(&shared, &mut talk, Some(Crowd { same_host: 0, ..crowd }))
            }
            Ok(true) => connect::announce(&shared, &mut talk, Some(crowd)),
            Ok(false) => None,
            Err(why) => {
                shared.logs.panic(&format!("hosts_proxy cannot be evaluated: {why}"));
                Some(Reply::fixed(421, "Temporary local problem - please try later"))
            }
        };
        drop(permit);
        (talk, matched, refusal)
    });
    let (mut talk, matched, refusal) = matching.await.ok()?;
    if let Some(reply) = refusal {
        refuse(stream, &reply).await;
        return None;
    }
    if matched != Ok(true) {
        return Some(talk);
    }
    let connection = &mut talk.scene.context.connection;
    let limit = reception.config.main.proxy_protocol_timeout;
    let header = tokio::time::timeout(limit, read_header(stream)).await;
    let mut session = ProxySession::default();
    match header {
        Ok(Ok(Header::Own)) => {}
        Ok(Ok(Header::Relayed { client, target })) => {
            session.proxy = connection.host_address.map(|address| (address, connection.host_port).into());
            session.target = Some(target);
            connection.host_address = Some(client.ip().to_canonical());
            connection.host_port = client.port();
        }
        Ok(Err(_)) | Err(_) => session.is_failed = true,
    }
    connection.proxy = Some(session);
    let client = connection.host_address.filter(|_| counts_clients);
    let Some(client) = client else { return Some(talk) };
    guard.belong_to(client);
    let (shared, crowd) = (Arc::clone(reception), Crowd::from(&*guard));
    let permit = Arc::clone(&reception.workers).acquire_owned().await.ok()?;
    let counting = tokio::task::spawn_blocking(move || {
        let refusal = connect::too_many(&shared, &mut talk, crowd);
        drop(permit);
        (talk, refusal)
    });
    let (talk, refusal) = counting.await.ok()?;
    if let Some(reply) = refusal {
        refuse(stream, &reply).await;
        return None;
    }
    Some(talk)
}

async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, reply: &Reply) {
    let mut out = Vec::new();
    reply.write(&mut out);
    // Whoever does not read it has gone.
    let _ = stream.write_all(&out).await;
}
