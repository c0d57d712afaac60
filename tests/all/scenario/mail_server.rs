//! A mail server that says what it is told to: with any certificate, any OCSP response and one version of TLS, or without TLS.
//! It takes every message.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How long a client may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

const EVERY_VERSION: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Why a dialogue ended.
enum End {
    Quit,
    StartTls,
}

/// `PORT`, or `PORT VERSION FILE [PROOF]`: the version is `any`, `1.2` or `1.3`; the file has the certificates and the key in PEM;
/// the proof is stapled as it is. Listens on loopback until the process ends.
pub(super) fn start(folder: &Path, argument: &str) {
    let mut words = argument.split(' ');
    let port: u16 = words.next().unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let tls = words.next().map(|version| {
        let file = folder.join(words.next().unwrap());
        let proof = words.next().map(|name| std::fs::read(folder.join(name)).unwrap());
        Arc::new(config(version, &file, proof.unwrap_or_default()))
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = tls.clone();
            // A client that goes away is the client's affair.
            std::thread::spawn(move || {
                let _gone = serve(stream, tls);
            });
        }
    });
}

fn config(version: &str, file: &Path, proof: Vec<u8>) -> ServerConfig {
    let versions = match version {
        "1.2" => &EVERY_VERSION[1..],
        "1.3" => &EVERY_VERSION[..1],
        _ => EVERY_VERSION,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert_with_ocsp(chain, PrivateKeyDer::from_pem_file(file).unwrap(), proof)
        .unwrap()
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut plain = BufReader::new(stream);
    plain.get_mut().write_all(b"220 mx\r\n")?;
    if let (End::StartTls, Some(config)) = (talk(&mut plain, tls.is_some())?, tls) {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut secure = BufReader::new(StreamOwned::new(connection, plain.into_inner()));
        talk(&mut secure, false)?;
        let stream = secure.get_mut();
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(())
}

fn talk(stream: &mut BufReader<impl Read + Write>, offers_tls: bool) -> io::Result<End> {
    let mut is_data = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(End::Quit);
        }
        let (reply, end): (&[u8], _) = match line.get(..4).unwrap_or_default() {
            _ if is_data && line != b".\r\n" => continue,
            b"EHLO" if offers_tls => (b"250-mx\r\n250 STARTTLS\r\n", None),
            b"STAR" if offers_tls => (b"220 go\r\n", Some(End::StartTls)),
            b"DATA" => (b"354 go\r\n", None),
            b"QUIT" => (b"221 bye\r\n", Some(End::Quit)),
            _ => (b"250 ok\r\n", None),
        };
        is_data = line.starts_with(b"DATA");
        stream.get_mut().write_all(reply)?;
        stream.get_mut().flush()?;
        if let Some(end) = end {
            return Ok(end);
        }
    }
}
