//! Files made by the tools of their own formats: Berkeley DB, GDBM, LMDB, cdb, SQLite, the Public Suffix List; and what damage
//! does to them: a deferral or a wrong answer, never a crash or an endless search.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use oxim_lang::lookup::format::{berkeley, gdbm, lmdb};

use super::{answers, check, check_both, config, is_root, program};
use crate::place;

const RECORDS: usize = 3000;

/// Runs a tool with a text on its standard input. None: it is not installed.
fn run(folder: &Path, name: &str, arguments: &[&str], input: &str) -> Option<()> {
    let mut child = Command::new(program(name)?)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = input.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let status = child.wait().unwrap();
    let _gone = writer.join().unwrap();
    assert!(status.success(), "{name} {arguments:?}");
    Some(())
}

/// A file of one format, by its tool: its name, the lookup type, and whether Exim reads it.
struct Made {
    name: &'static str,
    kind: &'static str,
    has_oracle: bool,
    has_big: bool,
}

fn make(folder: &Path) -> Vec<Made> {
    let big = "x".repeat(20_000);
    let mut berkeley = String::new();
    let mut gdbm = String::new();
    let mut lmdb = "VERSION=3\nformat=print\ntype=btree\nmapsize=104857600\nHEADER=END\n".to_owned();
    let mut cdb = String::new();
    for number in 0..RECORDS {
        let _ = writeln!(berkeley, "key{number}\nvalue {number}");
        let _ = writeln!(gdbm, "store key{number} \"value {number}\"");
        let _ = writeln!(lmdb, " key{number}\n value {number}");
        let _ = writeln!(cdb, "key{number} value {number}");
    }
    let _ = writeln!(berkeley, "big\n{big}");
    let _ = writeln!(lmdb, " big\n {big}\nDATA=END");
    let _ = writeln!(cdb, "big {big}");
    let mut made = Vec::new();
    let mut add =
        |done: Option<()>, name: &'static str, kind: &'static str, has_oracle: bool, has_big: bool| {
            if done.is_some() {
                made.push(Made { name, kind, has_oracle, has_big });
            }
        };
    let load = |more: &[&str], name: &str| {
        let arguments = [&["-T"], more, &[name]].concat();
        run(folder, "db5.3_load", &arguments, &berkeley)
    };
    add(load(&["-t", "hash"], "hash.db"), "hash.db", "dbmnz", true, true);
    add(load(&["-t", "btree"], "btree.db"), "btree.db", "dbmnz", true, true);
    add(load(&["-t", "hash", "-c", "db_lorder=4321"], "hash.be"), "hash.be", "dbmnz", true, true);
    add(load(&["-t", "btree", "-c", "db_lorder=4321"], "btree.be"), "btree.be", "dbmnz", true, true);
    add(load(&["-t", "btree", "-c", "db_pagesize=512"], "btree.512"), "btree.512", "dbmnz", true, true);
    add(run(folder, "gdbmtool", &["-n", "gdbm"], &gdbm), "gdbm", "dbmnz", false, false);
    add(run(folder, "gdbmtool", &["-n", "-x", "gdbm.x"], &gdbm), "gdbm.x", "dbmnz", false, false);
    add(run(folder, "mdb_load", &["-n", "lmdb"], &lmdb), "lmdb", "lmdb", false, true);
    add(run(folder, "cdb", &["-c", "-m", "cdb"], &cdb), "cdb", "cdb", true, true);
    made
}

pub(super) fn made_by_their_own_tools() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = config(folder, "");
    for file in make(folder) {
        let look = |key: &str| {
            format!(
                "${{lookup{{{key}}}{}{{{}/{}}}{{<$value>}}{{none}}}}",
                file.kind,
                folder.display(),
                file.name
            )
        };
        let mut keys: Vec<String> = (0..RECORDS).map(|number| format!("key{number}")).collect();
        let mut expected: Vec<String> = (0..RECORDS).map(|number| format!("<value {number}>")).collect();
        for missing in ["key", "key3000", "a", "zzz", "Key1"] {
            keys.push(missing.to_owned());
            expected.push("none".to_owned());
        }
        if file.has_big {
            keys.push("big".to_owned());
            expected.push(format!("<{}>", "x".repeat(20_000)));
        }
        let expressions: Vec<String> = keys.iter().map(|key| look(key)).collect();
        let expressions: Vec<&str> = expressions.iter().map(String::as_str).collect();
        assert!(answers(&place::oxim(), &config, &expressions) == expected, "{}", file.name);
        if let (Some(exim), true) = (place::exim().filter(|_| is_root()), file.has_oracle) {
            assert!(answers(&exim, &config, &expressions) == expected, "exim4: {}", file.name);
        }
    }
    duplicates(folder, &config);
    built_by_exim(folder, &config);
    tables(folder, &config);
    suffixes(&config);
}

/// Of several values for a key the first counts, wherever they stand.
fn duplicates(folder: &Path, config: &Path) {
    let few = "dup\na\ndup\nb\n".to_owned();
    let many: String = (0..2000).map(|number| format!("dup\nvalue{number}\n")).collect();
    for (name, kind, input, first) in [
        ("few.btree", "btree", &few, "a"),
        ("few.hash", "hash", &few, "a"),
        ("many.btree", "btree", &many, "value0"),
        ("many.hash", "hash", &many, "value0"),
    ] {
        if run(folder, "db5.3_load", &["-T", "-c", "duplicates=1", "-t", kind, name], input).is_some() {
            let look = format!("${{lookup{{dup}}dbmnz{{{}/{name}}}}}", folder.display());
            check_both(config, &[(&look, first)]);
        }
    }
}

/// exim_dbmbuild's keys and data end in a zero byte.
fn built_by_exim(folder: &Path, config: &Path) {
    std::fs::write(folder.join("source"), "a: one\n*.b.c: two words\n\"x:y\": three\n").unwrap();
    if run(folder, "exim_dbmbuild", &["source", "built"], "").is_none() {
        return;
    }
    let look = |key: &str, kind: &str| {
        format!("${{lookup{{{key}}}{kind}{{{}/built}}{{<$value>}}{{none}}}}", folder.display())
    };
    check_both(
        config,
        &[
            (&look("a", "dbm"), "<one>"),
            (&look("x.b.c", "partial-dbm"), "<two words>"),
            (&look("x:y", "dbm"), "<three>"),
            (&look("a", "dbmnz"), "none"),
            (&look("nothing", "dbm"), "none"),
        ],
    );
    if run(folder, "db5.3_load", &["-T", "-t", "hash", "joined"], "user\\00realm\\00password\nsecret\n")
        .is_some()
    {
        let look = format!("${{lookup{{user:realm:password}}dbmjz{{{}/joined}}}}", folder.display());
        check_both(config, &[(&look, "secret")]);
    }
    let missing = "Failed: failed to open /no/such as a db (v4.1+) file: No such file or directory";
    check_both(config, &[("${lookup{x}dbm{/no/such}}", missing)]);
}

fn tables(folder: &Path, config: &Path) {
    let sql = "create table t(a, b); insert into t values(1, null),('x y', ''),('q\"r', 2.50);";
    if run(folder, "sqlite3", &["t.sqlite"], sql).is_none() {
        return;
    }
    let file = folder.join("t.sqlite").display().to_string();
    let ask = |query: &str| format!("${{lookup sqlite,file={file}{{{query}}}{{<$value>}}{{none}}}}");
    check_both(
        config,
        &[
            (&ask("select * from t"), "<a=1 b=<NULL> \na=\"x y\" b=\"\" \na=q\"r b=2.5 >"),
            (&ask("select a from t where b=''"), "<x y>"),
            (&ask("select a from t where a=99"), "none"),
            (&ask("select '${quote_sqlite:x'); drop table t; --}'"), "<x'); drop table t; -->"),
            (&ask("insert into t select 7, 8 where 0"), "none"),
            (&format!("${{lookup sqlite{{{file} select count(*)=3 from t}}}}"), "1"),
            ("${lookup sqlite{select 1}}", "Failed: absolute file name expected for \"sqlite\" lookup"),
        ],
    );
    let bad = ask("select bad");
    let text = "Failed: lookup of \"select bad\" gave DEFER: sqlite: no such column: bad";
    check(
        config,
        &[
            (&bad, text),
            (
                "${lookup sqlite,file=/no/such{select 1}}",
                "Failed: unable to open database file: No such file or directory",
            ),
        ],
    );
}

fn suffixes(config: &Path) {
    let list = "/usr/share/publicsuffix/public_suffix_list.dat";
    if program(list).is_none() {
        return;
    }
    let look = |key: &str, kind: &str| format!("${{lookup{{{key}}}{kind}{{{list}}}{{<$value>}}{{none}}}}");
    check(
        config,
        &[
            (&look("a.b.example.co.uk", "psl"), "<co.uk>"),
            (&look("a.b.Example.co.uk", "regdom"), "<example.co.uk>"),
            (&look("a.www.ck", "regdom"), "<www.ck>"),
            (&look("com", "regdom"), "none"),
        ],
    );
}

/// Each byte that is likely to matter, changed; and the file cut off anywhere.
pub(super) fn damage_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    for file in make(folder.path()).iter().filter(|file| file.kind != "cdb" && !file.name.ends_with("be")) {
        let good = std::fs::read(folder.path().join(file.name)).unwrap();
        let look = |bytes: Vec<u8>| {
            for key in [&b"key1"[..], b"key2999", b"big", b"nothing"] {
                if file.kind == "lmdb" {
                    let _ = lmdb::Database::open(bytes.clone()).and_then(|database| database.find(key));
                } else if file.name.starts_with("gdbm") {
                    let _ = gdbm::Database::open(bytes.clone())
                        .map(|open| open.map(|database| database.find(key)));
                } else {
                    let _ = berkeley::Database::open(bytes.clone())
                        .map(|open| open.map(|database| database.find(key)));
                }
            }
        };
        let mut state = 7_u64;
        let mut chance = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..=round % 40 {
                // Headers of the file and of pages more often than the rest.
                let at = match chance(3) {
                    0 => chance(512),
                    1 => chance(bytes.len() / 512) * 512 + chance(32),
                    _ => chance(bytes.len()),
                };
                let at = at.min(bytes.len() - 1);
                bytes[at] = [0, 1, 0x7f, 0xff, bytes[at].wrapping_add(1)][chance(5)];
            }
            if round % 5 == 0 {
                bytes.truncate(chance(good.len()));
            }
            look(bytes);
        }
    }
}
