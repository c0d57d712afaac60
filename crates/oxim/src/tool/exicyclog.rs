//! `exicyclog`: cycles the main, reject and panic logs (manual section 54.6).
//!
//! `mainlog` becomes `mainlog.01`, what was that becomes `.02` and is compressed by gzip, and so on; a new log with the same owner and mode 0640 is made.
//! Without a main log nothing is done. A running daemon opens its logs anew by itself. Exit code 1 if there are no log files to cycle, or one could not be renamed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use oxim_base::errno::error_text;
use oxim_spool::log::LogPaths;

use super::Call;

/// How many old ones are kept without `-k`.
const KEEP: usize = 10;

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let mut keep = KEEP;
    let mut path = None;
    let mut words = call.words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().map(|v| String::from_utf8_lossy(v).into_owned());
        match word.as_slice() {
            b"-k" => match value().and_then(|v| v.parse().ok()) {
                Some(count) => keep = count,
                None => return call.fail(1, "-k needs a number"),
            },
            b"-l" => match value() {
                Some(value) => path = Some(value),
                None => return call.fail(1, "-l needs a path"),
            },
            other => {
                say!("** exicyclog: unknown option {}", String::from_utf8_lossy(other));
                return 1;
            }
        }
    }
    // The name of one log: nothing else is cycled.
    if let Some(file) = path.as_deref().filter(|path| path.starts_with('/') && !path.contains(['%', ':'])) {
        return match cycle(Path::new(file), keep) {
            Ok(()) => 0,
            Err(error) => call.fail(1, format_args!("{file}: {}", error_text(&error))),
        };
    }
    let paths = match paths(path) {
        Ok(paths) => paths,
        Err(Fault::Told(code)) => return code,
        Err(Fault::Text(text)) => return call.fail(1, text),
    };
    if !paths.files {
        say!("*** Exim is logging to syslog - no log files to cycle ***");
        return 1;
    }
    let mut code = 0;
    for word in ["main", "reject", "panic"] {
        let file = if word == "panic" { paths.panic_path() } else { paths.path(word, "%D") };
        // Datestamped logs need no cycling.
        let is_stamped = word != "panic" && (paths.template.contains("%D") || paths.template.contains("%M"));
        if is_stamped {
            continue;
        }
        if word == "main" && !file.exists() {
            break;
        }
        if let Err(error) = cycle(&file, keep) {
            code = call.fail(1, format_args!("{}: {}", file.display(), error_text(&error)));
        }
    }
    code
}

/// Why there are no paths.
enum Fault {
    Told(u8),
    Text(String),
}

/// Where the logs are: as `-l` says, else as the configuration does.
fn paths(option: Option<String>) -> Result<LogPaths, Fault> {
    if let Some(option) = option.as_deref().filter(|o| o.split(':').any(|item| item.trim().starts_with('/')))
    {
        return LogPaths::parse(option, Path::new("/")).map_err(|error| Fault::Text(error.to_string()));
    }
    let program = super::configuration(None).map_err(Fault::Told)?;
    match option {
        Some(option) => LogPaths::parse(&option, &program.services.spool_directory)
            .map_err(|error| Fault::Text(error.to_string())),
        None => Ok(program.services.log().config().paths.clone()),
    }
}

fn numbered(file: &Path, number: usize, keep: usize) -> PathBuf {
    let width = if keep > 99 { 3 } else { 2 };
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number:0width$}"));
    PathBuf::from(name)
}

fn packed(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".gz");
    PathBuf::from(name)
}

/// One log.
fn cycle(file: &Path, keep: usize) -> io::Result<()> {
    let status = match fs::metadata(file) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let keep = keep.max(1);
    let last = numbered(file, keep, keep);
    for old in [last.clone(), packed(&last)] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    for number in (1..keep).rev() {
        let (from, to) = (numbered(file, number, keep), numbered(file, number.saturating_add(1), keep));
        if packed(&from).exists() {
            fs::rename(packed(&from), packed(&to))?;
        } else if from.exists() {
            fs::rename(&from, &to)?;
            compress(&to)?;
        }
    }
    fs::rename(file, numbered(file, 1, keep))?;
    let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(file);
    match new {
        Ok(new) => std::os::unix::fs::fchown(&new, Some(status.uid()), Some(status.gid())),
        // The daemon was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn compress(file: &Path) -> io::Result<()> {
    let status = Command::new("gzip").arg("-f").arg("--").arg(file).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("gzip failed: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_move_down_and_off_the_end() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("mainlog");
        cycle(&file, 3).unwrap();
        for round in 0..5 {
            fs::write(&file, format!("round {round}")).unwrap();
            cycle(&file, 3).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(root.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["mainlog", "mainlog.01", "mainlog.02.gz", "mainlog.03.gz"]);
        assert_eq!(fs::read_to_string(root.path().join("mainlog.01")).unwrap(), "round 4");
        assert_eq!(numbered(&file, 1, 100).file_name().unwrap(), "mainlog.001");
    }
}
