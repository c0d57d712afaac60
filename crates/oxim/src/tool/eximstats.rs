//! `eximstats`: statistics of main logs, as text or HTML (manual section 54.7).
//!
//! Reads files or standard input, in Exim's or syslog's form, or reports that were made before. Charts and spreadsheets, for which
//! Exim's tool wants modules that Debian does not install with it, are left out with a warning. Exit code 1 for wrong options,
//! files and input without any line of a log.

mod counts;
mod html;
mod merge;
pub(super) mod options;
mod reasons;
mod report;

use std::io::Write;

use self::counts::Counts;
use self::merge::Reader;
use self::options::{Options, Output};
use oxim_base::errno::error_text;

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
    options.warnings.iter().for_each(|warning| complain!("{warning}"));
    let mut counts = Counts::new(&options);
    let stdin = [b"-".to_vec()];
    for name in if options.files.is_empty() { stdin.as_slice() } else { &options.files } {
        let done = log_file::open(name).and_then(|reader| read(&mut counts, reader));
        if let Err(error) = done {
            let reason = error_text(&error);
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

/// Reads one log, or one report.
fn read(counts: &mut Counts<'_>, reader: impl std::io::BufRead) -> std::io::Result<()> {
    if !counts.options.merge {
        return log_file::lines(reader, |line| counts.line(line));
    }
    let mut report = Reader::new(counts);
    log_file::lines(reader, |line| report.line(line))?;
    report.end();
    Ok(())
}
