//! Fetches a proof from a responder, and puts it where a server finds it.
//!
//! Only a proof that a server would staple is kept: it is judged like one that came in a handshake, the certificate of its signer
//! included. The file is replaced by a rename, so that whoever reads it finds the old proof or the new one, whole.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Fault, Proof, RESPONSE_BYTES_MAX, Validity, from_pem, request, responders};
use crate::http::{self, HttpError, Limits, Request, Url};
use crate::tls::client::ClientPolicy;
use crate::tls::pem;
use crate::tls::trust::Trust;
use crate::tls::{CaSource, Verify};

/// How long a responder may take for everything.
const FETCH_TIME: Duration = Duration::from_secs(30);

/// What a proof is wanted for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// PEM: the certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// More certificates, among which its issuer may be.
    pub ca: CaSource,
    /// The responder; the one that the certificate names when unset.
    pub url: Option<String>,
}

/// A proof that is good now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The response.
    pub der: Vec<u8>,
    /// How long it is good.
    pub validity: Validity,
}

/// Why there is none.
#[derive(Debug)]
pub enum FetchFault {
    /// The certificate's file cannot be used.
    Certificate(String),
    /// The issuer's certificate is not there.
    NoIssuer,
    /// The certificate names no responder, and none was given.
    NoResponder,
    /// What is given is not the URL of a responder.
    Url(String),
    /// Its host cannot be found: the reason.
    Host(String),
    /// No answer.
    Http(HttpError),
    /// An answer of another status.
    Status(u16),
    /// The answer proves nothing.
    Proof(Fault),
}

impl fmt::Display for FetchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchFault::Certificate(text) => f.write_str(text),
            FetchFault::NoIssuer => f.write_str("the issuer's certificate is not there"),
            FetchFault::NoResponder => f.write_str("the certificate names no responder"),
            FetchFault::Url(url) => write!(f, "not the URL of a responder: {url}"),
            FetchFault::Host(text) => f.write_str(text),
            FetchFault::Http(error) => error.fmt(f),
            FetchFault::Status(status) => write!(f, "the responder answers {status}"),
            FetchFault::Proof(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for FetchFault {}

/// A certificate and the one that signed it.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    issuer: Vec<u8>,
    request: Vec<u8>,
}

impl Wish {
    fn pair(&self) -> Result<Pair, FetchFault> {
        let chain = pem::certificates(&self.certificate)
            .map_err(|error| FetchFault::Certificate(error.to_string()))?;
        let Some((leaf, others)) = chain.split_first() else {
            return Err(FetchFault::Certificate(format!("no certificate in {}", self.certificate.display())));
        };
        let trust = Trust::of(&self.ca, None).ok();
        let trusted = trust.as_ref().into_iter().flat_map(|trust| trust.certificates());
        let found = others
            .iter()
            .map(AsRef::as_ref)
            .chain(trusted)
            .find_map(|issuer| request(leaf, issuer).map(|request| (issuer.to_vec(), request)));
        let (issuer, request) = found.ok_or(FetchFault::NoIssuer)?;
        Ok(Pair { issuer, request, chain })
    }
}

impl Pair {
    fn judge(&self, der: &[u8]) -> Result<Validity, Fault> {
        let leaf = self.chain.first().ok_or(Fault::OtherCertificate)?;
        Proof::parse(der)?.judge(leaf, &[&self.issuer], UnixTime::now())
    }
}

/// What the proof in a file is worth now. `Ok(None)`: there is no file.
///
/// # Errors
/// It is worth nothing, or the certificate cannot be used.
pub fn state_of_file(wish: &Wish, file: &Path) -> Result<Option<Validity>, FetchFault> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let why = oxim_base::errno::error_text(&error);
            return Err(FetchFault::Certificate(format!("cannot read {}: {why}", file.display())));
        }
    };
    let der = from_pem(&bytes).unwrap_or(bytes);
    wish.pair()?.judge(&der).map(Some).map_err(FetchFault::Proof)
}

/// Asks the responder. `addresses` finds those of a host name.
///
/// # Errors
/// There is no good proof to be had now.
pub fn fetch(
    wish: &Wish,
    addresses: impl Fn(&str) -> Result<Vec<IpAddr>, String>,
) -> Result<Fetched, FetchFault> {
    let pair = wish.pair()?;
    let named = || pair.chain.first().and_then(|leaf| responders(leaf).into_iter().next());
    let text = wish.url.clone().or_else(named).ok_or(FetchFault::NoResponder)?;
    let url = Url::parse(&text).ok_or(FetchFault::Url(text))?;
    let hosts = addresses(&url.host).map_err(FetchFault::Host)?;
    let hosts: Vec<SocketAddr> = hosts.into_iter().map(|host| SocketAddr::new(host, url.port)).collect();
    let policy = ClientPolicy {
        verify: Verify::Require,
        names: vec![url.host.clone()],
        ca: wish.ca.clone(),
        ..ClientPolicy::default()
    };
    let field = url.host_field();
    let request =
        Request { host: &field, path: &url.path, post: Some(("application/ocsp-request", &pair.request)) };
    let limits = Limits { time: FETCH_TIME, body_bytes: RESPONSE_BYTES_MAX };
    let tls = url.is_secure.then_some((url.host.as_str(), &policy));
    let answer = http::ask(&hosts, tls, &request, limits).map_err(FetchFault::Http)?;
    if answer.status != 200 {
        return Err(FetchFault::Status(answer.status));
    }
    let validity = pair.judge(&answer.body).map_err(FetchFault::Proof)?;
    Ok(Fetched { der: answer.body, validity })
}

/// Puts a proof in the place of a file, readable by all.
///
/// # Errors
/// The folder cannot be written to; the old file is as it was.
pub fn write(file: &Path, der: &[u8], as_pem: bool) -> io::Result<()> {
    let bytes = if as_pem { to_pem(der) } else { der.to_vec() };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = folder.join(name);
    let written = (|| {
        let _left_by_another = std::fs::remove_file(&new);
        let mut out = std::fs::File::options().write(true).create_new(true).mode(0o644).open(&new)?;
        out.write_all(&bytes)?;
        out.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        out.sync_all()?;
        std::fs::rename(&new, file)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _gone = std::fs::remove_file(&new);
    }
    written
}

fn to_pem(der: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(&pem::certificate_to_pem(der))
        .replace("CERTIFICATE", "OCSP RESPONSE")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_in_either_form() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proof");
        write(&file, b"\x30\x03abc", false).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"\x30\x03abc");
        write(&file, b"\x30\x03abd", true).unwrap();
        assert_eq!(from_pem(&std::fs::read(&file).unwrap()).unwrap(), b"\x30\x03abd");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("absent/proof"), b"x", false).is_err());
    }
}
