//! TLS as a server: which certificate, whom to ask for one, by the main options. Manual chapter 43.
//!
//! The options are expanded for each connection, once more after the client has named a server if they depend on that name.
//! Failure mode: a policy that cannot be made ready gives 454, and the reason goes to the log.

use std::path::PathBuf;
use std::sync::Arc;

use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_net::tls::server::{ServerPolicy, ServerTls};
use oxim_net::tls::{CaSource, KeyPair, Verify};

use crate::host_rule::HostRule;

/// The options.
#[derive(Debug)]
pub struct TlsOptions {
    certificate: Option<Template>,
    private_key: Option<Template>,
    verify_certificates: Option<Template>,
    crl: Option<Template>,
    require_ciphers: Option<Template>,
    verify_hosts: HostRule,
    try_verify_hosts: HostRule,
    resumption_hosts: HostRule,
    self_signed_name: String,
    /// Ports on which TLS starts at once.
    pub on_connect_ports: Vec<u16>,
    /// Whether the options mention the name that the client asks for.
    pub depends_on_name: bool,
}

impl TlsOptions {
    /// Reads the options.
    #[must_use]
    pub fn build(config: &Config) -> TlsOptions {
        let options = &config.main_options;
        let template = |name: &str| {
            let known = options.has(name);
            if known { options.template(name).filter(|t| !t.source().trim().is_empty()) } else { None }
        };
        let rule = |name| HostRule::build_if_known(config, name);
        let certificate = template("tls_certificate");
        let private_key = template("tls_privatekey");
        let mentions = |t: &Option<Template>| {
            t.as_ref().is_some_and(|t| t.source().contains("tls_in_sni") || t.source().contains("tls_sni"))
        };
        let depends_on_name = mentions(&certificate) || mentions(&private_key);
        let ports =
            if options.has("tls_on_connect_ports") { options.string("tls_on_connect_ports") } else { None };
        let on_connect_ports = oxim_lang::list::split(ports.unwrap_or_default().as_bytes())
            .filter_map(|item| match item.as_ref() {
                b"smtps" | b"submissions" | b"ssmtp" => Some(465),
                text => std::str::from_utf8(text).ok()?.parse().ok(),
            })
            .collect();
        TlsOptions {
            certificate,
            private_key,
            verify_certificates: template("tls_verify_certificates"),
            crl: template("tls_crl"),
            require_ciphers: template("tls_require_ciphers"),
            verify_hosts: rule("tls_verify_hosts"),
            try_verify_hosts: rule("tls_try_verify_hosts"),
            resumption_hosts: rule("tls_resumption_hosts"),
            self_signed_name: config.main.primary_hostname.clone(),
            on_connect_ports,
            depends_on_name,
        }
    }

    /// The policy for this client, made ready. May block.
    ///
    /// # Errors
    /// The text for the log.
    pub fn ready(&self, context: &mut Context) -> Result<Arc<ServerTls>, String> {
        let policy = self.policy(context)?;
        ServerTls::of(&policy).map_err(|error| error.to_string())
    }

    fn policy(&self, context: &mut Context) -> Result<ServerPolicy, String> {
        let certificates = list(self.certificate.as_ref(), context)?;
        let keys = list(self.private_key.as_ref(), context)?;
        let client_certificates = if self.verify_hosts.matches(context) {
            Verify::Require
        } else if self.try_verify_hosts.matches(context) {
            Verify::Try
        } else {
            Verify::None
        };
        let ca = match text(self.verify_certificates.as_ref(), context)? {
            None => CaSource::default(),
            Some(word) if word == "system" => CaSource::System,
            Some(path) => CaSource::Path(PathBuf::from(path)),
        };
        Ok(ServerPolicy {
            certificates: certificates
                .into_iter()
                .enumerate()
                .map(|(index, certificate)| KeyPair {
                    certificate: PathBuf::from(certificate),
                    key: keys.get(index).map(PathBuf::from),
                })
                .collect(),
            self_signed_name: self.self_signed_name.clone(),
            client_certificates,
            ca,
            crl: text(self.crl.as_ref(), context)?.map(PathBuf::from),
            ciphers: text(self.require_ciphers.as_ref(), context)?,
            resumption: self.resumption_hosts.matches(context),
            ..ServerPolicy::default()
        })
    }
}

/// An option, expanded; None if it is unset, empty, or its expansion was made to fail.
fn text(template: Option<&Template>, context: &mut Context) -> Result<Option<String>, String> {
    let Some(template) = template else { return Ok(None) };
    match template.expand(context) {
        Ok(text) => Ok(Some(text.to_string_lossy()).filter(|text| !text.is_empty())),
        Err(error) if error.is_forced() => Ok(None),
        Err(error) => Err(format!("expansion of \"{}\" failed: {error}", template.source())),
    }
}

fn list(template: Option<&Template>, context: &mut Context) -> Result<Vec<String>, String> {
    let text = text(template, context)?.unwrap_or_default();
    Ok(oxim_lang::list::split(text.as_bytes())
        .map(|item| String::from_utf8_lossy(&item).into_owned())
        .collect())
}
