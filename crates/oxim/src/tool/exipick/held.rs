//! A message as `exipick` sees it: its spool files, and the values of its variables.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oxim_mail::header::value::{Decoding, joined_value, raw_value};
use oxim_mail::message_id::MessageId;
use oxim_mail::rfc2047;
use oxim_spool::files::header_read;
use oxim_spool::message::Message;

use crate::mode::list_queue;

/// The files of one message.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Source {
    /// -H.
    header_path: Vec<u8>,
    /// What -H holds.
    header: Vec<u8>,
    /// What -J holds.
    done: Vec<u8>,
    /// How long the body is. None: there is no -D.
    body_size: Option<u64>,
}

/// All messages of a directory and of its one-letter directories.
pub(crate) fn sources(directory: &Path) -> io::Result<Vec<Source>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().len() == 1 {
            for inner in fs::read_dir(entry.path()).into_iter().flatten() {
                all.extend(Source::of(&inner?.path()));
            }
        } else {
            all.extend(Source::of(&entry.path()));
        }
    }
    Ok(all)
}

/// Keeps messages in a file, for `thaw`.
pub(crate) fn freeze(file: &Path, sources: &[Source]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(sources).map_err(io::Error::other)?;
    fs::write(file, bytes)
}

/// Reads what `freeze` kept.
pub(crate) fn thaw(file: &Path) -> io::Result<Vec<Source>> {
    postcard::from_bytes(&fs::read(file)?).map_err(io::Error::other)
}

impl Source {
    /// The message of an -H file. None: it is no such file, or gone.
    fn of(path: &Path) -> Option<Source> {
        let stem = path.file_name()?.as_bytes().strip_suffix(b"-H")?;
        let id = MessageId::parse(stem)?;
        let beside = |suffix: &str| path.with_file_name(format!("{id}{suffix}"));
        let header = fs::read(path).ok()?;
        let first_line = u64::try_from(id.as_bytes().len()).unwrap_or(0).saturating_add(3);
        Some(Source {
            header,
            done: fs::read(beside("-J")).unwrap_or_default(),
            body_size: fs::metadata(beside("-D")).ok().map(|m| m.len().saturating_sub(first_line)),
            header_path: path.as_os_str().as_bytes().to_vec(),
        })
    }
}

/// A message and what else is known.
pub(crate) struct Held {
    /// The message; its non-recipients include those of -J.
    pub message: Message,
    source: Source,
    now: i64,
}

impl Held {
    /// Understands the files. The error is what to print.
    pub(crate) fn read(source: Source, now: i64) -> Result<Held, String> {
        let mut message = header_read::read(&source.header)
            .map_err(|error| format!("{}: {error}", String::from_utf8_lossy(&source.header_path)))?;
        message
            .non_recipients
            .extend(source.done.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec));
        Ok(Held { message, source, now })
    }

    /// What messages are sorted by.
    pub(crate) fn arrival(&self) -> (i64, MessageId) {
        (self.message.received.seconds, self.message.id)
    }

    /// Header and body in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.message.size_with(self.source.body_size.unwrap_or(0))
    }

    /// Seconds since it came.
    pub(crate) fn age(&self) -> i64 {
        self.now.saturating_sub(self.message.received.seconds)
    }

    /// The addresses of one of the lists of recipients.
    pub(crate) fn each(&self, list: &str) -> Option<Vec<Vec<u8>>> {
        let message = &self.message;
        let recipients = || message.recipients.iter().map(|r| r.address.clone());
        Some(match list {
            "recipients" => recipients().collect(),
            "recipients_undel" => recipients().filter(|address| !message.is_done(address)).collect(),
            "recipients_del" => message.non_recipients.iter().cloned().collect(),
            _ => return None,
        })
    }

    /// The value of a variable, by its name without the dollar sign. None: it is not defined for this message.
    pub(crate) fn value(&self, name: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.header_value(name) {
            return value;
        }
        self.flag(name)
            .or_else(|| self.number(name).map(|n| n.to_string().into_bytes()))
            .or_else(|| self.text(name))
    }

    /// All variables that are defined, but the body.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = FLAGS
            .iter()
            .chain(NUMBERS)
            .chain(TEXTS)
            .filter(|name| **name != "message_body" && self.value(name).is_some())
            .map(|name| (*name).to_owned())
            .collect();
        names.extend(self.message.acl_c.keys().map(|k| format!("acl_c{}", String::from_utf8_lossy(k))));
        names.extend(self.message.acl_m.keys().map(|k| format!("acl_m{}", String::from_utf8_lossy(k))));
        for header in self.message.headers.iter_live() {
            let name = String::from_utf8_lossy(header.name()).to_lowercase();
            names.extend(["header_", "bheader_", "rheader_"].map(|prefix| format!("{prefix}{name}")));
        }
        names.sort();
        names.dedup();
        names
    }

    /// `header_x` and its kin. None: it is no such name.
    fn header_value(&self, name: &str) -> Option<Option<Vec<u8>>> {
        let (kind, header) =
            ["bheader_", "rheader_", "header_", "bh_", "rh_", "h_"].iter().find_map(|prefix| {
                name.strip_prefix(prefix).map(|header| (*prefix, header.trim_end_matches(':')))
            })?;
        let headers = &self.message.headers;
        Some(match kind {
            "rheader_" | "rh_" => raw_value(headers, header.as_bytes()),
            _ => joined_value(headers, header.as_bytes(), Decoding::Charset { target: b"UTF-8" }, false),
        })
    }

    fn flag(&self, name: &str) -> Option<Vec<u8>> {
        let message = &self.message;
        let host = message.host.as_ref();
        let told = |is: bool| is.then(|| b"1".to_vec());
        match name {
            "allow_unqualified_recipient" => told(message.allow_unqualified_recipient),
            "allow_unqualified_sender" => told(message.allow_unqualified_sender),
            "deliver_freeze" => told(message.frozen.is_some()),
            "deliver_firsttime" | "first_delivery" => told(message.first_delivery),
            "dont_deliver" => told(message.dont_deliver),
            "local_error_message" => told(message.local_error),
            "manually_thawed" => told(message.manual_thaw),
            "message_body_missing" => told(self.source.body_size.is_none()),
            "sender_local" => told(message.is_local),
            "sender_set_untrusted" => told(message.sender_set_untrusted),
            // These three are always there.
            "host_lookup_deferred" => Some(digit(host.is_some_and(|h| h.lookup_deferred))),
            "host_lookup_failed" => Some(digit(host.is_some_and(|h| h.lookup_failed))),
            "tls_certificate_verified" => Some(digit(message.tls.as_ref().is_some_and(|t| t.verified))),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<i64> {
        let message = &self.message;
        let count = |list: &str| self.each(list).map(|all| all.len());
        let small = |n: usize| i64::try_from(n).ok();
        let large = |n: u64| i64::try_from(n).ok();
        match name {
            "body_linecount" => large(message.body_lines),
            "body_zerocount" => large(message.body_zeros),
            "deliver_frozen_at" => message.frozen,
            "max_received_linelength" => large(message.max_line).filter(|n| *n != 0),
            "message_age" => Some(self.age()),
            "message_body_size" => self.source.body_size.and_then(large),
            "message_linecount" => {
                let lines = u64::try_from(message.headers.line_count()).unwrap_or(0);
                large(lines.saturating_add(message.body_lines))
            }
            "message_size" => large(self.size()),
            "originator_gid" => Some(i64::from(message.gid)),
            "originator_uid" => Some(i64::from(message.uid)),
            "received_count" => small(message.headers.find(b"received").count()),
            "received_port" | "interface_port" => message.interface.map(|i| i64::from(i.port())),
            "received_time" => Some(message.received.seconds),
            "recipients_count" => count("recipients").and_then(small),
            "recipients_undel_count" => count("recipients_undel").and_then(small),
            "recipients_del_count" => {
                small(message.recipients.iter().filter(|r| message.is_done(&r.address)).count())
            }
            "sender_host_port" => message.host.as_ref().map(|h| i64::from(h.port)),
            "warning_count" => Some(i64::from(message.warnings_sent)),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<Vec<u8>> {
        let message = &self.message;
        let (host, tls) = (message.host.as_ref(), message.tls.as_ref());
        let (local_part, domain) = match message.sender.iter().rposition(|b| *b == b'@') {
            Some(at) => message.sender.split_at(at),
            None => (message.sender.as_slice(), [].as_slice()),
        };
        match name {
            "authenticated_id" => message.auth_id.clone(),
            "authenticated_sender" => message.auth_sender.clone(),
            "data_path" => Some(self.data_path().into_os_string().into_encoded_bytes()),
            "header_path" => Some(self.source.header_path.clone()),
            "local_scan_data" => message.local_scan_data.clone(),
            "message_body" => self.body(),
            "message_exim_id" | "message_id" => Some(message.id.as_bytes().to_vec()),
            "message_headers" => {
                let raw = self.raw_headers();
                let decoded = rfc2047::decode(&raw, Some(b"UTF-8"), false, rfc2047::Undecodable::KeepBytes)
                    .unwrap_or(raw);
                Some(decoded.strip_suffix(b"\n").unwrap_or(&decoded).to_vec())
            }
            "message_headers_raw" => Some(self.raw_headers()),
            "originator_login" => Some(message.login.clone()),
            "received_ip_address" | "interface_address" => {
                message.interface.map(|i| i.ip().to_string().into_bytes())
            }
            "received_protocol" => message.protocol.clone(),
            "recipients" | "recipients_del" | "recipients_undel" => {
                self.each(name).map(|list| list.join(b", ".as_slice()))
            }
            "reply_address" => {
                let reply = self.value("header_reply-to").filter(|v| !v.is_empty());
                reply.or_else(|| self.value("header_from"))
            }
            "sender_address" => Some(message.sender.clone()),
            "sender_address_domain" => Some(domain.get(1..).unwrap_or_default().to_vec()),
            "sender_address_local_part" => Some(local_part.to_vec()),
            "sender_helo_name" => message.helo_name.clone(),
            "sender_host_address" => host.map(|h| h.address.to_string().into_bytes()),
            "sender_host_authenticated" => message.authenticator.clone(),
            "sender_host_name" => host.and_then(|h| h.name.clone()),
            "sender_ident" => message.ident.clone(),
            "shown_message_size" => Some(list_queue::size(self.size()).trim_start().as_bytes().to_vec()),
            "smtp_active_hostname" => message.active_hostname.clone(),
            "spam_score" => message.spam_score.clone(),
            "spam_score_int" => message.spam_score_int.clone(),
            "tls_cipher" => tls.and_then(|t| t.cipher.clone()),
            "tls_peerdn" => tls.and_then(|t| t.peer_dn.clone()),
            "tls_sni" => tls.and_then(|t| t.sni.clone()),
            "bmi_verdicts" => message.extra(b"bmi_verdicts").map(|t| t.as_bytes().to_vec()),
            _ => {
                let (set, key) = match (name.strip_prefix("acl_c"), name.strip_prefix("acl_m")) {
                    (Some(key), _) => (&message.acl_c, key),
                    (_, Some(key)) => (&message.acl_m, key),
                    _ => return None,
                };
                set.get(key.as_bytes()).map(|text| text.as_bytes().to_vec())
            }
        }
    }

    fn raw_headers(&self) -> Vec<u8> {
        self.message.headers.iter_live().flat_map(|header| header.text.iter().copied()).collect()
    }

    fn data_path(&self) -> PathBuf {
        let header = Path::new(OsStr::from_bytes(&self.source.header_path));
        header.with_file_name(format!("{}-D", self.message.id))
    }

    /// The whole body, newlines and zeros as spaces.
    fn body(&self) -> Option<Vec<u8>> {
        let mut file = fs::File::open(self.data_path()).ok()?;
        let first_line = u64::try_from(self.message.id.as_bytes().len()).ok()?.saturating_add(3);
        file.seek(SeekFrom::Start(first_line)).ok()?;
        let mut body = Vec::new();
        file.read_to_end(&mut body).ok()?;
        body.iter_mut().filter(|b| matches!(**b, b'\n' | 0)).for_each(|b| *b = b' ');
        Some(body)
    }
}

fn digit(is: bool) -> Vec<u8> {
    if is { b"1".to_vec() } else { b"0".to_vec() }
}

const FLAGS: &[&str] = &[
    "allow_unqualified_recipient",
    "allow_unqualified_sender",
    "deliver_firsttime",
    "deliver_freeze",
    "dont_deliver",
    "first_delivery",
    "host_lookup_deferred",
    "host_lookup_failed",
    "local_error_message",
    "manually_thawed",
    "message_body_missing",
    "sender_local",
    "sender_set_untrusted",
    "tls_certificate_verified",
];
const NUMBERS: &[&str] = &[
    "body_linecount",
    "body_zerocount",
    "deliver_frozen_at",
    "interface_port",
    "max_received_linelength",
    "message_age",
    "message_body_size",
    "message_linecount",
    "message_size",
    "originator_gid",
    "originator_uid",
    "received_count",
    "received_port",
    "received_time",
    "recipients_count",
    "recipients_del_count",
    "recipients_undel_count",
    "sender_host_port",
    "warning_count",
];
const TEXTS: &[&str] = &[
    "authenticated_id",
    "authenticated_sender",
    "bmi_verdicts",
    "data_path",
    "header_path",
    "interface_address",
    "local_scan_data",
    "message_body",
    "message_exim_id",
    "message_headers",
    "message_headers_raw",
    "message_id",
    "originator_login",
    "received_ip_address",
    "received_protocol",
    "recipients",
    "recipients_del",
    "recipients_undel",
    "reply_address",
    "sender_address",
    "sender_address_domain",
    "sender_address_local_part",
    "sender_helo_name",
    "sender_host_address",
    "sender_host_authenticated",
    "sender_host_name",
    "sender_ident",
    "shown_message_size",
    "smtp_active_hostname",
    "spam_score",
    "spam_score_int",
    "tls_cipher",
    "tls_peerdn",
    "tls_sni",
];
