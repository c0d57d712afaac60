//! Verdicts for each recipient, from Brightmail or from what stands in its place.
//!
//! One scan per message, at the end of its reception; the verdicts travel with it as texts (`-bmi_verdicts` in the spool) and
//! are read once for each attempt at delivery. [`VerdictEngine`] has two backends: [`library`], the Brightmail client library
//! in a process of its own, and [`rspamd`]. [`configuration`] says which one `bmi_config_file` means. Failure modes: an engine
//! that is not there, says no, says nonsense or nothing in time: the message is accepted without verdicts, or put off, as
//! configured. Manual: docs/features/bmi.md.

#![allow(clippy::result_large_err, reason = "errors of a configuration, made once at most")]

pub mod configuration;
mod http;
pub mod library;
pub mod rspamd;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use oxim_base::Text;
use oxim_base::limits::BMI_VERDICTS_BYTES_MAX;
pub use oxim_brightmail::wire::Failure;
use oxim_lang::bmi::{Verdict, Verdicts};
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::list::split;
use oxim_mail::header::HeaderList;
use oxim_spool::message::{Body, Message};

use self::configuration::{Engine, Fault};

/// The line of the spool that holds the texts, with colons between.
const SPOOL_LINE: &[u8] = b"bmi_verdicts";

/// A message, as engines are shown it.
pub struct Question<'a> {
    /// Its id.
    pub id: String,
    /// The client; None for local submissions.
    pub client: Option<IpAddr>,
    /// What the client called itself.
    pub helo: Option<&'a [u8]>,
    /// The client's name, if it is known.
    pub client_name: Option<&'a [u8]>,
    /// Who the client has proved to be.
    pub user: Option<&'a [u8]>,
    /// The envelope sender; empty for a bounce.
    pub sender: &'a [u8],
    /// The recipients, each with the opt-in strings that `bmi_optin` gave it.
    pub recipients: Vec<(&'a [u8], Option<&'a [u8]>)>,
    /// The header.
    pub headers: &'a HeaderList,
    /// The body.
    pub body: &'a Body,
}

/// What happens to a message that cannot be scanned, and to addresses whose verdicts cannot be read now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It goes on as if there were no verdicts, as Exim does.
    #[default]
    Accept,
    /// It is put off.
    Defer,
}

/// What gives verdicts.
pub trait VerdictEngine: Send + Sync {
    /// Shows it a message; gives the texts of its verdicts. What does not stop the scan goes to `warn`.
    ///
    /// # Errors
    /// There are no verdicts.
    fn scan(&self, question: &Question<'_>, warn: &mut dyn FnMut(Failure)) -> Result<Vec<Vec<u8>>, Failure>;

    /// Reads texts of verdicts. What cannot be read for good is left out, and goes to `warn`. `rules` are those that
    /// somebody wants to know about.
    ///
    /// # Errors
    /// They cannot be read now.
    fn read(
        &self,
        texts: &[&[u8]],
        rules: &[u32],
        warn: &mut dyn FnMut(Failure),
    ) -> Result<Vec<Verdict>, Failure>;

    /// What happens if it fails.
    fn on_failure(&self) -> OnFailure;
}

/// A failure as the log has it.
#[must_use]
pub fn error_line(failure: &Failure) -> String {
    line("error", failure)
}

/// A warning as the log has it.
#[must_use]
pub fn warning_line(failure: &Failure) -> String {
    line("warning", failure)
}

fn line(word: &str, failure: &Failure) -> String {
    let what = oxim_base::text::shown(failure.what.as_bytes());
    format!("bmi {word} [loc {} type {}]: {what}", failure.location, failure.kind)
}

fn own_failure(what: impl Into<String>) -> Failure {
    Failure { location: 0, kind: 0, what: what.into() }
}

/// What came of a scan.
#[derive(Debug)]
pub enum Scanned {
    /// The texts of the verdicts with colons between; None if there are none.
    Verdicts(Option<Text>),
    /// None, and what happens to the message now.
    Failed(Failure, OnFailure),
}

/// The engine of a configuration, made when it is first needed.
pub struct Bmi {
    file: String,
    rules: Vec<u32>,
    engine: OnceLock<Arc<dyn VerdictEngine>>,
}

impl Bmi {
    /// Reads what `bmi_config_file` names, if the option is set and the file is one of ours. Anything else is the business of the
    /// client library.
    ///
    /// # Errors
    /// A fault in that file.
    pub fn build(config: &Config) -> Result<Bmi, ConfigError> {
        let options = &config.main_options;
        let mut rules: Vec<u32> =
            config.routers.iter().flat_map(|router| rules(router.options.string("bmi_rule"))).collect();
        rules.sort_unstable();
        rules.dedup();
        let file = options.string("bmi_config_file").unwrap_or_default().to_owned();
        let bmi = Bmi { file, rules, engine: OnceLock::new() };
        if options.is_set("bmi_config_file")
            && let Err(Fault::Wrong(text)) = bmi.engine()
        {
            return Err(match options.location("bmi_config_file") {
                Some(location) => ConfigError::at(location, text),
                None => ConfigError::new(text),
            });
        }
        Ok(bmi)
    }

    /// With an engine of one's own. For tests.
    #[must_use]
    pub fn with_engine(engine: Arc<dyn VerdictEngine>, rules: Vec<u32>) -> Bmi {
        Bmi { file: String::new(), rules, engine: OnceLock::from(engine) }
    }

    fn engine(&self) -> Result<&Arc<dyn VerdictEngine>, Fault> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine: Arc<dyn VerdictEngine> = match configuration::read(Path::new(&self.file))? {
            Engine::Rspamd(settings) => Arc::new(rspamd::Rspamd::new(settings)),
            Engine::Library(settings) => Arc::new(library::ClientLibrary::new(settings)),
        };
        Ok(self.engine.get_or_init(|| engine))
    }

    /// Scans a message. Blocks. What does not stop the scan goes to `warn`, as lines for the log.
    pub fn scan(&self, question: &Question<'_>, warn: &mut dyn FnMut(String)) -> Scanned {
        let engine = match self.engine() {
            Ok(engine) => engine,
            // Which engine it would be is not known, so neither is whether its silence may be passed over.
            Err(fault) => return Scanned::Failed(own_failure(fault.text()), OnFailure::Defer),
        };
        let scanned = engine.scan(question, &mut |failure| warn(warning_line(&failure)));
        let texts = scanned.and_then(|texts| check(&texts).map(|()| texts));
        match texts {
            Ok(texts) if texts.is_empty() => Scanned::Verdicts(None),
            Ok(texts) => Scanned::Verdicts(Some(Text::clean(texts.join(&b':')))),
            Err(failure) => Scanned::Failed(failure, engine.on_failure()),
        }
    }

    /// The verdicts that travel with a message, read. None if there are none. Blocks, with the client library. What is wrong with
    /// them goes to `log`.
    pub fn verdicts(&self, message: &Message, log: &mut dyn FnMut(String)) -> Option<Arc<Verdicts>> {
        let texts = message.extra(SPOOL_LINE).filter(|texts| !texts.is_empty())?;
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(fault) => {
                let line = error_line(&own_failure(fault.text()));
                log(line.clone());
                return Some(Arc::new(Verdicts::unreadable(line)));
            }
        };
        let texts: Vec<&[u8]> =
            texts.as_bytes().split(|byte| *byte == b':').filter(|t| !t.is_empty()).collect();
        let verdicts = match engine.read(&texts, &self.rules, &mut |failure| log(error_line(&failure))) {
            Ok(verdicts) => Verdicts::new(verdicts),
            Err(failure) => {
                let line = error_line(&failure);
                log(line.clone());
                match engine.on_failure() {
                    OnFailure::Accept => Verdicts::default(),
                    OnFailure::Defer => Verdicts::unreadable(line),
                }
            }
        };
        Some(Arc::new(verdicts))
    }
}

/// Puts the texts of verdicts into the spool's form of a message.
pub fn store(message: &mut Message, texts: Option<&Text>) {
    message.set_extra(SPOOL_LINE, texts);
}

/// Texts of verdicts must not be taken for something else on their line of the spool.
fn check(texts: &[Vec<u8>]) -> Result<(), Failure> {
    let total: usize = texts.iter().map(|text| text.len().saturating_add(1)).sum();
    if total > BMI_VERDICTS_BYTES_MAX {
        return Err(own_failure("the verdicts are too long"));
    }
    let is_good =
        |text: &Vec<u8>| !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic() && *b != b':');
    match texts.iter().find(|text| !is_good(text)) {
        Some(text) => {
            let start = text.get(..text.len().min(80)).unwrap_or_default();
            Err(own_failure(format!("not a verdict: {}", oxim_base::text::shown(start))))
        }
        None => Ok(()),
    }
}

/// The rules of `bmi_rule`. What is not a number above zero is passed over.
#[must_use]
pub fn rules(list: Option<&str>) -> Vec<u32> {
    let items = split(list.unwrap_or_default().as_bytes());
    items
        .filter_map(|item| std::str::from_utf8(item.trim_ascii()).ok()?.parse().ok())
        .filter(|n| *n > 0)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use oxim_lang::bmi::Destination;
    use parking_lot::Mutex;

    use super::*;

    /// An engine that says what it is told to say.
    pub(crate) struct Scripted {
        pub(crate) texts: Mutex<Result<Vec<Vec<u8>>, Failure>>,
        pub(crate) readable: bool,
        pub(crate) on_failure: OnFailure,
    }

    impl VerdictEngine for Scripted {
        fn scan(&self, _: &Question<'_>, _: &mut dyn FnMut(Failure)) -> Result<Vec<Vec<u8>>, Failure> {
            self.texts.lock().clone()
        }

        /// `address=destination`; rule 5 fires for all.
        fn read(
            &self,
            texts: &[&[u8]],
            rules: &[u32],
            warn: &mut dyn FnMut(Failure),
        ) -> Result<Vec<Verdict>, Failure> {
            if !self.readable {
                return Err(own_failure("asleep"));
            }
            let mut verdicts = Vec::new();
            for text in texts {
                let shown = String::from_utf8_lossy(text);
                match shown.split_once('=') {
                    None => warn(Failure { location: 1, kind: 2, what: format!("no [{shown}]") }),
                    Some((address, place)) => verdicts.push(Verdict {
                        text: text.to_vec(),
                        recipients: vec![address.as_bytes().to_vec()],
                        destination: if place.is_empty() {
                            Destination::Nowhere
                        } else {
                            Destination::Default
                        },
                        rules: rules.iter().copied().filter(|rule| *rule == 5).collect(),
                        ..Verdict::default()
                    }),
                }
            }
            Ok(verdicts)
        }

        fn on_failure(&self) -> OnFailure {
            self.on_failure
        }
    }

    fn bmi(texts: Result<Vec<Vec<u8>>, Failure>, readable: bool, on_failure: OnFailure) -> Bmi {
        let engine = Scripted { texts: Mutex::new(texts), readable, on_failure };
        Bmi::with_engine(Arc::new(engine), vec![5, 8])
    }

    pub(crate) fn id() -> oxim_mail::message_id::MessageId {
        "1vMABC-00000000001-0001".parse().unwrap()
    }

    fn message(texts: &str) -> Message {
        let mut message = Message::new(id());
        store(&mut message, Some(&Text::from(texts.to_owned())));
        message
    }

    pub(crate) fn question<'a>(headers: &'a HeaderList, body: &'a Body) -> Question<'a> {
        Question {
            id: "1vMABC-00000000001-0001".to_owned(),
            client: Some("192.0.2.1".parse().unwrap()),
            helo: Some(b"client.ex"),
            client_name: None,
            user: None,
            sender: b"s@s.ex",
            recipients: vec![(b"a@x.ex", None), (b"b@x.ex", Some(b"premium:virus")), (b"c@x.ex", None)],
            headers,
            body,
        }
    }

    #[test]
    fn rules_are_numbers_above_zero() {
        assert_eq!(rules(Some("5:8: 11 ")), [5, 8, 11]);
        assert_eq!(rules(Some("<, foo, 0, 7, -1, 99999999999")), [7]);
        assert_eq!(rules(None), [0_u32; 0]);
    }

    #[test]
    fn verdicts_go_through_the_spool() {
        let (headers, body) = (HeaderList::new(), Body::default());
        let scan =
            |texts, on_failure| bmi(texts, true, on_failure).scan(&question(&headers, &body), &mut |_| {});
        let Scanned::Verdicts(Some(texts)) =
            scan(Ok(vec![b"a@x.ex=".to_vec(), b"b@x.ex=d".to_vec()]), OnFailure::Defer)
        else {
            panic!()
        };
        assert_eq!(texts.as_bytes(), b"a@x.ex=:b@x.ex=d");
        let mut message = Message::new(id());
        store(&mut message, Some(&texts));
        assert_eq!(message.unknown, [b"-bmi_verdicts a@x.ex=:b@x.ex=d".to_vec()]);
        assert!(matches!(scan(Ok(Vec::new()), OnFailure::Defer), Scanned::Verdicts(None)));
        for bad in ["a b", "a\nb", "a:b", ""] {
            let scanned = scan(Ok(vec![bad.into()]), OnFailure::Accept);
            assert!(matches!(scanned, Scanned::Failed(_, OnFailure::Accept)), "{bad:?}");
        }
        let failure = || Err(own_failure("down"));
        assert!(matches!(scan(failure(), OnFailure::Accept), Scanned::Failed(_, OnFailure::Accept)));
        assert!(matches!(scan(failure(), OnFailure::Defer), Scanned::Failed(_, OnFailure::Defer)));
        let long = vec![vec![b'x'; BMI_VERDICTS_BYTES_MAX]];
        assert!(matches!(scan(Ok(long), OnFailure::Defer), Scanned::Failed(_, OnFailure::Defer)));
    }

    #[test]
    fn what_cannot_be_read_for_good_is_logged_and_left_out() {
        let mut lines = Vec::new();
        let engine = bmi(Ok(Vec::new()), true, OnFailure::Defer);
        let verdicts =
            engine.verdicts(&message("junk:a@x.ex=:b@x.ex=d"), &mut |line| lines.push(line)).unwrap();
        assert_eq!(lines, ["bmi error [loc 1 type 2]: no [junk]"]);
        assert_eq!(verdicts.about(b"A@x.ex").unwrap().destination, Destination::Nowhere);
        assert_eq!(verdicts.about(b"b@x.ex").unwrap().rules, [5]);
        assert_eq!(verdicts.trouble, None);
        assert!(engine.verdicts(&Message::new(id()), &mut |_| {}).is_none());
    }

    #[test]
    fn what_cannot_be_read_now_waits_if_so_configured() {
        let read = |on_failure| {
            bmi(Ok(Vec::new()), false, on_failure).verdicts(&message("a@x.ex="), &mut |_| {}).unwrap()
        };
        assert_eq!(read(OnFailure::Accept).trouble, None);
        assert_eq!(read(OnFailure::Defer).trouble.as_deref(), Some("bmi error [loc 0 type 0]: asleep"));
    }
}
