//! The `dcc` condition: the message is not bulk, says DCC. Sets `$dcc_result` and `$dcc_header`.
//!
//! The argument is a word, perhaps with `/defer_ok`; an empty one, `0` and `false` make the condition false at once. What
//! was found out is kept for the message. Failure modes: without an answer, or if dccifd itself does not know, the
//! condition defers, or under `defer_ok` is false.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::context::DccFacts;
use oxim_lang::list::split;
use oxim_mail::header::Header;

use super::super::Phase;
use super::super::clause::{Answer as Holds, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::modifier::add_header;
use super::super::phase::{Phases, all_but};
use super::super::run::Run;
use crate::dcc::{self, Answer, Letter, Silence};
use crate::log_line;

const FORBIDDEN: Phases = all_but(&[Phase::Data, Phase::Prdr, Phase::NotSmtp]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "dcc",
    doc: "The message is not bulk, says DCC.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Dcc))
}

#[derive(Debug)]
struct Dcc;

impl Condition for Dcc {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let (wanted, defer_ok) = words(argument);
        if !wanted {
            return Tested::of(false);
        }
        let result = match run.scene.context.message.dcc.as_deref() {
            Some(known) => Some(known.result),
            None => find_out(run),
        };
        match result {
            Some("A") => Tested::of(true),
            Some("R" | "G") => Tested::of(false),
            _ if defer_ok => Tested::of(false),
            _ => Tested::plain(Holds::Later),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// Whether the check is wanted, and whether a deferral is to be a "no".
fn words(argument: &Text) -> (bool, bool) {
    let text = [b"</ ", argument.as_bytes()].concat();
    let items: Vec<_> = split(&text).collect();
    let first = items.first().map(|item| item.to_ascii_lowercase()).unwrap_or_default();
    let wanted = !matches!(first.as_slice(), b"" | b"0" | b"false");
    (wanted, items.iter().skip(1).any(|item| item.eq_ignore_ascii_case(b"defer_ok")))
}

/// Asks dccifd, logs what is to be logged, and keeps the answer. `None`: there is none.
fn find_out(run: &mut Run<'_>) -> Option<&'static str> {
    let options = run.reception.settings.dcc.clone();
    let answer = match dcc::ask(&run.scene.context, &options, run.reception.resolver.as_ref()) {
        Ok(answer) => answer,
        Err(Silence::BadAddress) => {
            run.log_main(&format!("DCC: warning - invalid dccifd address: '{}'", options.address));
            return None;
        }
        Err(Silence::Failed(text)) => {
            run.log_panic_only(&text);
            return None;
        }
    };
    let Some(parsed) = dcc::parse(&answer) else {
        run.log_panic_only("DCC: dccifd closed the connection without an answer");
        return None;
    };
    tell(run, &answer, &parsed);
    let result = match parsed.letter {
        Letter::Accept => "A",
        Letter::Reject => "R",
        Letter::Greylist => "G",
        Letter::Later | Letter::Unknown => "T",
    };
    run.trace(|| format!("DCC result is {result}"));
    if options.direct_add_header {
        add_headers(run, &parsed.header);
    }
    run.scene.context.message.dcc = Some(Box::new(DccFacts { result, header: parsed.header }));
    Some(result)
}

/// The lines of the main log about an answer.
fn tell(run: &Run<'_>, answer: &[u8], parsed: &Answer) {
    let shown = || log_line::printable(answer.trim_ascii_end());
    if parsed.has_rest {
        run.log_main(&format!("Wrong header from DCC, output is {}", shown()));
    }
    match parsed.letter {
        Letter::Accept | Letter::Greylist => {}
        Letter::Later => run.log_main(&format!("Temporary error with DCC: {}", shown())),
        Letter::Unknown => run.log_main(&format!("Unknown DCC response: {}", shown())),
        Letter::Reject => {
            let connection = &run.scene.context.connection;
            let name = connection.host_name.as_deref().map(log_line::printable);
            let name = name.map(|name| format!("{name} ")).unwrap_or_default();
            let address = connection.host_address.map(|ip| ip.to_string()).unwrap_or_default();
            let sender = log_line::printable(&run.scene.context.message.sender);
            run.log_main(&format!("H={name}[{address}] F=<{sender}>: rejected by DCC"));
        }
    }
}

/// `dcc_direct_add_header`: the line of DCC, then that of `$acl_m_dcc_add_header`, at the end of the header.
fn add_headers(run: &mut Run<'_>, header: &[u8]) {
    run.scene.message.scan.is_stale = true;
    let message = &mut run.scene.context.message;
    if !header.is_empty() {
        message.headers.push_back(Header::new(header.to_vec()));
    }
    let Some(extra) = message.acl_m.get(b"_dcc_add_header".as_slice()).cloned() else { return };
    for line in add_header::header_lines(extra.as_bytes()) {
        message.headers.push_back(Header::new(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (argument, expected) in [
            ("*", (true, false)),
            ("1/defer_ok", (true, true)),
            ("* / DEFER_OK", (true, true)),
            ("", (false, false)),
            ("False", (false, false)),
            ("0/defer_ok", (false, true)),
        ] {
            assert_eq!(words(&Text::from(argument.to_owned())), expected, "{argument}");
        }
    }
}
