//! dante, a SOCKS server, between Oxim and another Oxim's port: without a login, with one, with a wrong one, and a rule that
//! forbids the connection.

use super::ground::{Ground, shell, wait};
use super::oxim::{Oxim, assert_whole, difficult_message, identity, main_options, submit};

/// Two of them: port 1080 wants nothing, port 1081 a user of the system with his password. Both let nobody through to port 2465.
fn start(ground: &Ground) {
    shell(
        "hash=$(openssl passwd -6 secret); cp /etc/shadow /mnt/shadow
        sed -i '/^alice:/d' /mnt/shadow; echo \"alice:$hash:19000:0:99999:7:::\" >> /mnt/shadow
        chmod 600 /mnt/shadow; mount --bind /mnt/shadow /etc/shadow",
    );
    for (port, method) in [(1080, "none"), (1081, "username")] {
        let rule = |what: &str, to: &str| {
            format!("socks {what} {{\n from: 0.0.0.0/0 to: {to}\n log: connect error\n}}\n")
        };
        ground.write(
            &format!("etc/danted.{port}"),
            format!(
                "logoutput: /mnt/log/danted.{port}\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\nclientmethod: none\n\
                 socksmethod: {method}\nuser.privileged: root\nuser.unprivileged: nobody\n\
                 client pass {{\n from: 0.0.0.0/0 to: 0.0.0.0/0\n}}\n{}{}",
                rule("block", "0.0.0.0/0 port = 2465"),
                rule("pass", "0.0.0.0/0")
            ),
        );
        let (file, pid_file) = (format!("/mnt/etc/danted.{port}"), format!("/mnt/danted.{port}.pid"));
        ground.start("danted", &["/usr/sbin/danted", "-f", &file, "-p", &pid_file], &[]);
        wait("dante", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}

fn configuration(ground: &Ground) -> String {
    let main = main_options(ground);
    let (user, group) = identity(ground);
    format!(
        "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\nlog_selector = +proxy +outgoing_port -queue_run\n\
         begin acl\nbegin routers\n\
         out:\n  driver = manualroute\n  domains = *.out.ex\n  route_list = * 127.0.0.1\n  self = send\n  transport = remote\n\
         in:\n  driver = accept\n  transport = maildir\n\
         begin transports\n\
         remote:\n  driver = smtp\n  port = ${{if eq{{$domain}}{{forbidden.out.ex}}{{2465}}{{2525}}}}\n  return_path = loop@test.ex\n\
         \x20 headers_add = X-Through: $local_part@$domain\n\
         \x20 socks_proxy = 127.0.0.1 port=${{if match{{$domain}}{{login}}{{1081 auth=name name=alice pass=${{if match{{$domain}}{{wrong}}{{guess}}{{secret}}}}}}{{1080}}}}\n\
         maildir:\n  driver = appendfile\n  directory = /mnt/mail/box\n  create_directory\n  maildir_format\n  user = {user}\n  group = {group}\n\
         begin retry\n* * F,1h,1h\n\
         begin rewrite\n"
    )
}

/// What went through comes in at the same daemon again, for a domain that is its own.
pub(super) fn proxies(ground: &Ground) {
    start(ground);
    let configuration = configuration(ground).replace(
        "in:\n",
        "back:\n  driver = accept\n  domains = *.out.ex\n  condition = ${if def:h_X-Through:}\n  transport = maildir\nin:\n",
    );
    // The router for what comes back stands first.
    let (head, back) = configuration.split_once("back:\n").unwrap();
    let (back, tail) = back.split_once("in:\n").unwrap();
    let configuration =
        format!("{}in:\n{tail}", head.replace("begin routers\n", &format!("begin routers\nback:\n{back}")));
    let oxim = Oxim::start(ground, &configuration, &[]);
    let from = "127.0.0.1:2525";
    for (number, (domain, port)) in [("plain.out.ex", 1080), ("login.out.ex", 1081)].into_iter().enumerate() {
        let sent = difficult_message(&format!("through {port}"));
        submit(from, "sender@test.ex", &[&format!("alice@{domain}")], &sent);
        oxim.line(&[&format!(
            " => alice@{domain} R=out T=remote H=127.0.0.1 [127.0.0.1]:2525 PRX=[127.0.0.1]:{port} "
        )]);
        let mail = ground.wait_for_mail("mail/box", number + 1);
        let subject = format!("\nSubject: through {port}\n");
        let mail = mail.iter().find(|m| String::from_utf8_lossy(m).contains(&subject)).unwrap();
        // The header has a line more.
        let body = sent.windows(2).position(|w| w == b"\n\n").unwrap();
        assert_whole(mail, &sent[body..]);
    }
    submit(from, "sender@test.ex", &["alice@wronglogin.out.ex"], &difficult_message("wrong"));
    oxim.line(&["SOCKS proxy [127.0.0.1]:1081: user name or password refused"]);
    oxim.line(&[" == alice@wronglogin.out.ex R=out T=remote defer (13): Permission denied"]);
    submit(from, "sender@test.ex", &["alice@forbidden.out.ex"], &difficult_message("forbidden"));
    oxim.line(&["SOCKS proxy [127.0.0.1]:1080: connection not allowed by ruleset (reply 2)"]);
    oxim.line(&[" == alice@forbidden.out.ex R=out T=remote defer (13): Permission denied"]);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}
