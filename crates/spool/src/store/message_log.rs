//! The logs of single messages, beside their files (manual chapter 52): added to, moved along, put away.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::core::Core;
use super::location::Located;
use crate::error::SpoolError;
use crate::files::beneath;
use crate::message::Message;

impl Core {
    pub(super) fn message_log_name(&self, message: &Message) -> Result<(PathBuf, PathBuf), SpoolError> {
        let place = self.directories.place("msglog", &message.queue_name, &message.id)?;
        Ok((place, PathBuf::from(message.id.to_string())))
    }

    /// Adds whole lines to the message's own log.
    pub(super) fn append_message_log(&self, message: &Message, lines: &[u8]) {
        self.append_to(&mut None, message, lines);
    }

    /// The same, for a message in files that is being worked on: its log stays open.
    pub(super) fn append_open_log(&self, located: &mut Located, message: &Message, lines: &[u8]) {
        self.append_to(&mut located.log_file, message, lines);
    }

    fn append_to(&self, open: &mut Option<File>, message: &Message, lines: &[u8]) {
        let mut append = || -> Result<(), SpoolError> {
            let (place, name) = self.message_log_name(message)?;
            let file = match open {
                Some(file) => file,
                None => {
                    let directory = self.directories.make(&place).map_err(|e| self.error(&place, e))?;
                    let opened = beneath::append(&directory, &name, self.directories.owner());
                    open.insert(opened.map_err(|e| self.error(&place, e))?.0)
                }
            };
            file.write_all(lines).map_err(|e| self.error(&place, e))
        };
        if let Err(error) = append() {
            (self.config.report)(&format!("{} cannot write the message log: {error}", message.id));
        }
    }

    /// A message goes to another queue: its log goes along. Without it nothing is lost.
    pub(super) fn move_message_log(&self, before: &Message, after: &Message) {
        let (Ok((from, name)), Ok((to, _))) = (self.message_log_name(before), self.message_log_name(after))
        else {
            return;
        };
        if let Ok(from) = self.directories.existing(&from)
            && rustix::fs::statat(&from, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
            && let Ok(to) = self.directories.make(&to)
        {
            let _ = rustix::fs::renameat(from, &name, to, &name);
        }
    }

    /// The message is finished: its log goes, or is kept apart.
    pub(super) fn close_message_log(&self, message: &Message, unwritten: &[u8]) {
        if !self.config.message_logs {
            return;
        }
        let close = || -> Result<(), SpoolError> {
            let (place, name) = self.message_log_name(message)?;
            if !self.config.preserve_message_logs {
                // `split_spool_directory` may have been changed since the log was begun.
                let other = self.directories.other_place("msglog", &message.queue_name, &message.id)?;
                for place in [&place, &other] {
                    if let Ok(directory) = self.directories.existing(place) {
                        let _ = rustix::fs::unlinkat(&directory, &name, rustix::fs::AtFlags::empty());
                    }
                }
                return Ok(());
            }
            if !unwritten.is_empty() {
                self.append_message_log(message, unwritten);
            }
            let from = self.directories.make(&place).map_err(|e| self.error(&place, e))?;
            let old = Path::new("msglog.OLD");
            let to = self.directories.make(old).map_err(|e| self.error(old, e))?;
            match rustix::fs::renameat(from, &name, to, &name) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                Err(error) => Err(self.error(old, error.into())),
            }
        };
        if let Err(error) = close() {
            (self.config.report)(&format!("{} cannot put the message log away: {error}", message.id));
        }
    }
}
