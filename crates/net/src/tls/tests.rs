//! Both sides against each other, and our client against OpenSSL's server with certificates that others refuse.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::client::{ClientPolicy, ClientStream, connect};
use super::server::{ServerPolicy, ServerTls, accept, begin};
use super::{CaSource, KeyPair, TlsError, TlsFacts, Verify, Versions};

/// An authority and a certificate of it, as files.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name = rcgen::DistinguishedName::new();
        ca.distinguished_name.push(rcgen::DnType::CommonName, format!("CA of {}", folder.path().display()));
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        leaf.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = leaf.signed_by(&key, &issuer).unwrap().pem() + &key.serialize_pem();
        std::fs::write(folder.path().join("leaf.pem"), pem).unwrap();
        Authority { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self) -> CaSource {
        CaSource::Path(self.file("ca.pem"))
    }

    fn pair(&self) -> KeyPair {
        KeyPair { certificate: self.file("leaf.pem"), key: None }
    }
}

struct Served {
    runtime: Runtime,
    port: u16,
    task: JoinHandle<Vec<Result<TlsFacts, TlsError>>>,
}

/// A server for some connections that answers each line with the same line.
fn serve(policy: ServerPolicy, connections: usize) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls: Arc<ServerTls> = ServerTls::of(&policy).unwrap();
    let task = runtime.spawn(async move {
        let mut all = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.unwrap();
            match accept(stream, &tls, Duration::from_secs(5)).await {
                Err(error) => all.push(Err(error)),
                Ok((mut stream, facts)) => {
                    let mut line = [0; 5];
                    if stream.read_exact(&mut line).await.is_ok() {
                        stream.write_all(&line).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                    all.push(Ok(facts));
                }
            }
        }
        all
    });
    Served { runtime, port, task }
}

impl Served {
    fn facts(self) -> Vec<Result<TlsFacts, TlsError>> {
        self.runtime.block_on(self.task).unwrap()
    }
}

fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn echo(stream: &mut ClientStream<TcpStream>) {
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn a_self_signed_certificate_is_made_and_taken_unverified() {
    let served =
        serve(ServerPolicy { self_signed_name: "mx.example".to_owned(), ..ServerPolicy::default() }, 1);
    let (mut stream, facts) =
        connect(dial(served.port), Some("mx.example"), &ClientPolicy::default()).unwrap();
    echo(&mut stream);
    assert_eq!(facts.cipher_field(), "TLS1.3:TLS_AES_256_GCM_SHA384:256");
    assert_eq!(facts.cipher_std, "TLS_AES_256_GCM_SHA384");
    assert_eq!(facts.peer_dn.as_deref(), Some("/CN=mx.example"));
    assert_eq!((facts.verified, facts.verify_failure.clone()), (false, None));
    let seen = served.facts().remove(0).unwrap();
    assert_eq!(seen.sni.as_deref(), Some("mx.example"));
    assert_eq!(seen.channel_binding, facts.channel_binding);
    assert!(seen.channel_binding.is_some() && seen.own_certificate.is_some());
}

#[test]
fn verdicts_are_told_or_enforced() {
    let ours = Authority::new("mx.example");
    let other = Authority::new("mx.example");
    let policy = |ca: CaSource, verify, name: &str| ClientPolicy {
        verify,
        ca,
        names: vec![name.to_owned()],
        ..ClientPolicy::default()
    };
    let served = serve(ServerPolicy { certificates: vec![ours.pair()], ..ServerPolicy::default() }, 5);
    let (mut good, facts) =
        connect(dial(served.port), None, &policy(ours.ca(), Verify::Require, "MX.example")).unwrap();
    echo(&mut good);
    assert!(facts.verified);
    assert_eq!(facts.peer_dn.as_deref(), Some("/O=Example/CN=mx.example"));
    let (_, facts) =
        connect(dial(served.port), None, &policy(other.ca(), Verify::Try, "mx.example")).unwrap();
    assert_eq!(facts.verify_failure.as_deref(), Some("unable to get local issuer certificate"));
    let (_, facts) =
        connect(dial(served.port), None, &policy(ours.ca(), Verify::Try, "other.example")).unwrap();
    assert_eq!(facts.verify_failure.as_deref(), Some("certificate name mismatch"));
    let refused = connect(dial(served.port), None, &policy(other.ca(), Verify::Require, "mx.example"));
    assert!(matches!(refused, Err(TlsError::Unverified { .. })));
    // The leaf itself may be what is trusted.
    let leaf = CaSource::Path(ours.file("leaf.pem"));
    let (_, facts) = connect(dial(served.port), None, &policy(leaf, Verify::Require, "mx.example")).unwrap();
    assert!(facts.verified);
    served.facts();
}

#[test]
fn client_certificates_are_judged_after_a_try_and_enforced_when_required() {
    let ours = Authority::new("client.example");
    let other = Authority::new("client.example");
    let server =
        |verify| ServerPolicy { client_certificates: verify, ca: ours.ca(), ..ServerPolicy::default() };
    let with = |pair: Option<KeyPair>| ClientPolicy { certificate: pair, ..ClientPolicy::default() };
    let served = serve(server(Verify::Try), 3);
    for pair in [None, Some(ours.pair()), Some(other.pair())] {
        echo(&mut connect(dial(served.port), None, &with(pair)).unwrap().0);
    }
    let seen: Vec<TlsFacts> = served.facts().into_iter().map(Result::unwrap).collect();
    assert_eq!(seen.iter().map(|facts| facts.verified).collect::<Vec<_>>(), vec![false, true, false]);
    assert_eq!(seen[0].peer_dn, None);
    assert_eq!(seen[2].peer_dn.as_deref(), Some("/O=Example/CN=client.example"));
    assert!(seen[2].verify_failure.is_some());
    let served = serve(server(Verify::Require), 3);
    for pair in [None, Some(ours.pair()), Some(other.pair())] {
        // In TLS 1.3 the client learns of the refusal only when it reads.
        if let Ok((mut stream, _)) = connect(dial(served.port), None, &with(pair)) {
            let _ = stream.write_all(b"hello");
            let _ = stream.read(&mut [0; 5]);
        }
    }
    let seen: Vec<bool> = served.facts().iter().map(Result::is_ok).collect();
    assert_eq!(seen, vec![false, true, false]);
}

#[test]
fn sessions_are_resumed_under_one_key_only() {
    let ours = Authority::new("mx.example");
    let server =
        ServerPolicy { certificates: vec![ours.pair()], resumption: true, ..ServerPolicy::default() };
    let served = serve(server, 4);
    let policy = |key: Option<&str>| ClientPolicy {
        verify: Verify::Try,
        ca: ours.ca(),
        resumption_key: key.map(str::to_owned),
        ..ClientPolicy::default()
    };
    let resumed: Vec<(bool, bool)> = [Some("a"), Some("a"), Some("b"), None]
        .into_iter()
        .map(|key| {
            let (mut stream, facts) = connect(dial(served.port), Some("mx.example"), &policy(key)).unwrap();
            echo(&mut stream);
            (facts.resumed, facts.verified)
        })
        .collect();
    assert_eq!(resumed, vec![(false, true), (true, true), (false, true), (false, true)]);
    assert_eq!(served.facts().iter().filter(|facts| facts.as_ref().unwrap().resumed).count(), 1);
}

#[test]
fn versions_ciphers_and_protocols_are_chosen() {
    let server = ServerPolicy {
        versions: Versions { tls12: true, tls13: false },
        ciphers: Some("ECDHE+CHACHA20".to_owned()),
        alpn: vec![b"smtp".to_vec()],
        ..ServerPolicy::default()
    };
    let served = serve(server, 3);
    let alpn = |list: &[&str]| ClientPolicy {
        alpn: list.iter().map(|name| name.as_bytes().to_vec()).collect(),
        ..ClientPolicy::default()
    };
    let (mut stream, facts) = connect(dial(served.port), None, &alpn(&["smtp"])).unwrap();
    echo(&mut stream);
    assert_eq!(facts.cipher_field(), "TLS1.2:ECDHE-ECDSA-CHACHA20-POLY1305:256");
    assert_eq!(facts.alpn.as_deref(), Some(b"smtp".as_slice()));
    echo(&mut connect(dial(served.port), None, &alpn(&[])).unwrap().0);
    assert!(matches!(connect(dial(served.port), None, &alpn(&["http/1.1"])), Err(TlsError::Handshake(_))));
    served.facts();
}

#[test]
fn the_wishes_of_the_client_can_be_seen_first() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = runtime.spawn(async move {
        let hello = begin(listener.accept().await.unwrap().0, Duration::from_secs(5)).await.unwrap();
        let name = hello.sni().unwrap();
        let policy = ServerPolicy { self_signed_name: name, ..ServerPolicy::default() };
        hello.accept(&ServerTls::of(&policy).unwrap()).await.unwrap();
    });
    let (_, facts) = connect(dial(port), Some("asked.example"), &ClientPolicy::default()).unwrap();
    assert_eq!(facts.peer_dn.as_deref(), Some("/CN=asked.example"));
    runtime.block_on(task).unwrap();
}

#[test]
fn silence_and_clear_text_are_errors_in_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let _silent = dial(listener.local_addr().unwrap().port());
    let result = runtime.block_on(async {
        begin(listener.accept().await.unwrap().0, Duration::from_millis(50)).await.err().unwrap()
    });
    assert!(matches!(result, TlsError::Timeout));
    let mut clear = dial(listener.local_addr().unwrap().port());
    clear.write_all(b"EHLO me\r\n").unwrap();
    let result = runtime.block_on(async {
        begin(listener.accept().await.unwrap().0, Duration::from_secs(5)).await.err().unwrap()
    });
    assert!(matches!(result, TlsError::Handshake(_)), "{result:?}");
}

#[test]
fn broken_files_are_named() {
    let ours = Authority::new("mx.example");
    let other = Authority::new("mx.example");
    let mixed = KeyPair { certificate: ours.file("leaf.pem"), key: Some(other.file("leaf.pem")) };
    let missing = KeyPair { certificate: "/nonexistent/x.pem".into(), key: None };
    let keyless = KeyPair { certificate: ours.file("ca.pem"), key: None };
    for (pair, word) in
        [(mixed, "does not match"), (missing, "/nonexistent/x.pem"), (keyless, "no usable private key")]
    {
        let error = ServerTls::of(&ServerPolicy { certificates: vec![pair], ..ServerPolicy::default() })
            .err()
            .unwrap();
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// OpenSSL's server with the files of a folder; ended when dropped.
struct OpensslServer(Child, u16);

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(folder: &Path, arguments: &str) -> bool {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn openssl_server(folder: &Path, options: &str) -> OpensslServer {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = format!("s_server -quiet -accept 127.0.0.1:{port} -cert c.pem -key k.pem {options}");
    let child = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = OpensslServer(child, port);
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

#[test]
fn any_certificate_will_do_unverified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    if !openssl(path, "version") {
        eprintln!("skipped: there is no openssl program");
        return;
    }
    let cases = [
        (
            "version 1",
            "req -new -newkey rsa:2048 -nodes -keyout k.pem -out r.pem -subj /CN=v1.example",
            "x509 -req -in r.pem -signkey k.pem -out c.pem",
        ),
        (
            "expired",
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout k.pem -out r.pem -subj /CN=v1.example",
            "x509 -req -in r.pem -signkey k.pem -days -1 -out c.pem",
        ),
        (
            "authority as leaf",
            "req -x509 -newkey rsa:3072 -nodes -keyout k.pem -out c.pem -subj /CN=v1.example -addext keyUsage=keyCertSign",
            "version",
        ),
        (
            "ed25519",
            "req -x509 -newkey ed25519 -nodes -keyout k.pem -out c.pem -subj /CN=v1.example",
            "version",
        ),
    ];
    for (what, make, sign) in cases {
        assert!(openssl(path, make) && openssl(path, sign), "{what}");
        for version in ["-tls1_2", "-tls1_3"] {
            let server = openssl_server(path, version);
            let (_, facts) = connect(dial(server.1), Some("v1.example"), &ClientPolicy::default())
                .map_err(|error| format!("{what} {version}: {error}"))
                .unwrap();
            assert_eq!(facts.peer_dn.as_deref(), Some("/CN=v1.example"), "{what} {version}");
            let tried = ClientPolicy { verify: Verify::Try, ..ClientPolicy::default() };
            assert!(
                connect(dial(server.1), None, &tried).unwrap().1.verify_failure.is_some(),
                "{what} {version}"
            );
        }
    }
}

#[test]
fn openssl_clients_are_served() {
    let ours = Authority::new("mx.example");
    if !openssl(ours.folder.path(), "version") {
        eprintln!("skipped: there is no openssl program");
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let served = serve(
            ServerPolicy {
                certificates: vec![ours.pair()],
                client_certificates: Verify::Try,
                ca: ours.ca(),
                ..ServerPolicy::default()
            },
            1,
        );
        let arguments = format!(
            "s_client -quiet -verify_return_error -verify_hostname mx.example -servername mx.example \
             -CAfile ca.pem -cert leaf.pem -key leaf.pem {version} -connect 127.0.0.1:{}",
            served.port
        );
        let mut client = Command::new("openssl")
            .current_dir(ours.folder.path())
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        client.stdin.as_mut().unwrap().write_all(b"hello").unwrap();
        let mut back = [0; 5];
        client.stdout.as_mut().unwrap().read_exact(&mut back).unwrap();
        let _ = client.kill();
        client.wait().unwrap();
        let facts = served.facts().remove(0).unwrap();
        assert!(facts.verified, "{version}: {:?}", facts.verify_failure);
        assert_eq!(facts.sni.as_deref(), Some("mx.example"));
    }
}
