//! Verdicts by Rspamd: one scan for all recipients with the same settings, over its HTTP protocol (`/checkv2`).
//!
//! A verdict is base 64 around a small JSON text: whom it is about, where it sends the message, the action, the score, the
//! rules that fired and the symbols. So it can be read again without Rspamd. Failure modes: no server has an answer in time,
//! an answer that is not understood.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxim_lang::bmi::{Destination, Verdict};
use oxim_lang::list::split;
use serde::{Deserialize, Serialize};

use super::configuration::{Meaning, RspamdSettings};
use super::{Failure, OnFailure, Question, VerdictEngine, http, own_failure};

/// Most symbols that a verdict remembers, and the longest name of one.
const SYMBOLS_MAX: usize = 100;
const SYMBOL_BYTES_MAX: usize = 100;

/// The engine.
pub struct Rspamd {
    settings: RspamdSettings,
}

/// What Rspamd answers, as far as it is of use here.
#[derive(Debug, Deserialize)]
struct Answer {
    action: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    symbols: BTreeMap<String, serde::de::IgnoredAny>,
}

/// A verdict as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Says what it is, and in which form.
    rspamd: u8,
    to: Vec<Address>,
    destination: Place,
    action: String,
    score: f64,
    #[serde(default)]
    rules: Vec<u32>,
    #[serde(default)]
    symbols: Vec<String>,
}

/// An address is nearly always a text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Address {
    Text(String),
    Bytes(Vec<u8>),
}

impl Address {
    fn of(bytes: &[u8]) -> Address {
        match std::str::from_utf8(bytes) {
            Ok(text) => Address::Text(text.to_owned()),
            Err(_) => Address::Bytes(bytes.to_vec()),
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Address::Text(text) => text.into_bytes(),
            Address::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Default,
    Nowhere,
    Elsewhere(String),
}

/// The form that is written and understood.
const FORM: u8 = 1;

impl Rspamd {
    /// An engine with these settings.
    #[must_use]
    pub fn new(settings: RspamdSettings) -> Rspamd {
        Rspamd { settings }
    }

    /// The recipients by the settings that they want, in the order in which those first come.
    fn groups<'a>(
        &self,
        question: &Question<'a>,
        warn: &mut dyn FnMut(Failure),
    ) -> Vec<(Option<&str>, Vec<&'a [u8]>)> {
        let mut groups: Vec<(Option<&str>, Vec<&[u8]>)> = Vec::new();
        for (address, opt_in) in &question.recipients {
            let id = match opt_in.and_then(|text| self.settings_of(text)) {
                Some(id) => Some(id),
                None => {
                    if let Some(text) = opt_in {
                        let (text, address) =
                            (String::from_utf8_lossy(text), String::from_utf8_lossy(address));
                        warn(own_failure(format!(
                            "no settings for the opt-in '{text}' of address '{address}'"
                        )));
                    }
                    self.settings.default_settings.as_deref()
                }
            };
            match groups.iter_mut().find(|(known, _)| *known == id) {
                Some((_, addresses)) => addresses.push(address),
                None => groups.push((id, vec![address])),
            }
        }
        groups
    }

    /// The settings of all opt-in strings together, else those of the first that has some.
    fn settings_of(&self, opt_in: &[u8]) -> Option<&str> {
        let words: Vec<String> =
            split(opt_in).map(|word| String::from_utf8_lossy(&word).into_owned()).collect();
        let known = |text: &str| self.settings.settings.get(text).map(String::as_str);
        known(&words.join(":")).or_else(|| words.iter().find_map(|word| known(word)))
    }

    /// The request without its length.
    fn head(&self, question: &Question<'_>, id: Option<&str>, recipients: &[&[u8]]) -> Vec<u8> {
        let mut out = b"POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nConnection: close\r\n".to_vec();
        let mut push = |name: &str, value: Option<&[u8]>| {
            let Some(value) = value.filter(|value| !value.is_empty()) else { return };
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            // No value makes a line of its own.
            out.extend(value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\0')));
            out.extend_from_slice(b"\r\n");
        };
        push("Settings-ID", id.map(str::as_bytes));
        push("Password", self.settings.password.as_deref().map(str::as_bytes));
        push("Queue-Id", Some(question.id.as_bytes()));
        push("IP", question.client.map(|ip| ip.to_string()).as_deref().map(str::as_bytes));
        push("Helo", question.helo);
        push("Hostname", question.client_name);
        push("User", question.user);
        push("From", Some(&[b"<", question.sender, b">"].concat()));
        for recipient in recipients {
            push("Rcpt", Some(&[b"<", *recipient, b">"].concat()));
        }
        out
    }

    fn ask(
        &self,
        question: &Question<'_>,
        id: Option<&str>,
        recipients: &[&[u8]],
    ) -> Result<Vec<u8>, Failure> {
        let head = self.head(question, id, recipients);
        let mut faults = Vec::new();
        for server in &self.settings.servers {
            match http::post(server, self.settings.timeout, &head, question.headers, question.body) {
                Ok(content) => match self.verdict(&content, recipients) {
                    Some(text) => return Ok(text),
                    None => faults.push("the answer of rspamd is not understood".to_owned()),
                },
                Err(fault) => faults.push(fault),
            }
        }
        Err(own_failure(format!("rspamd: {}", faults.join("; "))))
    }

    /// The text of the verdict that an answer comes to. None: it is not understood.
    #[must_use]
    pub fn verdict(&self, content: &[u8], recipients: &[&[u8]]) -> Option<Vec<u8>> {
        let answer: Answer = serde_json::from_slice(content).ok()?;
        let settings = &self.settings;
        let has = |symbol: &String| match symbol.strip_prefix("action:") {
            Some(action) => action == answer.action,
            None => answer.symbols.contains_key(symbol),
        };
        let by_symbols = settings.symbols.iter().filter(|(symbol, _)| has(symbol)).map(|(_, m)| m).max();
        let meaning =
            by_symbols.or_else(|| settings.actions.get(&answer.action)).unwrap_or(&Meaning::Deliver);
        let destination = match meaning {
            Meaning::Deliver => Place::Default,
            Meaning::Discard => Place::Nowhere,
            Meaning::Alternate(place) => {
                Place::Elsewhere(place.clone().unwrap_or_else(|| settings.alternate_location.clone()))
            }
        };
        let rules = settings.rules.iter().filter(|(_, symbols)| symbols.iter().any(has)).map(|(n, _)| *n);
        let symbols = answer.symbols.keys().filter(|name| name.len() <= SYMBOL_BYTES_MAX);
        let stored = Stored {
            rspamd: FORM,
            to: recipients.iter().map(|address| Address::of(address)).collect(),
            destination,
            rules: rules.collect(),
            symbols: symbols.take(SYMBOLS_MAX).cloned().collect(),
            score: answer.score,
            action: answer.action,
        };
        let json = serde_json::to_vec(&stored).ok()?;
        Some(STANDARD.encode(json).into_bytes())
    }
}

/// Reads the text of a verdict. None: it is none.
#[must_use]
pub fn read_text(text: &[u8]) -> Option<Verdict> {
    let json = STANDARD.decode(text).ok()?;
    let stored: Stored =
        serde_json::from_slice(&json).ok().filter(|stored: &Stored| stored.rspamd == FORM)?;
    let rules: Vec<String> = stored.rules.iter().map(u32::to_string).collect();
    let tracker = format!("rules={};symbols={}", rules.join(","), stored.symbols.join(","));
    Some(Verdict {
        text: text.to_vec(),
        tracker: STANDARD.encode(tracker).into_bytes(),
        recipients: stored.to.into_iter().map(Address::into_bytes).collect(),
        destination: match stored.destination {
            Place::Default => Destination::Default,
            Place::Nowhere => Destination::Nowhere,
            Place::Elsewhere(place) => Destination::Elsewhere(place.into_bytes()),
        },
        rules: stored.rules,
    })
}

impl VerdictEngine for Rspamd {
    fn scan(&self, question: &Question<'_>, warn: &mut dyn FnMut(Failure)) -> Result<Vec<Vec<u8>>, Failure> {
        let groups = self.groups(question, warn);
        groups.into_iter().map(|(id, recipients)| self.ask(question, id, &recipients)).collect()
    }

    fn read(
        &self,
        texts: &[&[u8]],
        _: &[u32],
        warn: &mut dyn FnMut(Failure),
    ) -> Result<Vec<Verdict>, Failure> {
        let read = texts.iter().filter_map(|text| {
            let verdict = read_text(text);
            if verdict.is_none() {
                warn(own_failure(format!("not a verdict of rspamd [{}]", String::from_utf8_lossy(text))));
            }
            verdict
        });
        Ok(read.collect())
    }

    fn on_failure(&self) -> OnFailure {
        self.settings.on_failure
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use oxim_mail::header::{Header, HeaderList};
    use oxim_spool::message::Body;

    use super::super::configuration::{Engine, parse};
    use super::super::tests::question;
    use super::*;

    fn engine(port: u16, rest: &str) -> Rspamd {
        let text =
            format!("engine = \"rspamd\"\nservers = [\"127.0.0.1:{port}\"]\ntimeout = \"20s\"\n{rest}");
        let Engine::Rspamd(settings) = parse(&text).unwrap() else { panic!() };
        Rspamd::new(settings)
    }

    fn message() -> (HeaderList, Body) {
        let mut headers = HeaderList::new();
        headers.push_back(Header::new("Subject: t\n"));
        (headers, Body::Memory(b"one\n.two\n".to_vec().into()))
    }

    /// Plays Rspamd for as many questions as there are answers; gives the questions.
    fn play(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let one = |answer: String| {
                let mut stream = listener.accept().unwrap().0;
                let (mut got, mut piece) = (Vec::new(), [0; 1000]);
                while !got.ends_with(b"one\n.two\n") {
                    let count = stream.read(&mut piece).unwrap();
                    got.extend_from_slice(&piece[..count]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(got).unwrap()
            };
            answers.into_iter().map(one).collect()
        });
        (port, server)
    }

    fn ok(json: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len())
    }

    fn failure(answer: &str) -> String {
        let (port, server) = play(vec![answer.to_owned()]);
        let (headers, body) = message();
        let mut question = question(&headers, &body);
        question.recipients.truncate(1);
        let failure = engine(port, "").scan(&question, &mut |_| {}).unwrap_err();
        server.join().unwrap();
        failure.what.replace(&port.to_string(), "PORT")
    }

    #[test]
    fn one_scan_for_each_setting_and_every_byte_of_it() {
        let discarded = r#"{"action":"reject","score":15.5,"symbols":{"GTUBE":{"score":15}}}"#;
        let (port, server) = play(vec![ok(r#"{"action":"no action","score":0.1}"#), ok(discarded)]);
        let engine = engine(
            port,
            "[settings]\nvirus = \"v\"\n\"premium:virus\" = \"gold\"\n[rules]\n5 = \"GTUBE\"\n8 = \"X\"\n",
        );
        let (headers, body) = message();
        let texts = engine.scan(&question(&headers, &body), &mut |failure| panic!("{failure:?}")).unwrap();
        let asked = server.join().unwrap();
        let request = |settings: &str, recipients: &str| {
            format!(
                "POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nConnection: close\r\n{settings}\
                 Queue-Id: 1vMABC-00000000001-0001\r\nIP: 192.0.2.1\r\nHelo: client.ex\r\nFrom: <s@s.ex>\r\n\
                 {recipients}Content-Length: 21\r\n\r\nSubject: t\n\none\n.two\n"
            )
        };
        assert_eq!(asked[0], request("", "Rcpt: <a@x.ex>\r\nRcpt: <c@x.ex>\r\n"));
        assert_eq!(asked[1], request("Settings-ID: gold\r\n", "Rcpt: <b@x.ex>\r\n"));
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let verdicts = engine.read(&texts, &[], &mut |failure| panic!("{failure:?}")).unwrap();
        assert_eq!(verdicts[0].recipients, [b"a@x.ex".to_vec(), b"c@x.ex".to_vec()]);
        assert_eq!(verdicts[0].destination, Destination::Default);
        assert_eq!(verdicts[1].recipients, [b"b@x.ex".to_vec()]);
        assert_eq!(verdicts[1].destination, Destination::Nowhere);
        assert_eq!(verdicts[1].rules, [5]);
        assert_eq!(STANDARD.decode(&verdicts[1].tracker).unwrap(), b"rules=5;symbols=GTUBE");
    }

    #[test]
    fn symbols_go_before_actions_and_the_gravest_counts() {
        let engine = engine(
            1,
            "[actions]\n\"greylist\" = \"alternate\"\n[symbols]\nGOOD = \"deliver\"\nBAD = \"alternate: X-Bad: 1\"\nWORSE = \"discard\"\n\
             [rules]\n3 = \"action:reject\"\n",
        );
        let destination = |json: &str| {
            let verdict = read_text(&engine.verdict(json.as_bytes(), &[b"a@x.ex"]).unwrap()).unwrap();
            (verdict.destination, verdict.rules)
        };
        let elsewhere = |text: &str| Destination::Elsewhere(text.into());
        assert_eq!(destination(r#"{"action":"reject"}"#), (Destination::Nowhere, vec![3]));
        assert_eq!(destination(r#"{"action":"greylist"}"#), (elsewhere("X-Spam: yes"), vec![]));
        assert_eq!(destination(r#"{"action":"soft reject"}"#), (Destination::Default, vec![]));
        let both = r#"{"action":"reject","symbols":{"GOOD":{}}}"#;
        assert_eq!(destination(both), (Destination::Default, vec![3]));
        let bad = r#"{"action":"no action","symbols":{"GOOD":{},"BAD":null}}"#;
        assert_eq!(destination(bad), (elsewhere("X-Bad: 1"), vec![]));
        let worse = r#"{"action":"no action","symbols":{"BAD":1,"WORSE":{"a":[1]}}}"#;
        assert_eq!(destination(worse), (Destination::Nowhere, vec![]));
        for junk in ["", "{}", "[]", "{\"action\":7}", "{\"action\":\"reject\"", "null"] {
            assert_eq!(engine.verdict(junk.as_bytes(), &[]), None, "{junk}");
        }
    }

    #[test]
    fn failures_say_what_failed() {
        assert_eq!(failure("HTTP/1.1 403 Unauthorized\r\n\r\n"), "rspamd: 127.0.0.1:PORT says 403");
        assert_eq!(failure(&ok("{\"error\":\"x\"}")), "rspamd: the answer of rspamd is not understood");
        let half = failure("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"action\":\"no action\"}");
        assert!(half.starts_with("rspamd: 127.0.0.1:PORT: "), "{half}");
        assert!(failure("").starts_with("rspamd: 127.0.0.1:PORT: "));
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (headers, body) = message();
        let refused = engine(dead, "").scan(&question(&headers, &body), &mut |_| {}).unwrap_err();
        assert_eq!(refused.what, format!("rspamd: connecting to 127.0.0.1:{dead}: Connection refused"));
    }

    #[test]
    fn a_silent_server_is_left_for_the_next_one() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, server) = play(vec![ok(r#"{"action":"no action"}"#)]);
        let mut engine = engine(silent.local_addr().unwrap().port(), "");
        engine.settings.servers.push(oxim_net::socket::Endpoint::Tcp(([127, 0, 0, 1], port).into()));
        engine.settings.timeout = Duration::from_millis(300);
        let (headers, body) = message();
        let mut question = question(&headers, &body);
        question.recipients.truncate(1);
        assert_eq!(engine.scan(&question, &mut |_| {}).unwrap().len(), 1);
        server.join().unwrap();
        engine.settings.servers.truncate(1);
        let failure = engine.scan(&question, &mut |_| {}).unwrap_err();
        assert!(failure.what.ends_with(": timed out"), "{failure:?}");
    }

    #[test]
    fn an_opt_in_without_settings_is_a_warning() {
        let engine = engine(1, "default_settings = \"plain\"\n[settings]\nknown = \"k\"\n");
        let (headers, body) = message();
        let mut warnings = Vec::new();
        let question = question(&headers, &body);
        let groups = engine.groups(&question, &mut |failure| warnings.push(failure.what));
        assert_eq!(groups, [(Some("plain"), vec![&b"a@x.ex"[..], b"b@x.ex", b"c@x.ex"])]);
        assert_eq!(warnings, ["no settings for the opt-in 'premium:virus' of address 'b@x.ex'"]);
        assert_eq!(engine.settings_of(b"other:known"), Some("k"));
    }

    #[test]
    fn addresses_of_any_bytes_come_back() {
        let engine = engine(1, "");
        let text =
            engine.verdict(b"{\"action\":\"reject\"}", &[b"\xff\"@x.ex", "ü@x.ex".as_bytes()]).unwrap();
        let verdict = read_text(&text).unwrap();
        assert_eq!(verdict.recipients, [b"\xff\"@x.ex".to_vec(), "ü@x.ex".into()]);
        for junk in ["", "AAAA", "e30=", "!"] {
            assert_eq!(read_text(junk.as_bytes()), None);
        }
    }
}
