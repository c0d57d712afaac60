//! `tls_eccurve`: which groups the key exchange may use. Manual chapter 14.
//!
//! `auto` is the library's choice, with the hybrid post-quantum exchange first. Names that are not built in are dropped and told; a
//! list that leaves nothing is an error.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{self, kx_group};

use super::TlsError;

/// The groups of an expanded `tls_eccurve`, and the names that are not known.
///
/// # Errors
/// [`TlsError::Config`] if none is left.
pub(super) fn choose(text: &str) -> Result<(Vec<&'static dyn SupportedKxGroup>, Vec<String>), TlsError> {
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    let mut unknown = Vec::new();
    for name in text.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        if name.eq_ignore_ascii_case("auto") {
            return Ok((aws_lc_rs::DEFAULT_KX_GROUPS.to_vec(), unknown));
        }
        match named(name) {
            Some(group) if groups.iter().any(|other| other.name() == group.name()) => {}
            Some(group) => groups.push(group),
            None => unknown.push(name.to_owned()),
        }
    }
    if groups.is_empty() {
        return Err(TlsError::Config(format!("Unknown curve name tls_eccurve '{text}'")));
    }
    Ok((groups, unknown))
}

fn named(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name.to_ascii_lowercase().as_str() {
        "x25519" => Some(kx_group::X25519),
        "prime256v1" | "secp256r1" | "p-256" => Some(kx_group::SECP256R1),
        "secp384r1" | "p-384" => Some(kx_group::SECP384R1),
        "x25519mlkem768" => Some(kx_group::X25519MLKEM768),
        "secp256r1mlkem768" => Some(kx_group::SECP256R1MLKEM768),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_openssl_are_known() {
        let names = |text: &str| {
            let (groups, unknown) = choose(text).unwrap();
            (groups.iter().map(|group| format!("{:?}", group.name())).collect::<Vec<_>>(), unknown)
        };
        assert_eq!(names("prime256v1").0, ["secp256r1"]);
        assert_eq!(names("P-384:secp384r1:X25519").0, ["secp384r1", "X25519"]);
        assert_eq!(names("secp521r1:P-256"), (vec!["secp256r1".to_owned()], vec!["secp521r1".to_owned()]));
        assert!(names("auto").0.len() > 2);
        assert!(choose("P-512").is_err());
    }
}
