//! The language of the pipe: frames of a letter, a length of four bytes (big end first) and so many bytes.
//!
//! A job is either a message (`I F (O? T)* H* B* S`), answered by its verdicts (`v* w* (e | .)`), or a verdict to be read
//! (`R* V`), answered by what it says (`a* d r* t` or `e`, then `.`). Failure modes: a frame that is too long, one that is
//! broken off, an unknown letter, a payload of the wrong shape; all end the conversation.

use std::io::{self, Read, Write};

/// Longest frame, in bytes: a header line may be as long as `header_maxsize` allows, a mebibyte as a rule.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the mail transfer agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The address of the client.
    Client(Vec<u8>),
    /// The envelope sender; empty for a bounce.
    From(Vec<u8>),
    /// The opt-in strings of the recipient that follows, with colons between.
    OptIn(Vec<u8>),
    /// A recipient.
    To(Vec<u8>),
    /// A whole header line with its newline.
    Header(Vec<u8>),
    /// A piece of the body.
    Body(Vec<u8>),
    /// That was the message.
    Scan,
    /// Tell whether this rule fired for the verdict that follows.
    Rule(u32),
    /// Tell what this verdict says.
    Verdict(Vec<u8>),
}

/// Where a verdict sends the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the recipient, as any message.
    Default,
    /// Nowhere.
    Nowhere,
    /// Elsewhere.
    Elsewhere(Vec<u8>),
}

/// What a call of the library has failed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The library's number for the place.
    pub location: u32,
    /// The library's number for the kind.
    pub kind: u32,
    /// What was being done.
    pub what: String,
}

/// What the process with the library answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// The text of a verdict.
    Verdict(Vec<u8>),
    /// Something went wrong that does not stop the scan.
    Warning(Failure),
    /// The job has failed.
    Failed(Failure),
    /// A recipient whom the verdict is about.
    Recipient(Vec<u8>),
    /// Where the verdict sends the message.
    Destination(Destination),
    /// A rule that fired.
    Fired(u32),
    /// The text for the tracker's header line.
    Tracker(Vec<u8>),
    /// That was the answer.
    End,
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn write_frame(out: &mut impl Write, letter: u8, parts: &[&[u8]]) -> io::Result<()> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(total).ok().filter(|_| total <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| invalid("too long for a frame"))?;
    out.write_all(&[letter])?;
    out.write_all(&length.to_be_bytes())?;
    parts.iter().try_for_each(|part| out.write_all(part))
}

/// The next frame; None at an end between frames.
fn read_frame(input: &mut impl Read, bytes_max: usize) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut letter = [0_u8];
    loop {
        match input.read(&mut letter) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut length = [0_u8; 4];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > bytes_max.min(FRAME_BYTES_MAX) {
        return Err(invalid("a frame is too long"));
    }
    // Not reserved at once: the length is only a promise.
    let mut payload = Vec::new();
    let got = input.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut payload)?;
    if got < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((letter.first().copied().unwrap_or_default(), payload)))
}

fn number(payload: &[u8]) -> io::Result<u32> {
    <[u8; 4]>::try_from(payload).map(u32::from_be_bytes).map_err(|_| invalid("not a number"))
}

fn nothing(payload: &[u8]) -> io::Result<()> {
    if payload.is_empty() { Ok(()) } else { Err(invalid("a frame that should be empty")) }
}

impl Ask {
    /// Writes it.
    ///
    /// # Errors
    /// The other end is gone, or it is too long.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Ask::Client(text) => write_frame(out, b'I', &[text]),
            Ask::From(text) => write_frame(out, b'F', &[text]),
            Ask::OptIn(text) => write_frame(out, b'O', &[text]),
            Ask::To(text) => write_frame(out, b'T', &[text]),
            Ask::Header(text) => write_frame(out, b'H', &[text]),
            Ask::Body(bytes) => write_frame(out, b'B', &[bytes]),
            Ask::Scan => write_frame(out, b'S', &[]),
            Ask::Rule(rule) => write_frame(out, b'R', &[&rule.to_be_bytes()]),
            Ask::Verdict(text) => write_frame(out, b'V', &[text]),
        }
    }

    /// Reads one; None at the end.
    ///
    /// # Errors
    /// What came is not a frame.
    pub fn read(input: &mut impl Read) -> io::Result<Option<Ask>> {
        let Some((letter, payload)) = read_frame(input, FRAME_BYTES_MAX)? else { return Ok(None) };
        Ok(Some(match letter {
            b'I' => Ask::Client(payload),
            b'F' => Ask::From(payload),
            b'O' => Ask::OptIn(payload),
            b'T' => Ask::To(payload),
            b'H' => Ask::Header(payload),
            b'B' => Ask::Body(payload),
            b'S' => nothing(&payload).map(|()| Ask::Scan)?,
            b'R' => Ask::Rule(number(&payload)?),
            b'V' => Ask::Verdict(payload),
            _ => return Err(invalid("an unknown frame")),
        }))
    }
}

impl Failure {
    fn parse(payload: &[u8]) -> io::Result<Failure> {
        let (location, rest) = payload.split_at_checked(4).ok_or_else(|| invalid("half a failure"))?;
        let (kind, what) = rest.split_at_checked(4).ok_or_else(|| invalid("half a failure"))?;
        let what = String::from_utf8_lossy(what).into_owned();
        Ok(Failure { location: number(location)?, kind: number(kind)?, what })
    }

    fn write(&self, out: &mut impl Write, letter: u8) -> io::Result<()> {
        let (location, kind) = (self.location.to_be_bytes(), self.kind.to_be_bytes());
        write_frame(out, letter, &[&location, &kind, self.what.as_bytes()])
    }
}

impl Tell {
    /// Writes it.
    ///
    /// # Errors
    /// The other end is gone, or it is too long.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Tell::Verdict(text) => write_frame(out, b'v', &[text]),
            Tell::Warning(failure) => failure.write(out, b'w'),
            Tell::Failed(failure) => failure.write(out, b'e'),
            Tell::Recipient(text) => write_frame(out, b'a', &[text]),
            Tell::Destination(Destination::Default) => write_frame(out, b'd', &[b"d"]),
            Tell::Destination(Destination::Nowhere) => write_frame(out, b'd', &[b"n"]),
            Tell::Destination(Destination::Elsewhere(text)) => write_frame(out, b'd', &[b"e", text]),
            Tell::Fired(rule) => write_frame(out, b'r', &[&rule.to_be_bytes()]),
            Tell::Tracker(text) => write_frame(out, b't', &[text]),
            Tell::End => write_frame(out, b'.', &[]),
        }
    }

    /// Reads one of at most so many bytes. An end is an error: an answer has its own end.
    ///
    /// # Errors
    /// What came is not a frame.
    pub fn read(input: &mut impl Read, bytes_max: usize) -> io::Result<Tell> {
        let frame = read_frame(input, bytes_max)?;
        let (letter, payload) = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(match letter {
            b'v' => Tell::Verdict(payload),
            b'w' => Tell::Warning(Failure::parse(&payload)?),
            b'e' => Tell::Failed(Failure::parse(&payload)?),
            b'a' => Tell::Recipient(payload),
            b'd' => Tell::Destination(match payload.split_first() {
                Some((b'd', [])) => Destination::Default,
                Some((b'n', [])) => Destination::Nowhere,
                Some((b'e', text)) => Destination::Elsewhere(text.to_vec()),
                _ => return Err(invalid("no destination")),
            }),
            b'r' => Tell::Fired(number(&payload)?),
            b't' => Tell::Tracker(payload),
            b'.' => nothing(&payload).map(|()| Tell::End)?,
            _ => return Err(invalid("an unknown frame")),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(ask: &Ask) -> Ask {
        let mut bytes = Vec::new();
        ask.write(&mut bytes).unwrap();
        Ask::read(&mut bytes.as_slice()).unwrap().unwrap()
    }

    fn told(tell: &Tell) -> Tell {
        let mut bytes = Vec::new();
        tell.write(&mut bytes).unwrap();
        Tell::read(&mut bytes.as_slice(), FRAME_BYTES_MAX).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text: Vec<u8>, words: String, number: u32) {
            let asks = [
                Ask::Client(text.clone()), Ask::From(text.clone()), Ask::OptIn(text.clone()), Ask::To(text.clone()),
                Ask::Header(text.clone()), Ask::Body(text.clone()), Ask::Scan, Ask::Rule(number), Ask::Verdict(text.clone()),
            ];
            for ask in asks {
                prop_assert_eq!(asked(&ask), ask);
            }
            let failure = Failure { location: number, kind: 7, what: words };
            let tells = [
                Tell::Verdict(text.clone()), Tell::Warning(failure.clone()), Tell::Failed(failure),
                Tell::Recipient(text.clone()), Tell::Destination(Destination::Default),
                Tell::Destination(Destination::Nowhere), Tell::Destination(Destination::Elsewhere(text.clone())),
                Tell::Fired(number), Tell::Tracker(text), Tell::End,
            ];
            for tell in tells {
                prop_assert_eq!(told(&tell), tell);
            }
        }

        #[test]
        fn nonsense_is_an_error_or_a_frame(bytes: Vec<u8>) {
            let _ask = Ask::read(&mut bytes.as_slice());
            let _tell = Tell::read(&mut bytes.as_slice(), 100);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [
            &b"v\xff\xff\xff\xffabc"[..],
            b"v\0\0\0\x04abc",
            b"v\0\0",
            b"x\0\0\0\0",
            b"d\0\0\0\0",
            b"d\0\0\0\x02dx",
            b"r\0\0\0\x03abc",
            b".\0\0\0\x01.",
            b"e\0\0\0\x07abcdefg",
            b"",
        ] {
            assert!(Tell::read(&mut &bytes[..], FRAME_BYTES_MAX).is_err(), "{bytes:?}");
        }
        assert!(Tell::read(&mut &b"v\0\0\0\x04abcd"[..], 3).is_err());
        assert_eq!(Ask::read(&mut &b""[..]).unwrap(), None);
        assert!(Ask::read(&mut &b"S\0\0\0\x01x"[..]).is_err());
    }
}
