//! Command lines and what they mean.

use super::*;

fn line(text: &str) -> CommandLine {
    parse(std::iter::once("exim").chain(text.split_whitespace()).map(OsString::from)).unwrap()
}

fn error(text: &str) -> String {
    parse(std::iter::once("exim").chain(text.split_whitespace()).map(OsString::from)).unwrap_err().0
}

#[test]
fn submission_as_programs_call_sendmail() {
    let parsed = line("-oi -f a@b -t -oem -odq -- c@d");
    assert!(parsed.sending.ignore_dot && parsed.sending.extract_recipients);
    assert_eq!(parsed.origin.sender.as_deref(), Some(&b"a@b"[..]));
    assert_eq!(parsed.sending.error_report, ErrorReport::Mail);
    assert_eq!(parsed.arguments, [b"c@d".to_vec()]);
    assert_eq!(line("-fa@b -Fname -B8BITMIME -m x@y").arguments, [b"x@y".to_vec()]);
    assert_eq!(line("x@y -t").arguments.len(), 2);
}

#[test]
fn daemon_with_queue_runs() {
    let parsed = line("-bd -q30m -oX 25:587 -C /a:/b -DX=y");
    assert_eq!(parsed.mode, Mode::Daemon { foreground: false, inherited: None });
    assert_eq!(parsed.queue_run.unwrap().interval, Some(Duration::from_secs(1800)));
    assert_eq!(parsed.config_files.unwrap(), [b"/a".to_vec(), b"/b".to_vec()]);
    assert_eq!(parsed.macros, [("X".to_owned(), b"y".to_vec())]);
}

#[test]
fn queue_runs_and_selections() {
    let run = line("-qqff").queue_run.unwrap();
    assert!(run.two_stage && run.force && run.force_frozen);
    let run = line("-Rrf ^x").queue_run.unwrap();
    assert_eq!(run.recipient, Some(Selection { text: b"^x".to_vec(), is_regex: true }));
    assert!(run.force);
    let run = line("-S a@b").queue_run.unwrap();
    assert_eq!(run.sender.unwrap().text, b"a@b");
    assert_eq!(line("-q").mode, Mode::QueueRun);
    assert_eq!(line("-qGname/5m").queue_run.unwrap().queue_name, b"name");
}

#[test]
fn messages() {
    let Mode::Message(command) = line("-Mrm 16VDhn-000000001bo-D342 16VDhn-0001bo-D3").mode else { panic!() };
    assert_eq!(command.action, MessageAction::Remove);
    assert_eq!(command.words.len(), 2);
    assert_eq!(error("-M"), "exim: no message ids given after -M option");
    assert_eq!(error("-Mvh xyz"), "exim: malformed message id xyz after -Mvh option");
}

#[test]
fn errors_in_the_words_of_exim() {
    assert_eq!(error("--nope"), "exim abandoned: unknown, malformed, or incomplete option --nope");
    assert_eq!(error("-d+foo -bV"), "exim: unknown debug_selector setting: +foo");
    assert_eq!(error("-q5x"), "exim: bad time value -q5x: abandoned");
    assert_eq!(error("-bd a"), "exim: incompatible command-line options or arguments");
}

#[test]
fn modes_and_what_they_need() {
    assert_eq!(error("-bh 1.2.3"), "exim abandoned: \"1.2.3\" is not an IP address");
    assert_eq!(error("-bwx"), "exim: bad time value -bwx: abandoned");
    assert_eq!(error("-or"), "exim: bad time value -or: abandoned");
    assert_eq!(error("-X"), "exim: string expected after -X");
    assert_eq!(error("-z"), "exim: file name expected after -z");
    for text in [
        "-Mset 16VDhn-0001bo-D3",
        "-bi x",
        "-bw -q5m",
        "-bdf -q",
        "-q5m -bp",
        "-bd -bt",
        "-bs -f a@b",
        "-bS -f <>",
        "-bd -f a",
    ] {
        assert_eq!(error(text), "exim: incompatible command-line options or arguments", "{text}");
    }
    assert!(line("-Mset 16VDhn-0001bo-D3 -be x").loaded_message.is_some());
    assert_eq!(line("-qGslow -bp").queue_run.unwrap().queue_name, b"slow");
    for text in ["", "-bnq", "-v", "-ps", "-N"] {
        assert_eq!(line(text).mode, Mode::Usage, "{text}");
    }
    assert_eq!(line("-eq x").sending.error_report, ErrorReport::Quiet);
}

#[test]
fn names_of_the_program() {
    let called = |name: &str| parse([OsString::from(name)]).unwrap().mode;
    assert_eq!(called("/usr/bin/mailq"), Mode::ListQueue(queue::Listing::default()));
    assert_eq!(called("runq"), Mode::QueueRun);
    assert_eq!(called("sendmail"), Mode::Usage);
}

/// The options of the manual's chapter 5, each in a command line that makes sense.
const CHAPTER_5: &[(&str, &str)] = &[
    ("-B", "-B8BITMIME a@b"),
    ("-bd", "-bd"),
    ("-bdf", "-bdf"),
    ("-be", "-be"),
    ("-bem", "-bem f"),
    ("-bF", "-bF f"),
    ("-bf", "-bf f"),
    ("-bfd", "-bfd d"),
    ("-bfl", "-bfl l"),
    ("-bfp", "-bfp p"),
    ("-bfs", "-bfs s"),
    ("-bh", "-bh 192.0.2.1"),
    ("-bhc", "-bhc 192.0.2.1"),
    ("-bi", "-bi"),
    ("-bI:help", "-bI:help"),
    ("-bI:dscp", "-bI:dscp"),
    ("-bI:sieve", "-bI:sieve"),
    ("-bm", "-bm a@b"),
    ("-bnq", "-bnq a@b"),
    ("-bP", "-bP"),
    ("-bp", "-bp"),
    ("-bpa", "-bpa"),
    ("-bpc", "-bpc"),
    ("-bpr", "-bpr"),
    ("-bpra", "-bpra"),
    ("-bpru", "-bpru"),
    ("-bpu", "-bpu"),
    ("-brt", "-brt a@b"),
    ("-brw", "-brw a@b"),
    ("-bS", "-bS"),
    ("-bs", "-bs"),
    ("-bt", "-bt a@b"),
    ("-bV", "-bV"),
    ("-bmalware", "-bmalware f"),
    ("-tls-on-connect", "-tls-on-connect -bs"),
    ("-bv", "-bv a@b"),
    ("-bvs", "-bvs a@b"),
    ("-bw", "-bw"),
    ("-C", "-C /f -bV"),
    ("-D", "-DX=y -bV"),
    ("-d", "-d -bV"),
    ("-dd", "-dd -bV"),
    ("-dropcr", "-dropcr a@b"),
    ("-E", "-E a@b"),
    ("-F", "-F name a@b"),
    ("-f", "-f s@b a@b"),
    ("-G", "-G a@b"),
    ("-h", "-h 1 a@b"),
    ("-i", "-i a@b"),
    ("-L", "-L tag a@b"),
    ("-M", "-M 16VDhn-0001bo-D3"),
    ("-Mar", "-Mar 16VDhn-0001bo-D3 a@b"),
    ("-Mc", "-Mc 16VDhn-0001bo-D3"),
    ("-Mes", "-Mes 16VDhn-0001bo-D3 a@b"),
    ("-Mf", "-Mf 16VDhn-0001bo-D3"),
    ("-Mg", "-Mg 16VDhn-0001bo-D3"),
    ("-MG", "-MG q 16VDhn-0001bo-D3"),
    ("-Mmad", "-Mmad 16VDhn-0001bo-D3"),
    ("-Mmd", "-Mmd 16VDhn-0001bo-D3 a@b"),
    ("-Mrm", "-Mrm 16VDhn-0001bo-D3"),
    ("-Mset", "-Mset 16VDhn-0001bo-D3 -be x"),
    ("-Mt", "-Mt 16VDhn-0001bo-D3"),
    ("-Mvb", "-Mvb 16VDhn-0001bo-D3"),
    ("-Mvc", "-Mvc 16VDhn-0001bo-D3"),
    ("-Mvh", "-Mvh 16VDhn-0001bo-D3"),
    ("-Mvl", "-Mvl 16VDhn-0001bo-D3"),
    ("-m", "-m a@b"),
    ("-N", "-N a@b"),
    ("-n", "-n -bP x"),
    ("-O", "-O x=y a@b"),
    ("-oA", "-oA f -bi"),
    ("-oB", "-oB 1 a@b"),
    ("-odb", "-odb a@b"),
    ("-odf", "-odf a@b"),
    ("-odi", "-odi a@b"),
    ("-odq", "-odq a@b"),
    ("-odqs", "-odqs a@b"),
    ("-oee", "-oee a@b"),
    ("-oem", "-oem a@b"),
    ("-oep", "-oep a@b"),
    ("-oeq", "-oeq a@b"),
    ("-oew", "-oew a@b"),
    ("-oi", "-oi a@b"),
    ("-oitrue", "-oitrue a@b"),
    ("-oMa", "-oMa 192.0.2.1 a@b"),
    ("-oMaa", "-oMaa x a@b"),
    ("-oMai", "-oMai x a@b"),
    ("-oMas", "-oMas x@y a@b"),
    ("-oMi", "-oMi 192.0.2.1 a@b"),
    ("-oMm", "-oMm 16VDhn-0001bo-D3 a@b"),
    ("-oMr", "-oMr x a@b"),
    ("-oMs", "-oMs x a@b"),
    ("-oMt", "-oMt x a@b"),
    ("-om", "-om a@b"),
    ("-oo", "-oo a@b"),
    ("-oP", "-oP f -bd"),
    ("-oPX", "-oPX"),
    ("-or", "-or 5m a@b"),
    ("-os", "-os 5m -bs"),
    ("-ov", "-ov a@b"),
    ("-oX", "-oX 25 -bd"),
    ("-oY", "-oY -bd"),
    ("-pd", "-pd a@b"),
    ("-ps", "-ps a@b"),
    ("-p<protocol>", "-pUUCP:h a@b"),
    ("-q", "-q"),
    ("-qq", "-qq"),
    ("-qi", "-qi"),
    ("-qf", "-qf"),
    ("-qff", "-qff"),
    ("-ql", "-ql"),
    ("-qG", "-qGname"),
    ("-qR", "-qR x"),
    ("-qS", "-qS x"),
    ("-R", "-R x"),
    ("-r", "-r s@b a@b"),
    ("-S", "-S x"),
    ("-t", "-t"),
    ("-ti", "-ti"),
    ("-U", "-U a@b"),
    ("-v", "-v a@b"),
    ("-x", "-x a@b"),
    ("-X", "-X f a@b"),
    ("-z", "-z line"),
];

/// Options that are refused.
const REFUSED: &[&str] = &["-MC t h 192.0.2.1 1 16VDhn-0001bo-D3", "-Tqt 1"];

#[test]
fn every_option_of_chapter_5() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/features/command-line.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (option, example) in CHAPTER_5 {
        let words = std::iter::once("exim").chain(example.split_whitespace()).map(OsString::from);
        assert!(parse(words).is_ok_and(|line| line.mode != Mode::Usage), "{example}");
        assert!(page.contains(&format!("`{option}`")), "docs/features/command-line.md lacks {option}");
    }
    for example in REFUSED {
        let option = example.split_whitespace().next().unwrap();
        assert!(error(example).contains(option), "{example}");
        assert!(page.contains(&format!("`{option}`")), "docs/features/command-line.md lacks {option}");
    }
}

#[test]
fn times_need_their_units() {
    for text in ["-q5", "-or5 a@b", "-os5 -bs"] {
        assert!(error(text).starts_with("exim: bad time value"), "{text}");
    }
    assert_eq!(line("-q5m").queue_run.unwrap().interval, Some(Duration::from_secs(300)));
}

#[test]
fn selections_by_way_of_the_queue_run() {
    let run = line("-qRrff ^x").queue_run.unwrap();
    assert!(run.force_frozen && run.recipient.is_some_and(|chosen| chosen.is_regex));
    assert_eq!(line("-qS a@b").queue_run.unwrap().sender.unwrap().text, b"a@b");
    assert_eq!(error("-qR"), "exim: string expected after -R");
}
