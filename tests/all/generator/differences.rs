//! Differences between the programs that are meant, each with its reason.

/// What is meant to differ: a name, the reason, and how it is recognised from line, exim4's answer and Oxim's.
struct Difference {
    name: &'static str,
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
    applies: fn(&str, &str, &str) -> bool,
}

/// Beginnings or parts of the complaints about syntax.
const SYNTAX: [&str; 20] = [
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
            let early = is_syntax(oxim) || CONSTANTS.iter().any(|part| oxim.contains(part));
            early && oxim.starts_with("Failed:") && exim.starts_with("Failed:") && !is_syntax(exim)
        },
    },
    Difference {
        name: "what came from outside is not expanded",
        reason: "as later versions do",
        applies: |_, _, oxim| oxim.contains("attempt to expand tainted string"),
    },
    Difference {
        name: "complaints about bytes that are no UTF-8",
        reason: "they are shown as \\xHH, so that logs are valid UTF-8",
        applies: |_, exim, oxim| {
            exim.starts_with("Failed:") && exim.contains('\u{fffd}') && oxim.contains("\\x")
        },
    },
    Difference {
        name: "keys of sort that are empty",
        reason: "exim4 fails or loses elements",
        applies: |line, exim, _| {
            line.contains("${sort")
                && (exim.contains("field-extract in sort")
                    || exim.contains("error in sort")
                    || !exim.starts_with("Failed:"))
        },
    },
    Difference {
        name: "a comparator of sort that does not exist",
        reason: "exim4 fails without a word",
        applies: |line, exim, oxim| {
            line.contains("${sort") && exim.starts_with("Failed: ") && oxim.contains("condition")
        },
    },
    Difference {
        name: "zeros at the end of an address",
        reason: "exim4 writes the short form of :: with one colon, and loses what follows some addresses",
        applies: |line, _, _| line.contains("ipv6norm"),
    },
    Difference {
        name: "lines of a message of -bem",
        reason: "exim4 counts some only",
        applies: |line, _, _| line.contains("_linecount"),
    },
    Difference {
        name: "the return path before routing",
        reason: "it is the sender from the moment that there is a message",
        applies: |line, _, _| line.contains("return_path"),
    },
    Difference {
        name: "a string that begins the other, in any case",
        reason: "exim4 takes the shorter one for the greater",
        applies: |line, _, _| {
            ["lti{", "lei{", "gti{", "gei{", "{lti}", "{gei}"].iter().any(|c| line.contains(c))
        },
    },
    Difference {
        name: "commas and brackets within JSON",
        reason: "exim4 splits strings and nested values at them",
        applies: |line, _, _| line.contains("json"),
    },
    Difference {
        name: "a named list that does not exist",
        reason: "exim4 does not say which",
        applies: |_, _, oxim| oxim.contains("unknown named"),
    },
    Difference {
        name: "Latin text read as UTF-8",
        reason: "exim4 takes more than one byte for a wrong character",
        applies: |line, _, _| line.contains("from_utf8"),
    },
    Difference {
        name: "numbers beyond 31 bits",
        reason: "exim4 wraps some of them round, and dies of some results",
        applies: |line, _, _| {
            line.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 9)
                || line.contains("time_interval:$")
        },
    },
    Difference {
        name: "which fault of an unfinished string is told",
        reason: "both fail; exim4 looks for the end first with some operators",
        applies: |_, exim, oxim| {
            (exim.contains("unknown variable")
                || exim == "Failed: missing } at end of string"
                || exim.contains("missing '}' closing"))
                && oxim.starts_with("Failed:")
        },
    },
    Difference {
        name: "NUL bytes",
        reason: "exim4 ends a string there",
        applies: |line, _, oxim| line.contains("\\x") || line.contains("\\0") || oxim.contains('\0'),
    },
    Difference {
        name: "a socket that is not there",
        reason: "exim4 goes on with a wrong descriptor",
        applies: |line, _, _| line.contains("readsocket"),
    },
    Difference {
        name: "an unknown character set",
        reason: "the bytes are left as they are",
        applies: |_, exim, _| exim.contains("iconv_open"),
    },
    Difference {
        name: "what prvscheck leaves behind",
        reason: "its variables last for its own third string only",
        applies: |line, _, _| line.contains("prvscheck_"),
    },
    Difference {
        name: "the value of a list that ends negated",
        reason: "exim4 gives the name of another list",
        applies: |line, exim, _| line.contains("match_address") && line.contains("{!+") && exim.contains('@'),
    },
    Difference {
        name: "a numeric argument that is spoilt where it does not count",
        reason: "it is told when the string is read",
        applies: |_, _, oxim| oxim.contains("after underscore"),
    },
    Difference {
        name: "a lone backslash as address",
        reason: "it is none",
        applies: |line, _, _| line.contains("\\\\"),
    },
    Difference {
        name: "a mask of no bits",
        reason: "exim4 writes :: with one colon",
        applies: |line, _, _| line.contains("mask_n"),
    },
    Difference {
        name: "random numbers below a large one",
        reason: "they are random",
        applies: |line, _, _| line.contains("randint"),
    },
    Difference {
        name: "the type in quote_",
        reason: "exim4 takes what stands before another underscore",
        applies: |line, _, _| line.contains("${quote_"),
    },
    Difference {
        name: "arguments from data",
        reason: "no command takes words out of data; exim4 says it otherwise",
        applies: |line, _, oxim| line.contains("preexpand") && oxim.contains("tainted"),
    },
    Difference {
        name: "long secrets",
        reason: "exim4 cannot sign with them",
        applies: |_, exim, _| exim.contains("hmac-sha1 conversion"),
    },
    Difference {
        name: "extract by number, where it is not evaluated",
        reason: "the key decides what must follow; exim4 does not look at it then",
        applies: |line, _, oxim| line.contains("extract") && oxim.contains("curly-bracket problem"),
    },
    Difference {
        name: "text of an ACL that is none",
        reason: "is an error",
        applies: |line, exim, oxim| {
            line.contains("acl{") && !exim.starts_with("Failed") && oxim.contains("ERROR from acl")
        },
    },
    Difference {
        name: "elements before the first",
        reason: "there are none; exim4 gives the first for some numbers",
        applies: |line, exim, _| line.contains("listextract") && !exim.starts_with("Failed"),
    },
    Difference {
        name: "what follows fail",
        reason: "exim4 mentions the failure where it was to happen only",
        applies: |_, _, oxim| oxim.contains("after forcedfail"),
    },
    Difference {
        name: "what sort leaves behind",
        reason: "exim4 leaves an element in $item after a failure, which shows in later lines",
        applies: |line, _, _| line.contains("$item"),
    },
    Difference {
        name: "IPv4 addresses in IPv6 form",
        reason: "are IPv4 addresses in all lists",
        applies: |line, _, _| line.contains("::ffff:"),
    },
    Difference {
        name: "an empty key",
        reason: "is in no file; exim4 finds the default entry for some",
        applies: |line, _, _| line.contains("${lookup{"),
    },
    Difference {
        name: "addresses after one without local part",
        reason: "exim4 stops there",
        applies: |line, exim, _| line.contains("addresses:@") && exim.is_empty(),
    },
    Difference {
        name: "a name in a list of addresses",
        reason: "match_ip looks no names up, as the manual says; exim4 does",
        applies: |line, _, _| line.contains("match_ip") && line.contains("/list"),
    },
    Difference {
        name: "an address without domain",
        reason: "is looked up as it is",
        applies: |line, _, _| line.contains("match_address") && line.contains("lsearch;"),
    },
    Difference {
        name: "names from outside",
        reason: "are refused before they are used",
        applies: |_, exim, oxim| exim.starts_with("Failed") && oxim.to_ascii_lowercase().contains("tainted"),
    },
    Difference {
        name: "long encoded words",
        reason: "have at most 75 characters",
        applies: |line, exim, _| line.contains("rfc2047:") && exim.contains("?= =?"),
    },
    Difference {
        name: "lists are read whole",
        reason: "an unknown lookup type is a fault before anything is matched",
        applies: |_, _, oxim| oxim.contains("unknown lookup type"),
    },
    Difference {
        name: "no user",
        reason: "the number is positive",
        applies: |line, _, _| line.contains("$local_user_"),
    },
    Difference {
        name: "certextract of something that is not there",
        reason: "is a fault wherever it stands",
        applies: |_, _, oxim| oxim.contains("no variable named"),
    },
    Difference {
        name: "a directory is no file",
        reason: "exim4 reads nothing from it",
        applies: |_, _, oxim| oxim.contains("Is a directory"),
    },
];

/// The first difference that applies.
pub(crate) fn class(line: &str, exim: &str, oxim: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|d| (d.applies)(line, exim, oxim)).map(|d| d.name)
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DIFFERENCES.iter().map(|d| d.name)
}
