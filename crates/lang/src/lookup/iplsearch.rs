//! The `iplsearch` lookup: a text file whose keys are addresses and networks; the first that fits counts (manual section 9.3).
//!
//! A subject that is no address defers, with Exim's hint. Keys that are no address never match, except `*` for itself.

use std::net::IpAddr;
use std::sync::Arc;

use super::lsearch::{Items, describe};
use super::{KeyedFile, LookupKind, LookupType, Style, files};
use crate::context::Context;
use crate::list::network::Network;

/// The row.
pub(super) static IPLSEARCH: LookupKind = LookupKind {
    name: "iplsearch",
    style: Style::KeyedFile(open),
    doc: "text file whose keys are IP addresses and networks, first match; option ret=full",
};

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    Ok(files::parsed("iplsearch", path, |opened| Ok(Networks::new(opened.read()?)))
        .map_err(|e| describe(&e, path, "iplsearch"))?)
}

struct Networks {
    items: Items,
    networks: Vec<(usize, Network)>,
    star: Option<usize>,
}

impl Networks {
    fn new(data: Vec<u8>) -> Networks {
        let items = Items::new(data);
        let networks = items.keys().filter_map(|(at, key)| Some((at, Network::parse(&key)?))).collect();
        let star = items.keys().find(|(_, key)| &key[..] == b"*").map(|(at, _)| at);
        Networks { items, networks, star }
    }
}

impl KeyedFile for Networks {
    fn find(&self, _: &mut Context, key: &[u8], lookup: &LookupType) -> Result<Option<Vec<u8>>, String> {
        let full = lookup.option("ret") == Some("full");
        if key == b"*" {
            return Ok(self.star.map(|at| self.items.data(at, full)));
        }
        let address: Option<IpAddr> = std::str::from_utf8(key).ok().and_then(|text| text.parse().ok());
        let Some(address) = address else {
            return Err(format!(
                "\"{}\" is not a valid iplsearch key (an IP address, with optional CIDR mask, is wanted): \
                 in a host list, use net-iplsearch as the search type",
                String::from_utf8_lossy(key)
            ));
        };
        let hit = self.networks.iter().find(|(_, network)| network.contains(address.to_canonical()));
        Ok(hit.map(|(at, _)| self.items.data(*at, full)))
    }
}
