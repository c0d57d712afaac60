//! Room on disk: `check_spool_space`, `check_spool_inodes`, `check_log_space`, `check_log_inodes`. Manual chapter 14.
//!
//! The answer is remembered for a moment, because every MAIL command asks. A file system that cannot be asked has room.

use crate::each_second::EachSecond;
use crate::reception::Reception;

/// Kilobytes and inodes that a file system had left when it was last asked.
pub type SpaceLeft = EachSecond<(i64, i64)>;

fn ask(directory: &str) -> (i64, i64) {
    let Ok(facts) = rustix::fs::statvfs(directory) else { return (i64::MAX, i64::MAX) };
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let kilobytes = number(facts.f_bavail.saturating_mul(facts.f_frsize) / 1024);
    // File systems that make inodes as needed say that they have none.
    let inodes = if facts.f_files == 0 { i64::MAX } else { number(facts.f_favail) };
    (kilobytes, inodes)
}

/// Whether there is too little room for a message of this many bytes.
#[must_use]
pub fn is_short(reception: &Reception, announced: u64) -> bool {
    let settings = &reception.settings;
    let limits = &settings.limits;
    let wanted =
        i64::try_from(announced / 1024).unwrap_or(i64::MAX).saturating_add(limits.spool_space.max(0));
    let spool = Place { name: "spool", directory: &settings.spool_directory, left: &reception.space };
    let log = Place { name: "log", directory: &settings.log_directory, left: &reception.log_space };
    spool.is_short(reception, wanted, limits.spool_inodes)
        || !log.directory.is_empty() && log.is_short(reception, limits.log_space.max(0), limits.log_inodes)
}

struct Place<'a> {
    name: &'static str,
    directory: &'a str,
    left: &'a SpaceLeft,
}

impl Place<'_> {
    fn is_short(&self, reception: &Reception, wanted: i64, inodes_wanted: i64) -> bool {
        if wanted == 0 && inodes_wanted <= 0 {
            return false;
        }
        let (kilobytes, inodes) = self.left.get(|| ask(self.directory));
        if kilobytes >= wanted && inodes >= inodes_wanted {
            return false;
        }
        let name = self.name;
        reception
            .logs
            .main(&format!("{name} directory space check failed: space={kilobytes} inodes={inodes}"));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_some_room_and_a_missing_one_is_not_counted() {
        let (kilobytes, inodes) = ask("/");
        assert!(kilobytes > 0 && inodes > 0);
        assert_eq!(ask("/no/such/directory"), (i64::MAX, i64::MAX));
    }
}
