//! Where the words for the person at the terminal go: to this process's own output, or to a caller elsewhere that submits
//! through the daemon.

use std::io::Write as _;

use parking_lot::Mutex;

/// What was said, if it is kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub error: String,
}

/// Takes lines for standard output and standard error.
#[derive(Debug)]
pub enum Told {
    /// They are written at once.
    Here,
    /// They are kept for somebody else.
    Elsewhere(Mutex<Kept>),
}

impl Told {
    /// Keeps what is said.
    #[must_use]
    pub fn elsewhere() -> Told {
        Told::Elsewhere(Mutex::default())
    }

    /// Text for standard output.
    pub(crate) fn output(&self, text: &str) {
        match self {
            Told::Here => {
                let mut stdout = std::io::stdout().lock();
                // Whoever called may have closed it: then the exit status has to do.
                let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            }
            Told::Elsewhere(kept) => kept.lock().output.push_str(text),
        }
    }

    /// A line for standard error.
    pub(crate) fn error_line(&self, text: &str) {
        match self {
            Told::Here => eprintln!("{text}"),
            Told::Elsewhere(kept) => {
                let mut kept = kept.lock();
                kept.error.push_str(text);
                kept.error.push('\n');
            }
        }
    }

    /// What was kept.
    #[must_use]
    pub fn into_kept(self) -> Kept {
        match self {
            Told::Here => Kept::default(),
            Told::Elsewhere(kept) => kept.into_inner(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_somebody_else_are_kept_apart() {
        let told = Told::elsewhere();
        told.output("a\n");
        told.error_line("b");
        told.error_line("c");
        let kept = told.into_kept();
        assert_eq!((kept.output.as_str(), kept.error.as_str()), ("a\n", "b\nc\n"));
    }
}
