//! Makes a case that differs smaller, as long as it differs.

use libtest_mimic::Failed;

use super::case::Case;
use super::{judge, play};

/// In how many pieces a case is cut, one time after another.
const PIECES: &[usize] = &[6, 24, 1_000, 1_000];

/// What can be taken out of a case.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Step(usize),
    /// A line of a message.
    Line(usize, usize),
    Config(usize),
    User,
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

fn parts(case: &Case) -> Vec<Part> {
    let mut parts: Vec<Part> = (0..case.config.len()).map(Part::Config).collect();
    if case.user.is_some() {
        parts.push(Part::User);
    }
    for (index, step) in case.steps.iter().enumerate() {
        parts.push(Part::Step(index));
        // The last line of a message ends it.
        let within = lines(&step.bytes).count().saturating_sub(1);
        parts.extend((0..within).map(|line| Part::Line(index, line)));
    }
    parts
}

fn without(case: &Case, gone: &[Part]) -> Case {
    let mut less = case.clone();
    for (index, step) in less.steps.iter_mut().enumerate() {
        let kept =
            lines(&step.bytes).enumerate().filter(|(line, _)| !gone.contains(&Part::Line(index, *line)));
        step.bytes = kept.flat_map(|(_, line)| line.to_vec()).collect();
    }
    let is_kept = |part: &Part| !gone.contains(part);
    let mut at = 0..;
    less.steps.retain(|_| at.next().is_some_and(|index| is_kept(&Part::Step(index))));
    let mut at = 0..;
    less.config.retain(|_| at.next().is_some_and(|index| is_kept(&Part::Config(index))));
    less.user = less.user.filter(|_| is_kept(&Part::User));
    less
}

/// What a difference is recognised by while the rest changes: the part in which it is and which program has more there.
fn kind(text: &str) -> (&str, bool, bool) {
    let mut lines = text.lines();
    let part = lines.next().unwrap_or_default();
    let mut is_in = [false; 2];
    for line in lines.take_while(|line| line.starts_with("  - ") || line.starts_with("  + ")) {
        is_in[usize::from(line.starts_with("  + "))] = true;
    }
    (part, is_in[0], is_in[1])
}

/// The case without the parts that do not matter: first large pieces are taken out, then smaller ones, then single parts. Those
/// that can go alone go together, or half of them, or a quarter.
pub(super) fn shrunk(mut case: Case, mut text: String) -> Result<(Case, String), Failed> {
    for pieces in PIECES {
        let parts = parts(&case);
        let mut free: Vec<Vec<Part>> =
            parts.chunks(parts.len().div_ceil(*pieces).max(1)).map(<[_]>::to_vec).collect();
        let alone = free.iter().map(|piece| without(&case, piece)).collect();
        let is_free = still_differing(alone, &text)?;
        let mut at = is_free.iter();
        free.retain(|_| at.next().is_some_and(Option::is_some));
        let mut together = Vec::new();
        while !free.is_empty() {
            together.push(without(&case, &free.concat()));
            free.truncate(free.len() / 2);
        }
        let found = still_differing(together.clone(), &text)?;
        if let Some((less, now)) = together.into_iter().zip(found).find_map(|(less, now)| Some((less, now?)))
        {
            (case, text) = (less, now);
        }
    }
    Ok((case, text))
}

/// For each case how it differs, if it does so in the same manner.
fn still_differing(cases: Vec<Case>, text: &str) -> Result<Vec<Option<String>>, Failed> {
    let outcomes = play(&cases)?;
    let judged = cases.iter().zip(&outcomes).map(|(case, outcomes)| {
        let (now, _) = judge(case, outcomes);
        // A line of an ACL may be wrong without the ones in front of it.
        let is_fault = outcomes.exim.contains(" configuration error");
        (kind(&now) == kind(text) && !is_fault).then_some(now)
    });
    Ok(judged.collect())
}
