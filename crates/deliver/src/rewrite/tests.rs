//! Rules as a whole. The expected values were taken from Exim 4.96 (`exim4 -brw`, and header lines in spool files).

use std::io::Write;

use super::*;
use oxim_mail::header::Header;

fn context() -> Context {
    Context::default()
}

fn settings() -> Settings {
    Settings {
        qualify_recipient: b"qr.ex".to_vec(),
        qualify_senders: Some(b"q.ex".to_vec()),
        qualify_recipients: Some(b"qr.ex".to_vec()),
        headers_charset: "UTF-8".to_owned(),
        ..Settings::default()
    }
}

fn rules(text: &str) -> Rules {
    Rules::parse(text.lines(), Scope::Main).unwrap()
}

/// `-brw` as one line of distinct values: all the same, or each by its label.
fn brw(rules: &Rules, argument: &str) -> String {
    let shown = rules.show(&mut context(), argument, &settings());
    let lines: Vec<(&str, &str)> = shown.lines().filter_map(|l| l.trim().split_once(": ")).collect();
    let first = lines.first().map_or("", |(_, value)| value);
    if lines.iter().all(|(_, value)| *value == first) {
        return first.to_owned();
    }
    lines.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn rules_are_applied_in_order_and_by_place() {
    let mut names = tempfile::NamedTempFile::new().unwrap();
    names.write_all(b"ford: ford.prefect\n").unwrap();
    let rules = rules(&format!(
        "root@*.hitch.ex  *
*@*.hitch.ex  $1@hitch.ex
*@hitch.ex    ${{lookup{{$1}}lsearch{{{}}}{{$value}}fail}}@hitch.ex bctfrF
\\N^x(.)y@(.*)$\\N   never@z
a@r.ex  b@r.ex  Rq
b@r.ex  c@r.ex
u@uq.ex bare  Q
u2@uq.ex bare
w@w.ex \"New Name <n@w.ex>\" w
e@e.ex e2@e.ex E
s@s.ex s2@s.ex s
g@g.ex \"${{if eq{{1}}{{1}}{{$local_part.$domain@x}}}}\" q
bad@t.ex   bad@@t
loop@l.ex  loop@l.ex  R
grow@l.ex  x.grow@l.ex
*grow@l.ex  x$1grow@l.ex R
\\N^bang!(.*)@(.*)$\\N  $1@$2  S",
        names.path().display()
    ));
    let source = "sender=ford@hitch.ex from=ford.prefect@hitch.ex to=ford.prefect@hitch.ex cc=ford.prefect@hitch.ex \
                  bcc=ford.prefect@hitch.ex reply-to=ford.prefect@hitch.ex env-from=ford.prefect@hitch.ex env-to=ford@hitch.ex";
    let header = "Fred <ford.prefect@hitch.ex>";
    let phrase = format!(
        "sender=Fred <ford@hitch.ex> from={header} to={header} cc={header} bcc={header} reply-to={header} \
         env-from=ford.prefect@hitch.ex env-to=ford@hitch.ex"
    );
    let whole = "New Name <n@w.ex>";
    let whole = format!(
        "sender={whole} from={whole} to={whole} cc={whole} bcc={whole} reply-to={whole} env-from=n@w.ex env-to=n@w.ex"
    );
    let other = |labels: &str, value: &str, old: &str| {
        ["sender", "from", "to", "cc", "bcc", "reply-to", "env-from", "env-to"]
            .map(|label| {
                format!("{label}={}", if labels.split(' ').any(|l| l == label) { value } else { old })
            })
            .join(" ")
    };
    for (argument, expected) in [
        ("root@a.hitch.ex", "root@a.hitch.ex"),
        ("ford@a.hitch.ex", source),
        ("ford@hitch.ex", source),
        ("zap@hitch.ex", "zap@hitch.ex"),
        ("xAy@q", "never@z"),
        ("a@r.ex", "b@r.ex"),
        ("u@uq.ex", "bare@qr.ex"),
        ("u2@uq.ex", "u2@uq.ex"),
        ("w@w.ex", &whole),
        ("e@e.ex", &other("env-from env-to", "e2@e.ex", "e@e.ex")),
        ("s@s.ex", &other("sender", "s2@s.ex", "s@s.ex")),
        ("g@g.ex", "g.g.ex@x"),
        ("bad@t.ex", "bad@t.ex"),
        ("loop@l.ex", "loop@l.ex"),
        ("grow@l.ex", "xxxxxxxxxxxx.grow@l.ex"),
        ("Fred <ford@a.hitch.ex>", &phrase),
        ("plain", "plain@qr.ex"),
        ("bang!x@y", &format!("SMTP=x@y {}", other("", "", "bang!x@y"))),
    ] {
        assert_eq!(brw(&rules, argument), expected, "{argument}");
    }
    let shown = rules.show(&mut context(), "", &settings());
    assert_eq!(shown, "Syntax error in @qr.ex\nNo local part\n");
    let shown = rules.show(&mut context(), "not an address", &settings());
    assert_eq!(
        shown,
        "Syntax error in not an address@qr.ex\nMissing or malformed local part (expected word or \"<\")\n"
    );
}

#[test]
fn faulty_rules() {
    for (line, error) in [
        ("a.b", "missing rewrite replacement string"),
        ("\"a b", "missing rewrite replacement string"),
        ("a.b * X", "unknown rewrite flag character 'X' (could be missing quotes round replacement item)"),
        (
            "a.b ${bad x",
            "unknown rewrite flag character 'x' (could be missing quotes round replacement item)",
        ),
        ("a.b x@y Sq", "rewrite rule has the S flag but is not a regular expression"),
    ] {
        assert_eq!(Rule::parse(line, Scope::Main).unwrap_err().0, error, "{line}");
    }
    assert!(Rule::parse("a.b x@y q Q", Scope::Main).is_ok());
    assert!(Rules::parse_headers_rewrite("a@b c@d fs : e@f g@h").is_ok());
    assert_eq!(Rules::parse_headers_rewrite("a@b c@d fs : e@f g@h E").unwrap_err().len(), 1);
}

fn header(rules: &Rules, text: &str) -> Option<String> {
    let header = Header::new(text.as_bytes());
    rules.header(&mut context(), &header, &settings()).map(|h| String::from_utf8(h.text).unwrap())
}

const LONG: &str = "*@s.ex  longer-name-for-$local_part@very-long-domain-name.example
*@w.ex  \"Whole N\u{e4}me <n@w2.ex>\" w
*@q.ex  $1@qualified.ex";

#[test]
fn header_lines_keep_every_other_byte() {
    let rules = rules(LONG);
    for (before, after) in [
        (
            "From: plain (comment) <a@s.ex>\n",
            "From: plain (comment) <longer-name-for-a@very-long-domain-name.example>\n",
        ),
        (
            "To: a@s.ex, b@s.ex, \"Q, U\" <c@s.ex>,\n  d@s.ex (dee), unq, bad@@x, e@other.ex\n",
            "To: longer-name-for-a@very-long-domain-name.example, \n\tlonger-name-for-b@very-long-domain-name.example, \n\t\
             \"Q, U\" <longer-name-for-c@very-long-domain-name.example>,\n  longer-name-for-d@very-long-domain-name.example \
             (dee), \n\tunq@qr.ex, bad@@x, e@other.ex\n",
        ),
        (
            "Cc: group: a@s.ex, b@s.ex;, u2\n",
            "Cc: group: longer-name-for-a@very-long-domain-name.example, \n\t\
             longer-name-for-b@very-long-domain-name.example;, \n\tu2@qr.ex\n",
        ),
        ("Reply-To: unq2\n", "Reply-To: unq2@qualified.ex\n"),
        (
            "Bcc: a@w.ex, Fred <b@w.ex>, z\n",
            "Bcc: =?UTF-8?Q?Whole_N=C3=A4me?= <n@w2.ex>, =?UTF-8?Q?Whole_N=C3=A4me?= <n@w2.ex>, z@qr.ex\n",
        ),
        ("Resent-From: (x) a@s.ex\n", "Resent-From: (x) longer-name-for-a@very-long-domain-name.example\n"),
        (
            "Cc:\n a@s.ex,\n b@s.ex\n",
            "Cc:\n longer-name-for-a@very-long-domain-name.example,\n longer-name-for-b@very-long-domain-name.example\n",
        ),
        ("To: A@S.EX\n", "To: longer-name-for-A@very-long-domain-name.example\n"),
        (
            "Reply-To:   \"x\" < a@s.ex > , @route:a@s.ex, <@r1,@r2:b@s.ex>\n",
            "Reply-To:   \"x\" <longer-name-for-a@very-long-domain-name.example > , \n\t\
             longer-name-for-a@very-long-domain-name.example, \n\t<longer-name-for-b@very-long-domain-name.example>\n",
        ),
        (
            "Cc: a@s.ex,b@s.ex,d@s.ex (c),e@m.ex\n",
            "Cc: longer-name-for-a@very-long-domain-name.example,\n\tlonger-name-for-b@very-long-domain-name.example,\n\t\
             longer-name-for-d@very-long-domain-name.example (c),\n\te@m.ex\n",
        ),
    ] {
        assert_eq!(header(&rules, before).as_deref(), Some(after), "{before}");
    }
    for unchanged in ["Subject: a@s.ex\n", "Errors-To: a@s.ex\n", "Bcc: undisclosed:;\n", "To: x@y\n"] {
        assert_eq!(header(&rules, unchanged), None, "{unchanged}");
    }
}

#[test]
fn long_lines_are_folded_from_forty_bytes_on() {
    let text = format!("n@s.ex {}@y\nm@s.ex {}@y", "x".repeat(33), "x".repeat(34));
    let rules = rules(&text);
    assert!(!header(&rules, "Cc: n@s.ex,e@m.ex\n").unwrap().contains("\n\t"));
    assert!(header(&rules, "Cc: m@s.ex,e@m.ex\n").unwrap().contains(",\n\te@m.ex"));
    assert!(!header(&rules, "Cc: g: m@s.ex; e@m.ex\n").unwrap().contains("\n\t"));
    assert!(!header(&rules, "Cc: m@s.ex, \n").unwrap().contains("\n\t"));
}

#[test]
fn without_permission_unqualified_addresses_are_left_alone() {
    let rules = rules("*@* x@y");
    let settings = Settings { qualify_senders: None, qualify_recipients: None, ..settings() };
    let line = Header::new(&b"To: a, b@c\n"[..]);
    let new = rules.header(&mut context(), &line, &settings).unwrap();
    assert_eq!(new.text, b"To: a, x@y\n");
}

#[test]
fn a_widened_domain_is_replaced_everywhere() {
    let line = Header::new(&b"To: a@Short (x), \"b c\"@short\n"[..]);
    let new = replace_domain(&line, b"short", b"short.example", &AddressSyntax::default()).unwrap();
    assert_eq!(new.text, b"To: a@short.example (x), \"b c\"@short.example\n");
    assert!(replace_domain(&line, b"nothing", b"x", &AddressSyntax::default()).is_none());
}

#[test]
fn rules_for_smtp_time_see_the_whole_argument() {
    let rules = rules("\\N^<(.*)!(.*)>$\\N <$2@$1> S");
    assert_eq!(rules.smtp(&mut context(), b"<host!user>"), b"<user@host>");
    assert_eq!(rules.smtp(&mut context(), b"host!user"), b"host!user");
    assert_eq!(rules.address(&mut context(), Place::EnvelopeTo, b"a!b@c", &settings()), b"a!b@c");
}

#[test]
fn the_context_is_as_it_was() {
    let mut context = context();
    context.address.domain = Text::from("kept");
    context.local.captures = vec![Text::from("zero")];
    rules("*@* $1@y").address(&mut context, Place::EnvelopeTo, b"a@b", &settings());
    assert_eq!(context.address.domain, "kept");
    assert_eq!(context.local.captures, vec![Text::from("zero")]);
}

proptest::proptest! {
    #[test]
    fn any_header_line_stays_a_header_line(body in "[a@s.ex,;:<>() \"\\\\\\n\\t]{0,60}") {
        let rules = rules("*@* longer-$local_part@very-long-replacement.example");
        let line = Header::new([b"To: ".as_slice(), body.as_bytes()].concat());
        if let Some(new) = rules.header(&mut context(), &line, &settings()) {
            proptest::prop_assert!(new.text.starts_with(b"To:") && new.text.ends_with(b"\n"));
            // A second pass finds addresses of the same number: nothing was torn apart.
            let count = |text: &[u8]| oxim_mail::address::address_list(text.get(3..).unwrap()).count();
            proptest::prop_assert_eq!(count(&line.text), count(&new.text));
        }
    }

    #[test]
    fn any_text_is_a_rule_or_an_error(line in "[a-z@*\"\\\\ ^${}:!qQRwSEFT]{0,40}") {
        let _ = Rule::parse(&line, Scope::Main);
        let _ = crate::retry::Rule::parse(&line);
    }
}
