//! The `readsock` lookup: a request to a socket, and all it answers: `${readsocket` in the form of a lookup.
//!
//! The socket is that of the lookup's option `file=`, or that in front of the request: a path, or `inet:host:port`. The answer
//! comes from outside, and is tainted. Manual section 11.5, `readsocket`.

use oxim_base::Text;

use super::service::Timeouts;
use super::service::servers::host_and_port;
use super::service::wire::{Place, Wire, step_error};
use super::{Answer, LookupError, LookupKind, LookupType, Service, Style};
use crate::context::Context;

/// The row.
pub(super) static READSOCK: LookupKind = LookupKind {
    name: "readsock",
    style: Style::Service(Service { mark: "readsock", quote, needs_quoting: false, has_words: false, ask }),
    doc: "request to a socket; options file=/path or file=inet:host:port, timeout=, shutdown=no",
};

fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    word.is_none().then(|| text.to_vec())
}

fn place(text: &str) -> Result<Place, String> {
    if text.starts_with('/') {
        return Ok(Place::Socket(text.into()));
    }
    let address = text
        .strip_prefix("inet:")
        .ok_or_else(|| "absolute file name or inet: expected for \"readsock\" lookup".to_owned())?;
    match host_and_port(address) {
        Some((name, Some(port))) => Ok(Place::Host(name, port)),
        _ => Err(format!("missing port for readsocket {address}")),
    }
}

fn ask(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    let times = Timeouts::of(lookup).map_err(LookupError::Failed)?;
    let bytes = query.as_bytes();
    let (name, request) = match lookup.option("file") {
        Some(name) => (name.to_owned(), bytes),
        None => {
            let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
            let (name, rest) = bytes.split_at_checked(end).unwrap_or((bytes, b""));
            let name = String::from_utf8_lossy(name).into_owned();
            if query.is_foreign() {
                return Err(LookupError::Failed(format!("Tainted socket name '{name}'")));
            }
            (name, rest.trim_ascii_start())
        }
    };
    let place = place(&name).map_err(LookupError::Failed)?;
    let failed = |text: String| LookupError::Defer(format!("failed to connect to socket {name}: {text}"));
    let mut wire = Wire::connect(context, &place, times.connect).map_err(failed)?;
    wire.begin(times.answer);
    let answer = wire.send(request).and_then(|()| {
        if lookup.option("shutdown") != Some("no") {
            wire.end_of_request();
        }
        wire.rest()
    });
    match answer {
        Ok(answer) => Ok(Answer::Found(Text::tainted(answer))),
        Err(error) => {
            Err(LookupError::Defer(format!("read from socket {name} failed: {}", step_error(&error))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn sockets_are_named_like_those_of_readsocket() {
        assert_eq!(place("/a").unwrap(), Place::Socket("/a".into()));
        assert_eq!(place("inet:[::1]:25").unwrap(), Place::Host("::1".to_owned(), 25));
        assert!(place("inet:host").is_err());
        assert!(place("a").is_err());
    }

    #[test]
    fn a_request_is_answered_to_the_end_and_a_silent_server_defers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            stream.read_to_string(&mut request).unwrap();
            stream.write_all(format!("<{request}>\n").as_bytes()).unwrap();
            drop(stream);
            // The second client is left waiting.
            listener.accept().unwrap()
        });
        let ask = |options: &str, query: &str| {
            let lookup = LookupType::parse(&format!("readsock,file=inet:127.0.0.1:{port}{options}")).unwrap();
            crate::lookup::find(&mut Context::default(), &lookup, None, &Text::tainted(query))
        };
        let found = ask("", "hello there").unwrap().unwrap().data;
        assert_eq!((found.as_bytes(), found.is_foreign()), (&b"<hello there>\n"[..], true));
        let error = ask(",timeout=1s", "x").unwrap_err();
        assert!(matches!(&error, LookupError::Defer(text) if text.ends_with("timed out")), "{error:?}");
        drop(server.join().unwrap());
    }
}
