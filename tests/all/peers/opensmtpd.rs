//! OpenSMTPD as the other server, from its unpacked package laid over /usr. Its spool and empty folder are where it was told
//! when it was built; file systems in memory cover them. As a server it offers no TLS here: Debian's 6.8 cannot sign with
//! OpenSSL 3, whoever the client is.

use super::ground::{Ground, shell};
use super::relay::{self, PEER_BYTES_MAX, Server};

fn start(ground: &Ground) -> u32 {
    shell(
        "mountpoint --quiet /var/spool || mount -t tmpfs none /var/spool; mountpoint --quiet /var/lib || mount -t tmpfs none /var/lib
        chmod 755 /var/spool /var/lib; mkdir -p -m 711 /var/spool/smtpd; mkdir -p -m 755 /var/lib/opensmtpd/empty
        mkdir -p /mnt/peer",
    );
    ground.write(
        "peer/smtpd.conf",
        format!(
            "ca \"trusted\" cert \"/mnt/tls/ca.pem\"\n\
             listen on 127.0.0.1 port 2626 hostname peer.test.ex\nsmtp max-message-size \"{PEER_BYTES_MAX}\"\n\
             action \"in\" maildir \"/mnt/home/%{{user.username}}/Maildir\"\n\
             action \"out\" relay host smtp+tls://mta.test.ex:2525 ca \"trusted\" helo peer.test.ex\n\
             match from any for domain peer.test.ex action \"in\"\nmatch from any for any action \"out\"\n"
        ),
    );
    ground.start("smtpd", &["/usr/sbin/smtpd", "-d", "-f", "/mnt/peer/smtpd.conf"], &[])
}

fn server(ground: &Ground, run: impl FnOnce(&Server<'_>)) {
    run(&Server {
        start: &|| start(ground),
        // Its package gives the program this group by set-group-id.
        retry: &|| {
            let group = ["setpriv", "--regid", "opensmtpq", "--clear-groups", "--"];
            ground.run(&[&group[..], &["smtpctl", "schedule", "all"]].concat(), b"").good();
        },
        offers_tls: false,
        unknown_user: "550 Invalid recipient",
        too_large: ("after end of data", "554 5.3.4 Message too big"),
        line_bytes_max: 990,
        arrival: &["H=(peer.test.ex) [127.0.0.1]", "P=esmtps ", "X=TLS1.3:", "alice@test.ex"],
    });
}

pub(super) fn next_hop(ground: &Ground) {
    server(ground, |server| relay::sends_to(ground, server));
}

pub(super) fn sends_to_us(ground: &Ground) {
    server(ground, |server| relay::receives_from(ground, server));
}
