//! Reads the argument of `verify`: a keyword and options, parted by slashes.

use std::time::Duration;

use oxim_base::{Text, clock};
use oxim_lang::list::split_at;

use super::Request;

/// How an address is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// A temporary failure is a success.
    pub defer_ok: bool,
    /// The client is not told why.
    pub no_details: bool,
    /// Any redirection is a success.
    pub success_on_redirect: bool,
    /// Other hosts are asked.
    pub callout: Option<CalloutOptions>,
    /// The mailbox must have room.
    pub quota: Option<QuotaOptions>,
}

/// How long what is known of a mailbox counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaOptions {
    /// That it has room.
    pub positive: Duration,
    /// That it has none.
    pub negative: Duration,
}

impl Default for QuotaOptions {
    fn default() -> Self {
        QuotaOptions { positive: Duration::from_secs(5 * 60), negative: Duration::from_secs(3600) }
    }
}

/// How other hosts are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CalloutOptions {
    /// For each reply.
    pub timeout: Duration,
    /// For the connection; `timeout` if unset.
    pub connect: Option<Duration>,
    /// For all hosts together; four times `timeout` if unset.
    pub maxwait: Option<Duration>,
    /// A temporary failure is a success.
    pub defer_ok: bool,
    /// Nothing is remembered or recalled.
    pub no_cache: bool,
    /// A local part that cannot exist is tried first.
    pub random: bool,
    /// The message's sender is shown.
    pub use_sender: bool,
    /// Our postmaster is shown as sender.
    pub use_postmaster: bool,
    /// The sender that is shown for addresses from header lines.
    pub mailfrom: Option<Text>,
    /// postmaster is asked for too, by this sender.
    pub postmaster: Option<Text>,
    /// postmaster without a domain will do.
    pub full_postmaster: bool,
    /// The connection stays open for further recipients.
    pub hold: bool,
}

impl Default for CalloutOptions {
    fn default() -> Self {
        CalloutOptions {
            timeout: Duration::from_secs(30),
            connect: None,
            maxwait: None,
            defer_ok: false,
            no_cache: false,
            random: false,
            use_sender: false,
            use_postmaster: false,
            mailfrom: None,
            postmaster: None,
            full_postmaster: false,
            hold: false,
        }
    }
}

impl CalloutOptions {
    /// The limit for a connection.
    pub(crate) fn connect(&self) -> Duration {
        self.connect.unwrap_or(self.timeout)
    }

    /// The limit for all hosts.
    pub(crate) fn maxwait(&self) -> Duration {
        self.maxwait.unwrap_or(self.timeout.saturating_mul(4))
    }
}

impl Request {
    /// Reads the argument of the condition.
    ///
    /// # Errors
    /// What is wrong with it, in Exim's words.
    pub(crate) fn parse(argument: &Text) -> Result<Request, String> {
        let shown = argument.to_string_lossy();
        let mut items = split_at(argument.as_bytes(), b'/').map(|item| argument.derive(item.into_owned()));
        let first = items.next().unwrap_or_default();
        let options: Vec<Text> = items.collect();
        let keyword = first.to_string_lossy();
        let (word, value) = match keyword.split_once('=') {
            Some((word, value)) if word.trim().eq_ignore_ascii_case("sender") => {
                ("sender".to_owned(), Some(first.derive(value.trim().as_bytes())))
            }
            Some(_) | None => (keyword.to_ascii_lowercase(), None),
        };
        let alone = |request: Request| {
            if shown.contains('/') {
                return Err(format!("unexpected '/' found in \"{shown}\" (this verify item has no options)"));
            }
            Ok(request)
        };
        let has = |option: &str| options.iter().any(|text| text.as_bytes() == option.as_bytes());
        match word.as_str() {
            "certificate" => alone(Request::Certificate),
            "header_names_ascii" => alone(Request::HeaderNamesAscii),
            "header_syntax" => alone(Request::HeaderSyntax),
            "helo" => alone(Request::Helo),
            "not_blind" => Ok(Request::NotBlind { case_insensitive: has("case_insensitive") }),
            "reverse_host_lookup" => Ok(Request::ReverseHostLookup { defer_ok: has("defer_ok") }),
            "header_sender" => Ok(Request::HeaderSender(parse_options(&options, Whose::Header, &shown)?)),
            "recipient" => Ok(Request::Recipient(parse_options(&options, Whose::Recipient, &shown)?)),
            "sender" => Ok(Request::Sender {
                address: value,
                options: parse_options(&options, Whose::Sender, &shown)?,
            }),
            "csa" => {
                Ok(Request::Csa { domain: options.first().filter(|domain| !domain.is_empty()).cloned() })
            }
            "arc" => match options.as_slice() {
                [] => Ok(Request::Arc(None)),
                [states] => Ok(Request::Arc(Some(states.clone()))),
                _ => Err(format!("unexpected '/' found in \"{shown}\" (arc has one list of states)")),
            },
            _ => Err(format!(
                "expected \"sender[=address]\", \"recipient\", \"helo\", \"header_syntax\", \"header_sender\", \
                 \"header_names_ascii\" or \"reverse_host_lookup\" at start of ACL condition \"verify {shown}\""
            )),
        }
    }
}

/// Whose address is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Header,
    Recipient,
    Sender,
}

fn parse_options(texts: &[Text], whose: Whose, shown: &str) -> Result<Box<Options>, String> {
    let mut options = Options::default();
    for text in texts {
        let word = text.to_string_lossy();
        match word.as_str() {
            "defer_ok" => options.defer_ok = true,
            "no_details" => options.no_details = true,
            "success_on_redirect" => options.success_on_redirect = true,
            // The names that `callout` had before it took parameters.
            "callout_defer_ok" => callout(&mut options).defer_ok = true,
            "check_postmaster" => callout(&mut options).postmaster = Some(Text::new()),
            "quota" => {
                options.quota.get_or_insert_default();
            }
            word if word.starts_with("quota=") => {
                let parameters = text.slice("quota=".len(), text.len());
                options.quota = Some(parse_quota(&parameters, shown)?);
            }
            word => match word.strip_prefix("callout") {
                Some("") => {
                    callout(&mut options);
                }
                Some(rest) if rest.trim_start().starts_with('=') => {
                    let at = word.len().saturating_sub(rest.trim_start().len()).saturating_add(1);
                    let parameters = text.slice(at, text.len());
                    parse_callout(callout(&mut options), &parameters, shown)?;
                }
                Some(_) => {
                    return Err(format!("'=' expected after \"callout\" in ACL condition \"{shown}\""));
                }
                None => {
                    return Err(format!("unknown option \"{word}\" in ACL condition \"verify {shown}\""));
                }
            },
        }
    }
    if let Some(callout) = &options.callout {
        fits(callout, whose, shown)?;
    }
    if options.quota.is_some() && whose != Whose::Recipient {
        return Err("can only verify quota of recipient".to_owned());
    }
    // As with Exim, no time for it means no callout.
    options.callout = options.callout.filter(|callout| !callout.timeout.is_zero());
    Ok(Box::new(options))
}

/// Which parameters a callout can have depends on whose address it is for.
fn fits(callout: &CalloutOptions, whose: Whose, shown: &str) -> Result<(), String> {
    if callout.use_sender && callout.use_postmaster {
        return Err("only one of use_sender and use_postmaster can be set for a recipient callout".to_owned());
    }
    if whose != Whose::Recipient && (callout.use_sender || callout.use_postmaster) {
        return Err("use_sender or use_postmaster cannot be used for a sender verify callout".to_owned());
    }
    if whose != Whose::Header && callout.mailfrom.is_some() {
        return Err(format!(
            "\"mailfrom\" is allowed as a callout option only for verify=header_sender (detected in ACL condition \"{shown}\")"
        ));
    }
    Ok(())
}

fn parse_quota(text: &Text, shown: &str) -> Result<QuotaOptions, String> {
    let mut quota = QuotaOptions::default();
    for item in split_at(text.as_bytes(), b',') {
        let word = String::from_utf8_lossy(&item).trim().to_owned();
        let time = |text: &str| {
            let seconds = clock::parse_interval(text.trim());
            seconds
                .map(Duration::from_secs)
                .ok_or_else(|| format!("bad time value in ACL condition \"verify {shown}\""))
        };
        match word.split_once('=').map(|(name, value)| (name.trim(), value)) {
            Some(("cachepos", value)) => quota.positive = time(value)?,
            Some(("cacheneg", value)) => quota.negative = time(value)?,
            None if word == "no_cache" => {
                quota = QuotaOptions { positive: Duration::ZERO, negative: Duration::ZERO };
            }
            Some(_) | None => {
                return Err(format!("unknown option \"quota={word}\" in ACL condition \"verify {shown}\""));
            }
        }
    }
    Ok(quota)
}

fn callout(options: &mut Options) -> &mut CalloutOptions {
    options.callout.get_or_insert_with(CalloutOptions::default)
}

fn parse_callout(callout: &mut CalloutOptions, text: &Text, shown: &str) -> Result<(), String> {
    let time = |text: &str| {
        let seconds = clock::parse_interval(text.trim());
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| format!("bad time value in ACL condition \"verify {shown}\""))
    };
    for item in split_at(text.as_bytes(), b',') {
        let item = text.derive(item.into_owned());
        let word = item.to_string_lossy();
        let (name, value) =
            word.split_once('=').map_or((word.trim(), None), |(n, v)| (n.trim(), Some(v.trim())));
        let address = || value.map(|value| item.derive(value.as_bytes()));
        match (name, value) {
            ("defer_ok", None) => callout.defer_ok = true,
            ("no_cache", None) => callout.no_cache = true,
            ("random", None) => callout.random = true,
            ("use_sender", None) => callout.use_sender = true,
            ("use_postmaster", None) => callout.use_postmaster = true,
            ("postmaster", None) => callout.postmaster = Some(Text::new()),
            ("fullpostmaster", None) => {
                callout.postmaster = Some(Text::new());
                callout.full_postmaster = true;
            }
            ("mailfrom", Some(_)) => callout.mailfrom = address(),
            ("postmaster_mailfrom", Some(_)) => callout.postmaster = address(),
            ("connect", Some(value)) => callout.connect = Some(time(value)?),
            ("maxwait", Some(value)) => callout.maxwait = Some(time(value)?),
            ("hold", None) => callout.hold = true,
            _ => callout.timeout = time(&word)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Request, String> {
        Request::parse(&Text::clean(text))
    }

    #[test]
    fn options_follow_slashes_and_parameters_commas() {
        let Ok(Request::Recipient(options)) = parsed(
            "recipient/defer_ok/callout=10s,connect=2s,defer_ok,random,postmaster_mailfrom=a@b.example",
        ) else {
            panic!("not parsed");
        };
        assert!(options.defer_ok && !options.no_details);
        let callout = options.callout.unwrap();
        assert_eq!((callout.timeout, callout.connect()), (Duration::from_secs(10), Duration::from_secs(2)));
        assert_eq!(callout.maxwait(), Duration::from_secs(40));
        assert!(callout.random && callout.defer_ok && !callout.full_postmaster);
        assert_eq!(callout.postmaster, Some(Text::clean("a@b.example")));
    }

    #[test]
    fn quotas_have_times_of_their_own() {
        let Ok(Request::Recipient(options)) = parsed("recipient/quota=cachepos=1m,cacheneg=1d") else {
            panic!("not parsed");
        };
        let quota = options.quota.unwrap();
        assert_eq!((quota.positive.as_secs(), quota.negative.as_secs()), (60, 86_400));
        let Ok(Request::Recipient(options)) = parsed("recipient/quota=no_cache") else {
            panic!("not parsed")
        };
        assert!(options.quota.unwrap().positive.is_zero());
        assert_eq!(parsed("csa/a.example"), Ok(Request::Csa { domain: Some(Text::clean("a.example")) }));
    }

    #[test]
    fn a_sender_may_have_slashes_if_they_are_doubled() {
        let Ok(Request::Sender { address, options }) = parsed("sender=a//b@c.example/no_details") else {
            panic!("not parsed");
        };
        assert_eq!(address, Some(Text::clean("a/b@c.example")));
        assert!(options.no_details);
    }

    #[test]
    fn faults_are_named_as_exim_names_them() {
        assert_eq!(
            parsed("helo/x").unwrap_err(),
            "unexpected '/' found in \"helo/x\" (this verify item has no options)"
        );
        assert_eq!(
            parsed("sender/foo").unwrap_err(),
            "unknown option \"foo\" in ACL condition \"verify sender/foo\""
        );
        assert_eq!(
            parsed("sender/callout=foo").unwrap_err(),
            "bad time value in ACL condition \"verify sender/callout=foo\""
        );
        assert!(parsed("nonsense").unwrap_err().starts_with("expected \"sender[=address]\""));
        assert_eq!(parsed("arc").unwrap(), Request::Arc(None));
        assert_eq!(parsed("arc/none:pass").unwrap(), Request::Arc(Some(Text::from("none:pass"))));
        assert!(parsed("arc/none/pass").is_err());
        assert!(parsed("recipient/quota=cachepos=x").unwrap_err().starts_with("bad time value"));
        assert!(parsed("recipient/quota=x").unwrap_err().starts_with("unknown option"));
    }
}
