//! A whole SMTP session, from greeting to end, with the change to TLS: no panic, every line that we send is a reply line,
//! nobody logs in, and nothing said in the clear counts under TLS.
//!
//! The input is the client's script. It is said as it is, up to a byte 0xFF, which with the byte after it begins a step:
//! `S` says STARTTLS together with what follows and, when told to, starts TLS; `B` writes what follows below TLS; `W` waits
//! for the server to say all that it has to say. Any other pair is said like the rest.
#![no_main]

#[path = "../authenticators.rs"]
mod authenticators;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use oxim_deliver::delivery::Delivery;
use oxim_lang::config;
use oxim_lang::context::Services;
use oxim_mail::message_id::{Form, Generator};
use oxim_receive::admission::Admission;
use oxim_receive::logs::{LogFiles, Logs};
use oxim_receive::reception::{Identity, Parts, Reception};
use oxim_receive::session::{Session, set_endpoints};
use oxim_receive::sink::{Queueing, Sink};
use oxim_receive::tls::TlsAtOnce;
use oxim_receive::wants::Wants;
use oxim_spool::log::LogSelectors;
use oxim_spool::store::{Claim, LocalConfig, LocalStore};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whoever it is.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn connector() -> TlsConnector {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the versions");
        let verifier = Arc::new(Anybody);
        Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    });
    TlsConnector::from(Arc::clone(config))
}

struct Nowhere;

impl LogFiles for Nowhere {
    fn main(&self, line: &str) {
        assert!(!line.contains('\r'));
    }
    fn reject(&self, _: &str, _: Option<&str>) {}
    fn panic(&self, _: &str) {}
}

impl Sink for Nowhere {
    fn accepted(&self, _: Claim, _: Queueing) {}
}

/// Messages go through all of reception up to the DATA ACL, which refuses them: nothing is written to disk.
fn reception() -> &'static Arc<Reception> {
    static RECEPTION: OnceLock<Arc<Reception>> = OnceLock::new();
    RECEPTION.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("oxim-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary folder can be made");
        let text = format!(
            "primary_hostname = mx.test.ex\nqualify_domain = test.ex\nspool_directory = {}\n\
             check_spool_space = 0\ncheck_spool_inodes = 0\nsender_unqualified_hosts = *\n\
             recipient_unqualified_hosts = *\nmessage_size_limit = 20k\nheader_maxsize = 4000\n\
             smtp_max_synprot_errors = 100\nsmtp_max_unknown_commands = 100\nsmtp_accept_max_nonmail = 100\n\
             smtp_enforce_sync = false\ntls_advertise_hosts = *\nacl_smtp_rcpt = accept\nacl_smtp_data = deny\n\
             hosts_xclient = *\nacl_smtp_wellknown = accept\nwellknown_advertise_hosts = *\nacl_smtp_vrfy = accept\n\
             acl_smtp_expn = accept\nacl_smtp_etrn = accept\ndsn_advertise_hosts = *\nprdr_enable = true\n{}",
            directory.display(),
            authenticators::section()
        );
        let config = config::read_bytes("/fuzz", text.as_bytes(), &[], &authenticators::catalogue());
        let config = Arc::new(config.expect("the configuration is good"));
        let services = Arc::new(Services::default());
        let delivery = Delivery::build(Arc::clone(&config), Arc::clone(&services));
        let store = LocalStore::direct(LocalConfig::new(&directory)).expect("the spool can be opened");
        Reception::build(Parts {
            delivery: Arc::new(delivery.unwrap_or_else(|_| panic!("there are no drivers to fail"))),
            config,
            services,
            store: Arc::new(store),
            sink: Arc::new(Nowhere),
            logs: Logs::new(Arc::new(Nowhere)),
            wants: Wants::of(LogSelectors::parse("+all").expect("all is a selector")),
            resolver: None,
            identity: Identity::default(),
            admission: Arc::new(Admission::default()),
            ids: Arc::new(Generator::new(1, None, Form::Long)),
            forced_queueing: None,
            workers: 2,
            tls_at_once: TlsAtOnce::Ports(Vec::new()),
        })
        .unwrap_or_else(|_| panic!("the configuration is good"))
    })
}

/// The clock stands still while anybody has something to do: when this is over, nobody has.
const A_MOMENT: Duration = Duration::from_millis(1);

/// The client's end. A connection that the server has closed is none any more.
enum Client {
    Clear(DuplexStream),
    Encrypted(Box<TlsStream<DuplexStream>>),
    Gone,
}

impl Client {
    /// Fails without a word when the server has hung up.
    async fn say(&mut self, bytes: &[u8]) {
        match self {
            Client::Clear(stream) => drop(stream.write_all(bytes).await),
            Client::Encrypted(stream) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.flush().await;
            }
            Client::Gone => {}
        }
    }

    async fn say_below_tls(&mut self, bytes: &[u8]) {
        match self {
            Client::Encrypted(stream) => drop(stream.get_mut().0.write_all(bytes).await),
            Client::Clear(_) | Client::Gone => self.say(bytes).await,
        }
    }

    /// All that the server says before it waits for more, looked at.
    async fn hear(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut part = [0; 4096];
        loop {
            let read = async {
                match self {
                    Client::Clear(stream) => stream.read(&mut part).await,
                    Client::Encrypted(stream) => stream.read(&mut part).await,
                    Client::Gone => Ok(0),
                }
            };
            match tokio::time::timeout(A_MOMENT, read).await {
                Ok(Ok(length)) if length > 0 => heard.extend_from_slice(&part[..length]),
                _ => break,
            }
        }
        check(&heard);
        heard
    }

    /// STARTTLS, with something more in the same packet. Under TLS there is none.
    async fn start_tls(&mut self, more: &[u8]) {
        self.hear().await;
        self.say(&[b"STARTTLS\r\n", more].concat()).await;
        let heard = self.hear().await;
        let Some(at) = heard.windows(GO_AHEAD.len()).position(|text| text == GO_AHEAD) else { return };
        assert_eq!(at + GO_AHEAD.len(), heard.len(), "nothing is said in the clear after that");
        let stream = match std::mem::replace(self, Client::Gone) {
            Client::Clear(stream) => stream,
            Client::Encrypted(_) | Client::Gone => panic!("TLS within TLS"),
        };
        let name = ServerName::try_from("mx.test.ex").expect("a name");
        let connected = tokio::time::timeout(Duration::from_secs(900), connector().connect(name, stream)).await;
        // Within a message the first of two is no command.
        if !more.windows(4).any(|word| word.eq_ignore_ascii_case(b"STAR")) {
            assert_eq!(matches!(connected, Ok(Ok(_))), more.is_empty(), "injected: {more:?}");
        }
        let Ok(Ok(stream)) = connected else { return };
        *self = Client::Encrypted(Box::new(stream));
        // Nobody has said a MAIL here.
        self.say(b"RCPT TO:<x@test.ex>\r\n").await;
        assert!(self.hear().await.starts_with(b"503"));
    }
}

const GO_AHEAD: &[u8] = b"220 TLS go ahead\r\n";

/// Reply lines only, and no success of AUTH.
fn check(sent: &[u8]) {
    for line in sent.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("lines end in CR LF");
        assert!(line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-'));
        assert!(!line.iter().any(|b| matches!(b, b'\r' | 0)), "one line is one line");
        assert!(!line.starts_with(b"235"), "somebody is let in");
    }
}

async fn play(mut client: Client, script: &[u8]) {
    let mut pieces = script.split(|b| *b == 0xFF);
    client.say(pieces.next().unwrap_or_default()).await;
    for piece in pieces {
        match piece.split_first() {
            Some((b'S', more)) => client.start_tls(more).await,
            Some((b'B', more)) => client.say_below_tls(more).await,
            Some((b'W', more)) => {
                client.hear().await;
                client.say(more).await;
            }
            _ => client.say(&[b"\xFF", piece].concat()).await,
        }
    }
    client.hear().await;
}

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let (client, server) = tokio::io::duplex(1 << 20);
        let mut context = reception().context();
        let peer = "192.0.2.1:4000".parse().expect("an address");
        set_endpoints(&mut context, peer, "192.0.2.9:25".parse().expect("an address"));
        let mut session = Session::new(Arc::clone(reception()), Box::new(server), context, None);
        let serving = tokio::spawn(async move { session.run(None).await });
        play(Client::Clear(client), data).await;
        serving.await.expect("the session ends with its client, without a panic");
    });
});
