//! The local process that submits a message: its login, whether it is trusted, the sender that belongs to it.
//!
//! Trusted are root, the Exim user, and those named by `trusted_users` and `trusted_groups`. Manual sections 5.2 and 48.18,
//! options `untrusted_set_sender`, `unknown_login`, `unknown_username`, `gecos_name`, `gecos_pattern`.

use std::sync::Arc;

use nix::unistd::{Gid, Uid, User, getgroups};
use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_lang::list::{List, ListKind, Subject};
use oxim_lang::regex::Regex;

/// Who submits.
#[derive(Debug)]
pub struct Caller {
    /// Login name.
    pub login: Vec<u8>,
    /// Real name, for From: and Sender: lines.
    pub real_name: Vec<u8>,
    /// The name was given by `-F`.
    pub is_named: bool,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether it may say what it likes about where a message comes from.
    pub is_trusted: bool,
    /// Whether it may set any sender.
    pub may_set_sender: bool,
    /// `login@qualify_domain`.
    pub sender: Vec<u8>,
    /// `untrusted_set_sender`, if set.
    untrusted_set_sender: Option<List>,
}

impl Caller {
    /// The process that called this one: its real user and groups.
    #[must_use]
    pub fn current(config: &Arc<Config>, full_name: Option<&[u8]>) -> Caller {
        let groups = getgroups().unwrap_or_default();
        Caller::of(config, Uid::current(), Gid::current(), &groups, full_name)
    }

    /// A caller known by user and groups. `full_name` is the value of `-F`.
    #[must_use]
    pub fn of(config: &Arc<Config>, uid: Uid, gid: Gid, groups: &[Gid], full_name: Option<&[u8]>) -> Caller {
        let user = User::from_uid(uid).ok().flatten();
        let options = &config.main_options;
        let option = |name: &str| options.string(name).filter(|text| !text.is_empty());
        let mut context = Context::new(Arc::clone(config), Arc::default());
        let unknown_login = config.main.unknown_login.as_ref().and_then(|t| t.expand(&mut context).ok());
        let login = match (&user, unknown_login) {
            (Some(user), _) => user.name.clone(),
            (None, Some(name)) if !name.is_empty() => name.to_string_lossy(),
            (None, _) => uid.to_string(),
        };
        let real_name = match (full_name, &user) {
            (Some(name), _) => name.to_vec(),
            (None, Some(user)) => name_of_gecos(config, user.gecos.to_bytes(), &login),
            (None, None) => option("unknown_username").unwrap_or_default().as_bytes().to_vec(),
        };
        let is_trusted = uid.is_root()
            || uid.as_raw() == config.main.exim_user
            || config.main.trusted_users.contains(&uid.as_raw())
            || config
                .main
                .trusted_groups
                .iter()
                .any(|group| gid.as_raw() == *group || groups.contains(&Gid::from_raw(*group)));
        let sender = [login.as_bytes(), b"@", config.main.qualify_domain.as_bytes()].concat();
        Caller {
            login: login.into_bytes(),
            real_name,
            is_named: full_name.is_some(),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            is_trusted,
            may_set_sender: is_trusted,
            sender,
            untrusted_set_sender: option("untrusted_set_sender")
                .map(|list| List::compile(ListKind::Address, list)),
        }
    }

    /// A made-up caller, for tests.
    #[cfg(test)]
    pub(crate) fn made_up(login: &str, is_trusted: bool) -> Caller {
        Caller {
            login: login.as_bytes().to_vec(),
            real_name: format!("The {login}").into_bytes(),
            is_named: false,
            uid: 4711,
            gid: 4712,
            is_trusted,
            may_set_sender: is_trusted,
            sender: format!("{login}@test.ex").into_bytes(),
            untrusted_set_sender: None,
        }
    }

    /// Whether the caller, though not trusted, may use this sender.
    pub fn may_claim(&self, context: &mut Context, sender: &[u8]) -> bool {
        if self.may_set_sender || sender.is_empty() {
            return true;
        }
        let Some(list) = &self.untrusted_set_sender else { return false };
        let address = Text::tainted(sender);
        let subject = Subject::Address { address: &address, caseful: false, captures: false };
        list.matches(context, &subject).is_ok_and(|found| found.is_yes())
    }
}

/// The name in a gecos text: what `gecos_pattern` and `gecos_name` make of it, else its first field.
fn name_of_gecos(config: &Arc<Config>, gecos: &[u8], login: &str) -> Vec<u8> {
    let gecos = with_login(gecos, login);
    let pattern = config.main.gecos_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    if let (Some(pattern), Some(template)) = (pattern, &config.main.gecos_name)
        && let Ok(regex) = Regex::compile(pattern.as_bytes(), false)
        && let Ok(Some(captures)) = regex.captures(&Text::tainted(gecos.as_slice()))
    {
        let mut context = Context::new(Arc::clone(config), Arc::default());
        context.local.captures = captures;
        if let Ok(name) = template.expand(&mut context) {
            return name.into_bytes();
        }
    }
    gecos.split(|b| *b == b',').next().unwrap_or_default().to_vec()
}

/// `&` in a gecos text stands for the login name with a capital.
fn with_login(gecos: &[u8], login: &str) -> Vec<u8> {
    let mut capital = login.as_bytes().to_vec();
    if let Some(first) = capital.first_mut() {
        first.make_ascii_uppercase();
    }
    let mut out = Vec::with_capacity(gecos.len());
    for byte in gecos {
        match byte {
            b'&' => out.extend_from_slice(&capital),
            other => out.push(*other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ampersand_is_the_login() {
        assert_eq!(with_login(b"& Beeblebrox,Room 42,,", "zaphod"), b"Zaphod Beeblebrox,Room 42,,");
    }
}
