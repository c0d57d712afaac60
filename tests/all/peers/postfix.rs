//! Postfix as the other server, from its unpacked package laid over /usr.

use super::ground::{Ground, shell};
use super::international;
use super::relay::{self, PEER_BYTES_MAX, Server};

/// Its services, none of them in a chroot: name, type, whether private, whether as root, wake-up time, most processes, program.
const SERVICES: &str = "\
127.0.0.1:2626 inet n - n - 20 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// `more` is lines for main.cf that stand in place of those above them.
fn start(ground: &Ground, more: &str) -> u32 {
    ground.write("peer/etc/master.cf", SERVICES);
    ground.write("peer/etc/dynamicmaps.cf", "");
    ground.write(
        "peer/etc/main.cf",
        format!(
            "compatibility_level = 3.6\nqueue_directory = /mnt/peer/spool\ndata_directory = /mnt/peer/data\nmeta_directory = /mnt/peer/etc\n\
             maillog_file = /mnt/log/postfix.log\nmaillog_file_prefixes = /mnt\nmail_owner = postfix\nsetgid_group = postdrop\n\
             myhostname = peer.test.ex\nmydestination = peer.test.ex\nmynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\nalias_maps =\nalias_database =\nhome_mailbox = Maildir/\nmailbox_size_limit = 0\n\
             message_size_limit = {PEER_BYTES_MAX}\nbiff = no\nin_flow_delay = 0\nqueue_run_delay = 1s\nminimal_backoff_time = 1s\n\
             maximal_backoff_time = 2s\nrelayhost = [mta.test.ex]:2525\nsmtp_host_lookup = native\n\
             smtp_tls_security_level = verify\nsmtp_tls_CAfile = /mnt/tls/ca.pem\nsmtp_tls_verify_cert_match = hostname\n\
             smtpd_tls_security_level = may\nsmtpd_tls_cert_file = /mnt/tls/server.pem\nsmtpd_tls_key_file = /mnt/tls/server.key\n{more}"
        ),
    );
    shell(
        "cd /mnt/peer; mkdir -p data spool; cd spool
        for name in active bounce corrupt defer deferred flush hold incoming private saved trace; do install -d -m 700 -o postfix -g root $name; done
        install -d -m 710 -o postfix -g postdrop public; install -d -m 730 -o postfix -g postdrop maildrop; install -d -m 755 pid
        chown postfix ../data",
    );
    ground.start("master", &["/usr/lib/postfix/sbin/master", "-c", "/mnt/peer/etc", "-d"], &[])
}

fn server(ground: &Ground, run: impl FnOnce(&Server<'_>)) {
    run(&Server {
        start: &|| start(ground, ""),
        retry: &|| {},
        offers_tls: true,
        unknown_user: "550 5.1.1 <nosuch@peer.test.ex>: Recipient address rejected",
        too_large: ("MAIL FROM:<sender@test.ex> SIZE=", "552 5.3.4 Message size exceeds"),
        line_bytes_max: 2000,
        arrival: &[
            "H=(peer.test.ex) [127.0.0.1]",
            "P=esmtps ",
            "X=TLS1.3:",
            "for alice@test.ex sender@test.ex",
        ],
    });
}

pub(super) fn next_hop(ground: &Ground) {
    server(ground, |server| relay::sends_to(ground, server));
}

pub(super) fn sends_to_us(ground: &Ground) {
    server(ground, |server| relay::receives_from(ground, server));
}

pub(super) fn international(ground: &Ground) {
    ground.write("peer/etc/domains", "/\\.peer\\.test\\.ex$/ 1\n");
    // Anybody in the domains below its own is alice.
    let more = "mydestination = peer.test.ex, regexp:/mnt/peer/etc/domains\nlocal_recipient_maps =\n\
                luser_relay = alice@peer.test.ex\n";
    international::both_ways(ground, || start(ground, more), "(Postfix) with UTF8SMTPS ");
}
