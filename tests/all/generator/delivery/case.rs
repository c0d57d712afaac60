//! One drawn case: a configuration, the files around it, addresses to test and a message to deliver. It is written as a scenario
//! (`tests/scenarios/README.md`), and it can be made smaller.

/// A router, transport or retry rule's worth of lines under a name.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) driver: &'static str,
    /// Options, one each.
    pub(super) options: Vec<String>,
}

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    /// Main options that all cases have.
    pub(super) fixed: &'static [&'static str],
    pub(super) main: Vec<String>,
    pub(super) routers: Vec<Block>,
    pub(super) transports: Vec<Block>,
    pub(super) retry: Vec<String>,
    pub(super) rewrite: Vec<String>,
    /// Sections `file NAME MODE OWNER`, and their text.
    pub(super) files: Vec<(String, String)>,
    /// Lines of the name server's zone.
    pub(super) zone: Vec<String>,
    /// Addresses that are tested.
    pub(super) tested: Vec<String>,
    /// The arguments of the submission before the recipients.
    pub(super) submission: Vec<String>,
    pub(super) recipients: Vec<String>,
    pub(super) header: Vec<String>,
    pub(super) body: Vec<String>,
    /// Filters and templates: sections of files as above, whose lines are drawn.
    pub(super) scripts: Vec<(String, Vec<String>)>,
    /// Rules of the servers that come before those that all cases have.
    pub(super) replies: Vec<String>,
    /// What SMTP says before the message, where the submission reads SMTP; `recipients` are arguments of RCPT then.
    pub(super) dialogue: Vec<String>,
    /// What the shell does with the message in a file, before it is submitted.
    pub(super) before: Vec<String>,
    /// What the shell does after the submission.
    pub(super) steps: Vec<String>,
}

/// Addresses with servers behind them; others in the network are reachable, and nobody listens.
const SERVERS: &str = "\
== ruled-server out 192.0.2.1:2526 192.0.2.2:2526 192.0.2.3:2526 192.0.2.4:2526 192.0.2.5:2526 192.0.2.6:2526 192.0.2.11:2526 192.0.2.12:2526 \
192.0.2.21:2526 192.0.2.22:2526 192.0.2.31:2526 192.0.2.32:2526 127.0.0.1:2526 /mnt/lmtp.sock
";

const USUAL_REPLIES: &str = "\
greeting 192.0.2.4 421 4.3.2 busy
greeting 192.0.2.5 554 5.3.2 nothing for you
EHLO 192.0.2.6 500 what
MAIL mail450 450 4.1.8 that sender later
MAIL mail550 550 5.1.8 never that sender
RCPT rcpt450 450 4.2.1 later
RCPT rcpt550 550 5.1.1 nobody of that name
RCPT rcpt421 421 4.3.2 going down
RCPT rcptdrop close
DATA data450 450 4.3.0 no data now
DATA data550 550-5.7.0 no data
DATA datadrop close
. dot450 450 4.3.0 could not write
. dot550 550 5.6.0 do not like it
. dotdrop close
";

pub(super) const ZONE: &str = "\
host.test.ex A 127.0.0.1
test.ex MX 10 host.test.ex
mx.ex MX 10 h1.mx.ex
mx.ex MX 20 h2.mx.ex
h1.mx.ex A 192.0.2.1
h2.mx.ex A 192.0.2.2
a.ex A 192.0.2.3
sub.a.ex A 192.0.2.3
null.ex MX 0 .
self.ex MX 10 host.test.ex
low.ex MX 10 h1.mx.ex
low.ex MX 20 host.test.ex
servfail.ex SERVFAIL
half.ex MX 10 none.half.ex
half.ex MX 20 h1.mx.ex
none.ex MX 10 none.half.ex
cname.ex CNAME a.ex
dead.ex A 192.0.2.9
fallen.ex MX 10 dead.ex
fallen.ex MX 20 h1.mx.ex
busy.ex A 192.0.2.4
busymx.ex MX 10 busy.ex
busymx.ex MX 20 h2.mx.ex
rude.ex A 192.0.2.5
rudemx.ex MX 10 rude.ex
rudemx.ex MX 20 h2.mx.ex
old.ex A 192.0.2.6
txt.ex TXT text
_smtp._tcp.srv.ex SRV 1 1 2526 h2.mx.ex
h.wide.ex A 192.0.2.2
";

/// Waits until no process of the program is left, which some loops of messages never do; shows what can be seen.
const SHOW: &str = r#"settle() {
  n=0
  while pgrep -x 'exim4|oxim' >/dev/null; do
    n=$((n+1)); [ $n -lt 1000 ] || { echo UNSETTLED; exit 1; }
    sleep 0.01
  done
}
logs() { for l in mainlog rejectlog paniclog; do echo "[$l]"; cat log/$l; rm -f log/$l; done 2>/dev/null; }
ids() { ls spool/input/ 2>/dev/null | sed -n 's/-H$//p' | LC_ALL=C sort; }
# Files in mailstores by message and envelope: their names end in letters that any clock gives.
stored() {
  find mail/store -type f 2>/dev/null | while read f; do
    printf '%s %s %s\t%s\n' "${f%-*}" "$(tr '\n' ' ' <"${f%.*}.env")" "$f" "$f"
  done | LC_ALL=C sort | cut -f2
}
show() {
  settle; logs
  {
    find mail home -mindepth 1 ! -path 'mail/store/*' | LC_ALL=C sort -V | grep -v '/\.\?fwd\|maildirsize$'
    stored
  } | while read f; do
    echo "[$f $(stat -c '%A %U:%G' "$f")]"
    test -f "$f" && cat "$f"
  done
  for i in $(ids); do echo "[queued]"; settle; $EXIM -Mvh $i; done
  echo "[queue]"; $EXIM -bp 2>&1
  echo "[hints]"; $TOOLS/exim_dumpdb /mnt/spool retry 2>/dev/null | grep -v '^\*\* Failed' | sed -E 's/[0-9]+-[A-Z][a-z]+-[0-9]{4} [0-9:]{8}/DATE/g' | LC_ALL=C sort
}
# Messages, and what is known of servers, as if so many seconds had passed.
age() {
  for i in $(ids); do
    awk -v by=$1 'NR == 4 { $1 -= by } $1 == "-frozen" { $2 -= by } { print }' spool/input/$i-H >aged
    cat aged >spool/input/$i-H
  done
  forget_since $1 $1 $1
}
forget_since() {
  at() { date -u -d "$1 seconds ago" +%y%m%d:%H%M; }
  $TOOLS/exim_dumpdb /mnt/spool retry 2>/dev/null | sed -n 's/^ *\([RT]:\S*\) .*/\1/p' | while read key; do
    printf '%s\n2 %s\n3 %s\n4 %s\n' "$key" $(at $1) $(at $2) $(at $3) | $TOOLS/exim_fixdb /mnt/spool retry >/dev/null
  done
}
tried() { echo "[$*]"; timeout 15 $EXIM "$@" 2>errors; echo "exit $?"; grep -o 'configuration error' errors; }
"#;

impl Case {
    /// The case as a scenario, without what is expected.
    pub(super) fn scenario(&self) -> String {
        let mut text =
            String::from("A drawn case.\n== sh\nip route add local 192.0.2.0/24 dev lo\n== config\n");
        self.fixed.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        self.main.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        for (section, blocks) in [("routers", &self.routers), ("transports", &self.transports)] {
            text.push_str(&format!("begin {section}\n"));
            for block in blocks {
                text.push_str(&format!("{}:\n  driver = {}\n", block.name, block.driver));
                block.options.iter().for_each(|option| text.push_str(&format!("  {option}\n")));
            }
        }
        for (section, lines) in [("retry", &self.retry), ("rewrite", &self.rewrite)] {
            text.push_str(&format!("begin {section}\n"));
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text.push_str("== dns\n");
        self.zone.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        for (heading, contents) in &self.files {
            text.push_str(&format!("== file {heading}\n{contents}"));
        }
        for (heading, lines) in &self.scripts {
            text.push_str(&format!("== file {heading}\n"));
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text.push_str(SERVERS);
        self.replies.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str(USUAL_REPLIES);
        text.push_str("== sh\nchmod 1777 mail\n");
        text.push_str(SHOW);
        let tested: Vec<String> = self.tested.iter().map(|address| quoted(address)).collect();
        if !tested.is_empty() {
            for mode in ["-bt", "-bv", "-bvs"] {
                text.push_str(&format!("tried {mode} {}\n", tested.join(" ")));
            }
            text.push_str("logs\n");
        }
        text.push_str("cat >message <<'END'\n");
        for line in self.header.iter().chain([&String::new()]).chain(&self.body) {
            text.push_str(&format!("{line}\n"));
        }
        text.push_str("END\n");
        self.before.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str(&self.submitted());
        text.push_str("show\n");
        self.steps.iter().for_each(|line| text.push_str(&format!("{line}\nshow\n")));
        text.push_str("== expect server out\n");
        text
    }

    /// How the message goes in.
    fn submitted(&self) -> String {
        let words = |words: &[&[String]]| -> String {
            let words: Vec<String> = words.concat().iter().map(|word| quoted(word)).collect();
            words.join(" ")
        };
        if self.dialogue.is_empty() {
            return format!("tried {} <message\n", words(&[&self.submission, &self.recipients]));
        }
        let mut commands = self.dialogue.clone();
        commands.extend(self.recipients.iter().map(|arguments| format!("RCPT TO:{arguments}")));
        // A line with a single dot in the message ends it, as it should.
        format!(
            "{{ cat <<'END'\n{}\nDATA\nEND\ncat message; printf '.\\nQUIT\\n'; }} >dialogue\ntried {} <dialogue\n",
            commands.join("\n"),
            words(&[&self.submission])
        )
    }

    /// The lists that can be shortened.
    fn lists(&mut self) -> Vec<&mut Vec<String>> {
        let Case {
            main,
            routers,
            transports,
            retry,
            rewrite,
            tested,
            recipients,
            header,
            body,
            zone,
            scripts,
            replies,
            dialogue,
            before,
            steps,
            ..
        } = self;
        let mut lists = vec![
            tested, zone, main, retry, rewrite, header, body, replies, before, steps, recipients, dialogue,
        ];
        lists.extend(scripts.iter_mut().map(|(_, lines)| lines));
        lists.extend(routers.iter_mut().map(|block| &mut block.options));
        lists.extend(transports.iter_mut().map(|block| &mut block.options));
        lists
    }

    /// The case without what nothing mentions.
    fn without_the_unused(&self) -> Case {
        let mut case = self.clone();
        let options =
            |blocks: &[Block]| blocks.iter().flat_map(|block| block.options.clone()).collect::<String>();
        let routers = options(&case.routers);
        case.transports.retain(|block| routers.contains(&block.name) || block.name == "shadow");
        let mentioned = routers + &options(&case.transports) + &case.rewrite.concat() + &case.retry.concat();
        case.files.retain(|(heading, _)| {
            let name = heading.split(' ').next().and_then(|path| path.rsplit('/').next());
            mentioned.contains(name.unwrap_or(""))
        });
        case
    }

    /// Cases that lack something, the biggest things first.
    pub(super) fn smaller(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut add = |change: &dyn Fn(&mut Case)| {
            let mut case = self.clone();
            change(&mut case);
            if case.scenario().len() < self.scenario().len() && !case.recipients.is_empty() {
                cases.push(case);
            }
        };
        add(&|case| *case = case.without_the_unused());
        for list in 0..10 {
            add(&|case| case.lists()[list].clear());
        }
        for index in 0..self.routers.len() {
            add(&|case| drop(case.routers.remove(index)));
        }
        for index in 0..self.transports.len() {
            add(&|case| drop(case.transports.remove(index)));
        }
        let lengths: Vec<usize> = self.clone().lists().iter().map(|list| list.len()).collect();
        for (list, length) in lengths.iter().enumerate() {
            if *length > 4 {
                add(&|case| drop(case.lists()[list].drain(length / 2..)));
                add(&|case| drop(case.lists()[list].drain(..length / 2)));
            }
            for index in 0..*length {
                add(&|case| drop(case.lists()[list].remove(index)));
            }
        }
        for index in 0..self.files.len() {
            add(&|case| drop(case.files.remove(index)));
        }
        cases
    }
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
