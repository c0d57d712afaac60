//! The line turns around (ATRN, RFC 2645): the session ends, and its connection is handed to those who deliver.
//!
//! They get a socket that speaks in the clear; what is said over it is carried on here, within the TLS session if there is one.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_deliver::turned_line::TurnedLine;
use tokio::io::AsyncWriteExt;

use super::Session;
use crate::channel::{Channel, Wire};
use crate::reply::Reply;
use crate::talk::TurnOrder;

/// How long the customer has to close the connection after our last word.
const FAREWELL: Duration = Duration::from_secs(5);

impl Session {
    /// Sends the reply and becomes the client until all has been delivered. Under `-bh` that is only pretended.
    pub(super) async fn turn(&mut self, reply: Reply, order: TurnOrder) {
        reply.write(self.channel.output());
        self.channel.flush(self.timeout()).await;
        if self.talk_mut().scene.context.connection.host_checking {
            return;
        }
        // Nobody has hung up: the line goes on.
        self.talk_mut().quit = true;
        if let Err(error) = self.carry(order).await {
            let talk = self.talk_mut();
            let address =
                talk.scene.context.connection.host_address.map(|a| a.to_string()).unwrap_or_default();
            self.reception
                .logs
                .main(&format!("ATRN line turnaround failed for [{address}]: {}", error_text(&error)));
        }
    }

    async fn carry(&mut self, order: TurnOrder) -> std::io::Result<()> {
        let connection = self.talk_mut().scene.context.connection.clone();
        let Some(address) = connection.host_address else {
            return Err(std::io::Error::other("the client is no host"));
        };
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let mut near = tokio::net::UnixStream::from_std(near)?;
        let early = self.channel.pending().to_vec();
        let nothing: Box<dyn Wire> = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        let mut wire = std::mem::replace(&mut self.channel, Channel::new(nothing)).into_wire();
        let line = TurnedLine {
            customer: SocketAddr::new(address, connection.host_port),
            local: connection.interface,
            tls: connection.tls,
            stream: far,
            domains: order.domains,
            queue_name: order.queue_name,
        };
        let sink = std::sync::Arc::clone(&self.reception.sink);
        let mut delivering = tokio::task::spawn_blocking(move || sink.deliver_over(line));
        near.write_all(&early).await?;
        let carrying = async { tokio::io::copy_bidirectional(&mut wire, &mut near).await };
        tokio::pin!(carrying);
        let delivered = tokio::select! {
            delivered = &mut delivering => {
                let _late = tokio::time::timeout(FAREWELL, &mut carrying).await;
                delivered
            }
            // The line has ended, which those who deliver notice.
            _ = &mut carrying => delivering.await,
        };
        delivered.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
    }
}
