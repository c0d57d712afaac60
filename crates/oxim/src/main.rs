//! Oxim: a mail transfer agent that takes Exim's place.
//!
//! This file chooses between our own subcommands and Exim's command line, and turns errors into exit codes.

#![allow(clippy::wildcard_enum_match_arm, reason = "most code is about one or two of the many modes")]
#![allow(unreachable_pub, reason = "a program has no outside: `pub` marks what its modules offer each other")]

#[macro_use]
mod console;

mod args;
mod arguments_line;
mod assemble;
mod build;
mod control;
mod daemon;
mod engine;
mod environment;
mod mode;
mod perl;
mod privilege;
mod run;
mod services;
mod tool;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let code = run::run(words);
    // Connections that wait for another message are told that there is none.
    oxim_deliver::transport::smtp::close_idle_connections();
    ExitCode::from(code)
}
