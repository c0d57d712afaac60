//! WELLKNOWN: a client asks for a small file by name. `acl_smtp_wellknown`, `wellknown_advertise_hosts`.
//!
//! The ACL decides, and names the file by `control = wellknown/path`; the control has read it. It is sent in xtext.

use std::sync::Arc;

use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

/// Where a line of the reply ends at the latest, in bytes.
const LINE_BYTES: usize = 75;

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk) -> Progress {
    let is_offered = reception.acls.is_set(Phase::Wellknown)
        && reception.settings.hosts.wellknown.matches(&mut talk.scene.context);
    if !is_offered {
        let command = log_line::printable(&talk.scene.context.connection.smtp_command);
        let client = log_line::client(reception, talk, false);
        reception.logs.main_and_reject(&format!("rejected \"{command}\" from {client}"));
        return Progress::fixed(554, "not permitted");
    }
    talk.scene.connection.wellknown = None;
    let then = |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        let file = talk.scene.connection.wellknown.take();
        if outcome.verdict != Verdict::Accept {
            let argument = log_line::printable(&talk.scene.context.connection.smtp_command_argument);
            let reply = refusal::refuse(reception, talk, Phase::Wellknown, &format!(" {argument}"), &outcome);
            return Progress::Reply(reply);
        }
        Progress::Reply(match file {
            Some(file) => Reply::new(250, encoded(&file)),
            None => Reply::fixed(451, "Temporary local problem - please try later"),
        })
    };
    Progress::Acl(Phase::Wellknown, Box::new(then))
}

/// The size, the contents in xtext by lines, and an empty last line.
fn encoded(file: &[u8]) -> Vec<u8> {
    let mut out = format!("SIZE={}\n", file.len()).into_bytes();
    let mut column = 0_usize;
    for byte in file {
        let is_plain = matches!(byte, b'!'..=b'~') && !matches!(byte, b'+' | b'=');
        if is_plain {
            out.push(*byte);
            column = column.saturating_add(1);
        } else {
            out.extend_from_slice(format!("+{byte:02X}").as_bytes());
            column = column.saturating_add(3);
        }
        if *byte == b'\n' || column >= LINE_BYTES {
            out.push(b'\n');
            column = 0;
        }
    }
    if column > 0 {
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_description() {
        let text = String::from_utf8(encoded(b"line 1\nline 2\nlast line\n")).unwrap();
        assert_eq!(text, "SIZE=24\nline+201+0A\nline+202+0A\nlast+20line+0A\n");
        assert_eq!(encoded(b""), b"SIZE=0\n");
    }

    #[test]
    fn long_lines_are_parted() {
        let text = String::from_utf8(encoded(&[b'x'; 200])).unwrap();
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [8, 75, 75, 50]);
    }
}
