//! Validation of answers by ourselves (`dnssec_validate`; RFC 4033 to 4035, 5155): no trust in the resolver, nor in the way to it.
//!
//! The name servers are asked with the CD bit, so that they give what they have and judge nothing. The library follows the
//! signatures up to a trust anchor: the keys of the root, or those of `dnssec_trust_anchors`. What it proves takes the place of
//! the AD bit. Data that should be signed and is not, or wrongly, or that cannot be followed up now, is no answer: "ask again",
//! never an absence and never unsigned data.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::{DnsError, DnsHandle, NetError};
use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query};
use hickory_proto::rr::{Name, RecordType};

use super::transport::{self, Manner, Silence};

/// Answers of keys and signers that one validator remembers.
const REMEMBERED: usize = 10_000;

/// The keys that validation begins with.
#[derive(Clone)]
pub struct Anchors(Arc<TrustAnchors>);

impl std::fmt::Debug for Anchors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} trust anchors", self.0.len())
    }
}

impl Anchors {
    /// Those of the root, as they are published.
    #[must_use]
    pub fn of_the_root() -> Anchors {
        Anchors(Arc::new(TrustAnchors::default()))
    }

    /// DNSKEY records from a file, in the form of zone files.
    ///
    /// # Errors
    /// It cannot be read, or has none.
    pub fn from_file(path: &Path) -> Result<Anchors, String> {
        let anchors = TrustAnchors::from_file(path).map_err(|error| error.to_string())?;
        if anchors.is_empty() {
            return Err("there is no DNSKEY record in it".to_owned());
        }
        Ok(Anchors(Arc::new(anchors)))
    }
}

/// What the library asks through.
#[derive(Clone)]
struct Upstream {
    servers: Vec<SocketAddr>,
    silence: Arc<Silence>,
    manner: Manner,
}

impl DnsHandle for Upstream {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let upstream = self.clone();
        let ask = async move {
            let query = request.queries.first().ok_or_else(|| NetError::from("no question"))?;
            let message = transport::ask(
                &upstream.servers,
                &upstream.silence,
                query.name(),
                query.query_type(),
                upstream.manner,
            )
            .await
            .map_err(NetError::from)?;
            DnsResponse::from_message(message).map_err(|error| NetError::from(error.to_string()))
        };
        Box::pin(stream::once(Box::pin(ask)))
    }
}

/// Asks and validates, for one set of servers.
#[derive(Clone)]
pub(super) struct Validator {
    servers: Vec<SocketAddr>,
    handle: DnssecDnsHandle<Upstream>,
}

impl Validator {
    pub(super) fn new(
        anchors: &Anchors,
        servers: Vec<SocketAddr>,
        silence: Arc<Silence>,
        manner: Manner,
    ) -> Validator {
        let manner = Manner { dnssec: true, edns: true, unchecked: true, ..manner };
        let upstream = Upstream { servers: servers.clone(), silence, manner };
        let handle = DnssecDnsHandle::with_trust_anchor(upstream, Arc::clone(&anchors.0))
            .validation_cache_size(REMEMBERED);
        Validator { servers, handle }
    }

    /// Whether it asks these.
    pub(super) fn asks(&self, servers: &[SocketAddr]) -> bool {
        self.servers == servers
    }

    /// An answer whose AD bit is our own verdict. The error is the reason why there is none.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, String> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_set_dnssec_ok = true;
        let question = Query::query(name.clone(), kind);
        let answer = self.handle.lookup(question, options).next().await;
        let mut message = match answer {
            Some(Ok(response)) => response.into_message(),
            Some(Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. }))) => {
                let mut message = response.into_message();
                message.metadata.authentic_data = false;
                return Ok(message);
            }
            Some(Err(NetError::Dns(DnsError::Nsec { .. }))) => return Err(bogus()),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("no answer".to_owned()),
        };
        let mut is_secure = true;
        for record in message.answers.iter().filter(|record| record.record_type() != RecordType::RRSIG) {
            match record.proof {
                Proof::Secure => {}
                Proof::Insecure => is_secure = false,
                Proof::Bogus | Proof::Indeterminate => return Err(bogus()),
            }
        }
        if message.answers.is_empty() {
            is_secure = message.authorities.iter().any(|record| record.proof == Proof::Secure);
        }
        message.metadata.authentic_data = is_secure;
        Ok(message)
    }
}

fn bogus() -> String {
    "DNSSEC validation failed".to_owned()
}
