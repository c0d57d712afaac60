//! `${certextract`: a field of a certificate that a TLS session has shown.
//!
//! The certificate is named by its variable (`$tls_in_peercert` and kin), whose value is its DER form. A certificate that
//! is not there, or cannot be read, has no fields. Manual section 11.5.

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_net::tls::certificate::{AlternativeName, Certificate};

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::variable::VariableReference;
use crate::expand::yes_no::Branches;
use crate::expand::{Body, ExpandError, Fault, Parser};

/// The variables that hold certificates.
const CERTIFICATES: [&str; 4] = ["tls_in_ourcert", "tls_in_peercert", "tls_out_ourcert", "tls_out_peercert"];

pub(super) static ROWS: &[&ItemRow] = &[&row(
    "certextract",
    "A field of a certificate: field name with modifiers after commas, variable.",
    &[("${certextract{subject,CN}{$tls_in_peercert}{$value}{none}}", "none")],
    parse,
)];

struct CertExtract {
    field: Body,
    certificate: VariableReference,
    branches: Branches,
}

fn parse(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for field arg of certextract");
    }
    let field = parser.body()?;
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for cert variable arg of certextract");
    }
    parser.space();
    if !parser.eat(b'$') {
        return parser.fault("second argument of \"certextract\" must be a certificate variable");
    }
    let name = parser.word(|b| b != b'}').to_owned();
    if !parser.eat(b'}') {
        return parser.fault("missing } at end of string");
    }
    let Some(certificate) = VariableReference::find(name.trim_ascii()) else {
        return parser.fault(format!("no variable named \"{name}\""));
    };
    if !CERTIFICATES.contains(&name.trim_ascii()) {
        return parser.fault(format!("\"{name}\" is not a certificate"));
    }
    Ok(Box::new(CertExtract { field, certificate, branches: Branches::parse(parser, "certextract")? }))
}

impl Item for CertExtract {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let field = self.field.expand(context)?.to_string_lossy();
        let mut der = Text::new();
        self.certificate.append(context, &mut der)?;
        let value = match Certificate::parse(der.as_bytes()) {
            Ok(certificate) if !der.is_empty() => value(context, &certificate, field.trim_ascii())?,
            Ok(_) | Err(_) => None,
        };
        let value = value.map(|text| Text::tainted(text.into_bytes()));
        self.branches.append_value(context, out, value)
    }
}

/// The text of a field, if the certificate has it.
fn value(
    context: &Context,
    certificate: &Certificate,
    selector: &str,
) -> Result<Option<String>, ExpandError> {
    let (field, modifiers) = selector.split_once(',').map_or((selector, ""), |(f, m)| (f, m));
    let modifiers = Modifiers::read(modifiers);
    Ok(match field.trim_ascii().to_ascii_lowercase().as_str() {
        "version" => Some(certificate.version.to_string()),
        "serial_number" => Some(certificate.serial_number.clone()),
        "subject" => name(&certificate.subject, &modifiers),
        "issuer" => name(&certificate.issuer, &modifiers),
        "notbefore" => Some(time(context, certificate.not_before, &modifiers)),
        "notafter" => Some(time(context, certificate.not_after, &modifiers)),
        "sig_algorithm" => Some(certificate.signature_algorithm.clone()),
        "signature" => Some(certificate.signature.clone()),
        "subj_altname" => list(alternative_names(certificate, &modifiers), modifiers.separator),
        "ocsp_uri" => list(certificate.ocsp_uris.clone(), modifiers.separator),
        "crl_uri" => list(certificate.crl_uris.clone(), modifiers.separator),
        other => {
            return Err(ExpandError::Failed(format!("bad field selector \"{other}\" for certextract")));
        }
    })
}

/// What follows the field name: a word and a separator for the output.
struct Modifiers<'a> {
    word: Option<&'a str>,
    separator: char,
}

impl<'a> Modifiers<'a> {
    fn read(text: &'a str) -> Modifiers<'a> {
        let mut modifiers = Modifiers { word: None, separator: '\n' };
        // A comma may itself be the separator.
        let (text, comma) = text.strip_suffix(">,").map_or((text, false), |rest| (rest, true));
        if comma {
            modifiers.separator = ',';
        }
        for word in text.split(',').map(str::trim_ascii_start).filter(|word| !word.is_empty()) {
            match word.strip_prefix('>') {
                Some(rest) => modifiers.separator = rest.chars().next().unwrap_or(modifiers.separator),
                None => modifiers.word = Some(word.trim_ascii()),
            }
        }
        modifiers
    }
}

/// A list; one without elements is not there.
fn list(elements: Vec<String>, separator: char) -> Option<String> {
    if elements.is_empty() {
        return None;
    }
    let doubled = String::from_iter([separator, separator]);
    let quoted: Vec<String> = elements.iter().map(|e| e.replace(separator, &doubled)).collect();
    Some(quoted.join(&separator.to_string()))
}

/// A distinguished name, or its elements of one type.
fn name(text: &str, modifiers: &Modifiers<'_>) -> Option<String> {
    let Some(wanted) = modifiers.word else { return Some(text.to_owned()) };
    let mut elements = Vec::new();
    for element in relative_names(text) {
        if let Some((kind, value)) = element.split_once('=')
            && kind.eq_ignore_ascii_case(wanted)
        {
            elements.push(value.to_owned());
        }
    }
    list(elements, modifiers.separator)
}

/// The parts of an RFC 4514 name, cut at commas and plus signs that are not quoted by a backslash.
fn relative_names(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        if !escaped && matches!(letter, ',' | '+') {
            parts.push(String::new());
            continue;
        }
        escaped = !escaped && letter == '\\';
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

fn time(context: &Context, seconds: i64, modifiers: &Modifiers<'_>) -> String {
    if modifiers.word == Some("int") {
        return seconds.to_string();
    }
    Stamp::from_seconds(seconds).strftime(context.services.zone, "%b %e %T %Y %Z")
}

fn alternative_names(certificate: &Certificate, modifiers: &Modifiers<'_>) -> Vec<String> {
    let tagged = certificate.alternative_names.iter().filter_map(|name| match name {
        AlternativeName::Dns(text) => Some(("dns", "DNS", text)),
        AlternativeName::Mail(text) => Some(("mail", "MAIL", text)),
        AlternativeName::Uri(text) => Some(("uri", "URI", text)),
        AlternativeName::Ip(_) => None,
    });
    tagged
        .filter(|(kind, _, _)| modifiers.word.is_none_or(|word| word.eq_ignore_ascii_case(kind)))
        .map(|(_, tag, text)| if modifiers.word.is_some() { text.clone() } else { format!("{tag}={text}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_commas_that_are_not_quoted() {
        assert_eq!(relative_names("CN=a\\,b,O=c+OU=d"), ["CN=a\\,b", "O=c", "OU=d"]);
        let modifiers = Modifiers::read("OU,>:");
        assert_eq!(name("OU=a:b,CN=c,OU=d", &modifiers).as_deref(), Some("a::b:d"));
        assert_eq!(name("CN=c", &modifiers), None);
        assert_eq!(name("CN=c", &Modifiers::read("")).as_deref(), Some("CN=c"));
        assert_eq!(Modifiers::read("mail,>,").separator, ',');
    }
}
