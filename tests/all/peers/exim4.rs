//! Exim as the other server. It has the default place of its configuration to itself, so that it keeps its privileges.

use super::ground::Ground;
use super::international;
use super::relay::{self, PEER_BYTES_MAX, Server};

fn start(ground: &Ground) -> u32 {
    ground.folder("peer", 0o755, "Debian-exim");
    ground.write(
        "exim4/exim4.conf",
        format!(
            "spool_directory = /mnt/peer/spool\nlog_file_path = /mnt/peer/%slog\npid_file_path = /mnt/peer/exim.pid\n\
             primary_hostname = peer.test.ex\nkeep_environment =\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = 2626\n\
             host_lookup =\nrfc1413_query_timeout = 0s\nmessage_size_limit = {PEER_BYTES_MAX}\ntls_advertise_hosts = *\n\
             tls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\nacl_smtp_rcpt = rcpt\n\
             begin acl\nrcpt:\n  accept domains = !peer.test.ex\n  require verify = recipient\n  accept\n\
             begin routers\nout:\n  driver = manualroute\n  domains = !peer.test.ex : !*.peer.test.ex\n  route_list = * mta.test.ex::2525\n\
             \x20 self = send\n  transport = smtp\n\
             anybody:\n  driver = accept\n  domains = *.peer.test.ex\n  transport = alice\n\
             user:\n  driver = accept\n  check_local_user\n  transport = maildir\n\
             begin transports\nsmtp:\n  driver = smtp\n  tls_verify_certificates = /mnt/tls/ca.pem\n  tls_verify_hosts = *\n\
             \x20 hosts_require_tls = *\n\
             maildir:\n  driver = appendfile\n  directory = $home/Maildir\n  maildir_format\n  create_directory\n\
             alice:\n  driver = appendfile\n  directory = /mnt/home/alice/Maildir\n  maildir_format\n  create_directory\n  user = alice\n\
             begin retry\n* * F,1h,1s\n"
        ),
    );
    ground.start("exim4", &["/usr/sbin/exim4", "-bdf", "-q1s"], &[])
}

fn server(ground: &Ground, run: impl FnOnce(&Server<'_>)) {
    run(&Server {
        start: &|| start(ground),
        retry: &|| {},
        offers_tls: true,
        unknown_user: "550 Unrouteable address",
        too_large: ("MAIL FROM:<sender@test.ex> SIZE=", "552 Message size exceeds maximum permitted"),
        line_bytes_max: 5000,
        arrival: &["H=(peer.test.ex) [", "P=esmtps ", "X=TLS1.3:", " K ", "for alice@test.ex sender@test.ex"],
    });
}

pub(super) fn next_hop(ground: &Ground) {
    server(ground, |server| relay::sends_to(ground, server));
}

pub(super) fn sends_to_us(ground: &Ground) {
    server(ground, |server| relay::receives_from(ground, server));
}

pub(super) fn international(ground: &Ground) {
    international::both_ways(ground, || start(ground), "with utf8esmtps ");
}
