//! The `ratelimit` condition: a client sends faster than a limit. Sets `$sender_rate`, `$sender_rate_limit`, `$sender_rate_period`.
//!
//! The rate is an average in which what is older than the period fades. It lies in the hints, under a key that has the period and
//! what is measured, so that all connections share it. Within one connection or message each key is measured once.
//! The values of `unique=` are kept as hashes of 64 bits, up to [`EVENTS_MAX`]; beyond them every value counts as an old one.
//! Failure modes: bad parameters make the ACL faulty; hints that cannot be used defer. Manual sections 44.39 to 44.44.

use std::hash::{DefaultHasher, Hasher};

use oxim_base::Text;
use oxim_base::clock::{self, Stamp};
use oxim_lang::config::Config;
use oxim_lang::list::split_at;
use oxim_spool::hints::{Database, Hint};

use super::super::Phase;
use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, phases};
use super::super::run::Run;
use crate::hint_record::Rate as Record;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "ratelimit",
    doc: "The client sends faster than the limit.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

/// Different values that are remembered for one key: 128 KiB in the hints.
const EVENTS_MAX: usize = 16_384;

/// Where a message is measured; elsewhere its rate is only read.
const OF_MESSAGE: Phases = phases(&[
    Phase::Mail,
    Phase::Rcpt,
    Phase::Predata,
    Phase::Mime,
    Phase::Data,
    Phase::Prdr,
    Phase::NotSmtp,
    Phase::NotSmtpMime,
]);
const OF_RECIPIENTS: Phases =
    phases(&[Phase::Rcpt, Phase::Predata, Phase::Mime, Phase::Data, Phase::Prdr, Phase::NotSmtp]);

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(RateLimit))
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Connections,
    Messages,
    Bytes,
    Recipients,
    Addresses,
    Commands,
}

impl Measure {
    /// Its part of the key.
    const fn name(self) -> &'static str {
        match self {
            Measure::Connections => "per_conn",
            // Bytes are messages that count more.
            Measure::Messages | Measure::Bytes => "per_mail",
            Measure::Recipients | Measure::Addresses => "per_rcpt",
            Measure::Commands => "per_cmd",
        }
    }

    /// Where it can be measured.
    const fn phases(self) -> Phases {
        match self {
            Measure::Connections | Measure::Commands => Phases::MAX,
            Measure::Messages | Measure::Bytes => OF_MESSAGE,
            Measure::Recipients => OF_RECIPIENTS,
            Measure::Addresses => phases(&[Phase::Rcpt]),
        }
    }
}

/// When the rate is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Update {
    /// While it is below the limit.
    Leaky,
    /// Always.
    Strict,
    /// Never.
    Never,
}

/// The parameters, read.
#[derive(Debug, PartialEq)]
struct Parameters {
    limit: f64,
    limit_text: String,
    period: f64,
    period_text: String,
    measure: Measure,
    /// Where it cannot be measured, only a measure that was asked for is a fault.
    measure_given: bool,
    update: Option<Update>,
    count: Option<f64>,
    unique: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// A number that is not negative, with K, M or G for the limit.
fn number(text: &str, may_have_unit: bool) -> Option<f64> {
    let (digits, factor) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') if may_have_unit => (text.get(..text.len().saturating_sub(1))?, 1024.0),
        Some(b'M') if may_have_unit => (text.get(..text.len().saturating_sub(1))?, 1024.0 * 1024.0),
        Some(b'G') if may_have_unit => (text.get(..text.len().saturating_sub(1))?, 1024.0 * 1024.0 * 1024.0),
        Some(_) | None => (text, 1.0),
    };
    let value = digits.parse::<f64>().ok()? * factor;
    (value.is_finite() && value >= 0.0).then_some(value)
}

fn parse(argument: &Text) -> Result<Parameters, String> {
    let mut items = split_at(argument.as_bytes(), b'/').map(std::borrow::Cow::into_owned).peekable();
    let first = items.next().filter(|item| !item.is_empty()).ok_or("sender rate limit not set")?;
    let limit_text = String::from_utf8_lossy(&first).into_owned();
    let limit =
        number(&limit_text, true).ok_or_else(|| format!("\"{limit_text}\" is not a positive number"))?;
    let period_text =
        items.next().map_or("NULL".to_owned(), |item| String::from_utf8_lossy(&item).into_owned());
    // At most 292 years, which a double holds exactly.
    let period = clock::parse_interval(&period_text)
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| format!("\"{period_text}\" is not a time value"))?;
    let mut measure = None;
    let mut update = None;
    let mut is_frozen = false;
    let (mut count, mut unique) = (None, None);
    // An option counts wherever it stands; what is none is a part of the key.
    let mut rest: Vec<Vec<u8>> = Vec::new();
    for item in items {
        let word = String::from_utf8_lossy(&item).into_owned();
        let measured = match word.as_str() {
            "per_conn" => Some(Measure::Connections),
            "per_mail" => Some(Measure::Messages),
            "per_byte" => Some(Measure::Bytes),
            "per_rcpt" => Some(Measure::Recipients),
            "per_addr" => Some(Measure::Addresses),
            "per_cmd" => Some(Measure::Commands),
            _ => None,
        };
        let updated = match word.as_str() {
            "leaky" => Some(Update::Leaky),
            "strict" => Some(Update::Strict),
            "readonly" => Some(Update::Never),
            _ => None,
        };
        if let Some(measured) = measured {
            if measure.replace(measured).is_some() {
                return Err("conflicting per_* options".to_owned());
            }
        } else if let Some(updated) = updated {
            if update.replace(updated).is_some_and(|before| before != updated) {
                return Err("conflicting update modes".to_owned());
            }
        } else if word == "noupdate" {
            is_frozen = true;
        } else if let Some(value) = word.strip_prefix("count=") {
            let value = if value.is_empty() { Some(0.0) } else { number(value, false) };
            count = Some(value.ok_or_else(|| format!("\"{word}\" is not a positive number"))?);
        } else if let Some(value) = item.strip_prefix(b"unique=") {
            unique = Some(value.to_vec());
        } else {
            rest.push(item);
        }
    }
    Ok(Parameters {
        limit,
        limit_text,
        period: f64::from(period),
        period_text,
        measure: measure.unwrap_or(Measure::Messages),
        measure_given: measure.is_some(),
        update: if is_frozen { Some(Update::Never) } else { update },
        count,
        unique,
        key: (!rest.is_empty()).then(|| rest.join(&b'/')),
    })
}

/// What one measurement adds.
struct Event<'a> {
    count: f64,
    period: f64,
    unique: Option<&'a [u8]>,
    now: f64,
}

/// The record after the event.
fn measured(before: Option<Record>, event: &Event<'_>) -> Record {
    let mut record = match &before {
        Some(record) => record.clone(),
        None => Record { written: event.now, epoch: event.now, ..Record::default() },
    };
    let mut count = event.count;
    if let Some(unique) = event.unique {
        if event.now - record.epoch > event.period {
            record.events.clear();
            record.epoch = event.now;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(unique);
        let hash = hasher.finish();
        match record.events.binary_search(&hash) {
            Err(place) if record.events.len() < EVENTS_MAX => record.events.insert(place, hash),
            Ok(_) | Err(_) => count = 0.0,
        }
    }
    if before.is_none() {
        record.rate = count;
        return record;
    }
    // A clock that was set back makes no time pass.
    let periods = ((event.now - record.written) / event.period).max(1e-9);
    let faded = (-periods).exp();
    // What is left of the old rate, and what the new event adds, spread over the time since the last one; a slow client is
    // never below what it sends at once.
    record.rate = (count * (-(-periods).exp_m1()) / periods + faded * record.rate).max(count);
    record.written = event.now;
    record
}

/// The rate as it is now, with nothing new.
fn faded(record: &Record, period: f64, now: f64) -> f64 {
    record.rate * (-((now - record.written) / period).max(0.0)).exp()
}

#[allow(clippy::cast_precision_loss, reason = "seconds of a clock and sizes of messages are below 2^53")]
fn as_number(value: i64) -> f64 {
    value as f64
}

fn seconds(stamp: Stamp) -> f64 {
    as_number(stamp.seconds) + f64::from(stamp.micros) / 1e6
}

#[derive(Debug)]
struct RateLimit;

impl Condition for RateLimit {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        match parse(argument).and_then(|parameters| settle(run.phase, parameters)) {
            Ok((parameters, update)) => check(run, &parameters, update),
            Err(what) => Tested::faulty(format!("error in arguments to \"ratelimit\" condition: {what}")),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// The update mode in this ACL.
fn settle(phase: Phase, parameters: Parameters) -> Result<(Parameters, Update), String> {
    let measure = parameters.measure;
    let update = match parameters.update {
        Some(Update::Never) => Update::Never,
        Some(_) if parameters.measure_given && measure.phases() & phase.bit() == 0 => {
            return Err(format!(
                "\"{}\" must not have /leaky or /strict option, or cannot be used in {} ACL",
                measure.name(),
                phase.acl_name()
            ));
        }
        None if measure.phases() & phase.bit() == 0 => Update::Never,
        Some(update) => update,
        None => Update::Leaky,
    };
    Ok((parameters, update))
}

fn check(run: &mut Run<'_>, parameters: &Parameters, update: Update) -> Tested {
    let context = &run.scene.context;
    let is_unique = parameters.unique.is_some() || parameters.measure == Measure::Addresses;
    let own_key = parameters.key.clone().unwrap_or_else(|| {
        context.connection.host_address.map(|address| address.to_string().into_bytes()).unwrap_or_default()
    });
    let kind = if is_unique { "unique/" } else { "" };
    let mut key = format!("{}/{}/{kind}", parameters.period_text, parameters.measure.name()).into_bytes();
    key.extend_from_slice(&own_key);
    let count = parameters.count.unwrap_or_else(|| match parameters.measure {
        Measure::Bytes => as_number(context.message.size.max(0)),
        Measure::Recipients if run.phase != Phase::Rcpt => f64::from(context.message.rcpt_count),
        Measure::Connections
        | Measure::Messages
        | Measure::Recipients
        | Measure::Addresses
        | Measure::Commands => 1.0,
    });
    run.trace(|| {
        let shown = String::from_utf8_lossy(&key);
        format!("ratelimit condition count={count:.0} {:.1}/{shown}", parameters.limit)
    });
    let rate = match known(run, parameters.measure, &key) {
        Some(rate) => {
            run.trace(|| format!("ratelimit found pre-computed rate {rate:.1}"));
            rate
        }
        None => match rate(run, parameters, update, &key, count) {
            Ok(rate) => rate,
            Err(what) => return Tested::logged(Answer::Later, what),
        },
    };
    run.scene.context.local.sender_rate =
        Some([format!("{rate:.1}"), parameters.limit_text.clone(), parameters.period_text.clone()]);
    Tested::of(rate >= parameters.limit)
}

/// The rates of this connection or message that are known; None for what is measured each time.
fn rates<'a>(
    run: &'a mut Run<'_>,
    measure: Measure,
) -> Option<&'a mut std::collections::BTreeMap<Vec<u8>, f64>> {
    match measure {
        Measure::Connections => Some(&mut run.scene.connection.rates),
        Measure::Recipients | Measure::Addresses if run.phase == Phase::Rcpt => None,
        Measure::Messages | Measure::Bytes | Measure::Recipients | Measure::Addresses => {
            Some(&mut run.scene.message.rates)
        }
        Measure::Commands => None,
    }
}

fn known(run: &mut Run<'_>, measure: Measure, key: &[u8]) -> Option<f64> {
    rates(run, measure)?.get(key).copied()
}

/// Reads the rate from the hints, and writes it as the mode says.
fn rate(
    run: &mut Run<'_>,
    parameters: &Parameters,
    update: Update,
    key: &[u8],
    count: f64,
) -> Result<f64, String> {
    let hints = run.scene.context.services.hints.get().cloned();
    let hints = hints.ok_or("ratelimit database not available")?;
    let now = Stamp::now();
    if update == Update::Never {
        let hint = hints.get(&Database::Ratelimit, key).map_err(|error| error.to_string())?;
        let record = hint.and_then(|hint| Record::read(&hint.value));
        return Ok(record.map_or(0.0, |record| faded(&record, parameters.period, seconds(now))));
    }
    let subject;
    let unique = match (&parameters.unique, parameters.measure) {
        (Some(unique), _) => Some(unique.as_slice()),
        (None, Measure::Addresses) => {
            subject = run.scene.subject.clone();
            Some(subject.as_slice())
        }
        (None, _) => None,
    };
    let event = Event { count, period: parameters.period, unique, now: seconds(now) };
    let limit = parameters.limit;
    let result = hints.update(&Database::Ratelimit, key, |hint| {
        let before = hint.as_ref().and_then(|hint| Record::read(&hint.value));
        let after = measured(before, &event);
        if update == Update::Strict || after.rate < limit {
            (Some(Hint { value: after.write(), stamp: now }), after.rate)
        } else {
            (hint, after.rate)
        }
    });
    let rate = result.map_err(|error| error.to_string())?;
    run.trace(|| format!("ratelimit computed rate {rate:.1}"));
    if let Some(rates) = rates(run, parameters.measure) {
        rates.insert(key.to_vec(), rate);
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: f64, unique: Option<&[u8]>) -> Event<'_> {
        Event { count: 1.0, period: 2.0, unique, now }
    }

    #[test]
    fn a_rate_grows_with_events_and_fades_with_time() {
        let first = measured(None, &at(100.0, None));
        let second = measured(Some(first), &at(100.0, None));
        assert!((second.rate - 2.0).abs() < 1e-6);
        // As exim4 computes them: e^-0.5 of two, and one spread over half a period.
        let third = measured(Some(second.clone()), &at(101.0, None));
        assert!((third.rate - (2.0 * 0.606_531 + 0.786_939)).abs() < 1e-4);
        assert!((faded(&second, 2.0, 102.0) - 2.0 * 0.367_879).abs() < 1e-4);
        assert!((measured(Some(third), &at(1000.0, None)).rate - 1.0).abs() < 1e-9);
    }

    #[test]
    fn equal_events_count_once_in_a_period() {
        let mut record = None;
        for (now, value, rate) in [(1.0, b"a", 1.0), (1.0, b"b", 2.0), (1.0, b"a", 2.0), (1.0, b"c", 3.0)] {
            let after = measured(record.take(), &at(now, Some(value)));
            assert!((after.rate - rate).abs() < 1e-6, "{value:?}");
            record = Some(after);
        }
        let after = measured(record, &at(3.5, Some(b"a")));
        assert_eq!(after.events.len(), 1);
        assert_eq!(Record::read(&after.write()), Some(after));
        assert_eq!(Record::read(b"short"), None);
    }

    #[test]
    fn parameters_stand_in_any_order_before_the_key() {
        let read =
            parse(&Text::clean(" 3K / 1h30m / strict / per_rcpt / count=2.5/unique=x y/ k / l ")).unwrap();
        assert!((read.limit - 3072.0).abs() < 1e-9 && (read.period - 5400.0).abs() < 1e-9);
        assert_eq!(
            (read.measure, read.update, read.count),
            (Measure::Recipients, Some(Update::Strict), Some(2.5))
        );
        assert_eq!((read.unique.unwrap(), read.key.unwrap()), (b"x y".to_vec(), b"k/l".to_vec()));
        for (text, fault) in [
            ("", "sender rate limit not set"),
            ("3", "\"NULL\" is not a time value"),
            ("-1/1h/k", "\"-1\" is not a positive number"),
            ("3/0s", "\"0s\" is not a time value"),
            ("3/1h/per_cmd/per_rcpt", "conflicting per_* options"),
            ("3/1h/strict/readonly", "conflicting update modes"),
            ("3/1h/count=x", "\"count=x\" is not a positive number"),
        ] {
            assert_eq!(parse(&Text::clean(text)).unwrap_err(), fault, "{text}");
        }
    }
}
