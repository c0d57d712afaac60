//! `-bi` and `newaliases`: runs `bi_command` as the caller, if it is set (manual section 5.3).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use oxim_base::errno::error_text;

use crate::assemble::Program;

/// Runs the command with the value of `-oA`. Without a command there is nothing to do.
pub(crate) fn run(program: &Program) -> u8 {
    let Some(command) = program.config.main_options.string("bi_command").filter(|text| !text.is_empty())
    else {
        return 0;
    };
    if crate::privilege::give_up().is_err() {
        complain!("exim: privilege could not be given up");
        return 1;
    }
    let mut child = Command::new(command);
    child.args(program.line.alias_file.as_deref().map(OsStr::from_bytes));
    match child.status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        Err(error) => {
            complain!("exim: failed to exec {command}: {}", error_text(&error));
            1
        }
    }
}
