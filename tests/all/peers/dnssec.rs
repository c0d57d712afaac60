//! Signed zones on nsd, behind unbound: what is secure, insecure and bogus, by the resolver's word and by our own validation; a
//! roll-over of keys, done well and done badly.

use super::ground::{Ground, shell, wait};
use super::oxim::main_options;

/// nsd has everything from the root down; all zones but `plain.ex` have DS records there. `signed.ex` denies by NSEC3, `optout.ex` by NSEC3
/// that leaves out what is not signed, the others by NSEC; the first two have an unsigned child each. `bogus.ex` was changed after it was
/// signed, the signatures of `expired.ex` are too old.
const ZONES: &str = r#"
cd /mnt/zones; exec 2>zones.out
soa() { echo '$TTL 60'; echo "@ SOA ns.test. admin.test. $1 60 60 3600 60"; echo '@ NS ns.test.'; }
key() { ldns-keygen -a ECDSAP256SHA256 -r /dev/urandom ${2:+-k} $1; }
sign() { zone=$1; shift; ldns-signzone "$@" -f $zone.ex.signed -o $zone.ex $zone.ex $(cat $zone.key); }
for zone in signed bogus rolled plain optout expired child.signed child.optout; do { soa 1; echo 'host A 192.0.2.1'; echo '*.wild A 192.0.2.2'; } > $zone.ex; done
for zone in signed optout; do echo 'child NS ns.test.' >> $zone.ex; done
echo '_25._tcp.host TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff' >> signed.ex
for zone in signed bogus rolled optout expired; do echo $(key $zone.ex k) > $zone.key; done
key rolled.ex k > rolled.new
sign signed -n; sign bogus; sign rolled; sign optout -n -p; sign expired -i 20200101000000 -e 20200201000000
sed -i '/^host.bogus.ex.*IN.A/s/192.0.2.1/192.0.2.66/' bogus.ex.signed
for zone in plain child.signed child.optout; do cp $zone.ex $zone.ex.signed; done
key . k > root.key
root() { { soa $1; echo 'ns.test. A 127.0.0.53'; for zone in signed bogus rolled plain optout expired; do echo "$zone.ex. NS ns.test."; done; cat $(cat signed.key).ds $(cat bogus.key).ds $(cat optout.key).ds $(cat expired.key).ds $2; } > root; ldns-signzone -f root.signed -o . root $(cat root.key); }
"#;

/// Runs a part with the functions of [`ZONES`] there.
fn in_zones(part: &str) {
    let functions: String = ZONES
        .lines()
        .filter(|l| l.contains("() {") || l.starts_with("cd "))
        .map(|l| format!("{l}\n"))
        .collect();
    shell(&format!("{functions}{part}"));
}

fn start(ground: &Ground) {
    ground.folder("zones", 0o755, "root");
    shell(ZONES);
    in_zones("root 1 $(cat rolled.key).ds; cp $(cat root.key).key anchors");
    let zone = |name: &str, file: &str| format!("zone:\n  name: {name}\n  zonefile: {file}.signed\n");
    let names = ["signed", "bogus", "rolled", "plain", "optout", "expired", "child.signed", "child.optout"];
    let zones: String = names.iter().map(|name| zone(&format!("{name}.ex"), &format!("{name}.ex"))).collect();
    ground.write(
        "etc/nsd.conf",
        format!(
            "server:\n  ip-address: 127.0.0.53@53\n  zonesdir: /mnt/zones\n  username: \"\"\n  database: \"\"\n  pidfile: /mnt/nsd.pid\n  xfrdfile: \"\"\n\
             \x20 zonelistfile: /mnt/zones/list\n  server-count: 1\nremote-control:\n  control-enable: no\n{}{zones}",
            zone(".", "root")
        ),
    );
    ground.write("zones/hints", ". NS ns.test.\nns.test. A 127.0.0.53\n");
    ground.write(
        "etc/unbound.conf",
        "server:\n  interface: 127.0.0.1@5302\n  username: \"\"\n  chroot: \"\"\n  pidfile: /mnt/unbound.pid\n  directory: /mnt\n  use-syslog: no\n  do-daemonize: no\n\
         \x20 do-not-query-localhost: no\n  module-config: \"validator iterator\"\n  trust-anchor-file: /mnt/zones/anchors\n  cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  val-bogus-ttl: 0\n  infra-host-ttl: 0\n  num-threads: 1\n\
         stub-zone:\n  name: .\n  stub-addr: 127.0.0.53\nremote-control:\n  control-enable: no\n",
    );
    let main = main_options(ground)
        .replace("dns_servers = 127.0.0.1\n", "dns_servers = <; 127.0.0.1:5302\ndns_retrans = 5s\n");
    ground.write("etc/believes.conf", &main);
    ground.write(
        "etc/validates.conf",
        format!("{main}dnssec_validate = true\ndnssec_trust_anchors = /mnt/zones/anchors\n"),
    );
}

/// Both servers, with empty memories.
fn serve(ground: &Ground) -> [u32; 2] {
    let nsd = ground.start("nsd", &["/usr/sbin/nsd", "-d", "-c", "/mnt/etc/nsd.conf"], &[]);
    let unbound = ground.start("unbound", &["/usr/sbin/unbound", "-d", "-c", "/mnt/etc/unbound.conf"], &[]);
    wait("unbound", || ask(ground, "believes", "dnssec_lax,a=host.plain.ex") == "192.0.2.1 no");
    [nsd, unbound]
}

/// What a lookup gives: the value and whether it is authenticated, `absent`, or `again`.
fn ask(ground: &Ground, configuration: &str, question: &str) -> String {
    let file = format!("/mnt/etc/{configuration}.conf");
    let text = format!("${{lookup dnsdb{{{question}}}{{$value $lookup_dnssec_authenticated}}{{absent}}}}");
    let done = ground.run(&["/mnt/oxim", "-C", &file, "-be", &text], b"");
    let out = done.out.trim().to_owned();
    if out.starts_with("Failed: ") { "again".to_owned() } else { out }
}

/// See the head of the file.
pub(super) fn signed_zones(ground: &Ground) {
    start(ground);
    let [nsd, unbound] = serve(ground);
    let table = [
        ("dnssec_lax,a=host.signed.ex", "192.0.2.1 yes"),
        ("dnssec_strict,a=host.signed.ex", "192.0.2.1 yes"),
        ("dnssec_lax,a=x.wild.signed.ex", "192.0.2.2 yes"),
        ("dnssec_lax,a=nobody.signed.ex", "absent"),
        ("dnssec_lax,mx=host.signed.ex", "absent"),
        ("dnssec_lax,a=host.plain.ex", "192.0.2.1 no"),
        ("dnssec_strict,a=host.plain.ex", "again"),
        ("dnssec_lax,a=nobody.plain.ex", "absent"),
        ("defer_strict,dnssec_lax,a=host.bogus.ex", "again"),
        ("dnssec_lax,a=host.rolled.ex", "192.0.2.1 yes"),
        ("defer_strict,dnssec_lax,a=host.expired.ex", "again"),
        // Delegations that are proved to be unsigned: by NSEC (plain.ex above), by NSEC3, by what NSEC3 leaves out.
        ("dnssec_lax,a=host.child.signed.ex", "192.0.2.1 no"),
        ("dnssec_strict,a=host.child.signed.ex", "again"),
        ("dnssec_lax,a=host.child.optout.ex", "192.0.2.1 no"),
        ("dnssec_strict,a=host.child.optout.ex", "again"),
        ("dnssec_lax,a=nobody.child.optout.ex", "absent"),
        ("dnssec_lax,a=host.optout.ex", "192.0.2.1 yes"),
        ("dnssec_lax,a=nobody.optout.ex", "absent"),
        (
            "dnssec_lax,tlsa=_25._tcp.host.signed.ex",
            "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff yes",
        ),
        ("dnssec_lax,tlsa=_25._tcp.nobody.signed.ex", "absent"),
    ];
    for configuration in ["believes", "validates"] {
        for (question, answer) in table {
            assert_eq!(ask(ground, configuration, question), answer, "{configuration}: {question}");
        }
    }
    // Without the resolver's word: one that judges nothing is as good, for those who validate themselves.
    ground.stop(unbound);
    let plain = ground.read("etc/unbound.conf").replace("\"validator iterator\"", "\"iterator\"");
    ground.write("etc/unbound.conf", plain);
    ground.stop(nsd);
    let [nsd, unbound] = serve(ground);
    for (question, answer) in table {
        assert_eq!(ask(ground, "validates", question), answer, "unjudged: {question}");
    }
    assert_eq!(ask(ground, "believes", "dnssec_lax,a=host.bogus.ex"), "192.0.2.66 no");
    ground.stop(unbound);
    ground.stop(nsd);
    // The roll-over: both keys, then the new one in the parent, then the new one alone; and a parent that is ahead of the zone.
    let both = "ldns-signzone -f rolled.ex.signed -o rolled.ex rolled.ex $(cat rolled.key) $(cat rolled.new)";
    let new = "ldns-signzone -f rolled.ex.signed -o rolled.ex rolled.ex $(cat rolled.new)";
    let old = "ldns-signzone -f rolled.ex.signed -o rolled.ex rolled.ex $(cat rolled.key)";
    let parent = "root 2 $(cat rolled.new).ds";
    for (step, answer) in
        [(both, "192.0.2.1 yes"), (parent, "192.0.2.1 yes"), (new, "192.0.2.1 yes"), (old, "again")]
    {
        in_zones(step);
        let [nsd, unbound] = serve(ground);
        assert_eq!(ask(ground, "validates", "dnssec_lax,a=host.rolled.ex"), answer, "{step}");
        ground.stop(unbound);
        ground.stop(nsd);
    }
    ground.run(&["/mnt/oxim", "-C", "/mnt/etc/absent.conf", "-bV"], b"").bad("absent.conf");
    let main = ground.read("etc/believes.conf");
    ground.write(
        "etc/wrong.conf",
        format!("{main}dnssec_validate = true\ndnssec_trust_anchors = /mnt/zones/hints\n"),
    );
    ground
        .run(&["/mnt/oxim", "-C", "/mnt/etc/wrong.conf", "-bV"], b"")
        .bad("dnssec_trust_anchors: /mnt/zones/hints: ");
}
