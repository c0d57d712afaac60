//! `tls_require_ciphers`: OpenSSL cipher strings and GnuTLS priority strings, and what they leave of our suites.
//!
//! Our suites are nine: three of TLS 1.3 and six of TLS 1.2 (ECDHE with AES-GCM or ChaCha20). Words that name only what
//! we do not have leave nothing; a string that leaves nothing at all is an error, not silently the default.
//! As in OpenSSL, its strings have no say over the suites of TLS 1.3. Manual: sections 43.4 and 43.5.

use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, SupportedCipherSuite};

use super::{TlsError, Versions};

struct Suite {
    suite: CipherSuite,
    openssl: &'static str,
    bits: u32,
    tls13: bool,
    ecdsa: bool,
    words: &'static [&'static str],
}

const fn tls13(suite: CipherSuite, name: &'static str, bits: u32, words: &'static [&'static str]) -> Suite {
    Suite { suite, openssl: name, bits, tls13: true, ecdsa: false, words }
}

const fn tls12(
    suite: CipherSuite,
    name: &'static str,
    bits: u32,
    ecdsa: bool,
    words: &'static [&'static str],
) -> Suite {
    Suite { suite, openssl: name, bits, tls13: false, ecdsa, words }
}

/// In the order of preference of the library. The words are those of both dialects for the bulk cipher.
static SUITES: &[Suite] = &[
    tls13(CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", 256, AES256),
    tls13(CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", 128, AES128),
    tls13(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", 256, CHACHA),
    tls12(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        256,
        true,
        AES256,
    ),
    tls12(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        128,
        true,
        AES128,
    ),
    tls12(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        256,
        true,
        CHACHA,
    ),
    tls12(
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        256,
        false,
        AES256,
    ),
    tls12(
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        128,
        false,
        AES128,
    ),
    tls12(
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        256,
        false,
        CHACHA,
    ),
];

const AES256: &[&str] = &["AES", "AES256", "AESGCM", "AES-256-GCM"];
const AES128: &[&str] = &["AES", "AES128", "AESGCM", "AES-128-GCM"];
const CHACHA: &[&str] = &["CHACHA20", "CHACHA20-POLY1305"];

/// OpenSSL's words for sets that hold all of our TLS 1.2 suites.
static OPENSSL_ALL: &[&str] =
    &["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "KECDHE", "KEECDH", "TLSV1.2", "AEAD", "FIPS"];

/// OpenSSL's words for sets that hold none of them. They are known, so not worth a log line.
static OPENSSL_NONE: &[&str] = &[
    "3DES",
    "ADH",
    "AECDH",
    "AES128-CBC",
    "ANULL",
    "ADSS",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "AESCCM",
    "AESCCM8",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "DES",
    "DH",
    "DHE",
    "DSS",
    "EDH",
    "ENULL",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "GOST",
    "IDEA",
    "KDHE",
    "KEDH",
    "KPSK",
    "KRSA",
    "KSRP",
    "LOW",
    "MD5",
    "MEDIUM",
    "NULL",
    "PSK",
    "RC2",
    "RC4",
    "RSA",
    "SEED",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA384",
    "SRP",
    "SSLV2",
    "SSLV3",
    "TLSV1",
    "TLSV1.0",
    "KECDH",
    "KDH",
    "ADH",
    "AEXP",
];

/// What a cipher string leaves.
#[derive(Clone, Debug)]
pub struct CipherChoice {
    /// The suites, in the order of preference.
    pub suites: Vec<SupportedCipherSuite>,
    /// The versions (a GnuTLS string can take some away).
    pub versions: Versions,
    /// Words that ask for something unknown or not built in: for one log line at start.
    pub unknown: Vec<String>,
}

/// OpenSSL's name of a suite.
pub(super) fn openssl_name(suite: CipherSuite) -> &'static str {
    SUITES.iter().find(|known| known.suite == suite).map_or("unknown", |known| known.openssl)
}

/// Key length of a suite.
pub(super) fn key_bits(suite: CipherSuite) -> u32 {
    SUITES.iter().find(|known| known.suite == suite).map_or(0, |known| known.bits)
}

/// All suites.
pub(super) fn all() -> Vec<SupportedCipherSuite> {
    aws_lc_rs::ALL_CIPHER_SUITES.to_vec()
}

/// Reads a `tls_require_ciphers` string of either dialect.
///
/// # Errors
/// [`TlsError::Config`] if no suite is left.
pub fn choose(text: &str) -> Result<CipherChoice, TlsError> {
    let mut selection =
        Selection { on: Vec::new(), killed: Vec::new(), versions: Versions::default(), unknown: vec![] };
    if is_gnutls(text) {
        selection.read_gnutls(text)
    } else {
        selection.read_openssl(text)
    }
    let version_left =
        |suite: &&Suite| if suite.tls13 { selection.versions.tls13 } else { selection.versions.tls12 };
    let chosen: Vec<&Suite> = selection.on.iter().copied().filter(version_left).collect();
    let suites: Vec<SupportedCipherSuite> = chosen
        .iter()
        .filter_map(|suite| aws_lc_rs::ALL_CIPHER_SUITES.iter().find(|ours| ours.suite() == suite.suite))
        .copied()
        .collect();
    let versions = Versions {
        tls12: chosen.iter().any(|suite| !suite.tls13),
        tls13: chosen.iter().any(|suite| suite.tls13),
    };
    // OpenSSL refuses a string that leaves nothing of TLS 1.2, though 1.3 would still work.
    if suites.is_empty() || (!is_gnutls(text) && !versions.tls12) {
        return Err(TlsError::Config(format!("no cipher match for \"{text}\"")));
    }
    Ok(CipherChoice { suites, versions, unknown: selection.unknown })
}

fn is_gnutls(text: &str) -> bool {
    let first = text.split(':').next().unwrap_or_default().trim();
    is_gnutls_base(first) || text.contains("VERS-")
}

/// Whether a word can begin a priority string.
fn is_gnutls_base(word: &str) -> bool {
    let known = ["NORMAL", "PERFORMANCE", "PFS", "LEGACY", "NONE", "SECURE", "SUITEB"];
    let name = word.trim_end_matches(|c: char| c.is_ascii_digit());
    known.contains(&name) || word.starts_with("@SYSTEM")
}

struct Selection {
    on: Vec<&'static Suite>,
    killed: Vec<CipherSuite>,
    versions: Versions,
    unknown: Vec<String>,
}

impl Selection {
    fn read_openssl(&mut self, text: &str) {
        self.on = SUITES.iter().filter(|suite| suite.tls13).collect();
        // Exim turns underscores into hyphens for OpenSSL; only the names of TLS 1.3 suites have them rightly.
        for item in text.split([':', ',', ' ', ';']).filter(|item| !item.is_empty() && !item.starts_with('@'))
        {
            let (sign, word) = match item.split_at_checked(1) {
                Some((sign @ ("!" | "-" | "+"), word)) => (sign, word),
                _ => ("", item),
            };
            let matching = openssl_matches(word);
            match sign {
                "!" | "-" => {
                    self.on.retain(|suite| {
                        suite.tls13 || !matching.iter().any(|other| other.suite == suite.suite)
                    });
                    if sign == "!" {
                        self.killed.extend(matching.iter().map(|suite| suite.suite));
                    }
                }
                "+" => self.move_last(&matching),
                _ => {
                    if matching.is_empty() && !is_known_empty(word) {
                        self.unknown.push(item.to_owned());
                    }
                    self.add(&matching);
                }
            }
        }
    }

    fn add(&mut self, matching: &[&'static Suite]) {
        for suite in matching {
            let there = self.on.iter().any(|other| other.suite == suite.suite);
            if !there && !self.killed.contains(&suite.suite) {
                self.on.push(suite);
            }
        }
    }

    fn move_last(&mut self, matching: &[&'static Suite]) {
        let moves = |suite: &&Suite| !suite.tls13 && matching.iter().any(|other| other.suite == suite.suite);
        let (moved, kept): (Vec<_>, Vec<_>) = self.on.iter().copied().partition(moves);
        self.on = kept.into_iter().chain(moved).collect();
    }

    fn read_gnutls(&mut self, text: &str) {
        for item in text.split(':').map(str::trim).filter(|item| !item.is_empty() && !item.starts_with('%')) {
            let (sign, word) = match item.split_at_checked(1) {
                Some((sign @ ("!" | "-" | "+"), word)) => (sign, word),
                _ => ("", item),
            };
            match (sign, word) {
                ("", base) => self.gnutls_base(base),
                ("+", word) => self.gnutls_word(word, true),
                (_, word) => self.gnutls_word(word, false),
            }
        }
    }

    fn gnutls_base(&mut self, base: &str) {
        let strong = |suite: &&Suite| suite.bits == 256;
        self.on = match base {
            "NONE" => Vec::new(),
            "SECURE192" | "SECURE256" | "SUITEB192" => SUITES.iter().filter(strong).collect(),
            _ => SUITES.iter().collect(),
        };
        self.versions = Versions { tls12: base != "NONE", tls13: base != "NONE" };
        if !is_gnutls_base(base) {
            self.unknown.push(base.to_owned());
        }
    }

    fn gnutls_word(&mut self, word: &str, add: bool) {
        match word {
            "VERS-ALL" | "VERS-TLS-ALL" => self.versions = Versions { tls12: add, tls13: add },
            "VERS-TLS1.2" => self.versions.tls12 = add,
            "VERS-TLS1.3" => self.versions.tls13 = add,
            "ECDHE-RSA" | "ECDHE-ECDSA" | "CIPHER-ALL" | "AES-256-GCM" | "AES-128-GCM"
            | "CHACHA20-POLY1305" => {
                let matching: Vec<&'static Suite> =
                    SUITES.iter().filter(|suite| gnutls_matches(word, suite)).collect();
                if add {
                    self.add(&matching);
                } else {
                    self.on.retain(|suite| !matching.iter().any(|other| other.suite == suite.suite));
                }
            }
            _ if add && !is_gnutls_family(word) => self.unknown.push(word.to_owned()),
            _ => {}
        }
    }
}

/// Key exchanges apply to TLS 1.2 alone, bulk ciphers to both versions.
fn gnutls_matches(word: &str, suite: &Suite) -> bool {
    match word {
        "CIPHER-ALL" => true,
        "ECDHE-RSA" => !suite.tls13 && !suite.ecdsa,
        "ECDHE-ECDSA" => !suite.tls13 && suite.ecdsa,
        _ => suite.words.contains(&word),
    }
}

/// Words of GnuTLS that choose among things which are fixed here, or which are not built in.
fn is_gnutls_family(word: &str) -> bool {
    let families = [
        "VERS-",
        "MAC-",
        "SIGN-",
        "COMP-",
        "CTYPE-",
        "GROUP-",
        "CURVE-",
        "KX-",
        "AES-",
        "DHE-",
        "3DES-",
        "CAMELLIA-",
    ];
    families.iter().any(|family| word.starts_with(family))
        || ["RSA", "SHA1", "SHA256", "SHA384", "AEAD"].contains(&word)
}

fn openssl_matches(word: &str) -> Vec<&'static Suite> {
    let parts: Vec<String> =
        word.split('+').map(|part| part.replace('_', "-").to_ascii_uppercase()).collect();
    SUITES.iter().filter(|suite| !suite.tls13 && parts.iter().all(|part| openssl_word(part, suite))).collect()
}

fn openssl_word(part: &str, suite: &Suite) -> bool {
    match part {
        "ARSA" => !suite.ecdsa,
        "AECDSA" | "ECDSA" => suite.ecdsa,
        _ => part == suite.openssl || OPENSSL_ALL.contains(&part) || suite.words.contains(&part),
    }
}

fn is_known_empty(word: &str) -> bool {
    let upper = word.replace('_', "-").to_ascii_uppercase();
    upper.split('+').any(|part| OPENSSL_NONE.contains(&part)) || upper.starts_with("TLS-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        choose(text).unwrap().suites.iter().map(|suite| openssl_name(suite.suite())).collect()
    }

    #[test]
    fn openssl_strings_choose_among_the_suites_of_tls12() {
        assert_eq!(names("HIGH:!aNULL:@STRENGTH").len(), 9);
        assert_eq!(names("DEFAULT:!RSA").len(), 9);
        assert_eq!(names("ECDSA:RSA:!COMPLEMENTOFDEFAULT").len(), 6);
        assert_eq!(names("ECDHE_RSA_AES256_GCM_SHA384")[3..], ["ECDHE-RSA-AES256-GCM-SHA384"]);
        assert_eq!(names("AESGCM+aRSA:!AES128")[3..], ["ECDHE-RSA-AES256-GCM-SHA384"]);
        assert_eq!(names("ALL:-ALL:AES128+ECDSA")[3..], ["ECDHE-ECDSA-AES128-GCM-SHA256"]);
        assert_eq!(names("ALL:+AES256").last(), Some(&"ECDHE-RSA-AES256-GCM-SHA384"));
        assert_eq!(names("!AES:ALL")[3..], ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"]);
    }

    #[test]
    fn nothing_left_is_an_error_and_unknown_words_are_told() {
        assert!(choose("RC4-SHA:AES256-SHA").is_err());
        assert!(choose("!ALL").is_err());
        assert!(choose("NONESUCH").is_err());
        assert_eq!(choose("RC4-SHA:HIGH:NONSENSE").unwrap().unknown, vec!["RC4-SHA", "NONSENSE"]);
        assert!(choose("HIGH:!RC4:MEDIUM").unwrap().unknown.is_empty());
    }

    #[test]
    fn gnutls_strings_choose_versions_too() {
        assert_eq!(names("NORMAL:%COMPAT").len(), 9);
        let only13 = choose("NORMAL:-VERS-ALL:+VERS-TLS1.3").unwrap();
        assert_eq!((only13.suites.len(), only13.versions.tls12), (3, false));
        assert_eq!(names("SECURE192:-VERS-SSL3.0:-VERS-TLS1.0").len(), 6);
        assert_eq!(names("NORMAL:-VERS-TLS1.3:-ECDHE-ECDSA:-CHACHA20-POLY1305").len(), 2);
        assert_eq!(choose("NORMAL:+NONSENSE").unwrap().unknown, vec!["NONSENSE"]);
        assert!(choose("NONE:+VERS-TLS1.1").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_string_is_read(text in "[A-Z0-9:!+@%_-]{0,40}") {
            if let Ok(choice) = choose(&text) {
                assert!(!choice.suites.is_empty());
            }
        }
    }
}
