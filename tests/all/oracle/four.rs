//! The four configurations, unmodified, and the machine they run on: users, aliases, forward files, zone.
//!
//! The example of Exim's own source comes from Debian's `exim4-base`; the other three are what `update-exim4.conf` makes for
//! an internet site, a machine with a smarthost, and one with local mail only.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scenario::stage::shell;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Four {
    Example,
    Internet,
    Smarthost,
    Local,
}

impl Four {
    pub(super) const ALL: [Four; 4] = [Four::Example, Four::Internet, Four::Smarthost, Four::Local];

    pub(super) fn name(self) -> &'static str {
        match self {
            Four::Example => "example",
            Four::Internet => "internet",
            Four::Smarthost => "smarthost",
            Four::Local => "local",
        }
    }

    /// Writes it where both programs look first. `/etc` is the copy by now.
    pub(super) fn write_config(self, work: &Path) {
        let target = Path::new("/etc/exim4/exim4.conf");
        if self == Four::Example {
            fs::write(target, example()).unwrap();
            fs::set_permissions(target, fs::Permissions::from_mode(0o644)).unwrap();
            return;
        }
        let own = work.join("debian");
        fs::create_dir(&own).unwrap();
        fs::copy("/etc/exim4/exim4.conf.template", own.join("exim4.conf.template")).unwrap();
        let settings = format!(
            "dc_eximconfig_configtype='{}'\ndc_other_hostnames='test.ex;local.ex'\ndc_local_interfaces='127.0.0.1 ; ::1'\n\
             dc_readhost=''\ndc_relay_domains=''\ndc_minimaldns='false'\ndc_relay_nets=''\ndc_smarthost='smart.ex'\n\
             CFILEMODE='644'\ndc_use_split_config='false'\ndc_hide_mailname='false'\ndc_localdelivery='mail_spool'\n",
            self.name()
        );
        fs::write(own.join("update-exim4.conf.conf"), settings).unwrap();
        let made = Command::new("update-exim4.conf")
            .args(["--confdir", own.to_str().unwrap(), "--output", target.to_str().unwrap()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// The example as the package has it: plain, or packed.
fn example() -> Vec<u8> {
    let plain = Path::new("/usr/share/doc/exim4-base/examples/example.conf");
    if let Ok(text) = fs::read(plain) {
        return text;
    }
    let mut child = Command::new("gzip")
        .args(["-dc", "/usr/share/doc/exim4-base/examples/example.conf.gz"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    text
}

const USERS: &[(&str, u32)] =
    &[("alice", 2001), ("bob", 2002), ("carol", 2003), ("dave", 2004), ("erin", 2005), ("frank", 2006)];

const ALIASES: &str = "postmaster: root
root: alice
sales: alice, bob@local.ex
team: \"|/bin/cat\"
drop: :blackhole:
archive: /mnt/archive/mbox
gone: :fail: moved away
later: :defer: not now
away: someone@remote.ex
both: alice, away@many.ex, gone
me: me
loop1: loop2
loop2: loop1
bad: alice@@x
empty:
quoted: \"a b\"@local.ex, <alice>, Carol C <carol>
included: :include:/mnt/included
mixed.Case: alice
";

/// What stands in `/etc` of the machine; a name server is given up after that many seconds.
pub(super) fn write_etc(etc: &Path, seconds: u32) {
    let write = |name: &str, text: &str| fs::write(etc.join(name), text).unwrap();
    write("resolv.conf", &format!("nameserver 127.0.0.1\noptions timeout:{seconds} attempts:1\n"));
    write("hosts", "127.0.0.1 localhost\n::1 localhost\n198.51.100.1 host.test.ex host\n");
    write("mailname", "test.ex\n");
    write("aliases", ALIASES);
    for (file, is_group) in [("passwd", false), ("group", true)] {
        let mut text = fs::read_to_string(etc.join(file)).unwrap();
        for (name, id) in USERS {
            text.push_str(&if is_group {
                format!("{name}:x:{id}:\n")
            } else {
                format!("{name}:x:{id}:{id}:{name} of the tests:/mnt/home/{name}:/bin/sh\n")
            });
        }
        write(file, &text);
    }
}

/// Homes and forward files. Erin has no home, Frank's file is writable for everybody.
pub(super) fn write_homes() {
    fs::write("/mnt/included", "alice\n# nobody else\n").unwrap();
    fs::create_dir_all("/mnt/archive").unwrap();
    for (name, id) in USERS.iter().filter(|(name, _)| *name != "erin") {
        let home = Path::new("/mnt/home").join(name);
        fs::create_dir_all(&home).unwrap();
        chown(&home, Some(*id), Some(*id)).unwrap();
    }
    for (name, text) in [
        ("bob", "bob@remote.ex, \\bob\n"),
        ("carol", "# to a file and a program\n/mnt/home/carol/inbox\n\"|/usr/bin/true\"\n"),
        ("dave", "alice@@broken, dave@remote.ex\n"),
        ("frank", "alice\n"),
    ] {
        let file = Path::new("/mnt/home").join(name).join(".forward");
        fs::write(&file, text).unwrap();
        let mode = if name == "frank" { 0o666 } else { 0o644 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        shell(&format!("chown {name}:{name} {}", file.display()));
    }
}

/// The world as the name server tells it. 192.0.2.0/24 is outside, 198.51.100.1 is this host.
pub(super) const ZONE: &str = "host.test.ex A 198.51.100.1
1.100.51.198.in-addr.arpa PTR host.test.ex
1.0.0.127.in-addr.arpa PTR localhost
localhost A 127.0.0.1
remote.ex MX 10 mx.remote.ex
mx.remote.ex A 192.0.2.10
many.ex MX 10 mx1.many.ex
many.ex MX 20 mx2.many.ex
many.ex MX 30 mx3.many.ex
mx1.many.ex A 192.0.2.11
mx2.many.ex A 192.0.2.12
mx3.many.ex A 192.0.2.14
aonly.ex A 192.0.2.20
nullmx.ex MX 0 .
servfail.ex SERVFAIL
timeout.ex TIMEOUT
mxservfail.ex MX 10 servfail.ex
mxservfail2.ex MX 10 servfail.ex
mxservfail2.ex MX 20 mx.remote.ex
nomxaddress.ex MX 10 nothing.ex
halfmx.ex MX 10 nothing.ex
halfmx.ex MX 20 mx.remote.ex
ownmx.ex MX 10 host.test.ex
ownsecond.ex MX 10 mx.remote.ex
ownsecond.ex MX 20 host.test.ex
ownsecond.ex MX 30 mx1.many.ex
loopmx.ex MX 10 localhost
cname.ex CNAME remote.ex
mxcname.ex MX 10 alias.remote.ex
alias.remote.ex CNAME mx.remote.ex
literalmx.ex MX 10 192.0.2.10
privatemx.ex MX 10 private.ex
private.ex A 10.1.2.3
sixmx.ex MX 10 six.ex
six.ex AAAA 2001:db8::6
bothmx.ex MX 10 both.ex
both.ex A 192.0.2.15
both.ex AAAA 2001:db8::7
txtonly.ex TXT nothing here
under_score.ex A 192.0.2.16
smart.ex A 192.0.2.30
";
