//! Rules as a whole. The expected values were taken from Exim 4.96 (`exim4 -brt`).

use super::record::Failure;
use super::*;

fn rules(lines: &str) -> Rules {
    Rules::parse(lines.lines()).unwrap()
}

fn context() -> Context {
    Context::default()
}

fn brt(rules: &Rules, address: &str, host: Option<&str>, sender: Option<&str>, error: &str) -> String {
    let sender = sender.map(Text::tainted);
    let key = Key { address, host, sender: sender.as_ref() };
    let cause = if error.is_empty() { Cause::Other } else { Cause::from_name(error).unwrap() };
    rules.find(&mut context(), &key, cause).unwrap().map_or("none".to_owned(), Rule::show)
}

const SECTION: &str = "alice@wonderland.fict.example quota_5d  F,7d,3h
wonderland.fict.example       quota_5d
wonderland.fict.example       *         F,1h,15m; G,2d,1h,2;
lookingglass.fict.example     *         F,24h,30m;
bounce.ex rcpt_4xx   senders=:   F,1h,30m
bounce.ex rcpt_452  senders=\"xb.dom : yc.dom\"  G,8h,10m,1.5
host.ex data_45x F,1h,1m
host.ex mail_4xx F,1h,2m
host.ex timeout_connect_MX F,1h,3m
host.ex refused F,1h,4m
host.ex quota F,1h,9m
*                 refused_A   F,2h,20m;
*                 *           F,2h,15m; G,16h,1h,1.5; H,5d,8h,1.25";

#[test]
fn the_first_rule_that_fits() {
    let rules = rules(SECTION);
    let last = "Retry rule: *  *  F,2h,15m; G,16h,1h,1.5; H,5d,8h; ";
    let wonderland = "Retry rule: wonderland.fict.example  *  F,1h,15m; G,2d,1h,2.0; ";
    for (address, host, sender, error, expected) in [
        ("alice@wonderland.fict.example", None, None, "", wonderland),
        (
            "bob@wonderland.fict.example",
            None,
            None,
            "quota_6d",
            "Retry rule: wonderland.fict.example  quota_5d  ",
        ),
        (
            "alice@wonderland.fict.example",
            None,
            None,
            "quota_6d",
            "Retry rule: alice@wonderland.fict.example  quota_5d  F,1w,3h; ",
        ),
        ("alice@wonderland.fict.example", None, None, "quota_4d", wonderland),
        ("wonderland.fict.example", None, None, "", wonderland),
        ("x@bounce.ex", None, None, "rcpt_452", last),
        ("x@bounce.ex", None, Some(""), "rcpt_452", "Retry rule: bounce.ex  *  F,1h,30m; "),
        ("x@bounce.ex", None, Some("a@yc.dom"), "rcpt_452", "Retry rule: bounce.ex  *  G,8h,10m,1.5; "),
        ("x@y", Some("host.ex"), None, "data_451", "Retry rule: host.ex  *  F,1h,1m; "),
        ("x@y", Some("host.ex"), None, "data_421", last),
        ("x@host.ex", Some("other"), None, "mail_4xx", "Retry rule: host.ex  *  F,1h,2m; "),
        ("x@y", None, None, "refused_A", "Retry rule: *  refused_A  F,2h,20m; "),
        (
            "x@y",
            Some("host.ex"),
            None,
            "timeout_connect_MX",
            "Retry rule: host.ex  timeout_connect_MX  F,1h,3m; ",
        ),
        ("x@y", Some("host.ex"), None, "timeout_connect", last),
        ("x@y", Some("host.ex"), None, "refused_MX", "Retry rule: host.ex  refused  F,1h,4m; "),
        ("x@y", Some("host.ex"), None, "quota", "Retry rule: host.ex  quota  F,1h,9m; "),
    ] {
        assert_eq!(brt(&rules, address, host, sender, error), expected, "{address} {host:?} {error}");
    }
}

#[test]
fn patterns_see_the_address_or_the_domain() {
    for (pattern, address, domain) in [
        ("x@y.z", true, false),
        ("y.z", true, true),
        ("*.z", true, true),
        ("*@y.z", true, true),
        ("x@*.z", true, false),
        ("^x@y", true, false),
        ("^\\N[^@]+@y\\.z$\\N", true, true),
        ("!y.z", false, false),
        ("*", true, true),
        ("${sg{y.z}{q}{r}}", true, true),
        ("y.z:a.b", false, false),
    ] {
        let rules = rules(&format!("{pattern} * F,1h,1m"));
        assert_eq!(brt(&rules, "x@y.z", None, None, "") != "none", address, "{pattern} address");
        assert_eq!(brt(&rules, "y.z", None, None, "") != "none", domain, "{pattern} domain");
    }
    assert_ne!(brt(&rules("!y.z * F,1h,1m"), "x@nn.n", Some("y.z"), None, ""), "none");
}

#[test]
fn faulty_rules() {
    for (line, error) in [
        ("a.b", "missing error type in retry rule"),
        ("a.b * F", "comma expected"),
        ("a.b * F,1h", "comma expected"),
        ("a.b * F,1h,1m,2", "semicolon expected"),
        ("a.b * X,1h,1m", "unknown retry rule letter"),
        ("a.b * G,1h,1m", "comma expected"),
        ("a.b * G,1h,1m,0.5", "bad parameters for retry rule"),
        ("a.b * F,1x,1m", "bad parameters for retry rule"),
        ("a.b nosuch F,1h,1m", "unknown or malformed retry error \"nosuch\""),
        ("a.b rcpt_5xx F,1h,1m", "unknown or malformed retry error \"rcpt_5xx\""),
        (
            "a.b rcpt_45 F,1h,1m",
            "rcpt_4 must be followed by xx, dx, or dd, where x is literal and d is any digit",
        ),
        (
            "a.b data_45X F,1h",
            "data_4 must be followed by xx, dx, or dd, where x is literal and d is any digit",
        ),
        ("a.b quota_x F,1h,1m", "bad time value"),
        ("a.b quotax F,1h,1m", "unknown or malformed retry error \"quotax\""),
        ("a.b * F,1h,1m F,2h,1m", "semicolon expected"),
        ("a.b * F,1h,0s", "bad parameters for retry rule"),
        ("a.b * F,1h,1m;;", "comma expected"),
        ("\"a b * F,1h,1m", "missing error type in retry rule"),
        ("a.b * senders a@b F,1h,1m", "\"=\" expected after \"senders\" in retry rule"),
        ("a.b timeout_foo F,1h,1m", "\"A\", \"MX\", or \"connect\" expected after \"timeout\""),
        ("a.b refused_B F,1h,1m", "A or MX expected after \"refused\""),
        ("a.b timeoutx F,1h,1m", "unknown or malformed retry error \"timeoutx\""),
        ("* * F,1h,15m ; G , 2h , 1h , 2", "comma expected"),
        ("a.b * G,1h,1m,x", "bad parameters for retry rule"),
    ] {
        assert_eq!(Rule::parse(line).unwrap_err().0, error, "{line}");
    }
    assert_eq!(Rule::parse("a.b * f,1h,1m;").unwrap().show(), "Retry rule: a.b  *  F,1h,1m; ");
    assert_eq!(Rule::parse("a.b * G,1h,1m,1.12345").unwrap().show(), "Retry rule: a.b  *  G,1h,1m,1.123; ");
    let errors = Rules::parse(["a * F,1h,1m", "b"]).unwrap_err();
    assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
}

fn fail(previous: Option<&RetryRecord>, rule: &Rule, now: i64, errno: i32, received: i64) -> RetryRecord {
    let failure = Failure { errno, more_errno: 0, text: "text", now, received, interval_max: 86_400 };
    RetryRecord::after_failure(previous, Some(rule), &failure, |below| below - 1)
}

#[test]
fn intervals_grow_by_the_parameters() {
    let rule = Rule::parse("* * F,1h,15m; G,1d,1h,2").unwrap();
    let mut record = fail(None, &rule, 0, 111, 0);
    assert_eq!((record.next_try, record.expired), (900, false));
    let mut gaps = Vec::new();
    for _ in 0..8 {
        let now = record.next_try;
        record = fail(Some(&record), &rule, now, 111, 0);
        gaps.push((record.next_try - now) / 60);
    }
    assert_eq!(gaps, [15, 15, 15, 60, 120, 240, 480, 960]);
    assert_eq!(record.first_failed, 0);
    let record = fail(Some(&record), &rule, record.next_try, 111, 0);
    assert!(record.expired);
    assert_eq!(record.next_try - record.last_try, 86_400);
}

#[test]
fn random_intervals_stay_between_their_ends() {
    let rule = Rule::parse("* * H,1d,10m,1.5").unwrap();
    let first = fail(None, &rule, 0, 111, 0);
    assert_eq!(first.next_try, 600);
    let second = fail(Some(&first), &rule, 600, 111, 0);
    assert_eq!(second.next_try - second.last_try, 900);
}

#[test]
fn a_factor_of_one_does_not_hang() {
    let rule = Rule::parse("* * G,1d,10m,1").unwrap();
    let first = fail(None, &rule, 0, 111, 0);
    assert_eq!(fail(Some(&first), &rule, 600, 111, 0).next_try, 1200);
}

#[test]
fn message_errors_use_the_clock_of_the_message() {
    let rule = Rule::parse("* * F,1h,15m").unwrap();
    assert!(!fail(None, &rule, 10_000, 111, 0).expired);
    assert!(fail(None, &rule, 10_000, code::DATA_4XX, 0).expired);
}

#[test]
fn giving_up() {
    let rule = Rule::parse("* * F,1h,15m").unwrap();
    let record = fail(None, &rule, 10_000, 111, 9_000);
    assert!(!record.is_timed_out(Some(&rule), 9_000));
    assert!(record.is_timed_out(Some(&rule), 6_000) && record.is_overdue(Some(&rule), 6_000));
    assert!(record.is_timed_out(None, 9_000));
    let none = Rule::parse("* *").unwrap();
    assert!(fail(None, &none, 10_000, 111, 9_999).expired);
}

#[test]
fn when_an_attempt_is_due() {
    let record = RetryRecord { first_failed: 0, last_try: 100, next_try: 200, ..RetryRecord::default() };
    assert_eq!(record.due(150, 140, Some(3600)), Due::NotYet);
    assert_eq!(record.due(200, 140, Some(3600)), Due::Now);
    assert_eq!(record.due(150, -4000, Some(3600)), Due::Now);
    let expired = RetryRecord { expired: true, ..record.clone() };
    assert_eq!(expired.due(150, 140, Some(3600)), Due::Now);
    assert_eq!(expired.host_due(150, 140, Some(3600), true), Due::GivenUp);
    assert_eq!(expired.host_due(150, 140, Some(3600), false), Due::Now);
    assert_eq!(expired.host_due(150, 90, Some(3600), false), Due::GivenUp);
    assert_eq!(expired.host_due(200, 90, Some(3600), true), Due::Now);
    assert_eq!(record.host_due(150, 140, Some(3600), true), Due::NotYet);
    assert!(record.is_stale(700_000, 604_800) && !record.is_stale(600_000, 604_800));
}

#[test]
fn records_survive_the_database() {
    let record = RetryRecord {
        first_failed: 1,
        last_try: 2,
        next_try: -3,
        expired: true,
        errno: -44,
        more_errno: 452,
        text: "H=a [1.2.3.4]: 452 no  space ".to_owned(),
    };
    assert_eq!(RetryRecord::decode(&record.encode()), Some(record));
    assert_eq!(RetryRecord::decode(b""), None);
    assert_eq!(RetryRecord::decode(b"2 1 1 1 0 0 0 x"), None);
    assert_eq!(RetryRecord::decode(b"1 1 1 1 0 0"), None);
}

#[test]
fn numbers_and_causes() {
    assert_eq!(Cause::from_code(111, MORE_MX), Cause::Refused { mx: Some(true) });
    assert_eq!(
        Cause::from_code(110, MORE_A | MORE_CONNECT),
        Cause::Timeout { mx: Some(false), connecting: true }
    );
    assert_eq!(Cause::from_code(code::RCPT_4XX, 52 << 8 | MORE_A), Cause::Rcpt(452));
    assert_eq!(Cause::from_code(28, 86_400), Cause::Quota(Some(86_400)));
    assert_eq!(Cause::from_code(-99, 0), Cause::Other);
}
