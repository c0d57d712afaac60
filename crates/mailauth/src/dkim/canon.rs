//! Header lines in the form that is hashed (RFC 6376 section 3.4).
//!
//! Lines come as they are kept, with LF at each end, and go out with CRLF.

use super::Canon;

/// Appends a header line. Without `with_end`, its final line end is left out: so the signature's own line is hashed.
pub fn header(canon: Canon, line: &[u8], with_end: bool, out: &mut Vec<u8>) {
    match canon {
        Canon::Simple => {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            for (index, part) in line.split(|b| *b == b'\n').enumerate() {
                if index > 0 {
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(part);
            }
        }
        Canon::Relaxed => relaxed(line, out),
    }
    if with_end {
        out.extend_from_slice(b"\r\n");
    }
}

fn relaxed(line: &[u8], out: &mut Vec<u8>) {
    let at = memchr::memchr(b':', line).unwrap_or(line.len());
    let (name, value) = line.split_at_checked(at).unwrap_or_default();
    out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut has_space = false;
    for byte in value.strip_prefix(b":").unwrap_or_default() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => has_space = true,
            other => {
                if has_space && out.len() > start {
                    out.push(b' ');
                }
                has_space = false;
                out.push(*other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let both = |line: &str| {
            let (mut simple, mut relaxed) = (Vec::new(), Vec::new());
            header(Canon::Simple, line.as_bytes(), true, &mut simple);
            header(Canon::Relaxed, line.as_bytes(), false, &mut relaxed);
            (String::from_utf8(simple).unwrap(), String::from_utf8(relaxed).unwrap())
        };
        // The example of RFC 6376 section 3.4.5.
        assert_eq!(both("A: X\n"), ("A: X\r\n".into(), "a:X".into()));
        assert_eq!(both("B : Y\t\n\tZ  \n"), ("B : Y\t\r\n\tZ  \r\n".into(), "b:Y Z".into()));
        assert_eq!(both("C:\n"), ("C:\r\n".into(), "c:".into()));
    }
}
