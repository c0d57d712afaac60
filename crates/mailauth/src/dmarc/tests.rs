//! Checks with zones in memory.

use std::collections::HashMap;
use std::net::IpAddr;

use super::suffix::Rules;
use super::*;

struct Zone(HashMap<&'static str, &'static str>);

impl Dns for Zone {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        match self.0.get(name) {
            Some(&"SERVFAIL") => Answer::AskAgain,
            Some(text) => Answer::Found(text.split('|').map(|part| part.as_bytes().to_vec()).collect()),
            None => Answer::NotThere,
        }
    }
    fn addresses(&self, name: &str, is_v6: bool) -> Answer<IpAddr> {
        match name {
            "there.o.ex" if !is_v6 => Answer::Found(vec![IpAddr::from([192, 0, 2, 1])]),
            "later.o.ex" => Answer::AskAgain,
            _ => Answer::NotThere,
        }
    }
    fn exchangers(&self, _: &str) -> Answer<String> {
        Answer::NotThere
    }
    fn names_of(&self, _: IpAddr) -> Answer<String> {
        Answer::NotThere
    }
}

fn zone(records: &[(&'static str, &'static str)]) -> Zone {
    Zone(records.iter().copied().collect())
}

fn claims<'a>(from: &'a str, spf: &str, dkim: &[&str]) -> Claims<'a> {
    use Authentication::{Later, NotPassed, Passed};
    let read = |text: &str| match text.split_at(1) {
        ("-", domain) => (NotPassed, domain.to_owned()),
        ("?", domain) => (Later, domain.to_owned()),
        _ => (Passed, text.to_owned()),
    };
    Claims {
        from,
        spf: Some(spf).filter(|spf| !spf.is_empty()).map(read),
        dkim: dkim.iter().map(|one| read(one)).collect(),
    }
}

fn by_file() -> Method {
    Method::Suffixes(Suffixes::File(Rules::parse(b"ex\nco.uk\nuk\n").into()))
}

fn outcome(zone: &Zone, claims: &Claims<'_>) -> Outcome {
    check(claims, zone, &by_file(), None).outcome
}

use Outcome::{Accept, Fail, NoRecord, TempError};

#[test]
fn records_are_found_at_the_domain_or_its_organization() {
    let zone = zone(&[
        ("_dmarc.o.ex", "v=DMARC1; p=reject; sp=quarantine"),
        ("_dmarc.own.o.ex", "v=DMARC1; p=none"),
        ("_dmarc.two.ex", "v=DMARC1; p=reject|v=DMARC1; p=none"),
        ("_dmarc.mixed.ex", "hello|v=DMARC1; p=reject|v=spf1 -all"),
        ("_dmarc.bogus.ex", "v=DMARC1; p=bogus"),
        ("_dmarc.later.ex", "SERVFAIL"),
        ("_dmarc.x.later.ex", "v=spf1"),
        ("_dmarc.co.uk", "v=DMARC1; p=reject"),
    ]);
    let of = |from| outcome(&zone, &claims(from, "-o.ex", &[]));
    assert_eq!(of("o.ex"), Fail(Policy::Reject));
    assert_eq!(of("sub.o.ex"), Fail(Policy::Quarantine));
    assert_eq!(of("own.o.ex"), Fail(Policy::None));
    assert_eq!(of("deep.own.o.ex"), Fail(Policy::Quarantine));
    assert_eq!(of("two.ex"), NoRecord);
    assert_eq!(of("mixed.ex"), Fail(Policy::Reject));
    assert_eq!(of("bogus.ex"), NoRecord);
    assert_eq!(of("none.ex"), NoRecord);
    assert_eq!(of("later.ex"), TempError);
    assert_eq!(of("x.later.ex"), TempError);
    assert_eq!(of("aaa.co.uk"), NoRecord);
    assert_eq!(of("a b.ex"), NoRecord);
    let found = check(&claims("sub.o.ex", "", &[]), &zone, &by_file(), None).found.unwrap();
    assert_eq!(found.domain, "o.ex");
}

#[test]
fn alignment_is_relaxed_or_strict() {
    let zone = zone(&[
        ("_dmarc.r.ex", "v=DMARC1; p=reject"),
        ("_dmarc.s.ex", "v=DMARC1; p=reject; aspf=s; adkim=s"),
        ("_dmarc.aaa.co.uk", "v=DMARC1; p=reject"),
    ]);
    let of = |from, spf, dkim: &[&str]| {
        let checked = check(&claims(from, spf, dkim), &zone, &by_file(), None);
        (checked.outcome, checked.is_spf_aligned, checked.is_dkim_aligned)
    };
    assert_eq!(of("r.ex", "r.ex", &[]), (Accept, true, false));
    assert_eq!(of("r.ex", "a.r.ex", &["-r.ex", "b.r.ex"]), (Accept, true, true));
    assert_eq!(of("b.r.ex", "a.r.ex", &[]), (Accept, true, false));
    assert_eq!(of("r.ex", "other.ex", &["-r.ex", "or.ex"]), (Fail(Policy::Reject), false, false));
    assert_eq!(of("s.ex", "a.s.ex", &["a.s.ex"]), (Fail(Policy::Reject), false, false));
    assert_eq!(of("s.ex", "-s.ex", &["a.s.ex", "s.ex"]), (Accept, false, true));
    assert_eq!(of("aaa.co.uk", "x.aaa.co.uk", &[]), (Accept, true, false));
    assert_eq!(of("aaa.co.uk", "y.bbb.co.uk", &["co.uk"]), (Fail(Policy::Reject), false, false));
    // What could not be checked must not be refused; what would not have counted does not matter.
    assert_eq!(of("r.ex", "?r.ex", &["-r.ex"]), (TempError, false, false));
    assert_eq!(of("r.ex", "?other.ex", &["?x.ex"]), (Fail(Policy::Reject), false, false));
    assert_eq!(of("r.ex", "?r.ex", &["r.ex"]), (Accept, false, true));
}

#[test]
fn a_part_of_the_messages_gets_the_milder_policy() {
    let zone = zone(&[
        ("_dmarc.r.ex", "v=DMARC1; p=reject; pct=30"),
        ("_dmarc.q.ex", "v=DMARC1; p=quarantine; pct=0"),
    ]);
    let of = |from, draw| check(&claims(from, "", &[]), &zone, &by_file(), draw).outcome;
    assert_eq!(of("r.ex", None), Fail(Policy::Reject));
    assert_eq!(of("r.ex", Some(29)), Fail(Policy::Reject));
    assert_eq!(of("r.ex", Some(30)), Fail(Policy::Quarantine));
    assert_eq!(of("q.ex", Some(0)), Fail(Policy::None));
}

#[test]
fn reports_go_only_where_they_are_wanted() {
    let zone =
        zone(&[("o.ex._report._dmarc.r.example", "v=DMARC1; "), ("o.ex._report._dmarc.x.example", "other")]);
    assert!(takes_reports(&zone, "o.ex", "sub.o.ex"));
    assert!(takes_reports(&zone, "o.ex", "r.example"));
    assert!(!takes_reports(&zone, "o.ex", "x.example"));
    assert!(!takes_reports(&zone, "o.ex", "y.example"));
}

#[test]
fn the_tree_walk() {
    let zone = zone(&[
        ("_dmarc.o.ex", "v=DMARC1; p=reject; sp=quarantine; np=none"),
        ("_dmarc.apart.o.ex", "v=DMARC1; p=reject; psd=n"),
        ("_dmarc.reg.ex", "v=DMARC1; p=quarantine; psd=y; sp=reject"),
        ("_dmarc.own.reg.ex", "v=DMARC1; p=none"),
        ("_dmarc.t.ex", "v=DMARC1; p=reject; t=y"),
        ("_dmarc.later.ex", "SERVFAIL"),
        ("_dmarc.g.h.i.j.mail.long.ex", "v=DMARC1; p=reject"),
    ]);
    let of = |from, spf: &str| check(&claims(from, spf, &[]), &zone, &Method::TreeWalk, None);
    assert_eq!(of("o.ex", "").outcome, Fail(Policy::Reject));
    assert_eq!(of("there.o.ex", "").outcome, Fail(Policy::Quarantine));
    assert_eq!(of("gone.o.ex", "").outcome, Fail(Policy::None));
    assert_eq!(of("later.o.ex", "").outcome, TempError);
    assert_eq!(of("a.there.o.ex", "b.o.ex").outcome, Accept);
    // Another organization below the first.
    assert_eq!(of("o.ex", "x.apart.o.ex").outcome, Fail(Policy::Reject));
    assert_eq!(of("y.apart.o.ex", "x.apart.o.ex").outcome, Accept);
    // Below a registry each name is its own organization, and the registry's policy counts if it has none.
    assert_eq!(of("a.reg.ex", "b.reg.ex").outcome, Fail(Policy::Reject));
    assert_eq!(of("a.reg.ex", "c.a.reg.ex").outcome, Accept);
    assert_eq!(of("own.reg.ex", "").outcome, Fail(Policy::None));
    assert_eq!(of("t.ex", "").outcome, Fail(Policy::Quarantine));
    assert_eq!(of("later.ex", "").outcome, TempError);
    assert_eq!(of("none.org", "").outcome, NoRecord);
    assert_eq!(of("a.b.c.d.e.f.g.h.i.j.mail.long.ex", "x.g.h.i.j.mail.long.ex").outcome, Accept);
}
