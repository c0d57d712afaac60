//! What a router does once it has accepted an address: return path, header lines, transport, user.
//!
//! The order of expansion is the manual's: `errors_to`, `headers_add`, `headers_remove`, `transport` (chapter 15).

use std::sync::Arc;

use nix::unistd::{Uid, User};
use oxim_base::Text;
use oxim_lang::accounts;
use oxim_lang::expand::{ExpandError, Template};

use super::generic::AccountSetting;
use super::{Problem, Purpose, Run, error_code};
use crate::address::{Address, LocalUser, RunAs, TransportId};

/// Fills in everything that the transport will need. `transport` is one that the route itself names (manualroute).
///
/// # Errors
/// An expansion failed, or names a transport or user that does not exist: the address is deferred.
pub fn for_delivery(
    run: &mut Run<'_>,
    address: &mut Address,
    transport: Option<TransportId>,
) -> Result<(), Problem> {
    propagate(run, address)?;
    address.transport = match transport {
        Some(transport) => Some(transport),
        None => match &run.router.generic.transport {
            Some(template) => Some(find_transport(run, template)?),
            None => None,
        },
    };
    finish(run, address)
}

/// Errors address and header changes: what children of a redirection get too.
///
/// # Errors
/// As for [`for_delivery`].
pub fn propagate(run: &mut Run<'_>, address: &mut Address) -> Result<(), Problem> {
    // `$return_path` stays as it was: the new one is for later routers and the transport.
    if let Some(errors_to) = errors_to(run, address)? {
        address.propagated.errors_to = Some(errors_to);
    }
    add_headers(run, address)?;
    remove_headers(run, address)
}

/// User of a local transport, fallback hosts of a remote one, and flags: what is left once the transport is known.
///
/// # Errors
/// As for [`for_delivery`].
pub fn finish(run: &mut Run<'_>, address: &mut Address) -> Result<(), Problem> {
    let generic = &run.router.generic;
    if address.transport.is_some_and(|id| !run.delivery.is_local_transport(id)) {
        address.fallback_hosts = Arc::clone(&generic.fallback_hosts);
    } else {
        address.run_as = run_as(run)?;
    }
    address.local_user.clone_from(&run.local_user);
    address.router_home.clone_from(&run.router_home);
    address.is_logged_as_local = generic.log_as_local;
    address.dsn.last_hop |= generic.dsn_lasthop;
    Ok(())
}

/// The address in `errors_to`, if it is set and good; empty means that bounces go nowhere.
fn errors_to(run: &mut Run<'_>, address: &Address) -> Result<Option<Vec<u8>>, Problem> {
    let Some(template) = &run.router.generic.errors_to else {
        return Ok(None);
    };
    let text = match template.expand(run.context) {
        Ok(text) => text,
        Err(ExpandError::Forced(_)) => return Ok(None),
        Err(error) => return Err(failed(run, "", template, &error)),
    };
    let wanted = text.as_bytes().trim_ascii();
    if wanted.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let current = address.propagated.errors_to.as_ref().unwrap_or(&run.context.message.sender);
    // While verifying, errors addresses are not verified: they could lead round in a circle.
    if wanted == *current || run.purpose.is_verify() {
        return Ok(Some(wanted.to_vec()));
    }
    Ok(run.delivery.good_errors_address(run.context, wanted))
}

fn failed(run: &Run<'_>, what: &str, template: &Template, error: &ExpandError) -> Problem {
    let source = String::from_utf8_lossy(template.source_bytes());
    let text = format!("{} router failed to expand {what}\"{source}\": {error}", run.router.name);
    Problem::new(error_code::UNKNOWN, text)
}

fn add_headers(run: &mut Run<'_>, address: &mut Address) -> Result<(), Problem> {
    for template in &run.router.generic.headers_add {
        match template.expand(run.context) {
            Ok(text) if text.trimmed().is_empty() => {}
            Ok(text) => {
                // Blanks at its end are the header line's own.
                let bytes = text.as_bytes();
                let end =
                    bytes.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last.saturating_add(1));
                let mut line = text.slice(0, end);
                line.push_clean(b"\n");
                address.propagated.headers_add.push(line);
            }
            Err(ExpandError::Forced(_)) => {}
            Err(error) => return Err(failed(run, "add_headers item ", template, &error)),
        }
    }
    Ok(())
}

fn remove_headers(run: &mut Run<'_>, address: &mut Address) -> Result<(), Problem> {
    for template in &run.router.generic.headers_remove {
        match template.expand(run.context) {
            Ok(text) => {
                let name = text.as_bytes().trim_ascii();
                if !name.is_empty() {
                    address.propagated.headers_remove.push(name.to_vec());
                }
            }
            Err(ExpandError::Forced(_)) => {}
            Err(error) => return Err(failed(run, "remove_headers item ", template, &error)),
        }
    }
    Ok(())
}

/// The address as the parent of those that take its place.
pub fn parent(run: &Run<'_>, address: &mut Address) -> Arc<Address> {
    address.router = Some(run.router.id);
    address.local_user.clone_from(&run.local_user);
    address.router_home.clone_from(&run.router_home);
    Arc::new(address.clone())
}

/// The transport that a template names.
///
/// # Errors
/// The expansion failed, is tainted, or names no transport.
pub fn find_transport(run: &mut Run<'_>, template: &Template) -> Result<TransportId, Problem> {
    let router = &run.router.name;
    let source = || String::from_utf8_lossy(template.source_bytes()).into_owned();
    let name = match template.expand(run.context) {
        Ok(name) => name,
        Err(error) => {
            let text = format!("failed to expand transport \"{}\" in {router} router: {error}", source());
            return Err(Problem::new(error_code::BAD_TRANSPORT, text));
        }
    };
    if name.is_foreign() {
        run.log_panic(&format!("attempt to use tainted value '{name}' from '{}' for transport", source()));
        return Err(Problem::new(error_code::BAD_TRANSPORT, "internal configuration error"));
    }
    run.delivery.transport_named(&name.to_string_lossy()).ok_or_else(|| {
        Problem::new(error_code::BAD_TRANSPORT, format!("transport \"{name}\" not found in {router} router"))
    })
}

/// A user by number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// The primary group; unknown for a bare number.
    pub gid: Option<u32>,
}

/// The login name of a user, if there is one.
#[must_use]
pub fn login_of(uid: u32) -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// A user by number or name; `None`: there is no such user.
///
/// # Errors
/// The user database cannot be asked now.
pub fn find_user(text: &str) -> Result<Option<Account>, Problem> {
    if let Ok(uid) = text.parse() {
        return Ok(Some(Account { uid, gid: None }));
    }
    let user = local_user(text)?;
    Ok(user.map(|user| Account { uid: user.uid, gid: Some(user.gid) }))
}

/// A group by number or name; `None`: there is no such group.
///
/// # Errors
/// The group database cannot be asked now.
pub fn find_group(text: &str) -> Result<Option<u32>, Problem> {
    if let Ok(gid) = text.parse() {
        return Ok(Some(gid));
    }
    match accounts::group(text) {
        Ok(group) => Ok(group.map(|g| g.gid.as_raw())),
        Err(error) => Err(Problem::new(error as i32, format!("getgrnam({text}) failed: {}", error.desc()))),
    }
}

/// The account of a login name.
///
/// # Errors
/// The user database cannot be asked now.
pub fn local_user(name: &str) -> Result<Option<LocalUser>, Problem> {
    if name.is_empty() || name.contains(['\0', '/', ':']) {
        return Ok(None);
    }
    match accounts::user(name) {
        Ok(user) => Ok(user.map(|user| LocalUser {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir.to_string_lossy().into_owned(),
            gecos: user.gecos.to_string_lossy().into_owned(),
        })),
        Err(error) => Err(Problem::new(error as i32, format!("getpwnam({name}) failed: {}", error.desc()))),
    }
}

/// Whom a delivery, a filter or a `.forward` file belongs to: `user` and `group`, else the account of
/// `check_local_user`.
///
/// # Errors
/// An expansion failed, or a name does not exist.
pub fn run_as(run: &mut Run<'_>) -> Result<RunAs, Problem> {
    let generic = &run.router.generic;
    let mut out = RunAs { initgroups: generic.initgroups, ..RunAs::default() };
    if let Some(user) = &run.local_user {
        out.uid = Some(user.uid);
        out.gid = Some(user.gid);
    }
    if let Some(setting) = &generic.user {
        let account = user_of(run, setting)?;
        out.uid = Some(account.uid);
        // A group from check_local_user belongs to another user.
        out.gid = account.gid;
    }
    if let Some(setting) = &generic.group {
        out.gid = Some(group_of(run, setting)?);
    }
    if out.uid.is_some() && out.gid.is_none() && run.purpose == Purpose::Deliver {
        let text = format!("user set without group for {} router", run.router.name);
        return Err(Problem::new(error_code::UNKNOWN, text));
    }
    Ok(out)
}

/// The user that an option names, with the primary group where it is known.
///
/// # Errors
/// An expansion failed, or there is no such user.
pub fn user_of(run: &mut Run<'_>, setting: &AccountSetting) -> Result<Account, Problem> {
    match setting {
        AccountSetting::Known(uid) => Ok(Account { uid: *uid, gid: primary_group(*uid)? }),
        AccountSetting::Number(uid) => Ok(Account { uid: *uid, gid: None }),
        AccountSetting::Expanded(template) => {
            let name = expand_account(run, template, "user")?;
            find_user(&name)?.ok_or_else(|| unknown_account(run, template, "user", &name))
        }
    }
}

/// The group that an option names.
///
/// # Errors
/// As for [`user_of`].
pub fn group_of(run: &mut Run<'_>, setting: &AccountSetting) -> Result<u32, Problem> {
    match setting {
        AccountSetting::Known(gid) | AccountSetting::Number(gid) => Ok(*gid),
        AccountSetting::Expanded(template) => {
            let name = expand_account(run, template, "group")?;
            find_group(&name)?.ok_or_else(|| unknown_account(run, template, "group", &name))
        }
    }
}

/// The primary group of a user.
///
/// # Errors
/// The users cannot be read.
pub fn primary_group(uid: u32) -> Result<Option<u32>, Problem> {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(user) => Ok(user.map(|user| user.gid.as_raw())),
        Err(error) => Err(Problem::new(error as i32, format!("getpwuid({uid}) failed: {}", error.desc()))),
    }
}

fn expand_account(run: &mut Run<'_>, template: &Template, what: &str) -> Result<String, Problem> {
    template.expand(run.context).map(|text: Text| text.to_string_lossy().trim().to_owned()).map_err(|error| {
        let source = String::from_utf8_lossy(template.source_bytes());
        let text = format!(
            "Failed to expand {what} string \"{source}\" for the {} router: {error}",
            run.router.name
        );
        run.log_panic(&text);
        Problem::new(error_code::UNKNOWN, text)
    })
}

fn unknown_account(run: &Run<'_>, template: &Template, what: &str, name: &str) -> Problem {
    let text = format!(
        "Failed to find {what} \"{name}\" from expanded string \"{}\" for the {} router",
        String::from_utf8_lossy(template.source_bytes()),
        run.router.name
    );
    run.log_panic(&text);
    Problem::new(error_code::UNKNOWN, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts() {
        assert_eq!(find_user("root").unwrap(), Some(Account { uid: 0, gid: Some(0) }));
        assert_eq!(find_user("77").unwrap(), Some(Account { uid: 77, gid: None }));
        assert_eq!(find_user("no-such-user").unwrap(), None);
        assert_eq!(find_group("root").unwrap(), Some(0));
        assert_eq!(local_user("root").unwrap().map(|u| u.home).as_deref(), Some("/root"));
        assert_eq!(local_user("a/b").unwrap(), None);
    }
}
