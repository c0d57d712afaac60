//! What `bmi_config_file` names: a TOML file of ours that says which engine gives verdicts, or a file of the client library.
//!
//! A file is one of ours if a line before its first table sets `engine`. Everything else, a file that is not there too, is
//! left to the client library. Failure modes: a file of ours with a fault, a file that may not be read.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxim_base::clock::parse_interval;
use oxim_base::errno::error_text;
use oxim_base::limits::BMI_CONFIGURATION_BYTES_MAX;
use oxim_net::socket::Endpoint;
use serde::Deserialize;

use super::OnFailure;

/// How long one scan may take, if the file does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An engine and its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Engine {
    /// `engine = "rspamd"`.
    Rspamd(RspamdSettings),
    /// `engine = "brightmail"`, and all files that are not ours.
    Library(LibrarySettings),
}

/// Why there is no engine.
#[derive(Debug)]
pub enum Fault {
    /// The file has a fault.
    Wrong(String),
    /// The file cannot be read: this process may not, or the disk will not.
    Unreadable(String),
}

impl Fault {
    /// The text for the log.
    #[must_use]
    pub fn text(&self) -> &str {
        let (Fault::Wrong(text) | Fault::Unreadable(text)) = self;
        text
    }
}

/// How Rspamd is asked, and what its answers mean.
#[derive(Clone, Debug, PartialEq)]
pub struct RspamdSettings {
    /// Where it listens, in the order in which they are tried.
    pub servers: Vec<Endpoint>,
    /// What one scan by one server may take.
    pub timeout: Duration,
    /// What happens without an answer.
    pub on_failure: OnFailure,
    /// The password of the server.
    pub password: Option<String>,
    /// `$bmi_alt_location` of a message that goes elsewhere.
    pub alternate_location: String,
    /// The settings of recipients without opt-in strings.
    pub default_settings: Option<String>,
    /// Rspamd's settings id for an opt-in string, or for several with colons between.
    pub settings: BTreeMap<String, String>,
    /// What an action means.
    pub actions: BTreeMap<String, Meaning>,
    /// What a symbol means; it goes before the action.
    pub symbols: BTreeMap<String, Meaning>,
    /// The symbols for which a rule fires; with `action:` before it, the name of an action.
    pub rules: BTreeMap<u32, Vec<String>>,
}

/// What an action or a symbol means for the message. The later ones are the graver ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// It goes to the recipient.
    Deliver,
    /// It goes elsewhere: with this text, else with `alternate_location`.
    Alternate(Option<String>),
    /// It is not delivered.
    Discard,
}

impl Meaning {
    fn parse(text: &str) -> Result<Meaning, String> {
        match text {
            "deliver" => Ok(Meaning::Deliver),
            "alternate" => Ok(Meaning::Alternate(None)),
            "discard" => Ok(Meaning::Discard),
            _ => match text.strip_prefix("alternate:").map(str::trim) {
                Some(place) if !place.is_empty() => Ok(Meaning::Alternate(Some(place.to_owned()))),
                _ => Err(format!("\"{text}\" is not deliver, discard, alternate or alternate:TEXT")),
            },
        }
    }
}

/// How the client library is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LibrarySettings {
    /// The program that loads it; None: the one that belongs to this one.
    pub program: Option<PathBuf>,
    /// The library: a file, or a name for the dynamic linker.
    pub library: String,
    /// Libraries that are loaded before it.
    pub load_first: Vec<String>,
    /// What it takes for `BMI_VERSION`.
    pub version: Version,
    /// Its own configuration file.
    pub configuration: PathBuf,
    /// What one message may take.
    pub timeout: Duration,
    /// What happens if it fails.
    pub on_failure: OnFailure,
}

/// The `BMI_VERSION` of the library's header file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Version {
    /// A number.
    Number(u32),
    /// A text.
    Text(String),
}

#[derive(Deserialize)]
#[serde(tag = "engine", rename_all = "lowercase")]
enum File {
    Rspamd(RspamdFile),
    Brightmail(LibraryFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RspamdFile {
    servers: Vec<String>,
    timeout: Option<String>,
    on_failure: Option<String>,
    password: Option<String>,
    alternate_location: Option<String>,
    default_settings: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    actions: BTreeMap<String, String>,
    #[serde(default)]
    symbols: BTreeMap<String, String>,
    #[serde(default)]
    rules: BTreeMap<String, OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryFile {
    configuration: PathBuf,
    program: Option<PathBuf>,
    library: Option<String>,
    #[serde(default)]
    load_first: Vec<String>,
    version: Option<Version>,
    timeout: Option<String>,
    on_failure: Option<String>,
}

/// Reads the file.
///
/// # Errors
/// It is one of ours and has a fault, or it cannot be read.
pub fn read(path: &Path) -> Result<Engine, Fault> {
    let unreadable = |error: &std::io::Error| {
        Fault::Unreadable(format!("failed to read {}: {}", path.display(), error_text(error)))
    };
    let mut text = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            file.take(BMI_CONFIGURATION_BYTES_MAX)
                .read_to_end(&mut text)
                .map_err(|error| unreadable(&error))?;
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(error) => return Err(unreadable(&error)),
    }
    let text = String::from_utf8_lossy(&text);
    if is_ours(&text) {
        return parse(&text).map_err(|fault| Fault::Wrong(format!("{}: {fault}", path.display())));
    }
    // The configuration of bmiclient 6 is XML, and the library does not bring what reads it.
    let is_xml = text.trim_start().starts_with('<') || path.extension().is_some_and(|end| end == "xml");
    Ok(Engine::Library(LibrarySettings {
        program: None,
        library: LIBRARY.to_owned(),
        load_first: if is_xml { vec![XML_LIBRARY.to_owned()] } else { Vec::new() },
        version: Version::Number(1),
        configuration: path.to_owned(),
        timeout: TIMEOUT,
        on_failure: OnFailure::Accept,
    }))
}

const LIBRARY: &str = "libbmiclient_single.so";
const XML_LIBRARY: &str = "libxml2_single.so";

/// Whether a line before the first table sets `engine`.
fn is_ours(text: &str) -> bool {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let mut values = lines.filter_map(|line| line.strip_prefix("engine"));
    values.any(|rest| rest.trim_start().starts_with('='))
}

/// Reads the text of a file of ours.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Engine, String> {
    let file: File = toml::from_str(text).map_err(|error| located(text, &error))?;
    match file {
        File::Rspamd(file) => rspamd(file).map(Engine::Rspamd),
        File::Brightmail(file) => Ok(Engine::Library(LibrarySettings {
            program: file.program,
            library: file.library.unwrap_or_else(|| LIBRARY.to_owned()),
            load_first: file.load_first,
            version: file.version.unwrap_or(Version::Number(1)),
            configuration: file.configuration,
            timeout: timeout(file.timeout.as_deref())?,
            on_failure: on_failure(file.on_failure.as_deref())?,
        })),
    }
}

/// A fault of the syntax, with its line.
fn located(text: &str, error: &toml::de::Error) -> String {
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            format!("line {}: {}", before.matches('\n').count().saturating_add(1), error.message())
        }
        None => error.message().to_owned(),
    }
}

fn timeout(text: Option<&str>) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(TIMEOUT) };
    match parse_interval(text) {
        Some(seconds) if (1..=3600).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("timeout: \"{text}\" is not a time from 1s to 1h")),
    }
}

fn on_failure(text: Option<&str>) -> Result<OnFailure, String> {
    match text {
        None | Some("accept") => Ok(OnFailure::Accept),
        Some("defer") => Ok(OnFailure::Defer),
        Some(text) => Err(format!("on_failure: \"{text}\" is not accept or defer")),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    if text.starts_with('/') {
        return Ok(Endpoint::Unix(text.into()));
    }
    let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address = address.as_deref().unwrap_or(text).parse();
    address.map(Endpoint::Tcp).map_err(|_| format!("servers: \"{text}\" is not a path or ADDRESS:PORT"))
}

/// What actions mean that the file does not name.
const ACTIONS: &[(&str, Meaning)] = &[
    ("reject", Meaning::Discard),
    ("discard", Meaning::Discard),
    ("quarantine", Meaning::Alternate(None)),
    ("add header", Meaning::Alternate(None)),
    ("rewrite subject", Meaning::Alternate(None)),
];

fn rspamd(file: RspamdFile) -> Result<RspamdSettings, String> {
    let servers: Vec<Endpoint> = file.servers.iter().map(|text| endpoint(text)).collect::<Result<_, _>>()?;
    if servers.is_empty() {
        return Err("servers: there is none".to_owned());
    }
    let meanings = |table: BTreeMap<String, String>, name: &str| {
        let read = |(key, text): (String, String)| match Meaning::parse(&text) {
            Ok(meaning) => Ok((key, meaning)),
            Err(fault) => Err(format!("{name}.{key}: {fault}")),
        };
        table.into_iter().map(read).collect::<Result<BTreeMap<_, _>, String>>()
    };
    let mut actions: BTreeMap<String, Meaning> =
        ACTIONS.iter().map(|(name, meaning)| ((*name).to_owned(), meaning.clone())).collect();
    actions.extend(meanings(file.actions, "actions")?);
    let mut rules = BTreeMap::new();
    for (number, symbols) in file.rules {
        let parsed = number.parse().ok().filter(|n| *n > 0);
        let rule: u32 = parsed.ok_or_else(|| format!("rules: \"{number}\" is not a number above 0"))?;
        let symbols = match symbols {
            OneOrMore::One(symbol) => vec![symbol],
            OneOrMore::More(symbols) => symbols,
        };
        rules.insert(rule, symbols);
    }
    Ok(RspamdSettings {
        servers,
        timeout: timeout(file.timeout.as_deref())?,
        on_failure: on_failure(file.on_failure.as_deref())?,
        password: file.password,
        alternate_location: file.alternate_location.unwrap_or_else(|| "X-Spam: yes".to_owned()),
        default_settings: file.default_settings,
        settings: file.settings,
        actions,
        symbols: meanings(file.symbols, "symbols")?,
        rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn a_whole_file() {
        let text = r#"
            engine = "rspamd"
            servers = ["127.0.0.1:11333", "[::1]:11333", "localhost:1", "/run/rspamd.sock"]
            timeout = "1m"
            on_failure = "defer"
            alternate_location = "X-Junk: yes"
            default_settings = "plain"
            [settings]
            premium = "gold"
            "premium:virus" = "gold-virus"
            [actions]
            reject = "alternate: X-Rejected: yes"
            [symbols]
            GTUBE = "discard"
            [rules]
            5 = "GTUBE"
            8 = ["A", "action:reject"]
        "#;
        let Engine::Rspamd(settings) = parse(text).unwrap() else { panic!() };
        assert_eq!(settings.servers.len(), 4);
        assert_eq!(settings.timeout, Duration::from_secs(60));
        assert_eq!(settings.on_failure, OnFailure::Defer);
        assert_eq!(settings.settings["premium:virus"], "gold-virus");
        assert_eq!(settings.actions["reject"], Meaning::Alternate(Some("X-Rejected: yes".to_owned())));
        assert_eq!(settings.actions["add header"], Meaning::Alternate(None));
        assert_eq!(settings.symbols["GTUBE"], Meaning::Discard);
        assert_eq!(settings.rules[&8], ["A", "action:reject"]);
    }

    #[test]
    fn faults_are_named() {
        let rspamd = |rest: &str| fault(&format!("engine = \"rspamd\"\n{rest}"));
        assert!(fault("engine = \"other\"").contains("unknown variant `other`"));
        assert!(rspamd("").contains("missing field `servers`"));
        assert!(rspamd("servers = []\nwhat = 1").contains("unknown field `what`"));
        assert_eq!(rspamd("servers = []"), "servers: there is none");
        assert!(rspamd("servers = [\"mail.example:11333\"]").ends_with("is not a path or ADDRESS:PORT"));
        let good = "servers = [\"127.0.0.1:1\"]\n";
        assert!(rspamd(&format!("{good}timeout = \"0s\"")).contains("is not a time from 1s to 1h"));
        assert!(rspamd(&format!("{good}on_failure = \"maybe\"")).contains("is not accept or defer"));
        let fault = rspamd(&format!("{good}[actions]\nreject = \"shred\""));
        assert_eq!(fault, "actions.reject: \"shred\" is not deliver, discard, alternate or alternate:TEXT");
        assert!(rspamd(&format!("{good}[rules]\nx = \"A\"")).contains("is not a number above 0"));
        assert!(rspamd(&format!("{good}[rules")).starts_with("line 3: "));
    }

    #[test]
    fn the_graver_meaning_is_the_greater_one() {
        assert!(Meaning::Discard > Meaning::Alternate(Some("z".to_owned())));
        assert!(Meaning::Alternate(None) > Meaning::Deliver);
    }

    #[test]
    fn what_is_not_ours_is_left_to_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let engine = |name: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            read(&path).map_err(|fault| fault.text().to_owned())
        };
        let first = |engine: Result<Engine, String>| match engine {
            Ok(Engine::Library(settings)) => settings.load_first,
            other => panic!("{other:?}"),
        };
        let none: [String; 0] = [];
        assert_eq!(first(engine("brightmail.cfg", Some("[bmi]\nengine = \"rspamd\"\n"))), none);
        assert_eq!(first(engine("absent.cfg", None)), none);
        assert_eq!(first(engine("a.cfg", Some("\n<?xml version=\"1.0\"?>"))), ["libxml2_single.so"]);
        assert_eq!(first(engine("bmiconfig.xml", None)), ["libxml2_single.so"]);
        let ours = engine("b.cfg", Some("# ours\nengine=\"rspamd\"\nservers=[\"127.0.0.1:1\"]\n"));
        assert!(matches!(ours, Ok(Engine::Rspamd(_))), "{ours:?}");
        let wrong = engine("c.cfg", Some("engine = \"rspamd\"\n")).unwrap_err();
        assert!(wrong.contains("c.cfg: "), "{wrong}");
        let text =
            "engine = \"brightmail\"\nconfiguration = \"/x.xml\"\nload_first = [\"y\"]\nversion = \"6\"\n";
        assert_eq!(first(engine("d.toml", Some(text))), ["y"]);
        assert!(matches!(read(folder.path()), Err(Fault::Unreadable(_))));
    }
}
