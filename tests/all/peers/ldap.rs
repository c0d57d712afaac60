//! slapd beside a daemon: logins by `ldapauth`, recipients and limits of ACLs by lookups; and what happens while it is gone.

use super::ground::{Ground, wait};
use super::oxim::{Client, Oxim, local_transport, main_options};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ENTRIES: &str = "dn: o=base\nobjectClass: organization\no: base\n\n\
    dn: uid=alice,o=base\nobjectClass: inetOrgPerson\nuid: alice\ncn: Alice\nsn: A\nmail: alice@test.ex\nmail: sales@test.ex\nuserPassword: wonder, \"land\\\n\n\
    dn: uid=bob,o=base\nobjectClass: inetOrgPerson\nuid: bob\ncn: Bob\nsn: B\nmail: bob@test.ex\nuserPassword: builder\n";

const ADDRESS: &str = "127.0.0.1:3890";

fn start_slapd(ground: &Ground) -> u32 {
    let words = ["slapd", "-d", "0", "-f", "/mnt/ldap/slapd.conf", "-h", "ldap://127.0.0.1:3890/"];
    let pid = ground.start("slapd", &words, &[("PATH", "/usr/sbin:/usr/bin")]);
    wait("slapd", || std::net::TcpStream::connect(ADDRESS).is_ok());
    pid
}

fn lay_out(ground: &Ground) {
    ground.folder("ldap/db", 0o755, "root");
    ground.write("ldap/entries", ENTRIES);
    ground.write(
        "ldap/slapd.conf",
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n\
         modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix \"o=base\"\nrootdn \"cn=admin,o=base\"\nrootpw secret\n\
         directory /mnt/ldap/db\naccess to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n",
    );
    ground.run(&["/usr/sbin/slapadd", "-f", "/mnt/ldap/slapd.conf", "-l", "/mnt/ldap/entries"], b"").good();
}

/// Users log in with their passwords of the directory; a sender must be the user's own; only those of the directory get mail.
fn configuration(ground: &Ground) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    format!(
        "{main}tls_advertise_hosts =\nldap_default_servers = 127.0.0.1::3890\nacl_smtp_mail = mail\nacl_smtp_rcpt = rcpt\nqueue_only\n\
         begin acl\nmail:\n  deny !authenticated = *\n  message = log in first\n\
         \x20 accept condition = ${{if inlisti{{$sender_address}}{{<, ${{lookup ldapm{{ldap:///o=base?mail?sub?(uid=${{quote_ldap:$authenticated_id}})}}}}}}}}\n\
         \x20 deny message = not your address\n\
         rcpt:\n  accept condition = ${{lookup ldapdn{{ldap:///o=base?uid?sub?(mail=${{quote_ldap:$local_part@$domain}})}}{{yes}}{{no}}}}\n\
         \x20 deny message = not in the directory\n\
         begin routers\nall:\n  driver = accept\n  transport = maildir\nbegin transports\n{maildir}begin retry\n* * F,1h,1m\n\
         begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n  server_prompts = :\n  server_set_id = $auth2\n\
         \x20 server_condition = ${{if ldapauth{{user=\"uid=${{quote_ldap_dn:$auth2}},o=base\" pass=${{quote:$auth3}} ldap:///}}}}\n"
    )
}

fn login(user: &str, password: &str) -> (Client, String) {
    let mut client = Client::connect("127.0.0.1:2525");
    let response = STANDARD.encode(format!("\0{user}\0{password}"));
    let reply = client.command(&format!("AUTH PLAIN {response}"));
    (client, reply)
}

pub(super) fn conditions(ground: &Ground) {
    lay_out(ground);
    let slapd = start_slapd(ground);
    let oxim = Oxim::start(ground, &configuration(ground), &[]);
    let password = "wonder, \"land\\";
    for (user, password) in [
        ("alice", "wonder"),
        ("alice", ""),
        ("nobody", password),
        ("alice,o=base", password),
        ("*", password),
    ] {
        let (_, reply) = login(user, password);
        assert_eq!(reply, "535 Incorrect authentication data", "{user}");
        oxim.line(&[
            "plain authenticator failed for ",
            &format!("535 Incorrect authentication data (set_id={user})"),
        ]);
    }
    let (mut client, reply) = login("alice", password);
    assert_eq!(reply, "235 Authentication succeeded");
    for (command, expected) in [
        ("MAIL FROM:<bob@test.ex>", "550 not your address"),
        ("MAIL FROM:<sales@test.ex>", "250 OK"),
        ("RCPT TO:<bob@test.ex>", "250 Accepted"),
        ("RCPT TO:<*@test.ex>", "550 not in the directory"),
        ("RCPT TO:<carol@test.ex>", "550 not in the directory"),
    ] {
        assert_eq!(client.command(command), expected, "{command}");
    }
    ground.stop(slapd);
    // Absent is not the same as wrong.
    assert!(client.command("RCPT TO:<alice@test.ex>").starts_with("451 "));
    let (_, reply) = login("alice", password);
    assert!(reply.starts_with("435 Unable to authenticate at present"), "{reply}");
    oxim.line(&["plain authenticator failed for ", "435 Unable to authenticate at present"]);
    let again = start_slapd(ground);
    assert_eq!(client.command("RCPT TO:<alice@test.ex>"), "250 Accepted");
    assert_eq!(login("bob", "builder").1, "235 Authentication succeeded");
    assert!(!oxim.log().contains("wonder") && !oxim.log().contains("builder"));
    ground.stop(again);
    oxim.stop();
}
