//! What `-bt`, `-bv` and `-bvs` say of each of many addresses: text, errors, exit code.

use super::Record;
use super::ground::Ground;
use crate::scenario::pattern::Names;

pub(super) const ADDRESSES: &[&str] = &[
    // Local users, in all the ways to write them.
    "alice",
    "alice@host.test.ex",
    "alice@test.ex",
    "alice@local.ex",
    "ALICE@HOST.TEST.EX",
    "Alice@localhost",
    "\"alice\"@host.test.ex",
    "ali(comment)ce@host.test.ex",
    "<alice@host.test.ex>",
    "Alice A <alice@host.test.ex>",
    "alice@[127.0.0.1]",
    "alice@[198.51.100.1]",
    "alice@[192.0.2.10]",
    "alice@[IPv6:2001:db8::6]",
    "alice@[nonsense]",
    // Users with forward files, and those who have none that counts.
    "bob@host.test.ex",
    "carol@host.test.ex",
    "dave@host.test.ex",
    "erin@host.test.ex",
    "frank@host.test.ex",
    "real-alice@host.test.ex",
    "real-bob@local.ex",
    "real-nobody-here@local.ex",
    "alice+box@host.test.ex",
    "alice-list@host.test.ex",
    "daemon@host.test.ex",
    "unknown@host.test.ex",
    "Debian-exim@host.test.ex",
    // Aliases.
    "postmaster",
    "postmaster@host.test.ex",
    "root@host.test.ex",
    "Root@host.test.ex",
    "sales@host.test.ex",
    "team@host.test.ex",
    "drop@host.test.ex",
    "archive@host.test.ex",
    "gone@host.test.ex",
    "later@host.test.ex",
    "away@host.test.ex",
    "both@host.test.ex",
    "me@host.test.ex",
    "loop1@host.test.ex",
    "bad@host.test.ex",
    "empty@host.test.ex",
    "quoted@host.test.ex",
    "included@host.test.ex",
    "MIXED.case@host.test.ex",
    "\"a b\"@local.ex",
    // Remote domains.
    "someone@remote.ex",
    "someone@REMOTE.EX",
    "someone@many.ex",
    "someone@aonly.ex",
    "someone@nullmx.ex",
    "someone@nothing.ex",
    "someone@servfail.ex",
    "someone@timeout.ex",
    "someone@mxservfail.ex",
    "someone@mxservfail2.ex",
    "someone@nomxaddress.ex",
    "someone@halfmx.ex",
    "someone@ownmx.ex",
    "someone@ownsecond.ex",
    "someone@loopmx.ex",
    "someone@cname.ex",
    "someone@mxcname.ex",
    "someone@literalmx.ex",
    "someone@privatemx.ex",
    "someone@sixmx.ex",
    "someone@bothmx.ex",
    "someone@txtonly.ex",
    "someone@under_score.ex",
    "someone@remote.ex.",
    "someone@singlelabel",
    "\"some one\"@remote.ex",
    "\"a\\\"b\"@remote.ex",
    // Characters that mean something elsewhere, and things that are no address.
    "user%remote.ex@host.test.ex",
    "remote.ex!user@host.test.ex",
    "a/b@host.test.ex",
    "../etc/passwd@host.test.ex",
    "|cat@host.test.ex",
    "a|b@remote.ex",
    ".alice@host.test.ex",
    "alice.@host.test.ex",
    "al..ice@host.test.ex",
    "@relay.ex:alice@host.test.ex",
    "alice@",
    "@host.test.ex",
    "alice@@host.test.ex",
    "alice bob",
    "alice@host.test.ex, bob@host.test.ex",
    "alice@-bad.ex",
    "alice@bad..ex",
    "alice@ex_ample!.ex",
    "<alice@host.test.ex",
    "\"unclosed@host.test.ex",
    "alice@host.test.ex (comment",
    "j\u{f6}rg@host.test.ex",
    "someone@b\u{fc}cher.ex",
    "",
    " ",
    "$local_part@host.test.ex",
    "${lc:X}@host.test.ex",
];

/// A local part longer than a mailbox name may be, and one longer than a line of SMTP.
fn long_ones() -> Vec<String> {
    vec![
        format!("{}@host.test.ex", "a".repeat(65)),
        format!("{}@remote.ex", "b".repeat(200)),
        format!("{}@host.test.ex", "c".repeat(1_100)),
        format!("x@{}.ex", "d".repeat(64)),
        format!("x@{}ex", "e.".repeat(130)),
    ]
}

pub(super) fn record(ground: &Ground) -> Record {
    let mut record = Record::new();
    let long = long_ones();
    for address in ADDRESSES.iter().copied().chain(long.iter().map(String::as_str)) {
        // As a sender an address is verified in the same way: some are enough.
        let modes: &[&str] = if address.len() % 4 == 0 { &["-bt", "-bv", "-bvs"] } else { &["-bt", "-bv"] };
        for mode in modes {
            let short: String = address.chars().take(40).collect();
            record.insert(format!("{mode} {short}"), ground.run(None, &[*mode, address]));
        }
    }
    for mode in ["-bt", "-bv"] {
        let several = ["alice", "unknown", "someone@remote.ex", "later", "a@@b"];
        record.insert(format!("{mode} several"), ground.run(None, &[&[mode], &several[..]].concat()));
        record.insert(
            format!("{mode} -f"),
            ground.run(None, &["-f", "someone@remote.ex", mode, "alice", "gone", "x@many.ex"]),
        );
        record.insert(
            format!("{mode} user"),
            ground.run(Some("daemon"), &[mode, "alice", "x@many.ex", "gone"]),
        );
    }
    // What is logged goes to standard error here, with the time.
    record.into_iter().map(|(case, text)| (case, Names::default().generalise(&text))).collect()
}
