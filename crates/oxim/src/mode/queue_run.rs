//! `-q…`, `-R`, `-S`: one queue run by this process.

use oxim_deliver::queue::AttemptOptions;
use oxim_deliver::queue::run::{RunOptions, Selection, run as run_queue};

use crate::args::QueueRun;
use crate::assemble::Program;
use crate::engine::{self, Engine, Settings};

/// The options of a run as the queue wants them.
///
/// # Errors
/// A faulty regular expression.
pub fn options(run: &QueueRun, dont_deliver: bool) -> Result<RunOptions, String> {
    let selection = |chosen: &Option<crate::args::Selection>| {
        chosen.as_ref().map(|s| Selection::new(&s.text, s.is_regex)).transpose()
    };
    Ok(RunOptions {
        attempt: AttemptOptions {
            force: run.force,
            force_frozen: run.force_frozen,
            local_only: run.local_only,
            queue_running: true,
            dont_deliver,
            ..AttemptOptions::default()
        },
        two_stage: run.two_stage,
        first_only: run.first_only,
        queue_name: run.queue_name.clone(),
        start: run.start.clone(),
        stop: run.stop.clone(),
        recipient: selection(&run.recipient)?,
        sender: selection(&run.sender)?,
        label: label(run),
        turn: None,
    })
}

/// What the log shows behind `pid=`.
fn label(run: &QueueRun) -> String {
    let mut letters = String::new();
    for (is_set, letter) in [
        (run.two_stage, "q"),
        (run.first_only, "i"),
        (run.force, "f"),
        (run.force_frozen, "f"),
        (run.local_only, "l"),
    ] {
        if is_set {
            letters.push_str(letter);
        }
    }
    let mut out = if letters.is_empty() { String::new() } else { format!(" -q{letters}") };
    for (option, chosen) in [("R", &run.recipient), ("S", &run.sender)] {
        if let Some(chosen) = chosen {
            let kind = if chosen.is_regex { "r" } else { "" };
            out.push_str(&format!(" -{option}{kind} {}", String::from_utf8_lossy(&chosen.text)));
        }
    }
    out
}

/// Runs the queue once.
pub fn run(program: &Program, wanted: &QueueRun) -> u8 {
    let options = match options(wanted, program.line.dont_deliver) {
        Ok(options) => options,
        Err(error) => {
            complain!("exim: {error}");
            return 1;
        }
    };
    crate::control::flush(&program.services.spool_directory);
    let Some((runtime, engine)) = engine::for_command(program, Settings::default()) else { return 1 };
    run_over(&engine, &options);
    runtime.shutdown_background();
    0
}

/// One pass with what there is.
pub(crate) fn run_over(engine: &Engine, options: &RunOptions) {
    run_queue(&engine.delivery, &*engine.store, &*engine.sink, options, |_, _| {});
}
