//! Lookups as a whole. The expected values were taken from Exim 4.96 (`exim4 -be '${lookup…'`).

use std::io::Write;

use super::*;

fn context() -> Context {
    Context::default()
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

/// `data:wild:fixed`, `NF`, or the error text.
fn look(specification: &str, key: &str, path: &std::path::Path) -> String {
    let lookup = match LookupType::parse(specification) {
        Ok(lookup) => lookup,
        Err(error) => return error,
    };
    let source = Text::from(path.to_str().unwrap());
    match find(&mut context(), &lookup, Some(&Text::tainted(key)), &source) {
        Ok(None) => "NF".to_owned(),
        Ok(Some(found)) => {
            assert!(!found.data.is_foreign());
            let parts = found.parts.map(|(wild, fixed)| {
                format!(":{}:{}", String::from_utf8_lossy(&wild), String::from_utf8_lossy(&fixed))
            });
            format!("{}{}", found.data, parts.unwrap_or_default())
        }
        Err(error) => error.text().to_owned(),
    }
}

#[test]
fn partial_matching_and_defaults() {
    let file = file("*: d\n*.b.c: pd\n.b.c: dot\nb.c: none\n*@q.r: at\n*.x: sx\n");
    for (specification, key, expected) in [
        ("partial-lsearch", "abcdef", "NF"),
        ("partial0-lsearch", "abcdef", "d:abcdef:"),
        ("partial1()lsearch", "abcdef", "NF"),
        ("partial0(*)lsearch", "abcdef", "d:abcdef:"),
        ("partial-lsearch", "a.b.c", "pd:a:b.c"),
        ("partial0(.)lsearch", "a.b.c", "dot:a:b.c"),
        ("partial1()lsearch", "a.b.c", "none:a:b.c"),
        ("partial-lsearch", "b.c", "none::b.c"),
        ("partial-lsearch", "x.a.b.c", "pd:x.a:b.c"),
        ("partial3-lsearch", "x.a.b.c", "NF"),
        ("partial-lsearch", "x", "sx::x"),
        ("partial1-lsearch", "a..x", "sx:a.:x"),
        ("partial-lsearch*", "q.w.e", "d:q.w.e:"),
        ("lsearch*", "zz", "d:zz:"),
        ("lsearch*", "", "d::"),
        ("lsearch", "", "NF"),
        ("lsearch*@", "zz@q@q.r", "at:zz@q:"),
        ("lsearch*@", "zz@other", "d:zz@other:"),
        ("lsearch*,ret=key", "zzz", "zzz:zzz:"),
        ("lsearch*@,ret=full", "zz@q.r", "*@q.r: at:zz:"),
        ("partial99999999999999999999999-lsearch", "a.b.c", "NF"),
    ] {
        assert_eq!(look(specification, key, file.path()), expected, "{specification} {key}");
    }
}

#[test]
fn faulty_types() {
    for (specification, error) in [
        ("nosuch", "unknown lookup type \"nosuch\""),
        ("lsearch@", "unknown lookup type \"lsearch@\""),
        ("partialx-lsearch", "format error in lookup type \"partialx-lsearch\""),
        ("partial0(x)lsearch", "format error in lookup type \"partial0(x)lsearch\""),
        ("partial-partial-lsearch", "unknown lookup type \"partial-lsearch\""),
        ("partial-dnsdb", "\"partial\" is not permitted for lookup type \"dnsdb\""),
        ("dnsdb*", "defaults using \"*\" or \"*@\" are not permitted for lookup type \"dnsdb*\""),
    ] {
        assert_eq!(LookupType::parse(specification).unwrap_err(), error);
    }
    assert!(
        LookupType::parse("oracle").unwrap_err().starts_with("lookup type \"oracle\" is not available: ")
    );
}

#[test]
fn a_key_where_one_belongs_and_nowhere_else() {
    let text = Text::from("x");
    let error = find(&mut context(), &LookupType::parse("dnsdb").unwrap(), Some(&text), &text).unwrap_err();
    assert_eq!(
        error.text(),
        "a single key was given for lookup type \"dnsdb\", which is not a single-key lookup type"
    );
    let error = find(&mut context(), &LookupType::parse("lsearch").unwrap(), None, &text).unwrap_err();
    assert_eq!(error, LookupError::Failed("missing {key} for single-key \"lsearch\" lookup".to_owned()));
}

#[test]
fn files_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let shown = directory.path().display();
    assert_eq!(
        look("lsearch", "a", &directory.path().join("no")),
        format!("failed to open {shown}/no for linear search: No such file or directory")
    );
    assert_eq!(
        look("lsearch", "a", directory.path()),
        format!("{shown} is not a regular file (lsearch lookup)")
    );
    assert_eq!(
        look("dsearch", "a", &directory.path().join("no")),
        format!("failed to open {shown}/no for directory search: No such file or directory")
    );
    let file = file("a: b\n");
    let path = file.path().display();
    assert_eq!(
        look("dsearch", "a", file.path()),
        format!("failed to open {path} for directory search: Not a directory")
    );
    assert_eq!(look("cdb", "a", file.path()), format!("failed to open {path} too short for cdb lookup"));
    let tainted = Text::tainted(path.to_string());
    let lookup = LookupType::parse("lsearch").unwrap();
    let error = find(&mut context(), &lookup, Some(&Text::from("a")), &tainted).unwrap_err();
    assert_eq!(error, LookupError::Failed(format!("Tainted filename for search: '{path}'")));
}

#[test]
fn entries_of_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    std::fs::write(at("sub/inner"), "").unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    let look = |specification: &str, key: &str| super::tests::look(specification, key, directory.path());
    for (specification, found) in [
        ("dsearch", "file sub link . .."),
        ("dsearch,filter=any", "file sub link . .."),
        ("dsearch,filter=file", "file"),
        ("dsearch,filter=dir", "sub . .."),
        ("dsearch,filter=subdir", "sub"),
        ("dsearch,filter=file,key=path", "file sub/inner"),
    ] {
        for key in ["file", "sub", "link", ".", "..", "nope"] {
            let expected = if found.split(' ').any(|k| k == key) { key } else { "NF" };
            assert_eq!(
                look(specification, key),
                if specification.ends_with("path") && key == ".." {
                    "key for dsearch lookup leads out of the directory: ..".to_owned()
                } else {
                    expected.to_owned()
                },
                "{specification} {key}"
            );
        }
    }
    assert_eq!(look("dsearch,ret=full", "file"), at("file").display().to_string());
    assert_eq!(look("dsearch", "a/b"), "key for dsearch lookup contains a slash: a/b");
    assert_eq!(look("dsearch,key=path", "sub/inner"), "sub/inner");
    assert_eq!(
        look("dsearch,key=path", "sub/../file"),
        "key for dsearch lookup leads out of the directory: sub/../file"
    );
    assert_eq!(
        look("dsearch,key=path", "/etc/passwd"),
        "key for dsearch lookup leads out of the directory: /etc/passwd"
    );
}

#[test]
fn wild_keys() {
    let nested = file("a: x\n");
    let wild = file(&format!(
        "*.a.b: wild\n*fish: fish\n^\\\\d+\\\\.x: rx\n\"^a b:c\": quoted\nlit: lit\nlsearch;{}: nested\n${{bad: bad\n",
        nested.path().display()
    ));
    for (key, expected) in [
        ("q.a.b", "wild"),
        ("starFISH", "fish"),
        ("12.x", "rx"),
        ("a b:c", "quoted"),
        ("LIT", "lit"),
        ("a", "nested"),
    ] {
        assert_eq!(look("wildlsearch", key, wild.path()), expected, "{key}");
    }
    let error = look("wildlsearch", "zz", wild.path());
    assert!(error.starts_with("failed to expand \"${bad\" while checking a list: "), "{error}");
    let plain = file("^\\d+\\.x: rx\n$primary_hostname: host\n!neg: neg\n");
    assert_eq!(look("nwildlsearch", "12.x", plain.path()), "rx");
    assert_eq!(look("nwildlsearch", "$primary_hostname", plain.path()), "host");
    assert_eq!(look("nwildlsearch", "zz", plain.path()), "neg");
    assert_eq!(look("nwildlsearch", "neg", plain.path()), "NF");
}

#[test]
fn addresses_as_keys() {
    let file = file(
        "1.2.3.4: one\n192.168.0.0/16: net\n\"abcd::cdab\": v6\n\"abcd:abcd::/32\" v6n\nbad: x\n*: star\n",
    );
    for (specification, key, expected) in [
        ("iplsearch", "1.2.3.4", "one"),
        ("iplsearch", "192.168.4.4", "net"),
        ("iplsearch", "abcd:0000::cdab", "v6"),
        ("iplsearch,ret=full", "abcd:abcd::9", "abcd:abcd::/32 v6n"),
        ("iplsearch", "::ffff:1.2.3.4", "one"),
        ("iplsearch", "1.2.3.9", "NF"),
        ("iplsearch*", "1.2.3.9", "star:1.2.3.9:"),
    ] {
        assert_eq!(look(specification, key, file.path()), expected, "{specification} {key}");
    }
    assert!(look("iplsearch", "foo", file.path()).starts_with("\"foo\" is not a valid iplsearch key"));
}

#[test]
fn users() {
    let lookup = LookupType::parse("passwd").unwrap();
    let look = |name: &str| find(&mut context(), &lookup, None, &Text::from(name)).unwrap();
    assert!(look("root").unwrap().data.to_string().starts_with("*:0:0:"));
    assert_eq!(look("no-such-user"), None);
    assert_eq!(look(""), None);
}

#[test]
fn rows_are_distinct() {
    let mut names: Vec<&str> = LOOKUPS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), LOOKUPS.len());
}

/// `docs/lookups.md`.
fn page() -> String {
    let mut page = String::from(
        "# Lookup types\n\nWhat `${lookup` and lists can ask, generated from the table (`UPDATE=1 cargo test -p oxim-lang \
         the_page`). How lookups work: [features/lookups.md](features/lookups.md).\n\n\
         All types know `cache=no`, `cache=no_rd` and `cache=no_wr`; all single-key types `ret=key`, partial matching \
         (`partialN-`, `partialN(affix)`) and defaults (`*`, `*@`).\n",
    );
    let mut section = |title: &str, belongs: &dyn Fn(&LookupKind) -> bool| {
        page.push_str(&format!("\n## {title}\n\n| type | what it asks |\n|---|---|\n"));
        for kind in LOOKUPS.iter().filter(|kind| belongs(kind)) {
            let reason = match &kind.style {
                Style::Unavailable { reason, .. } => format!(": {reason}"),
                Style::KeyedFile(_) | Style::KeyedAddress(_) | Style::Query(_) | Style::Service(_) => {
                    String::new()
                }
            };
            page.push_str(&format!("| `{}` | {}{reason} |\n", kind.name, kind.doc.replace('|', "\\|")));
        }
    };
    section("Single-key", &|kind| kind.is_available() && kind.is_single_key());
    section("Query-style", &|kind| matches!(kind.style, Style::Query(_) | Style::Service(_)));
    section("Known by name and refused", &|kind| !kind.is_available());
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lookups.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap_or_default() == page(), "run it again with UPDATE=1");
}

#[test]
fn tainted_queries_must_have_been_quoted() {
    let lookup = LookupType::parse("sqlite,file=/dev/null").unwrap();
    let quoted = quote("sqlite", &Text::tainted("it's")).unwrap();
    assert_eq!((quoted.as_bytes(), quoted.taint()), (&b"it''s"[..], Taint::Quoted("sqlite")));
    for (query, is_refused) in [
        (Text::tainted("select 1"), true),
        (Text::with_taint("select 1", Taint::Quoted("pgsql")), true),
        (Text::with_taint("select 1", Taint::Quoted("sqlite")), false),
        (Text::clean("select 1"), false),
    ] {
        let error = find(&mut context(), &lookup, None, &query).unwrap_err();
        let refused = error.text() == "tainted search query is not properly quoted (sqlite)";
        assert_eq!(refused, is_refused, "{query:?}: {error:?}");
    }
    assert_eq!(quote("mysql_x", &Text::from("a")).unwrap_err(), "\"x\" unrecognized after \"${quote_mysql\"");
    assert_eq!(quote("ldap_dn", &Text::from("a,b")).unwrap().as_bytes(), b"a%5C%2Cb");
}

#[test]
fn foreign_text_stays_within_its_word_of_a_redis_command() {
    let guarded = guarded(kind_named("redis").unwrap(), Text::tainted("a b"));
    assert_eq!((guarded.as_bytes(), guarded.taint()), (&b"a\\ b"[..], Taint::Quoted("redis")));
    let sql = super::guarded(kind_named("pgsql").unwrap(), Text::tainted("a b"));
    assert_eq!(sql, Text::tainted("a b"));
}

#[test]
fn answers_are_remembered_for_the_message_until_something_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let database = rusqlite::Connection::open(file.path()).unwrap();
    database.execute_batch("create table t(a); insert into t values(1)").unwrap();
    let mut context = context();
    let mut ask = |options: &str, query: &str| {
        let lookup = LookupType::parse(&format!("sqlite,file={}{options}", file.path().display())).unwrap();
        let found = find(&mut context, &lookup, None, &Text::from(query)).unwrap();
        found.map_or("NF".to_owned(), |found| found.data.to_string())
    };
    let count = "select count(*) from t";
    assert_eq!(ask("", count), "1");
    database.execute_batch("insert into t values(2)").unwrap();
    assert_eq!(ask("", count), "1");
    assert_eq!(ask(",cache=no_rd", count), "2");
    assert_eq!(ask("", count), "2");
    assert_eq!(ask("", "insert into t values(3)"), "NF");
    assert_eq!(ask("", count), "3");
}
