//! The options that every router has, read once. Manual chapter 15.

use std::sync::Arc;

use oxim_lang::config::{ConfigError, Instance, Options, Switch};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::{List, ListKind, split, split_at};

use super::affix::Affix;
use super::host_item;
use super::{Problem, RouterKind, TransportUse, error_code};
use crate::address::{RouteHost, RouterId};

/// What a router does when the first host is this one (`self`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfAction {
    /// Defer, and freeze the message.
    Freeze,
    /// Defer.
    Defer,
    /// Bounce.
    Fail,
    /// Give the address to the next router.
    Pass,
    /// Deliver all the same.
    Send,
    /// Put the address into another domain.
    Reroute {
        /// That domain.
        domain: Vec<u8>,
        /// Whether header lines are changed too.
        rewrite: bool,
    },
}

impl SelfAction {
    /// Reads the option's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<SelfAction> {
        Some(match text {
            "freeze" => SelfAction::Freeze,
            "defer" => SelfAction::Defer,
            "fail" => SelfAction::Fail,
            "pass" => SelfAction::Pass,
            "send" => SelfAction::Send,
            _ => {
                let rest = text.strip_prefix("reroute:")?.trim_start();
                let (rest, rewrite) = match rest.strip_prefix("rewrite:") {
                    Some(rest) => (rest.trim_start(), true),
                    None => (rest, false),
                };
                SelfAction::Reroute { domain: rest.to_ascii_lowercase().into_bytes(), rewrite }
            }
        })
    }
}

/// The value of a switch now. A forced failure means the default.
///
/// # Errors
/// The expansion failed or gave something else than a boolean value: the address is deferred.
pub fn switch(
    switch: &Switch,
    name: &str,
    default: bool,
    context: &mut Context,
    router: &str,
) -> Result<bool, Problem> {
    let template = match switch {
        Switch::Fixed(value) => return Ok(*value),
        Switch::Expanded(template) => template,
    };
    let text = match template.expand(context) {
        Ok(text) => text,
        Err(ExpandError::Forced(_)) => return Ok(default),
        Err(error) => {
            let source = String::from_utf8_lossy(template.source_bytes());
            let text = format!("failed to expand \"{source}\" in {router} router: {error}");
            return Err(Problem::new(error_code::UNKNOWN, text));
        }
    };
    match text.as_bytes().to_ascii_lowercase().as_slice() {
        b"true" | b"yes" => Ok(true),
        b"false" | b"no" => Ok(false),
        _ => {
            let text =
                format!("\"{text}\" is not a valid value for the \"{name}\" option in the {router} router");
            Err(Problem::new(error_code::UNKNOWN, text))
        }
    }
}

/// A user or group of the configuration.
#[derive(Clone, Debug)]
pub enum AccountSetting {
    /// Looked up by name when the file was read.
    Known(u32),
    /// A number of the file: of a user, it tells nothing of a group.
    Number(u32),
    /// To be expanded and looked up for each address.
    Expanded(Template),
}

pub(super) fn account(options: &Options, name: &str) -> Option<AccountSetting> {
    let is_number = options.string(name).is_some_and(|text| text.trim().parse::<u32>().is_ok());
    options
        .id(name)
        .map(if is_number { AccountSetting::Number } else { AccountSetting::Known })
        .or_else(|| options.template(name).map(AccountSetting::Expanded))
}

/// What the verdict about a recipient must say for a router to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BmiConditions {
    /// `bmi_rule`: one of these has fired.
    pub rules: Option<Vec<u32>>,
    /// `bmi_dont_deliver`.
    pub dont_deliver: bool,
    /// `bmi_deliver_alternate`.
    pub deliver_alternate: bool,
    /// `bmi_deliver_default`.
    pub deliver_default: bool,
}

/// The generic options of a router.
pub struct Generic {
    /// `local_part_prefix`.
    pub prefixes: Vec<Affix>,
    /// `local_part_prefix_optional`.
    pub is_prefix_optional: bool,
    /// `local_part_suffix`.
    pub suffixes: Vec<Affix>,
    /// `local_part_suffix_optional`.
    pub is_suffix_optional: bool,
    /// `domains`.
    pub domains: Option<List>,
    /// `local_parts`.
    pub local_parts: Option<List>,
    /// `senders`.
    pub senders: Option<List>,
    /// `check_local_user`.
    pub check_local_user: bool,
    /// `caseful_local_part`.
    pub caseful_local_part: bool,
    /// `expn`.
    pub expn: bool,
    /// `verify_only`.
    pub verify_only: bool,
    /// `verify_sender`.
    pub verify_sender: bool,
    /// `verify_recipient`.
    pub verify_recipient: bool,
    /// `address_test`.
    pub address_test: bool,
    /// `require_files`: split before expansion, as the manual says.
    pub require_files: Vec<Template>,
    /// `condition`.
    pub condition: Option<Template>,
    /// What the verdict about the recipient must say.
    pub bmi: BmiConditions,
    /// `debug_print`.
    pub debug_print: Option<Template>,
    /// `set`: names without `r_`, and values.
    pub variables: Vec<(Vec<u8>, Template)>,
    /// `address_data`.
    pub address_data: Option<Template>,
    /// `user`.
    pub user: Option<AccountSetting>,
    /// `group`.
    pub group: Option<AccountSetting>,
    /// `initgroups`.
    pub initgroups: bool,
    /// `errors_to`.
    pub errors_to: Option<Template>,
    /// `headers_add`, one item each.
    pub headers_add: Vec<Template>,
    /// `headers_remove`, one item each.
    pub headers_remove: Vec<Template>,
    /// `transport`.
    pub transport: Option<Template>,
    /// `unseen`.
    pub unseen: Switch,
    /// `more`.
    pub more: Switch,
    /// `pass_router`.
    pub pass_router: Option<RouterId>,
    /// `redirect_router`.
    pub redirect_router: Option<RouterId>,
    /// `pass_on_timeout`.
    pub pass_on_timeout: bool,
    /// `fail_verify_sender`.
    pub fail_verify_sender: bool,
    /// `fail_verify_recipient`.
    pub fail_verify_recipient: bool,
    /// `cannot_route_message`.
    pub cannot_route_message: Option<Template>,
    /// `self`.
    pub self_action: SelfAction,
    /// `translate_ip_address`.
    pub translate_ip_address: Option<Template>,
    /// `ignore_target_hosts`.
    pub ignore_target_hosts: Option<List>,
    /// `fallback_hosts`.
    pub fallback_hosts: Arc<[RouteHost]>,
    /// `dnssec_request_domains`.
    pub dnssec_request_domains: Option<List>,
    /// `dnssec_require_domains`.
    pub dnssec_require_domains: Option<List>,
    /// `retry_use_local_part`, or what follows from the preconditions.
    pub retry_use_local_part: bool,
    /// `repeat_use` of the redirect router; true for all others.
    pub repeat_use: bool,
    /// `router_home_directory`.
    pub router_home_directory: Option<Template>,
    /// `transport_home_directory`: expanded when the transport runs.
    pub transport_home_directory: Option<Template>,
    /// `transport_current_directory`: expanded when the transport runs.
    pub transport_current_directory: Option<Template>,
    /// `disable_logging`.
    pub disable_logging: bool,
    /// `log_as_local`, or the driver's default.
    pub log_as_local: bool,
    /// `dsn_lasthop`.
    pub dsn_lasthop: bool,
}

impl Generic {
    /// Reads the options of a router; `names` are all routers in order, for `pass_router` and `redirect_router`.
    ///
    /// # Errors
    /// A setting that cannot be: the text is Exim's.
    pub fn build(instance: &Instance, kind: &RouterKind, names: &[&str]) -> Result<Generic, ConfigError> {
        let options = &instance.options;
        let fault = |text: String| without_line(instance, text);
        let list = |name: &str, kind: ListKind| options.string(name).map(|text| List::compile(kind, text));
        let bool_or =
            |name: &str, default: bool| if options.is_set(name) { options.bool(name) } else { default };
        let own_place = names.iter().position(|n| *n == instance.name).unwrap_or(0);
        let named = |option: &str| -> Result<Option<RouterId>, ConfigError> {
            let Some(name) = options.string(option) else { return Ok(None) };
            match names.iter().position(|n| *n == name) {
                Some(place) => Ok(Some(RouterId(place))),
                None => {
                    Err(fault(format!("new_router \"{name}\" not found for \"{}\" router", instance.name)))
                }
            }
        };
        let pass_router = named("pass_router")?;
        if let Some(RouterId(place)) = pass_router
            && place <= own_place
        {
            let name = options.string("pass_router").unwrap_or_default();
            return Err(fault(format!("new_router \"{name}\" does not follow \"{}\" router", instance.name)));
        }
        let self_text = options.string("self").unwrap_or("freeze");
        let self_action = SelfAction::parse(self_text).ok_or_else(|| {
            let text = format!("{self_text} is not valid for the self option");
            ConfigError::about(format!("{} router", instance.name), text)
        })?;
        let uses_local_part = options.bool("check_local_user")
            || [
                "local_parts",
                "condition",
                "local_part_prefix",
                "local_part_suffix",
                "senders",
                "require_files",
            ]
            .iter()
            .any(|name| options.is_set(name));
        let generic = Generic {
            prefixes: affixes(options.string("local_part_prefix"), Affix::prefix),
            is_prefix_optional: options.bool("local_part_prefix_optional"),
            suffixes: affixes(options.string("local_part_suffix"), Affix::suffix),
            is_suffix_optional: options.bool("local_part_suffix_optional"),
            domains: list("domains", ListKind::Domain),
            local_parts: list("local_parts", ListKind::LocalPart),
            senders: list("senders", ListKind::Address),
            check_local_user: options.bool("check_local_user"),
            caseful_local_part: options.bool("caseful_local_part"),
            expn: options.bool("expn"),
            verify_only: options.bool("verify_only"),
            verify_sender: options.bool("verify_sender"),
            verify_recipient: options.bool("verify_recipient"),
            address_test: options.bool("address_test"),
            require_files: items(options.string("require_files"), b':'),
            condition: options.template("condition"),
            bmi: BmiConditions {
                rules: options.is_set("bmi_rule").then(|| crate::bmi::rules(options.string("bmi_rule"))),
                dont_deliver: options.bool("bmi_dont_deliver"),
                deliver_alternate: options.bool("bmi_deliver_alternate"),
                deliver_default: options.bool("bmi_deliver_default"),
            },
            debug_print: options.template("debug_print"),
            variables: variables(options.string("set")).map_err(|name| {
                fault(format!("bad router variable name '{name}' in router '{}'", instance.name))
            })?,
            address_data: options.template("address_data"),
            user: account(options, "user"),
            group: account(options, "group"),
            initgroups: options.bool("initgroups"),
            errors_to: options.template("errors_to"),
            headers_add: items(options.string("headers_add"), b'\n'),
            headers_remove: items(options.string("headers_remove"), b':'),
            transport: options.template("transport"),
            unseen: options.switch("unseen"),
            more: options.switch("more"),
            pass_router,
            redirect_router: named("redirect_router")?,
            pass_on_timeout: options.bool("pass_on_timeout"),
            fail_verify_sender: options.bool("fail_verify_sender"),
            fail_verify_recipient: options.bool("fail_verify_recipient"),
            cannot_route_message: options.template("cannot_route_message"),
            self_action,
            translate_ip_address: options.template("translate_ip_address"),
            ignore_target_hosts: list("ignore_target_hosts", ListKind::Host),
            fallback_hosts: options
                .string("fallback_hosts")
                .map(|text| host_item::list(text.as_bytes()).hosts.into())
                .unwrap_or_else(|| Arc::from(Vec::new())),
            dnssec_request_domains: list("dnssec_request_domains", ListKind::Domain),
            dnssec_require_domains: list("dnssec_require_domains", ListKind::Domain),
            retry_use_local_part: bool_or("retry_use_local_part", uses_local_part),
            repeat_use: instance.driver != "redirect" || options.bool("repeat_use"),
            router_home_directory: options.template("router_home_directory"),
            transport_home_directory: options.template("transport_home_directory"),
            transport_current_directory: options.template("transport_current_directory"),
            disable_logging: options.bool("disable_logging"),
            log_as_local: options.bool("log_as_local"),
            dsn_lasthop: options.bool("dsn_lasthop"),
        };
        generic.check_transport(instance, kind)?;
        Ok(generic)
    }

    fn check_transport(&self, instance: &Instance, kind: &RouterKind) -> Result<(), ConfigError> {
        let text = match kind.transport {
            TransportUse::Required if self.transport.is_none() && !self.verify_only => {
                "a transport is required for this router"
            }
            TransportUse::Forbidden if self.transport.is_some() => {
                "a transport must not be defined for this router"
            }
            TransportUse::Required | TransportUse::Forbidden | TransportUse::Allowed => return Ok(()),
        };
        Err(without_line(instance, format!("{} router:\n  {text}", instance.name)))
    }

    /// Whether header lines are added or removed for addresses that this router accepts.
    #[must_use]
    pub fn changes_headers(&self) -> bool {
        !self.headers_add.is_empty() || !self.headers_remove.is_empty()
    }
}

fn affixes(text: Option<&str>, build: fn(&[u8]) -> Affix) -> Vec<Affix> {
    split(text.unwrap_or_default().as_bytes())
        .filter(|item| !item.is_empty())
        .map(|item| build(&item))
        .collect()
}

/// The items of a list whose items are expanded one by one.
pub(crate) fn items(text: Option<&str>, separator: u8) -> Vec<Template> {
    split_at(text.unwrap_or_default().as_bytes(), separator)
        .filter(|item| !item.is_empty())
        .map(|item| Template::compile_bytes(&item))
        .collect()
}

/// The assignments of `set`; the error is the name that does not begin with `r_`, or has no value.
fn variables(text: Option<&str>) -> Result<Vec<(Vec<u8>, Template)>, String> {
    split_at(text.unwrap_or_default().as_bytes(), b';')
        .filter(|item| !item.is_empty())
        .map(|item| {
            let mut parts = item.splitn(2, |b| *b == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii();
            match (name.strip_prefix(b"r_"), parts.next()) {
                (Some(bare), Some(value)) if !bare.is_empty() => {
                    Ok((bare.to_vec(), Template::compile_bytes(value.trim_ascii_start())))
                }
                _ => Err(String::from_utf8_lossy(name).into_owned()),
            }
        })
        .collect()
}

/// An error about a router that Exim tells without a line.
fn without_line(instance: &Instance, text: String) -> ConfigError {
    ConfigError::new(text).helped(Some(format!("the router begins in {}", instance.location)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_self_option() {
        assert_eq!(SelfAction::parse("send"), Some(SelfAction::Send));
        let reroute = |domain: &str, rewrite| Some(SelfAction::Reroute { domain: domain.into(), rewrite });
        assert_eq!(SelfAction::parse("reroute: Other.EX"), reroute("other.ex", false));
        assert_eq!(SelfAction::parse("reroute: rewrite: other.ex"), reroute("other.ex", true));
        assert_eq!(SelfAction::parse("nonsense"), None);
    }

    #[test]
    fn variables_need_their_prefix() {
        let set = variables(Some("r_a = 1;; ; r_b=$local_part")).unwrap();
        assert_eq!(set.len(), 2);
        assert_eq!(set[0].0, b"a");
        assert_eq!(set[0].1.source(), "1;");
        assert_eq!(variables(Some("x = 1")).err().as_deref(), Some("x"));
    }
}
