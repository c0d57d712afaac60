//! Differences between the programs that are meant, each with its reason.

/// What is meant to differ: a name, the reason, and how it is recognised from line, exim4's answer and Oxim's.
struct Difference {
    name: &'static str,
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
    applies: fn(&str, &str, &str) -> bool,
}

/// Beginnings or parts of the complaints about syntax.
const SYNTAX: [&str; 21] = [
    "missing lookup type",
    "missing }",
    "missing {",
    "missing 2nd",
    "missing or misplaced",
    "missing '",
    "curly-bracket problem",
    "unknown variable",
    "unknown expansion operator",
    "is not a known operator",
    "unknown condition",
    "condition name expected",
    "\"fail\" expected",
    "Too many arguments",
    "Not enough arguments",
    "$ not followed",
    "letter or digit expected",
    "} expected after number",
    "each subcondition inside",
    "too few arguments or bracketing",
    "missing values after",
];

fn is_syntax(text: &str) -> bool {
    text.starts_with("Failed:") && SYNTAX.iter().any(|part| text.contains(part))
}

/// Whether the text complains of what is known when the string is read.
fn is_early(text: &str) -> bool {
    is_syntax(text) || CONSTANTS.iter().any(|part| failed(text) && text.contains(part))
}

/// Complaints about constants, which are judged when the string is read.
const CONSTANTS: [&str; 7] = [
    "unrecognised boolean",
    "positive number",
    "is not a number",
    "must be numeric",
    "regular expression error",
    "hash count",
    "first argument of",
];

static DIFFERENCES: &[Difference] = &[
    Difference {
        name: "faults of syntax come first",
        reason: "a string is read whole before its items are evaluated; exim4 evaluates an item's first arguments before it reads the next",
        applies: |_, exim, oxim| {
            is_early(oxim)
                && both_fail(exim, oxim)
                && (!is_syntax(exim) || exim.contains("internal expansion of"))
        },
    },
    Difference {
        name: "what came from outside is not expanded",
        reason: "as later versions do",
        applies: |line, exim, oxim| {
            line.contains("${expand:")
                && oxim.contains("attempt to expand tainted string")
                && !exim.contains("attempt to expand tainted string")
        },
    },
    Difference {
        name: "complaints about bytes that are no UTF-8",
        reason: "they are shown as \\xHH, so that logs are valid UTF-8",
        applies: |_, exim, oxim| failed(exim) && exim.contains('\u{fffd}') && oxim.contains("\\x"),
    },
    Difference {
        name: "empty keys and elements of sort",
        reason: "exim4 fails or loses them",
        applies: |line, exim, oxim| {
            let empty =
                ["{:", "::", ": :", ":}", "$item:", " -", "<a", "a}{"].iter().any(|part| line.contains(part));
            let lost = exim.contains("field-extract in sort") && !oxim.contains("field-extract in sort");
            line.contains("${sort")
                && (lost || (empty || lost) && (is_hidden(line) || letters(exim) == letters(oxim)))
        },
    },
    Difference {
        name: "the short form of ::",
        reason: "exim4 writes one colon, and loses what follows some addresses",
        applies: |line, exim, oxim| {
            let concerned = line.contains("ipv6norm") || line.contains("mask_n:");
            let shorter = squeezed(oxim, ':').starts_with(&squeezed(exim, ':'));
            concerned && (shorter || is_hidden(line) || exim.contains("missing }"))
        },
    },
    Difference {
        name: "a string that begins the other, in any case",
        reason: "exim4 takes the shorter one for the greater",
        applies: |line, _, _| begins_the_other(line),
    },
    Difference {
        name: "commas and brackets within JSON",
        reason: "exim4 splits strings and nested values at them",
        applies: |line, exim, oxim| {
            let wrong = |text: &str| text.contains("wrapping");
            let nested = ["[[", "[,", "a,b\"", "b,c\"", "[1,2],"].iter().any(|part| line.contains(part));
            let unfinished = line.matches('"').count() % 2 == 1;
            line.contains("json") && (nested || unfinished || wrong(exim) || wrong(oxim))
        },
    },
    Difference {
        name: "a named list that does not exist",
        reason: "exim4 does not say which",
        applies: |_, exim, oxim| {
            both_fail(exim, oxim)
                && oxim.contains("unknown named")
                && exim.contains("unable to complete match")
        },
    },
    Difference {
        name: "Latin text read as UTF-8",
        reason: "exim4 takes more than one byte for a wrong character",
        applies: |line, exim, oxim| {
            let one_for_several = oxim.contains('_') && exim.contains('_') && exim.len() < oxim.len();
            let as_it_is = !line.is_ascii() && exim.contains('\u{fffd}');
            line.contains("from_utf8:") && (one_for_several || as_it_is || is_hidden(line))
        },
    },
    Difference {
        name: "intervals beyond 31 bits",
        reason: "exim4 wraps them round",
        applies: |line, _, oxim| {
            let weeks =
                |part: &str| part.len() - part.trim_end_matches(|c: char| c.is_ascii_digit()).len() > 3;
            let long = oxim.to_ascii_lowercase().split('w').rev().skip(1).any(weeks);
            line.contains("time_interval:") && (long || is_hidden(line) && has_large_number(line))
        },
    },
    Difference {
        name: "large numbers",
        reason: "exim4 wraps some of them round",
        applies: |line, exim, oxim| {
            let told = |text: &str| ["too big", "overflow"].iter().any(|part| text.contains(part));
            has_large_number(line) || line.contains("{${eval:") || told(exim) || told(oxim)
        },
    },
    Difference {
        name: "extract by number, where it is not evaluated",
        reason: "the key decides what must follow; exim4 does not look at it then",
        applies: |line, exim, oxim| {
            let open = oxim.contains("curly-bracket problem") || oxim.contains("for arg 3 of extract");
            line.contains("extract{") && open && !failed(exim)
        },
    },
    Difference {
        name: "which fault of a string is told",
        reason: "both fail",
        applies: |_, exim, oxim| is_syntax(exim) && is_early(oxim),
    },
    Difference {
        name: "NUL bytes",
        reason: "exim4 ends a string there",
        applies: |line, _, oxim| {
            let zero = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_hexdigit());
            line.split("\\x").skip(1).any(zero)
                || line.contains("\\0")
                || ["\0", "\\000", "\\x00"].iter().any(|part| oxim.contains(part))
        },
    },
    Difference {
        name: "a socket that is not there",
        reason: "exim4 goes on with a wrong descriptor",
        applies: |line, exim, oxim| {
            let wrong = exim == "Failed: " || exim.contains("Bad file descriptor");
            line.contains("readsocket") && (wrong || oxim.contains("failed to connect to socket"))
        },
    },
    Difference {
        name: "options of readsocket that are spoilt",
        reason: "are told before the socket is asked",
        applies: |line, exim, oxim| {
            let spoilt = oxim.contains("readsocket option") || oxim.contains("bad time value");
            line.contains("readsocket") && spoilt && exim.contains("connect to socket")
        },
    },
    Difference {
        name: "numeric variables after prvscheck",
        reason: "exim4 leaves parts of the address there",
        applies: |line, _, _| {
            line.contains("prvscheck") && ["$0", "$1", "$2", "${1}"].iter().any(|name| line.contains(name))
        },
    },
    Difference {
        name: "an address with a scope",
        reason: "is none; exim4 takes it in lookups",
        applies: |line, _, _| line.contains("%lo}"),
    },
    Difference {
        name: "an encoded word with control characters",
        reason: "is none",
        applies: |line, _, oxim| line.contains("rfc2047d:") && oxim.contains("=?iso-8859-1?q?"),
    },
    Difference {
        name: "sg where it does not count",
        reason: "exim4 does it nevertheless with empty strings, and fails",
        applies: |line, exim, oxim| line.contains("${sg") && failed(exim) && !failed(oxim),
    },
    Difference {
        name: "a space after a backslash at the end of an element",
        reason: "does not belong to it; exim4 keeps one",
        applies: |line, exim, _| (line.contains("rxquote") || line.contains("\\\\")) && exim.contains("\\ "),
    },
    Difference {
        name: "escapes in a replacement of sg",
        reason: "stand for what they are; exim4 reads them twice",
        applies: |line, _, _| line.contains("${sg") && line.contains("\\\\"),
    },
    Difference {
        name: "empty alternatives in sg",
        reason: "after an empty match the search goes on behind the next letter",
        applies: |line, _, _| line.contains("${sg") && line.contains("||"),
    },
    Difference {
        name: "reduce of an empty list",
        reason: "gives the start value; exim4 that of a reduce inside",
        applies: |line, exim, oxim| line.matches("${reduce").count() > 1 && !failed(exim) && !failed(oxim),
    },
    Difference {
        name: "numbers where they do not count",
        reason: "are not looked at; exim4 fails on some",
        applies: |_, exim, oxim| {
            let told = exim.contains("is not a positive number") || exim.contains("is not a number");
            told && !failed(oxim)
        },
    },
    Difference {
        name: "what is no address in match_ip",
        reason: "is in no list, or undecided; exim4 fails otherwise",
        applies: |line, exim, _| line.contains("match_ip{") && exim.contains("unable to complete match"),
    },
    Difference {
        name: "an unknown character set",
        reason: "the bytes are left as they are",
        applies: |_, exim, _| exim.contains("iconv_open"),
    },
    Difference {
        name: "a lone backslash as address",
        reason: "it is none",
        applies: |line, exim, _| {
            let is_about_addresses = ["address:", "addresses:", "local_part:", "domain:", "match_address"];
            let is_one = is_about_addresses.iter().any(|part| line.contains(part));
            let is_plain = line.contains(":\\\\}");
            is_one && (is_plain || line.contains('\\') && (exim.contains('\\') || is_hidden(line)))
        },
    },
    Difference {
        name: "random numbers",
        reason: "they are random",
        applies: |line, exim, oxim| {
            let rest = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
            line.contains("randint:$") && (rest(exim) == rest(oxim) || is_hidden(line))
        },
    },
    Difference {
        name: "arguments from data",
        reason: "no command takes words out of data; exim4 says it otherwise",
        applies: |line, exim, oxim| {
            line.contains("preexpand") && oxim.contains("exec tainted") && !exim.contains("tainted")
        },
    },
    Difference {
        name: "long secrets",
        reason: "exim4 cannot sign with them",
        applies: |_, exim, _| exim.contains("hmac-sha1 conversion"),
    },
    Difference {
        name: "elements before the first",
        reason: "there are none; exim4 gives the first for some numbers",
        applies: |line, exim, oxim| {
            let before = ["listextract{-", "listextract{ -", "listextract{0", "listextract{$"];
            before.iter().any(|part| line.contains(part)) && !failed(exim) && !failed(oxim)
        },
    },
    Difference {
        name: "text of an ACL that is none",
        reason: "is an error",
        applies: |line, exim, oxim| {
            let told = |text: &str| text.contains("ERROR from acl");
            line.contains("acl{") && told(oxim) && !told(exim)
        },
    },
    Difference {
        name: "IPv4 addresses in IPv6 form",
        reason: "are IPv4 addresses, in lists and for reverse_ip",
        applies: |line, _, _| line.contains("::ffff:") || line.contains("reverse_ip:${ipv6denorm"),
    },
    Difference {
        name: "addresses after one without local part",
        reason: "exim4 stops there",
        applies: |line, exim, oxim| {
            let behind = line.contains("addresses:") && (line.contains("@d.ex") || line.contains(", "));
            behind && (oxim.len() > exim.len() || is_hidden(line))
        },
    },
    Difference {
        name: "a name in a list of addresses",
        reason: "match_ip looks no names up, as the manual says; exim4 does",
        applies: |line, _, _| line.contains("match_ip") && line.contains("/list"),
    },
    Difference {
        name: "an address without domain",
        reason: "is looked up as it is",
        applies: |line, _, _| {
            let mut subjects = line.split("match_address{").skip(1).filter_map(|rest| rest.split('}').next());
            line.contains("lsearch;") && subjects.any(|subject| !subject.contains('@'))
        },
    },
    Difference {
        name: "names from outside",
        reason: "are refused before they are used",
        applies: |_, exim, oxim| {
            let socket = oxim.contains("Tainted socket name");
            (both_fail(exim, oxim) || socket) && oxim.contains("ainted") && !exim.contains("ainted")
        },
    },
    Difference {
        name: "long encoded words",
        reason: "have at most 75 characters",
        applies: |line, exim, oxim| {
            line.contains("rfc2047:") && (exim.contains("?= =?") || oxim.contains("?= =?"))
        },
    },
    Difference {
        name: "an argument that is spoilt where it does not count",
        reason: "it is told when the string is read",
        applies: |_, _, oxim| {
            let spoilt = ["after underscore", "no variable named", "unknown lookup type"];
            spoilt.iter().any(|part| oxim.contains(part))
        },
    },
    Difference {
        name: "a directory is no file",
        reason: "exim4 reads nothing from it",
        applies: |_, _, oxim| oxim.contains("Is a directory"),
    },
    Difference {
        name: "the value of a list that does not match",
        reason: "there is none; exim4 leaves an item behind",
        applies: |line, _, _| {
            let may_leave = line.contains("{!") || line.contains("{+addresses}");
            line.contains("match_address") && may_leave && line.contains("value")
        },
    },
];

/// Operators and items whose result does not show what they were given, so that nothing can be said of it.
const HIDING: &[&str] = &[
    "${addresses:",
    "${base",
    "${escape",
    "${eval",
    "${expand:",
    "${h_",
    "${hash",
    "${hex",
    "${hmac",
    "${l_",
    "${length",
    "${listcount:",
    "${listextract",
    "${md5:",
    "${nhash",
    "${prvs",
    "${quote_",
    "${reverse_ip:",
    "${rfc2047",
    "${s_",
    "${sha",
    "${str2b64:",
    "${strlen:",
    "${substr",
    "${time_eval",
    "${tr{",
    "{match",
    "eq{",
    "eqi{",
    "exists{",
    "inlist",
];

fn is_hidden(line: &str) -> bool {
    // What the writer puts around a line shows all.
    let line = line.strip_prefix("${if eq{").filter(|rest| rest.contains("}{a}{=}{<")).unwrap_or(line);
    HIDING.iter().any(|part| line.contains(part))
}

/// The text in lower case, with one where there are several of a letter in a row.
fn squeezed(text: &str, letter: char) -> String {
    let mut letters: Vec<char> = text.to_lowercase().chars().collect();
    letters.dedup_by(|a, b| a == b && *a == letter);
    letters.into_iter().collect()
}

/// The letters and digits, sorted: what is left if the order does not count.
fn letters(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    letters.sort_unstable();
    letters
}

/// Whether an argument is a number beyond 32 bits.
fn has_large_number(line: &str) -> bool {
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let before = rest[..start].trim_end_matches(' ').chars().next_back();
        let digits = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let is_large = digits > 10 || digits == 10 && &rest[start..start + digits] >= "4294967295";
        if is_large && matches!(before, Some('{' | '_' | ':' | '-')) {
            return true;
        }
        rest = &rest[start + digits..];
    }
    false
}

/// Whether the line compares, in any case, strings of which one begins the other, or that are not known.
fn begins_the_other(line: &str) -> bool {
    let mut conditions = ["lti", "lei", "gti", "gei"].iter().flat_map(|name| line.split(name).skip(1));
    conditions.any(|rest| {
        let strings = rest.trim_start().strip_prefix('{').and_then(|rest| rest.split_once("}{"));
        let Some((first, rest)) = strings else { return rest.starts_with('}') };
        let second = rest.split('}').next().unwrap_or_default();
        let (first, second) = (first.to_lowercase(), second.to_lowercase());
        let is_constant = !first.contains(['$', '{', '\\']) && !second.contains(['$', '{', '\\']);
        !is_constant || first.starts_with(&second) || second.starts_with(&first)
    })
}

fn failed(text: &str) -> bool {
    text.starts_with("Failed:")
}

fn both_fail(exim: &str, oxim: &str) -> bool {
    failed(exim) && failed(oxim)
}

/// Differences that few lines show: they need not occur in every run.
const RARE: &[&str] = &[
    "arguments from data",
    "a name in a list of addresses",
    "escapes in a replacement of sg",
    "empty alternatives in sg",
    "reduce of an empty list",
    "numbers where they do not count",
    "addresses after one without local part",
    "numeric variables after prvscheck",
    "the value of a list that does not match",
    "a lone backslash as address",
    "long secrets",
    "options of readsocket that are spoilt",
    "an address with a scope",
    "elements before the first",
    "an encoded word with control characters",
    "sg where it does not count",
    "what is no address in match_ip",
    "IPv4 addresses in IPv6 form",
    "an address without domain",
    "a space after a backslash at the end of an element",
];

/// The first difference that applies.
pub(crate) fn class(line: &str, exim: &str, oxim: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|d| (d.applies)(line, exim, oxim)).map(|d| d.name)
}

/// The names of those that a full run must show.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DIFFERENCES.iter().map(|d| d.name).filter(|name| !RARE.contains(name))
}

/// How many there are.
pub(crate) fn count() -> usize {
    DIFFERENCES.len()
}
