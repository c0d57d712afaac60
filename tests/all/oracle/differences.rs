//! The cases in which Oxim does not do what exim4 does. The list may only get shorter: one that is gone is a failure.

/// A known difference.
pub(super) struct Difference {
    /// The tests it concerns: names parted by blanks, `*` stands for anything.
    tests: &'static str,
    /// The case; `*` stands for anything.
    pub(super) case: &'static str,
    /// Why it is so. It is told to the reader in `docs/differences.md` or on the page of its feature.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

const fn row(tests: &'static str, case: &'static str, reason: &'static str) -> Difference {
    Difference { tests, case, reason }
}

impl Difference {
    pub(super) fn concerns(&self, test: &str) -> bool {
        self.tests.split(' ').any(|pattern| fits(pattern, test))
    }

    pub(super) fn covers(&self, case: &str) -> bool {
        fits(self.case, case)
    }
}

/// `*` stands for anything; there is one at most.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

const NOT_YET: &str = "not built yet; the macro tells configurations so";
const FOREIGN: &str = "no foreign code is loaded; refused by name";
const NO_EFFECT: &str = "a facility of Exim's own making that changes nothing here";
const OPENSSL: &str = "Oxim presents itself as OpenSSL, Debian's exim4 has GnuTLS";

pub(super) const KNOWN: &[Difference] = &[
    // -bP
    row("options::*", "main queue_fast_ramp", "the default of 4.97"),
    row("options::*", "main remote_max_parallel", "the default of 4.97"),
    row("options::example", "main tls_require_ciphers", OPENSSL),
    row("options::example", "transports smarthost_smtp transport tls_require_ciphers", OPENSSL),
    row("options::example", "text config + tls_require_ciphers = ECDSA:RSA:!COMPLEMENTOFDEFAULT", OPENSSL),
    row("options::example", "text config + tls_require_ciphers = HIGH:!aNULL:@STRENGTH", OPENSSL),
    row("options::example", "text config - tls_require_ciphers = SECURE192*", OPENSSL),
    row("options::*", "transports *expand_maildir_use_size_file", "it is no option"),
    // -bt, -bv
    row(
        "addresses::example",
        "-bt user",
        "without set-user-id the file of another user cannot be read: Oxim needs none for anything else",
    ),
    row(
        "addresses::example addresses::internet",
        "*x@dddddddddddddddddddddddddddddddddddddd",
        "a label of more than 63 bytes can never exist: the address fails at once, it does not wait",
    ),
    // A daemon and its mail
    row("message::*", "text 1 dialogue + < 250-LIMITS MAILMAX=1000 RCPTMAX=50000", "an extension of 4.98"),
    row(
        "dialogue::example",
        "text *commands 0 + 250-LIMITS MAILMAX=1000 RCPTMAX=50000",
        "an extension of 4.98",
    ),
    row(
        "dialogue::internet dialogue::smarthost dialogue::local",
        "text *commands 0 + 250-LIMITS MAILMAX=1000 RCPTMAX=50000",
        "offered since 4.98",
    ),
    // -bP macro_list
    row("options::*", "macro_list _HAVE_DLFUNC", FOREIGN),
    row("options::*", "macro_list _HAVE_GNUTLS", OPENSSL),
    row("options::*", "macro_list _HAVE_LOOKUP_NIS", FOREIGN),
    row("options::*", "macro_list _HAVE_TCP_FASTOPEN", NO_EFFECT),
    row("options::*", "macro_list _HAVE_TLS_CA_CACHE", NO_EFFECT),
    row("options::*", "macro_list _OPT_MAIN_LOCAL_SCAN_PATH", NOT_YET),
    row("options::*", "macro_list _OPT_MAIN_LOCAL_SCAN_TIMEOUT", NOT_YET),
];
