//! `oxim explain ADDRESS…`: which routers were tried, what each said and why, and what came of it, as `-bt` shows it.
//!
//! Exit codes are those of `-bt`: 2 if an address fails, 1 if one cannot be resolved now. Nothing is delivered.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use oxim_deliver::delivery::Delivery;
use oxim_deliver::route_test::{TestMode, TestResult};
use oxim_deliver::router::trace::{self, Traced};
use oxim_lang::context::Context;

use crate::args::{self, CommandLine};
use crate::assemble::Program;
use crate::tool::say;

/// The command line of an address test with these words. None: they make no sense.
pub(crate) fn command_line(words: &[Vec<u8>]) -> Option<CommandLine> {
    let mut options = Vec::new();
    let mut addresses = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-C" => options.extend([word.clone(), words.next()?.clone()]),
            option if option.starts_with(b"-C") || option.starts_with(b"-D") => options.push(word.clone()),
            option if option.starts_with(b"-") => return None,
            _ => addresses.push(word.clone()),
        }
    }
    if addresses.is_empty() {
        return None;
    }
    let own = [b"exim".to_vec(), b"-bt".to_vec()];
    let all = own.into_iter().chain(options).chain(addresses).map(OsString::from_vec);
    args::parse(all).ok()
}

/// Explains each address.
pub(crate) fn run(program: &Program, delivery: &Delivery, context: &mut Context) -> u8 {
    let is_admin = crate::privilege::is_admin(&program.config);
    let mut worst = 0;
    for (index, address) in program.line.arguments.iter().enumerate() {
        if index > 0 {
            say("\n");
        }
        let mut result = TestResult::new(is_admin);
        let ((), steps) = trace::collect(|| {
            delivery.test_addresses(context, address, TestMode::Route, false, &mut result);
        });
        say(format_args!("{}\n{}", shown(&steps, is_admin), result.text));
        worst = worst.max(result.status as u8);
    }
    worst
}

/// The steps; reasons are for administrators.
fn shown(steps: &[Traced], is_admin: bool) -> String {
    let routers = steps.iter().map(|step| match step {
        Traced::Skipped { router, .. } | Traced::Asked { router, .. } | Traced::Deferred { router, .. } => {
            router.len()
        }
        Traced::Address(_) | Traced::NoMore => 0,
    });
    let width = routers.max().unwrap_or(0);
    let because = |text: &str| if is_admin { text.to_owned() } else { String::new() };
    let mut out = String::new();
    for step in steps {
        let line = match step {
            Traced::Address(address) => format!("{address}\n"),
            Traced::Skipped { router, reason } => {
                format!("  {router:width$}  skipped: {}\n", because(reason))
            }
            Traced::Asked { router, verdict } => format!("  {router:width$}  {verdict}\n"),
            Traced::Deferred { router, reason } => {
                format!("  {router:width$}  cannot be decided now: {}\n", because(reason))
            }
            Traced::NoMore => "  no more routers\n".to_owned(),
        };
        out.push_str(&line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_an_address_test() {
        let read =
            |line: &str| command_line(&line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>());
        let line = read("-C /x a@b c@d").unwrap();
        assert_eq!(line.mode, crate::args::Mode::AddressTest);
        assert_eq!(line.arguments, [b"a@b".to_vec(), b"c@d".to_vec()]);
        assert_eq!(line.config_files, Some(vec![b"/x".to_vec()]));
        assert!(read("-C /x").is_none() && read("-x a@b").is_none());
    }

    #[test]
    fn steps_stand_in_columns() {
        let steps = [
            Traced::Address("a@b".to_owned()),
            Traced::Skipped { router: "local".to_owned(), reason: "domains mismatch".to_owned() },
            Traced::Asked { router: "dns".to_owned(), verdict: "declined".to_owned() },
            Traced::NoMore,
        ];
        let text = "a@b\n  local  skipped: domains mismatch\n  dns    declined\n  no more routers\n";
        assert_eq!(shown(&steps, true), text);
        assert!(!shown(&steps, false).contains("mismatch"));
    }
}
