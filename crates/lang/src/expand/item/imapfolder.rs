//! `${imapfolder`: a folder's name as IMAP and Maildir++ have it. Manual section 60.3; `oxim_mail::imap_utf7`.

use oxim_base::Text;
use oxim_mail::imap_utf7::encode_folder;

use super::{ItemRow, row};
use crate::context::Context;
use crate::expand::ExpandError;

pub(super) static ROWS: &[&ItemRow] = &[&row(
    "imapfolder",
    "A folder's name in modified UTF-7: the name in the character set of headers_charset, the separator that \
     becomes a dot, other characters that are to be encoded.",
    &[
        ("${imapfolder {Foo/Bar}}", "Foo.Bar"),
        ("${imapfolder {Foo/Bar}{.}{/}}", "Foo&AC8-Bar"),
        ("${imapfolder {Räksmörgås}}", "R&AOQ-ksm&APY-rg&AOU-s"),
    ],
    |p| super::strings::fixed(p, "imapfolder", 1, 3, |context, texts| encode(context, texts)),
)];

fn encode(context: &Context, texts: &[Text]) -> Result<Text, ExpandError> {
    let [name, rest @ ..] = texts else { return Ok(Text::new()) };
    let separator = rest.first().map_or(&b"/"[..], Text::as_bytes);
    let specials = rest.get(1).map_or(&b""[..], Text::as_bytes);
    encode_folder(name.as_bytes(), context.headers_charset().as_bytes(), separator, specials)
        .map(|encoded| name.derive(encoded))
        .map_err(|error| ExpandError::Failed(error.to_string()))
}
