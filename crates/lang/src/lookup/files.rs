//! What has been read from files, kept while the files do not change.
//!
//! A lookup file or a file item of a list is parsed once and then costs one `stat` per use: device, inode, size and
//! both times must be those of the file that was read. An entry that was read within a clock tick of the file's last
//! change is not trusted a second time, because a further change might have left all of them as they are. Within a
//! millisecond of one look there is no second one.
//! Bounded by number and bytes; the least recently used goes first.

use std::any::Any;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oxim_base::limits::{LOOKUP_CACHE_BYTES_MAX, LOOKUP_FILE_BYTES_MAX, LOOKUP_FILES_CACHED_MAX};
use parking_lot::Mutex;

/// Nanoseconds within which two changes of a file may carry the same time (a kernel tick, with room to spare).
const TICK_NANOSECONDS: i128 = 50_000_000;

/// Why a file could not be had.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The system said so.
    Io(std::io::Error),
    /// It is a directory, a socket, a device.
    NotRegular,
    /// More than `LOOKUP_FILE_BYTES_MAX`.
    TooLarge,
}

/// What the system says about an error, and who was refused, as Exim tells it.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = oxim_base::errno::error_text(error);
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return text;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    format!("{text} (euid={uid} egid={gid})")
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether the last change is long enough ago that another one would show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let nanoseconds = |(s, n): (i64, i64)| i128::from(s) * 1_000_000_000 + i128::from(n);
        let now =
            now.duration_since(UNIX_EPOCH).map_or(0, |d| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX));
        now - nanoseconds(self.modified).max(nanoseconds(self.changed)) > TICK_NANOSECONDS
    }
}

/// How long what was seen of a file is believed without another look. Within a burst of lookups one look is enough.
const LOOK: Duration = Duration::from_millis(1);

struct Entry {
    form: &'static str,
    stamp: Stamp,
    looked: Instant,
    value: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct Kept {
    /// By path; a file that is used in two forms has two.
    entries: HashMap<Vec<u8>, Vec<Entry>>,
    count: usize,
    bytes: u64,
    clock: u64,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

impl Kept {
    fn get(&mut self, form: &str, path: &[u8], stamp: Stamp) -> Option<Arc<dyn Any + Send + Sync>> {
        self.clock = self.clock.wrapping_add(1);
        let entry = self.entries.get_mut(path)?.iter_mut().find(|entry| entry.form == form)?;
        if entry.stamp != stamp {
            return None;
        }
        entry.used = self.clock;
        entry.looked = Instant::now();
        Some(Arc::clone(&entry.value))
    }

    /// What is known of a file that was looked at a moment ago.
    fn get_fresh(&self, form: &str, path: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
        let entry = self.entries.get(path)?.iter().find(|entry| entry.form == form)?;
        (entry.looked.elapsed() < LOOK).then(|| Arc::clone(&entry.value))
    }

    fn put(&mut self, form: &'static str, path: &[u8], stamp: Stamp, value: Arc<dyn Any + Send + Sync>) {
        let entry =
            Entry { form, stamp, looked: Instant::now(), value, bytes: stamp.bytes, used: self.clock };
        self.bytes = self.bytes.saturating_add(entry.bytes);
        self.remove(form, path);
        self.entries.entry(path.to_vec()).or_default().push(entry);
        self.count = self.count.saturating_add(1);
        while self.count > LOOKUP_FILES_CACHED_MAX || self.bytes > LOOKUP_CACHE_BYTES_MAX {
            let all = self.entries.iter().flat_map(|(path, forms)| forms.iter().map(move |e| (path, e)));
            let oldest = all.min_by_key(|(_, e)| e.used).map(|(path, e)| (path.clone(), e.form));
            let Some((path, form)) = oldest else { break };
            self.remove(form, &path);
        }
    }

    fn remove(&mut self, form: &str, path: &[u8]) {
        let Some(forms) = self.entries.get_mut(path) else { return };
        for entry in forms.extract_if(.., |entry| entry.form == form) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.count = self.count.saturating_sub(1);
        }
        if forms.is_empty() {
            self.entries.remove(path);
        }
    }
}

/// A regular file, opened.
pub(crate) struct Opened {
    /// The open file.
    pub(crate) file: File,
    /// Its size when it was opened.
    pub(crate) bytes: u64,
}

impl Opened {
    /// The whole content.
    pub(crate) fn read(mut self) -> Result<Vec<u8>, FileError> {
        if self.bytes > LOOKUP_FILE_BYTES_MAX {
            return Err(FileError::TooLarge);
        }
        let mut data = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
        // The file may grow while it is read.
        (&mut self.file).take(LOOKUP_FILE_BYTES_MAX).read_to_end(&mut data).map_err(FileError::Io)?;
        Ok(data)
    }
}

/// Opens a regular file for reading; anything else is refused, and opening a pipe does not block.
pub(crate) fn open(path: &[u8]) -> Result<(Opened, Metadata), FileError> {
    use rustix::fs::{Mode, OFlags};
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let descriptor =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map_err(|e| FileError::Io(e.into()))?;
    let file = File::from(descriptor);
    let meta = file.metadata().map_err(FileError::Io)?;
    if !meta.is_file() {
        return Err(FileError::NotRegular);
    }
    Ok((Opened { file, bytes: meta.len() }, meta))
}

/// The parsed form of a file under a form's name: remembered if the file has not changed, else built anew.
pub(crate) fn parsed<T: Any + Send + Sync>(
    form: &'static str,
    path: &[u8],
    build: impl FnOnce(Opened) -> Result<T, FileError>,
) -> Result<Arc<T>, FileError> {
    let fresh = KEPT.lock().get_fresh(form, path);
    if let Some(value) = fresh.and_then(|value| value.downcast::<T>().ok()) {
        return Ok(value);
    }
    let meta = std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(path))).map_err(FileError::Io)?;
    if let Some(value) = KEPT.lock().get(form, path, Stamp::of(&meta))
        && let Ok(value) = value.downcast::<T>()
    {
        return Ok(value);
    }
    let (opened, meta) = open(path)?;
    let stamp = Stamp::of(&meta);
    let now = SystemTime::now();
    let value = Arc::new(build(opened)?);
    if stamp.is_settled(now) {
        KEPT.lock().put(form, path, stamp, Arc::<T>::clone(&value));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn age(file: &tempfile::NamedTempFile) {
        let past = SystemTime::now() - std::time::Duration::from_secs(60);
        file.as_file().set_modified(past).unwrap();
    }

    #[test]
    fn a_file_is_parsed_once_until_it_changes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        age(&file);
        // The change time cannot be set back; wait out the tick.
        std::thread::sleep(std::time::Duration::from_millis(60));
        let path = file.path().as_os_str().as_bytes().to_vec();
        let first = parsed("test", &path, Opened::read).unwrap();
        let second = parsed("test", &path, |_| panic!("read again")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        file.write_all(b"+two").unwrap();
        std::thread::sleep(LOOK);
        assert_eq!(*parsed("test", &path, Opened::read).unwrap(), b"one+two");
    }

    #[test]
    fn a_file_changed_just_now_is_not_trusted() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        let path = file.path().as_os_str().as_bytes().to_vec();
        assert_eq!(*parsed("test", &path, Opened::read).unwrap(), b"one");
        std::fs::write(file.path(), b"two").unwrap();
        assert_eq!(*parsed("test", &path, Opened::read).unwrap(), b"two");
    }

    #[test]
    fn only_regular_files() {
        assert!(matches!(parsed("test", b"/", Opened::read), Err(FileError::NotRegular)));
        let Err(FileError::Io(error)) = parsed("test", b"/nonexistent/x", Opened::read) else { panic!() };
        assert_eq!(reason(&error), "No such file or directory");
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let mut kept = Kept::default();
        let stamp = Stamp { device: 0, inode: 0, bytes: 10, modified: (0, 0), changed: (0, 0) };
        for i in 0..LOOKUP_FILES_CACHED_MAX + 5 {
            kept.clock += 1;
            kept.put("t", i.to_string().as_bytes(), stamp, Arc::new(i));
        }
        assert_eq!((kept.entries.len(), kept.count), (LOOKUP_FILES_CACHED_MAX, LOOKUP_FILES_CACHED_MAX));
        assert!(!kept.entries.contains_key(b"0".as_slice()));
        assert_eq!(kept.bytes, 10 * LOOKUP_FILES_CACHED_MAX as u64);
    }
}
