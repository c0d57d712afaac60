//! A whole SMTP session, from greeting to end: no panic, and every line that we send is a reply line.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use oxim_deliver::delivery::Delivery;
use oxim_lang::config::{self, Catalogue};
use oxim_lang::context::Services;
use oxim_mail::message_id::{Form, Generator};
use oxim_receive::admission::Admission;
use oxim_receive::logs::{LogFiles, Logs};
use oxim_receive::reception::{Identity, Parts, Reception};
use oxim_receive::session::{Session, set_endpoints};
use oxim_receive::sink::{Queueing, Sink};
use oxim_receive::wants::Wants;
use oxim_spool::log::LogSelectors;
use oxim_spool::store::{Claim, LocalConfig, LocalStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
             smtp_enforce_sync = false\ntls_advertise_hosts =\nacl_smtp_rcpt = accept\nacl_smtp_data = deny\n\
             hosts_xclient = *\nacl_smtp_wellknown = accept\nwellknown_advertise_hosts = *\nacl_smtp_vrfy = accept\n\
             acl_smtp_expn = accept\nacl_smtp_etrn = accept\ndsn_advertise_hosts = *\nprdr_enable = true\n",
            directory.display()
        );
        let config = config::read_bytes("/fuzz", text.as_bytes(), &[], &Catalogue::default());
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
        })
        .unwrap_or_else(|_| panic!("the configuration is good"))
    })
}

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    let sent = runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut context = reception().context();
        let peer = "192.0.2.1:4000".parse().expect("an address");
        set_endpoints(&mut context, peer, "192.0.2.9:25".parse().expect("an address"));
        client.write_all(data).await.expect("the pipe is large");
        client.shutdown().await.expect("the pipe is open");
        let mut session = Session::new(Arc::clone(reception()), Box::new(server), context, None);
        session.run(None).await;
        drop(session);
        let mut sent = Vec::new();
        let _ = client.read_to_end(&mut sent).await;
        sent
    });
    for line in sent.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("lines end in CR LF");
        assert!(line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-'));
    }
});
