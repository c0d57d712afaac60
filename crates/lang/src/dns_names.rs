//! `dns_check_names_pattern`: which names the DNS is asked for at all.
//!
//! What does not look like a name is not there, and no server is asked: some answer odd names with "ask again". A pattern
//! that does not compile, or a match that takes too many steps, lets every name or none through.

use std::sync::Arc;

use crate::regex::Regex;

/// The check. The default asks for every name.
#[derive(Clone, Debug, Default)]
pub struct DnsNames {
    pattern: Option<Arc<Regex>>,
}

impl DnsNames {
    /// Takes the value of the option; an empty one means every name.
    #[must_use]
    pub fn new(pattern: &str) -> DnsNames {
        let compiled = (!pattern.is_empty()).then(|| Regex::compile(pattern.as_bytes(), true).ok());
        DnsNames { pattern: compiled.flatten().map(Arc::new) }
    }

    /// Whether a name is asked for. A pattern sees the form that would be asked: A-labels.
    #[must_use]
    pub fn allow(&self, name: &str) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        let Ok(name) = oxim_mail::idna::to_ascii(name.as_bytes()) else { return false };
        pattern.is_match(&name).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::DnsNames;

    #[test]
    fn the_pattern_decides() {
        let letters = DnsNames::new(r"(?i)^[a-z.-]+$");
        assert!(letters.allow("mail.Example") && !letters.allow("mail1.example"));
        assert!(DnsNames::new("").allow("mail 1") && DnsNames::default().allow("!"));
    }
}
