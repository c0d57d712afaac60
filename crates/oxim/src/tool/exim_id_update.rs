//! `exim_id_update`: renames queued messages between the short and the long form of ids, once, with all queues.
//!
//! No Exim may be at work on the spool; a message that someone has locked is left as it is. The files of the new name are
//! written and synced before those of the old name go, -H last and first; when this was interrupted, the next run finds both, and
//! takes the old ones away. Long ids of one process lie closer together than short ones can tell: where the short name is another
//! message's, or does not exist, the next free one of the same second is taken. A message whose long name is another message's
//! stays. Exit code 1 if any message was left.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_mail::message_id::{Form, MessageId};
use oxim_spool::files::directories::Directories;
use oxim_spool::files::pair::Pair;

use super::Call;

pub(super) const HELP: &str =
    "usage: exim_id_update -u|--upgrade | -d|--downgrade [--force] [--dry] [--verbose] [SPOOL]

  -u, --upgrade     ids of 16 characters become such of 23
  -d, --downgrade   and the other way round
  --force           even if a daemon seems to run
  --dry             only looks
  --verbose         tells each name, old and new
  -h, --help        this text
  -v, --version     the version
";

/// How many further short names are tried.
const OTHER_NAMES: usize = 100_000;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What was asked for.
#[derive(Default)]
struct Wish {
    upgrade: bool,
    downgrade: bool,
    force: bool,
    dry: bool,
    verbose: bool,
    spool: Option<PathBuf>,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let mut wish = Wish::default();
    for word in &call.words {
        match word.as_slice() {
            b"-u" | b"--upgrade" => wish.upgrade = true,
            b"-d" | b"--downgrade" => wish.downgrade = true,
            b"--force" => wish.force = true,
            b"--dry" => wish.dry = true,
            b"--verbose" => wish.verbose = true,
            b"-h" | b"--help" => {
                say_part!("{HELP}");
                return 0;
            }
            b"-v" | b"--version" => {
                say!("exim_id_update: {}", crate::mode::version::EXIM_VERSION);
                return 0;
            }
            other if other.starts_with(b"-") || wish.spool.is_some() => {
                return call
                    .fail(1, format_args!("unknown option {}\n{HELP}", String::from_utf8_lossy(other)));
            }
            spool => wish.spool = Some(PathBuf::from(OsStr::from_bytes(spool))),
        }
    }
    if wish.upgrade == wish.downgrade {
        return call.fail(1, format_args!("one of --upgrade and --downgrade is needed\n{HELP}"));
    }
    let spool = match wish.spool.clone().map_or_else(
        || super::configuration(None).map(|program| program.services.spool_directory.clone()),
        Ok,
    ) {
        Ok(spool) => spool,
        Err(code) => return code,
    };
    if !wish.force
        && !wish.dry
        && std::os::unix::net::UnixStream::connect(crate::control::path(&spool)).is_ok()
    {
        return call.fail(1, "a daemon is running; stop it first");
    }
    match all(&spool, &wish) {
        Ok(0) => 0,
        Ok(left) => call.fail(1, format_args!("{left} messages were left as they are")),
        Err(text) => call.fail(1, text),
    }
}

/// All queues. How many messages were left.
fn all(spool: &Path, wish: &Wish) -> Result<usize, String> {
    if !spool.join("input").is_dir() {
        return Err(format!("{} is no spool directory", spool.display()));
    }
    let directories = Directories::open(spool, None, false)
        .map_err(|error| format!("{}: {}", spool.display(), error_text(&error)))?;
    let mut left: usize = 0;
    let queues = directories.queue_names();
    for queue in std::iter::once(Arc::from(Vec::new())).chain(queues) {
        let mut ids = directories.ids(&queue).map_err(|error| error.to_string())?;
        ids.sort_unstable();
        for id in ids {
            let Some(names) = other_form(id, wish.upgrade) else { continue };
            let moved = update(&directories, &queue, id, names, wish);
            if let Err(text) = moved {
                complain!("{id}: {text}");
                left = left.saturating_add(1);
            }
        }
    }
    Ok(left)
}

/// The new names that may be taken, the best one first. None: it has that form already.
fn other_form(id: MessageId, upgrade: bool) -> Option<Box<dyn Iterator<Item = MessageId>>> {
    match (id.form(), upgrade) {
        (Form::Short, true) => Some(Box::new(std::iter::once(id.to_long()))),
        (Form::Long, false) => Some(Box::new(short_names(id))),
        _ => None,
    }
}

/// The name with the added characters left out; then others of the same second, counted in the middle field, which is a process id
/// and need not be that of a process.
fn short_names(id: MessageId) -> impl Iterator<Item = MessageId> {
    let of_middle = move |middle: &[u8]| {
        let (time, rest) = id.as_str().split_once('-')?;
        let fraction = rest.rsplit('-').next()?.get(..2)?;
        MessageId::parse(&[time.as_bytes(), b"-", middle, b"-", fraction.as_bytes()].concat())
    };
    let own = id
        .as_str()
        .split('-')
        .nth(1)
        .and_then(|middle| middle.strip_prefix("00000")?.as_bytes().try_into().ok());
    let others = (0..OTHER_NAMES).map(|count| {
        let mut middle = *b"z00000";
        let mut rest = count;
        for digit in middle.iter_mut().skip(1).rev() {
            *digit = DIGITS.get(rest % 62).copied().unwrap_or(b'0');
            rest /= 62;
        }
        middle
    });
    own.into_iter().chain(others).filter_map(move |middle: [u8; 6]| of_middle(&middle))
}

fn update(
    directories: &Directories,
    queue: &[u8],
    old: MessageId,
    mut names: impl Iterator<Item = MessageId>,
    wish: &Wish,
) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    if wish.dry {
        if let Some(new) = names.next() {
            say!("{old} -> {new}");
        }
        return Ok(());
    }
    let place = directories
        .candidates("input", &old)
        .filter(|(name, _)| **name == *queue)
        .find(|(_, place)| {
            directories.existing(place).is_ok_and(|d| Pair::new(d, old, None).has_header().unwrap_or(false))
        })
        .map(|(_, place)| place)
        .ok_or("is gone")?;
    let directory = Arc::new(directories.existing(&place).map_err(said)?);
    let from = Pair::new(Arc::clone(&directory), old, None);
    let data = from.lock_data().map_err(said)?.ok_or("is locked")?;
    let owner = rustix::fs::fstat(&data).map_err(|error| error.to_string())?;
    let owner = oxim_spool::Owner { uid: owner.st_uid, gid: owner.st_gid };
    let data = Arc::new(data);
    for new in names {
        let to = Pair::new(Arc::clone(&directory), new, Some(owner));
        if rename(&from, &to, old, new, &data).map_err(said)? {
            if wish.verbose {
                say!("{old} -> {new}");
            }
            rename_log(directories, queue, old, new);
            return Ok(());
        }
    }
    Err("its new name is another message".to_owned())
}

/// Writes the files of the new name and takes the old ones away. False: the new name is another message.
fn rename(
    from: &Pair,
    to: &Pair,
    old: MessageId,
    new: MessageId,
    data: &Arc<std::fs::File>,
) -> std::io::Result<bool> {
    let text = from.read_header()?;
    let rest = text.strip_prefix(format!("{old}-H\n").as_bytes());
    let rest = rest.ok_or_else(|| std::io::Error::other("the header file does not begin with its name"))?;
    let text = [format!("{new}-H\n").as_bytes(), rest].concat();
    let body = from.body(data)?;
    if to.has_header()? {
        let is_same = to.read_header()? == text && to.data_length()? == body.len();
        if is_same {
            from.remove()?;
        }
        return Ok(is_same);
    }
    let copy = to.stage_data(&body, false)?;
    copy.sync_data()?;
    if let Some(done) = from.read_done()? {
        to.unlink("-J")?;
        to.done_file()?.add(&done)?;
    }
    to.write_header(&text)?;
    to.sync_directory()?;
    from.remove()?;
    from.sync_directory()?;
    Ok(true)
}

/// The message log goes along; without it nothing is lost.
fn rename_log(directories: &Directories, queue: &[u8], old: MessageId, new: MessageId) {
    for (name, place) in directories.candidates("msglog", &old) {
        if *name == *queue
            && let Ok(directory) = directories.existing(&place)
        {
            let _ = rustix::fs::renameat(&directory, old.as_str(), &directory, new.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MessageId {
        MessageId::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_have_two_forms() {
        let (short, long) = (id("1xUbRL-0004r9-33"), id("1xUbRL-000000004r9-3300"));
        assert_eq!(other_form(short, true).unwrap().collect::<Vec<_>>(), [long]);
        assert!(other_form(long, true).is_none());
        let names: Vec<MessageId> = other_form(long, false).unwrap().take(3).collect();
        assert_eq!(names, [short, id("1xUbRL-z00000-33"), id("1xUbRL-z00001-33")]);
        let far: Vec<MessageId> =
            other_form(id("1xUbRL-10000004r9A-3300"), false).unwrap().take(63).collect();
        assert_eq!((far[0], far[62]), (id("1xUbRL-z00000-33"), id("1xUbRL-z00010-33")));
    }

    #[test]
    fn messages_of_one_moment_get_short_names_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let input = root.path().join("input");
        std::fs::create_dir_all(&input).unwrap();
        for n in 0..5 {
            let name = format!("1xUbRL-000000004r9-330{n}");
            std::fs::write(input.join(format!("{name}-H")), format!("{name}-H\nmessage {n}\n")).unwrap();
            std::fs::write(input.join(format!("{name}-D")), format!("{name}-D\nbody {n}\n")).unwrap();
        }
        let wish = Wish { downgrade: true, ..Wish::default() };
        assert_eq!(all(root.path(), &wish), Ok(0));
        let mut names: Vec<String> = std::fs::read_dir(&input)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name.ends_with("-H"));
        names.sort();
        let wanted = ["0004r9", "z00000", "z00001", "z00002", "z00003"].map(|m| format!("1xUbRL-{m}-33-H"));
        assert_eq!(names, wanted);
        let texts: std::collections::BTreeSet<String> = names
            .iter()
            .map(|name| std::fs::read_to_string(input.join(name)).unwrap().lines().nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(texts.len(), 5);
    }

    #[test]
    fn messages_get_new_names_and_an_interrupted_run_is_finished() {
        let root = tempfile::tempdir().unwrap();
        let input = root.path().join("input");
        std::fs::create_dir_all(&input).unwrap();
        let write = |name: &str, text: &str| std::fs::write(input.join(name), text).unwrap();
        let old = "1xUbRL-0004r9-33";
        let new = "1xUbRL-000000004r9-3300";
        for run in 0..2 {
            write(&format!("{old}-H"), &format!("{old}-H\nrest\n"));
            write(&format!("{old}-D"), &format!("{old}-D\nbody\n"));
            write(&format!("{old}-J"), "done@x\n");
            let wish = Wish { upgrade: true, ..Wish::default() };
            assert_eq!(all(root.path(), &wish), Ok(0), "run {run}");
            let read = |suffix: &str| std::fs::read_to_string(input.join(format!("{new}{suffix}"))).unwrap();
            assert_eq!(read("-H"), format!("{new}-H\nrest\n"));
            assert_eq!(read("-D"), format!("{new}-D\nbody\n"));
            assert_eq!(read("-J"), "done@x\n");
            assert!(!input.join(format!("{old}-H")).exists() && !input.join(format!("{old}-D")).exists());
        }
        write(&format!("{old}-H"), &format!("{old}-H\nother\n"));
        write(&format!("{old}-D"), &format!("{old}-D\nother body\n"));
        let wish = Wish { upgrade: true, ..Wish::default() };
        assert_eq!(all(root.path(), &wish), Ok(1));
        assert!(input.join(format!("{old}-H")).exists());
    }
}
