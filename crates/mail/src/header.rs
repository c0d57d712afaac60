//! The header lines of a message, byte for byte as they travel.
//!
//! Lines keep their folding and end in LF, as in the -H spool file (manual chapter 57). Deleted lines stay in
//! the list, marked, as Exim keeps them. `header::split` recognises the header section of an arriving message,
//! `header::value` makes what `$h_name:` and its kin give. Nothing in this file fails.

pub mod split;
pub mod value;

use memchr::memchr;

/// What a header line is to Exim: the letter in the -H file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderKind {
    /// ` `: no special interest.
    #[default]
    Other,
    /// `B`: Bcc or Resent-Bcc.
    Bcc,
    /// `C`: Cc or Resent-Cc.
    Cc,
    /// `F`: From or Resent-From.
    From,
    /// `I`: Message-Id, or Resent-Message-Id if there are Resent- lines.
    Id,
    /// `P`: Received ("postmark").
    Received,
    /// `R`: Reply-To.
    ReplyTo,
    /// `S`: Sender or Resent-Sender.
    Sender,
    /// `T`: To or Resent-To.
    To,
    /// `*`: deleted or replaced; not transmitted.
    Deleted,
}

impl HeaderKind {
    /// The letter in the -H file.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            HeaderKind::Other => b' ',
            HeaderKind::Bcc => b'B',
            HeaderKind::Cc => b'C',
            HeaderKind::From => b'F',
            HeaderKind::Id => b'I',
            HeaderKind::Received => b'P',
            HeaderKind::ReplyTo => b'R',
            HeaderKind::Sender => b'S',
            HeaderKind::To => b'T',
            HeaderKind::Deleted => b'*',
        }
    }

    /// The kind of a letter of the -H file; None if no Exim writes it.
    #[must_use]
    pub fn from_letter(letter: u8) -> Option<HeaderKind> {
        let all = [
            HeaderKind::Other,
            HeaderKind::Bcc,
            HeaderKind::Cc,
            HeaderKind::From,
            HeaderKind::Id,
            HeaderKind::Received,
            HeaderKind::ReplyTo,
            HeaderKind::Sender,
            HeaderKind::To,
            HeaderKind::Deleted,
        ];
        all.into_iter().find(|kind| kind.letter() == letter)
    }

    /// The kind that a name gives. Resent-Message-Id counts as `Id` here; `HeaderList::classify` sorts the two out.
    #[must_use]
    pub fn of_name(name: &[u8]) -> HeaderKind {
        let resent = name.get(..7).is_some_and(|p| p.eq_ignore_ascii_case(b"resent-"));
        let bare = if resent { name.get(7..).unwrap_or_default() } else { name };
        let table: [(&[u8], HeaderKind); 8] = [
            (b"to", HeaderKind::To),
            (b"cc", HeaderKind::Cc),
            (b"from", HeaderKind::From),
            (b"bcc", HeaderKind::Bcc),
            (b"sender", HeaderKind::Sender),
            (b"message-id", HeaderKind::Id),
            (b"received", HeaderKind::Received),
            (b"reply-to", HeaderKind::ReplyTo),
        ];
        let found = table.into_iter().find(|(word, _)| bare.eq_ignore_ascii_case(word)).map(|(_, kind)| kind);
        match found {
            // There is no Resent-Reply-To and no Resent-Received (manual section 48.5).
            Some(HeaderKind::ReplyTo | HeaderKind::Received) if resent => HeaderKind::Other,
            Some(kind) => kind,
            None => HeaderKind::Other,
        }
    }

    /// Whether the line holds addresses, which rewriting and `$h_` joining treat apart.
    #[must_use]
    pub fn holds_addresses(self) -> bool {
        match self {
            HeaderKind::Bcc
            | HeaderKind::Cc
            | HeaderKind::From
            | HeaderKind::ReplyTo
            | HeaderKind::Sender
            | HeaderKind::To => true,
            HeaderKind::Other | HeaderKind::Id | HeaderKind::Received | HeaderKind::Deleted => false,
        }
    }
}

/// One header line with its continuations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: HeaderKind,
    /// Name, colon and body, folded as received, ending in LF.
    pub text: Vec<u8>,
}

impl Header {
    /// A line whose kind is found from its name. A missing final LF is added.
    #[must_use]
    pub fn new(text: impl Into<Vec<u8>>) -> Header {
        let mut header = Header { kind: HeaderKind::Other, text: text.into() };
        if header.text.last() != Some(&b'\n') {
            header.text.push(b'\n');
        }
        header.kind = HeaderKind::of_name(header.name());
        header
    }

    /// `Name: body` with a final LF.
    #[must_use]
    pub fn from_parts(name: &[u8], body: &[u8]) -> Header {
        let mut text = Vec::with_capacity(name.len().saturating_add(body.len()).saturating_add(3));
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(body);
        Header::new(text)
    }

    /// The name: what stands before the colon, without white space at its end. Empty without a colon.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let colon = memchr(b':', &self.text).unwrap_or(0);
        self.text.get(..colon).unwrap_or_default().trim_ascii_end()
    }

    /// Everything after the colon, white space and the final LF included.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.text.get(self.body_start()..).unwrap_or_default()
    }

    /// Offset of the body in `text`, for replacements in place.
    #[must_use]
    pub fn body_start(&self) -> usize {
        memchr(b':', &self.text).map_or(0, |colon| colon.saturating_add(1))
    }

    /// The body on one line: line breaks are dropped, white space at the ends too.
    #[must_use]
    pub fn unfolded(&self) -> Vec<u8> {
        self.body().trim_ascii().iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()
    }

    /// Whether the line has this name, in any case, and is not deleted.
    #[must_use]
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.is_live() && name_matches(&self.text, name)
    }

    /// Whether it is part of the message still.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.kind != HeaderKind::Deleted
    }

    /// Whether its name begins with `Resent-`.
    #[must_use]
    pub fn is_resent(&self) -> bool {
        self.text.get(..7).is_some_and(|p| p.eq_ignore_ascii_case(b"resent-"))
    }
}

/// White space between name and colon is obsolete syntax, but readers of mail see through it, so filters must too.
fn name_matches(text: &[u8], name: &[u8]) -> bool {
    let Some((head, rest)) = text.split_at_checked(name.len()) else { return false };
    head.eq_ignore_ascii_case(name) && rest.iter().find(|&&b| b != b' ' && b != b'\t') == Some(&b':')
}

/// Whether a text can be a header name: printing characters except colon (RFC 5322 section 2.2).
#[must_use]
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() && *b != b':')
}

/// Where an added line goes (manual section 44.24).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// `:at_start:`: before all others.
    AtStart,
    /// `:after_received:`: after the first block of Received: lines.
    AfterReceived,
    /// `:at_start_rfc:`: before the first line that is neither Received: nor Resent-.
    AtStartRfc,
    /// `:at_end:`, and without any word.
    #[default]
    AtEnd,
}

impl Position {
    /// Takes a leading position word off a line to be added.
    #[must_use]
    pub fn take(text: &[u8]) -> (Position, &[u8]) {
        let words: [(&[u8], Position); 4] = [
            (b":at_start_rfc:", Position::AtStartRfc),
            (b":at_start:", Position::AtStart),
            (b":after_received:", Position::AfterReceived),
            (b":at_end:", Position::AtEnd),
        ];
        for (word, position) in words {
            if text.get(..word.len()).is_some_and(|p| p.eq_ignore_ascii_case(word)) {
                return (position, text.get(word.len()..).unwrap_or_default());
            }
        }
        (Position::AtEnd, text)
    }
}

/// The header lines of a message in order, deleted ones among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderList {
    headers: Vec<Header>,
}

impl HeaderList {
    /// No lines.
    #[must_use]
    pub fn new() -> HeaderList {
        HeaderList::default()
    }

    /// All lines, deleted ones included, as the -H file has them.
    #[must_use]
    pub fn all(&self) -> &[Header] {
        &self.headers
    }

    /// All lines, to be changed in place.
    pub fn all_mut(&mut self) -> &mut Vec<Header> {
        &mut self.headers
    }

    /// The lines that travel.
    pub fn iter_live(&self) -> impl DoubleEndedIterator<Item = &Header> + Clone {
        self.headers.iter().filter(|h| h.is_live())
    }

    /// The live lines of a name, in any case.
    pub fn find<'a>(&'a self, name: &'a [u8]) -> impl DoubleEndedIterator<Item = &'a Header> + Clone + 'a {
        self.headers.iter().filter(move |h| h.is_named(name))
    }

    /// The live lines of a kind.
    pub fn of_kind(&self, kind: HeaderKind) -> impl DoubleEndedIterator<Item = &Header> + Clone {
        self.headers.iter().filter(move |h| h.kind == kind && h.is_live())
    }

    /// Whether a live line of the name exists.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).next().is_some()
    }

    /// Adds a line before all others.
    pub fn push_front(&mut self, header: Header) {
        self.headers.insert(0, header);
    }

    /// Adds a line after all others.
    pub fn push_back(&mut self, header: Header) {
        self.headers.push(header);
    }

    /// Adds a line at a place. Several added at the start or after Received: end up in reverse order, as in Exim.
    pub fn add(&mut self, position: Position, header: Header) {
        let at = match position {
            Position::AtStart => 0,
            Position::AtEnd => self.headers.len(),
            Position::AfterReceived => {
                let is_received = |h: &Header| name_matches(&h.text, b"received");
                let first = self.headers.iter().position(|h| h.is_live() && is_received(h)).unwrap_or(0);
                let block = self.headers.iter().skip(first).take_while(|h| is_received(h)).count();
                first.saturating_add(block)
            }
            Position::AtStartRfc => {
                let is_received = |h: &Header| name_matches(&h.text, b"received");
                // What has been put at the very start stays there.
                let first = self.headers.iter().position(|h| h.is_live() && is_received(h)).unwrap_or(0);
                let mut rest = self.headers.iter().skip(first);
                let ahead = rest.position(|h| h.is_live() && !h.is_resent() && !is_received(h));
                ahead.map_or(self.headers.len(), |ahead| first.saturating_add(ahead))
            }
        };
        self.headers.insert(at, header);
    }

    /// Adds a line before the first live line of a name; at the end if there is none.
    pub fn insert_before(&mut self, name: &[u8], header: Header) {
        let at = self.headers.iter().position(|h| h.is_named(name)).unwrap_or(self.headers.len());
        self.headers.insert(at, header);
    }

    /// Adds a line after the last live line of a name; at the end if there is none.
    pub fn insert_after(&mut self, name: &[u8], header: Header) {
        let last = self.headers.iter().rposition(|h| h.is_named(name));
        let at = last.map_or(self.headers.len(), |n| n.saturating_add(1));
        self.headers.insert(at, header);
    }

    /// Deletes the `nth` live line of a name, counted from 1; 0 means all. Returns how many were deleted.
    pub fn mark_deleted(&mut self, name: &[u8], nth: usize) -> usize {
        let mut seen = 0_usize;
        let mut deleted = 0_usize;
        for header in &mut self.headers {
            if header.is_named(name) {
                seen = seen.saturating_add(1);
                if nth == 0 || nth == seen {
                    header.kind = HeaderKind::Deleted;
                    deleted = deleted.saturating_add(1);
                }
            }
        }
        deleted
    }

    /// Replaces the text of the line at an index of `all`: the old one stays before it, marked deleted.
    pub fn replace(&mut self, index: usize, text: impl Into<Vec<u8>>) {
        let Some(old) = self.headers.get_mut(index) else { return };
        let kind = old.kind;
        old.kind = HeaderKind::Deleted;
        let mut new = Header::new(text);
        new.kind = kind;
        self.headers.insert(index.saturating_add(1), new);
    }

    /// Whether the message was resent: a live `Resent-` line exists (manual section 48.5).
    #[must_use]
    pub fn has_resent(&self) -> bool {
        self.headers.iter().any(|h| h.is_live() && h.is_resent())
    }

    /// Sets the kind of every live line from its name; of the two sorts of Message-Id only one counts, and of several lines the first.
    pub fn classify(&mut self) {
        let has_resent = self.has_resent();
        let mut has_id = false;
        for header in self.headers.iter_mut().filter(|h| h.is_live()) {
            let kind = HeaderKind::of_name(header.name());
            let wrong_id = kind == HeaderKind::Id && (has_id || header.is_resent() != has_resent);
            has_id |= kind == HeaderKind::Id && !wrong_id;
            header.kind = if wrong_id { HeaderKind::Other } else { kind };
        }
    }

    /// Bytes of the live lines.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.iter_live().map(|h| h.text.len()).sum()
    }

    /// Physical lines of the live lines.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.iter_live().map(|h| memchr::memchr_iter(b'\n', &h.text).count()).sum()
    }
}

impl FromIterator<Header> for HeaderList {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> HeaderList {
        HeaderList { headers: headers.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: &[&str]) -> HeaderList {
        let mut list: HeaderList = lines.iter().map(|l| Header::new(l.as_bytes())).collect();
        list.classify();
        list
    }

    fn names(list: &HeaderList) -> String {
        let names: Vec<String> =
            list.iter_live().map(|h| String::from_utf8(h.name().to_vec()).unwrap()).collect();
        names.join(" ")
    }

    #[test]
    fn kinds_are_those_of_the_spool() {
        let list = list(&[
            "Bcc: a",
            "cc: b",
            "from: c",
            "Message-id: <x>",
            "received: x",
            "Reply-to: x",
            "sender: d",
            "To: t",
            "Subject: s",
            "Resent-From: b",
            "Resent-Message-Id: <z>",
            "resent-reply-to: x",
            "Date : x",
        ]);
        let letters: String = list.all().iter().map(|h| char::from(h.kind.letter())).collect();
        assert_eq!(letters, "BCF PRST FI  ");
        for letter in b" BCFIPRST*" {
            assert_eq!(HeaderKind::from_letter(*letter).unwrap().letter(), *letter);
        }
        assert_eq!(HeaderKind::from_letter(b'X'), None);
    }

    #[test]
    fn without_resent_lines_the_plain_message_id_counts() {
        assert_eq!(list(&["Message-ID: <x>"]).all()[0].kind, HeaderKind::Id);
    }

    #[test]
    fn names_and_bodies() {
        let header = Header::new(b"Subject : a\n b \n".to_vec());
        assert_eq!(header.name(), b"Subject");
        assert_eq!(header.body(), b" a\n b \n");
        assert_eq!(header.unfolded(), b"a b");
        assert!(header.is_named(b"SUBJECT") && !header.is_named(b"SUB"));
        assert!(
            is_valid_name(b"X-A") && !is_valid_name(b"X A") && !is_valid_name(b"") && !is_valid_name(b"a:")
        );
    }

    #[test]
    fn places_of_added_lines() {
        let base = ["Received: 1", "Received: 2", "Resent-To: x", "To: y", "Received: 3"];
        for (position, expected) in [
            (Position::AtStart, "N Received Received Resent-To To Received"),
            (Position::AfterReceived, "Received Received N Resent-To To Received"),
            (Position::AtStartRfc, "Received Received Resent-To N To Received"),
            (Position::AtEnd, "Received Received Resent-To To Received N"),
        ] {
            let mut list = list(&base);
            list.add(position, Header::new(b"N: n".to_vec()));
            assert_eq!(names(&list), expected);
        }
        assert_eq!(Position::take(b":after_received:X: y"), (Position::AfterReceived, b"X: y".as_slice()));
        assert_eq!(Position::take(b"X: y"), (Position::AtEnd, b"X: y".as_slice()));
    }

    #[test]
    fn deleting_counts_live_lines() {
        let mut list = list(&["A: 1", "a: 2", "A: 3", "B: x"]);
        assert_eq!(list.mark_deleted(b"A", 2), 1);
        assert_eq!(list.mark_deleted(b"A", 2), 1);
        assert_eq!(list.find(b"a").map(|h| h.unfolded()).collect::<Vec<_>>(), vec![b"1".to_vec()]);
        assert_eq!(list.mark_deleted(b"a", 0), 1);
        assert_eq!(names(&list), "B");
        assert_eq!(list.size_bytes(), 5);
    }

    #[test]
    fn a_replaced_line_stays_behind_its_successor() {
        let mut list = list(&["To: a", "X: y"]);
        list.replace(0, b"To: a@b".to_vec());
        assert_eq!(list.all()[0].kind, HeaderKind::Deleted);
        assert_eq!(list.all()[1], Header { kind: HeaderKind::To, text: b"To: a@b\n".to_vec() });
    }
}
