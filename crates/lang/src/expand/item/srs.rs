//! `${srs_encode`: a return path within this host's domain (manual section 11.5). The calculation is in
//! `oxim_mailauth::srs`.

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_mailauth::srs;

use super::{ItemRow, row};
use crate::expand::ExpandError;

pub(super) static ROWS: &[&ItemRow] = &[&row(
    "srs_encode",
    "A return path for forwarded mail, from which `inbound_srs` finds the sender: secret, return path, domain.",
    &[("${srs_encode{secret}{}{fwd.ex}}", "")],
    |p| {
        super::strings::fixed(p, "srs_encode", 3, 3, |_, texts| match texts {
            [secret, path, domain] => encode(secret, path, domain),
            _ => Ok(Text::new()),
        })
    },
)];

fn encode(secret: &Text, path: &Text, domain: &Text) -> Result<Text, ExpandError> {
    let day = srs::day_of(Stamp::now().seconds);
    let encoded = srs::native::encode(secret.as_bytes(), path.as_bytes(), domain.as_bytes(), day)
        .map_err(|error| ExpandError::Failed(error.to_string()))?;
    Ok(Text::with_taint(encoded, path.taint().join(domain.taint())))
}
