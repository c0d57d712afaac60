//! ARC as the language sees it: what `verify = arc` has found, and what `$arc_…` hold. RFC 8617.

use std::net::IpAddr;
use std::sync::Arc;

use oxim_mailauth::arc::verify::{Checked, State};

/// What is known of the chain of the message in hand.
#[derive(Clone, Debug, Default)]
pub struct ArcFacts {
    /// The header lines as they came, if there are ARC lines among them.
    pub lines: Arc<Vec<Vec<u8>>>,
    /// The result, once it has been asked for.
    pub checked: Option<Arc<Checked>>,
}

impl ArcFacts {
    /// What is said of the chain.
    #[must_use]
    pub fn state(&self) -> State {
        self.checked.as_ref().map_or(State::None, |checked| checked.state)
    }

    /// `$arc_domains`: the domains of the seals, oldest first.
    #[must_use]
    pub fn domains(&self) -> Vec<u8> {
        let Some(checked) = &self.checked else { return Vec::new() };
        // A colon would be doubled in a list; none can stand in a domain that verifies.
        let domains: Vec<_> = checked.stations.iter().map(|station| station.domain.as_slice()).collect();
        domains.join(b":".as_slice())
    }

    /// Its part of an Authentication-Results: line; None if nobody has asked.
    #[must_use]
    pub fn authentication_result(&self, client: Option<IpAddr>) -> Option<Vec<u8>> {
        let checked = self.checked.as_ref()?;
        let reason = if checked.reason.is_empty() { String::new() } else { format!("({})", checked.reason) };
        let mut out = format!("arc={}", checked.state.word()).into_bytes();
        match checked.stations.last() {
            None if reason.is_empty() => {}
            None => out.extend_from_slice(format!(" {reason}").as_bytes()),
            Some(last) => {
                out.extend_from_slice(format!(" (i={}){reason}", checked.stations.len()).as_bytes());
                if !last.selector.is_empty() {
                    let selector = crate::expand::authresults_value(&last.selector);
                    out.extend_from_slice(&[b" header.s=".as_slice(), &selector].concat());
                }
                out.extend_from_slice(format!(" arc.oldest-pass={}", checked.oldest_pass).as_bytes());
                if let Some(client) = client {
                    out.extend_from_slice(format!(" smtp.remote-ip={client}").as_bytes());
                }
            }
        }
        Some(out)
    }
}
