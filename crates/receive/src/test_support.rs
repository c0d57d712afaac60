//! What tests of this crate share: a reception built from configuration text, with logs and queue in memory.

use std::sync::Arc;

use oxim_deliver::authenticator::AUTHENTICATORS;
use oxim_deliver::delivery::Delivery;
use oxim_lang::config::{self, Catalogue, Drivers};
use oxim_lang::context::Services;
use oxim_mail::message_id::{Form, Generator};
use oxim_spool::log::LogSelectors;
use oxim_spool::store::{Claim, LocalConfig, LocalStore};
use parking_lot::Mutex;

use crate::admission::Admission;
use crate::logs::{LogFiles, Logs};
use crate::reception::{Identity, Parts, Reception};
use crate::sink::{Queueing, Sink};
use crate::tls::TlsAtOnce;
use crate::wants::Wants;

/// Log lines, in the order in which they were written.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) main: Mutex<Vec<String>>,
    pub(crate) reject: Mutex<Vec<String>>,
    pub(crate) panic: Mutex<Vec<String>>,
}

impl LogFiles for Memory {
    fn main(&self, line: &str) {
        self.main.lock().push(line.to_owned());
    }

    fn reject(&self, line: &str, headers: Option<&str>) {
        let headers = headers.map(|headers| format!("\n{headers}")).unwrap_or_default();
        self.reject.lock().push(format!("{line}{headers}"));
    }

    fn panic(&self, line: &str) {
        self.panic.lock().push(line.to_owned());
    }
}

/// Keeps what has been accepted.
#[derive(Default)]
pub(crate) struct Accepted(pub(crate) Mutex<Vec<(Claim, Queueing)>>);

impl Sink for Accepted {
    fn accepted(&self, claim: Claim, queueing: Queueing) {
        self.0.lock().push((claim, queueing));
    }
}

/// A reception with what it writes.
pub(crate) struct Place {
    pub(crate) reception: Arc<Reception>,
    pub(crate) logs: Arc<Memory>,
    pub(crate) accepted: Arc<Accepted>,
    _directory: tempfile::TempDir,
}

impl Place {
    /// The main log.
    pub(crate) fn main_log(&self) -> Vec<String> {
        self.logs.main.lock().clone()
    }

    /// The header lines of the n-th accepted message, deleted ones with a star before them.
    pub(crate) fn headers(&self, index: usize) -> String {
        let accepted = self.accepted.0.lock();
        let mut out = String::new();
        for header in accepted[index].0.message().headers.all() {
            if !header.is_live() {
                out.push('*');
            }
            out.push_str(&String::from_utf8_lossy(&header.text));
        }
        out
    }

    /// The body of the n-th accepted message.
    pub(crate) fn body(&self, index: usize) -> String {
        let accepted = self.accepted.0.lock();
        String::from_utf8_lossy(&accepted[index].0.body().head(1 << 20).unwrap()).into_owned()
    }

    /// Envelope of the n-th accepted message: sender, then recipients.
    pub(crate) fn envelope(&self, index: usize) -> Vec<String> {
        let accepted = self.accepted.0.lock();
        let message = accepted[index].0.message();
        let mut out = vec![String::from_utf8_lossy(&message.sender).into_owned()];
        out.extend(message.recipients.iter().map(|r| String::from_utf8_lossy(&r.address).into_owned()));
        out
    }
}

/// Builds a reception. The names are `mx.test.ex` and `test.ex`; nothing blocks, so that tests run in one thread.
pub(crate) fn place(text: &str) -> Place {
    place_with(text, "")
}

/// As [`place`], with log selectors.
pub(crate) fn place_with(text: &str, selectors: &str) -> Place {
    let text = format!(
        "smtp_banner = mx.test.ex ready\n\
         received_header_text = Received: by mx.test.ex\\n\\tid $message_exim_id\ncheck_spool_space = 0\n\
         check_spool_inodes = 0\n{text}"
    );
    build(&text, selectors)
}

/// As [`place`], with the default texts of greeting and Received: lines.
pub(crate) fn place_without_overrides(text: &str) -> Place {
    build(text, "")
}

fn build(text: &str, selectors: &str) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "primary_hostname = mx.test.ex\nqualify_domain = test.ex\nspool_directory = {}\nlimits_advertise_hosts =\n{text}",
        directory.path().display()
    );
    let none = || Drivers { generic: &[], drivers: Vec::new() };
    let authenticators = Drivers {
        generic: config::rows::AUTH_GENERIC,
        drivers: AUTHENTICATORS.iter().map(|kind| &kind.row).collect(),
    };
    let catalogue = Catalogue { routers: none(), transports: none(), authenticators, ..Catalogue::default() };
    let config = Arc::new(config::read_bytes("/test", text.as_bytes(), &[], &catalogue).unwrap());
    let services = Arc::new(Services { zone: oxim_base::clock::Zone::Utc, ..Services::default() });
    let _ = services.version.set("4.96".to_owned());
    let delivery = Delivery::build(Arc::clone(&config), Arc::clone(&services)).unwrap();
    let logs = Arc::new(Memory::default());
    let accepted = Arc::new(Accepted::default());
    let store = LocalStore::direct(LocalConfig::new(directory.path())).unwrap();
    let selectors = LogSelectors::parse(selectors).unwrap();
    let reception = Reception::build(Parts {
        config,
        services,
        store: Arc::new(store),
        sink: Arc::clone(&accepted) as Arc<dyn Sink>,
        delivery: Arc::new(delivery),
        logs: Logs::new(Arc::clone(&logs) as Arc<dyn LogFiles>),
        wants: Wants::of(selectors),
        resolver: None,
        identity: Identity { login: b"mailnull".to_vec(), uid: 8, gid: 8 },
        admission: Arc::new(Admission::default()),
        ids: Arc::new(Generator::new(1, None, Form::Long)),
        forced_queueing: None,
        tls_at_once: TlsAtOnce::Ports(Vec::new()),
        workers: 4,
    })
    .unwrap();
    Place { reception, logs, accepted, _directory: directory }
}
