//! `-o…`: where a message comes from, how it is sent on, what becomes of errors; and the daemon's `-oX`, `-oP`.

use super::{ArgumentError, CommandLine, Cursor};

/// Where a message comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `-f`: envelope sender as given; `<>` is the empty one.
    pub sender: Option<Vec<u8>>,
    /// `-F`: full name of the sender.
    pub full_name: Option<Vec<u8>>,
    /// `-oMa`: host address, with a port after a last full stop.
    pub host_address: Option<Vec<u8>>,
    /// `-oMaa`: authenticator.
    pub authenticator: Option<Vec<u8>>,
    /// `-oMai`: authenticated id.
    pub auth_id: Option<Vec<u8>>,
    /// `-oMas`: authenticated sender.
    pub auth_sender: Option<Vec<u8>>,
    /// `-oMi`: interface address.
    pub interface: Option<Vec<u8>>,
    /// `-oMm`: the message that this one belongs to.
    pub reference: Option<Vec<u8>>,
    /// `-oMr` and `-p`: protocol.
    pub protocol: Option<Vec<u8>>,
    /// `-oMs`: host name.
    pub host_name: Option<Vec<u8>>,
    /// `-oMt`: ident.
    pub ident: Option<Vec<u8>>,
}

/// What becomes of errors in a message from standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ErrorReport {
    /// `-oem`: mailed, the exit code is not zero.
    #[default]
    Mail,
    /// `-oee`: mailed, the exit code is zero if it could be.
    MailExitZero,
    /// `-oep`: written to standard error.
    Print,
    /// `-oeq`: the same.
    Quiet,
    /// `-oew`: the same as `-oem`.
    Write,
}

/// How a message is taken and sent on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sending {
    /// `-t`: recipients come from the header.
    pub extract_recipients: bool,
    /// `-i`, `-oi`, `-ti`: a line with a dot does not end the message.
    pub ignore_dot: bool,
    /// `-bnq`: addresses without a domain stay so.
    pub allow_unqualified: bool,
    /// `-odb`, `-odf`, `-odi`, `-odq`, `-odqs`.
    pub delivery: Option<DeliveryMode>,
    /// `-oe…`.
    pub error_report: ErrorReport,
    /// `-G`: do not fix the header up.
    pub suppress_fixups: bool,
    /// `-dropcr`: has no effect since line ends are dealt with always.
    pub drop_cr: bool,
    /// `-E`: this is a report about another message.
    pub error_about: Option<Vec<u8>>,
    /// `-oo` and `-om` have no effect, as in Exim.
    pub me_too: bool,
}

/// When a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryMode {
    /// In the background.
    Background,
    /// Before the command ends.
    Foreground,
    /// By a queue runner.
    Queue,
    /// Remote addresses by a queue runner.
    QueueRemote,
}

pub(super) fn option(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    rest: &[u8],
) -> Result<(), ArgumentError> {
    match rest {
        b"A" => line.alias_file = Some(cursor.expected("string", word)?),
        b"db" => line.sending.delivery = Some(DeliveryMode::Background),
        b"df" | b"di" => line.sending.delivery = Some(DeliveryMode::Foreground),
        b"dq" => line.sending.delivery = Some(DeliveryMode::Queue),
        b"dqs" => line.sending.delivery = Some(DeliveryMode::QueueRemote),
        b"ee" => line.sending.error_report = ErrorReport::MailExitZero,
        b"em" => line.sending.error_report = ErrorReport::Mail,
        b"ep" => line.sending.error_report = ErrorReport::Print,
        b"eq" => line.sending.error_report = ErrorReport::Quiet,
        b"ew" => line.sending.error_report = ErrorReport::Write,
        b"i" | b"itrue" => line.sending.ignore_dot = true,
        b"m" | b"o" => line.sending.me_too = true,
        b"v" => line.verbose = true,
        b"P" => line.pid_file = Some(cursor.next_word(word)?),
        b"PX" => line.delete_pid_file = true,
        b"r" => line.receive_timeout = Some(time(&cursor.words.next().unwrap_or_default(), word)?),
        b"s" => line.smtp_receive_timeout = Some(time(&cursor.words.next().unwrap_or_default(), word)?),
        b"X" => line.listen = Some(cursor.next_word(word)?),
        b"Y" => {} // No notifier socket: the control socket does its work.
        _ if rest.starts_with(b"M") => {
            return message_origin(line, cursor, word, rest.get(1..).unwrap_or_default());
        }
        _ if rest.starts_with(b"B") => {
            if !rest.iter().skip(1).all(u8::is_ascii_digit) {
                return Err(ArgumentError::missing("number", b"-oB"));
            }
            if rest.len() == 1
                && cursor.words.as_slice().first().is_some_and(|w| w.iter().all(u8::is_ascii_digit))
            {
                cursor.words.next();
            }
        }
        _ if rest.starts_with(b"r") => {
            line.receive_timeout = Some(time(rest.get(1..).unwrap_or_default(), word)?)
        }
        _ if rest.starts_with(b"s") => {
            line.smtp_receive_timeout = Some(time(rest.get(1..).unwrap_or_default(), word)?)
        }
        _ => return Err(ArgumentError::unknown(word)),
    }
    Ok(())
}

fn time(text: &[u8], word: &[u8]) -> Result<std::time::Duration, ArgumentError> {
    let seconds = std::str::from_utf8(text).ok().and_then(oxim_base::clock::parse_interval_with_units);
    seconds.map(std::time::Duration::from_secs).ok_or_else(|| ArgumentError::bad_time(word))
}

fn message_origin(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    rest: &[u8],
) -> Result<(), ArgumentError> {
    let value = cursor.expected("data", word)?;
    let slot = match rest {
        b"a" => &mut line.origin.host_address,
        b"aa" => &mut line.origin.authenticator,
        b"ai" => &mut line.origin.auth_id,
        b"as" => &mut line.origin.auth_sender,
        b"i" => &mut line.origin.interface,
        b"m" => {
            if oxim_mail::message_id::MessageId::parse(&value).is_none() {
                return Err(ArgumentError("-oMm must be a valid message ID".to_owned()));
            }
            &mut line.origin.reference
        }
        b"r" => {
            if line.origin.protocol.is_some() {
                return Err(ArgumentError("received_protocol is set already".to_owned()));
            }
            &mut line.origin.protocol
        }
        b"s" => &mut line.origin.host_name,
        b"t" => &mut line.origin.ident,
        _ => return Err(ArgumentError::unknown(word)),
    };
    *slot = Some(value);
    Ok(())
}
