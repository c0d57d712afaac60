//! The failures that retry rules tell apart, and the error field of a rule (manual section 32.5).

use oxim_base::clock::{interval, parse_interval_with_units};

/// The numbers of Exim for errors that the system has none for; they stand in logs and hints.
pub mod code {
    /// The connection ended in the middle.
    pub const LOST_CONNECTION: i32 = -18;
    /// A mailbox is full.
    pub const MAILBOX_FULL: i32 = -22;
    /// The name of a host could not be looked up.
    pub const UNKNOWN_HOST: i32 = -32;
    /// TLS was required and not to be had.
    pub const TLS_REQUIRED: i32 = -38;
    /// Authentication was required and failed.
    pub const AUTH_FAILED: i32 = -42;
    /// A 4xx reply to RCPT; the reply code goes with it.
    pub const RCPT_4XX: i32 = -44;
    /// A 4xx reply to MAIL; the reply code goes with it.
    pub const MAIL_4XX: i32 = -45;
    /// A 4xx reply to DATA or to the data; the reply code goes with it.
    pub const DATA_4XX: i32 = -46;
    /// The retry time of an address has not been reached.
    pub const NOT_REACHED: i32 = -52;
    /// The retry time of all hosts has not been reached.
    pub const HOSTS_NOT_REACHED: i32 = -53;
    /// The system's numbers, on every platform that this program is built for.
    pub(super) const REFUSED: i32 = 111;
    pub(super) const TIMED_OUT: i32 = 110;
    pub(super) const NO_SPACE: i32 = 28;
    pub(super) const DISK_QUOTA: i32 = 122;
}

/// Goes with the number of a connection error: the host came from an MX record.
pub const MORE_MX: i32 = b'M' as i32;
/// Goes with the number of a connection error: the host did not come from an MX record.
pub const MORE_A: i32 = b'A' as i32;
/// Added when a timeout was in connecting.
pub const MORE_CONNECT: i32 = 0x100;

/// What went wrong, as far as retry rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Anything that has no name of its own.
    Other,
    /// `auth_failed`.
    AuthFailed,
    /// `lost_connection`.
    LostConnection,
    /// `lookup`.
    Lookup,
    /// `tls_required`.
    TlsRequired,
    /// `data_4xx`: the whole reply code.
    Data(u16),
    /// `mail_4xx`.
    Mail(u16),
    /// `rcpt_4xx`.
    Rcpt(u16),
    /// `refused`.
    Refused {
        /// Whether the host came from an MX record; None: it is not said (`-brt`).
        mx: Option<bool>,
    },
    /// `timeout`.
    Timeout {
        /// Whether the host came from an MX record; None: it is not said (`-brt`).
        mx: Option<bool>,
        /// Whether it was in connecting.
        connecting: bool,
    },
    /// `quota`: for how long nobody has read the mailbox, in seconds, if that is known.
    Quota(Option<u32>),
}

impl Cause {
    /// From an error number and what goes with it, as deliveries report and hints keep them: in the lowest byte [`MORE_A`] or
    /// [`MORE_MX`], above it [`MORE_CONNECT`], or the last two digits of a 4xx reply; or the age of a full mailbox in seconds.
    #[must_use]
    pub fn from_code(number: i32, more: i32) -> Cause {
        let reply = u16::try_from(more >> 8 & 0xff).map_or(400, |digits| digits.saturating_add(400));
        let mx = more & 0xff == MORE_MX;
        match number {
            code::AUTH_FAILED => Cause::AuthFailed,
            code::LOST_CONNECTION => Cause::LostConnection,
            code::UNKNOWN_HOST => Cause::Lookup,
            code::TLS_REQUIRED => Cause::TlsRequired,
            code::DATA_4XX => Cause::Data(reply),
            code::MAIL_4XX => Cause::Mail(reply),
            code::RCPT_4XX => Cause::Rcpt(reply),
            code::REFUSED => Cause::Refused { mx: Some(mx) },
            code::TIMED_OUT => Cause::Timeout { mx: Some(mx), connecting: more & MORE_CONNECT != 0 },
            code::MAILBOX_FULL | code::NO_SPACE | code::DISK_QUOTA => {
                Cause::Quota(u32::try_from(more).ok().filter(|age| *age > 0))
            }
            _ => Cause::Other,
        }
    }

    /// Whether the trouble belongs to the message and not to the host: then the clock of the message counts too.
    #[must_use]
    pub fn is_about_message(self) -> bool {
        matches!(self, Cause::Data(_) | Cause::Mail(_) | Cause::Quota(_))
    }

    /// From the name of an error, as `-brt` takes it. `*` and unknown names are refused.
    ///
    /// # Errors
    /// As [`ErrorField::parse`].
    pub fn from_name(name: &str) -> Result<Cause, String> {
        Ok(match ErrorField::parse(name)? {
            ErrorField::Any => Cause::Other,
            ErrorField::AuthFailed => Cause::AuthFailed,
            ErrorField::LostConnection => Cause::LostConnection,
            ErrorField::Lookup => Cause::Lookup,
            ErrorField::TlsRequired => Cause::TlsRequired,
            ErrorField::Reply { command, digits } => command.cause(digits.example()),
            ErrorField::Refused(route) => Cause::Refused { mx: route.map(|route| route == Route::Mx) },
            ErrorField::Timeout { route, connecting } => {
                Cause::Timeout { mx: route.map(|route| route == Route::Mx), connecting }
            }
            ErrorField::Quota(age) => Cause::Quota(age),
        })
    }
}

/// Where the address of a host came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// An address record of the domain itself.
    A,
    /// An MX record.
    Mx,
}

/// The commands whose replies rules can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// DATA, or the data.
    Data,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
}

impl Command {
    fn cause(self, reply: u16) -> Cause {
        match self {
            Command::Data => Cause::Data(reply),
            Command::Mail => Cause::Mail(reply),
            Command::Rcpt => Cause::Rcpt(reply),
        }
    }
}

/// The last two digits of a 4xx reply, as far as they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digits {
    second: Option<u16>,
    third: Option<u16>,
}

impl Digits {
    fn admit(self, reply: u16) -> bool {
        reply / 100 == 4
            && self.second.is_none_or(|digit| digit == reply / 10 % 10)
            && self.third.is_none_or(|digit| digit == reply % 10)
    }

    fn example(self) -> u16 {
        400_u16.saturating_add(self.second.unwrap_or(0) * 10).saturating_add(self.third.unwrap_or(0))
    }
}

/// The second field of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorField {
    /// `*`.
    Any,
    /// `auth_failed`.
    AuthFailed,
    /// `lost_connection`.
    LostConnection,
    /// `lookup`.
    Lookup,
    /// `tls_required`.
    TlsRequired,
    /// `rcpt_4xx` and kin.
    Reply {
        /// The command.
        command: Command,
        /// Which replies.
        digits: Digits,
    },
    /// `refused`, `refused_A`, `refused_MX`.
    Refused(Option<Route>),
    /// `timeout`, `timeout_connect` and kin.
    Timeout {
        /// Which hosts.
        route: Option<Route>,
        /// Only in connecting.
        connecting: bool,
    },
    /// `quota`, `quota_<time>`: not read for this many seconds.
    Quota(Option<u32>),
}

fn unknown(name: &str) -> String {
    format!("unknown or malformed retry error \"{name}\"")
}

fn strip<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = name.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn route(word: &str) -> Option<Option<Route>> {
    match word {
        "" => Some(None),
        _ if word.eq_ignore_ascii_case("_a") => Some(Some(Route::A)),
        _ if word.eq_ignore_ascii_case("_mx") => Some(Some(Route::Mx)),
        _ => None,
    }
}

impl ErrorField {
    /// Reads the name of an error, without regard to case.
    ///
    /// # Errors
    /// Exim's text.
    pub(super) fn parse(name: &str) -> Result<ErrorField, String> {
        let plain = [
            ("*", ErrorField::Any),
            ("auth_failed", ErrorField::AuthFailed),
            ("lost_connection", ErrorField::LostConnection),
            ("lookup", ErrorField::Lookup),
            ("tls_required", ErrorField::TlsRequired),
            ("quota", ErrorField::Quota(None)),
        ];
        if let Some((_, field)) = plain.iter().find(|(word, _)| word.eq_ignore_ascii_case(name)) {
            return Ok(*field);
        }
        for (prefix, command) in
            [("data_4", Command::Data), ("mail_4", Command::Mail), ("rcpt_4", Command::Rcpt)]
        {
            if let Some(rest) = strip(name, prefix) {
                let digits = parse_digits(rest).ok_or_else(|| {
                    format!(
                        "{prefix} must be followed by xx, dx, or dd, where x is literal and d is any digit"
                    )
                })?;
                return Ok(ErrorField::Reply { command, digits });
            }
        }
        if let Some(rest) = strip(name, "refused") {
            let malformed = if rest.starts_with('_') {
                "A or MX expected after \"refused\"".to_owned()
            } else {
                unknown(name)
            };
            return Ok(ErrorField::Refused(route(rest).ok_or(malformed)?));
        }
        // A word of old configurations, which never meant anything else.
        let name = if name.eq_ignore_ascii_case("timeout_dns") { "timeout" } else { name };
        if let Some(rest) = strip(name, "timeout") {
            let (connecting, rest) = strip(rest, "_connect").map_or((false, rest), |rest| (true, rest));
            let malformed = if rest.starts_with('_') {
                "\"A\", \"MX\", or \"connect\" expected after \"timeout\"".to_owned()
            } else {
                unknown(name)
            };
            return Ok(ErrorField::Timeout { route: route(rest).ok_or(malformed)?, connecting });
        }
        if let Some(time) = strip(name, "quota_") {
            let age = parse_interval_with_units(time).and_then(|t| u32::try_from(t).ok()).filter(|t| *t > 0);
            return age.map(|age| ErrorField::Quota(Some(age))).ok_or_else(|| "bad time value".to_owned());
        }
        Err(unknown(name))
    }

    /// Whether a failure is meant.
    #[must_use]
    pub(super) fn admits(self, cause: Cause) -> bool {
        let through = |wanted: Option<Route>, mx: Option<bool>| {
            wanted.is_none_or(|route| mx == Some(route == Route::Mx))
        };
        match (self, cause) {
            (ErrorField::Any, _)
            | (ErrorField::AuthFailed, Cause::AuthFailed)
            | (ErrorField::LostConnection, Cause::LostConnection)
            | (ErrorField::Lookup, Cause::Lookup)
            | (ErrorField::TlsRequired, Cause::TlsRequired)
            | (ErrorField::Quota(None), Cause::Quota(_)) => true,
            (ErrorField::Reply { command: Command::Data, digits }, Cause::Data(reply))
            | (ErrorField::Reply { command: Command::Mail, digits }, Cause::Mail(reply))
            | (ErrorField::Reply { command: Command::Rcpt, digits }, Cause::Rcpt(reply)) => {
                digits.admit(reply)
            }
            (ErrorField::Refused(wanted), Cause::Refused { mx }) => through(wanted, mx),
            (ErrorField::Timeout { route, connecting }, Cause::Timeout { mx, connecting: in_connect }) => {
                through(route, mx) && (in_connect || !connecting)
            }
            (ErrorField::Quota(Some(wanted)), Cause::Quota(Some(age))) => age >= wanted,
            _ => false,
        }
    }

    /// The field as `-brt` shows it. Exim shows `*` for all those that have no further parts.
    #[must_use]
    pub(super) fn show(self) -> String {
        let with = |word: &str, route: Option<Route>| match route {
            None => word.to_owned(),
            Some(Route::A) => format!("{word}_A"),
            Some(Route::Mx) => format!("{word}_MX"),
        };
        match self {
            ErrorField::Any | ErrorField::LostConnection | ErrorField::Lookup | ErrorField::TlsRequired => {
                "*".to_owned()
            }
            ErrorField::Reply { .. } => "*".to_owned(),
            ErrorField::AuthFailed => "auth_failed".to_owned(),
            ErrorField::Refused(route) => with("refused", route),
            ErrorField::Timeout { route, connecting: false } => with("timeout", route),
            ErrorField::Timeout { route, connecting: true } => with("timeout_connect", route),
            ErrorField::Quota(None) => "quota".to_owned(),
            ErrorField::Quota(Some(age)) => format!("quota_{}", interval(age.into())),
        }
    }
}

/// `xx`, `dx` or `dd`.
fn parse_digits(text: &str) -> Option<Digits> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    match *text.as_bytes() {
        [b'x', b'x'] => Some(Digits { second: None, third: None }),
        [second, b'x'] => Some(Digits { second: Some(digit(second)?), third: None }),
        [second, third] => Some(Digits { second: Some(digit(second)?), third: Some(digit(third)?) }),
        _ => None,
    }
}
