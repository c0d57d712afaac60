//! Where reception writes its log lines: the log files, standard error under `-bh`, or a test's memory.
//!
//! The lines come without their time stamp. Manual chapter 53, and section 5.2 for `-bh`.

use std::sync::Arc;

/// Takes log lines, without time stamp.
pub trait LogFiles: Send + Sync {
    /// A line for the main log.
    fn main(&self, line: &str);
    /// A line for the reject log; `headers` follow on lines of their own.
    fn reject(&self, line: &str, headers: Option<&str>);
    /// A line for the panic log.
    fn panic(&self, line: &str);

    /// One line for main and reject log: by syslog it may be sent once.
    fn main_and_reject(&self, line: &str, headers: Option<&str>) {
        self.main(line);
        self.reject(line, headers);
    }

    /// One line for main and panic log.
    fn main_and_panic(&self, line: &str) {
        self.main(line);
        self.panic(line);
    }
}

impl LogFiles for oxim_spool::log::Log {
    fn main(&self, line: &str) {
        oxim_spool::log::Log::main(self, line);
    }

    fn reject(&self, line: &str, headers: Option<&str>) {
        oxim_spool::log::Log::reject(self, line, headers.map(str::as_bytes));
    }

    fn panic(&self, line: &str) {
        oxim_spool::log::Log::panic(self, line);
    }

    fn main_and_reject(&self, line: &str, headers: Option<&str>) {
        oxim_spool::log::Log::main_and_reject(self, line, headers.map(str::as_bytes));
    }

    fn main_and_panic(&self, line: &str) {
        self.both(line);
    }
}

/// The logs of one process.
#[derive(Clone)]
pub struct Logs(Arc<dyn LogFiles>);

impl Logs {
    /// Logs that go there.
    pub fn new(files: Arc<dyn LogFiles>) -> Logs {
        Logs(files)
    }

    /// Writes to the main log.
    pub fn main(&self, line: &str) {
        self.0.main(line);
    }

    /// Writes to the reject log only; `headers` follow on lines of their own.
    pub fn reject(&self, line: &str, headers: Option<&str>) {
        self.0.reject(line, headers);
    }

    /// Writes to the main and the reject log.
    pub fn main_and_reject(&self, line: &str) {
        self.rejection(line, true, None);
    }

    /// Writes to the reject log, and to the main log too if `is_in_main`; `headers` are for the reject log.
    pub fn rejection(&self, line: &str, is_in_main: bool, headers: Option<&str>) {
        if is_in_main {
            self.0.main_and_reject(line, headers);
        } else {
            self.0.reject(line, headers);
        }
    }

    /// Writes to the panic log alone.
    pub fn panic_only(&self, line: &str) {
        self.0.panic(line);
        oxim_base::debug::panicked();
    }

    /// Writes to the main and the panic log.
    pub fn panic(&self, line: &str) {
        self.0.main_and_panic(line);
        oxim_base::debug::panicked();
    }
}

/// The logs of `-bh`: standard error, each line after `LOG: `.
#[derive(Clone, Copy, Debug)]
pub struct Shown;

impl LogFiles for Shown {
    fn main(&self, line: &str) {
        eprintln!("LOG: {line}");
    }

    fn reject(&self, _: &str, _: Option<&str>) {}

    fn panic(&self, _: &str) {}
}
