//! `-atrn HOST DOMAINS`: gets mail from a provider over a line that is turned around (on-demand mail relay, RFC 2645).
//!
//! `_atrn@HOST` is routed with `$atrn_mode` set to C; the smtp transport that it leads to opens the connection, authentication
//! included. Exit code: 0 when mail was received, or there is none or not now; else 1.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_deliver::turned_line::{Asked, ask};
use oxim_lang::context::Context;
use oxim_receive::local::dialogue;

use crate::assemble::Program;
use crate::engine::{self, Settings};

/// How long the last reply may take to the provider.
const LAST_REPLY_TIME: Duration = Duration::from_secs(10);

/// Asks, and receives.
pub(crate) fn run(program: &Program, host: &[u8], domains: &[u8]) -> u8 {
    let Some((runtime, engine)) = engine::for_command(program, Settings::default()) else { return 1 };
    let (host, domains) = (String::from_utf8_lossy(host), String::from_utf8_lossy(domains));
    let mut context = Context::new(Arc::clone(&engine.config), Arc::clone(&engine.services));
    let code = match ask(&engine.delivery, &mut context, host.trim(), domains.trim()) {
        Asked::Turned(connection, used) => {
            let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let peer = connection.peer_address().unwrap_or(unknown);
            let local = connection.local_address().unwrap_or(unknown);
            let tls = connection.tls_facts().cloned();
            let reception = Arc::clone(&engine.reception);
            let done = connection.into_line().and_then(|(line, ended)| {
                let talked =
                    runtime.block_on(dialogue::customer(reception, line, (peer, &used.name), local, tls));
                // The last reply may still be on its way.
                let _sent = ended.recv_timeout(LAST_REPLY_TIME);
                talked
            });
            done.map_or_else(
                |error| {
                    complain!("exim: {}", error_text(&error));
                    1
                },
                |()| 0,
            )
        }
        Asked::Later(text) => {
            engine.services.log().main(format!("ATRN {host}: {text}"));
            0
        }
        Asked::Refused(text) => {
            engine.services.log().main(format!("ATRN {host}: {text}"));
            complain!("exim: {text}");
            1
        }
    };
    drop(engine);
    runtime.shutdown_background();
    code
}
