//! What may differ: by narrow rows, each with its reason.

use super::case::Case;

/// What is meant to differ: a name, the page that says so, and how its lines are recognised.
struct Difference {
    #[allow(dead_code, reason = "for the reader")]
    name: &'static str,
    #[allow(dead_code, reason = "for the reader")]
    page: &'static str,
    applies: fn(&Case, &str) -> bool,
}

static DIFFERENCES: &[Difference] = &[];

/// Lines that differ and no row explains: `-` only exim4's, `+` only Oxim's.
pub(super) fn unmeant(case: &Case, exim: &str, oxim: &str) -> Vec<String> {
    crate::oracle::line_differences(exim, oxim)
        .into_iter()
        .filter(|(kind, _)| *kind != ' ')
        .map(|(kind, line)| format!("{kind} {line}\n"))
        .filter(|line| !DIFFERENCES.iter().any(|difference| (difference.applies)(case, line)))
        .collect()
}
