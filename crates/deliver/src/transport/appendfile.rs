//! The appendfile transport: mbox, MBX, maildir, mailstore and plain files (manual chapter 26).
//!
//! Here options become a job; what touches the mailbox is `agent/mailbox` and `agent/new_file`, as the user.

use oxim_base::Text;
use oxim_lang::config::rows;
use oxim_lang::config::{ConfigError, DriverRow, Instance, Switch};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_mail::message_id::encode_base62;

use super::compose::{self, Composed, expansion_error};
use super::local::{self, framing_with, number_with_unit};
use super::{
    Batch, Delivered, DeliveryError, Driver, FileDriver, Order, Outcome, Run, Transport, TransportKind,
    error_code,
};
use crate::address::{Address, AddressKind};
use crate::agent::job::{
    CreateWhere, Directories, Framing, Job, JobResult, Locking, MailboxJob, NewFileForm, NewFileJob, Quota,
    RoomJob,
};
use crate::agent::new_file::unique_micros;
use crate::delivery::Delivery;

/// The row.
pub static APPENDFILE: TransportKind =
    TransportKind { row: DriverRow { name: "appendfile", options: rows::TRANSPORT_APPENDFILE }, build };

const DEFAULT_PREFIX: &str = "From ${if def:return_path{$return_path}{MAILER-DAEMON}} ${tod_bsdinbox}\\n";
const DEFAULT_WARNING: &str = "To: $local_part@$domain\\nSubject: Your mailbox\\n\\nThis message is automatically created by mail delivery software (Exim).\\n\\n\
     The size of your mailbox has exceeded a warning threshold that is\\nset by the system administrator.\\n";

/// How many names of mailstore files differ for one message: six digits to the base of 62.
const BASENAMES: u64 = 62u64.pow(6);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Maildir,
    Mailstore,
    Mbx,
}

struct Appendfile {
    file: Option<Template>,
    directory: Option<Template>,
    directory_file: Template,
    format: Format,
    framing: local::FramingOptions,
    locking: Locking,
    mode: u32,
    mode_fail_narrower: bool,
    check_owner: bool,
    check_group: bool,
    must_exist: bool,
    allow_fifo: bool,
    allow_symlink: bool,
    create_directory: bool,
    directory_mode: u32,
    create_file: Template,
    formats: Vec<(Vec<u8>, String)>,
    quota: Option<Template>,
    quota_files: Option<Template>,
    quota_directory: Option<Template>,
    quota_inclusive: bool,
    quota_size_regex: Option<String>,
    warn_threshold: Option<Template>,
    warn_message: Template,
    mailbox_size: Option<Template>,
    mailbox_filecount: Option<Template>,
    maildir_tag: Option<Template>,
    maildir_retries: u32,
    maildirfolder_regex: Option<pcre2::bytes::Regex>,
    maildir_size_file: Switch,
    maildir_quota_regex: String,
    notify_comsat: bool,
    mailstore_prefix: Option<Template>,
    mailstore_suffix: Option<Template>,
    batch_max: usize,
    batch_id: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    let options = &instance.options;
    let fail = |text: &str| vec![ConfigError::about(format!("{} transport", instance.name), text)];
    if options.is_set("file") && options.is_set("directory") {
        return Err(fail("only one of \"file\" or \"directory\" can be specified"));
    }
    let formats = [
        ("maildir_format", Format::Maildir),
        ("mailstore_format", Format::Mailstore),
        ("mbx_format", Format::Mbx),
    ];
    let set: Vec<Format> = formats.iter().filter(|(name, _)| options.bool(name)).map(|(_, f)| *f).collect();
    let format = match set.as_slice() {
        [] => Format::Plain,
        [one] => *one,
        _ => return Err(fail("only one of maildir, mailstore and mbx formats can be specified")),
    };
    if options.is_set("file") && matches!(format, Format::Maildir | Format::Mailstore) {
        return Err(fail("\"file\" cannot be used with maildir or mailstore format"));
    }
    if options.is_set("quota_filecount") && !options.is_set("quota") {
        return Err(fail("quota must be set if quota_filecount is set"));
    }
    let locking = locking(instance, format);
    if options.is_set("file") && !(locking.lockfile || locking.fcntl || locking.flock || locking.mbx) {
        return Err(fail("no locking configured"));
    }
    let create_file = options.template("create_file").unwrap_or_else(|| Template::compile("anywhere"));
    if let Some(word) = create_file.constant().filter(|word| create_where(word, None).is_none()) {
        return Err(fail(&format!("invalid value given for \"create_file\": '{word}'")));
    }
    let regex = |name: &str| match options.string(name) {
        Some(source) => pcre2::bytes::Regex::new(source).map(Some).map_err(|e| fail(&format!("{name}: {e}"))),
        None => Ok(None),
    };
    regex("quota_size_regex")?;
    regex("maildir_quota_directory_regex")?;
    let separate = options.is_set("directory") || matches!(format, Format::Maildir | Format::Mailstore);
    let count = |name: &str| u32::try_from(options.int(name)).unwrap_or(0);
    Ok(Box::new(Appendfile {
        file: options.template("file"),
        directory: options.template("directory"),
        directory_file: options
            .template("directory_file")
            .unwrap_or_else(|| Template::compile("q${base62:$tod_epoch}-$inode")),
        format,
        framing: local::FramingOptions::build(
            options,
            if separate { None } else { Some((DEFAULT_PREFIX, "\\n", "From ", ">From ")) },
        ),
        locking,
        mode: options.octal("mode"),
        mode_fail_narrower: options.bool("mode_fail_narrower"),
        check_owner: options.bool("check_owner"),
        check_group: options.bool("check_group"),
        must_exist: options.bool("file_must_exist"),
        allow_fifo: options.bool("allow_fifo"),
        allow_symlink: options.bool("allow_symlink"),
        create_directory: options.bool("create_directory"),
        directory_mode: options.octal("directory_mode"),
        create_file,
        formats: file_formats(options.string("file_format").unwrap_or("")).map_err(|text| fail(&text))?,
        quota: options.template("quota"),
        quota_files: options.template("quota_filecount"),
        quota_directory: options.template("quota_directory"),
        quota_inclusive: options.bool("quota_is_inclusive"),
        quota_size_regex: options.string("quota_size_regex").map(str::to_owned),
        warn_threshold: options.template("quota_warn_threshold"),
        warn_message: options
            .template("quota_warn_message")
            .unwrap_or_else(|| Template::compile(DEFAULT_WARNING)),
        mailbox_size: options.template("mailbox_size"),
        mailbox_filecount: options.template("mailbox_filecount"),
        maildir_tag: options.template("maildir_tag"),
        maildir_retries: count("maildir_retries"),
        maildirfolder_regex: regex("maildirfolder_create_regex")?,
        maildir_size_file: options.switch("maildir_use_size_file"),
        maildir_quota_regex: options
            .string("maildir_quota_directory_regex")
            .unwrap_or("^(?:cur|new|\\..*)$")
            .to_owned(),
        notify_comsat: options.bool("notify_comsat"),
        mailstore_prefix: options.template("mailstore_prefix"),
        mailstore_suffix: options.template("mailstore_suffix"),
        batch_max: usize::try_from(options.int("batch_max")).unwrap_or(1),
        batch_id: options.template("batch_id"),
    }))
}

/// Lock settings: those that are not mentioned depend on the form of the mailbox and on each other.
fn locking(instance: &Instance, format: Format) -> Locking {
    let options = &instance.options;
    let mentioned = ["use_lockfile", "use_fcntl_lock", "use_flock_lock", "use_mbx_lock"]
        .iter()
        .any(|name| options.is_set(name));
    let of_mbx = format == Format::Mbx && !mentioned;
    let flock = options.bool("use_flock_lock");
    let mbx = options.bool("use_mbx_lock") || of_mbx;
    let fcntl = if options.is_set("use_fcntl_lock") { options.bool("use_fcntl_lock") } else { !flock };
    Locking {
        lockfile: if options.is_set("use_lockfile") {
            options.bool("use_lockfile")
        } else {
            format != Format::Mbx
        },
        fcntl,
        flock,
        mbx,
        lockfile_mode: options.octal("lockfile_mode"),
        lockfile_timeout: options.time("lockfile_timeout"),
        retries: u32::try_from(options.int("lock_retries")).unwrap_or(1).max(1),
        interval: options.time("lock_interval"),
        fcntl_timeout: options.time("lock_fcntl_timeout"),
        flock_timeout: options.time("lock_flock_timeout"),
        host_name: Vec::new(),
    }
}

/// Pairs of a string and a transport, in one colon-separated list.
fn file_formats(source: &str) -> Result<Vec<(Vec<u8>, String)>, String> {
    let items: Vec<_> = oxim_lang::list::split(source.as_bytes()).collect();
    if !items.len().is_multiple_of(2) {
        return Err("file_format must have an even number of items".to_owned());
    }
    let pairs = items.chunks_exact(2).filter_map(|pair| match pair {
        [start, transport] => Some((start.to_vec(), String::from_utf8_lossy(transport).into_owned())),
        _ => None,
    });
    Ok(pairs.collect())
}

/// What a value of `create_file` permits; `None` for one that is none.
fn create_where(word: &Text, home: Option<&Text>) -> Option<CreateWhere> {
    let home = || home.map(|h| h.as_bytes().to_vec());
    match word.as_bytes() {
        b"anywhere" => Some(CreateWhere::Anywhere),
        b"belowhome" => Some(CreateWhere::BelowHome(home())),
        b"inhome" => Some(CreateWhere::InHome(home())),
        path if path.starts_with(b"/") && !word.is_foreign() => Some(CreateWhere::Below(path.to_vec())),
        _ => None,
    }
}

/// What a delivery is to: one file, or a directory that gets new ones.
enum Target {
    File(Vec<u8>),
    Directory(Vec<u8>),
}

/// Expands the name of a file or directory.
fn path_of(transport: &Transport, context: &mut Context, template: &Template) -> Result<Text, DeliveryError> {
    template.expand(context).map_err(|error| {
        let text = format!(
            "Expansion of \"{}\" (file or directory name for {} transport) failed: {error}",
            template.source(),
            transport.name
        );
        DeliveryError { is_for_panic_log: true, ..DeliveryError::new(error_code::UNKNOWN, text) }
    })
}

impl Appendfile {
    fn expand(
        &self,
        transport: &Transport,
        context: &mut Context,
        template: &Template,
        option: &str,
    ) -> Result<Text, DeliveryError> {
        template.expand(context).map_err(|error| expansion_error(transport, option, &error))
    }

    fn create_where(
        &self,
        transport: &Transport,
        context: &mut Context,
    ) -> Result<CreateWhere, DeliveryError> {
        let word = self.expand(transport, context, &self.create_file, "create_file")?;
        create_where(&word, context.address.home.as_ref()).ok_or_else(|| {
            let text = format!(
                "invalid value given for \"create_file\" for the {} transport: '{word}'",
                transport.name
            );
            DeliveryError::new(error_code::EXPANSION_FAILED, text)
        })
    }

    /// The file that was written for a redirection, where the options made another path of the one it names.
    fn path_for_log(&self, batch: &Batch<'_>, job: &Job) -> Option<Vec<u8>> {
        let first = batch.addresses.first()?;
        let is_redirected = matches!(first.kind, AddressKind::File | AddressKind::Directory);
        let path = if let Job::Mailbox(job) = job {
            self.file.is_some().then_some(&job.path)
        } else if let Job::NewFile(job) = job {
            self.directory.is_some().then_some(&job.directory)
        } else {
            None
        };
        path.filter(|_| is_redirected).cloned()
    }

    fn target(
        &self,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
        allowed: &CreateWhere,
    ) -> Result<Target, DeliveryError> {
        let (path, is_directory) = match batch.addresses.first() {
            // The options may make another path of `$address_file`.
            Some(a)
                if matches!(a.kind, AddressKind::File | AddressKind::Directory)
                    && self.file.is_none()
                    && self.directory.is_none() =>
            {
                (
                    crate::queue::saved_path(a),
                    a.address.ends_with(b"/") || matches!(self.format, Format::Maildir | Format::Mailstore),
                )
            }
            _ => match (&self.file, &self.directory) {
                (Some(file), _) => (path_of(transport, context, file)?, false),
                (None, Some(directory)) => (path_of(transport, context, directory)?, true),
                (None, None) => {
                    let text = format!(
                        "Mandatory file or directory option missing from {} transport",
                        transport.name
                    );
                    return Err(DeliveryError {
                        is_for_panic_log: true,
                        ..DeliveryError::new(error_code::UNKNOWN, text)
                    });
                }
            },
        };
        if path.is_foreign() && !allowed.vouches_for(path.as_bytes()) {
            let text = format!(
                "Tainted '{path}' (file or directory name for {} transport) not permitted",
                transport.name
            );
            return Err(DeliveryError {
                is_for_panic_log: true,
                is_unremembered: true,
                ..DeliveryError::new(error_code::UNKNOWN, text)
            });
        }
        if !path.as_bytes().starts_with(b"/") {
            let text = format!("appendfile: file or directory name \"{path}\" is not absolute");
            return Err(DeliveryError { code: error_code::NOT_ABSOLUTE, text, ..DeliveryError::default() });
        }
        let path = path.into_bytes();
        Ok(if is_directory { Target::Directory(path) } else { Target::File(path) })
    }

    /// `maildir_use_size_file`.
    fn keeps_size_file(&self, transport: &Transport, context: &mut Context) -> Result<bool, DeliveryError> {
        let template = match &self.maildir_size_file {
            Switch::Fixed(on) => return Ok(*on),
            Switch::Expanded(template) => template,
        };
        let value = self.expand(transport, context, template, "maildir_use_size_file")?;
        match value.trimmed().to_string_lossy().to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" => Ok(true),
            "" | "0" | "no" | "false" => Ok(false),
            _ => {
                let text = format!(
                    "\"{value}\" is not a valid value for \"maildir_use_size_file\" in {} transport",
                    transport.name
                );
                Err(DeliveryError::new(error_code::EXPANSION_FAILED, text))
            }
        }
    }

    fn quota(&self, transport: &Transport, context: &mut Context) -> Result<Quota, DeliveryError> {
        let mut number =
            |template: &Option<Template>, option: &str| -> Result<Option<local::Limit>, DeliveryError> {
                let Some(template) = template else { return Ok(None) };
                match template.expand(context) {
                    Ok(text) if text.trimmed().is_empty() => Ok(None),
                    Ok(text) => number_with_unit(text.as_bytes()).map(Some).ok_or_else(|| DeliveryError {
                        code: error_code::EXPANSION_FAILED,
                        text: format!(
                            "malformed value \"{text}\" (expansion of \"{option}\") in {} transport",
                            transport.name
                        ),
                        ..DeliveryError::default()
                    }),
                    Err(error) => Err(expansion_error(transport, option, &error)),
                }
            };
        let bytes = number(&self.quota, "quota")?.unwrap_or_default();
        let files = number(&self.quota_files, "quota_filecount")?.unwrap_or_default();
        let warn = number(&self.warn_threshold, "quota_warn_threshold")?.unwrap_or_default();
        let known_bytes = number(&self.mailbox_size, "mailbox_size")?.map(|l| l.value);
        let known_files = number(&self.mailbox_filecount, "mailbox_filecount")?.map(|l| l.value);
        let directory = match &self.quota_directory {
            Some(template) => {
                let place = self.expand(transport, context, template, "quota_directory")?;
                if !place.as_bytes().starts_with(b"/") {
                    let text = format!("appendfile: quota_directory name \"{place}\" is not absolute");
                    return Err(DeliveryError::new(error_code::NOT_ABSOLUTE, text));
                }
                Some(place.into_bytes())
            }
            None => None,
        };
        let warn_bytes = match (warn.is_percentage, bytes.value) {
            (true, total) => total / 100 * warn.value + total % 100 * warn.value / 100,
            (false, _) => warn.value,
        };
        Ok(Quota {
            bytes: bytes.value,
            bytes_no_check: bytes.no_check,
            files: files.value,
            files_no_check: files.no_check,
            inclusive: self.quota_inclusive,
            warn_bytes,
            size_regex: self.quota_size_regex.clone(),
            directory,
            known_bytes,
            known_files,
        })
    }

    fn job(
        &self,
        delivery: &Delivery,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
        composed: &Composed,
    ) -> Result<Job, DeliveryError> {
        let allowed = self.create_where(transport, context)?;
        let target = self.target(transport, context, batch, &allowed)?;
        let framing = framing_with(
            &self.framing,
            transport,
            context,
            batch,
            composed,
            matches!(target, Target::Directory(_)),
        )?;
        let quota = self.quota(transport, context)?;
        let directories = Directories { create: self.create_directory, mode: self.directory_mode, allowed };
        let host_name = delivery.config.main.primary_hostname.clone().into_bytes();
        let written_bytes = local::written_bytes(composed, &framing);
        // A quota is asked for the message as it was received, whatever the transport adds to it.
        let message_bytes = u64::try_from(context.message.size).unwrap_or(0);
        let saved_mode = batch.addresses.first().and_then(|a| a.made.as_ref()).and_then(|made| made.mode());
        match target {
            Target::File(path) => Ok(Job::Mailbox(MailboxJob {
                path,
                framing,
                mbx_format: self.format == Format::Mbx,
                comsat_user: self.notify_comsat.then(|| context.address.local_part.as_bytes().to_vec()),
                locking: Locking { host_name, ..self.locking.clone() },
                mode: saved_mode.unwrap_or(self.mode),
                mode_forced: saved_mode.is_some(),
                mode_fail_narrower: self.mode_fail_narrower,
                check_owner: self.check_owner,
                check_group: self.check_group,
                must_exist: self.must_exist,
                allow_fifo: self.allow_fifo,
                allow_symlink: self.allow_symlink,
                directories,
                formats: self.formats.clone(),
                transport: transport.name.clone(),
                quota,
                message_bytes,
            })),
            Target::Directory(directory) => {
                let form = self.new_file_form(transport, context, batch, &directory, written_bytes)?;
                Ok(Job::NewFile(NewFileJob {
                    directory,
                    form,
                    framing,
                    mode: self.mode,
                    directories,
                    quota,
                    message_bytes,
                    host_name,
                }))
            }
        }
    }

    fn new_file_form(
        &self,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
        directory: &[u8],
        bytes: u64,
    ) -> Result<NewFileForm, DeliveryError> {
        match self.format {
            Format::Maildir => Ok(NewFileForm::Maildir {
                tag: self.tag(transport, context, bytes)?,
                retries: self.maildir_retries,
                make_folder_file: self
                    .maildirfolder_regex
                    .as_ref()
                    .is_some_and(|r| r.is_match(directory).unwrap_or(false)),
                size_file: self
                    .keeps_size_file(transport, context)?
                    .then(|| self.maildir_quota_regex.clone()),
            }),
            Format::Mailstore => self.mailstore_form(transport, context, batch),
            Format::Plain | Format::Mbx => {
                // The inode is known only when the file exists; a NUL byte keeps its place.
                const INODE: u64 = 9_876_543_210_123_456_789;
                context.delivery.inode = INODE;
                let name = self.expand(transport, context, &self.directory_file, "directory_file")?;
                let name = String::from_utf8_lossy(name.as_bytes()).replace(&INODE.to_string(), "\0");
                Ok(NewFileForm::Plain { name: name.into_bytes() })
            }
        }
    }

    fn tag(
        &self,
        transport: &Transport,
        context: &mut Context,
        bytes: u64,
    ) -> Result<Vec<u8>, DeliveryError> {
        let Some(template) = &self.maildir_tag else { return Ok(Vec::new()) };
        let size = std::mem::replace(&mut context.message.size, i64::try_from(bytes).unwrap_or(i64::MAX));
        let expanded = template.expand(context);
        context.message.size = size;
        let mut tag: Vec<u8> = match expanded {
            Ok(text) => {
                text.into_bytes().into_iter().filter(|b| b.is_ascii_graphic() && *b != b'/').collect()
            }
            Err(ExpandError::Forced(_)) => return Ok(Vec::new()),
            Err(error) => return Err(expansion_error(transport, "maildir_tag", &error)),
        };
        if tag.first().is_some_and(u8::is_ascii_alphanumeric) {
            tag.insert(0, b':');
        }
        Ok(tag)
    }

    fn mailstore_form(
        &self,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<NewFileForm, DeliveryError> {
        let base =
            format!("{}-{}", batch.message.id, encode_base62(unique_micros() % BASENAMES, 6)).into_bytes();
        context.delivery.mailstore_basename = Some(base.clone());
        let mut part =
            |template: &Option<Template>, option: &str| match template.as_ref().map(|t| t.expand(context)) {
                None | Some(Err(ExpandError::Forced(_))) => Ok(Vec::new()),
                Some(Ok(text)) => Ok(with_newline(text.into_bytes())),
                Some(Err(error)) => Err(expansion_error(transport, option, &error)),
            };
        let mut envelope = part(&self.mailstore_prefix, "mailstore_prefix")?;
        envelope.extend_from_slice(&batch.message.sender);
        envelope.push(b'\n');
        for address in &batch.addresses {
            envelope.extend(address.routed(transport.generic.rcpt_include_affixes));
            envelope.push(b'\n');
        }
        envelope.append(&mut part(&self.mailstore_suffix, "mailstore_suffix")?);
        Ok(NewFileForm::Mailstore { base, envelope })
    }

    /// The message and what is to be done with it. The error is a run that is over.
    fn prepare(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<(Composed, Job), Run> {
        let composed = compose::compose(delivery, transport, context, batch)
            .map_err(|outcome| Run::all(batch, &outcome))?;
        match self.job(delivery, transport, context, batch, &composed) {
            Ok(job) => Ok((composed, job)),
            Err(error) => Err(Run::all(batch, &Outcome::Deferred(error))),
        }
    }

    fn perform(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
        (composed, job): (&Composed, &Job),
    ) -> Run {
        let answer = local::perform(delivery, batch, job, composed);
        if let JobResult::Delivered { quota_warning, bytes } = answer {
            let quota_warning =
                if quota_warning { self.warning(delivery, transport, context, batch) } else { None };
            let path = self.path_for_log(batch, job);
            let done = Delivered { quota_warning, path, bytes: Some(bytes), ..Delivered::default() };
            return Run::all(batch, &Outcome::Delivered(done));
        }
        if let JobResult::OtherTransport(name) = answer {
            let format = self.formats.iter().find(|(_, transport)| *transport == name);
            let format = format.map(|(start, _)| String::from_utf8_lossy(start)).unwrap_or_default();
            return local::hand_over(delivery, transport, context, batch, &name, &format);
        }
        local::refused(batch, answer)
    }

    /// The text of the warning. Mail is delivered all the same if there is none.
    fn warning(
        &self,
        delivery: &Delivery,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Option<Vec<u8>> {
        match self.warn_message.expand(context) {
            Ok(text) => Some(text.into_bytes()),
            Err(error) => {
                let source = self.warn_message.source();
                delivery.services.log().both(format!(
                    "{} Failed to expand \"{source}\" (warning message for {} transport): {error}",
                    batch.message.id, transport.name
                ));
                None
            }
        }
    }
}

fn with_newline(mut text: Vec<u8>) -> Vec<u8> {
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

impl FileDriver for Appendfile {
    fn order(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<Order, Run> {
        let (message, job) = self.prepare(transport, delivery, context, batch)?;
        if let Job::NewFile(job) = job {
            return Ok(Order { job, message });
        }
        Err(self.perform(transport, delivery, context, batch, (&message, &job)))
    }
}

impl Driver for Appendfile {
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run {
        match self.prepare(transport, delivery, context, batch) {
            Ok((composed, job)) => self.perform(transport, delivery, context, batch, (&composed, &job)),
            Err(run) => run,
        }
    }

    fn files(&self) -> Option<&dyn FileDriver> {
        let size_file = matches!(self.maildir_size_file, Switch::Fixed(false));
        let asks_for_room = self.quota.is_some() || self.warn_threshold.is_some();
        let is_plain =
            self.format == Format::Maildir && self.directory.is_some() && size_file && !asks_for_room;
        is_plain.then_some(self as &dyn FileDriver)
    }

    fn room_job(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        address: &Address,
        message_bytes: u64,
    ) -> Result<Option<Job>, DeliveryError> {
        let quota = self.quota(transport, context)?;
        if !quota.is_needed() {
            return Ok(None);
        }
        let Some(batch) = Batch::without_message(vec![address.clone()]) else { return Ok(None) };
        let allowed = self.create_where(transport, context)?;
        let job = match self.target(transport, context, &batch, &allowed)? {
            Target::File(path) => RoomJob::File { path, quota, message_bytes },
            Target::Directory(directory) => RoomJob::Directory(Box::new(NewFileJob {
                directory,
                form: NewFileForm::Maildir {
                    tag: Vec::new(),
                    retries: 0,
                    make_folder_file: false,
                    size_file: (self.format == Format::Maildir
                        && self.keeps_size_file(transport, context)?)
                    .then(|| self.maildir_quota_regex.clone()),
                },
                framing: Framing::default(),
                mode: self.mode,
                directories: Directories { create: false, mode: self.directory_mode, allowed },
                quota,
                message_bytes,
                host_name: delivery.config.main.primary_hostname.clone().into_bytes(),
            })),
        };
        Ok(Some(Job::Room(job)))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn addresses_max(&self) -> usize {
        self.batch_max.max(1)
    }

    fn takes_domains(&self) -> bool {
        true
    }

    fn names_recipients(&self) -> bool {
        self.framing.use_bsmtp
    }

    fn batch_id(&self) -> Option<&Template> {
        self.batch_id.as_ref()
    }
}
