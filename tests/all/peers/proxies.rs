//! Proxies of others in front of Oxim: haproxy with both versions of the PROXY protocol, in the clear and before TLS from the first
//! byte, its health checks, and nginx's mail proxy.

use super::ground::{Ground, wait};
use super::oxim::{Oxim, difficult_message, local_transport, main_options};

fn start(ground: &Ground) -> Oxim<'_> {
    ground.make_certificates();
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let configuration = format!(
        "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
         log_selector = +proxy +incoming_port +smtp_connection\nhosts_proxy = 127.0.0.1\nacl_smtp_rcpt = accept\nacl_smtp_connect = connect\n\
         begin acl\nconnect:\n  warn logwrite = asked $sender_host_address for $proxy_external_address:$proxy_external_port by $proxy_local_address session $proxy_session\n  accept\n\
         begin routers\nall:\n  driver = accept\n  transport = maildir\nbegin transports\n{maildir}begin retry\n* * F,1h,1m\n"
    );
    ground.write("etc/oxim.conf", configuration);
    ground.write("etc/boxes", "alice: alice\n");
    // Who connects from here has to say for whom: the daemon is ready when its socket is there.
    let pid = ground.start("oxim", &["/mnt/oxim", "-bdf"], &[]);
    wait("the daemon", || ground.path("spool/oxim-control").exists());
    Oxim::already_started(ground, pid)
}

/// Sends by way of a port of the proxy, from an address of its own, and finds that address in the arrival line.
#[track_caller]
fn send(ground: &Ground, oxim: &Oxim<'_>, name: &str, to: &[&str], from: &str) -> String {
    let sent = difficult_message(name);
    let mut words =
        vec!["/usr/bin/swaks", "--from", "sender@test.ex", "--to", "alice@test.ex", "--helo", "client.test"];
    words.extend(["--local-interface", from, "--data", "-"]);
    words.extend(to);
    ground.run(&words, &sent).good();
    oxim.line(&[" <= sender@test.ex ", &format!("id={}@", name.replace(' ', "."))])
}

/// Both versions, both families, with TLS behind the header, and the checks of haproxy itself, which are its own connections.
pub(super) fn haproxy(ground: &Ground) {
    let oxim = start(ground);
    let mut text = String::from(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  timeout check 5s\n",
    );
    for (port, server, words) in [
        (3001, 2525, "send-proxy"),
        (3002, 2525, "send-proxy-v2"),
        (3003, 2465, "send-proxy"),
        (3004, 2465, "send-proxy-v2-ssl-cn"),
    ] {
        text.push_str(&format!(
            "listen p{port}\n  bind 127.0.0.1:{port}\n  bind [::1]:{port}\n  server mta 127.0.0.1:{server} {words}\n"
        ));
    }
    text.push_str(
        "listen checked\n  bind 127.0.0.1:3005\n  option smtpchk EHLO check.test\n\
         \x20 server mta 127.0.0.1:2525 send-proxy-v2 check inter 300ms check-send-proxy\n",
    );
    ground.write("etc/haproxy.cfg", text);
    ground.start("haproxy", &["/usr/sbin/haproxy", "-db", "-f", "/mnt/etc/haproxy.cfg"], &[]);
    wait("haproxy", || (3001..=3004).all(|port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
    for (port, words) in [
        ("3001", &["--tls-optional"][..]),
        ("3002", &[]),
        ("3003", &["--tls-on-connect"]),
        ("3004", &["--tls-on-connect"]),
    ] {
        let name = format!("by {port}");
        let to = [&["--server", "127.0.0.1", "--port", port], words].concat();
        let line = send(ground, &oxim, &name, &to, "127.0.0.9");
        assert!(line.contains(" H=(client.test) [127.0.0.9]:") && line.contains(" PRX=127.0.0.1 "), "{line}");
        assert_eq!(line.contains(" P=esmtps X=TLS1.3"), port != "3002", "{line}");
        oxim.line(&[&format!("asked 127.0.0.9 for 127.0.0.1:{port} by 127.0.0.1 session yes")]);
        let to = [&["--server", "::1", "--port", port], words].concat();
        let line = send(ground, &oxim, &format!("six {name}"), &to, "::1");
        assert!(line.contains(" H=(client.test) [::1]:") && line.contains(" PRX=127.0.0.1 "), "{line}");
        oxim.line(&[&format!("asked ::1 for ::1:{port} by 127.0.0.1 session yes")]);
    }
    // A check says that it is for nobody else.
    oxim.wait_for_log(2, "asked 127.0.0.1 for :0 by  session yes");
    let line = send(ground, &oxim, "checked", &["--server", "127.0.0.1", "--port", "3005"], "127.0.0.9");
    assert!(line.contains("[127.0.0.9]:"), "{line}");
    assert!(!ground.read("log/haproxy.out").contains("DOWN"), "{}", ground.read("log/haproxy.out"));
    ground.wait_for_mail("mail/alice", 9);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

/// nginx talks to the client itself, asks a web server where the mail is to go, and sends the header of version 1.
pub(super) fn nginx(ground: &Ground) {
    let oxim = start(ground);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path /mnt/spool/nginx-{name};\n"))
        .collect();
    ground.write(
        "etc/nginx.conf",
        format!(
            "load_module /usr/lib/nginx/modules/ngx_mail_module.so;\ndaemon off;\nmaster_process off;\npid /mnt/nginx.pid;\nerror_log /mnt/log/nginx notice;\n\
             events {{}}\nmail {{\n  auth_http 127.0.0.1:3080/auth;\n  proxy_protocol on;\n  xclient off;\n  server_name proxy.test;\n\
             \x20 server {{\n    listen 127.0.0.1:3006;\n    protocol smtp;\n    smtp_auth none;\n  }}\n}}\n\
             http {{\n  access_log off;\n{temporary}  server {{\n    listen 127.0.0.1:3080;\n    location /auth {{\n      add_header Auth-Status OK;\n\
             \x20     add_header Auth-Server 127.0.0.1;\n      add_header Auth-Port 2525;\n      return 204;\n    }}\n  }}\n}}\n"
        ),
    );
    ground.start("nginx", &["/usr/sbin/nginx", "-c", "/mnt/etc/nginx.conf", "-e", "/mnt/log/nginx"], &[]);
    wait("nginx", || std::net::TcpStream::connect("127.0.0.1:3006").is_ok());
    let line = send(ground, &oxim, "by nginx", &["--server", "127.0.0.1", "--port", "3006"], "127.0.0.9");
    assert!(line.contains(" [127.0.0.9]:") && line.contains(" PRX=127.0.0.1 "), "{line}");
    oxim.line(&["asked 127.0.0.9 for 127.0.0.1:3006 by 127.0.0.1 session yes"]);
    ground.wait_for_mail("mail/alice", 1);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}
