//! What the expressions refer to: a configuration with lists and ACLs, a message, tables.

use std::fs;
use std::path::{Path, PathBuf};

use super::batch::Program;
use crate::place;

const CONFIGURATION: &str = "\
primary_hostname = host.test.ex
qualify_domain = test.ex
spool_directory = FOLDER/spool
log_file_path = FOLDER/log-%s
timezone = UTC
keep_environment = HOME
disable_ipv6
local_interfaces = <; 127.0.0.1
headers_charset = UTF-8
domainlist local = b.c : *.example.com : lsearch;FOLDER/table
hostlist relays = 10.0.0.0/8 : 127.0.0.1
addresslist people = *@b.c : user@example.com
addresslist addresses = a@b.c : +people
localpartlist parts = a : abc : ^k.y
begin acl
take:
  accept message = taken $acl_narg <$acl_arg1>
refuse:
  deny message = refused $acl_arg2
keep:
  accept set acl_c_data = $acl_arg1
echo:
  accept condition = ${if eq{$acl_arg1}{}{no}{yes}}
         message = $acl_arg1/$acl_arg2
";

/// Without an empty line in its body: exim4 counts the lines behind one wrongly when it tests expansions.
const MESSAGE: &str = "\
Received: from a.ex by b.ex; Mon, 1 Jan 2024 00:00:00 +0000
Received: from c.ex by a.ex; Mon, 1 Jan 2024 00:00:00 +0000
From: =?utf-8?q?J=C3=BCrgen?= <j@b.c>
To: A <a@b.c>, \"B, C\" <user@example.com>
Subject: A subject with ${run{/bin/false}} and =?iso-8859-1?q?caf=E9?=
X-Folded: one
 two
\tthree
X-Utf: caf\u{e9}
X-Empty:
Message-Id: <1@host.test.ex>
Date: Mon, 1 Jan 2024 00:00:00 +0000

First line of the body.
Second line: x:y:z
Last line
";

const TABLE: &str = "\
# keys of all kinds
a: value of a
abc: \"quoted value\"
key: one
  two
Key2: other
yes: no
x_y: 1:2:3
b.c: domain value
*.example.com: wild value
*@b.c: star at
*: default
1.2.3.0/24: net
";

const WILD: &str = "^a.*: regex $1\n*.com: star\nexample.org: exact\n\"^\\\\d+\": digits\n";
const IPS: &str = "1.2.3.0/24: one\n127.0.0.1: two\n\"fe80::/10\": three\n\"::1\": four\n";

/// A folder with all of it, removed at the end.
pub(crate) struct Fixture {
    /// Where the tables are.
    pub(crate) folder: PathBuf,
    _guard: tempfile::TempDir,
}

impl Fixture {
    /// Makes the folder.
    pub(crate) fn new() -> Fixture {
        let guard = tempfile::Builder::new().prefix("ox").tempdir().unwrap();
        let top = guard.path().to_path_buf();
        let folder = top.join("f");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(top.join("spool")).unwrap();
        let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
        write(&folder.join("table"), TABLE);
        write(&folder.join("wild"), WILD);
        write(&folder.join("ips"), IPS);
        write(&folder.join("lines"), "first line\nsecond line\n\nlast");
        write(&folder.join("empty"), "");
        // Reading does not change the time of the last access if that is later than the last change.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
        let times = fs::FileTimes::new().set_accessed(later);
        fs::File::options().write(true).open(folder.join("lines")).unwrap().set_times(times).unwrap();
        write(&folder.join("local"), "b.c: a : ^key\nexample.com: user\n");
        write(&folder.join("list"), "# a list\na@b.c\n\nb.c\nkey\n!x\n");
        write(&top.join("message"), MESSAGE);
        let text = CONFIGURATION
            .replace("FOLDER/spool", &top.join("spool").to_string_lossy())
            .replace("FOLDER/log", &top.join("log").to_string_lossy())
            .replace("FOLDER", &folder.to_string_lossy());
        write(&top.join("configuration"), &text);
        // Programs may give up privilege before they read what the expressions name.
        for path in [&top, &folder] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(top.join("spool"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        Fixture { folder, _guard: guard }
    }

    fn program(&self, path: PathBuf) -> Program {
        let top = self.folder.parent().unwrap();
        let words = vec![
            path.into(),
            "-C".into(),
            top.join("configuration").into(),
            "-f".into(),
            "Sender@From.Ex".into(),
            "-bem".into(),
            top.join("message").into(),
        ];
        Program { words, directory: top.join("spool") }
    }

    /// The oracle.
    pub(crate) fn exim(&self) -> Program {
        self.program(place::exim().unwrap())
    }

    /// The program under test.
    pub(crate) fn oxim(&self) -> Program {
        self.program(place::oxim())
    }
}
