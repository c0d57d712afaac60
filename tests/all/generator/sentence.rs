//! Writes expressions: one row of the language at the top, others nested in its arguments, sometimes spoilt.

use std::collections::BTreeMap;

use super::grammar::{CONDITIONS, ITEMS, OPERATORS};
use super::random::Random;

const TEXTS: &[&str] = &[
    "",
    "a",
    "abc",
    "ABC",
    "a b c",
    "Hello World",
    "  spaced  ",
    "x:y:z",
    "a,b,,c",
    "1234567890",
    "0",
    "-5",
    "true",
    "no",
    "\\\\",
    "a\\nb",
    "tab\\there",
    "\\x41\\102",
    "\\N$5 {x}\\N",
    "caf\\xc3\\xa9",
    "\\xff\\xfe",
    "naïve",
    "quo\\\"te",
    "it's",
    "100%",
    "a=b",
    "<>",
    "user@example.com",
    "\\$h",
    "\\{\\}",
    "?*.",
    "a\\rb",
    "long long long text that goes on for a while",
    "=?utf-8?q?=41?=",
    "$item",
    "$value",
    "$0",
    "$1",
    "${1}",
    "$2",
    "$item-$value",
    "\\tx",
    "[abc]",
    "(a|b)",
    "a\\\\b",
    ";",
    "a/b/c",
    "_under_score",
    "€uro",
    "\"quoted\"",
];
const WORDS: &[&str] = &[
    "a", "b", "abc", "key", "Key", "lines", "table", "yes", "no", "true", "false", "Z9", "x_y", "x-y", "1",
    "0", "word", "lower", "UPPER", "a.b",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "7",
    "10",
    "010",
    "0x10",
    "1k",
    "1K",
    "2m",
    "1g",
    "-3k",
    "",
    " 5 ",
    "99",
    "1000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "9223372036854775807k",
    "+4",
    "1.5",
    "4294967296",
    "08",
];
const COUNTS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "8",
    "12",
    "26",
    "62",
    "63",
    "100",
    "007",
    "60",
    "3600",
    "86399",
    "90061",
    "604800",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999",
    "",
    " 3",
];
const INTERVALS: &[&str] = &[
    "1s",
    "5m",
    "2h",
    "3d",
    "1w",
    "1w2d3h4m5s",
    "10",
    "",
    "s",
    "1x",
    "1h1h",
    "1m1h",
    "0s",
    "99999999999w",
    "5m ",
    " 5m",
    "1.5h",
    "1S",
];
const SEPARATORS: &[&str] = &[":", ",", ";", " ", "/", "", ":,", "abc", "\\n", "<", "-"];
const LISTS: &[&str] = &[
    "a:b:c",
    "",
    ":",
    "::",
    "a::b:c",
    " a : b : c ",
    "<, a,b,c",
    "<; a;;b;c",
    "<,a,b",
    "a",
    "b:a:c:a",
    "3:20:100:1",
    "x=1:y=2:z=3",
    "<\\n a\\nb\\nc",
    "<+ 1+2+3",
    "a: :b",
    ":a",
    "a:",
    "<; 1.2.3.4;fe80::1",
    "A:b:B:a",
    "<| a|b||c| d",
    "user@a.ex:b@b.ex",
    "$item:x",
    "10:9:8:-1:007",
    "<\\x01a\\x01b",
    "abc:ABC:Abc",
    "< a b c",
    "<- -a-b",
    "true:false:yes",
    "<<a<b",
    "${map{a:b}{$item$item}}:q",
    "1k:1:1m",
    "a b:c d",
    "\"a:b\":c",
];
const JSON_ARRAYS: &[&str] = &[
    "[]",
    "[1,2,3]",
    "[\"a\",\"b\"]",
    "[ \"a\" , \"b,c\" ]",
    "[[1,2],[3]]",
    "[\\{\"a\":1\\},2]",
    "",
    "[",
    "[1,2",
    "[true,null]",
    "[\"a\\\\\"b\"]",
    "1,2",
    "[\"x\",1]",
    " [1] ",
];
const JSON_OBJECTS: &[&str] = &[
    "\\{\\}",
    "\\{\"a\":1\\}",
    "\\{\"a\":\"x\",\"b\":[1,2],\"key\":\\{\"a\":2\\}\\}",
    "\\{ \"abc\" : \"v\" , \"b\" : 2 \\}",
    "\\{\"a\":1",
    "",
    "\\{a:1\\}",
    "\\{\"key\":null\\}",
    "\\{\"1\":\"one\"\\}",
    "[\"a\"]",
    "\\{\"yes\":\"a,b\",\"no\":\"c:d\"\\}",
];
const ADDRESSES: &[&str] = &[
    "a@b.c",
    "user@example.com",
    "\"quoted one\"@ex.org",
    "Real Name <u@d.ex>",
    "<u@d.ex>",
    "u",
    "@d.ex",
    "u@",
    "",
    "u@[1.2.3.4]",
    "A@B.C (comment)",
    "\"A, B\" <a.b@c.d>",
    "u.v+w@sub.dom.ain",
    "a@b@c",
    "a b@c",
    "<>",
    "prvs=0000aaaaaa=u@d.ex",
    "group: a@b, c@d;",
    "u@d.ex, v@d.ex",
    "u%x@d",
    "u@d.ex.",
    "=?utf-8?q?N?= <n@d.ex>",
    "<@r1,@r2:u@d.ex>",
    "a..b@c",
    ".a@b",
    "a.@b",
    "\\\\a@b",
    "u@d_e.ex",
    "u@-d.ex",
];
const DOMAINS: &[&str] = &[
    "b.c",
    "example.com",
    "sub.example.com",
    "EXAMPLE.com",
    "x",
    "",
    "a.b.c.d",
    "com",
    "xn--bcher-kva.ex",
    "[1.2.3.4]",
    "ex.org",
    ".ex.org",
    "*.ex.org",
];
const IPS: &[&str] = &[
    "1.2.3.4",
    "127.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "256.1.1.1",
    "1.2.3",
    "fe80::1",
    "::1",
    "::",
    "::ffff:1.2.3.4",
    "2001:db8::8:800:200c:417a",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7",
    "",
    "localhost",
    "01.02.03.04",
    "1.2.3.4.5",
    "[1.2.3.4]",
    "fe80::1%lo",
    "2001:0DB8:0000::1",
    "::1.2.3.4",
    ":::1",
    "1::2::3",
    "g::1",
    " 1.2.3.4",
    "1.2.3.4 ",
];
const MASKED: &[&str] = &[
    "1.2.3.4/24",
    "10.11.12.13/8",
    "1.2.3.4/0",
    "1.2.3.4/32",
    "1.2.3.4/33",
    "2001:db8::1/64",
    "2001:db8:ffff::1/33",
    "::1/128",
    "::1/129",
    "1.2.3.4",
    "1.2.3.4/",
    "/24",
    "1.2.3.4/x",
    "x/8",
    "1.2.3.4/-1",
    "fe80::1/0",
    "1.2.3.4/08",
    "1.2.3.4/24 ",
    "",
    "256.0.0.1/8",
];
const HEX: &[&str] = &["616263", "00ff", "", "6", "61 62", "AbCd", "xyz", "0a0b0c0d0e", "616263646566", "g0"];
const BASE64: &[&str] = &[
    "YWJj",
    "YWI=",
    "YQ==",
    "",
    "YQ",
    "YWJjZGVm",
    "Y Q = =",
    "!!!!",
    "YWJj=",
    "====",
    "YWJ",
    "/+8=",
    "YWJj\\nZGVm",
    "w6k=",
];
const DIGITS: &[&str] = &[
    "a",
    "7i",
    "004C92",
    "zzz",
    "0",
    "",
    "1",
    "10",
    "aeiou",
    "AZ",
    "-1",
    "!!",
    "zzzzzzzzzzzz",
    "7777777777777",
    "lYGhA16ahyf",
    "lYGhA16ahyg",
    "abc2",
];
const PATTERNS: &[&str] = &[
    "a",
    "^a",
    "b\\$",
    ".",
    "[a-c]+",
    "(a)(b)?",
    "^(.*)\\$",
    "\\N^(\\w+)\\s(\\w+)\\N",
    "\\N\\d+\\N",
    "(",
    "[",
    "*",
    "",
    "(?i)ABC",
    "x|y",
    "(a|b)+c",
    "^\\N$\\N",
    "\\\\.",
    "(?<n>a)",
    "b*",
    "\\Nx{2}\\N",
    "a)",
    "(?=b)",
    "^$value",
    "\\N\\N",
    ":",
    "[[:alpha:]]+",
    "(.)(.)(.)",
    "\\N(.)\\1\\N",
];
const ARITHMETIC: &[&str] = &[
    "1+2",
    "2*3+4",
    "2+3*4",
    "(2+3)*4",
    "10/3",
    "10%3",
    "-5+2",
    "7-10",
    "1<<4",
    "0xff & 0x0f",
    "1|6",
    "5^1",
    "~0",
    "!1",
    "1/0",
    "1%0",
    "",
    "1+",
    "(1",
    "1)",
    "010",
    "08",
    "0x",
    "2k*2",
    "1m",
    "9223372036854775807+1",
    "9223372036854775807*2",
    "-9223372036854775808",
    "--5",
    "1 + 2",
    " 1 ",
    "256>>2",
    "1>>2<<2",
    "3-2-1",
    "100/10/2",
    "2*(3+(4-1))",
    "a",
    "1 2",
    "0-9223372036854775807-1",
    "(-9223372036854775807-1)/-1",
    "1<<63",
    "1<<64",
    "-1>>1",
    "1.5",
    "5&&3",
    "+5",
    "-(3)",
    "~5",
    "-0x10",
    "0777",
    "1k+1",
    "3*-2",
    "3--2",
    "3+-2",
    "~~1",
    "10 %4",
    "1<<-1",
    "-7/2",
    "-7%3",
    "0x1G",
    "1g*1g",
    "4611686018427387904*2",
    "((1))",
    "()",
    "1()",
    "-9223372036854775807-2",
    "9223372036854775807-(-1)",
];
const FIELDS: &[&str] = &[
    "a=1 b=2",
    "key=value abc=\"quoted value\"",
    "",
    "a = 1 b = 2",
    "KEY=x",
    "a=1,b=2",
    "a",
    "a=\"x\\\\\"y\" b=z",
    "abc",
    "yes=no no=yes",
    "key=",
    "=1 a=2",
    "a=\"unfinished",
    "Z9=\"\" 1=one",
];
const PASSWORDS: &[&str] = &[
    "test",
    "aaqPiZY5xR5l.",
    "\\{md5\\}CY9rzUYh03PK3k6DJie09g==",
    "\\{md5\\}098f6bcd4621d373cade4e832627b4f6",
    "\\{sha1\\}a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
    "\\{SHA1\\}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
    "\\{crypt\\}aaqPiZY5xR5l.",
    "\\{foo\\}x",
    "",
    "\\{md5",
    "\\{md5\\}",
    "\\$1\\$abc\\$B..HicC/afMveWeNyfNsf/",
    "\\$5\\$abc\\$xhLlZvoXRNo2v63CS0Ku6RxTjR8AtjqvUgTrPKnxyb1",
    "*",
    "x",
    "\\{crypt16\\}aaqPiZY5xR5l.abcdefghijk",
    "\\{sha1\\}short",
    "\\{MD5\\}098F6BCD4621D373CADE4E832627B4F6",
    "\\{crypt\\}",
];
const NAMED: &[&str] =
    &["+local", "local", "relays", "people", "parts", "nosuch", "", "+nosuch", "addresses"];
const VARIABLES: &[&str] = &[
    "h_subject:",
    "h_nosuch:",
    "rh_to:",
    "lh_received:",
    "bh_from:",
    "header_x-folded:",
    "h_x-utf:",
    "domain",
    "item",
    "value",
    "nosuch",
    "sender_address",
    "recipients",
    "message_body",
    "acl_m0",
    "acl_c_x",
    "h_",
    "1",
    "r_x",
    "auth1",
    "qualify_domain",
];
const ADDRESS_LISTS: &[&str] = &[
    "a@b.c",
    "*@b.c",
    "a@*",
    "*",
    "",
    "!a@b.c:*",
    "*@+local",
    "+addresses",
    "^a.*@b",
    "lsearch;FOLDER/table",
    "@@lsearch;FOLDER/local",
    "<, a@b.c,u@d.ex",
    "user@example.com : u@*.ex",
    ": u@d.ex",
    "b.c",
    "*@*.com",
    "!+addresses",
    "^\\N[ab]@\\N",
    "FOLDER/list",
    "nosuch:a@b.c",
    "*.com",
    "+nosuch",
    "u@[1.2.3.4]",
];
const DOMAIN_LISTS: &[&str] = &[
    "b.c",
    "*.c",
    "*",
    "",
    "!b.c:*",
    "+local",
    "^b",
    "lsearch;FOLDER/table",
    "partial-lsearch;FOLDER/table",
    "<, b.c,example.com",
    "*.example.com:example.com",
    "x:com",
    "!*.c",
    "+nosuch",
    "FOLDER/list",
    "^\\N^.*\\.com$\\N",
    "example.com : !sub.example.com : *.example.com",
    "@",
    "@[]",
    "!+local",
    "*com",
    "wildlsearch;FOLDER/wild",
    "nosuch;x",
    ".ex.org",
];
const HOST_LISTS: &[&str] = &[
    "1.2.3.4",
    "1.2.3.0/24",
    "*",
    "",
    "!127.0.0.1:*",
    "<; fe80::/10;::1",
    "+relays",
    "net-iplsearch;FOLDER/ips",
    "net24-lsearch;FOLDER/table",
    "@[]",
    "10.0.0.0/8 : 127.0.0.1",
    ":1.2.3.4",
    "iplsearch;FOLDER/ips",
    "1.2.3",
    "FOLDER/list",
    "0.0.0.0/0",
    "<; ::/0",
    "+nosuch",
    "1.2.3.4/33",
    "!1.2.3.4",
    "::::1",
];
const PART_LISTS: &[&str] = &[
    "a",
    "abc:key",
    "*",
    "",
    "!a:*",
    "^a",
    "+parts",
    "lsearch;FOLDER/table",
    "<, A,B",
    "KEY",
    "+caseful:KEY:key",
    "*c",
    "FOLDER/list",
    "^\\N[a-k]+\\N",
    "+nosuch",
];

/// Writes expressions and counts how often each row is used.
pub(crate) struct Writer<'a> {
    seed: u64,
    random: Random,
    /// Uses of each row in lines that are two and more levels deep: `item if`, `operator lc`, `condition eq`,
    /// `variable domain`.
    pub(crate) uses: BTreeMap<String, usize>,
    /// The rows of the line in hand.
    rows: Vec<String>,
    /// Names of variables that both programs know and agree on.
    variables: &'a [String],
    folder: &'a str,
}

impl<'a> Writer<'a> {
    /// A writer with its own seed.
    pub(crate) fn new(seed: u64, variables: &'a [String], folder: &'a str) -> Writer<'a> {
        Writer { seed, random: Random::new(seed), uses: BTreeMap::new(), rows: Vec::new(), variables, folder }
    }

    /// One line: the row whose turn it is at the top, nested expressions below it, spoilt one time in nine.
    pub(crate) fn line(&mut self, turn: usize) -> String {
        self.random = Random::of_case(self.seed, turn);
        let depth = 2 + usize::from(self.random.percent(25));
        let rows = ITEMS.len() + OPERATORS.len() + CONDITIONS.len();
        // Every third line is about a variable, so that their number does not change the other lines.
        let is_variable = turn % 3 == 2;
        let row = (turn - turn / 3) % rows;
        let mut text = if is_variable {
            let name = self.variables[turn / 3 % self.variables.len()].clone();
            self.variable(&name, depth)
        } else if let Some(item) = ITEMS.get(row) {
            self.item(item, depth)
        } else if let Some(operator) = OPERATORS.get(row - ITEMS.len()) {
            self.operator(operator, depth)
        } else {
            let condition = &CONDITIONS[row - ITEMS.len() - OPERATORS.len()];
            let test = self.condition_row(condition, depth - 1);
            let branches = self.code('y', depth - 1);
            format!("${{if {test}{branches}}}")
        };
        if !is_variable && levels(&text) < 2 && self.random.percent(85) {
            text = self.wrapped(&text);
        }
        if self.random.percent(11) {
            text = self.spoilt(&text);
        }
        if text.ends_with('\\') {
            // It would join the line with the next one.
            text.push('z');
        }
        let is_deep = levels(&text) >= 2;
        for row in self.rows.drain(..).filter(|row| is_deep || row.starts_with("variable")) {
            *self.uses.entry(row).or_default() += 1;
        }
        text.replace("FOLDER", self.folder)
    }

    /// The text as an argument of something simple.
    fn wrapped(&mut self, text: &str) -> String {
        let around =
            ["${lc:@}", "${uc:@}", "${if eq{@}{a}{=}{<@>}}", "${sg{@}{a}{A}}", "${strlen:@}", "${quote:@}"];
        self.random.pick(&around).replace('@', text)
    }

    fn count(&mut self, kind: &str, name: &str) {
        self.rows.push(format!("{kind} {name}"));
    }

    fn item(&mut self, (name, patterns): &(&str, &[&str]), depth: usize) -> String {
        self.count("item", name);
        let pattern = self.random.pick(patterns);
        format!("${{{name}{}}}", self.filled(pattern, depth))
    }

    fn operator(&mut self, (name, patterns): &(&str, &[&str]), depth: usize) -> String {
        self.count("operator", name);
        let pattern = self.random.pick(patterns);
        format!("${{{}}}", self.filled(pattern, depth))
    }

    fn condition_row(&mut self, (name, patterns): &(&str, &[&str]), depth: usize) -> String {
        self.count("condition", name);
        let pattern = self.random.pick(patterns);
        self.filled(pattern, depth)
    }

    fn variable(&mut self, name: &str, depth: usize) -> String {
        self.count("variable", name);
        match self.random.below(6) {
            0 => format!(
                "${{if def:{name}{{{}}}{{{}}}}}",
                self.code('t', depth - 1),
                self.code('t', depth - 1)
            ),
            1 => format!("${{{name}}}"),
            2 => {
                let operator = &OPERATORS[self.random.below(OPERATORS.len())];
                let text = self.operator(operator, 0);
                match text.split_once(':') {
                    Some((operator, _)) => format!("{operator}:${name}}}"),
                    None => text,
                }
            }
            3 => format!(
                "${{if eq{{${name}}}{{{}}}{{{}}}{{$value}}}}",
                self.code('t', depth - 1),
                self.code('t', depth - 1)
            ),
            4 => format!("${name}{}", self.code('y', depth - 1)),
            _ => format!("<${name}>"),
        }
    }

    fn filled(&mut self, pattern: &str, depth: usize) -> String {
        let mut out = String::new();
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            if letter == '@' {
                match letters.next() {
                    Some(code) if code.is_ascii_alphabetic() => {
                        let text = self.code(code, depth.saturating_sub(1));
                        out.push_str(&text);
                    }
                    Some(other) => out.extend(['@', other]),
                    None => out.push('@'),
                }
            } else {
                out.push(letter);
            }
        }
        out
    }

    /// An argument of the kind of a code: a value of that kind, an expression, or now and then something else.
    fn code(&mut self, code: char, depth: usize) -> String {
        match code {
            'c' => return self.condition(depth),
            'y' => return self.branches(depth),
            'v' => return self.random.pick(VARIABLES).to_owned(),
            'A' | 'D' | 'I' | 'L' => return self.value(code),
            _ => {}
        }
        if depth > 0 && self.random.percent(40) {
            return self.expression(depth);
        }
        if self.random.percent(5) {
            let other = *b"tnslaimhbxe".get(self.random.below(11)).unwrap_or(&b't');
            return self.value(char::from(other));
        }
        self.value(code)
    }

    fn value(&mut self, code: char) -> String {
        let choices = match code {
            'n' => NUMBERS,
            'p' => COUNTS,
            's' => INTERVALS,
            'k' => SEPARATORS,
            'l' => LISTS,
            'j' => JSON_ARRAYS,
            'o' => JSON_OBJECTS,
            'a' => ADDRESSES,
            'd' => DOMAINS,
            'i' => IPS,
            'm' => MASKED,
            'h' => HEX,
            'b' => BASE64,
            'z' => DIGITS,
            'x' => PATTERNS,
            'e' => ARITHMETIC,
            'f' | 'w' => WORDS,
            'g' => FIELDS,
            'q' => PASSWORDS,
            'u' => NAMED,
            'A' => ADDRESS_LISTS,
            'D' => DOMAIN_LISTS,
            'I' => HOST_LISTS,
            'L' => PART_LISTS,
            _ => TEXTS,
        };
        self.random.pick(choices).to_owned()
    }

    fn expression(&mut self, depth: usize) -> String {
        let depth = depth - 1;
        match self.random.below(10) {
            0..4 => {
                let row = &ITEMS[self.random.below(ITEMS.len())];
                // Processes take long to start; the turns of `run` are enough.
                if row.0 == "run" { self.value('t') } else { self.item(row, depth) }
            }
            4..8 => {
                let row = &OPERATORS[self.random.below(OPERATORS.len())];
                self.operator(row, depth)
            }
            8 if !self.variables.is_empty() => {
                let name = self.variables[self.random.below(self.variables.len())].clone();
                self.count("variable", &name);
                format!("${{{name}}}")
            }
            _ => format!("${}", self.random.pick(VARIABLES)),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let simple = [
            "bool{true}",
            "eq{a}{a}",
            "eq{$item}{a}",
            "def:value",
            ">{1}{2}",
            "!eq{}{}",
            "match{$item}{b}",
            "! bool{no}",
        ];
        if depth == 0 {
            return self.random.pick(&simple).to_owned();
        }
        let row = &CONDITIONS[self.random.below(CONDITIONS.len())];
        let not = if self.random.percent(10) { "!" } else { "" };
        format!("{not}{}", self.condition_row(row, depth - 1))
    }

    fn branches(&mut self, depth: usize) -> String {
        match self.random.below(8) {
            0 => String::new(),
            1 => "{$value}".to_owned(),
            2 => "{<$value>}fail".to_owned(),
            3 => format!("{{{}}}", self.code('t', depth)),
            4 => format!(" {{{}}} {{{}}} ", self.code('t', depth), self.code('t', depth)),
            5 => "{$1$value}{no}".to_owned(),
            _ => format!("{{{}}}{{{}}}", self.code('t', depth), self.code('t', depth)),
        }
    }

    /// The text with one thing wrong: a letter less, more or other.
    fn spoilt(&mut self, text: &str) -> String {
        let mut letters: Vec<char> = text.chars().collect();
        let place = self.random.below(letters.len());
        match self.random.below(6) {
            0 => {
                letters.remove(place);
            }
            1 => letters.insert(
                place,
                *['{', '}', ':', '$', '\\', 'x', ' ', '_'].get(self.random.below(8)).unwrap_or(&'}'),
            ),
            2 => letters.truncate(place + 1),
            3 | 4 => {
                let braces: Vec<usize> = letters
                    .iter()
                    .enumerate()
                    .filter(|(_, c)| matches!(c, '{' | '}'))
                    .map(|(i, _)| i)
                    .collect();
                if let Some(place) = braces.get(self.random.below(braces.len().max(1))) {
                    letters.remove(*place);
                }
            }
            _ => {
                if let Some(letter) = letters.iter_mut().skip(place).find(|c| c.is_ascii_lowercase()) {
                    *letter = 'q';
                }
            }
        }
        letters.into_iter().collect()
    }
}

/// How deep expressions stand in one another.
fn levels(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut deepest = 0;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' => {
                let before = |back: usize| index.checked_sub(back).and_then(|place| bytes.get(place));
                open.push(before(1) == Some(&b'$') && before(2) != Some(&b'\\'));
                deepest = deepest.max(open.iter().filter(|is_expression| **is_expression).count());
            }
            b'}' => {
                open.pop();
            }
            _ => {}
        }
    }
    deepest
}
