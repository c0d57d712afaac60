//! A value that is asked for at most once a second, whoever needs it: the room on a disk, the load average.

use std::sync::{Mutex, PoisonError};

use oxim_base::clock::Stamp;

/// The last answer and the second of the clock at which it was asked for.
#[derive(Debug, Default)]
pub struct EachSecond<T>(Mutex<Option<(i64, T)>>);

impl<T: Copy> EachSecond<T> {
    /// The answer, not older than this second. Who comes while another session asks waits for what it hears.
    pub fn get(&self, ask: impl FnOnce() -> T) -> T {
        let now = Stamp::now().seconds;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, value)) = *last
            && asked == now
        {
            return value;
        }
        let value = ask();
        *last = Some((now, value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_ask_at_the_same_moment_all_get_the_answer() {
        for _ in 0..200 {
            let value = EachSecond::default();
            let together = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        assert_eq!(value.get(|| 7), 7);
                    });
                }
            });
        }
    }
}
