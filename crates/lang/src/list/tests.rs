//! Lists as a whole. The expected values were taken from Exim 4.96 (`exim4 -be '${if match_…'`, `exim4 -bh`).

use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::context::{HostLookup, Services};
use crate::host::{AclVerdict, Host};
use crate::interfaces::Interfaces;

fn context() -> Context {
    let mut named = NamedLists::default();
    for (kind, name, source) in [
        (ListKind::Domain, "d1", "a.b : *.c"),
        (ListKind::Domain, "d2", "+d1 : z.z"),
        (ListKind::Domain, "loop1", "+loop2"),
        (ListKind::Domain, "loop2", "+loop1"),
        (ListKind::Domain, "neg", "!a.b : *.b"),
        (ListKind::Host, "h1", "1.2.3.4 : 10.0.0.0/8"),
        (ListKind::Host, "hx", "+include_unknown : *.foo"),
        (ListKind::Host, "hn", "*.foo"),
        (ListKind::Address, "a1", "x@y.z : *@+d1"),
        (ListKind::LocalPart, "l1", "foo : bar*"),
    ] {
        assert!(named.define(kind, name, source, false, false));
    }
    let surroundings = Surroundings {
        named: Arc::new(named),
        primary_hostname: "my.host.ex".to_owned(),
        interfaces: Interfaces::new("127.0.0.1", ""),
        ..Surroundings::default()
    };
    let services = Services::default();
    services.surroundings.set(Arc::new(surroundings)).unwrap();
    Context { services: Arc::new(services), ..Context::default() }
}

/// `y:value:$0:$1:$2`, `n`, or the text of a deferral.
fn outcome(context: &mut Context, kind: ListKind, subject: &str, list: &str) -> String {
    context.local.captures.clear();
    let text = Text::tainted(subject);
    let subject = match kind {
        ListKind::Domain => Subject::Domain(&text),
        ListKind::LocalPart => Subject::LocalPart { text: &text, caseful: false },
        ListKind::String => Subject::String { text: &text, caseful: true },
        ListKind::Address => Subject::Address { address: &text, caseful: false, captures: false },
        ListKind::Host => Subject::Host { address: subject.parse().ok(), name: HostName::None },
    };
    match List::from_text(kind, &Text::from(list)).matches(context, &subject) {
        Ok(Match::No) => "n".to_owned(),
        Ok(Match::Yes { data }) => {
            let mut out = format!("y:{}", data.unwrap_or_default());
            for capture in context.local.captures.iter().take(3) {
                out.push(':');
                out.push_str(&capture.to_string());
            }
            out
        }
        Err(defer) => defer.text().to_owned(),
    }
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> String {
    file.path().to_str().unwrap().to_owned()
}

fn expect(kind: ListKind, cases: &[(&str, &str, &str)]) {
    let mut context = context();
    for (subject, list, expected) in cases {
        assert_eq!(outcome(&mut context, kind, subject, list), *expected, "{subject:?} in {list:?}");
    }
}

#[test]
fn domain_items() {
    expect(
        ListKind::Domain,
        &[
            ("a.b", "a.b", "y:a.b:a.b"),
            ("A.B", "a.b", "y:a.b:a.b"),
            ("A.B", "*", "y:*:a.b:a.b"),
            ("A.B", "^a", "y:^a:A.B"),
            ("x.a.b", "*.a.b", "y:*.a.b:x.a.b:x"),
            ("X.a.b", "^x\\.(.)\\.b", "y:^x\\.(.)\\.b:X.a.b:a"),
            ("q", "^(?-i)Q", "n"),
            ("Q", "^(?-i)Q", "y:^(?-i)Q:Q"),
            ("aq", "^q", "n"),
            ("q", "*", "y:*:q:q"),
            ("", "*", "y:*::"),
            ("q", "!a", "y:"),
            ("q", "x : ! q", "n"),
            ("q", "! x : q", "y:q:q"),
            ("q", "! ! q", "y:"),
            ("q", "< x : q", "y:q:q"),
            ("q", "", "n"),
            ("", ":", "y::"),
            ("my.host.ex", "@", "y:my.host.ex:my.host.ex"),
            ("[127.0.0.1]", "@[]", "y:@[]:[127.0.0.1]"),
            ("[127.0.0.2]", "@[]", "n"),
            ("127.0.0.1", "@[]", "n"),
            ("@foo", "@foo", "y:@foo:@foo"),
            ("q.c", "+d2", "y:*.c:q.c:q"),
            ("z", "+d2", "n"),
            ("a.b", "+neg", "n"),
            ("x.b", "+neg", "y:*.b:x.b:x"),
            ("q", "!  +d1", "y:"),
            ("q.c", "!  +d1", "n"),
        ],
    );
}

#[test]
fn what_cannot_be_found_out_defers() {
    expect(
        ListKind::Domain,
        &[
            ("x", "+nolist", "unknown named domain list \"+nolist\""),
            ("x", "+a1", "unknown named domain list \"+a1\""),
            ("x", "+loop1", "named domain list \"+loop2\" refers to itself"),
            (
                "q",
                "/nonexistent/f",
                "failed to open /nonexistent/f when checking \"/nonexistent/f\": No such file or directory",
            ),
            ("q", "nosuch;/x", "unknown lookup type \"nosuch\""),
            ("q", "lsearch ; /x", "unknown lookup type \"lsearch \""),
            ("q", "x : a;b", "unknown lookup type \"a\""),
            (
                "q",
                "lsearch;/nonexistent",
                "failed to open /nonexistent for linear search: No such file or directory",
            ),
            ("q", "dnsdb*;x", "defaults using \"*\" or \"*@\" are not permitted for lookup type \"dnsdb*\""),
            ("q", "partial-dnsdb;x", "\"partial\" is not permitted for lookup type \"dnsdb\""),
            ("q", "pgsql;select", "no PostgreSQL servers defined (pgsql_servers option)"),
            (
                "q",
                "^(",
                "regular expression error: missing closing parenthesis at offset 2 while compiling ^(",
            ),
            ("q", "@mx_any", "no DNS resolver is available here"),
            ("q", "q : nosuch;/x", "y:q:q"),
        ],
    );
}

#[test]
fn expansion_failures() {
    let mut context = context();
    let text = Text::from("q");
    let mut run =
        |source: &str| List::compile(ListKind::Domain, source).matches(&mut context, &Subject::Domain(&text));
    assert_eq!(
        run("${bad").unwrap_err().text().split(':').next(),
        Some("failed to expand \"${bad\" while checking a list")
    );
    assert_eq!(run("\\N^q$\\N").unwrap(), Match::Yes { data: Some(Text::from("^q$")) });
}

#[test]
fn lookups_in_domain_lists() {
    let ls = file("a: one\n*.x.y: part\n");
    let ls = path(&ls);
    let mut context = context();
    let mut run = |subject: &str, list: String| outcome(&mut context, ListKind::Domain, subject, &list);
    assert_eq!(run("a", format!("lsearch;{ls}")), "y:one:a");
    assert_eq!(run("A", format!("lsearch,ret=key;{ls}")), "y:a:a");
    assert_eq!(run("k.x.y", format!("partial-lsearch;{ls}")), "y:part:k.x.y:k:x.y");
    assert_eq!(run("k.x.y", format!("!partial-lsearch;{ls}")), "n");
    assert_eq!(run("q", format!("lsearch;{ls}")), "n");
    assert!(run("root", "passwd;root".to_owned()).starts_with("y:*:0:0:"));
}

#[test]
fn files_in_lists() {
    let domains = file("a.b # comment\n!c.d\n\n#x\n  *.e  \n/tmp/x\n^x.y\n+d1\n");
    let domains = path(&domains);
    let mut context = context();
    for (subject, plain, negated) in [
        ("a.b", "y:a.b:a.b", "n"),
        ("c.d", "n", "y:c.d:c.d"),
        ("q.e", "y:*.e:q.e:q", "n"),
        ("/tmp/x", "y:/tmp/x:/tmp/x", "n"),
        ("xzy", "y:^x.y:xzy", "n"),
        ("q.c", "n", "y:"),
    ] {
        assert_eq!(outcome(&mut context, ListKind::Domain, subject, &domains), plain, "{subject}");
        assert_eq!(
            outcome(&mut context, ListKind::Domain, subject, &format!("!{domains}")),
            negated,
            "!{subject}"
        );
    }
    let addresses = file("foo#bar@x #c\n#y\n*@z.z\n!p@q\nq\n");
    for (subject, expected) in [
        ("foo#bar@x", "y:foo#bar@x"),
        ("y@z.z", "y:*@z.z"),
        ("p@q", "n"),
        ("z@q", "y:q"),
        ("x@y", "n"),
        ("", "n"),
    ] {
        assert_eq!(
            outcome(&mut context, ListKind::Address, subject, &path(&addresses)),
            expected,
            "{subject}"
        );
    }
    // What cannot be decided in the file cannot be decided by its negation either.
    let broken = file("lsearch;/nonexistent/table\n");
    let broken = path(&broken);
    for list in [broken.clone(), format!("!{broken}"), format!("!{broken} : *")] {
        let outcome = outcome(&mut context, ListKind::Domain, "a.b", &list);
        assert!(outcome.starts_with("failed to open /nonexistent/table"), "{list}: {outcome}");
    }
    let tainted = List::from_text(ListKind::Domain, &Text::tainted(domains));
    let subject = Text::from("a.b");
    let defer = tainted.matches(&mut context, &Subject::Domain(&subject)).unwrap_err();
    assert!(defer.text().starts_with("Tainted filename for search: '"), "{defer}");
}

#[test]
fn address_items() {
    expect(
        ListKind::Address,
        &[
            ("X@Y.Z", "+a1", "y:x@y.z"),
            ("foo@a.b", "+a1", "y:*@a.b"),
            ("foo@q.c", "f*@*.c", "n"),
            ("Foo@Q.C", "foo@*.c", "y:foo@*.c"),
            ("Foo@Q.C", "+caseful:foo@*.c", "n"),
            ("foo@Q.C", "+caseful:Foo@*.C : !foo@q.c", "n"),
            ("", ":", "y:"),
            ("", "^$", "y:"),
            ("", "*", "n"),
            ("", "*@*", "n"),
            ("a@b", "*", "y:@*"),
            ("foo", "foo", "n"),
            ("foo@BAR", "bar", "y:@bar"),
            ("foo@x.bar", "*.bar", "y:@*.bar"),
            ("foo@bar.com", "^foo@(.*)", "y:"),
            ("FOO@bar.com", "^foo@(.*)", "y:"),
            ("FOO@bar.com", "+caseful : ^foo@(.*)", "n"),
            ("\"a@b\"@c", "\"a@b\"@c", "y:\"a@b\"@c"),
        ],
    );
}

#[test]
fn lookups_in_address_lists() {
    let ls = file("a: one\n*.x.y: part\n*@q.r: atdef\nfoo@w: whole\nz.z: foo : !bar : *z\n");
    let ls = path(&ls);
    let chain = file("z.z: foo\n*: bar : >q\nq: x\nloop: y : >loop\n");
    let chain = path(&chain);
    let mut context = context();
    let mut run = |subject: &str, list: String| outcome(&mut context, ListKind::Address, subject, &list);
    assert_eq!(run("foo@k.x.y", format!("*@partial-lsearch;{ls}")), "y:*@part");
    assert_eq!(run("foo@a", format!("lsearch;{ls}")), "n");
    assert_eq!(run("Foo@W", format!("lsearch;{ls}")), "y:whole");
    assert_eq!(run("", format!("lsearch*;{ls}")), "n");
    assert_eq!(run("foo@q.r", format!("lsearch*@;{ls}")), "y:atdef");
    assert_eq!(run("foo@q.r", format!("partial-lsearch*@;{ls}")), "y:atdef");
    assert!(run("", "passwd;root".to_owned()).starts_with("y:*:0:0:"));
    assert_eq!(run("foo@z.z", format!("@@lsearch;{ls}")), "y:foo");
    assert_eq!(run("bar@z.z", format!("@@lsearch;{ls}")), "n");
    assert_eq!(run("baz@z.z", format!("@@lsearch;{ls}")), "y:*z");
    assert_eq!(run("x@other", format!("@@lsearch*;{chain}")), "y:x");
    assert_eq!(run("x@z.z", format!("@@lsearch*;{chain}")), "n");
    assert!(run("z@loop", format!("@@lsearch*;{chain}")).contains("Loop detected"));
}

#[test]
fn local_part_items() {
    expect(
        ListKind::LocalPart,
        &[
            ("foo", "+l1", "y:foo:foo"),
            ("barx", "+l1", "n"),
            ("barx", "+caseful : BARX", "n"),
            ("Barx", "+caseful : Barx", "y:Barx:Barx"),
            ("BARX", "barx", "y:barx:barx"),
            ("Barx", "^bar(.)", "y:^bar(.):Barx:x"),
            ("x y", "*y", "y:*y:x y:x "),
            ("foo", "@[]", "n"),
            ("@", "@", "y:@:@"),
            ("x", "+nolist", "unknown named local part list \"+nolist\""),
        ],
    );
    expect(ListKind::String, &[("Foo", "foo", "n"), ("Foo", "Foo", "y:Foo:Foo")]);
}

#[test]
fn host_items_without_names() {
    let hosts = file("192.168.0.0/16\n!10.0.0.1\n10.0.0.0/8\nabcd::/16\n");
    let hosts = path(&hosts);
    let keys = file(
        "abcd.0000.0000.0000.0000.0000.0000.0001: six\n1.2.3.4:four\n\
         abcd.0000.0000.0000.0000.0000.0000.0000/16: m16\n10.0.0.0/8:ten\n",
    );
    let keys = path(&keys);
    let networks = file("1.2.3.4: one\n192.168.0.0/16: net\n\"abcd::cdab\": v6\n");
    let networks = path(&networks);
    let mut context = context();
    let mut run = |subject: &str, list: &str| outcome(&mut context, ListKind::Host, subject, list);
    assert_eq!(run("1.2.3.4", "1.2.3.0/24"), "y:");
    assert_eq!(run("::1", "::::1"), "y:");
    assert_eq!(run("abcd::1", "<; abcd::/16"), "y:");
    assert_eq!(run("::ffff:1.2.3.4", "1.2.3.4"), "y:");
    assert_eq!(run("1.2.3.4", "1.2.3/24"), "n");
    assert_eq!(run("1.2.3.4", "*.foo : ^foo : localhost : @"), "n");
    assert_eq!(run("127.0.0.1", "@[]"), "y:");
    assert_eq!(run("", ":"), "y:");
    assert_eq!(run("", "*"), "y:");
    assert_eq!(run("", "1.2.3.4"), "n");
    assert_eq!(run("", "passwd;root"), "n");
    assert_eq!(run("1.2.3.4", ":"), "n");
    assert_eq!(run("10.1.1.1", "+h1"), "y:");
    assert_eq!(run("1.2.3.4", "!+h1"), "n");
    assert_eq!(run("1.2.3.4", "!1.2.3.5"), "y:");
    assert_eq!(run("192.168.3.4", &hosts), "y:192.168.0.0/16");
    assert_eq!(run("10.0.0.1", &hosts), "n");
    assert_eq!(run("10.0.0.2", &hosts), "y:10.0.0.0/8");
    assert_eq!(run("1.2.3.4", &format!("net-lsearch;{keys}")), "y:four");
    assert_eq!(run("1.2.3.4", &format!("lsearch;{keys}")), "y:four");
    assert_eq!(run("abcd::1", &format!("net-lsearch;{keys}")), "y:six");
    assert_eq!(run("10.1.1.1", &format!("net8-lsearch;{keys}")), "y:ten");
    assert_eq!(run("abcd::1", &format!("net16-lsearch;{keys}")), "y:m16");
    assert_eq!(run("1.2.3.4", &format!("net33-lsearch;{keys}")), "n");
    assert_eq!(run("abcd::cdab", &format!("net-iplsearch;{networks}")), "y:v6");
    assert!(
        run("192.168.4.5", &format!("net24-iplsearch;{networks}"))
            .starts_with("\"192.168.4.0/24\" is not a valid")
    );
    assert!(run("1.2.3.4", "net-passwd;root").starts_with("y:*:0:0:"));
}

struct NoNames;

impl Host for NoNames {
    fn run_acl(&self, _: &mut Context, _: &[u8], _: Vec<Text>) -> AclVerdict {
        unreachable!()
    }

    fn look_up_host_name(&self, context: &mut Context) {
        context.connection.host_lookup = HostLookup::Failed;
    }
}

#[test]
fn host_items_that_need_a_name() {
    let mut context = context();
    assert!(context.services.host.set(Arc::new(NoNames)).is_ok());
    let subject = Subject::Host { address: "1.2.3.4".parse().ok(), name: HostName::Caller };
    let mut run =
        |list: &str| List::from_text(ListKind::Host, &Text::from(list)).matches(&mut context, &subject);
    for (list, yes) in [
        ("*.foo.ex", false),
        ("*.foo.ex : 1.2.3.4", false),
        ("+ignore_unknown : *.foo.ex : 1.2.3.4", true),
        ("+include_unknown : *.foo.ex", true),
        ("+include_unknown : !*.foo.ex", true),
        ("!*.foo.ex", false),
        ("^.*", false),
        ("+hn : 1.2.3.4", true),
        ("+hx : 9.9.9.9", true),
        ("1.2.3.4 : *.foo.ex", true),
        ("+ignore_unknown", false),
    ] {
        assert_eq!(run(list).unwrap().is_yes(), yes, "{list}");
    }
    assert!(run("nosuch.invalid").is_err());
    assert!(!run("+ignore_defer : nosuch.invalid").unwrap().is_yes());
    assert!(run("+include_defer : nosuch.invalid").unwrap().is_yes());
    context.connection.host_name = Some(b"A.Foo.Ex".to_vec());
    context.connection.host_aliases = vec![b"b.bar".to_vec()];
    let mut run =
        |list: &str| List::from_text(ListKind::Host, &Text::from(list)).matches(&mut context, &subject);
    assert!(
        run("*.foo.ex").unwrap().is_yes()
            && run("^b\\.").unwrap().is_yes()
            && !run("*.baz").unwrap().is_yes()
    );
}

#[test]
fn long_lists_are_indexed_and_keep_their_order() {
    let mut items: Vec<String> = (0..50).map(|i| format!("d{i}.ex")).collect();
    items.insert(20, "!*5.ex".to_owned());
    items.push("d3.ex : !d7.ex : *.last".to_owned());
    let list = items.join(" : ");
    expect(
        ListKind::Domain,
        &[
            ("d5.ex", &list, "y:d5.ex:d5.ex"),
            ("D19.EX", &list, "y:d19.ex:d19.ex"),
            ("d25.ex", &list, "n"),
            ("d24.ex", &list, "y:d24.ex:d24.ex"),
            ("x.last", &list, "y:*.last:x.last:x"),
            ("d7.ex", &list, "y:d7.ex:d7.ex"),
            ("nope", &list, "n"),
        ],
    );
}

#[test]
fn address_captures_for_rewriting() {
    let ls = file("*.baz.example: x\n");
    let mut context = context();
    let mut run = |address: &str, pattern: &str| {
        context.local.captures.clear();
        let text = Text::tainted(address);
        let subject = Subject::Address { address: &text, caseful: true, captures: true };
        let list = List::single(ListKind::Address, &Text::from(pattern));
        let yes = list.matches(&mut context, &subject).unwrap().is_yes();
        let shown: Vec<String> = context.local.captures.iter().map(Text::to_string_lossy).collect();
        (yes, shown.join("|"))
    };
    let yes = |shown: &str| (true, shown.to_owned());
    assert_eq!(
        run("hearts-queen@wonderland.fict.example", "*queen@*.fict.example"),
        yes("hearts-queen@wonderland.fict.example|hearts-|wonderland")
    );
    let partial = format!("*@partial-lsearch;{}", path(&ls));
    assert_eq!(run("foo@bar.baz.example", &partial), yes("foo@bar.baz.example|foo|bar|baz.example"));
    assert_eq!(run("foo@baz.example", &partial), yes("foo@baz.example|foo||baz.example"));
    assert_eq!(run("a@x.b", "*.b"), yes("a@x.b|x"));
    assert_eq!(run("a@x.b", "a@*.b"), yes("a@x.b|x"));
    assert_eq!(run("abc@d", "^(.)b(.)@"), yes("abc@d|a|c"));
}

#[test]
fn results_of_named_lists_are_remembered_for_the_message() {
    let domains = file("a.b\n");
    let mut named = NamedLists::default();
    let name = path(&domains);
    named.define(ListKind::Domain, "f", &name, false, false);
    named.define(ListKind::Domain, "outer", "+f", false, false);
    let surroundings = Surroundings { named: Arc::new(named), ..Surroundings::default() };
    let services = Services::default();
    services.surroundings.set(Arc::new(surroundings)).unwrap();
    let mut context = Context { services: Arc::new(services), ..Context::default() };
    assert_eq!(outcome(&mut context, ListKind::Domain, "a.b", "+outer"), "y:a.b:a.b");
    drop(domains);
    assert_eq!(outcome(&mut context, ListKind::Domain, "a.b", "+outer"), "y:a.b:a.b");
    context.message = crate::context::Message::default();
    assert!(outcome(&mut context, ListKind::Domain, "a.b", "+outer").starts_with("failed to open"));
}

#[test]
fn a_list_that_refers_to_a_changing_one_is_not_remembered() {
    let mut named = NamedLists::default();
    named.define(ListKind::Domain, "fixed", "a.b", false, false);
    named.define(ListKind::Domain, "changing", "${if eq{$acl_m_x}{1}{a.b}{c.d}}", false, false);
    named.define(ListKind::Domain, "outer", "!+changing", false, false);
    named.define(ListKind::Address, "by_fixed", "x@+fixed", false, false);
    named.define(ListKind::Address, "by_changing", "q@z : !*@+changing", false, false);
    let cacheable = |kind, name: &str| named.is_cacheable(kind, named.get(kind, name.as_bytes()).unwrap());
    assert!(cacheable(ListKind::Domain, "fixed") && cacheable(ListKind::Address, "by_fixed"));
    assert!(!cacheable(ListKind::Domain, "changing") && !cacheable(ListKind::Domain, "outer"));
    assert!(!cacheable(ListKind::Address, "by_changing"));
}

#[test]
fn data_of_constants_is_clean_and_of_tainted_lists_is_not() {
    let mut context = context();
    let subject = Text::tainted("a.b");
    let clean =
        List::compile(ListKind::Domain, "a.b").matches(&mut context, &Subject::Domain(&subject)).unwrap();
    assert!(!clean.data().unwrap().is_foreign());
    assert!(context.local.captures[0].is_foreign());
    let tainted = List::from_text(ListKind::Domain, &Text::tainted("a.b"));
    let tainted = tainted.matches(&mut context, &Subject::Domain(&subject)).unwrap();
    assert!(tainted.data().unwrap().is_foreign());
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_list_of_any_kind(
        list in "[a-c:;<!+@*^\\[\\]/.,() \\-0-9\\n\\\\]{0,40}",
        subject in "[a-cA-C@.*0-9:\\[\\]]{0,12}",
    ) {
        // Files and services are not for random texts.
        let list = list.replace(['/', ';'], "|");
        let mut context = context();
        for kind in [ListKind::Domain, ListKind::LocalPart, ListKind::String, ListKind::Address, ListKind::Host] {
            let _ = outcome(&mut context, kind, &subject, &list);
        }
        proptest::prop_assert_eq!(context.local.depth, 0);
    }

    #[test]
    fn a_long_list_decides_as_its_parts_do(items in proptest::collection::vec("!?\\*?[ab]{1,2}", 8..14), subject in "[ab]{1,3}") {
        let list = items.join(" : ");
        let indexed = outcome(&mut context(), ListKind::Domain, &subject, &list);
        // `+caseful` does not exist in domain lists; a local part list with it is searched one by one.
        let text = Text::from(format!("+caseful : {list}"));
        let subject = Text::tainted(subject);
        let one_by_one = List::from_text(ListKind::LocalPart, &text)
            .matches(&mut context(), &Subject::LocalPart { text: &subject, caseful: false })
            .unwrap();
        proptest::prop_assert_eq!(indexed.starts_with('y'), one_by_one.is_yes());
    }
}

#[test]
fn lists_that_ask_for_nothing_but_the_subject() {
    let config = b"domainlist local = a.ex : +inner\ndomainlist inner = b.ex\ndomainlist by_user = ${if eq{$local_part}{x}{c.ex}{}}\n";
    let config = config::read_bytes("/test", config, &[], &config::Catalogue::default()).unwrap();
    let is_fixed = |kind, text: &str| List::compile(kind, text).is_fixed_in(&config);
    assert!(is_fixed(ListKind::Domain, "a.ex : !+local : lsearch;/etc/domains"));
    assert!(is_fixed(ListKind::Address, "x@a.ex : *@+local"));
    assert!(!is_fixed(ListKind::Domain, "a.ex : +by_user"));
    assert!(!is_fixed(ListKind::Address, "x@a.ex : *@+by_user"));
    assert!(!is_fixed(ListKind::Domain, "+nowhere"));
    assert!(!is_fixed(ListKind::Domain, "$sender_address_domain"));
}

#[test]
fn items_that_can_never_match_are_told() {
    let config = b"domainlist local = a.ex\n";
    let config = config::read_bytes("/test", config, &[], &config::Catalogue::default()).unwrap();
    let faults = |kind, text: &str| -> Vec<String> {
        List::compile(kind, text)
            .faults(&config)
            .into_iter()
            .map(|(item, why)| format!("{item}: {why}"))
            .collect()
    };
    assert_eq!(
        faults(ListKind::Domain, "+local : !+loc : ^( : nosuch;x : lsearch;/x : b.ex"),
        [
            "+loc: unknown named domain list \"+loc\"",
            "^(: regular expression error: missing closing parenthesis at offset 2 while compiling ^(",
            "nosuch;x: unknown lookup type \"nosuch\"",
        ]
    );
    assert_eq!(faults(ListKind::Address, "*@+nolist : +local").len(), 2);
    assert_eq!(
        faults(ListKind::Host, "1.2.3.4/24 : 1.2.3 : host.ex"),
        ["1.2.3: malformed IPv4 address or address mask"]
    );
    // What is expanded first is not known yet.
    assert!(faults(ListKind::Domain, "$domain : +loc").is_empty());
}
