//! SpamAssassin's spamd and Rspamd (manual section 45.2): servers, question, answer.
//!
//! Servers are tried by priority, among equals at random by weight. Once one has been reached, its answer is the answer.
//! Failure modes: no server is reached, an answer that is broken off or not understood, no answer in time.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::time::Duration;

use oxim_base::clock::{self, Stamp, Zone};
use oxim_lang::content::SpamFacts;
use oxim_lang::context::Context;
use oxim_net::dns::BlockingResolver;

use super::copy::MailCopy;
use super::server::{Conversation, Deadline, Place, trouble};

/// Most servers that are looked at.
const SERVERS_MAX: usize = 32;
/// Time allowed for connecting, question and answer together, without `tmo=`.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest `$spam_bar`.
const BAR_MAX: usize = 50;

/// A server of `spamd_address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    place: Place,
    priority: u32,
    weight: u32,
    /// Between these seconds of the day.
    hours: Option<(u32, u32)>,
    retry: Option<Duration>,
    timeout: Duration,
    /// It speaks Rspamd's protocol.
    is_rspamd: bool,
}

impl Server {
    /// Reads one item of `spamd_address`; None if it names no place. An option that is none is passed over. What is wrong
    /// goes to `notes`.
    pub fn parse(item: &str, notes: &mut Vec<String>) -> Option<Server> {
        let Some((place, options)) = Place::parse(item) else {
            notes.push(format!("warning - invalid spamd address: '{item}'"));
            return None;
        };
        let (priority, weight, timeout) = (1, 1, TIMEOUT);
        let mut server =
            Server { place, priority, weight, hours: None, retry: None, timeout, is_rspamd: false };
        for option in options {
            if server.set(option).is_none() {
                notes.push(format!("warning - invalid spamd parameter: '{option}'"));
            }
        }
        Some(server)
    }

    fn set(&mut self, option: &str) -> Option<()> {
        if option == "variant=rspamd" {
            self.is_rspamd = true;
            return Some(());
        }
        let (name, value) = option.split_once('=')?;
        let time = || clock::parse_interval(value).map(Duration::from_secs);
        match name {
            "pri" => self.priority = value.parse().ok()?,
            "weight" => self.weight = value.parse().ok()?,
            "retry" => self.retry = Some(time()?),
            "tmo" => self.timeout = time()?,
            "time" => {
                let (from, to) = value.split_once('-')?;
                self.hours = Some((second_of_day(from)?, second_of_day(to)?));
            }
            _ => return None,
        }
        Some(())
    }

    fn is_on_duty(&self, second: u32) -> bool {
        self.hours.is_none_or(|(from, to)| {
            if from <= to { (from..to).contains(&second) } else { second >= from || second < to }
        })
    }
}

/// `hour.minute.second`; what is left out is zero.
fn second_of_day(text: &str) -> Option<u32> {
    let mut total = 0_u32;
    let mut parts = text.split('.');
    for (unit, limit) in [(3600, 24), (60, 59), (1, 59)] {
        let value: u32 = parts.next().map_or(Some(0), |part| part.parse().ok())?;
        if value > limit {
            return None;
        }
        total = total.saturating_add(value.saturating_mul(unit));
    }
    parts.next().is_none().then_some(total)
}

/// The servers of an option, those that are on duty, in the order in which they are tried. Faulty ones go to `notes`.
#[must_use]
pub fn servers(list: &str, zone: Zone, notes: &mut Vec<String>) -> Vec<Server> {
    let now = second_of_day(&Stamp::now().strftime(zone, "%H.%M.%S")).unwrap_or(0);
    let mut servers = Vec::new();
    for item in oxim_lang::list::split(list.as_bytes()).take(SERVERS_MAX) {
        let server = Server::parse(&String::from_utf8_lossy(&item), notes);
        servers.extend(server.filter(|server| server.is_on_duty(now)));
    }
    ordered(servers, &mut || std::collections::hash_map::RandomState::new().build_hasher().finish())
}

/// Highest priority first; among equals, each next one is drawn by weight.
fn ordered(mut servers: Vec<Server>, draw: &mut dyn FnMut() -> u64) -> Vec<Server> {
    let mut out = Vec::with_capacity(servers.len());
    while let Some(priority) = servers.iter().map(|server| server.priority).max() {
        let total: u64 =
            servers.iter().filter(|s| s.priority == priority).map(|s| u64::from(s.weight.max(1))).sum();
        let mut point = draw() % total.max(1);
        let chosen = servers.iter().position(|server| {
            if server.priority != priority {
                return false;
            }
            let weight = u64::from(server.weight.max(1));
            let is_it = point < weight;
            point = point.saturating_sub(weight);
            is_it
        });
        match chosen {
            Some(index) => out.push(servers.remove(index)),
            None => break,
        }
    }
    out
}

/// What a server has said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whether the score has reached the threshold.
    pub is_spam: bool,
    /// The variables.
    pub facts: SpamFacts,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Silence(pub String);

/// Asks the first server that can be reached. Blocks. Gives where it was, too.
///
/// # Errors
/// There is no answer; servers that could not be reached are in `notes`.
pub fn ask(
    servers: &[Server],
    context: &Context,
    copy: &MailCopy,
    user: &[u8],
    resolver: Option<&BlockingResolver>,
    notes: &mut Vec<String>,
) -> Result<(Answer, String), Silence> {
    if servers.is_empty() {
        let text = "no useable spamd server addresses in spamd_address configuration option.";
        return Err(Silence(text.to_owned()));
    }
    for server in servers {
        let deadline = Deadline::after(server.timeout);
        match Conversation::connect(&server.place, deadline, server.retry, resolver) {
            Ok(conversation) => return talk(server, conversation, context, copy, user),
            Err(text) => notes.push(format!("spamd: {text}")),
        }
    }
    Err(Silence("all spamd servers failed".to_owned()))
}

fn talk(
    server: &Server,
    mut conversation: Conversation,
    context: &Context,
    copy: &MailCopy,
    user: &[u8],
) -> Result<(Answer, String), Silence> {
    let address = conversation.address.clone();
    let failed = |doing: &str, error: &std::io::Error| {
        Silence(format!("error {doing} spamd {address}, socket: {}", trouble(error)))
    };
    let file = File::open(copy.file()).map_err(|error| failed("reading the message for", &error))?;
    let size = file.metadata().map_err(|error| failed("reading the message for", &error))?.len();
    let request = if server.is_rspamd { rspamd_request(context, size) } else { spamd_request(user, size) };
    conversation
        .send(&request)
        .and_then(|()| conversation.send_all(file.take(size)))
        .map_err(|error| failed("writing to", &error))?;
    if !server.is_rspamd {
        conversation.end_output().map_err(|error| failed("writing to", &error))?;
    }
    let answer = conversation.rest().map_err(|error| failed("reading from", &error))?;
    let parsed = if server.is_rspamd { parse_rspamd(&answer) } else { parse_spamd(&answer) };
    // Exim tells of Rspamd how many fields it has read: none, or not even a line.
    let cannot = || {
        let count = if answer.is_empty() { -1 } else { 0 };
        let what = if server.is_rspamd { format!(", output: {count}") } else { " output".to_owned() };
        Silence(format!("cannot parse spamd {address}{what}"))
    };
    parsed.ok_or_else(cannot).map(|answer| (answer, address.clone()))
}

fn spamd_request(user: &[u8], size: u64) -> Vec<u8> {
    let mut out = b"REPORT SPAMC/1.2\r\n".to_vec();
    push(&mut out, "User", user);
    push(&mut out, "Content-length", size.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

fn rspamd_request(context: &Context, size: u64) -> Vec<u8> {
    let (connection, message) = (&context.connection, &context.message);
    let mut out = b"CHECK RSPAMC/1.3\r\n".to_vec();
    push(&mut out, "Content-length", size.to_string().as_bytes());
    if let Some(id) = message.id {
        push(&mut out, "Queue-Id", id.to_string().as_bytes());
    }
    push(&mut out, "From", &[b"<", message.sender.as_slice(), b">"].concat());
    push(&mut out, "Recipient-Number", message.recipients.len().to_string().as_bytes());
    for recipient in message.recipients.iter() {
        push(&mut out, "Rcpt", &[b"<", recipient.address.as_slice(), b">"].concat());
    }
    let address = connection.host_address.map(|ip| ip.to_string().into_bytes());
    let values = [
        ("Helo", &connection.helo_name),
        ("Hostname", &connection.host_name),
        ("IP", &address),
        ("User", &connection.auth_id),
    ];
    for (name, value) in values {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            push(&mut out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Adds a line; no value may make a line of its own.
fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\0')));
    out.extend_from_slice(b"\r\n");
}

/// Understands spamd: a status line, header lines with `Spam: True ; 14.9 / 5.0`, an empty line, the report.
#[must_use]
pub fn parse_spamd(answer: &[u8]) -> Option<Answer> {
    let (status, mut rest) = line_of(answer)?;
    let mut words = status.strip_prefix(b"SPAMD/")?.split(|byte| *byte == b' ');
    if words.nth(1) != Some(b"0") {
        return None;
    }
    let (mut scores, mut length) = (None, None);
    loop {
        let (line, after) = line_of(rest)?;
        rest = after;
        if line.is_empty() && scores.is_some() {
            break;
        }
        if let Some(value) = header(line, b"Spam") {
            scores = Some(scores_of(value, b';')?);
        } else if let Some(value) = header(line, b"Content-length") {
            length = std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok();
        }
    }
    let (score, threshold) = scores?;
    // A report that is shorter than it should be is half an answer.
    if length.is_some_and(|length| rest.len() < length) {
        return None;
    }
    let is_spam = number(score)? >= number(threshold)?;
    let action = if is_spam { "reject" } else { "no action" };
    Some(Answer { is_spam, facts: facts(score, rest, action.as_bytes())? })
}

/// Understands Rspamd: a status line, `Metric: default; True; 13.0 / 15.0 / 15.0`, then lines with `Action: …` among them.
#[must_use]
pub fn parse_rspamd(answer: &[u8]) -> Option<Answer> {
    let (status, mut rest) = line_of(answer)?;
    let mut words = status.strip_prefix(b"RSPAMD/")?.split(|byte| *byte == b' ');
    if words.nth(1) != Some(b"0") {
        return None;
    }
    let (score, threshold) = loop {
        let (line, after) = line_of(rest)?;
        rest = after;
        if let Some(value) = header(line, b"Metric") {
            let mut fields = value.splitn(3, |byte| *byte == b';');
            break scores_of(fields.nth(2)?, b'/').or_else(|| scores_of(value, b';'))?;
        }
    };
    let mut lines = rest;
    let mut action = None;
    while action.is_none() {
        let (line, after) = line_of(lines)?;
        lines = after;
        action = header(line, b"Action");
    }
    let is_spam = number(score)? >= number(threshold)?;
    Some(Answer { is_spam, facts: facts(score, rest, action?)? })
}

/// The next line without its end, and what follows it. None: it has no end.
fn line_of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = text.split_at_checked(memchr::memchr(b'\n', text)?)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..)?))
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(())?;
    Some(value.strip_prefix(b":")?.trim_ascii())
}

/// `True ; 14.9 / 5.0`: with `;`, the numbers behind it; with `/`, the numbers right away.
fn scores_of(value: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let numbers =
        if separator == b';' { value.get(memchr::memrchr(b';', value)?.saturating_add(1)..)? } else { value };
    let mut numbers = numbers.split(|byte| *byte == b'/').map(<[u8]>::trim_ascii);
    let (score, threshold) = (numbers.next()?, numbers.next()?);
    (number(score).is_some() && number(threshold).is_some()).then_some((score, threshold))
}

fn number(text: &[u8]) -> Option<f64> {
    let plain = text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    let value: f64 = std::str::from_utf8(text).ok().filter(|_| plain && text.len() < 30)?.parse().ok()?;
    value.is_finite().then_some(value)
}

fn facts(score: &[u8], report: &[u8], action: &[u8]) -> Option<SpamFacts> {
    let value = number(score)?;
    let text = std::str::from_utf8(score).ok()?;
    let is_negative = text.starts_with('-');
    let (whole, fraction) =
        text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
    let tenths = format!("{whole}{}", fraction.get(..1).unwrap_or("0"));
    let tenths: u64 = tenths.parse().ok()?;
    let sign = if is_negative && tenths > 0 { "-" } else { "" };
    let length = usize::try_from(tenths / 10).unwrap_or(BAR_MAX).min(BAR_MAX);
    let bar = match (length, is_negative) {
        (0, _) => "/".to_owned(),
        (length, true) => "-".repeat(length),
        (length, false) => "+".repeat(length),
    };
    Some(SpamFacts {
        score: format!("{value:.1}").into_bytes(),
        score_int: format!("{sign}{tenths}").into_bytes(),
        bar: bar.into_bytes(),
        report: folded(report),
        action: action.to_vec(),
    })
}

/// A report as it may stand in a header line: each further line begins with a blank.
fn folded(report: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(report.len());
    for byte in report.trim_ascii().iter().filter(|byte| !matches!(byte, b'\r' | b'\0')) {
        out.push(*byte);
        if *byte == b'\n' {
            out.push(b' ');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: Option<Answer>) -> String {
        answer.map_or("-".to_owned(), |answer| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let f = &answer.facts;
            format!(
                "{} {} {} {} {} <{}>",
                answer.is_spam,
                text(&f.score),
                text(&f.score_int),
                text(&f.bar),
                text(&f.action),
                text(&f.report)
            )
        })
    }

    #[test]
    fn answers_of_spamd() {
        let of = |text: &str| shown(parse_spamd(text.as_bytes()));
        let good = "SPAMD/1.1 0 EX_OK\r\nContent-length: 9\r\nSpam: True ; 14.97 / 5.0\r\n\r\nSpam\r\nby \n";
        assert_eq!(of(good), "true 15.0 149 ++++++++++++++ reject <Spam\n by>");
        assert_eq!(
            of("SPAMD/1.1 0 EX_OK\r\nSpam: False ; -3.26 / 5.0\r\n\r\n"),
            "false -3.3 -32 --- no action <>"
        );
        for end in 0..good.len() - 1 {
            assert_eq!(of(good.get(..end).unwrap()), "-", "{end}");
        }
        assert_eq!(of("SPAMD/1.1 76 Bad header line\r\n\r\n"), "-");
        assert_eq!(of("SPAMD/1.1 0 EX_OK\r\nSpam: garbage\r\n\r\nx"), "-");
        assert_eq!(of("SPAMD/1.1 0 EX_OK\r\nSpam: True ; inf / 5.0\r\n\r\nx"), "-");
    }

    #[test]
    fn answers_of_rspamd() {
        let of = |score: &str| {
            shown(parse_rspamd(
                format!("RSPAMD/1.3 0 EX_OK\r\nMetric: default; False; {score} / 15.00 / 15.00\r\nSymbol: X\r\nAction: no action\r\n\r\nA\n\n")
                    .as_bytes(),
            ))
        };
        assert_eq!(of("0.3"), "false 0.3 3 / no action <Symbol: X\n Action: no action\n \n A>");
        assert!(of("99.96").starts_with(&format!("true 100.0 999 {} no", "+".repeat(50))));
        assert!(of("-0.4").starts_with("false -0.4 -4 / "));
        assert!(of("5").starts_with("false 5.0 50 +++++ "));
        assert_eq!(shown(parse_rspamd(b"RSPAMD/1.3 0 EX_OK\r\nMetric: default; False; 1 / 2\r\n")), "-");
        assert_eq!(shown(parse_rspamd(b"HTTP/1.1 404 x\r\n\r\n")), "-");
    }

    #[test]
    fn servers_and_their_order() {
        let noted = |item: &str| {
            let mut notes = Vec::new();
            (Server::parse(item, &mut notes), notes)
        };
        let parse = |item: &str| noted(item).0;
        let all =
            parse("127.0.0.1 783 pri=3 weight=5 time=8-17.30.1 retry=1m tmo=20s variant=rspamd").unwrap();
        assert_eq!((all.priority, all.weight, all.is_rspamd), (3, 5, true));
        assert_eq!((all.hours, all.timeout), (Some((28_800, 63_001)), Duration::from_secs(20)));
        assert!(all.is_on_duty(28_800) && !all.is_on_duty(63_001) && !all.is_on_duty(0));
        let night = parse("/s time=22-6").unwrap();
        assert!(night.is_on_duty(0) && night.is_on_duty(86_000) && !night.is_on_duty(40_000));
        let nowhere = vec!["warning - invalid spamd address: '127.0.0.1'".to_owned()];
        assert_eq!(noted("127.0.0.1"), (None, nowhere));
        let faulty = vec!["warning - invalid spamd parameter: 'foo=1'".to_owned()];
        assert_eq!(noted("a 1 foo=1 pri=2"), (parse("a 1 pri=2"), faulty));
        for bad in ["time=1", "time=25-1", "time=1-1.60", "time=1.1.1.1-2", "pri=x", "tmo=", "variant=x"] {
            assert_eq!(noted(&format!("/s {bad}")).1.len(), 1, "{bad}");
        }
        let named = |items: &[&str], draw: u64| {
            let servers = items.iter().map(|item| parse(item).unwrap()).collect();
            ordered(servers, &mut || draw).iter().map(|s| s.place.shown()).collect::<Vec<_>>().join(" ")
        };
        let items = ["/a", "/b pri=2 weight=3", "/c pri=2", "/d"];
        assert_eq!(named(&items, 0), "/b /c /a /d");
        assert_eq!(named(&items, 3), "/c /b /d /a");
    }
}
