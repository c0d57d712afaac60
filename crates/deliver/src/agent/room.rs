//! Whether a mailbox has room for one more message: the quota that a delivery would meet, without a delivery.
//! Manual section 44.26, `verify = recipient/quota`.

use std::io;
use std::os::unix::fs::MetadataExt;

use super::job::{JobResult, Quota, RoomJob, Trouble};
use super::{new_file, path, quota};

/// Measures. The answer is that of a delivery: delivered with no bytes if the message fits.
pub(super) fn check(job: &RoomJob) -> JobResult {
    let checked = match job {
        RoomJob::File { path, quota, message_bytes } => file(path, quota, *message_bytes),
        RoomJob::Directory(job) => new_file::room(job),
    };
    match checked {
        Ok(quota_warning) => JobResult::Delivered { bytes: 0, quota_warning },
        Err(trouble) => JobResult::Deferred(trouble),
    }
}

fn file(name: &[u8], limit: &Quota, message_bytes: u64) -> Result<bool, Trouble> {
    let place = path::path(name);
    let (size, age) = match std::fs::metadata(place) {
        Ok(meta) => (meta.len(), quota::age(meta.atime())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, 0),
        Err(error) => return Err(Trouble::system(&error, format!("failed to measure {}", place.display()))),
    };
    let bytes = limit.known_bytes.unwrap_or(size);
    quota::check(limit, quota::Used { bytes, files: 0 }, message_bytes, age, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_empty() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("box");
        let limit = Quota { bytes: 100, inclusive: true, ..Quota::default() };
        let job = |message_bytes| RoomJob::File {
            path: path.to_str().unwrap().as_bytes().to_vec(),
            quota: limit.clone(),
            message_bytes,
        };
        assert!(matches!(check(&job(100)), JobResult::Delivered { .. }));
        assert!(matches!(check(&job(101)), JobResult::Deferred(_)));
        std::fs::write(&path, [b'x'; 60]).unwrap();
        assert!(matches!(check(&job(40)), JobResult::Delivered { .. }));
        assert!(matches!(check(&job(41)), JobResult::Deferred(_)));
    }
}
