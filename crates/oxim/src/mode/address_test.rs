//! `-bt`, `-bv` and `-bvs`: routes or verifies addresses and prints what came of it.

use std::io::{self, BufRead, Write};

use oxim_deliver::delivery::Delivery;
use oxim_deliver::route_test::{TestMode, TestResult};
use oxim_lang::context::Context;

use crate::assemble::Program;

/// Longest address on the command line, in bytes. Exim's figure.
const ARGUMENT_BYTES_MAX: usize = 1024;

/// Tests each argument, or each line of standard input. Exit code: 2 if one failed, 1 if one could not be resolved, else 0.
pub(crate) fn run(program: &Program, delivery: &Delivery, context: &mut Context, mode: TestMode) -> u8 {
    let is_admin = crate::privilege::is_admin(&program.config);
    let mut result = TestResult::new(is_admin);
    let mut test = |argument: &[u8]| {
        delivery.test_addresses(context, argument, mode, program.line.verbose, &mut result);
        let _ = io::stdout().lock().write_all(std::mem::take(&mut result.text).as_bytes());
    };
    if program.line.arguments.is_empty() {
        // Exim prompts whatever standard input is, and answers an empty line too.
        let mut lines = io::stdin().lock().split(b'\n');
        loop {
            say_part!("> ");
            let _ = io::stdout().flush();
            let Some(Ok(line)) = lines.next() else { break };
            test(line.trim_ascii());
        }
        say!("");
    } else {
        for argument in program.line.arguments.iter().filter(|argument| !argument.is_empty()) {
            if argument.len() > ARGUMENT_BYTES_MAX {
                let length = argument.len();
                complain!(
                    "exim: length limit exceeded ({length} > {ARGUMENT_BYTES_MAX}) for: address verification"
                );
                return 1;
            }
            test(argument);
        }
    }
    result.status as u8
}
