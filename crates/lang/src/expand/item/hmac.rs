//! `${hmac`: the message authentication code of a text (RFC 2104).
//!
//! Where the hash and the secret stand in the configuration, the secret goes into the hash once, when it is read.

use hmac::{Hmac, Mac};
use md5::Md5;
use oxim_base::Text;
use sha1::Sha1;

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::operator::hash;
use crate::expand::{Body, ExpandError, Fault, Parser};

pub(super) static ROWS: &[&ItemRow] = &[&row(
    "hmac",
    "The message authentication code (RFC 2104) of a text: hash name (md5 or sha1), secret, text.",
    &[("${hmac{md5}{somesecret}{mail.example.com 2002-10-17 11:30:59}}", "dd97e3ba5d1a61b5006108f8c8252953")],
    parse,
)];

/// A hash that has taken the secret in.
#[derive(Clone)]
enum Keyed {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
}

impl Keyed {
    fn new(name: &Text, secret: &Text) -> Result<Keyed, ExpandError> {
        let keyed = match name.as_bytes() {
            b"md5" => Hmac::new_from_slice(secret.as_bytes()).map(Keyed::Md5),
            b"sha1" => Hmac::new_from_slice(secret.as_bytes()).map(Keyed::Sha1),
            _ => return Err(ExpandError::Failed(format!("hmac algorithm \"{name}\" is not recognised"))),
        };
        keyed.map_err(|error| ExpandError::Failed(error.to_string()))
    }

    fn digest(self, text: &Text) -> Text {
        let hex = match self {
            Keyed::Md5(keyed) => {
                hash::lower_hex(&keyed.chain_update(text.as_bytes()).finalize().into_bytes())
            }
            Keyed::Sha1(keyed) => {
                hash::lower_hex(&keyed.chain_update(text.as_bytes()).finalize().into_bytes())
            }
        };
        text.derive(hex)
    }
}

struct KeyedDigest {
    strings: Vec<Body>,
    /// The hash with the secret, if both are constant.
    keyed: Option<Keyed>,
}

fn parse(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let strings = parser.strings("hmac", 3, 3)?;
    let keyed = match strings.as_slice() {
        [name, secret, _] => name.constant().zip(secret.constant()),
        _ => None,
    };
    // A name that is not known is told when the item is evaluated.
    let keyed = keyed.and_then(|(name, secret)| Keyed::new(&name, &secret).ok());
    Ok(Box::new(KeyedDigest { strings, keyed }))
}

impl Item for KeyedDigest {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let [name, secret, text] = self.strings.as_slice() else { return Ok(()) };
        let digest = match &self.keyed {
            Some(keyed) => keyed.clone().digest(&text.expand(context)?),
            None => {
                let (name, secret) = (name.expand(context)?, secret.expand(context)?);
                let text = text.expand(context)?;
                Keyed::new(&name, &secret)?.digest(&text)
            }
        };
        out.push(&digest);
        Ok(())
    }
}
