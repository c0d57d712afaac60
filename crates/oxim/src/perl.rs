//! `perl_at_start`, `-ps` and `-pd`: when the Perl interpreter is started. Manual section 12.1.

use std::sync::Arc;

use oxim_lang::context::Context;
use oxim_lang::expand;

use crate::assemble::Program;

/// Starts the interpreter if it is to be there before it is needed.
///
/// # Errors
/// What is wrong with `perl_startup`.
pub(crate) fn start(program: &Program) -> Result<(), String> {
    let wanted = program.line.perl_at_start.unwrap_or(program.config.main_options.bool("perl_at_start"));
    if !wanted {
        return Ok(());
    }
    let mut context = Context::new(Arc::clone(&program.config), Arc::clone(&program.services));
    expand::start_perl(&mut context).map_err(|error| error.to_string())
}

/// The same for a process that leaves the work to another one, which will start its own.
///
/// # Errors
/// What is wrong with `perl_startup`.
pub(crate) fn try_out(program: &Program) -> Result<(), String> {
    let started = start(program);
    expand::end_idle_perl();
    started
}
