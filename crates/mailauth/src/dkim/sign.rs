//! Signatures made (RFC 6376 section 5; manual section 58.2; which header lines, as Exim chooses them).
//!
//! The caller hashes the body with a [`super::body::BodyHasher`] for each way that is wanted, then has each signature's header line
//! written by [`Recipe::line`]. Failure modes are in [`SignFault`].

use base64::Engine as _;

use super::signing_key::SigningKey;
use super::{Canon, Hash, canon};

/// The header lines that are signed if nobody says which (RFC 4871 section 5.5, and lines of mailing lists).
pub const SIGN_HEADERS: &str = "From:Sender:Reply-To:Subject:Date:Message-ID:To:Cc:MIME-Version:Content-Type:\
    Content-Transfer-Encoding:Content-ID:Content-Description:Resent-Date:Resent-From:Resent-Sender:Resent-To:Resent-Cc:\
    Resent-Message-ID:In-Reply-To:References:List-Id:List-Help:List-Unsubscribe:List-Subscribe:List-Post:List-Owner:\
    List-Archive";

/// The same, each name with `+` before it.
pub const OVERSIGN_HEADERS: &str = "+From:+Sender:+Reply-To:+Subject:+Date:+Message-ID:+To:+Cc:+MIME-Version:\
    +Content-Type:+Content-Transfer-Encoding:+Content-ID:+Content-Description:+Resent-Date:+Resent-From:+Resent-Sender:\
    +Resent-To:+Resent-Cc:+Resent-Message-ID:+In-Reply-To:+References:+List-Id:+List-Help:+List-Unsubscribe:\
    +List-Subscribe:+List-Post:+List-Owner:+List-Archive";

/// Why there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignFault {
    /// The domain is no name for the DNS.
    Domain,
    /// The selector is no name for the DNS.
    Selector,
    /// The identity has a character that would end its tag.
    Identity,
    /// No header line is named.
    NoHeaders,
    /// The key makes no signatures with the hash.
    Hash,
}

impl SignFault {
    /// What log lines say.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            SignFault::Domain => "the domain is not a domain name",
            SignFault::Selector => "the selector is not a part of a domain name",
            SignFault::Identity => "the identity has characters that it must not have",
            SignFault::NoHeaders => "no header line is to be signed",
            SignFault::Hash => "the key cannot sign this hash",
        }
    }
}

/// How often a name of the list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// One line, or that there is none.
    Once,
    /// All lines that there are (`=`).
    All,
    /// All lines that there are, and that there is no other (`+`).
    AllAndNoMore,
}

/// Which header lines are signed: names that are parted by colons, perhaps with `=` or `+` before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChoice {
    names: Vec<(Vec<u8>, Times)>,
}

impl HeaderChoice {
    /// Reads a list. Empty items are left out, and as with Exim those that begin with an underscore.
    #[must_use]
    pub fn parse(list: &[u8]) -> HeaderChoice {
        let mut names = Vec::new();
        for item in list.split(|b| *b == b':').map(<[u8]>::trim_ascii) {
            let (name, times) = match item.split_first() {
                Some((b'=', name)) => (name, Times::All),
                Some((b'+', name)) => (name, Times::AllAndNoMore),
                _ => (item, Times::Once),
            };
            let is_name = name.iter().all(|b| b.is_ascii_graphic() && *b != b';');
            if !name.is_empty() && is_name && !name.starts_with(b"_") {
                names.push((name.to_vec(), times));
            }
        }
        HeaderChoice { names }
    }

    /// The names for `h=` and the lines that they mean: those that are there from the bottom up, then the names of which
    /// there is no (further) line.
    pub(crate) fn choose<'a>(&self, lines: &[&'a [u8]]) -> (Vec<Vec<u8>>, Vec<&'a [u8]>) {
        let mut is_used = vec![false; self.names.len()];
        let (mut names, mut chosen) = (Vec::new(), Vec::new());
        for line in lines.iter().rev() {
            let end = memchr::memchr(b':', line).unwrap_or(line.len());
            let own = line.get(..end).unwrap_or_default().trim_ascii_end();
            let found = self.names.iter().zip(&mut is_used).find(|((name, times), is_used)| {
                name.eq_ignore_ascii_case(own) && (*times != Times::Once || !**is_used)
            });
            if let Some((_, is_used)) = found {
                *is_used = true;
                names.push(own.to_vec());
                chosen.push(*line);
            }
        }
        for ((name, times), is_used) in self.names.iter().zip(is_used) {
            if *times == Times::AllAndNoMore || (*times == Times::Once && !is_used) {
                names.push(name.clone());
            }
        }
        (names, chosen)
    }
}

/// One signature that is to be made.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// `d=`.
    pub domain: Vec<u8>,
    /// `s=`.
    pub selector: Vec<u8>,
    /// `i=`.
    pub identity: Option<Vec<u8>>,
    /// How header lines and body are hashed.
    pub canon: Canon,
    /// The hash.
    pub hash: Hash,
    /// The header lines.
    pub headers: HeaderChoice,
    /// `t=` and `x=`.
    pub times: Option<(u64, u64)>,
}

impl Recipe {
    /// The `DKIM-Signature:` line, with LF at its ends, for header lines (each with LF at its end) and the hash of the body.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn line(&self, key: &SigningKey, lines: &[&[u8]], body_hash: &[u8]) -> Result<Vec<u8>, SignFault> {
        self.check()?;
        let (names, chosen) = self.headers.choose(lines);
        if names.is_empty() {
            return Err(SignFault::NoHeaders);
        }
        let mut out = Folder::new("DKIM-Signature:");
        out.tag("v", b"1");
        out.tag("a", format!("{}-{}", key.key_type().word(), self.hash.word()).as_bytes());
        out.tag("q", b"dns/txt");
        out.tag("c", format!("{0}/{0}", self.canon.word()).as_bytes());
        out.tag("d", &self.domain);
        out.tag("s", &self.selector);
        out.list("h", &names);
        out.long("bh", &encoded(body_hash));
        if let Some(identity) = &self.identity {
            out.tag("i", identity);
        }
        if let Some((created, expires)) = self.times {
            out.tag("t", created.to_string().as_bytes());
            out.tag("x", expires.to_string().as_bytes());
        }
        let mut text = Vec::new();
        for line in chosen {
            canon::header(self.canon, line, true, &mut text);
        }
        out.sign(self.canon, self.hash, key, text).ok_or(SignFault::Hash)
    }

    fn check(&self) -> Result<(), SignFault> {
        if !is_name(&self.domain) {
            return Err(SignFault::Domain);
        }
        if !is_name(&self.selector) {
            return Err(SignFault::Selector);
        }
        let is_bad = |b: &u8| !(b.is_ascii_graphic() || *b >= 0x80) || *b == b';';
        if self.identity.as_ref().is_some_and(|identity| identity.iter().any(is_bad)) {
            return Err(SignFault::Identity);
        }
        Ok(())
    }
}

/// Whether a text is a domain name, or a part of one. UTF-8 may stand in it (RFC 8616).
#[must_use]
pub fn is_name(text: &[u8]) -> bool {
    text.len() <= 253
        && text.split(|b| *b == b'.').all(|label| !label.is_empty() && label.len() <= 63)
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') || *b >= 0x80)
}

pub(crate) fn encoded(bytes: &[u8]) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes()
}

/// The longest line that is written, if there is a place to fold it.
const LINE_BYTES_MAX: usize = 76;

/// A header line of tags that is folded while it grows.
pub(crate) struct Folder {
    text: Vec<u8>,
    column: usize,
    has_tag: bool,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        Folder { text: name.as_bytes().to_vec(), column: name.len(), has_tag: false }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.column = self.column.saturating_add(bytes.len());
    }

    fn fold(&mut self) {
        self.text.extend_from_slice(b"\n\t");
        self.column = 8;
    }

    fn is_full(&self, more: usize) -> bool {
        self.column.saturating_add(more) > LINE_BYTES_MAX
    }

    /// What parts one tag from the next.
    fn begin(&mut self, bytes: usize) {
        if self.has_tag {
            self.put(b";");
        }
        self.has_tag = true;
        // A blank, and the semicolon that will follow.
        if self.is_full(bytes.saturating_add(2)) {
            self.fold();
        } else {
            self.put(b" ");
        }
    }

    /// A tag that stands in one piece.
    pub(crate) fn tag(&mut self, name: &str, value: &[u8]) {
        self.begin(name.len().saturating_add(value.len()).saturating_add(1));
        self.put(name.as_bytes());
        self.put(b"=");
        self.put(value);
    }

    /// A tag whose value may be folded behind its colons.
    pub(crate) fn list(&mut self, name: &str, items: &[Vec<u8>]) {
        let first = items.first().map_or(0, Vec::len);
        self.begin(name.len().saturating_add(first).saturating_add(2));
        self.put(name.as_bytes());
        self.put(b"=");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.put(b":");
                if self.is_full(item.len().saturating_add(1)) {
                    self.fold();
                }
            }
            self.put(item);
        }
    }

    /// A tag whose value may be folded anywhere.
    pub(crate) fn long(&mut self, name: &str, value: &[u8]) {
        self.begin(name.len().saturating_add(value.len().min(20)).saturating_add(1));
        self.put(name.as_bytes());
        self.put(b"=");
        self.wrapped(value);
    }

    fn wrapped(&mut self, value: &[u8]) {
        let mut rest = value;
        while !rest.is_empty() {
            let room = LINE_BYTES_MAX.saturating_sub(self.column).max(1);
            let (part, after) = rest.split_at_checked(room).unwrap_or((rest, b""));
            self.put(part);
            rest = after;
            if !rest.is_empty() {
                self.fold();
            }
        }
    }

    /// Ends the line with the tag `b=`: the signature of `text`, to which this line is added, `b=` empty. None if the key
    /// cannot.
    pub(crate) fn sign(
        mut self,
        canon: Canon,
        hash: Hash,
        key: &SigningKey,
        mut text: Vec<u8>,
    ) -> Option<Vec<u8>> {
        self.begin(22);
        self.put(b"b=");
        canon::header(canon, &self.text, false, &mut text);
        let signature = key.sign(hash, &text)?;
        self.wrapped(&encoded(&signature));
        self.text.push(b'\n');
        Some(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyType;
    use super::super::body::BodyHasher;
    use super::super::signing_key::tests::{ED25519, RSA};
    use super::super::verify::{Policy, Status, Verifier};
    use super::*;
    use crate::dns::{Answer, Dns};

    struct OneKey(Vec<u8>);

    impl Dns for OneKey {
        fn txt(&self, name: &str) -> Answer<Vec<u8>> {
            assert_eq!(name, "sel._domainkey.s.ex");
            Answer::Found(vec![self.0.clone()])
        }
        fn addresses(&self, _: &str, _: bool) -> Answer<std::net::IpAddr> {
            Answer::NotThere
        }
        fn exchangers(&self, _: &str) -> Answer<String> {
            Answer::NotThere
        }
        fn names_of(&self, _: std::net::IpAddr) -> Answer<String> {
            Answer::NotThere
        }
    }

    fn recipe(list: &str) -> Recipe {
        Recipe {
            domain: b"s.ex".to_vec(),
            selector: b"sel".to_vec(),
            identity: None,
            canon: Canon::Relaxed,
            hash: Hash::Sha256,
            headers: HeaderChoice::parse(list.as_bytes()),
            times: None,
        }
    }

    fn names(list: &str, lines: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let (names, _) = HeaderChoice::parse(list.as_bytes()).choose(&lines);
        String::from_utf8(names.join(b":".as_slice())).unwrap()
    }

    #[test]
    fn header_lines_are_chosen_as_exim_does() {
        let lines = ["From: a\n", "Subject: one\n", "X-A: 1\n", "X-A: 2\n", "X-A: 3\n", "X-R: r\n"];
        assert_eq!(
            names("=x-a:+from:subject:x-a:x-b:+x-c:X-R:_date", &lines),
            "X-R:X-A:X-A:X-A:Subject:From:from:x-a:x-b:x-c"
        );
        assert_eq!(names("Subject : from : : : X-y", &lines), "Subject:From:X-y");
        assert_eq!(names("x-a:x-a", &lines), "X-A:X-A");
        assert_eq!(names("=none", &lines), "");
    }

    #[test]
    fn our_own_verification_agrees() {
        let policy = Policy {
            hashes: vec![Hash::Sha256, Hash::Sha512],
            key_types: vec![KeyType::Ed25519, KeyType::Rsa],
            rsa_bits_min: 1024,
            ed25519_bits_min: 250,
            is_minimal: false,
            signatures_max: 20,
        };
        for pem in [RSA, ED25519] {
            for (canon, hash) in [
                (Canon::Relaxed, Hash::Sha256),
                (Canon::Simple, Hash::Sha256),
                (Canon::Relaxed, Hash::Sha512),
                (Canon::Simple, Hash::Sha512),
            ] {
                let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
                let record = format!(
                    "v=DKIM1; k={}; p={}",
                    key.key_type().word(),
                    String::from_utf8(encoded(&key.public())).unwrap()
                );
                let lines: Vec<&[u8]> =
                    vec![b"From: a@s.ex\n", b"Subject:  two \n\twords\n", b"Subject: one\n", b"To: b\n"];
                let body = b"Hi  there \n\n\n";
                let mut hasher = BodyHasher::new(canon, hash, None);
                hasher.update(body);
                let recipe = Recipe {
                    canon,
                    hash,
                    identity: Some(b"me@sub.s.ex".to_vec()),
                    times: Some((1, 4_000_000_000)),
                    ..recipe("+from:=subject:to:to:cc:bcc:x-some-long-name:x-another-long-name:x-third")
                };
                let line = recipe.line(&key, &lines, &hasher.finish().0).unwrap();
                let text = String::from_utf8(line.clone()).unwrap();
                assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX), "{text}");
                let all: Vec<&[u8]> = std::iter::once(line.as_slice()).chain(lines).collect();
                let mut verifier = Verifier::new(all.iter().copied(), &policy).unwrap();
                verifier.update(body);
                let found = verifier.finish(&OneKey(record.clone().into_bytes()));
                assert_eq!(found[0].status, Status::Pass, "{text}");
                // A line that was signed as absent must not come up.
                let all: Vec<&[u8]> = std::iter::once(b"From: x\n".as_slice()).chain(all).collect();
                let mut verifier = Verifier::new(all.iter().copied(), &policy).unwrap();
                verifier.update(body);
                assert_eq!(verifier.finish(&OneKey(record.into_bytes()))[0].status, Status::Wrong);
            }
        }
    }

    #[test]
    fn the_two_lists_have_the_same_names() {
        assert_eq!(OVERSIGN_HEADERS.replace('+', ""), SIGN_HEADERS);
        assert_eq!(SIGN_HEADERS.split(':').count(), 28);
    }

    #[test]
    fn what_would_break_the_line_is_refused() {
        let key = SigningKey::from_pem(ED25519.as_bytes()).unwrap();
        let fault = |recipe: Recipe| recipe.line(&key, &[b"From: a\n"], b"x").unwrap_err();
        assert_eq!(fault(Recipe { domain: b"a;b".to_vec(), ..recipe("from") }), SignFault::Domain);
        assert_eq!(fault(Recipe { selector: b"a b".to_vec(), ..recipe("from") }), SignFault::Selector);
        assert_eq!(fault(Recipe { identity: Some(b"x;b=".to_vec()), ..recipe("from") }), SignFault::Identity);
        assert_eq!(fault(recipe("=to")), SignFault::NoHeaders);
        assert_eq!(fault(Recipe { hash: Hash::Sha1, ..recipe("from") }), SignFault::Hash);
    }
}
