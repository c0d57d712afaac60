//! Messages on the wire: CR LF, dot-stuffing, and the end of the data (RFC 5321 section 4.5.2, manual section 48.2).
//!
//! `Receiver` turns what arrives into stored form, where lines end in LF; `Sender` goes the other way. Both take
//! chunks that end anywhere and carry no buffer. Nothing fails: what is irregular is made regular and counted.
//!
//! Against smuggling, these hold: over the network the data ends at CR LF . CR LF and nowhere else; a dot after a
//! bare CR, or after a bare LF where lines end in CR LF, is never taken off; what is sent has no CR without LF, no
//! LF without CR, and no line beginning with an unstuffed dot.

use memchr::{memchr2, memchr3};

/// What ends the data, and what becomes of dots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA over a network: only CR LF . CR LF ends it; leading dots are taken off.
    Network,
    /// DATA on standard input (`-bs`, `-bS`): where lines end in LF from the first one on, LF . LF ends it as well.
    Local,
    /// A message on standard input (`-bm` without `-i`): a line of one dot ends it, other dots stay.
    DotLine,
    /// The end of input ends it (`-bm -i`): dots have no meaning.
    Counted,
    /// BDAT: as `Counted`, and a header line must not end in a bare LF.
    Chunks,
}

/// How the first line of the message ended, which decides what a bare LF is in the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnding {
    /// No line has ended yet.
    Unknown,
    /// CR LF: a bare LF is irregular.
    CrLf,
    /// LF: the source writes Unix lines.
    Lf,
}

/// The two parts of a message, in which bare CR and LF are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Up to the empty line; `feed` stops after each line.
    Header,
    /// The rest.
    Body,
}

/// Why `feed` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// All input is used up.
    NeedMore,
    /// A header line, or a line of the body, is complete: only in `Section::Header`.
    Line,
    /// The data ended. Input that was not consumed is the next command.
    End,
}

/// What was seen on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes taken from the input, end marker included.
    pub received_bytes: u64,
    /// Bytes of stored form given out.
    pub stored_bytes: u64,
    /// Lines of the body in stored form.
    pub body_lines: u64,
    /// Binary zeros in the body.
    pub body_zeros: u64,
    /// Longest line received, in bytes without its ending.
    pub line_bytes_max: u64,
    /// CR without LF after it.
    pub bare_cr: u64,
    /// LF without CR before it, in a message whose first line ended in CR LF.
    pub bare_lf: u64,
}

/// Where in a line the receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line; a dot here is special. `regular`: the line before ended in CR LF.
    Start { regular: bool },
    /// Anywhere else; also after a bare CR or LF that was replaced.
    Inside,
    /// After CR.
    Cr,
    /// After a dot at the start of a line, not given out yet.
    Dot { regular: bool },
    /// After dot and CR.
    DotCr { regular: bool },
    /// After the end.
    Ended,
}

/// Turns the data of one message into stored form.
#[derive(Clone, Debug)]
pub struct Receiver {
    framing: Framing,
    section: Section,
    ending: LineEnding,
    state: State,
    line_bytes: u64,
    /// The last byte given out was a line ending, or there was none.
    at_line_end: bool,
    /// A header line ended in a bare LF in `Framing::Chunks`.
    header_bare_lf: bool,
    counts: Counts,
}

impl Receiver {
    /// A receiver before the first byte of a message, in the header.
    #[must_use]
    pub fn new(framing: Framing) -> Receiver {
        Receiver {
            framing,
            section: Section::Header,
            ending: LineEnding::Unknown,
            state: State::Start { regular: true },
            line_bytes: 0,
            at_line_end: true,
            header_bare_lf: false,
            counts: Counts::default(),
        }
    }

    /// Says that the header is over.
    pub fn enter_body(&mut self) {
        self.section = Section::Body;
    }

    /// Which part of the message is being received.
    #[must_use]
    pub fn section(&self) -> Section {
        self.section
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How the lines of this message end.
    #[must_use]
    pub fn line_ending(&self) -> LineEnding {
        self.ending
    }

    /// Whether a header line ended in LF without CR (BDAT refuses such a message with 552).
    #[must_use]
    pub fn header_had_bare_lf(&self) -> bool {
        self.header_bare_lf
    }

    /// Counts lines and zeros of a line that was received as header but belongs to the body.
    pub fn count_as_body(&mut self, line: &[u8]) {
        let count = |byte| u64::try_from(memchr::memchr_iter(byte, line).count()).unwrap_or(0);
        self.counts.body_lines = self.counts.body_lines.saturating_add(count(b'\n'));
        self.counts.body_zeros = self.counts.body_zeros.saturating_add(count(0));
    }

    /// Takes input, appends its stored form to `out`, and says how much was used and why it stopped.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Event) {
        out.reserve(input.len().saturating_add(1));
        let before = out.len();
        let mut rest = input;
        let event = loop {
            if self.state == State::Ended {
                break Event::End;
            }
            let Some((&byte, tail)) = rest.split_first() else { break Event::NeedMore };
            if matches!(self.state, State::Inside)
                || (matches!(self.state, State::Start { .. }) && byte != b'.')
            {
                rest = self.run(rest, out);
            } else {
                rest = if self.special(byte, out) { tail } else { rest };
            }
            if self.section == Section::Header && matches!(self.state, State::Start { .. }) {
                break Event::Line;
            }
        };
        let used = input.len().saturating_sub(rest.len());
        let add = |count: u64, n: usize| count.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        self.counts.received_bytes = add(self.counts.received_bytes, used);
        self.counts.stored_bytes = add(self.counts.stored_bytes, out.len().saturating_sub(before));
        (used, event)
    }

    /// The input is over: completes a last line that has no ending. For `Counted`, `Chunks` and `DotLine`;
    /// in the others an end of input before the end of the data is a lost connection.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.state {
            State::Cr => self.bare_cr(out, Section::Body),
            State::Start { .. } | State::Inside | State::Ended => {}
            State::Dot { .. } | State::DotCr { .. } => {
                if self.framing == Framing::DotLine {
                    self.give(out, b".");
                }
            }
        }
        if !self.at_line_end {
            self.line_end(out);
        }
        self.state = State::Ended;
    }

    /// Takes ordinary bytes up to and with the next line ending. Returns what is left of the input.
    fn run<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut rest = input;
        loop {
            let length = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            let (plain, tail) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if !plain.is_empty() {
                self.give(out, plain);
            }
            match tail {
                [] => return tail,
                [b'\r', b'\n', tail @ ..] => {
                    self.regular_end(out);
                    rest = tail;
                }
                [b'\r', tail @ ..] => {
                    self.state = State::Cr;
                    return tail;
                }
                [b'\n', tail @ ..] => {
                    self.line_feed(out);
                    rest = tail;
                }
                [zero, tail @ ..] => {
                    if self.section == Section::Body {
                        self.counts.body_zeros = self.counts.body_zeros.saturating_add(1);
                    }
                    self.give(out, &[*zero]);
                    rest = tail;
                }
            }
            let stop = match self.state {
                State::Start { .. } => self.section == Section::Header || rest.first() == Some(&b'.'),
                State::Inside => false,
                State::Cr | State::Dot { .. } | State::DotCr { .. } | State::Ended => true,
            };
            if stop {
                return rest;
            }
        }
    }

    /// Takes one byte where its meaning hangs on those before it. False if it must be looked at again.
    fn special(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        match (self.state, byte) {
            (State::Start { regular }, _) => {
                // Only a dot comes here.
                if matches!(self.framing, Framing::Counted | Framing::Chunks) {
                    self.give(out, &[byte]);
                } else {
                    self.state = State::Dot { regular };
                }
                true
            }
            (State::Cr, b'\n') => {
                self.regular_end(out);
                true
            }
            (State::Cr, _) => {
                self.bare_cr(out, self.section);
                false
            }
            (State::Dot { regular }, b'\r') => {
                self.state = State::DotCr { regular };
                true
            }
            (State::Dot { .. }, b'\n') => {
                if self.line_feed_ends() {
                    self.state = State::Ended;
                } else {
                    self.line_feed(out);
                }
                true
            }
            (State::Dot { .. }, _) => {
                self.state = State::Inside;
                if self.framing == Framing::DotLine {
                    self.give(out, b".");
                }
                // A second dot is an ordinary byte now.
                false
            }
            (State::DotCr { regular }, b'\n') => {
                if regular || self.framing != Framing::Network {
                    self.state = State::Ended;
                } else {
                    self.regular_end(out);
                }
                true
            }
            (State::DotCr { .. }, _) => {
                if self.framing == Framing::DotLine {
                    self.give(out, b".");
                }
                self.bare_cr(out, self.section);
                false
            }
            (State::Inside | State::Ended, _) => true,
        }
    }

    /// Whether LF after a dot at the start of a line ends the data.
    fn line_feed_ends(&self) -> bool {
        match self.framing {
            Framing::Network | Framing::Counted | Framing::Chunks => false,
            Framing::Local => self.ending == LineEnding::Lf,
            Framing::DotLine => true,
        }
    }

    fn give(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend_from_slice(bytes);
        self.line_bytes = self.line_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
        self.at_line_end = false;
        self.state = State::Inside;
    }

    /// Writes a stored line ending and counts the line.
    fn line_end(&mut self, out: &mut Vec<u8>) {
        out.push(b'\n');
        self.at_line_end = true;
        self.counts.line_bytes_max = self.counts.line_bytes_max.max(self.line_bytes);
        self.line_bytes = 0;
        if self.section == Section::Body {
            self.counts.body_lines = self.counts.body_lines.saturating_add(1);
        }
    }

    /// CR LF.
    fn regular_end(&mut self, out: &mut Vec<u8>) {
        if self.ending == LineEnding::Unknown {
            self.ending = LineEnding::CrLf;
        }
        self.line_end(out);
        self.state = State::Start { regular: true };
    }

    /// CR without LF: ends a line, but never the header and never for the sake of a dot.
    fn bare_cr(&mut self, out: &mut Vec<u8>, section: Section) {
        self.counts.bare_cr = self.counts.bare_cr.saturating_add(1);
        self.line_end(out);
        if section == Section::Header {
            out.push(b' ');
            self.at_line_end = false;
        }
        self.state = State::Inside;
    }

    /// LF without CR.
    fn line_feed(&mut self, out: &mut Vec<u8>) {
        self.header_bare_lf |= self.framing == Framing::Chunks && self.section == Section::Header;
        match (self.ending, self.section) {
            (LineEnding::Unknown | LineEnding::Lf, _) => {
                self.ending = LineEnding::Lf;
                self.line_end(out);
                self.state = State::Start { regular: false };
            }
            (LineEnding::CrLf, section) => {
                self.counts.bare_lf = self.counts.bare_lf.saturating_add(1);
                match section {
                    Section::Header => {
                        self.line_end(out);
                        out.push(b' ');
                        self.at_line_end = false;
                        self.state = State::Inside;
                    }
                    Section::Body => match self.framing {
                        Framing::Network | Framing::Local => self.give(out, b" "),
                        // What is not SMTP cannot smuggle SMTP: a line ending is harmless.
                        Framing::DotLine | Framing::Counted | Framing::Chunks => {
                            self.line_end(out);
                            self.state = State::Start { regular: false };
                        }
                    },
                }
            }
        }
    }
}

/// Turns stored form into what travels.
#[derive(Clone, Debug)]
pub struct Sender {
    stuffs_dots: bool,
    at_line_start: bool,
    after_cr: bool,
    line_bytes: u64,
    line_bytes_max: u64,
}

impl Sender {
    /// For DATA: with dot-stuffing and the end marker.
    #[must_use]
    pub fn for_data() -> Sender {
        Sender { stuffs_dots: true, at_line_start: true, after_cr: false, line_bytes: 0, line_bytes_max: 0 }
    }

    /// For BDAT: neither.
    #[must_use]
    pub fn for_chunks() -> Sender {
        Sender { stuffs_dots: false, ..Sender::for_data() }
    }

    /// Longest line sent so far, in bytes without CR LF and without a stuffed dot.
    #[must_use]
    pub fn line_bytes_max(&self) -> u64 {
        self.line_bytes_max.max(self.line_bytes)
    }

    /// Appends the wire form of a piece of the stored message. A CR, which no stored line should hold, ends a line.
    pub fn feed(&mut self, stored: &[u8], out: &mut Vec<u8>) {
        // Lines of text are some 60 bytes long; each grows by one.
        out.reserve(stored.len().saturating_add(stored.len() / 32).saturating_add(4));
        let mut rest = stored;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            // The line ending was written for the CR already.
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(&first) = rest.first() {
            if self.at_line_start && self.stuffs_dots && first == b'.' {
                out.push(b'.');
            }
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, tail) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            out.extend_from_slice(line);
            self.line_bytes = self.line_bytes.saturating_add(u64::try_from(line.len()).unwrap_or(0));
            self.at_line_start &= line.is_empty();
            rest = match tail {
                [] => return,
                [b'\r', b'\n', tail @ ..] => tail,
                [ending, tail @ ..] => {
                    self.after_cr = *ending == b'\r' && tail.is_empty();
                    tail
                }
            };
            self.end_line(out);
        }
    }

    /// Completes the last line and, for DATA, writes the end marker.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.at_line_start {
            self.end_line(out);
        }
        if self.stuffs_dots {
            out.extend_from_slice(b".\r\n");
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.at_line_start = true;
        self.line_bytes_max = self.line_bytes_max.max(self.line_bytes);
        self.line_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
