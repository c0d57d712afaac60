//! The `spf` and `spf_guess` conditions: the result of an SPF check is in a list of words. Sets `$spf_…`.
//!
//! The list is read from the left; the first item that names the result, or with `!` another one, makes the condition
//! true, `*` names all. The words of all versions of Exim are known. Failure modes: a DNS failure is the result
//! `temperror`; a template that cannot be expanded makes the condition faulty.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::split;
use oxim_lang::sender_policy;
use oxim_mailauth::spf::Verdict;

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, phases};
use super::super::run::Run;

const FORBIDDEN: Phases = phases(&[
    Phase::Auth,
    Phase::Connect,
    Phase::Helo,
    Phase::MailAuth,
    Phase::Etrn,
    Phase::Atrn,
    Phase::Expn,
    Phase::StartTls,
    Phase::Vrfy,
    Phase::NotSmtp,
    Phase::NotSmtpStart,
    Phase::NotSmtpMime,
]);

/// The row of `spf`.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "spf",
    doc: "The SPF result is in the list.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

/// The row of `spf_guess`.
pub(crate) static GUESS_ROW: ClauseRow = ClauseRow {
    name: "spf_guess",
    doc: "The SPF result is in the list; a domain without record is judged by the option of the same name.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(compile_guess),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Spf { may_guess: false }))
}

fn compile_guess(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Spf { may_guess: true }))
}

#[derive(Debug)]
struct Spf {
    may_guess: bool,
}

impl Condition for Spf {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let verdict = match run.reception.resolver.clone() {
            Some(resolver) => run.lending(|context| sender_policy::check(context, &resolver, self.may_guess)),
            None => Ok(Verdict::TempError),
        };
        match verdict {
            Ok(verdict) => {
                run.trace(|| format!("SPF result is {verdict}"));
                Tested::of(split(argument.as_bytes()).any(|item| names(&item, verdict)))
            }
            Err(error) => Tested::faulty(format!("SPF: {error}")),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// Whether one item of the list is true of the result.
fn names(item: &[u8], verdict: Verdict) -> bool {
    match item.strip_prefix(b"!") {
        Some(word) => !is_named(word.trim_ascii(), verdict),
        None => is_named(item, verdict),
    }
}

fn is_named(word: &[u8], verdict: Verdict) -> bool {
    word == b"*" || Verdict::from_word(word) == Some(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_words_of_all_versions() {
        for (item, verdict, is_true) in [
            ("pass", Verdict::Pass, true),
            ("!pass", Verdict::Pass, false),
            ("! fail", Verdict::Fail, false),
            ("! fail", Verdict::Pass, true),
            ("err_temp", Verdict::TempError, true),
            ("err_perm", Verdict::PermError, true),
            ("invalid", Verdict::PermError, true),
            ("!invalid", Verdict::PermError, false),
            ("Pass", Verdict::Pass, false),
            ("*", Verdict::None, true),
            ("", Verdict::None, false),
        ] {
            assert_eq!(names(item.as_bytes(), verdict), is_true, "{item} of {verdict}");
        }
    }
}
