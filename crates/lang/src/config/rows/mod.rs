//! Option rows of every driver, one file each; `deliver` refers to them from its tables of drivers.
//!
//! Rows of drivers that are not built are here too: they are documentation. The names of such
//! drivers are in [`UNAVAILABLE`], so that they are refused with a better reason than "cannot find".

mod auth_cram_md5;
mod auth_cyrus_sasl;
mod auth_dovecot;
mod auth_external;
mod auth_generic;
mod auth_gsasl;
mod auth_heimdal_gssapi;
mod auth_plaintext;
mod auth_spa;
mod auth_tls;
mod router_accept;
mod router_dnslookup;
mod router_generic;
mod router_ipliteral;
mod router_iplookup;
mod router_manualroute;
mod router_queryprogram;
mod router_redirect;
mod transport_appendfile;
mod transport_autoreply;
mod transport_generic;
mod transport_lmtp;
mod transport_pipe;
mod transport_queuefile;
mod transport_smtp;

pub use auth_cram_md5::AUTH_CRAM_MD5;
pub use auth_cyrus_sasl::AUTH_CYRUS_SASL;
pub use auth_dovecot::AUTH_DOVECOT;
pub use auth_external::AUTH_EXTERNAL;
pub use auth_generic::AUTH_GENERIC;
pub use auth_gsasl::AUTH_GSASL;
pub use auth_heimdal_gssapi::AUTH_HEIMDAL_GSSAPI;
pub use auth_plaintext::AUTH_PLAINTEXT;
pub use auth_spa::AUTH_SPA;
pub use auth_tls::AUTH_TLS;
pub use router_accept::ROUTER_ACCEPT;
pub use router_dnslookup::ROUTER_DNSLOOKUP;
pub use router_generic::ROUTER_GENERIC;
pub use router_ipliteral::ROUTER_IPLITERAL;
pub use router_iplookup::ROUTER_IPLOOKUP;
pub use router_manualroute::ROUTER_MANUALROUTE;
pub use router_queryprogram::ROUTER_QUERYPROGRAM;
pub use router_redirect::ROUTER_REDIRECT;
pub use transport_appendfile::TRANSPORT_APPENDFILE;
pub use transport_autoreply::TRANSPORT_AUTOREPLY;
pub use transport_generic::TRANSPORT_GENERIC;
pub use transport_lmtp::TRANSPORT_LMTP;
pub use transport_pipe::TRANSPORT_PIPE;
pub use transport_queuefile::TRANSPORT_QUEUEFILE;
pub use transport_smtp::TRANSPORT_SMTP;

/// Drivers that Exim has and this program will not have: class, name, and the reason with what to use.
pub static UNAVAILABLE: &[(&str, &str, &str)] = &[(
    "authenticator",
    "heimdal_gssapi",
    "it needs a Kerberos library; the dovecot driver with public_name = GSSAPI leaves Kerberos to Dovecot",
)];
