//! Holds what happened against what the scenario says, section by section.

use super::Program;
use super::format::Scenario;
use super::pattern::Bindings;
use super::stage::Results;

/// The differences as text; empty if there are none.
pub(crate) fn differences(scenario: &Scenario, results: &Results, program: Program) -> String {
    let mut bindings = Bindings::default();
    let mut out = String::new();
    for (index, section) in scenario.sections.iter().enumerate() {
        let Some(actual) = results.sections.get(&index) else { continue };
        let heading =
            |what: &str| format!("line {}: {} {}: {what}", section.line, section.kind, section.argument);
        let get = |name: &str| actual.get(name).map_or("", String::as_str);
        match section.kind.as_str() {
            "client" => {
                compare(&heading("dialogue"), &section.body, get("body"), program, &mut bindings, &mut out)
            }
            "expect" => compare(
                &heading("text"),
                section.body.trim_end_matches('\n'),
                get("body").trim_end_matches('\n'),
                program,
                &mut bindings,
                &mut out,
            ),
            "run" | "user-run" | "sh" => {
                for name in ["output", "error", "exit"] {
                    let own = section.part(&format!("{name} oxim")).filter(|_| program == Program::Oxim);
                    let expected = own.or_else(|| section.part(name));
                    if let Some(expected) = expected.or_else(|| (name == "exit").then_some("")) {
                        compare(
                            &heading(name),
                            expected.trim_end_matches('\n'),
                            get(name).trim_end_matches('\n'),
                            program,
                            &mut bindings,
                            &mut out,
                        );
                    }
                }
            }
            _ => {}
        }
    }
    if !out.is_empty() {
        out.push_str(&results.notes);
    }
    out
}

/// Lines that begin with `oxim: ` or `exim: ` are for that program only.
fn for_program(expected: &str, program: Program) -> Vec<&str> {
    let (own, other) = match program {
        Program::Oxim => ("oxim| ", "exim| "),
        Program::Exim => ("exim| ", "oxim| "),
    };
    expected.lines().filter(|l| !l.starts_with(other)).map(|l| l.strip_prefix(own).unwrap_or(l)).collect()
}

/// Appends what differs, under a heading.
pub(super) fn compare(
    heading: &str,
    expected: &str,
    actual: &str,
    program: Program,
    bindings: &mut Bindings,
    out: &mut String,
) {
    let expected = for_program(expected, program);
    let actual: Vec<&str> = actual.lines().collect();
    let mut is_different = expected.len() != actual.len();
    let mut text = String::new();
    for index in 0..expected.len().max(actual.len()) {
        match (expected.get(index), actual.get(index)) {
            (Some(want), Some(got)) if bindings.matches(want, got.as_bytes()) => {
                text.push_str(&format!("    {got}\n"))
            }
            (want, got) => {
                is_different = true;
                if let Some(want) = want {
                    text.push_str(&format!("  - {want}\n"));
                }
                if let Some(got) = got {
                    text.push_str(&format!("  + {got}\n"));
                }
            }
        }
    }
    if is_different {
        out.push_str(&format!("{heading} (- expected, + happened)\n{text}"));
    }
}
