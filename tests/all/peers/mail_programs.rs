//! Programs that submit through a command called `sendmail`: mail(1) and `git send-email`, as root and as an ordinary user.

use super::ground::Ground;
use super::oxim::{LOCAL_ROUTER, Oxim, local_transport, main_options};

fn start(ground: &Ground) -> Oxim<'_> {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let text = format!(
        "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\nacl_not_smtp = local\n\
         begin acl\nlocal:\n  deny condition = ${{if match{{$h_Subject:}}{{forbidden}}}}\n    message = no such subject\n  accept\n\
         begin routers\nplus:\n  driver = redirect\n  domains = test.ex\n  local_parts = list\n  data = alice, bob\n{LOCAL_ROUTER}begin transports\n{maildir}begin retry\n* * F,1h,1m\n"
    );
    ground.folder("bin", 0o755, "root");
    std::os::unix::fs::symlink("/mnt/oxim", ground.path("bin/sendmail")).unwrap();
    Oxim::start(ground, &text, &[])
}

/// The users who send: root where the tests are root, and somebody else.
fn users(ground: &Ground) -> Vec<(&'static str, String)> {
    let own = ground.run(&["id", "-un"], b"").good().out.trim().to_owned();
    if ground.is_root { vec![("root", own), ("bob", "bob".to_owned())] } else { vec![("bob", own)] }
}

/// mail(1): subjects, copies, blind copies, 8-bit text, a dot on a line of its own.
pub(super) fn mailx(ground: &Ground) {
    let oxim = start(ground);
    for (number, (user, login)) in users(ground).into_iter().enumerate() {
        let home = format!("/mnt/home/{user}");
        let run = |words: &[&str], input: &str| {
            let mut all = vec!["sh", "-c", "cd; exec \"$@\"", "sh"];
            all.extend(words);
            if user == "root" {
                std::fs::create_dir_all(&home).unwrap();
            }
            ground.run_as(user, &all, input.as_bytes())
        };
        ground.write(&format!("home/{user}/.mailrc"), "set sendmail=/mnt/bin/sendmail\n");
        let subject = format!("from {login} {number}");
        let body = "Grüße\nFrom here\n. \nlast\n";
        run(&["bsd-mailx", "-s", &subject, "-c", "bob", "-b", "postmaster@test.ex", "alice@test.ex"], body)
            .good();
        let line = oxim.line(&[" <= ", &format!("U={login} P=local")]);
        assert!(line.contains(&format!(" <= {login}@test.ex ")), "{line}");
        let id = line.split(' ').nth(2).unwrap().to_owned();
        oxim.wait_for_log(1, &format!("{id} Completed"));
        for name in ["alice", "bob", "postmaster"] {
            let mail = ground.wait_for_mail(&format!("mail/{name}"), number + 1);
            let mail = mail.iter().map(|m| String::from_utf8_lossy(m).into_owned());
            let mail: Vec<String> = mail.filter(|m| m.contains(&format!("Subject: {subject}\n"))).collect();
            assert_eq!(mail.len(), 1);
            let mail = &mail[0];
            assert!(mail.ends_with(&format!("\n\n{body}")), "{mail}");
            assert!(mail.contains("\nTo: alice@test.ex\n") && mail.contains("\nCc: bob@test.ex\n"), "{mail}");
            assert!(!mail.contains("Bcc"), "{mail}");
            assert!(mail.starts_with(&format!("Return-path: <{login}@test.ex>\n")), "{mail}");
        }
        // What is refused reaches the caller: a message about it, and the exit code.
        run(&["bsd-mailx", "-s", "forbidden", "alice@test.ex"], "text\n");
        oxim.line(&[&format!(" F=<{login}@test.ex> rejected by non-SMTP ACL: no such subject")]);
    }
    oxim.stop();
}

/// `git send-email`: a series of two patches to a list, with a cover letter, threaded.
pub(super) fn git_send_email(ground: &Ground) {
    let oxim = start(ground);
    for (number, (user, login)) in users(ground).into_iter().enumerate() {
        let repository = ground.folder(&format!("work{number}"), 0o755, user);
        let name = repository.display().to_string();
        let config = format!("-c safe.directory={name}");
        let run = |script: &str| {
            let text = format!(
                "cd {name}; git() {{ command git {config} -c user.name='Ä. User' -c user.email=author@test.ex -c init.defaultBranch=main \"$@\"; }}\n{script}"
            );
            ground.run_as(user, &["sh", "-ec", &text], b"")
        };
        run("git init --quiet
            for number in 1 2; do printf '%s\\n.\\nFrom x\\nwürfel\\n' $number >file; git add file; git commit --quiet -m \"change $number ✓\"; done
            git format-patch --quiet --root --cover-letter --output-directory patches
            sed -i 's/\\*\\*\\* SUBJECT HERE \\*\\*\\*/cover/; s/\\*\\*\\* BLURB HERE \\*\\*\\*/blurb/' patches/0000*").good();
        let send = "git send-email --quiet --confirm=never --from='Ä. User <author@test.ex>' --to=list@test.ex --cc=postmaster@test.ex --no-chain-reply-to \
             --suppress-cc=all --transfer-encoding=8bit --sendmail-cmd='/mnt/bin/sendmail -i' patches/*.patch";
        run(send).good();
        let per_box = 3 * (number + 1);
        oxim.wait_for_log(per_box, " Completed");
        for name in ["alice", "bob", "postmaster"] {
            let mail = ground.wait_for_mail(&format!("mail/{name}"), per_box);
            let mail: Vec<String> = mail.iter().map(|m| String::from_utf8_lossy(m).into_owned()).collect();
            let patch = mail.iter().find(|m| m.contains("[PATCH 2/2]")).unwrap();
            assert!(patch.contains("\n-1\n+2\n .\n From x\n würfel\n"), "{patch}");
            assert!(patch.contains("\nIn-Reply-To: <") && patch.contains("\nTo: list@test.ex\n"), "{patch}");
            assert!(patch.contains("\nContent-Transfer-Encoding: 8bit\n"), "{patch}");
            assert_eq!(patch.matches("\nMessage-Id: ").count() + patch.matches("\nMessage-ID: ").count(), 1);
            assert!(
                mail.iter().any(|m| m.starts_with(&format!("Return-path: <{login}@test.ex>\n"))),
                "{patch}"
            );
        }
        // The patches can be applied again, byte for byte.
        let mail = ground.maildir("mail/alice");
        let second = mail.iter().find(|m| String::from_utf8_lossy(m).contains("[PATCH 1/2]")).unwrap();
        ground.write(&format!("work{number}.mbox"), second);
        run(&format!("git init --quiet again; cd again; git am --quiet {name}.mbox; printf '1\\n.\\nFrom x\\nwürfel\\n' | cmp - file")).good();
    }
    oxim.stop();
}
