//! Defaults of an instance that depend on its other options. They are worked out when the instance is complete, so that
//! drivers and `-bP` see one value.

use super::DriverClass;
use super::options::{Instance, Options, Value};

/// Preconditions that make a router depend on the local part (manual chapter 15, `retry_use_local_part`).
const LOCAL_PART_PRECONDITIONS: &[&str] = &[
    "check_local_user",
    "condition",
    "local_part_prefix",
    "local_part_suffix",
    "local_parts",
    "require_files",
    "senders",
];

/// Mode bit of writing by the group.
const GROUP_WRITES: u32 = 0o020;

/// Fills in what was not set.
pub(super) fn complete(class: DriverClass, instance: &mut Instance) {
    let name = instance.name.clone();
    let options = &mut instance.options;
    match class {
        DriverClass::Router => router(instance.driver, options),
        DriverClass::Transport if instance.driver == "appendfile" => appendfile(options),
        DriverClass::Transport if instance.driver == "pipe" && options.bool("use_bsmtp") => {
            put_texts(options, BATCH_SMTP);
        }
        DriverClass::Transport => {}
        DriverClass::Authenticator => put(options, "public_name", Value::Text(name)),
    }
}

fn put(options: &mut Options, name: &str, value: Value) {
    if options.setting(name).is_none()
        && let Some(row) = options.row(name)
    {
        options.put(row, value, None);
    }
}

fn router(driver: &str, options: &mut Options) {
    let is_in_use = |name: &&str| match options.value(name) {
        Some(Value::Bool(on)) => on,
        value => value.is_some(),
    };
    if LOCAL_PART_PRECONDITIONS.iter().any(is_in_use) {
        put(options, "retry_use_local_part", Value::Bool(true));
    }
    if driver == "redirect" {
        let is_local = options.bool("check_local_user");
        if is_local || options.is_set("owners") {
            put(options, "check_owner", Value::Bool(true));
        }
        if (is_local && options.octal("modemask") & GROUP_WRITES == 0) || options.is_set("owngroups") {
            put(options, "check_group", Value::Bool(true));
        }
    }
}

fn put_texts(options: &mut Options, texts: &[(&str, &str)]) {
    for (name, text) in texts {
        put(options, name, Value::Text((*text).to_owned()));
    }
}

/// What batch SMTP asks for in files and pipes.
const BATCH_SMTP: &[(&str, &str)] =
    &[("check_string", "."), ("escape_string", ".."), ("message_prefix", ""), ("message_suffix", "")];

/// A file per message needs no separators and no escaping.
const SEPARATE_FILES: &[(&str, &str)] =
    &[("check_string", ""), ("escape_string", ""), ("message_prefix", ""), ("message_suffix", "")];

fn appendfile(options: &mut Options) {
    let is_separate = options.is_set("directory")
        || ["maildir_format", "mailstore_format"].iter().any(|name| options.bool(name));
    if options.bool("use_bsmtp") {
        put_texts(options, BATCH_SMTP);
    } else if is_separate {
        put_texts(options, SEPARATE_FILES);
    }
    let locks = ["use_fcntl_lock", "use_flock_lock", "use_lockfile", "use_mbx_lock"];
    if options.bool("mbx_format") && !locks.iter().any(|name| options.is_set(name)) {
        put(options, "use_lockfile", Value::Bool(false));
        put(options, "use_mbx_lock", Value::Bool(true));
    }
}
