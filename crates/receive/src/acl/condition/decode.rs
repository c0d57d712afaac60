//! The `decode` condition: decodes the MIME part in hand into a file. Manual section 45.4.
//!
//! The argument is `default`, a file name in the scanners' directory, a path, or a directory that exists; `0` and `false`
//! decode nothing. Sets `$mime_decoded_filename`, `$mime_content_size` and the two about anomalies. A name that came from
//! outside is refused. Failure modes: the file cannot be written: the condition defers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_lang::config::Config;
use oxim_lang::content::PartFacts;
use oxim_mail::mime::transfer::{Decoder, Encoding};

use super::super::Phase;
use super::super::Scene;
use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;
use crate::scan::copy::MailCopy;
use crate::scan::walk::Content;
use crate::scan::{self, PartPlace};

pub(super) const FORBIDDEN: Phases = all_but(&[Phase::Mime, Phase::NotSmtpMime]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "decode",
    doc: "The MIME part has been decoded into a file.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Decode))
}

#[derive(Debug)]
struct Decode;

impl Condition for Decode {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let argument = argument.trimmed();
        let name = argument.as_bytes();
        if name == b"0" || name.eq_ignore_ascii_case(b"false") {
            return Tested::of(false);
        }
        let copy = match scan::copy(run) {
            Ok(copy) => copy,
            Err(reason) => return Tested::logged(Answer::Later, reason),
        };
        let path = if name.is_empty() || name == b"default" {
            copy.numbered(copy.directory())
        } else {
            use std::os::unix::ffi::OsStrExt as _;
            let path = copy.directory().join(std::ffi::OsStr::from_bytes(name));
            if argument.is_foreign() {
                run.log_panic(&format!("Tainted filename '{}'", path.display()));
                return Tested::plain(Answer::Later);
            }
            if name.starts_with(b"/") && path.is_dir() { copy.numbered(&path) } else { path }
        };
        match decode_to(run.scene, path) {
            Ok(()) => Tested::of(true),
            Err(reason) => Tested::logged(Answer::Later, reason),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// The file of the decoded part, decoded now if the ACL has not done it.
pub(crate) fn decode_part(scene: &mut Scene) -> Result<PathBuf, String> {
    use std::os::unix::ffi::OsStrExt as _;
    let part = scene.context.message.content.part.as_deref();
    if let Some(known) = part.and_then(|part| part.decoded_filename.as_deref()) {
        return Ok(PathBuf::from(std::ffi::OsStr::from_bytes(known)));
    }
    let keep = scene.message.no_mbox_unspool;
    let copy = scan::copy_of(&scene.context, &mut scene.message.scan, keep)?;
    let path = copy.numbered(copy.directory());
    decode_to(scene, path.clone()).map(|()| path)
}

fn decode_to(scene: &mut Scene, path: PathBuf) -> Result<(), String> {
    use std::os::unix::ffi::OsStrExt as _;
    let place = scene.message.scan.part.clone();
    let place = place.ok_or("there is no MIME part to be decoded")?;
    let keep = scene.message.no_mbox_unspool;
    let copy = scan::copy_of(&scene.context, &mut scene.message.scan, keep)?;
    let Some(part) = scene.context.message.content.part.as_deref_mut() else {
        return Err("there is no MIME part to be decoded".to_owned());
    };
    write(&copy, &place, part, &path).map_err(|error| {
        let what = error_text(&error);
        format!("could not decode the MIME part to {}: {what}", path.display())
    })?;
    part.decoded_filename = Some(path.as_os_str().as_bytes().to_vec());
    Ok(())
}

fn write(copy: &MailCopy, place: &PartPlace, part: &mut PartFacts, path: &Path) -> io::Result<()> {
    let mut content = Content::new(File::open(&place.file)?, place.start, &place.boundaries)?;
    let mut decoder = Decoder::new(Encoding::of(&part.header.transfer_encoding));
    let mut out = BufWriter::new(copy.new_file(path)?);
    let (mut size, mut decoded) = (0_u64, Vec::new());
    while let Some(line) = content.next_line()? {
        decoder.feed(line, &mut decoded);
        size = size.saturating_add(u64::try_from(decoded.len()).unwrap_or(u64::MAX));
        out.write_all(&decoded)?;
        decoded.clear();
    }
    part.anomaly = decoder.finish(&mut decoded);
    size = size.saturating_add(u64::try_from(decoded.len()).unwrap_or(u64::MAX));
    out.write_all(&decoded)?;
    out.flush()?;
    part.size_kilobytes = size.div_ceil(1024);
    Ok(())
}
