//! The points of a session at which ACLs run, and what an ACL may do at each (manual sections 44.2 and 44.14).

use super::Verdict;

/// The points at which an ACL runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// A recipient has been named.
    Rcpt,
    /// A sender has been named.
    Mail,
    /// DATA has been given, nothing read yet.
    Predata,
    /// One MIME part of a message received over SMTP.
    Mime,
    /// One DKIM signature.
    Dkim,
    /// The whole message is there.
    Data,
    /// The whole message is there, once for each recipient.
    Prdr,
    /// The whole message from a non-SMTP source is there.
    NotSmtp,
    /// AUTH.
    Auth,
    /// A client has connected.
    Connect,
    /// ETRN.
    Etrn,
    /// EXPN.
    Expn,
    /// HELO or EHLO.
    Helo,
    /// The AUTH parameter of MAIL.
    MailAuth,
    /// One MIME part of a message from a non-SMTP source.
    NotSmtpMime,
    /// Before a non-SMTP message is read.
    NotSmtpStart,
    /// The session ends without QUIT.
    NotQuit,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// VRFY.
    Vrfy,
    /// ATRN.
    Atrn,
    /// WELLKNOWN.
    Wellknown,
    /// Called from an expansion, outside all of these.
    Unknown,
}

impl Phase {
    /// All phases that have an option, in the order of the enumeration.
    pub const ALL: [Phase; 22] = [
        Phase::Rcpt,
        Phase::Mail,
        Phase::Predata,
        Phase::Mime,
        Phase::Dkim,
        Phase::Data,
        Phase::Prdr,
        Phase::NotSmtp,
        Phase::Auth,
        Phase::Connect,
        Phase::Etrn,
        Phase::Expn,
        Phase::Helo,
        Phase::MailAuth,
        Phase::NotSmtpMime,
        Phase::NotSmtpStart,
        Phase::NotQuit,
        Phase::Quit,
        Phase::StartTls,
        Phase::Vrfy,
        Phase::Atrn,
        Phase::Wellknown,
    ];

    /// The bit of this phase in a mask of phases.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << (self as u8)
    }

    /// Whether log lines about a refusal show the envelope sender.
    #[must_use]
    pub const fn concerns_envelope(self) -> bool {
        matches!(self, Phase::Rcpt | Phase::Data | Phase::Mime | Phase::Prdr)
    }

    /// The main option that names the ACL of this phase.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Phase::Rcpt => "acl_smtp_rcpt",
            Phase::Mail => "acl_smtp_mail",
            Phase::Predata => "acl_smtp_predata",
            Phase::Mime => "acl_smtp_mime",
            Phase::Dkim => "acl_smtp_dkim",
            Phase::Data => "acl_smtp_data",
            Phase::Prdr => "acl_smtp_data_prdr",
            Phase::NotSmtp => "acl_not_smtp",
            Phase::Auth => "acl_smtp_auth",
            Phase::Connect => "acl_smtp_connect",
            Phase::Etrn => "acl_smtp_etrn",
            Phase::Expn => "acl_smtp_expn",
            Phase::Helo => "acl_smtp_helo",
            Phase::MailAuth => "acl_smtp_mailauth",
            Phase::NotSmtpMime => "acl_not_smtp_mime",
            Phase::NotSmtpStart => "acl_not_smtp_start",
            Phase::NotQuit => "acl_smtp_notquit",
            Phase::Quit => "acl_smtp_quit",
            Phase::StartTls => "acl_smtp_starttls",
            Phase::Vrfy => "acl_smtp_vrfy",
            Phase::Atrn => "acl_smtp_atrn",
            Phase::Wellknown => "acl_smtp_wellknown",
            Phase::Unknown => "",
        }
    }

    /// The phase as log lines and error messages name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Rcpt => "RCPT",
            Phase::Mail => "MAIL",
            Phase::Predata | Phase::Data => "DATA",
            Phase::Mime => "MIME",
            Phase::Dkim => "DKIM",
            Phase::Prdr => "PRDR",
            Phase::NotSmtp => "non-SMTP",
            Phase::Auth => "AUTH",
            Phase::Connect => "connection",
            Phase::Etrn => "ETRN",
            Phase::Expn => "EXPN",
            Phase::Helo => "EHLO or HELO",
            Phase::MailAuth => "MAILAUTH",
            Phase::NotSmtpMime => "non-SMTP-MIME",
            Phase::NotSmtpStart => "non-SMTP-start",
            Phase::NotQuit => "NOTQUIT",
            Phase::Quit => "QUIT",
            Phase::StartTls => "STARTTLS",
            Phase::Vrfy => "VRFY",
            Phase::Atrn => "ATRN",
            Phase::Wellknown => "WELLKNOWN",
            Phase::Unknown => "unknown",
        }
    }

    /// How log lines call the end of a session, for the ACLs that run then.
    pub(crate) const fn end_of_session(self) -> Option<&'static str> {
        if matches!(self, Phase::Quit) {
            Some("QUIT")
        } else if matches!(self, Phase::NotQuit) {
            Some("not-QUIT")
        } else {
            None
        }
    }

    /// The phase as complaints about ACLs name it: the two ACLs of DATA are told apart there.
    #[must_use]
    pub const fn acl_name(self) -> &'static str {
        if matches!(self, Phase::Predata) { "PREDATA" } else { self.name() }
    }

    /// What an unset option means (manual section 44.14).
    #[must_use]
    pub const fn when_unset(self) -> Verdict {
        match self {
            Phase::Rcpt | Phase::Etrn | Phase::Expn | Phase::Vrfy | Phase::Atrn | Phase::Wellknown => {
                Verdict::Deny
            }
            Phase::Mail
            | Phase::Predata
            | Phase::Mime
            | Phase::Dkim
            | Phase::Data
            | Phase::Prdr
            | Phase::NotSmtp
            | Phase::Auth
            | Phase::Connect
            | Phase::Helo
            | Phase::MailAuth
            | Phase::NotSmtpMime
            | Phase::NotSmtpStart
            | Phase::NotQuit
            | Phase::Quit
            | Phase::StartTls
            | Phase::Unknown => Verdict::Accept,
        }
    }
}

/// Phases as a set of bits.
pub type Phases = u32;

/// A set of phases.
#[must_use]
pub const fn phases(list: &[Phase]) -> Phases {
    let mut mask = 0;
    let mut rest = list;
    while let [first, tail @ ..] = rest {
        mask |= first.bit();
        rest = tail;
    }
    mask
}

/// The phases at which no sender is known.
pub(super) const NO_SENDER: Phases = phases(&[
    Phase::Auth,
    Phase::Connect,
    Phase::Helo,
    Phase::MailAuth,
    Phase::Quit,
    Phase::Etrn,
    Phase::Atrn,
    Phase::Expn,
    Phase::StartTls,
    Phase::Vrfy,
]);

/// All phases but these.
#[must_use]
pub(super) const fn all_but(list: &[Phase]) -> Phases {
    !phases(list)
}
