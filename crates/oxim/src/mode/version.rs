//! `-bV` and `--version`: who this is, and everything that is built in.
//!
//! The lists have Exim's words, because scripts look for them; what is not built yet is not in them.

use std::fmt::Write as _;

use oxim_lang::config::Config;

/// The version of Exim whose language, logs and command line these are.
pub(crate) const EXIM_VERSION: &str = "4.99";

/// The version that is told: `exim_version`, or our own.
pub(crate) fn shown(config: &Config) -> &str {
    let set = config.main_options.string("exim_version");
    set.filter(|version| *version != oxim_lang::config::main::EXIM_VERSION).unwrap_or(EXIM_VERSION)
}

/// The block that `-bV` and every debugging start print, less the lines about the configuration file.
#[must_use]
pub(crate) fn text(
    routers: &[&str],
    transports: &[&str],
    authenticators: &[&str],
    lookups: &[&str],
    scanners: &[&str],
) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Exim version {EXIM_VERSION} (Oxim {}) #1 built for {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let _ = writeln!(out, "Copyright (c) the Oxim authors; licensed under Apache-2.0 or MIT");
    let _ = writeln!(out, "Hints: SQLite");
    let _ = writeln!(
        out,
        "Support for: crypteq iconv() IPv6 PAM Perl OpenSSL TLS_resume move_frozen_messages Content_Scanning DANE DKIM DMARC DNSSEC ESMTP_Limits ESMTP_Wellknown Event I18N OCSP PIPECONNECT PRDR PROXY Queue_Ramp SOCKS SPF SRS Experimental_ARC Experimental_Brightmail Experimental_DCC Experimental_Redis Experimental_XCLIENT"
    );
    let _ = writeln!(out, "Lookups (built-in): {}", lookups.join(" "));
    let _ = writeln!(out, "Authenticators: {}", authenticators.join(" "));
    let _ = writeln!(out, "Routers: {}", routers.join(" "));
    let _ = writeln!(
        out,
        "Transports: {}",
        transports.join(" ").replace("appendfile", "appendfile/maildir/mailstore/mbx")
    );
    let _ = writeln!(out, "Malware: {}", scanners.join(" "));
    let _ = writeln!(out, "Fixed never_users: 0");
    let _ = writeln!(out, "Configure owner: 0:0");
    let _ = writeln!(out, "Size of off_t: 8");
    out
}
