//! The controls that only switch something on or off: `enforce_sync`, `no_pipelining` and their kin.

use super::super::Phase;
use super::{ControlRow, Phases, SMTP_ONLY, all_but, phases};

/// Where signatures are still to be verified.
const DKIM_PLACES: Phases = SMTP_ONLY | Phase::Data.bit();

/// A control without options that sets a flag.
macro_rules! switch {
    ($constant:ident, $name:literal, $forbidden:expr, $doc:literal, $($place:ident).+ = $value:expr) => {
        #[doc = concat!("`", $name, "`.")]
        pub(super) static $constant: ControlRow = ControlRow {
            name: $name,
            doc: $doc,
            forbidden: $forbidden,
            has_options: false,
            apply: Some(|run, _| {
                run.scene.$($place).+ = $value;
                Ok(())
            }),
        };
    };
}

const BEFORE_AUTH: Phases = all_but(&[Phase::Connect, Phase::Helo]);
const DMARC_PLACES: Phases = phases(&[Phase::Data, Phase::NotSmtp, Phase::NotSmtpStart]);
const BEFORE_DATA: Phases = all_but(&[Phase::Mail, Phase::Rcpt, Phase::Predata, Phase::NotSmtpStart]);

switch!(
    ALLOW_AUTH_UNADVERTISED,
    "allow_auth_unadvertised",
    BEFORE_AUTH,
    "Lets the client use AUTH though it was not offered.",
    connection.allow_auth_unadvertised = true
);
switch!(
    DKIM_DISABLE_VERIFY,
    "dkim_disable_verify",
    DKIM_PLACES,
    "Switches DKIM verification off for the message.",
    message.dkim_disable_verify = true
);
switch!(
    DMARC_DISABLE_VERIFY,
    "dmarc_disable_verify",
    DMARC_PLACES,
    "Switches DMARC off for the message.",
    message.dmarc_disable_verify = true
);
switch!(
    DMARC_ENABLE_FORENSIC,
    "dmarc_enable_forensic",
    DMARC_PLACES,
    "Has DMARC forensic reports sent.",
    message.dmarc_enable_forensic = true
);
switch!(
    ENFORCE_SYNC,
    "enforce_sync",
    SMTP_ONLY,
    "Refuses clients that do not wait for replies.",
    connection.enforce_sync = Some(true)
);
switch!(
    NO_ENFORCE_SYNC,
    "no_enforce_sync",
    SMTP_ONLY,
    "Bears with clients that do not wait for replies.",
    connection.enforce_sync = Some(false)
);
switch!(
    NO_CALLOUT_FLUSH,
    "no_callout_flush",
    SMTP_ONLY,
    "Replies are not sent before a callout.",
    connection.no_callout_flush = true
);
switch!(
    NO_DELAY_FLUSH,
    "no_delay_flush",
    SMTP_ONLY,
    "Replies are not sent before a delay.",
    connection.no_delay_flush = true
);
/// `no_mbox_unspool`.
pub(super) static NO_MBOX_UNSPOOL: ControlRow = ControlRow {
    name: "no_mbox_unspool",
    doc: "Keeps the scanners' copy of the message.",
    forbidden: super::MESSAGE_ONLY,
    has_options: false,
    apply: Some(|run, _| {
        run.scene.message.no_mbox_unspool = true;
        crate::scan::keep(&run.scene.message.scan);
        Ok(())
    }),
};
switch!(
    NO_MULTILINE_RESPONSES,
    "no_multiline_responses",
    SMTP_ONLY,
    "Refusals have one line.",
    connection.no_multiline_responses = true
);
switch!(
    NO_PIPELINING,
    "no_pipelining",
    SMTP_ONLY,
    "EHLO does not offer PIPELINING.",
    connection.no_pipelining = true
);
switch!(
    SUPPRESS_LOCAL_FIXUPS,
    "suppress_local_fixups",
    BEFORE_DATA,
    "A local message is not mended.",
    message.suppress_local_fixups = true
);
