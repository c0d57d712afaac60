//! Writes each message to a file of its own: maildir, mailstore, or a name of the postmaster's.
//!
//! The file is complete and synced before it gets its final name; so is the directory that holds the name. Several files of maildirs
//! that are written together get their names once all of them are on the disk, and a directory is synced once for all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use oxim_base::errno::error_text;

use super::job::{CreateWhere, Directories, JobResult, Messages, NewFileForm, NewFileJob, Trouble};
use super::quota::{self, Used};
use super::{mailbox_write, maildirsize, path};
use crate::transport::error_code;

/// Writes the message.
pub(super) fn write(job: &NewFileJob, message: &mut dyn Read) -> JobResult {
    answer(begin(job, message).and_then(Begun::finish))
}

/// Writes several messages.
pub(super) fn write_together(jobs: &[NewFileJob], messages: &mut dyn Messages) -> Vec<JobResult> {
    let mut begun: Vec<Result<Begun<'_>, Trouble>> =
        jobs.iter().map(|job| begin(job, messages.next())).collect();
    if let Err(error) = messages.end() {
        // Dropping what was begun removes it.
        begun.fill_with(|| Err(Trouble::system(&error, "the messages did not come")));
    }
    let synced: Vec<Result<Begun<'_>, Trouble>> =
        begun.into_iter().map(|begun| begun.and_then(Begun::sync)).collect();
    let named: Vec<Result<Named, Trouble>> =
        synced.into_iter().map(|begun| begun.and_then(Begun::name)).collect();
    let mut directories: Vec<(PathBuf, Result<(), Trouble>)> = Vec::new();
    for new in named.iter().flatten().filter_map(|named| named.directory.as_ref()) {
        if !directories.iter().any(|(path, _)| path == new) {
            directories.push((new.clone(), sync_new(new)));
        }
    }
    let is_synced = |named: Named| {
        let of = directories.iter().find(|(path, _)| Some(path) == named.directory.as_ref());
        of.map_or(Ok(()), |(_, synced)| synced.clone()).map(|()| named.facts)
    };
    named.into_iter().map(|named| answer(named.and_then(is_synced))).collect()
}

/// Bytes written, and whether the quota warning is due.
type Facts = (u64, bool);

fn answer(result: Result<Facts, Trouble>) -> JobResult {
    match result {
        Ok((bytes, quota_warning)) => JobResult::Delivered { bytes, quota_warning },
        Err(trouble) => JobResult::Deferred(trouble),
    }
}

/// A delivery on its way to the disk.
enum Begun<'a> {
    /// A file in `tmp`, which goes when it gets no other name.
    Maildir(MaildirFile<'a>),
    /// All is done.
    Done(Facts),
}

/// A delivery that has its name, and the directory that must be synced for it to last.
struct Named {
    directory: Option<PathBuf>,
    facts: Facts,
}

impl Begun<'_> {
    fn finish(self) -> Result<Facts, Trouble> {
        let named = self.sync()?.name()?;
        named.directory.as_deref().map_or(Ok(()), sync_new)?;
        Ok(named.facts)
    }

    /// Brings the file to the disk.
    fn sync(self) -> Result<Self, Trouble> {
        if let Begun::Maildir(file) = &self {
            file.file.sync_all().map_err(|error| trouble_writing(&file.temporary.path, &error))?;
        }
        Ok(self)
    }

    /// Gives the file its name in `new`.
    fn name(self) -> Result<Named, Trouble> {
        match self {
            Begun::Maildir(file) => file.publish(),
            Begun::Done(facts) => Ok(Named { directory: None, facts }),
        }
    }
}

fn begin<'a>(job: &'a NewFileJob, message: &mut dyn Read) -> Result<Begun<'a>, Trouble> {
    let directory = path::path(&job.directory);
    path::check_creation(directory, true, &job.directories.allowed)?;
    match &job.form {
        NewFileForm::Maildir { tag, retries, make_folder_file, size_file } => {
            let maildir = Maildir {
                job,
                directory,
                tag,
                retries: *retries,
                make_folder_file: *make_folder_file,
                size_file: size_file.as_deref(),
            };
            maildir.begin(message).map(Begun::Maildir)
        }
        NewFileForm::Mailstore { base, envelope } => {
            write_mailstore(job, directory, base, envelope, message).map(Begun::Done)
        }
        NewFileForm::Queue { id, transport, header } => {
            write_queue(job, directory, (id, transport), header, message).map(Begun::Done)
        }
        NewFileForm::Plain { name } => write_plain(job, directory, name, message).map(Begun::Done),
    }
}

/// Microseconds since 1970, never the same twice in this process: file names rest on it.
pub(crate) fn unique_micros() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let next = |last: u64| now.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last))).unwrap_or(0);
    next(last)
}

fn create(name: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(name)?;
    if file.metadata()?.mode() & 0o7777 != mode {
        // The mask must not narrow what the postmaster asked for.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The same for the `new` of a maildir.
fn sync_new(new: &Path) -> Result<(), Trouble> {
    sync_directory(new).map_err(|error| Trouble::system(&error, format!("failed to sync {}", new.display())))
}

/// Copies and syncs; a file that could not be written completely is removed.
fn fill(job: &NewFileJob, name: &Path, mut file: File, message: &mut dyn Read) -> Result<u64, Trouble> {
    let written = mailbox_write::copy(message, &mut file, &job.framing)
        .and_then(|bytes| file.sync_all().map(|()| bytes));
    written.map_err(|error| {
        let _ = std::fs::remove_file(name);
        trouble_writing(name, &error)
    })
}

fn trouble_writing(name: &Path, error: &io::Error) -> Trouble {
    if error.raw_os_error() == Some(nix::errno::Errno::EDQUOT as i32) {
        return Trouble::found(
            error_code::MAILBOX_FULL,
            format!("mailbox is full (system quota) while writing to file {}", name.display()),
        );
    }
    Trouble::system(error, format!("error while writing to {}", name.display()))
}

/// Where the mailbox begins for the quota: two levels may be one mailbox (maildir++).
fn quota_top(job: &NewFileJob, directory: &Path) -> PathBuf {
    match &job.quota.directory {
        Some(top) => path::path(top).to_path_buf(),
        None if directory.join("maildirfolder").exists() => {
            directory.parent().unwrap_or(directory).to_path_buf()
        }
        None => directory.to_path_buf(),
    }
}

/// Whether one more message fits.
pub(super) fn room(job: &NewFileJob) -> Result<bool, Trouble> {
    let directory = path::path(&job.directory);
    match &job.form {
        NewFileForm::Maildir { tag, retries, make_folder_file, size_file: Some(counted) } => {
            let maildir = Maildir {
                job,
                directory,
                tag,
                retries: *retries,
                make_folder_file: *make_folder_file,
                size_file: Some(counted),
            };
            maildir.check_size_file(&quota_top(job, directory), counted)
        }
        NewFileForm::Maildir { .. }
        | NewFileForm::Mailstore { .. }
        | NewFileForm::Queue { .. }
        | NewFileForm::Plain { .. } => check_quota(job, directory),
    }
}

fn check_quota(job: &NewFileJob, directory: &Path) -> Result<bool, Trouble> {
    if !job.quota.is_needed() {
        return Ok(false);
    }
    let top = quota_top(job, directory);
    let used = match (job.quota.known_bytes, job.quota.known_files) {
        (Some(bytes), Some(files)) => Used { bytes, files },
        (bytes, files) => {
            let regex = quota::pattern(job.quota.size_regex.as_deref())?;
            let found = quota::measure(&top, regex.as_ref(), None)
                .map_err(|e| Trouble::system(&e, format!("failed to measure {}", top.display())))?;
            Used { bytes: bytes.unwrap_or(found.bytes), files: files.unwrap_or(found.files) }
        }
    };
    quota::check(&job.quota, used, job.message_bytes, last_read(&top), directory)
}

/// Seconds since the mailbox was last read: for a maildir, since `new` last lost a file.
fn last_read(top: &Path) -> u64 {
    std::fs::metadata(top.join("new"))
        .or_else(|_| std::fs::metadata(top))
        .map_or(0, |m| quota::age(m.mtime()))
}

/// Whether deliveries into a directory count for the quota of the maildir that it is a folder of, by the names of those that do.
fn is_counted(top: &Path, directory: &Path, counted: &str) -> Result<bool, Trouble> {
    let folder = directory.strip_prefix(top).ok().and_then(|rest| rest.components().next());
    let (Some(folder), Some(counted)) = (folder, quota::pattern(Some(counted))?) else { return Ok(true) };
    let name = std::os::unix::ffi::OsStrExt::as_bytes(folder.as_os_str());
    Ok(counted.is_match(name).unwrap_or(false))
}

struct Maildir<'a> {
    job: &'a NewFileJob,
    directory: &'a Path,
    tag: &'a [u8],
    retries: u32,
    make_folder_file: bool,
    size_file: Option<&'a str>,
}

/// A name in `tmp`, removed unless it has become another one.
struct Temporary {
    path: PathBuf,
    has_moved: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.has_moved {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A message in `tmp`.
struct MaildirFile<'a> {
    maildir: Maildir<'a>,
    name: String,
    file: File,
    temporary: Temporary,
    /// The mailbox whose `maildirsize` file counts it.
    counted_in: Option<PathBuf>,
    facts: Facts,
}

impl MaildirFile<'_> {
    fn publish(self) -> Result<Named, Trouble> {
        let Self { maildir, name, file, mut temporary, counted_in, facts } = self;
        drop(file);
        let new = maildir.directory.join("new");
        let mut tagged = name.as_bytes().to_vec();
        tagged.extend_from_slice(maildir.tag);
        let target = new.join(path::path(&tagged));
        let moved = match std::fs::rename(&temporary.path, &target) {
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENAMETOOLONG as i32) => {
                std::fs::rename(&temporary.path, new.join(name))
            }
            other => other,
        };
        moved.map_err(|error| {
            let text = format!("failed to rename {} as {}", temporary.path.display(), target.display());
            Trouble::system(&error, text)
        })?;
        temporary.has_moved = true;
        if let Some(top) = counted_in {
            // The sum is a cache: a lost line is mended by the next rebuild.
            let _ = maildirsize::add(&top, facts.0);
        }
        Ok(Named { directory: Some(new), facts })
    }
}

impl<'a> Maildir<'a> {
    fn begin(self, message: &mut dyn Read) -> Result<MaildirFile<'a>, Trouble> {
        self.ensure()?;
        let top = quota_top(self.job, self.directory);
        // A folder that does not count has no quota either.
        let counts = self.size_file.map(|counted| is_counted(&top, self.directory, counted)).transpose()?;
        let quota_warning = match self.size_file {
            None => check_quota(self.job, self.directory)?,
            Some(counted) if counts == Some(true) => self.check_size_file(&top, counted)?,
            Some(_) => false,
        };
        let (name, mut file) = self.create_temporary()?;
        let temporary = Temporary { path: self.directory.join("tmp").join(&name), has_moved: false };
        let bytes = mailbox_write::copy(message, &mut file, &self.job.framing)
            .map_err(|error| trouble_writing(&temporary.path, &error))?;
        let counted_in = (counts == Some(true)).then_some(top);
        Ok(MaildirFile { maildir: self, name, file, temporary, counted_in, facts: (bytes, quota_warning) })
    }

    fn ensure(&self) -> Result<(), Trouble> {
        path::ensure_directory(self.directory, &self.job.directories)?;
        // `create_file` is about the maildir itself, not about what is beneath it.
        let beneath = || Directories { allowed: CreateWhere::Anywhere, ..self.job.directories.clone() };
        for part in ["tmp", "new", "cur"] {
            let place = self.directory.join(part);
            if !place.is_dir() {
                path::ensure_directory(&place, &beneath())?;
            }
        }
        let marker = self.directory.join("maildirfolder");
        if self.make_folder_file && !marker.exists() {
            create(&marker, 0o600)
                .map_err(|e| Trouble::system(&e, format!("failed to create {}", marker.display())))?;
        }
        Ok(())
    }

    fn check_size_file(&self, top: &Path, counted: &str) -> Result<bool, Trouble> {
        let size_regex = quota::pattern(self.job.quota.size_regex.as_deref())?;
        let Some(counted) = quota::pattern(Some(counted))? else { return Ok(false) };
        let used = maildirsize::used(top, &self.job.quota, &counted, size_regex.as_ref(), self.job.mode)
            .map_err(|e| Trouble::system(&e, format!("while accessing maildirsize in {}", top.display())))?;
        quota::check(&self.job.quota, used, self.job.message_bytes, last_read(top), self.directory)
    }

    fn create_temporary(&self) -> Result<(String, File), Trouble> {
        let host = String::from_utf8_lossy(&self.job.host_name).replace(['/', ':'], "_");
        for attempt in 0..=self.retries {
            if attempt > 0 {
                sleep(Duration::from_secs(2));
            }
            let micros = unique_micros();
            let name =
                format!("{}.M{}P{}.{host}", micros / 1_000_000, micros % 1_000_000, std::process::id());
            let path = self.directory.join("tmp").join(&name);
            match create(&path, self.job.mode) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Trouble::system(&error, format!("failed to open {}", path.display())));
                }
            }
        }
        Err(Trouble::found(
            error_code::EXIST_RACE,
            format!(
                "failed to open {}/tmp (after {} tries): File exists",
                self.directory.display(),
                self.retries
            ),
        ))
    }
}

fn write_mailstore(
    job: &NewFileJob,
    directory: &Path,
    base: &[u8],
    envelope: &[u8],
    message: &mut dyn Read,
) -> Result<Facts, Trouble> {
    path::ensure_directory(directory, &job.directories)?;
    let quota_warning = check_quota(job, directory)?;
    let stem = String::from_utf8_lossy(base).replace('/', "_");
    let name = |kind: &str| directory.join(format!("{stem}.{kind}"));
    let system = |error: &io::Error, path: &Path| {
        Trouble::system(error, format!("error while writing to {}", path.display()))
    };
    let temporary = name("tmp");
    let mut file = create(&temporary, job.mode).map_err(|e| system(&e, &temporary))?;
    let written = io::Write::write_all(&mut file, envelope).and_then(|()| file.sync_all());
    written.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        system(&e, &temporary)
    })?;
    let data = name("msg");
    let file = create(&data, job.mode).map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        system(&e, &data)
    })?;
    let bytes = fill(job, &data, file, message).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })?;
    let published = std::fs::rename(&temporary, name("env")).and_then(|()| sync_directory(directory));
    published.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        let _ = std::fs::remove_file(&data);
        system(&e, &temporary)
    })?;
    Ok((bytes, quota_warning))
}

/// The header file comes last, whole: who watches the directory for it finds the data file there.
fn write_queue(
    job: &NewFileJob,
    directory: &Path,
    (id, transport): (&str, &str),
    header: &[u8],
    message: &mut dyn Read,
) -> Result<Facts, Trouble> {
    let failed = |what: &str, path: &Path, error: &io::Error| {
        let text = format!(
            "{transport} transport {what}: {} failed with error: {}",
            path.display(),
            error_text(error)
        );
        Trouble::found(error.raw_os_error().unwrap_or(0), text)
    };
    let not_directory = || io::Error::from(nix::errno::Errno::ENOTDIR);
    std::fs::symlink_metadata(directory)
        .and_then(|meta| if meta.is_dir() { Ok(()) } else { Err(not_directory()) })
        .map_err(|error| failed("accessing directory", directory, &error))?;
    let place = |kind: &str| directory.join(format!("{id}-{kind}"));
    let data = place("D");
    let file = create(&data, job.mode).map_err(|error| failed("creating file", &data, &error))?;
    let bytes = fill(job, &data, file, message)?;
    let (temporary, name) = (place("H.new"), place("H"));
    let published = create(&temporary, job.mode)
        .and_then(|mut file| io::Write::write_all(&mut file, header).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::hard_link(&temporary, &name))
        .and_then(|()| sync_directory(directory));
    let _ = std::fs::remove_file(&temporary);
    published.map_err(|error| {
        let _ = std::fs::remove_file(&data);
        failed("creating file", &name, &error)
    })?;
    Ok((bytes, false))
}

fn write_plain(
    job: &NewFileJob,
    directory: &Path,
    name: &[u8],
    message: &mut dyn Read,
) -> Result<Facts, Trouble> {
    path::ensure_directory(directory, &job.directories)?;
    let quota_warning = check_quota(job, directory)?;
    let temporary = directory.join(format!("temp.{}.{}", std::process::id(), unique_micros()));
    let file = create(&temporary, job.mode)
        .map_err(|e| Trouble::system(&e, format!("failed to create file {}", temporary.display())))?;
    let inode = file.metadata().map_or(0, |m| m.ino()).to_string();
    let bytes = fill(job, &temporary, file, message)?;
    let mut final_name = Vec::with_capacity(name.len() + inode.len());
    for &byte in name {
        if byte == 0 { final_name.extend_from_slice(inode.as_bytes()) } else { final_name.push(byte) }
    }
    let target = directory.join(path::path(&final_name));
    // A link does not take the place of a file that is there, as a renaming does.
    let moved = if final_name.contains(&b'/') {
        Err(io::Error::other("the name holds a slash"))
    } else {
        std::fs::hard_link(&temporary, &target).and_then(|()| sync_directory(directory))
    };
    let _ = std::fs::remove_file(&temporary);
    moved.map_err(|e| {
        Trouble::system(&e, format!("while renaming {} as {}", temporary.display(), target.display()))
    })?;
    Ok((bytes, quota_warning))
}

#[cfg(test)]
mod tests {
    use super::super::job::{Framing, InTurn, Quota};
    use super::*;

    fn job(directory: &Path, form: NewFileForm) -> NewFileJob {
        NewFileJob {
            directory: std::os::unix::ffi::OsStrExt::as_bytes(directory.as_os_str()).to_vec(),
            form,
            framing: Framing::default(),
            mode: 0o640,
            directories: Directories { create: true, mode: 0o700, allowed: CreateWhere::Anywhere },
            quota: Quota::default(),
            message_bytes: 10,
            host_name: b"host.ex".to_vec(),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn maildir_has_the_message_in_new_and_nothing_in_tmp() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("a/b/Maildir");
        let form = NewFileForm::Maildir {
            tag: b",S=9".to_vec(),
            retries: 1,
            make_folder_file: false,
            size_file: None,
        };
        for _ in 0..3 {
            let result = write(&job(&top, form.clone()), &mut &b"A: b\n\nxyz"[..]);
            assert_eq!(result, JobResult::Delivered { bytes: 9, quota_warning: false });
        }
        assert!(names(&top.join("tmp")).is_empty());
        let new = names(&top.join("new"));
        assert_eq!(new.len(), 3);
        assert!(new[0].ends_with(".host.ex,S=9"), "{new:?}");
        assert_eq!(std::fs::read(top.join("new").join(&new[0])).unwrap(), b"A: b\n\nxyz");
        assert_eq!(std::fs::metadata(top.join("new").join(&new[0])).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn several_maildir_files_are_all_there_or_none() {
        let place = tempfile::tempdir().unwrap();
        let form =
            NewFileForm::Maildir { tag: Vec::new(), retries: 1, make_folder_file: false, size_file: None };
        let jobs: Vec<NewFileJob> = ["one", "two", "one", "file/no"]
            .iter()
            .map(|name| job(&place.path().join(name), form.clone()))
            .collect();
        std::fs::write(place.path().join("file"), "").unwrap();
        let texts: [&mut dyn Read; 4] = [&mut &b"1"[..], &mut &b"22"[..], &mut &b"333"[..], &mut &b"4"[..]];
        let mut texts = texts;
        let results = write_together(&jobs, &mut InTurn::new(&mut texts));
        let sizes = results
            .iter()
            .map(|result| if let JobResult::Delivered { bytes, .. } = result { Some(*bytes) } else { None });
        assert_eq!(sizes.collect::<Vec<_>>(), [Some(1), Some(2), Some(3), None], "{results:?}");
        assert_eq!(
            (names(&place.path().join("one/new")).len(), names(&place.path().join("two/new")).len()),
            (2, 1)
        );

        struct Broken;
        impl Messages for Broken {
            fn next(&mut self) -> &mut dyn Read {
                Box::leak(Box::new(io::empty()))
            }
            fn end(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let results = write_together(&jobs, &mut Broken);
        assert!(results.iter().all(|result| matches!(result, JobResult::Deferred(_))), "{results:?}");
        assert_eq!(
            (names(&place.path().join("one/new")).len(), names(&place.path().join("one/tmp")).len()),
            (2, 0)
        );
    }

    #[test]
    fn where_creation_is_not_permitted_nothing_is_made_and_nothing_written() {
        let place = tempfile::tempdir().unwrap();
        let (missing, there) = (place.path().join("new/Maildir"), place.path().join("there"));
        std::fs::create_dir(&there).unwrap();
        let home = place.path().join("home").to_str().unwrap().as_bytes().to_vec();
        let maildir =
            NewFileForm::Maildir { tag: Vec::new(), retries: 1, make_folder_file: true, size_file: None };
        for directory in [&missing, &there] {
            for form in [maildir.clone(), NewFileForm::Plain { name: b"m".to_vec() }] {
                let mut refused = job(directory, form);
                refused.directories.allowed = CreateWhere::BelowHome(Some(home.clone()));
                let result = write(&refused, &mut &b"x"[..]);
                assert!(matches!(result, JobResult::Deferred(t) if t.code == error_code::BAD_CREATE));
            }
        }
        assert_eq!(names(place.path()), ["there"]);
        assert!(names(&there).is_empty());
    }

    #[test]
    fn quota_defers_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let form = NewFileForm::Maildir {
            tag: Vec::new(),
            retries: 1,
            make_folder_file: false,
            size_file: Some("^(?:cur|new|\\..*)$".into()),
        };
        let mut wanted = job(place.path(), form);
        wanted.quota = Quota { bytes: 15, inclusive: true, ..Quota::default() };
        assert!(matches!(write(&wanted, &mut &b"0123456789"[..]), JobResult::Delivered { .. }));
        assert!(
            matches!(write(&wanted, &mut &b"0123456789"[..]), JobResult::Deferred(t) if t.code == error_code::MAILBOX_FULL)
        );
        assert_eq!(names(&place.path().join("new")).len(), 1);
        let sizes = std::fs::read_to_string(place.path().join("maildirsize")).unwrap();
        assert_eq!(sizes, "15S,0C\n0 0\n10 1\n");
    }

    #[test]
    fn plain_name_with_inode() {
        let place = tempfile::tempdir().unwrap();
        let wanted = job(place.path(), NewFileForm::Plain { name: b"q-\0".to_vec() });
        assert!(matches!(write(&wanted, &mut &b"x"[..]), JobResult::Delivered { bytes: 1, .. }));
        let only = names(place.path());
        let inode = std::fs::metadata(place.path().join(&only[0])).unwrap().ino();
        assert_eq!(only, [format!("q-{inode}")]);
        let bad = job(place.path(), NewFileForm::Plain { name: b"../x".to_vec() });
        assert!(matches!(write(&bad, &mut &b"x"[..]), JobResult::Deferred(_)));
        assert_eq!(names(place.path()).len(), 1);
    }

    #[test]
    fn mailstore_is_two_files() {
        let place = tempfile::tempdir().unwrap();
        let form = NewFileForm::Mailstore { base: b"16id".to_vec(), envelope: b"a@b\nc@d\n".to_vec() };
        assert!(matches!(write(&job(place.path(), form), &mut &b"x"[..]), JobResult::Delivered { .. }));
        let both = names(place.path());
        assert_eq!(both.len(), 2);
        assert!(both[0].ends_with(".env") && both[1].ends_with(".msg"));
    }
}
