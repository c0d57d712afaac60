//! The `spf` lookup: the SPF result of a client's address and a sender (manual section 58.4; RFC 7208).
//!
//! The address stands in the place of the file, the sender is the key: `${lookup{a@b.ex}spf{192.0.2.1}}`. A key without `@`
//! is a domain. There is no HELO name, and `$spf_…` stay as they are. What is no address gives "not found", as with Exim;
//! DNS trouble gives the result `temperror`.

use std::net::IpAddr;
use std::sync::Arc;

use oxim_base::debug;

use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;
use crate::list::surroundings;
use crate::sender_policy;

/// The row.
pub(super) static SPF: LookupKind = LookupKind {
    name: "spf",
    style: Style::KeyedAddress(open),
    doc: "SPF result of a sender (the key) and a client's address (in the place of the file)",
};

struct Client(Option<IpAddr>);

fn open(address: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let client = std::str::from_utf8(address).ok().and_then(|text| text.trim().parse().ok());
    if client.is_none() {
        debug::line(debug::LOOKUP, || {
            format!("spf lookup: invalid IP address '{}'", String::from_utf8_lossy(address))
        });
    }
    Ok(Arc::new(Client(client)))
}

impl KeyedFile for Client {
    fn find(&self, context: &mut Context, key: &[u8], _: &LookupType) -> Result<Option<Vec<u8>>, String> {
        let Some(client) = self.0 else { return Ok(None) };
        let resolver = surroundings::resolver(context)?;
        let verdict = sender_policy::verdict_on(context, &resolver, client, key);
        Ok(Some(verdict.word().as_bytes().to_vec()))
    }
}
