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
    for text in ["-Mset 16VDhn-0001bo-D3", "-bi x", "-bw -q5m", "-bdf -q", "-q5m -bp", "-bd -bt"] {
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
