//! `eximstats`: statistics of main logs, as text or HTML (manual section 54.7).
//!
//! Reads files or standard input, in Exim's or syslog's form. Not built and refused: merging reports, charts, spreadsheets, and the
//! times of `-show_rt` and `-show_dt`. Exit code 1 for wrong options, files and input without any line of a log.

mod counts;
mod html;
pub(super) mod options;
mod report;

use std::io::Write;

use self::counts::Counts;
use self::options::{Options, Output};
use super::{Call, log_file};

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let options = match Options::read(&call.words) {
        Ok(Some(options)) => options,
        Ok(None) => {
            super::say(options::HELP);
            return 0;
        }
        Err(text) => {
            complain!("Eximstats: {text}\n{}", options::HELP);
            return 1;
        }
    };
    let mut counts = Counts::new(&options);
    let stdin = [b"-".to_vec()];
    for name in if options.files.is_empty() { stdin.as_slice() } else { &options.files } {
        let done = log_file::open(name).and_then(|reader| log_file::lines(reader, |line| counts.line(line)));
        if let Err(error) = done {
            let reason = oxim_deliver::agent::job::strerror(&error);
            complain!("Failed to read {}: {reason}", String::from_utf8_lossy(name));
            return 1;
        }
    }
    if counts.last.is_empty() && !options.empty_ok {
        complain!("**** No valid log lines read");
        return 1;
    }
    let mut code = 0;
    for (is_html, output) in &options.outputs {
        let text = if *is_html { html::report(&counts) } else { report::report(&counts) };
        let written = match output {
            Output::Stdout => std::io::stdout().lock().write_all(text.as_bytes()),
            Output::File(path) => std::fs::write(path, &text),
        };
        if let Err(error) = written {
            code = call.fail(1, error);
        }
    }
    code
}
