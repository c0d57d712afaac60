//! The system's words for its errors, as Exim writes them: `strerror`, without the number that Rust puts behind them.

use std::io;

/// An error in the system's words (`Connection refused`), for logs, replies and reports.
///
/// An error that carries another one's text loses the number wherever it stands.
#[must_use]
pub fn error_text(error: &io::Error) -> String {
    without_numbers(error.to_string())
}

/// The system's words for an error number.
#[must_use]
pub fn errno_text(code: i32) -> String {
    error_text(&io::Error::from_raw_os_error(code))
}

/// A text that holds errors as Rust shows them, without the numbers behind them.
#[must_use]
pub fn without_numbers(mut text: String) -> String {
    while let Some((before, behind)) = text.split_once(" (os error ") {
        let rest = behind.split_once(')').map_or("", |(_, rest)| rest);
        text = format!("{before}{rest}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go() {
        assert_eq!(errno_text(2), "No such file or directory");
        let inner = io::Error::from_raw_os_error(13);
        let outer = io::Error::other(format!("/a: {inner}: not read"));
        assert_eq!(error_text(&outer), "/a: Permission denied: not read");
        assert_eq!(error_text(&io::Error::other("unknown")), "unknown");
        assert_eq!(without_numbers("x (os error 2".to_owned()), "x");
    }
}
