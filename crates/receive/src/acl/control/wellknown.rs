//! `control = wellknown/path`: the file that answers a WELLKNOWN command. Only in its ACL.

use std::fs::File;
use std::io::Read as _;

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_base::limits::WELLKNOWN_BYTES_MAX;

use super::super::Phase;
use super::super::run::Run;
use super::{ControlRow, Fault, all_but};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "wellknown",
    doc: "Names the file that WELLKNOWN sends.",
    forbidden: all_but(&[Phase::Wellknown]),
    has_options: true,
    apply: Some(apply),
};

/// Reads the file. One that cannot be read makes the statement fail, with a line in the log.
fn apply(run: &mut Run<'_>, options: &Text) -> Result<(), Fault> {
    let path = match options.as_bytes() {
        [b'/', ..] => options.slice(1, options.len()).trimmed(),
        _ => return Err(Fault::Syntax),
    };
    if path.is_empty() {
        return Err(Fault::NoMatch(None));
    }
    if path.is_foreign() {
        let text = format!("wellknown: attempt to use tainted file name \"{path}\"");
        run.log_panic(&text);
        return Err(Fault::NoMatch(Some(text)));
    }
    match read(&path.to_string_lossy()) {
        Ok(contents) => {
            run.scene.connection.wellknown = Some(contents);
            Ok(())
        }
        Err((step, error)) => {
            let error = error_text(&error);
            Err(Fault::NoMatch(Some(format!("wellknown: failed to {step} file \"{path}\": {error}"))))
        }
    }
}

fn read(path: &str) -> Result<Vec<u8>, (&'static str, std::io::Error)> {
    let meta = std::fs::metadata(path).map_err(|error| ("stat", error))?;
    let fault = |text: &'static str| std::io::Error::other(text);
    if !meta.is_file() {
        return Err(("stat", fault("not a regular file")));
    }
    if meta.len() > WELLKNOWN_BYTES_MAX {
        return Err(("stat", fault("too large")));
    }
    let mut contents = Vec::new();
    let file = File::open(path).map_err(|error| ("open", error))?;
    file.take(WELLKNOWN_BYTES_MAX).read_to_end(&mut contents).map_err(|error| ("open", error))?;
    Ok(contents)
}
