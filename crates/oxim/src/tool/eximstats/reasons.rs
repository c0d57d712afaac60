//! Why somebody was refused, as the lines of a main log say it, in the words of `eximstats`.

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `Rejected RCPT: relay not permitted`.
    pub reason: String,
    /// Only for now.
    pub is_temporary: bool,
    /// `[10.0.0.1]`, or `local`.
    pub ip: String,
}

/// What a line says. None: it is about something else.
pub(super) fn refusal(text: &str) -> Option<Refusal> {
    let is_one = text.starts_with("rejected ")
        || text.contains(" rejected")
        || text.contains(" dropped")
        || text.contains("refused");
    if !is_one {
        return None;
    }
    let temporary = temporary(text);
    let is_temporary = temporary.is_some();
    let reason = temporary.or_else(|| final_reason(text)).unwrap_or_else(|| "Unknown".to_owned());
    Some(Refusal { reason, is_temporary, ip: ip(text) })
}

/// A delivery to nowhere counts among the refusals too.
pub(super) fn of_discarded(text: &str) -> Refusal {
    Refusal { reason: "Unknown".to_owned(), is_temporary: false, ip: ip(text) }
}

/// The client: behind `H=`, or where a line names one in words.
fn ip(text: &str) -> String {
    let named = ["Connection from ", "SMTP call from ", "rejected HELO from ", "rejected EHLO from "];
    let host = match text.strip_prefix("H=") {
        Some(rest) => Some(rest),
        None => [" H=", "(H="].iter().find_map(|mark| text.split_once(mark)).map(|(_, rest)| rest),
    };
    let host = host.or_else(|| named.iter().find_map(|start| text.strip_prefix(start)));
    host.and_then(in_brackets).map_or_else(|| "local".to_owned(), |ip| format!("[{ip}]"))
}

/// The address behind the names of a client; what it said in EHLO may have brackets too: `([10.9.9.9]) [10.0.0.1]`.
pub(super) fn in_brackets(host: &str) -> Option<&str> {
    let start = if host.starts_with('[') { 1 } else { host.find(" [")?.checked_add(2)? };
    host.get(start..)?.split_once(']').map(|(ip, _)| ip)
}

/// Up to the first colon.
fn short(text: &str) -> &str {
    text.split(':').next().unwrap_or_default().trim()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `CMD argument: reason`: the command and the reason. Of all commands, only DATA is logged without an argument.
fn of_command(rest: &str) -> Option<(&str, &str)> {
    let (command, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_uppercase())?);
    let is_one = !command.is_empty() && (tail.starts_with(' ') || command == "DATA" && tail.starts_with(':'));
    let (_, reason) = rest.split_once(": ").filter(|_| is_one)?;
    Some((command, reason))
}

fn temporary(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("temporarily rejected ")?;
    if rest.starts_with("connection") {
        return Some(format!("Temporarily rejected {rest}"));
    }
    let (command, reason) = of_command(rest).filter(|_| !rest.starts_with("DATA"))?;
    Some(format!("Temporarily rejected {command}: {}", short(reason)))
}

fn final_reason(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("SMTP protocol ") {
        let what = ["synchronization error", "violation"].into_iter().find(|what| rest.starts_with(what));
        if let Some(what) = what {
            return Some(format!("SMTP protocol {what}"));
        }
    }
    connection(text).or_else(|| envelope(text)).or_else(|| rejected(text))
}

/// Clients that could not even begin, or not go on.
fn connection(text: &str) -> Option<String> {
    if text.starts_with("refused connection") {
        let (_, why) = text.rsplit_once(" (")?;
        return Some(format!("Refused connection ({}", why.trim_end()));
    }
    if text.starts_with("Connection from ") {
        let (_, why) = text.split_once("] refused: ")?;
        return Some(format!("Connection refused: {}", short(why.split('=').next()?)));
    }
    if let Some((_, why)) = text.split_once(" dropped: ") {
        return why.split_once(" (").map(|(why, _)| format!("Dropped: {why}"));
    }
    text.contains(": Connection refused").then(|| "Connection refused".to_owned())
}

/// Reasons that stand before the word.
fn envelope(text: &str) -> Option<String> {
    let known = [
        ("unqualified recipient rejected", "Unqualified recipient rejected"),
        ("sender rejected", "Sender rejected"),
        ("too many recipients", "Too many recipients"),
    ];
    known.iter().find(|(mark, _)| text.contains(mark)).map(|(_, reason)| (*reason).to_owned())
}

/// What follows the word.
fn rejected(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("rejected ")?;
    let why = rest.split_once(": ").map(|(_, why)| why);
    if let Some((_, list)) = rest.split_once("listed at ") {
        return Some(format!("Listed at {}", list.split(' ').next()?));
    }
    if let Some((_, rest)) = why?.split_once("response to \"") {
        let (command, rest) = rest.split_once('"')?;
        let (_, said) = rest.split_once(" was: ")?;
        return Some(format!("Response to {} was: {said}", short(command)));
    }
    if rest.starts_with("by ") {
        return Some(format!("Rejected {rest}"));
    }
    if let Some(why) = rest.strip_prefix("after DATA: ") {
        return Some(capital(why));
    }
    if why?.starts_with("message too big") {
        return Some("Message too big".to_owned());
    }
    let is_greeting = rest.starts_with("HELO from") || rest.starts_with("EHLO from");
    if is_greeting && why?.starts_with("syntactically invalid argument") {
        return Some("Rejected HELO/EHLO: syntactically invalid argument".to_owned());
    }
    let (command, reason) = of_command(rest)?;
    Some(format!("Rejected {command}: {}", short(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_those_of_exims_tool() {
        for (line, reason, ip) in [
            (
                "H=x [1.2.3.4] F=<x@y> rejected RCPT <b@t>: relay not permitted",
                "Rejected RCPT: relay not permitted",
                "[1.2.3.4]",
            ),
            (
                "H=x [1.2.3.4] rejected RCPT <b@t>: in dnsbl: see http://x",
                "Rejected RCPT: in dnsbl",
                "[1.2.3.4]",
            ),
            (
                "H=x [1.2.3.4] rejected RCPT <b@t>: 1.2.3.4 is listed at dnsbl.ex (127.0.0.2: x)",
                "Listed at dnsbl.ex",
                "[1.2.3.4]",
            ),
            ("H=x [1.2.3.4] rejected RCPT <b@t>", "Unknown", "[1.2.3.4]"),
            (
                "H=x [1.2.3.4] F=<a@b> rejected RCPT <x@y>: response to \"RCPT TO:<x@y>\" from h [1.2.3.5] was: 550 no",
                "Response to RCPT TO was: 550 no",
                "[1.2.3.4]",
            ),
            ("H=x [1.2.3.4] rejected after DATA: spam: much", "Spam: much", "[1.2.3.4]"),
            ("H=x [1.2.3.4] temporarily rejected after DATA: later", "Later", "[1.2.3.4]"),
            ("H=x [1.2.3.4] F=<a@b> temporarily rejected DATA: x", "Rejected DATA: x", "[1.2.3.4]"),
            ("H=x [1.2.3.4] rejected EHLO or HELO foo: bad helo", "Rejected EHLO: bad helo", "[1.2.3.4]"),
            (
                "rejected HELO from [1.2.3.4]: syntactically invalid argument(s): a_b",
                "Rejected HELO/EHLO: syntactically invalid argument",
                "[1.2.3.4]",
            ),
            (
                "rejected EHLO from h.ex [1.2.3.4]: (no argument given)",
                "Rejected EHLO: (no argument given)",
                "[1.2.3.4]",
            ),
            ("H=x [1.2.3.4] rejected STARTTLS: y", "Unknown", "[1.2.3.4]"),
            ("H=x [1.2.3.4] rejected STARTTLS : y", "Rejected STARTTLS: y", "[1.2.3.4]"),
            ("H=([10.9.9.9]) [1.2.3.4] rejected ATRN x: y: z", "Rejected ATRN: y", "[1.2.3.4]"),
            ("H=x [1.2.3.4] rejected AUTH LOGIN: y", "Rejected AUTH: y", "[1.2.3.4]"),
            ("U=x F=<x@y> rejected by non-SMTP ACL: a: b", "Rejected by non-SMTP ACL: a: b", "local"),
            ("F=<x@y> rejected by non-SMTP ACL", "Unknown", "local"),
            (
                "rejected from <a@s.ex> H=s.ex [1.2.3.4]: message too big: read=3 max=2",
                "Message too big",
                "[1.2.3.4]",
            ),
            (
                "SMTP call from [1.2.3.4] dropped: too many nonmail commands (last was \"NOOP\")",
                "Dropped: too many nonmail commands",
                "[1.2.3.4]",
            ),
            ("SMTP connection from [1.2.3.4] dropped: x", "Unknown", "local"),
            (
                "Connection from [1.2.3.4] refused: too many connections",
                "Connection refused: too many connections",
                "[1.2.3.4]",
            ),
            (
                "Connection from [1.2.3.4] refused: load average = 5",
                "Connection refused: load average",
                "[1.2.3.4]",
            ),
            (
                "refused connection from [1.2.3.4] (host_reject_connection)",
                "Refused connection (host_reject_connection)",
                "local",
            ),
            ("unqualified sender rejected: <abc> H=s.ex [1.2.3.4]", "Sender rejected", "[1.2.3.4]"),
            (
                "too many recipients: message rejected: sender=<a@s.ex> H=s.ex [1.2.3.4]",
                "Too many recipients",
                "[1.2.3.4]",
            ),
            ("H=mx.far.ex [1.2.3.4]: Connection refused", "Connection refused", "[1.2.3.4]"),
            (
                "SMTP protocol synchronization error (x): rejected connection from H=[1.2.3.4] input=\"x\"",
                "SMTP protocol synchronization error",
                "[1.2.3.4]",
            ),
        ] {
            let expected = Refusal { reason: reason.to_owned(), is_temporary: false, ip: ip.to_owned() };
            assert_eq!(refusal(line), Some(expected), "{line}");
        }
        for (line, reason) in [
            (
                "H=x [1.2.3.4] temporarily rejected RCPT <b@t>: greylisted",
                "Temporarily rejected RCPT: greylisted",
            ),
            (
                "H=x [1.2.3.4] temporarily rejected connection in \"connect\" ACL: later",
                "Temporarily rejected connection in \"connect\" ACL: later",
            ),
        ] {
            let expected =
                Refusal { reason: reason.to_owned(), is_temporary: true, ip: "[1.2.3.4]".to_owned() };
            assert_eq!(refusal(line), Some(expected), "{line}");
        }
        assert_eq!(refusal("H=h Warning: something"), None);
        assert_eq!(refusal("H=s.ex [10.0.0.1] F=<a@s.ex> discarded by RCPT ACL"), None);
    }
}
