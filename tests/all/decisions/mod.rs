//! The decisions about secured delivery, enumerated: every combination of what the DNS, the server and the options say, each
//! with the action that is due, run end to end against a name server and servers with TLS.
//!
//! A table is turned into a scenario (`tests/scenarios/README.md`) with one recipient for each row: the local part tells the row,
//! and each has a domain and a host of its own, so that no row has anything to do with another. What must become of a row is said
//! here, in the words of the RFCs, not asked of the program.
//!
//! Where an earlier answer settles a row, the later ones cannot matter. Such rows are all run too with `OXIM_PROOF=full`;
//! else one of them stands for all.

mod certificates;
mod dane;
mod mta_sts;
mod ocsp;

use libtest_mimic::{Failed, Trial};

use crate::scenario::{self, Program};
use crate::{again, place};
use certificates::Certificates;

/// What makes a table, when its trial runs.
type Maker = Box<dyn Fn() -> Table + Send>;

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let is_full = std::env::var("OXIM_PROOF").is_ok_and(|word| word == "full");
    let mut tables: Vec<(String, Maker)> = Vec::new();
    for mx in dane::Mx::ALL {
        tables.push((format!("dane::{}", mx.word()), Box::new(move || dane::table(mx, is_full))));
    }
    tables.push(("ocsp".to_owned(), Box::new(ocsp::table)));
    tables.push(("mta_sts".to_owned(), Box::new(mta_sts::table)));
    tables
        .into_iter()
        .map(|(name, table)| {
            again::trial(format!("decisions::{name}"), move || table().run())
                .with_ignored_flag(!scenario::is_root())
        })
        .collect()
}

/// Rows, and what they need.
#[derive(Default)]
struct Table {
    certificates: Certificates,
    /// The configuration.
    config: String,
    /// Lines of the zone.
    zone: String,
    /// Sections that come before the message, servers for instance.
    servers: String,
    rows: Vec<Row>,
    /// `sed` expressions that find the deliveries in the main log.
    deliveries: &'static str,
}

struct Row {
    recipient: String,
    /// What the log must say: `=> CV=dane`.
    action: String,
}

/// `sed` expressions that turn deliveries into actions: how the server was verified.
const VERIFIED_BY: &str = r"-e 's/.* [-=]> ([^ ]+) R=.* CV=([a-z]+) .*/\1 => CV=\2/; t said' -e 's/.* [-=]> ([^ ]+) R=.*/\1 => in the clear/; t said'";

/// The same for deliveries that are put off: the reason, without what the library adds.
const PUT_OFF: &str = r"-e 's/.* == ([^ ]+) (R=.* )?defer \((-[0-9]+)\)( H=[^:]*)?: (TLS session: )?(\(certificate verification failed\): )?(.*)/\1 == (\3) \7/; t said'";

/// Names of domains and hosts in reasons are all the same.
const SAY: &str = r"-e 'd; : said' -e 's/ r[0-9]+(h1)?\.[a-z.]*ex/ HOST/g; p'";

impl Table {
    fn scenario(&self) -> String {
        let Table { config, zone, servers, rows, deliveries, .. } = self;
        let files = self.certificates.files();
        let recipients: Vec<&str> = rows.iter().map(|row| row.recipient.as_str()).collect();
        let recipients = recipients.join(",\n ");
        let mut actions: Vec<String> =
            rows.iter().map(|row| format!("{} {}\n", row.recipient, row.action)).collect();
        actions.sort();
        let actions = actions.concat();
        format!(
            "A table of decisions.\n== no-oracle\n== config\n{config}== dns\n{zone}{files}{servers}\
             == run -odf -f a@s.ex -t\n-- stdin\nTo: {recipients}\n\ntext\n\
             == sh\nsed -nE {deliveries} {PUT_OFF} {SAY} log/mainlog | LC_ALL=C sort\n-- output\n{actions}"
        )
    }

    fn run(&self) -> Result<(), Failed> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("decisions.txt");
        std::fs::write(&file, self.scenario())?;
        if let Some(kept) = std::env::var_os("OXIM_KEEP") {
            std::fs::copy(&file, place::source().join(kept))?;
        }
        scenario::check_once(&file, Program::Oxim, false)
    }
}
