//! The queuefile transport: puts copies of a message's spool files into a directory, for another program to take (fact page `newer.md`).
//!
//! The agent writes `ID-D` and then `ID-H`, as the user of the delivery. Failure modes: a directory that cannot be used, or files of that
//! name that are there already, defer the delivery, and no half of a message stays.

use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

use super::compose::Composed;
use super::local;
use super::{Batch, DeliveryError, Driver, Outcome, Run, Transport, TransportKind, error_code};
use crate::agent::job::{CreateWhere, Directories, Framing, Job, NewFileForm, NewFileJob, Quota};
use crate::delivery::Delivery;

/// The row.
pub(super) static QUEUEFILE: TransportKind =
    TransportKind { row: DriverRow { name: "queuefile", options: rows::TRANSPORT_QUEUEFILE }, build };

/// The mode of spool files.
const MODE: u32 = 0o640;

struct QueueFile {
    directory: Template,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    match instance.options.template("directory") {
        Some(directory) => Ok(Box::new(QueueFile { directory })),
        None => {
            let text = format!("directory must be set for the {} transport", instance.name);
            Err(vec![ConfigError::at(&instance.location, text)])
        }
    }
}

impl QueueFile {
    fn job(
        &self,
        transport: &Transport,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<Job, DeliveryError> {
        let fault = |code: i32, text: String| DeliveryError {
            is_for_panic_log: true,
            ..DeliveryError::new(code, text)
        };
        let directory = self.directory.expand(context).map_err(|error| {
            let text = format!("{} transport: failed to expand dirname option: {error}", transport.name);
            fault(error_code::EXPANSION_FAILED, text)
        })?;
        if directory.is_foreign() {
            let text =
                format!("Tainted '{directory}' (directory for {} transport) not permitted", transport.name);
            return Err(fault(error_code::UNKNOWN, text));
        }
        if !directory.as_bytes().starts_with(b"/") {
            let text = format!("{} transport directory: {directory} is not absolute", transport.name);
            return Err(fault(error_code::UNKNOWN, text));
        }
        let header = oxim_spool::files::header_write::write(&batch.message)
            .map_err(|error| fault(error_code::UNKNOWN, format!("{} transport: {error}", transport.name)))?;
        let id = batch.message.id.as_str().to_owned();
        Ok(Job::NewFile(NewFileJob {
            directory: directory.into_bytes(),
            framing: Framing { prefix: format!("{id}-D\n").into_bytes(), ..Framing::default() },
            form: NewFileForm::Queue { id, transport: transport.name.clone(), header },
            mode: MODE,
            directories: Directories { create: false, mode: 0o700, allowed: CreateWhere::Anywhere },
            quota: Quota::default(),
            message_bytes: batch.body.len(),
            host_name: Vec::new(),
        }))
    }
}

impl Driver for QueueFile {
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run {
        let job = match self.job(transport, context, batch) {
            Ok(job) => job,
            Err(error) => return Run::all(batch, &Outcome::Deferred(error)),
        };
        let body = Composed { header: Vec::new(), body: Some(batch.body.clone()) };
        local::written(batch, local::perform(delivery, batch, &job, &body))
    }

    fn is_local(&self) -> bool {
        true
    }

    /// The files hold all recipients: they are written once.
    fn addresses_max(&self) -> usize {
        usize::MAX
    }

    fn takes_domains(&self) -> bool {
        true
    }
}
