//! Variables of the process: the configuration, the time, the machine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use oxim_base::clock::{Stamp, Zone};
use oxim_base::{Taint, Text};

use super::{Getter, Scope, Value, VariableRow, row};
use crate::context::Context;
use crate::expand::{ExpandError, elements};

pub(super) static ROWS: &[VariableRow] = &[
    setting("bounce_return_size_limit", "The option of this name.", |c, _| {
        Value::Number(c.config.main.bounce_return_size_limit)
    }),
    blocking("compile_date", "When this program was built.", |c, _| Ok(compile_date(c))),
    setting("compile_number", "How often it was built; always 1.", |_, _| Value::Number(1)),
    setting("config_dir", "The directory of the configuration file.", |c, _| {
        Value::Bytes(c.config.path.rsplit_once('/').map_or(".", |(directory, _)| directory).as_bytes())
    }),
    setting("config_file", "The configuration file.", |c, _| Value::Bytes(c.config.path.as_bytes())),
    setting("exim_gid", "The gid of the mail system.", |c, _| {
        Value::Number(i64::from(c.config.main.exim_group))
    }),
    setting("exim_path", "The path of this program.", |c, _| {
        Value::Bytes(c.config.main.exim_path.as_bytes())
    }),
    setting("exim_uid", "The uid of the mail system.", |c, _| {
        Value::Number(i64::from(c.config.main.exim_user))
    }),
    setting("exim_version", "The version of this program.", |c, _| fixed(&c.services.version)),
    setting("initial_cwd", "The directory in which the program was started.", |c, _| {
        c.services.initial_directory.get().map_or(Value::Empty, |d| Value::Bytes(d))
    }),
    computed("localhost_number", "The option of this name; 0 if it is not set.", |c, _| {
        match c.config.clone().main.localhost_number.as_ref() {
            Some(template) => template.expand(c),
            None => Ok(Text::from("0")),
        }
    }),
    blocking("log_inodes", "Free inodes where log files are; -1 if unknown.", |c, _| {
        Ok(number(log_system(c)?.map(|s| s.inodes)))
    }),
    blocking("log_space", "Kilobytes free where log files are; -1 if unknown.", |c, _| {
        Ok(number(log_system(c)?.map(|s| s.kilobytes)))
    }),
    setting("primary_hostname", "The name of this host.", |c, _| {
        Value::Bytes(c.config.main.primary_hostname.as_bytes())
    }),
    setting("qualify_domain", "The domain for addresses without one.", |c, _| {
        Value::Bytes(c.config.main.qualify_domain.as_bytes())
    }),
    setting("qualify_recipient", "The domain for recipients without one.", |c, _| {
        Value::Bytes(c.config.main.qualify_recipient.as_bytes())
    }),
    blocking("queue_size", "Messages on the queue; empty if no daemon knows.", |c, _| {
        let size = c.services.host.get().and_then(|host| host.queue_size());
        Ok(size.map_or_else(Text::new, |n| Text::from(n.to_string())))
    }),
    setting("return_size_limit", "Old name of `$bounce_return_size_limit`.", |c, _| {
        Value::Number(c.config.main.bounce_return_size_limit)
    }),
    setting("smtp_active_hostname", "The name under which this session greets.", |c, _| {
        Value::Bytes(
            c.connection.active_hostname.as_deref().unwrap_or(c.config.main.primary_hostname.as_bytes()),
        )
    }),
    computed("spool_directory", "The spool directory.", |c, _| {
        c.config.clone().main.spool_directory.expand(c)
    }),
    blocking("spool_inodes", "Free inodes where the spool is; -1 if unknown.", |c, _| {
        Ok(number(spool_system(c)?.map(|s| s.inodes)))
    }),
    blocking("spool_space", "Kilobytes free where the spool is; -1 if unknown.", |c, _| {
        Ok(number(spool_system(c)?.map(|s| s.kilobytes)))
    }),
    setting("version_number", "The version of this program.", |c, _| fixed(&c.services.version)),
    computed("load_average", "The load average times 1000.", |_, _| Ok(load_average())),
    computed("pid", "The process id.", |_, _| Ok(Text::from(std::process::id().to_string()))),
    computed("tod_bsdinbox", "The time as mbox separators have it.", |c, _| {
        Ok(Text::from(Stamp::now().bsd_inbox(c.services.zone)))
    }),
    computed("tod_epoch", "Seconds since 1970.", |_, _| Ok(Text::from(Stamp::now().seconds.to_string()))),
    computed("tod_epoch_l", "Microseconds since 1970.", |_, _| {
        let now = Stamp::now();
        let micros = now.seconds.saturating_mul(1_000_000).saturating_add(i64::from(now.micros));
        Ok(Text::from(micros.to_string()))
    }),
    computed("tod_full", "The time as header lines have it.", |c, _| {
        Ok(Text::from(Stamp::now().rfc5322(c.services.zone)))
    }),
    computed("tod_log", "The time as log lines have it.", |c, _| {
        Ok(Text::from(Stamp::now().log(c.services.zone)))
    }),
    computed("tod_logfile", "The date as yyyymmdd.", |c, _| {
        Ok(Text::from(Stamp::now().strftime(c.services.zone, "%Y%m%d")))
    }),
    computed("tod_zone", "The offset of the time zone.", |c, _| {
        Ok(Text::from(Stamp::now().zone_offset(c.services.zone)))
    }),
    computed("tod_zulu", "The time in UTC, without punctuation.", |_, _| {
        Ok(Text::from(Stamp::now().strftime(Zone::Utc, "%Y%m%d%H%M%SZ")))
    }),
];

/// A row for a variable that is made anew each time it is read.
const fn computed(
    name: &'static str,
    doc: &'static str,
    get: fn(&mut Context, &str) -> Result<Text, ExpandError>,
) -> VariableRow {
    VariableRow {
        name,
        family: false,
        scope: Scope::Process,
        taint: Taint::Clean,
        doc,
        may_block: false,
        get: Getter::Compute(get),
    }
}

const fn setting(
    name: &'static str,
    doc: &'static str,
    get: for<'a> fn(&'a Context, &'a str) -> Value<'a>,
) -> VariableRow {
    row(name, Scope::Process, Taint::Clean, doc, get)
}

/// A row for a variable that asks the file system.
const fn blocking(
    name: &'static str,
    doc: &'static str,
    get: fn(&mut Context, &str) -> Result<Text, ExpandError>,
) -> VariableRow {
    let mut row = computed(name, doc, get);
    row.may_block = true;
    row
}

fn fixed(value: &OnceLock<String>) -> Value<'_> {
    value.get().map_or(Value::Empty, |text| Value::Bytes(text.as_bytes()))
}

/// What is free in a file system.
struct Free {
    kilobytes: u64,
    inodes: u64,
}

fn number(value: Option<u64>) -> Text {
    value.map_or_else(|| Text::from("-1"), |n| Text::from(n.to_string()))
}

fn free_at(path: &[u8]) -> Option<Free> {
    let stat = rustix::fs::statvfs(OsStr::from_bytes(path)).ok()?;
    Some(Free { kilobytes: stat.f_bavail.saturating_mul(stat.f_frsize) / 1024, inodes: stat.f_favail })
}

fn spool_system(context: &mut Context) -> Result<Option<Free>, ExpandError> {
    let path = context.config.clone().main.spool_directory.expand(context)?;
    Ok(free_at(path.as_bytes()))
}

/// The file system of the first log file path; without one, of the log folder of the spool.
fn log_system(context: &mut Context) -> Result<Option<Free>, ExpandError> {
    let paths = context.config.clone().main.log_file_path.expand(context)?;
    let first = elements::split(&paths).items.into_iter().find(|path| path.as_bytes().starts_with(b"/"));
    match first {
        Some(path) => {
            let slash = memchr::memrchr(b'/', path.as_bytes()).unwrap_or(0);
            Ok(free_at(path.as_bytes().get(..slash.max(1)).unwrap_or(b"/")))
        }
        None => spool_system(context),
    }
}

/// The time of the program file.
fn compile_date(context: &Context) -> Text {
    let modified = std::env::current_exe().and_then(std::fs::metadata).and_then(|meta| meta.modified()).ok();
    let seconds = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let seconds = seconds.and_then(|since| i64::try_from(since.as_secs()).ok());
    seconds.map_or_else(Text::new, |s| {
        Text::from(Stamp::from_seconds(s).strftime(context.services.zone, "%d-%b-%Y %H:%M:%S"))
    })
}

fn load_average() -> Text {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    // "0.59" has two digits after the point.
    let hundredths: u64 = first.replace('.', "").parse().unwrap_or(0);
    Text::from(hundredths.saturating_mul(10).to_string())
}
