//! `exim_dumpdb`: shows what the hints hold (manual section 54.12). Records are in the order of their keys.

use std::io::{BufWriter, Write};

use super::{Call, hints};

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let opened = match hints::open(call, "[-z] [-k]") {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let all = match opened.all() {
        Ok(all) => all,
        Err(text) => return call.fail(1, text),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (key, hint) in &all {
        let line = if opened.keys_only {
            format!("  {}\n", String::from_utf8_lossy(key))
        } else {
            hints::shown(&opened.database, key, hint, opened.zone)
        };
        if out.write_all(line.as_bytes()).is_err() {
            return 1;
        }
    }
    u8::from(out.flush().is_err())
}
