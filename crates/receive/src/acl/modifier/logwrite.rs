//! The `logwrite` modifier: writes a line to a log at once. Manual section 44.21.
//!
//! `:main,reject:` and the like at the start choose the logs. An unknown name is a line in the panic log, and nothing is written.

use oxim_base::Text;

use super::super::RejectTargets;
use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::run::Run;
use crate::log_line;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "logwrite",
    doc: "Writes a line to the main log, or to the logs named before it.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(Write))
}

#[derive(Debug)]
struct Write;

impl Modifier for Write {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        let Some((targets, text)) = parse(argument.as_bytes()) else {
            run.log_panic(&format!(
                "unknown log name in \"{}\" in \"logwrite\" in {} ACL",
                argument.to_string_lossy(),
                run.phase.acl_name()
            ));
            return Ok(());
        };
        let line = log_line::printable(text);
        if targets.main {
            run.log_main(&line);
        }
        if targets.reject {
            run.log_reject(&line);
        }
        if targets.panic {
            run.log_panic_only(&line);
        }
        Ok(())
    }
}

/// The logs and the text; None if a log name is unknown or the second colon is missing.
fn parse(argument: &[u8]) -> Option<(RejectTargets, &[u8])> {
    let mut targets = RejectTargets { main: false, reject: false, panic: false };
    let Some(mut rest) = argument.strip_prefix(b":") else {
        return Some((RejectTargets { main: true, ..targets }, argument.trim_ascii_start()));
    };
    loop {
        let known: [(&[u8], &mut bool); 3] =
            [(b"main", &mut targets.main), (b"reject", &mut targets.reject), (b"panic", &mut targets.panic)];
        let (name, flag) = known.into_iter().find(|(name, _)| rest.starts_with(name))?;
        *flag = true;
        rest = rest.get(name.len()..).unwrap_or_default();
        match rest.split_first()? {
            (b',', tail) => rest = tail,
            (b':', tail) => return Some((targets, tail.trim_ascii_start())),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_chosen_by_name() {
        let logs = |main, reject, panic| RejectTargets { main, reject, panic };
        assert_eq!(parse(b"hello"), Some((logs(true, false, false), &b"hello"[..])));
        assert_eq!(parse(b":main,reject: hello"), Some((logs(true, true, false), &b"hello"[..])));
        assert_eq!(parse(b":panic:x"), Some((logs(false, false, true), &b"x"[..])));
        assert_eq!(parse(b":main"), None);
        assert_eq!(parse(b":panic : x"), None);
        assert_eq!(parse(b":foo: x"), None);
    }
}
