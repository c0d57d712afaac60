//! What `-brw` prints: an address as it would be rewritten in each place (manual section 31.3).

use std::fmt::Write as _;

use oxim_lang::context::Context;
use oxim_mail::address;
use oxim_mail::header::Header;

use super::{Place, Rules, Settings};

impl Rules {
    /// The output of `-brw` for its argument.
    pub fn show(&self, context: &mut Context, argument: &str, settings: &Settings) -> String {
        let mut out = String::new();
        if self.has_smtp_rules() {
            let new = self.smtp(context, argument.as_bytes());
            if new != argument.as_bytes() {
                let _ = writeln!(out, "    SMTP: {}", String::from_utf8_lossy(&new));
            }
        }
        let domain = String::from_utf8_lossy(&settings.qualify_recipient);
        let argument =
            if argument.contains('@') { argument.to_owned() } else { format!("{argument}@{domain}") };
        let parsed = match address::parse(argument.as_bytes(), &settings.syntax) {
            Ok(parsed) => parsed,
            Err(error) => {
                let error = error.to_string();
                let mut letters = error.chars();
                let first = letters.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
                let _ = writeln!(out, "Syntax error in {argument}\n{first}{}", letters.as_str());
                return out;
            }
        };
        for (label, name) in [
            ("  sender", "Sender"),
            ("    from", "From"),
            ("      to", "To"),
            ("      cc", "Cc"),
            ("     bcc", "Bcc"),
            ("reply-to", "Reply-To"),
        ] {
            let header = Header::from_parts(name.as_bytes(), argument.as_bytes());
            let header = self.header(context, &header, settings).unwrap_or(header);
            let _ = writeln!(out, "{label}: {}", String::from_utf8_lossy(header.body().trim_ascii()));
        }
        for (label, place) in [("env-from", Place::EnvelopeFrom), ("  env-to", Place::EnvelopeTo)] {
            let address = self.address(context, place, &parsed.address, settings);
            let _ = writeln!(out, "{label}: {}", String::from_utf8_lossy(&address));
        }
        out
    }
}
