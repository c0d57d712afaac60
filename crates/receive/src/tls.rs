//! TLS as a server: which certificate, whom to ask for one, by the main options. Manual chapter 43.
//!
//! The options are expanded for each connection, once more after the client has named a server if they depend on that name.
//! Failure mode: a policy that cannot be made ready gives 454, and the reason goes to the log ([`NotReady`]).

use std::path::PathBuf;
use std::sync::Arc;

use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_net::tls::server::{ProofFile, ServerPolicy, ServerTls};
use oxim_net::tls::{CaSource, KeyPair, Verify, Versions, openssl_options};

use crate::host_rule::HostRule;
use crate::logs::Logs;

/// Why there is no TLS for a connection.
#[derive(Debug)]
pub enum NotReady {
    /// An option cannot be expanded: for the panic log; the client's line says `Internal error`.
    Expansion(String),
    /// Something that the options name cannot be used: for the client's line.
    Unusable(String),
}

impl NotReady {
    /// Writes to the panic log what belongs there, and gives the text of the client's line.
    pub(crate) fn told(self, logs: &Logs) -> String {
        match self {
            NotReady::Expansion(text) => {
                logs.panic(&text);
                "Internal error".to_owned()
            }
            NotReady::Unusable(text) => text,
        }
    }
}

/// An option that is expanded.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    template: Option<Template>,
}

impl Setting {
    fn build(config: &Config, name: &'static str) -> Setting {
        let template = config.main_options.template(name).filter(|t| !t.source().trim().is_empty());
        Setting { name, template }
    }

    fn may_block(&self) -> bool {
        self.template.as_ref().is_some_and(Template::may_block)
    }

    fn depends_on_name(&self) -> bool {
        self.template.as_ref().is_some_and(|template| mentions_name(template.source()))
    }

    /// The value; None if it is unset, empty, or its expansion was made to fail.
    fn text(&self, context: &mut Context) -> Result<Option<String>, NotReady> {
        let Some(template) = &self.template else { return Ok(None) };
        match template.expand(context) {
            Ok(text) => Ok(Some(text.to_string_lossy()).filter(|text| !text.is_empty())),
            Err(error) if error.is_forced() => Ok(None),
            Err(error) => Err(NotReady::Expansion(format!("expansion of {} failed: {error}", self.name))),
        }
    }

    fn list(&self, context: &mut Context) -> Result<Vec<String>, NotReady> {
        let text = self.text(context)?.unwrap_or_default();
        Ok(oxim_lang::list::split(text.as_bytes())
            .map(|item| String::from_utf8_lossy(&item).into_owned())
            .collect())
    }
}

fn mentions_name(source: &str) -> bool {
    ["tls_in_sni", "tls_sni", "tls_out_sni"].iter().any(|name| source.contains(name))
}

/// Where TLS comes before the greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsAtOnce {
    /// On these ports (`tls_on_connect_ports`).
    Ports(Vec<u16>),
    /// In every session (`-tls-on-connect`).
    Everywhere,
}

impl TlsAtOnce {
    /// Whether it does on a port; a session on a pipe has none.
    #[must_use]
    pub fn is_on(&self, port: Option<u16>) -> bool {
        match self {
            TlsAtOnce::Ports(ports) => port.is_some_and(|port| ports.contains(&port)),
            TlsAtOnce::Everywhere => true,
        }
    }
}

/// The options.
#[derive(Debug)]
pub struct TlsOptions {
    certificate: Setting,
    private_key: Setting,
    ocsp_file: Setting,
    verify_certificates: Setting,
    crl: Setting,
    require_ciphers: Setting,
    curve: Setting,
    alpn: Setting,
    verify_hosts: HostRule,
    try_verify_hosts: HostRule,
    resumption_hosts: HostRule,
    early_banner_hosts: HostRule,
    alpn_hosts: HostRule,
    versions: Versions,
    self_signed_name: String,
    /// `tls_remember_esmtp`.
    pub remembers_esmtp: bool,
    /// Whether the options mention the name that the client asks for.
    pub depends_on_name: bool,
    /// Whether the options ask something that may take its time, beside reading files that have changed.
    may_block: bool,
}

/// The options that are host lists.
const HOST_LISTS: [&str; 4] =
    ["tls_verify_hosts", "tls_try_verify_hosts", "tls_resumption_hosts", "tls_early_banner_hosts"];

impl TlsOptions {
    /// Reads the options.
    #[must_use]
    pub fn build(config: &Config) -> TlsOptions {
        let options = &config.main_options;
        let setting = |name| Setting::build(config, name);
        let rule = |name| HostRule::build(config, name);
        let [verify, try_verify, resumption, early_banner] = HOST_LISTS;
        let mut built = TlsOptions {
            certificate: setting("tls_certificate"),
            private_key: setting("tls_privatekey"),
            ocsp_file: setting("tls_ocsp_file"),
            verify_certificates: setting("tls_verify_certificates"),
            crl: setting("tls_crl"),
            require_ciphers: setting("tls_require_ciphers"),
            curve: setting("tls_eccurve"),
            alpn: setting("tls_alpn"),
            verify_hosts: rule(verify),
            try_verify_hosts: rule(try_verify),
            resumption_hosts: rule(resumption),
            early_banner_hosts: rule(early_banner),
            alpn_hosts: rule("hosts_require_alpn"),
            // A faulty one does not get as far.
            versions: openssl_options::parse(config.main.openssl_options.as_deref().unwrap_or_default())
                .unwrap_or_default(),
            self_signed_name: config.main.primary_hostname.clone(),
            remembers_esmtp: options.bool("tls_remember_esmtp"),
            depends_on_name: false,
            may_block: false,
        };
        let lists = HOST_LISTS.iter().any(|name| options.string(name).is_some_and(mentions_name));
        built.depends_on_name = lists || built.settings().iter().any(|setting| setting.depends_on_name());
        let rules = [
            &built.verify_hosts,
            &built.try_verify_hosts,
            &built.resumption_hosts,
            &built.early_banner_hosts,
        ];
        built.may_block = rules.iter().any(|rule| rule.may_block())
            || built.settings().iter().any(|setting| setting.may_block());
        built
    }

    fn settings(&self) -> [&Setting; 8] {
        [
            &self.certificate,
            &self.private_key,
            &self.ocsp_file,
            &self.verify_certificates,
            &self.crl,
            &self.require_ciphers,
            &self.curve,
            &self.alpn,
        ]
    }

    /// Whether this client must agree on a protocol (`hosts_require_alpn`).
    pub fn requires_alpn(&self, context: &mut Context) -> bool {
        self.alpn_hosts.matches(context)
    }

    /// Whether this client is greeted before the handshake ends, where TLS starts at once.
    pub fn greets_early(&self, context: &mut Context) -> bool {
        self.early_banner_hosts.matches(context)
    }

    /// The policy for this client, made ready. May block.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub fn ready(&self, context: &mut Context) -> Result<Arc<ServerTls>, NotReady> {
        let policy = self.policy(context)?;
        ServerTls::of(&policy).map_err(|error| NotReady::Unusable(error.to_string()))
    }

    /// The policy for this client, if nothing has to be waited for: it has been made ready before, and its files are the same.
    pub fn ready_at_once(&self, context: &mut Context) -> Option<Arc<ServerTls>> {
        if self.may_block {
            return None;
        }
        ServerTls::known(&self.policy(context).ok()?)
    }

    /// Which proofs are wanted for a client that names no server: the files of the certificates and of the proofs, in step,
    /// and more certificates, among which issuers may be.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub fn proofs_wanted(
        &self,
        context: &mut Context,
    ) -> Result<(Vec<PathBuf>, Vec<ProofFile>, CaSource), NotReady> {
        let certificates = self.certificate.list(context)?.into_iter().map(PathBuf::from).collect();
        Ok((certificates, proofs(&self.ocsp_file.list(context)?), self.authorities(context)?))
    }

    fn authorities(&self, context: &mut Context) -> Result<CaSource, NotReady> {
        Ok(match self.verify_certificates.text(context)? {
            None => CaSource::default(),
            // GnuTLS builds of Exim have a suffix for a cache, which is always here.
            Some(word) if word == "system" || word == "system,cache" => CaSource::System,
            Some(path) => CaSource::Path(PathBuf::from(path)),
        })
    }

    fn policy(&self, context: &mut Context) -> Result<ServerPolicy, NotReady> {
        let certificates = self.certificate.list(context)?;
        let keys = self.private_key.list(context)?;
        let client_certificates = if self.verify_hosts.matches(context) {
            Verify::Require
        } else if self.try_verify_hosts.matches(context) {
            Verify::Try
        } else {
            Verify::None
        };
        let ca = self.authorities(context)?;
        Ok(ServerPolicy {
            certificates: certificates
                .into_iter()
                .enumerate()
                .map(|(index, certificate)| KeyPair {
                    certificate: PathBuf::from(certificate),
                    key: keys.get(index).map(PathBuf::from),
                })
                .collect(),
            proofs: proofs(&self.ocsp_file.list(context)?),
            self_signed_name: self.self_signed_name.clone(),
            client_certificates,
            ca,
            crl: self.crl.text(context)?.map(PathBuf::from),
            alpn: self.alpn.list(context)?.into_iter().map(String::into_bytes).collect(),
            ciphers: self.require_ciphers.text(context)?,
            groups: self.curve.text(context)?.filter(|names| !names.eq_ignore_ascii_case("auto")),
            resumption: self.resumption_hosts.matches(context),
            early_data_out: self.early_banner_hosts.matches(context),
            versions: self.versions,
        })
    }
}

/// `tls_ocsp_file`: a word `PEM` or `DER` before a name says what this file and those after it are.
fn proofs(items: &[String]) -> Vec<ProofFile> {
    let mut is_pem = false;
    let file = |item: &String| {
        let path = match item.split_at_checked(4) {
            Some(("PEM ", path)) => {
                is_pem = true;
                path
            }
            Some(("DER ", path)) => {
                is_pem = false;
                path
            }
            Some(_) | None => item,
        };
        ProofFile { path: PathBuf::from(path.trim_start()), is_pem }
    };
    items.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_a_proof_stays_until_it_is_changed() {
        let items = ["/a", "PEM /b", "/c", "DER /d", "/e"].map(str::to_owned);
        let read: Vec<(String, bool)> = proofs(&items)
            .into_iter()
            .map(|proof| (proof.path.to_string_lossy().into_owned(), proof.is_pem))
            .collect();
        let expected = [("/a", false), ("/b", true), ("/c", true), ("/d", false), ("/e", false)];
        assert_eq!(read, expected.map(|(path, is_pem)| (path.to_owned(), is_pem)));
    }
}
