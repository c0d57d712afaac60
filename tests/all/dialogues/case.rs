//! One drawn case: a configuration, how the program is called, and what is said to it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Where a line of the configuration belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Section {
    Main,
    Acl(String),
    Rewrite,
    Authenticators,
}

/// How the program is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// A dialogue over standard input and output.
    Pipes,
    /// A dialogue with a daemon.
    Daemon,
    /// Input without answers: `-bS`, `-t`, `-bm`.
    Input,
}

/// What is sent at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) bytes: Vec<u8>,
    /// How many replies are awaited before the next step.
    pub(super) replies: usize,
    /// It is sent only if the last reply begins with this.
    pub(super) after: String,
}

impl Step {
    /// A command line with its reply.
    pub(super) fn command(text: &str) -> Step {
        Step { bytes: format!("{text}\r\n").into_bytes(), replies: 1, after: String::new() }
    }
}

/// A case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Case {
    /// What it is called in a report.
    pub(super) name: String,
    pub(super) config: Vec<(Section, String)>,
    pub(super) way: Way,
    pub(super) arguments: Vec<String>,
    /// Who calls; nobody named means root.
    pub(super) user: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// The ACLs that every configuration has, so that a line that names one is right whatever else is taken away.
pub(super) const ACLS: &[&str] = &[
    "connect",
    "helo",
    "mail",
    "rcpt",
    "predata",
    "data",
    "mailauth",
    "auth",
    "vrfy",
    "expn",
    "etrn",
    "quit",
    "notquit",
    "not_smtp",
    "not_smtp_start",
    "sub",
    "sub2",
];

/// In front of what is drawn. The lines that only Oxim reads make it show what 4.96 shows.
const PREAMBLE: &str = "spool_directory = /mnt/spool\nlog_file_path = /mnt/log/%slog\npid_file_path = /mnt/daemon.pid\n\
     primary_hostname = host.test.ex\nkeep_environment =\ntimezone = UTC\nexim_user = Debian-exim\n\
     exim_group = Debian-exim\nqueue_only\ntls_advertise_hosts =\nsmtp_etrn_command = /bin/true\n";
const OXIM_ONLY: &str = "message_id_form = short\ndns_servers = 127.0.0.1\nlimits_advertise_hosts =\n";

const LISTS: &str = "domainlist local_domains = test.ex : *.test.ex : @\n\
     domainlist some_domains = remote.ex : ^odd\nhostlist relays = 10.0.0.0/8 : 192.0.2.98\n\
     addresslist friends = friend@remote.ex : *@good.ex\nlocalpartlist staff = alice : bob : sales\n";

const ROUTING: &str = "begin routers\n\
     aliases:\n  driver = redirect\n  domains = +local_domains\n  \
     data = ${lookup{$local_part}lsearch{/mnt/etc/aliases}}\n  allow_fail\n  allow_defer\n\
     users:\n  driver = accept\n  domains = +local_domains\n  local_parts = alice : bob : postmaster : root : user\n  \
     local_part_suffix = -*\n  local_part_suffix_optional\n  address_data = data of $local_part\n  transport = mail\n\
     remote:\n  driver = manualroute\n  domains = *.remote.ex : remote.ex : good.ex\n  \
     route_list = * 192.0.2.200\n  transport = smtp\n\
     begin transports\n\
     mail:\n  driver = appendfile\n  file = /mnt/mail/$local_part_data\n\
     smtp:\n  driver = smtp\n";

/// What a rewriting rule looks up.
pub(super) const OTHERS: &str = "friend: fr@new.ex\nword: \"W. Ord\" <word@new.ex>\nTwo: a@@b\na: @\n";

/// The aliases of `ROUTING`.
pub(super) const ALIASES: &str = "sales: alice@test.ex, bob@test.ex\none: alice@test.ex\nfails: :fail: there is nobody\n\
     waits: :defer: come back later\nhole: :blackhole:\nbroken: a@@b\nloop: loop@test.ex\nout: friend@remote.ex\n";

impl Case {
    /// The configuration file, for either program.
    pub(super) fn configuration(&self, is_oxim: bool) -> String {
        let mut text = PREAMBLE.to_owned();
        // Faults are told with the number of their line.
        text.push_str(if is_oxim { OXIM_ONLY } else { "#\n#\n#\n" });
        text.push_str(LISTS);
        text.push_str(&self.section(&Section::Main));
        text.push_str("begin acl\n");
        for name in ACLS {
            let _ = writeln!(text, "{name}:\n{}", self.section(&Section::Acl((*name).to_owned())));
        }
        text.push_str(ROUTING);
        for (section, heading) in [(Section::Rewrite, "rewrite"), (Section::Authenticators, "authenticators")]
        {
            let _ = writeln!(text, "begin {heading}\n{}", self.section(&section));
        }
        text
    }

    /// Whether the configuration has this line.
    pub(super) fn has_line(&self, wanted: &str) -> bool {
        self.config.iter().any(|(_, line)| line == wanted)
    }

    fn section(&self, wanted: &Section) -> String {
        let lines = self.config.iter().filter(|(section, _)| section == wanted);
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Everything that is drawn, nearly as a scenario says it.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.name);
        let mut last = &Section::Main;
        for (section, line) in &self.config {
            if section != last {
                let _ = writeln!(text, "[{section:?}]");
                last = section;
            }
            let _ = writeln!(text, "{line}");
        }
        let user = self.user.as_deref().unwrap_or("root");
        let _ = writeln!(text, "== {:?} as {user}: {}", self.way, self.arguments.join(" "));
        for step in &self.steps {
            let bytes = String::from_utf8_lossy(&step.bytes);
            let lines = bytes.split_inclusive('\n').map(|line| match line.strip_suffix("\r\n") {
                Some(line) => format!("> {}\n", line.escape_debug()),
                None => format!(">> {}\n", line.escape_debug()),
            });
            text.extend(lines);
            if !step.after.is_empty() {
                let _ = writeln!(text, "   (after {})", step.after);
            }
        }
        text
    }
}
