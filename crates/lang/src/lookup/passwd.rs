//! The `passwd` lookup: a user name in, the line of the password file without the password out (manual section 9.4).
//!
//! Asks the system (`getpwnam_r`), which may be LDAP or another service; when that fails, the lookup defers.

use nix::unistd::User;
use oxim_base::Text;

use super::{LookupError, LookupKind, LookupType, Style};
use crate::context::Context;

/// The row.
pub(super) static PASSWD: LookupKind = LookupKind {
    name: "passwd",
    style: Style::Query(find),
    doc: "user name, looked up in the system's user database: *:uid:gid:name:home:shell",
};

fn find(_: &mut Context, query: &Text, _: &LookupType) -> Result<Option<Text>, LookupError> {
    let Some(name) =
        query.as_str().map(str::trim_start).filter(|name| !name.is_empty() && !name.contains('\0'))
    else {
        return Ok(None);
    };
    match crate::accounts::user(name) {
        Ok(user) => Ok(user.map(|user| Text::clean(line(&user)))),
        Err(error) => Err(LookupError::Defer(format!("getpwnam {name}: {}", error.desc()))),
    }
}

fn line(user: &User) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut out = format!("*:{}:{}:", user.uid, user.gid).into_bytes();
    out.extend_from_slice(user.gecos.to_bytes());
    for path in [&user.dir, &user.shell] {
        out.push(b':');
        out.extend_from_slice(path.as_os_str().as_bytes());
    }
    out
}
