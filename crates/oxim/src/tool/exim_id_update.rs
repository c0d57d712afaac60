//! `exim_id_update`: renames queued messages between the short and the long form of ids, once, with all queues.
//!
//! No Exim may be at work on the spool; a message that someone has locked is left as it is. The files of the new name are
//! written and synced before those of the old name go, -H last and first; when this was interrupted, the next run finds both, and
//! takes the old ones away. A message whose new name is another message's stays. Exit code 1 if any message was left.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxim_mail::message_id::{Form, MessageId};
use oxim_spool::files::directories::Directories;
use oxim_spool::files::pair::Pair;

use super::Call;

const HELP: &str = "usage: exim_id_update -u|--upgrade | -d|--downgrade [--force] [--dry] [--verbose] [SPOOL]

  -u, --upgrade     ids of 16 characters become such of 23
  -d, --downgrade   and the other way round
  --force           even if a daemon seems to run
  --dry             only looks
  --verbose         tells each name, old and new
  -h, --help        this text
  -v, --version     the version
";

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
    let directories =
        Directories::open(spool, None, false).map_err(|error| format!("{}: {error}", spool.display()))?;
    let mut left: usize = 0;
    let queues = directories.queue_names();
    for queue in std::iter::once(Arc::from(Vec::new())).chain(queues) {
        let mut ids = directories.ids(&queue).map_err(|error| error.to_string())?;
        ids.sort_unstable();
        for id in ids {
            let Some(new) = other_form(id, wish.upgrade) else { continue };
            let moved = new.and_then(|new| update(&directories, &queue, id, new, wish));
            if let Err(text) = moved {
                complain!("{id}: {text}");
                left = left.saturating_add(1);
            }
        }
    }
    Ok(left)
}

/// The new name. None: it has that form; Err: it has none.
fn other_form(id: MessageId, upgrade: bool) -> Option<Result<MessageId, String>> {
    match (id.form(), upgrade) {
        (Form::Short, true) => Some(Ok(id.to_long())),
        (Form::Long, false) => {
            let text = id.as_str();
            let short = || {
                let (time, rest) = text.split_once('-')?;
                let (pid, fraction) = rest.split_once('-')?;
                let short = format!("{time}-{}-{}", pid.strip_prefix("00000")?, fraction.get(..2)?);
                MessageId::parse(short.as_bytes())
            };
            Some(short().ok_or_else(|| "has no short form".to_owned()))
        }
        _ => None,
    }
}

fn update(
    directories: &Directories,
    queue: &[u8],
    old: MessageId,
    new: MessageId,
    wish: &Wish,
) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    if wish.verbose || wish.dry {
        say!("{old} -> {new}");
    }
    if wish.dry {
        return Ok(());
    }
    let place = directories
        .candidates("input", &old)
        .into_iter()
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
    let to = Pair::new(directory, new, Some(owner));
    rename(&from, &to, old, new, Arc::new(data)).map_err(said)?;
    rename_log(directories, queue, old, new);
    Ok(())
}

fn rename(
    from: &Pair,
    to: &Pair,
    old: MessageId,
    new: MessageId,
    data: Arc<std::fs::File>,
) -> std::io::Result<()> {
    let text = from.read_header()?;
    let rest = text.strip_prefix(format!("{old}-H\n").as_bytes());
    let rest = rest.ok_or_else(|| std::io::Error::other("the header file does not begin with its name"))?;
    let text = [format!("{new}-H\n").as_bytes(), rest].concat();
    let body = from.body(&data)?;
    if to.has_header()? {
        let is_same = to.read_header()? == text && to.data_length()? == body.len();
        if !is_same {
            return Err(std::io::Error::other(format!("{new} is another message")));
        }
        return from.remove();
    }
    let copy = to.stage_data(&body, false)?;
    copy.sync_data()?;
    if let Some(done) = from.read_done()? {
        to.unlink("-J")?;
        to.add_done(&done)?;
    }
    to.write_header(&text)?;
    to.sync_directory()?;
    from.remove()?;
    from.sync_directory()
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
        assert_eq!(other_form(short, true), Some(Ok(long)));
        assert_eq!(other_form(long, false), Some(Ok(short)));
        assert_eq!(other_form(long, true), None);
        assert!(other_form(id("1xUbRL-10000004r9A-3300"), false).unwrap().is_err());
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
