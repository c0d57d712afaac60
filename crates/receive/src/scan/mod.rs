//! Content scanning (manual chapter 45): the copy of the message that scanners see, its MIME parts, virus and spam scanners.
//!
//! The conditions in `acl/condition/` ask here; [`parts`] runs the MIME ACL. All of it blocks. Failure modes: a copy that
//! cannot be written, a scanner that is down, slow, or answers with nonsense; each makes its condition defer.

pub mod copy;
pub mod malware;
pub(crate) mod parts;
pub mod server;
pub mod spam;
pub mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_lang::content::SpamFacts;

use self::copy::MailCopy;
use self::malware::Verdict;
use crate::acl::Run;

/// What has been scanned of the message in hand.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The copy, once something has asked for it.
    copy: Option<Arc<MailCopy>>,
    /// Header lines have changed since the copy was made.
    pub(crate) is_stale: bool,
    /// The MIME part in hand.
    pub(crate) part: Option<Arc<PartPlace>>,
    /// What the virus scanner of `av_scanner` said, when the option has no variables.
    pub(crate) malware: Option<Verdict>,
    /// What the spam scanner said for a user name, when `spamd_address` has no variables, and whether it is spam.
    pub(crate) spam: Option<(Vec<u8>, bool, SpamFacts)>,
}

/// Where the MIME part in hand is.
#[derive(Debug)]
pub struct PartPlace {
    /// The file that holds it.
    pub file: PathBuf,
    /// Where its content starts.
    pub start: u64,
    /// A line that is a delimiter of one of these ends it.
    pub boundaries: Vec<Vec<u8>>,
}

/// The copy of the message in hand, made now if there is none. The error is a text for the log.
pub(crate) fn copy(run: &mut Run<'_>) -> Result<Arc<MailCopy>, String> {
    let scene = &mut *run.scene;
    let keep = scene.message.no_mbox_unspool;
    copy_of(&scene.context, &mut scene.message.scan, keep)
}

/// As [`copy`], outside an ACL.
pub(crate) fn copy_of(
    context: &oxim_lang::context::Context,
    scan: &mut Scan,
    keep: bool,
) -> Result<Arc<MailCopy>, String> {
    let known = scan.copy.clone();
    let copy = match known {
        Some(copy) if !scan.is_stale => return Ok(copy),
        Some(copy) => copy.write(context).map(|()| copy),
        None => MailCopy::create(context, keep).map(Arc::new),
    };
    let copy = copy.map_err(|error| {
        let what = error_text(&error);
        format!("could not write the scanners' copy of the message: {what}")
    })?;
    scan.is_stale = false;
    scan.copy = Some(Arc::clone(&copy));
    Ok(copy)
}

/// `control = no_mbox_unspool`, for a copy that is there.
pub(crate) fn keep(scan: &Scan) {
    if let Some(copy) = &scan.copy {
        copy.keep();
    }
}
