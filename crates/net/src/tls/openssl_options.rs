//! `openssl_options`: words with a plus or minus sign in front (manual chapter 14).
//!
//! Two words mean something here, `no_tlsv1_2` and `no_tlsv1_3`; what the others ask for is always so, or cannot be had. Unknown
//! words are an error.

use super::Versions;

/// The words of OpenSSL's documentation, without `SSL_OP_`.
const WORDS: &[&str] = &[
    "all",
    "allow_no_dhe_kex",
    "allow_unsafe_legacy_renegotiation",
    "cipher_server_preference",
    "cookie_exchange",
    "cryptopro_tlsext_bug",
    "dont_insert_empty_fragments",
    "enable_ktls",
    "enable_middlebox_compat",
    "ephemeral_rsa",
    "ignore_unexpected_eof",
    "legacy_server_connect",
    "microsoft_big_sslv3_buffer",
    "microsoft_sess_id_bug",
    "msie_sslv2_rsa_padding",
    "netscape_challenge_bug",
    "netscape_reuse_cipher_change_bug",
    "no_anti_replay",
    "no_compression",
    "no_dtlsv1",
    "no_dtlsv1_2",
    "no_encrypt_then_mac",
    "no_extended_master_secret",
    "no_query_mtu",
    "no_renegotiation",
    "no_session_resumption_on_renegotiation",
    "no_sslv2",
    "no_sslv3",
    "no_ticket",
    "no_tlsv1",
    "no_tlsv1_1",
    "no_tlsv1_2",
    "no_tlsv1_3",
    "prioritize_chacha",
    "safari_ecdhe_ecdsa_bug",
    "single_dh_use",
    "single_ecdh_use",
    "ssleay_080_client_dh_bug",
    "sslref2_reuse_cert_type_bug",
    "tls_block_padding_bug",
    "tls_d5_bug",
    "tls_rollback_bug",
    "tlsext_padding",
];

/// The protocol versions that are left.
///
/// # Errors
/// What is wrong, for the log.
pub fn parse(text: &str) -> Result<Versions, String> {
    let mut versions = Versions::default();
    for item in text.split_ascii_whitespace() {
        let (is_added, word) = match (item.strip_prefix('+'), item.strip_prefix('-')) {
            (Some(word), _) => (true, word),
            (_, Some(word)) => (false, word),
            (None, None) => return Err(format!("no + or - before \"{item}\"")),
        };
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "no_tlsv1_2" => versions.tls12 = !is_added,
            "no_tlsv1_3" => versions.tls13 = !is_added,
            word if WORDS.contains(&word) => {}
            _ => return Err(format!("\"{item}\" is not known")),
        }
    }
    if versions.tls12 || versions.tls13 { Ok(versions) } else { Err("no TLS version is left".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_versions_away() {
        let left = |text: &str| parse(text).map(|versions| (versions.tls12, versions.tls13));
        assert_eq!(left(""), Ok((true, true)));
        assert_eq!(left("+no_sslv2 +no_tlsv1_2 -all"), Ok((false, true)));
        assert_eq!(left("+no_tlsv1_3 +NO_TLSV1_2 -no_tlsv1_2"), Ok((true, false)));
        assert_eq!(left("+no_tlsv1_2 +no_tlsv1_3"), Err("no TLS version is left".to_owned()));
        assert_eq!(left("+no_such"), Err("\"+no_such\" is not known".to_owned()));
        assert_eq!(left("all"), Err("no + or - before \"all\"".to_owned()));
    }
}
