//! Programs that sort a user's mail, behind a pipe transport: procmail and maildrop. Each is told by a user's own rules to
//! deliver, to forward, to refuse and to put off.

use super::ground::{Ground, shell};
use super::oxim::{
    LOCAL_ROUTER, Oxim, assert_whole, difficult_message, local_transport, main_options, submit,
};

/// Users who have `rules` in their home get their mail by `command`, all others into a maildir.
fn start<'a>(ground: &'a Ground, rules: &str, command: &str, options: &str) -> Oxim<'a> {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    // Programs of users submit through a command of this name.
    ground.folder("bin", 0o755, "root");
    std::os::unix::fs::symlink("/mnt/oxim", ground.path("bin/sendmail")).unwrap();
    let text = format!(
        "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\nlog_selector = -queue_run\nbegin acl\nbegin routers\n\
         sorted:\n  driver = accept\n  domains = test.ex\n  check_local_user\n  require_files = ${{local_part}}:${{home}}/{rules}\n  transport = sorter\n\
         {LOCAL_ROUTER}begin transports\n\
         sorter:\n  driver = pipe\n  command = {command}\n  return_path_add\n  delivery_date_add\n  envelope_to_add\n  umask = 077\n  message_suffix =\n\
         \x20 user = $local_part\n  return_fail_output\n{options}\
         {maildir}begin retry\n* * F,1h,1s\n"
    );
    Oxim::start(ground, &text, &["-q1s"])
}

/// A message for alice whose rules look at the subject.
fn send(subject: &str) -> Vec<u8> {
    let sent = difficult_message(subject);
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &sent);
    sent
}

/// The report of a refused message says what the program said and how it ended.
#[track_caller]
fn is_reported(ground: &Ground, count: usize, text: &str) {
    let reports = ground.wait_for_mail("mail/sender", count);
    let reports = reports.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect::<Vec<_>>();
    assert!(
        reports.iter().any(|r| r.contains(text) && r.contains("alice@test.ex")),
        "{text} in {reports:#?}"
    );
}

/// What the rules have in common, whatever their language: the subject says where the message goes.
fn sorts(ground: &Ground, oxim: &Oxim<'_>) {
    let delivered = " => alice <alice@test.ex> R=sorted T=sorter";
    let sent = send("plain");
    oxim.line(&[delivered]);
    let mail = ground.wait_for_mail("home/alice/Maildir", 1).remove(0);
    assert_whole(&mail, &sent);
    let text = String::from_utf8_lossy(&mail).into_owned();
    for line in ["Return-path: <sender@test.ex>\n", "\nEnvelope-to: alice@test.ex\n", "\nDelivery-date: "] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(owner_of(ground, "home/alice/Maildir/new"), "alice");

    // The program forwards as the user, through the daemon that waits for its end.
    let sent = send("forwarded");
    oxim.line(&[" <= ", "U=alice P=local"]);
    let mail = ground.wait_for_mail("mail/bob", 1);
    // A user's message gets a Sender: line, and procmail ends it with an empty one.
    let body = body_of(&sent);
    assert!(mail[0].windows(body.len()).any(|part| part == body), "{}", String::from_utf8_lossy(&mail[0]));

    send("refused");
    oxim.line(&[" ** alice@test.ex R=sorted T=sorter: Child process of sorter transport returned 67 (could mean user nonexistent)"]);
    is_reported(ground, 1, "nobody of that name");

    let sent = send("put off");
    oxim.line(&[
        " == alice@test.ex R=sorted T=sorter defer (0): Child process of sorter transport returned 75",
    ]);
    assert_eq!(ground.maildir("home/alice/Maildir").len(), 1);
    ground.folder("home/alice/open", 0o755, "alice");
    let mail = ground.wait_for_mail("home/alice/Maildir", 2);
    assert!(mail.iter().any(|m| m.ends_with(&sent)));
    oxim.wait_for_log(6, " Completed");
}

fn body_of(message: &[u8]) -> &[u8] {
    let end = message.windows(2).position(|two| two == b"\n\n").unwrap();
    &message[end..]
}

fn owner_of(ground: &Ground, name: &str) -> String {
    let path = ground.path(name);
    ground.run(&["stat", "--format=%U", path.to_str().unwrap()], b"").good().out.trim().to_owned()
}

/// Writes a user's rules; both programs want them to be the user's own.
fn write_rules(ground: &Ground, name: &str, rules: &str) {
    ground.write(name, rules);
    shell(&format!("chmod 600 /mnt/{name}; chown alice /mnt/{name}"));
}

/// procmail, with a mailbox file besides: a lock of its own and "From " lines.
pub(super) fn procmail(ground: &Ground) {
    write_rules(
        ground,
        "home/alice/.procmailrc",
        "SENDMAIL=/mnt/bin/sendmail\nMAILDIR=$HOME\nDEFAULT=$HOME/Maildir/\n\
         :0:\n* ^Subject: into a file\nfile\n\
         :0\n* ^Subject: forwarded\n! bob@test.ex\n\
         :0\n* ^Subject: refused\n{\n  LOG=\"nobody of that name\"\n  EXITCODE=67\n  :0\n  /dev/null\n}\n\
         :0\n* ^Subject: put off\n* ! ? test -d open\n{\n  EXITCODE=75\n  :0\n  /dev/null\n}\n",
    );
    let from = "  message_prefix = \"From ${sender_address} ${tod_bsdinbox}\\n\"\n";
    let oxim = start(ground, ".procmailrc", "/usr/bin/procmail", from);
    sorts(ground, &oxim);
    let sent = send("into a file");
    oxim.wait_for_log(7, " Completed");
    let file = std::fs::read(ground.path("home/alice/file")).unwrap();
    let text = String::from_utf8_lossy(&file).into_owned();
    assert!(text.starts_with("From sender@test.ex "), "{text}");
    let sent = String::from_utf8_lossy(&sent).replace("\nFrom here", "\n>From here");
    assert!(text.ends_with(&format!("{sent}\n")), "{text}");
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

/// maildrop, with a maildir besides that Oxim has filled: the program reads the quota that Oxim wrote, and refuses.
pub(super) fn maildrop(ground: &Ground) {
    write_rules(
        ground,
        "home/alice/.mailfilter",
        "SENDMAIL=\"/mnt/bin/sendmail -i\"\nDEFAULT=\"$HOME/Maildir\"\n\
         if (/^Subject: forwarded/)\n{\n  to \"! bob@test.ex\"\n}\n\
         if (/^Subject: refused/)\n{\n  echo \"nobody of that name\"\n  EXITCODE=67\n  exit\n}\n\
         if (/^Subject: put off/)\n{\n  `test -d open`\n  if ($RETURNCODE != 0)\n  {\n    EXITCODE=75\n    exit\n  }\n}\n",
    );
    shell("runuser -u alice -- maildirmake.maildrop /mnt/home/alice/Maildir");
    let oxim = start(ground, ".mailfilter", "/usr/bin/maildrop", "  message_prefix =\n");
    sorts(ground, &oxim);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}
