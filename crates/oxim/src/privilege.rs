//! Who may do what: admin and trusted users (manual section 5.2), and what is given up at the start.
//!
//! Installed set-user-id root, the program keeps that privilege only for a configuration that the administrator has chosen:
//! the default one, or one that is listed in a file `trusted_configs` beside the default one, when the Exim user asks for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User, getgroups};
use oxim_base::errno::error_text;
use oxim_lang::config::Config;

use crate::args::{self, CommandLine, MessageAction, Mode};
use crate::assemble::{DEFAULT_FILES, Program};
use crate::mode;

/// Whether the caller is an admin user: root, the Exim user, or in the Exim group or one of `admin_groups`.
#[must_use]
pub(crate) fn is_admin(config: &Config) -> bool {
    is_admin_with(config, Uid::current().as_raw(), &caller_groups())
}

/// Whether a user with these groups is an admin user.
#[must_use]
pub(crate) fn is_admin_with(config: &Config, uid: u32, groups: &[u32]) -> bool {
    uid == 0
        || uid == config.main.exim_user
        || groups.contains(&config.main.exim_group)
        || config.main.admin_groups.iter().any(|g| groups.contains(g))
}

/// Whether the caller is trusted: root, the Exim user, `trusted_users`, `trusted_groups`.
#[must_use]
pub(crate) fn is_trusted(config: &Config) -> bool {
    let (uid, groups, main) = (Uid::current().as_raw(), caller_groups(), &config.main);
    uid == 0
        || uid == main.exim_user
        || main.trusted_users.contains(&uid)
        || main.trusted_groups.iter().any(|g| groups.contains(g))
}

fn caller_groups() -> Vec<u32> {
    let mut groups: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
    groups.push(Gid::current().as_raw());
    groups
}

/// Exim's words for a caller who is no admin user, if a mode is for admin users.
#[must_use]
pub(crate) fn reserved(config: &Config, mode: &Mode) -> Option<&'static str> {
    let main = &config.main;
    if matches!(mode, Mode::ListQueue(_) | Mode::CountQueue) {
        return main.queue_list_requires_admin.then_some("exim: permission denied");
    }
    if *mode == Mode::QueueRun {
        return main.prod_requires_admin.then_some("exim: permission denied");
    }
    if matches!(mode, Mode::Atrn { .. }) {
        return main.prod_requires_admin.then_some("exim: Permission denied");
    }
    if let Mode::Message(command) = mode {
        let delivers = matches!(command.action, MessageAction::Deliver | MessageAction::DeliverForced);
        return (!delivers || main.prod_requires_admin).then(|| mode::message::denied(command.action));
    }
    let is_check = matches!(
        mode,
        Mode::ExpandTest { .. }
            | Mode::FilterTest(_)
            | Mode::AddressTest
            | Mode::Verify { .. }
            | Mode::RetryTest
            | Mode::RewriteTest
            | Mode::HostCheck { .. }
    );
    (is_check && main.commandline_checks_require_admin)
        .then_some("exim: those command-line flags are set to require admin")
}

/// The word by which a daemon tells a process for whom it works. The user id follows, then the daemon's own `-C` and `-D`, and
/// a word that ends them.
const ON_BEHALF_ARGUMENT: &str = "--on-behalf-of";
const ON_BEHALF_END: &str = "--";

/// For whom this process works, if not for its own user. It lends no rights, only a name and a configuration.
struct OnBehalf {
    uid: u32,
    /// The daemon's choice of a configuration.
    daemon: CommandLine,
}

static ON_BEHALF: OnceLock<OnBehalf> = OnceLock::new();

/// The words that tell a process for whom it works, under the configuration of a daemon with this command line.
pub(crate) fn on_behalf_words(uid: u32, daemon: &CommandLine) -> Vec<OsString> {
    let files = daemon.config_files.iter().map(|files| [b"-C", files.join(&b':').as_slice()].concat());
    let macros = daemon.macros.iter().map(|(name, value)| [b"-D", name.as_bytes(), b"=", value].concat());
    let choice = files.chain(macros).map(OsString::from_vec);
    [ON_BEHALF_ARGUMENT.into(), uid.to_string().into()]
        .into_iter()
        .chain(choice)
        .chain([ON_BEHALF_END.into()])
        .collect()
}

/// Takes the words that tell for whom this process works off its command line.
///
/// # Errors
/// The text for standard error.
pub(crate) fn on_behalf(mut words: Vec<OsString>) -> Result<Vec<OsString>, &'static str> {
    if words.get(1).is_none_or(|word| word != ON_BEHALF_ARGUMENT) {
        return Ok(words);
    }
    let denied = "exim: permission denied";
    let end = words.iter().position(|word| word == ON_BEHALF_END).filter(|_| !is_lent()).ok_or(denied)?;
    let mut own = words.drain(1..=end).skip(1);
    let uid = own.next().and_then(|word| word.to_str()?.parse().ok()).ok_or(denied)?;
    let daemon = args::parse(std::iter::once("exim".into()).chain(own.take_while(|w| w != ON_BEHALF_END)));
    let _first = ON_BEHALF.set(OnBehalf { uid, daemon: daemon.map_err(|_| denied)? });
    Ok(words)
}

/// A command line under the configuration of the daemon that this process works for, unless it names one.
pub(crate) fn under_daemon(line: CommandLine) -> CommandLine {
    match ON_BEHALF.get() {
        Some(OnBehalf { daemon, .. }) if line.config_files.is_none() && line.macros.is_empty() => {
            CommandLine { config_files: daemon.config_files.clone(), macros: daemon.macros.clone(), ..line }
        }
        _ => line,
    }
}

/// The caller's login name, or its uid as text.
#[must_use]
pub(crate) fn caller_login() -> String {
    login_of(ON_BEHALF.get().map_or_else(|| Uid::current().as_raw(), |behalf| behalf.uid))
}

/// A user's login name, or the uid as text.
#[must_use]
pub(crate) fn login_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Whether a set-user-id start has lent us something.
#[must_use]
pub(crate) fn is_lent() -> bool {
    Uid::current() != Uid::effective() || Gid::current() != Gid::effective()
}

/// Gives up what a set-user-id start has lent.
///
/// # Errors
/// The system's refusal: the process must end then.
pub(crate) fn give_up() -> nix::Result<()> {
    let (uid, gid) = (Uid::current(), Gid::current());
    if is_lent() {
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
    }
    Ok(())
}

fn give_up_or_say() -> Result<(), String> {
    give_up().map_err(|error| format!("exim: privilege could not be given up: {}", error_text(&error.into())))
}

/// Before anything of the caller's choosing is read: privilege is kept only for the default configuration without `-D`, and
/// for a trusted one.
///
/// # Errors
/// The text for standard error.
pub(crate) fn before_reading(line: &CommandLine) -> Result<(), String> {
    let is_own_choice = line.config_files.is_some() || !line.macros.is_empty();
    if is_lent() && is_own_choice && !(line.macros.is_empty() && is_trusted_config(line)) {
        give_up_or_say()?;
    }
    Ok(())
}

/// What only the configuration can tell: a trusted configuration lends privilege to the Exim user alone; debugging shows
/// secrets; `-N` throws messages away; a message reference is believed.
///
/// # Errors
/// The text for standard error.
pub(crate) fn after_reading(program: &Program) -> Result<(), String> {
    let (line, config) = (&program.line, &program.config);
    let uid = Uid::current().as_raw();
    if line.config_files.is_some() && uid != config.main.exim_user {
        give_up_or_say()?;
    }
    let is_own_choice = line.config_files.is_some() || !line.macros.is_empty();
    if line.debug.is_some() && !is_own_choice && line.mode != Mode::Version && !is_admin(config) {
        return Err("exim: debugging permission denied".to_owned());
    }
    let touches_queue = matches!(line.mode, Mode::Daemon { .. } | Mode::QueueRun | Mode::Message(_));
    if line.dont_deliver && touches_queue && uid != 0 && uid != config.main.exim_user {
        return Err("exim: Permission denied".to_owned());
    }
    if line.origin.reference.is_some() && !is_trusted(config) {
        return Err("-oMm must be called by a trusted user/config".to_owned());
    }
    Ok(())
}

/// Whether root vouches for the files of `-C`: each is listed, by its whole name, in `trusted_configs` beside a default file.
fn is_trusted_config(line: &CommandLine) -> bool {
    let Some(files) = &line.config_files else { return false };
    let mut folders: Vec<&Path> = DEFAULT_FILES.split(':').filter_map(|f| Path::new(f).parent()).collect();
    folders.dedup();
    let listed: Vec<Vec<u8>> =
        folders.iter().flat_map(|folder| trusted_names(&folder.join("trusted_configs"))).collect();
    !files.is_empty() && files.iter().all(|file| listed.contains(file))
}

/// The names in a list, which must be root's and safe from others' writing.
fn trusted_names(list: &Path) -> Vec<Vec<u8>> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(list)?;
        let facts = file.metadata()?;
        let is_safe =
            facts.uid() == 0 && facts.mode() & 0o002 == 0 && (facts.gid() == 0 || facts.mode() & 0o020 == 0);
        let mut bytes = Vec::new();
        if is_safe {
            file.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    bytes
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|name| name.starts_with(b"/"))
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_trusted_files() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("trusted_configs");
        std::fs::write(&path, "# comment\n/etc/a.conf\n  /etc/b.conf \nrelative\n").unwrap();
        let names = trusted_names(&path);
        if Uid::effective().is_root() {
            assert_eq!(names, [b"/etc/a.conf".to_vec(), b"/etc/b.conf".to_vec()]);
        } else {
            assert!(names.is_empty());
        }
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert!(trusted_names(&path).is_empty());
        assert!(trusted_names(Path::new("/nonexistent")).is_empty());
    }
}
