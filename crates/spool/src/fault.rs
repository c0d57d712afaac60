//! Named points where a test can make the process die or a write fail. Nothing of it is in the real program.

use std::io;

/// In a test that set `OXIM_SPOOL_FAULT` to this name: the process dies here, as if the power had failed.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("OXIM_SPOOL_FAULT").ok());
    if chosen.as_deref() == Some(name) {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(test))]
#[inline]
pub(crate) fn point(_name: &str) {}

/// Failures that a test has asked for.
#[derive(Default)]
pub(crate) struct Failures {
    #[cfg(test)]
    next: parking_lot::Mutex<std::collections::VecDeque<i32>>,
}

impl Failures {
    /// An error instead of the next write, if a test asked for one.
    #[cfg(test)]
    pub(crate) fn take(&self) -> io::Result<()> {
        match self.next.lock().pop_front() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    /// No error.
    #[cfg(not(test))]
    #[inline]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "same shape as in tests")]
    pub(crate) fn take(&self) -> io::Result<()> {
        Ok(())
    }

    /// Asks for an error instead of the next write.
    #[cfg(test)]
    pub(crate) fn push(&self, errno: i32) {
        self.next.lock().push_back(errno);
    }
}
