//! A message as the spool keeps it: envelope, what is known of its arrival, header lines, body.
//!
//! The fields are those of Exim's -H file (manual chapter 57); `files` turns them into its text and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use oxim_base::clock::Stamp;
use oxim_base::{Taint, Text};
pub use oxim_mail::dsn::{Notify as NotifyFlags, Return as Ret};
use oxim_mail::header::HeaderList;
use oxim_mail::message_id::MessageId;

/// The host that sent the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderHost {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 if unknown.
    pub port: u16,
    /// Its name, if it was looked up.
    pub name: Option<Vec<u8>>,
    /// The look-up of the name failed for good.
    pub lookup_failed: bool,
    /// The look-up of the name could not be completed.
    pub lookup_deferred: bool,
}

impl SenderHost {
    /// A host of which nothing but the address is known.
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> SenderHost {
        SenderHost { address, port, name: None, lookup_failed: false, lookup_deferred: false }
    }
}

/// What is known of the encryption of the connection on which the message came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRecord {
    /// The cipher suite as `$tls_in_cipher` shows it.
    pub cipher: Option<Vec<u8>>,
    /// The protocol version as `$tls_in_ver` shows it.
    pub version: Option<Vec<u8>>,
    /// The distinguished name of the client's certificate.
    pub peer_dn: Option<Vec<u8>>,
    /// The client's certificate, PEM.
    pub peer_certificate: Option<Vec<u8>>,
    /// Our certificate, PEM.
    pub our_certificate: Option<Vec<u8>>,
    /// The server name that the client asked for.
    pub sni: Option<Vec<u8>>,
    /// The client's certificate was verified.
    pub verified: bool,
    /// `$tls_in_ocsp`, 0 if not requested.
    pub ocsp: u8,
    /// The bits of `$tls_in_resumption`.
    pub resumption: u8,
}

/// One envelope recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The address, without angle brackets.
    pub address: Vec<u8>,
    /// A special envelope sender, from a `one_time` redirection.
    pub errors_to: Option<Vec<u8>>,
    /// Index of the recipient that a `one_time` redirection replaced by this one.
    pub parent: Option<usize>,
    /// NOTIFY.
    pub dsn_notify: NotifyFlags,
    /// ORCPT, type and xtext address as received.
    pub orcpt: Option<Vec<u8>>,
}

impl Recipient {
    /// A recipient without further wishes.
    #[must_use]
    pub fn new(address: impl Into<Vec<u8>>) -> Recipient {
        Recipient { address: address.into(), ..Recipient::default() }
    }
}

/// What Exim's -H file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The id, in either form.
    pub id: MessageId,
    /// Login name of the process that received it.
    pub login: Vec<u8>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Envelope sender; empty for bounce messages.
    pub sender: Vec<u8>,
    /// When it began to arrive.
    pub received: Stamp,
    /// How long its reception took, in microseconds.
    pub received_micros_taken: Option<u64>,
    /// How many warnings about its delay were sent.
    pub warnings_sent: u32,
    /// `$received_protocol`.
    pub protocol: Option<Vec<u8>>,
    /// The client; None for local submissions.
    pub host: Option<SenderHost>,
    /// What the client said in HELO or EHLO.
    pub helo_name: Option<Vec<u8>>,
    /// `$sender_ident`.
    pub ident: Option<Vec<u8>>,
    /// The local address and port.
    pub interface: Option<SocketAddr>,
    /// `$authenticated_id`.
    pub auth_id: Option<Vec<u8>>,
    /// `$authenticated_sender`.
    pub auth_sender: Option<Vec<u8>>,
    /// `$sender_host_authenticated`: the authenticator's name.
    pub authenticator: Option<Vec<u8>>,
    /// The authenticator's public name.
    pub authenticator_public_name: Option<Vec<u8>>,
    /// From a local sender.
    pub is_local: bool,
    /// A bounce message made here.
    pub local_error: bool,
    /// The sender was set by an untrusted local caller.
    pub sender_set_untrusted: bool,
    /// Unqualified recipients may stand in header lines.
    pub allow_unqualified_recipient: bool,
    /// Unqualified senders may stand in header lines.
    pub allow_unqualified_sender: bool,
    /// `-N`: deliveries are only pretended.
    pub dont_deliver: bool,
    /// No delivery was tried yet.
    pub first_delivery: bool,
    /// Thawed by an explicit command.
    pub manual_thaw: bool,
    /// When it was frozen, seconds since 1970.
    pub frozen: Option<i64>,
    /// ACL connection variables, by what follows `acl_c` in their name.
    pub acl_c: BTreeMap<Vec<u8>, Text>,
    /// ACL message variables, by what follows `acl_m` in their name.
    pub acl_m: BTreeMap<Vec<u8>, Text>,
    /// TLS facts.
    pub tls: Option<TlsRecord>,
    /// `$body_linecount`.
    pub body_lines: u64,
    /// `$body_zerocount`.
    pub body_zeros: u64,
    /// `$max_received_linelength`.
    pub max_line: u64,
    /// `$smtp_active_hostname`, where it differs from the primary host name.
    pub active_hostname: Option<Vec<u8>>,
    /// The envelope or header may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// `control = utf8_downconvert`: 1 always, -1 if needed.
    pub utf8_downconvert: Option<i8>,
    /// RET.
    pub dsn_ret: Option<Ret>,
    /// ENVID, in xtext.
    pub dsn_envid: Option<Vec<u8>>,
    /// `$local_scan_data`.
    pub local_scan_data: Option<Vec<u8>>,
    /// `$spam_bar`.
    pub spam_bar: Option<Vec<u8>>,
    /// `$spam_score`.
    pub spam_score: Option<Vec<u8>>,
    /// `$spam_score_int`.
    pub spam_score_int: Option<Vec<u8>>,
    /// Its -D file has CR LF line ends (`spool_wireformat`, written by Exim). `Body` never shows them.
    pub wireformat: bool,
    /// Addresses that must not be delivered to (again).
    pub non_recipients: BTreeSet<Vec<u8>>,
    /// All original recipients, those already delivered to included.
    pub recipients: Vec<Recipient>,
    /// The header lines, deleted ones included.
    pub headers: HeaderList,
    /// The named queue; empty for the default one. Not part of the -H file: the directory tells.
    pub queue_name: Vec<u8>,
    /// `-name` lines that this program does not know, kept as they are.
    pub unknown: Vec<Vec<u8>>,
}

impl Message {
    /// An empty message: no sender, no recipients, no header.
    #[must_use]
    pub fn new(id: MessageId) -> Message {
        Message {
            id,
            login: Vec::new(),
            uid: 0,
            gid: 0,
            sender: Vec::new(),
            received: Stamp::default(),
            received_micros_taken: None,
            warnings_sent: 0,
            protocol: None,
            host: None,
            helo_name: None,
            ident: None,
            interface: None,
            auth_id: None,
            auth_sender: None,
            authenticator: None,
            authenticator_public_name: None,
            is_local: false,
            local_error: false,
            sender_set_untrusted: false,
            allow_unqualified_recipient: false,
            allow_unqualified_sender: false,
            dont_deliver: false,
            first_delivery: true,
            manual_thaw: false,
            frozen: None,
            acl_c: BTreeMap::new(),
            acl_m: BTreeMap::new(),
            tls: None,
            body_lines: 0,
            body_zeros: 0,
            max_line: 0,
            active_hostname: None,
            smtputf8: false,
            utf8_downconvert: None,
            dsn_ret: None,
            dsn_envid: None,
            local_scan_data: None,
            spam_bar: None,
            spam_score: None,
            spam_score_int: None,
            wireformat: false,
            non_recipients: BTreeSet::new(),
            recipients: Vec::new(),
            headers: HeaderList::new(),
            queue_name: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Whether nothing must be delivered to this address (again).
    #[must_use]
    pub fn is_done(&self, address: &[u8]) -> bool {
        self.non_recipients.contains(address)
    }

    /// The value of a `-name value` line that has no field of its own, with its taint. For features that are rows.
    #[must_use]
    pub fn extra(&self, name: &[u8]) -> Option<Text> {
        self.unknown.iter().find_map(|line| {
            let (taint, rest) = match line.strip_prefix(b"--") {
                Some(rest) => (Taint::Tainted, rest),
                None => (Taint::Clean, line.strip_prefix(b"-")?),
            };
            let value = rest.strip_prefix(name)?;
            match value.split_first() {
                None => Some(Text::with_taint(Vec::new(), taint)),
                Some((b' ', value)) => Some(Text::with_taint(value, taint)),
                Some(_) => None,
            }
        })
    }

    /// Sets, or with None removes, a line that has no field of its own. Control characters become spaces.
    pub fn set_extra(&mut self, name: &[u8], value: Option<&Text>) {
        self.unknown.retain(|line| {
            let rest = line.strip_prefix(b"--").or_else(|| line.strip_prefix(b"-")).unwrap_or(line);
            rest.split(|b| *b == b' ').next() != Some(name)
        });
        if let Some(value) = value {
            let mut line: Vec<u8> = if value.is_foreign() { b"--".to_vec() } else { b"-".to_vec() };
            line.extend_from_slice(name);
            line.push(b' ');
            line.extend(value.as_bytes().iter().map(|&b| if b < b' ' { b' ' } else { b }));
            self.unknown.push(line);
        }
    }

    /// Bytes of header and body as log lines count them (`S=`): live header lines, an empty line, the body.
    #[must_use]
    pub fn size_with(&self, body_bytes: u64) -> u64 {
        let header = u64::try_from(self.headers.size_bytes()).unwrap_or(u64::MAX);
        header.saturating_add(1).saturating_add(body_bytes)
    }
}

/// The body of a message, lines ended by LF. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Body {
    /// Held in memory.
    Memory(Bytes),
    /// Part of a file.
    File {
        /// The file; read at offsets, so its position does not matter.
        file: Arc<File>,
        /// Where the body starts.
        start: u64,
        /// How long it is.
        len: u64,
    },
}

impl Default for Body {
    fn default() -> Body {
        Body::Memory(Bytes::new())
    }
}

impl Body {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Body::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Body::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from the start.
    #[must_use]
    pub fn reader(&self) -> BodyReader {
        BodyReader { body: self.clone(), at: 0 }
    }

    /// The first `count` bytes, or fewer if there are no more.
    ///
    /// # Errors
    /// What reading the file gives.
    pub fn head(&self, count: usize) -> io::Result<Vec<u8>> {
        self.range(0, count)
    }

    /// The last `count` bytes, or fewer if there are no more.
    ///
    /// # Errors
    /// What reading the file gives.
    pub fn tail(&self, count: usize) -> io::Result<Vec<u8>> {
        self.range(self.len().saturating_sub(u64::try_from(count).unwrap_or(u64::MAX)), count)
    }

    /// Everything; no copy if it is in memory.
    ///
    /// # Errors
    /// What reading the file gives.
    pub fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Body::Memory(bytes) => Ok(bytes.clone()),
            Body::File { len, .. } => {
                self.range(0, usize::try_from(*len).unwrap_or(usize::MAX)).map(Bytes::from)
            }
        }
    }

    fn range(&self, from: u64, count: usize) -> io::Result<Vec<u8>> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        let mut out = Vec::with_capacity(count.min(usize::try_from(self.len()).unwrap_or(usize::MAX)));
        BodyReader { body: self.clone(), at: from }.take(limit).read_to_end(&mut out)?;
        Ok(out)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Body::Memory(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                for (to, from) in buffer.iter_mut().zip(rest) {
                    *to = *from;
                }
                Ok(count)
            }
            Body::File { file, start, len } => {
                let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
                file.read_at(buffer.get_mut(..left).unwrap_or_default(), start.saturating_add(at))
            }
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::Memory(Bytes::from(bytes))
    }
}

/// Reads a body from front to back.
#[derive(Debug)]
pub struct BodyReader {
    body: Body,
    at: u64,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read_at(self.at, buffer)?;
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bodies_read_alike_from_memory_and_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"ID-D\nline 1\nline 2\nnot this").unwrap();
        let in_file = Body::File { file: Arc::new(file), start: 5, len: 14 };
        for body in [in_file, Body::from(b"line 1\nline 2\n".to_vec())] {
            assert_eq!(body.len(), 14);
            assert_eq!(body.bytes().unwrap().as_ref(), b"line 1\nline 2\n");
            assert_eq!(body.head(4).unwrap(), b"line");
            assert_eq!(body.tail(4).unwrap(), b"e 2\n");
            assert_eq!(body.tail(100).unwrap().len(), 14);
        }
    }

    #[test]
    fn extra_lines_are_found_set_and_removed() {
        let mut message = Message::new(MessageId::parse(b"1xUbQf-0004m8-18").unwrap());
        message.unknown.push(b"--bmi_verdicts abc:d".to_vec());
        assert_eq!(message.extra(b"bmi_verdicts"), Some(Text::tainted("abc:d")));
        assert_eq!(message.extra(b"bmi"), None);
        message.set_extra(b"bmi_verdicts", Some(&Text::clean("x\ny")));
        assert_eq!(message.unknown, vec![b"-bmi_verdicts x y".to_vec()]);
        message.set_extra(b"bmi_verdicts", None);
        assert!(message.unknown.is_empty());
    }
}
