//! ARC sets on what is sent: the option `arc_sign` (RFC 8617 section 5.1; `mailauth::arc::seal` writes them).
//!
//! The option is `name : selector : key [: options]`. Whatever goes wrong is logged, and the message goes without a set.

use oxim_base::clock::Stamp;
use oxim_base::{Taint, Text};
use oxim_lang::list;
use oxim_mailauth::arc::seal::{SealFault, Sealer};
use oxim_mailauth::dkim::body::BodyHasher;
use oxim_mailauth::dkim::sign::is_name;
use oxim_mailauth::dkim::{Canon, Hash};

use super::Work;
use super::sign::{Fault, Signable, key};
use crate::transport::compose::Composed;

/// How long a signature is good, if `expire` does not say.
const EXPIRES_SECONDS: u64 = 30 * 24 * 3600;

/// What the option says.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    name: Vec<u8>,
    selector: Vec<u8>,
    key: Text,
    created: Option<u64>,
    expires: Option<u64>,
}

fn parse(text: &Text, now: u64) -> Result<Wanted, Fault> {
    let shown = text.to_string_lossy();
    let bad = |what: &str| Fault(format!("ARC: bad signing-specification ({what}) '{shown}'"));
    let items: Vec<Vec<u8>> = list::split(text.as_bytes()).map(|item| item.trim_ascii().to_vec()).collect();
    let item = |index: usize| items.get(index).cloned().unwrap_or_default();
    let (name, selector, key) = (item(0), item(1), item(2));
    for (part, what) in [(&name, "identity"), (&selector, "selector")] {
        if part.is_empty() {
            return Err(bad(&format!("{what} empty")));
        }
        if !is_name(part) {
            return Err(bad(&format!("{what} chars")));
        }
    }
    if key.is_empty() {
        return Err(bad("privkey empty"));
    }
    let mut wanted =
        Wanted { name, selector, key: Text::with_taint(key, text.taint()), created: None, expires: None };
    for option in item(3).split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty()) {
        let option = String::from_utf8_lossy(option);
        let seconds = |text: &str| text.parse::<u64>().map_err(|_| bad("options"));
        match option.split_once('=') {
            None if option == "timestamps" => wanted.created = Some(now),
            None if option == "expire" => wanted.expires = Some(now.saturating_add(EXPIRES_SECONDS)),
            Some(("expire", value)) => {
                wanted.expires = Some(match value.strip_prefix('+') {
                    Some(value) => now.saturating_add(seconds(value)?),
                    None => seconds(value)?,
                });
            }
            _ => return Err(bad("options")),
        }
    }
    Ok(wanted)
}

impl Work<'_> {
    /// The message with an ARC set on top, if that is wanted and can be done.
    pub(super) fn sealed(&mut self, composed: Composed) -> Composed {
        let smtp = self.smtp;
        let Some(template) = smtp.arc_sign.as_ref() else { return composed };
        let text = match template.expand(self.context) {
            Ok(text) if text.trimmed().is_empty() => return composed,
            Ok(text) => text,
            Err(error) if error.is_forced() => return composed,
            Err(error) => {
                let text = format!("{}failed to expand arc_sign: {error}", self.label);
                self.delivery.services.log().both(text);
                return composed;
            }
        };
        match self.arc_set(&text, &composed) {
            Ok(mut set) => {
                set.extend_from_slice(&composed.header);
                Composed { header: set, body: composed.body }
            }
            Err(Fault(text)) => {
                self.log(&text);
                composed
            }
        }
    }

    fn arc_set(&self, text: &Text, composed: &Composed) -> Result<Vec<u8>, Fault> {
        let now = u64::try_from(Stamp::now().seconds).unwrap_or_default();
        let wanted = parse(text, now)?;
        if wanted.key.taint() == Taint::Tainted && wanted.key.as_bytes().starts_with(b"/") {
            return Err(Fault(format!("Tainted filename '{}'", wanted.key.to_string_lossy())));
        }
        let key = key(&wanted.key).map_err(|Fault(text)| {
            Fault(format!("ARC: AMS signing: {}", text.trim_start_matches("DKIM: ")))
        })?;
        let signable = Signable::of(composed);
        let mut hashers = [BodyHasher::new(Canon::Relaxed, Hash::Sha256, None)];
        signable.hash(&mut hashers).map_err(|_| Fault("ARC: bad message body-hash".to_owned()))?;
        let [hasher] = hashers;
        let sealer = Sealer {
            name: &wanted.name,
            selector: &wanted.selector,
            key: &key,
            client: self.context.connection.host_address.map(|ip| ip.to_string()),
            created: wanted.created,
            expires: wanted.expires,
        };
        sealer.set(&signable.lines(), &hasher.finish().0).map_err(|fault| {
            Fault(match fault {
                SealFault::NoResults => "ARC: no Authentication-Results header for signing".to_owned(),
                SealFault::NotVerified => {
                    "ARC: no result of verify = arc in the Authentication-Results header".to_owned()
                }
                SealFault::TooLong => "ARC: the chain is as long as it may be".to_owned(),
                SealFault::Chain(why) => format!("ARC: {why}"),
                SealFault::Key => "ARC: AMS signing: the key cannot sign".to_owned(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_has_three_parts_and_options() {
        let wanted = parse(&Text::from("a.ex : sel : /k : timestamps, expire=+5"), 100).ok().unwrap();
        assert_eq!(
            (wanted.name.as_slice(), wanted.selector.as_slice()),
            (b"a.ex".as_slice(), b"sel".as_slice())
        );
        assert_eq!((wanted.created, wanted.expires), (Some(100), Some(105)));
        assert_eq!(parse(&Text::from("a.ex : s : /k : expire=7"), 1).ok().unwrap().expires, Some(7));
        for (text, what) in [
            ("", "identity empty"),
            ("a.ex", "selector empty"),
            ("a.ex : s", "privkey empty"),
            ("a;b : s : /k", "identity chars"),
            ("a.ex : s t : /k", "selector chars"),
            ("a.ex : s : /k : odd", "options"),
            ("a.ex : s : /k : expire=x", "options"),
        ] {
            let fault = parse(&Text::from(text), 0).err().unwrap().0;
            assert_eq!(fault, format!("ARC: bad signing-specification ({what}) '{text}'"));
        }
    }
}
