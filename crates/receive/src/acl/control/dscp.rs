//! `control = dscp/value`: how routers on the way are asked to treat the packets of this connection.
//!
//! The session sets it on its socket once the ACL has paused or ended. What is no socket has no such mark.

use oxim_base::Text;
use oxim_net::socket::parse_dscp;

use super::super::run::Run;
use super::{ControlRow, Fault, SMTP_ONLY};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "dscp",
    doc: "Marks the packets of the connection: `/name` or `/number`.",
    forbidden: SMTP_ONLY,
    has_options: true,
    apply: Some(apply),
};

fn apply(run: &mut Run<'_>, options: &Text) -> Result<(), Fault> {
    let value = match options.as_bytes() {
        [b'/', rest @ ..] if !rest.is_empty() => String::from_utf8_lossy(rest).into_owned(),
        _ => return Err(Fault::Syntax),
    };
    if !run.scene.connection.has_socket {
        run.trace(|| {
            "smtp input is probably not a socket [Socket operation on non-socket], not setting DSCP"
                .to_owned()
        });
        return Ok(());
    }
    let field = parse_dscp(&value);
    let field =
        field.ok_or_else(|| Fault::Wrong(format!("unrecognised DSCP value in \"control=dscp/{value}\"")))?;
    run.scene.connection.dscp = Some(field);
    Ok(())
}
