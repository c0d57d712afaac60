//! The options that every transport has (manual chapter 24).

use oxim_lang::config::{ConfigError, Instance};
use oxim_lang::expand::Template;

use super::filter::Filter;
use crate::rewrite::Rules;
use crate::router::generic::items;

/// Which variables of an address the options of a transport name: where they do, addresses are
/// not delivered together, or only those that share the domain (manual chapter 25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// `$local_part` and those whose names begin so.
    pub local_part: bool,
    /// `$domain` and those whose names begin so.
    pub domain: bool,
}

impl Mentions {
    /// What the options that are set name. What only debugging shows does not count.
    fn of(instance: &Instance) -> Mentions {
        let options = &instance.options;
        let (generic, private) = options.tables();
        let mut mentions = Mentions::default();
        for row in generic.iter().chain(private).filter(|row| row.name != "debug_print") {
            let setting = options.setting(row.name).filter(|setting| setting.location.is_some());
            let text = setting.and_then(|setting| setting.value.text()).unwrap_or_default();
            mentions.local_part |= names_variable(text, "local_part");
            mentions.domain |= names_variable(text, "domain");
        }
        mentions
    }
}

/// Whether a string has a variable with this beginning in it: `$name`, `${name` or `def:name`.
fn names_variable(text: &str, name: &str) -> bool {
    ["$", "${", "def:"].iter().any(|before| text.contains(&format!("{before}{name}")))
}

/// Their values.
pub struct Generic {
    /// What keeps addresses of a local transport apart.
    pub mentions: Mentions,
    /// The header block is not transported.
    pub body_only: bool,
    /// The body is not transported.
    pub headers_only: bool,
    /// `Delivery-date:` is added.
    pub delivery_date_add: bool,
    /// `Envelope-to:` is added.
    pub envelope_to_add: bool,
    /// `Return-path:` is added.
    pub return_path_add: bool,
    /// Header lines to add, each expanded by itself.
    pub headers_add: Vec<Template>,
    /// Names of header lines to leave out, each expanded by itself.
    pub headers_remove: Vec<Template>,
    /// Rewriting rules for header lines.
    pub headers_rewrite: Option<Rules>,
    /// Where a local delivery runs.
    pub current_directory: Option<Template>,
    /// `$home` of a local delivery.
    pub home_directory: Option<Template>,
    /// Whom a local delivery runs as.
    pub user: Option<Template>,
    /// And with which group.
    pub group: Option<Template>,
    /// The user's further groups are set up.
    pub initgroups: bool,
    /// Deliveries are not logged.
    pub disable_logging: bool,
    /// How many deliveries may run at once over all processes.
    pub max_parallel: Option<Template>,
    /// Larger messages fail.
    pub message_size_limit: Option<Template>,
    /// `RCPT TO` has prefix and suffix of the local part.
    pub rcpt_include_affixes: bool,
    /// Retry records are per address rather than per domain.
    pub retry_use_local_part: bool,
    /// Envelope sender of the delivery.
    pub return_path: Option<Template>,
    /// Delivers a copy by that transport.
    pub shadow_transport: Option<String>,
    /// When it does.
    pub shadow_condition: Option<Template>,
    /// A command that the message goes through.
    pub filter: Option<Filter>,
    /// Expanded for each event.
    pub event_action: Option<Template>,
    /// Its older form for deliveries.
    pub tpda_delivery_action: Option<Template>,
    /// Its older form for hosts that make a message wait.
    pub tpda_host_defer_action: Option<Template>,
    /// Shown under `-d`.
    pub debug_print: Option<Template>,
}

impl Generic {
    /// Reads the options.
    ///
    /// # Errors
    /// Options that exclude each other.
    pub fn build(instance: &Instance) -> Result<Generic, Vec<ConfigError>> {
        let options = &instance.options;
        if options.bool("body_only") && options.bool("headers_only") {
            let text =
                format!("{} transport: body_only and headers_only are mutually exclusive", instance.name);
            return Err(vec![ConfigError::at(&instance.location, text)]);
        }
        let is_number = options.string("user").is_some_and(|user| user.trim().parse::<u32>().is_ok());
        if is_number && !options.is_set("group") {
            let text = format!("user set without group for the {} transport", instance.name);
            return Err(vec![ConfigError::at(&instance.location, text)]);
        }
        let of_smtp = |name: &str| if options.has(name) { options.template(name) } else { None };
        Ok(Generic {
            mentions: Mentions::of(instance),
            body_only: options.bool("body_only"),
            headers_only: options.bool("headers_only"),
            delivery_date_add: options.bool("delivery_date_add"),
            envelope_to_add: options.bool("envelope_to_add"),
            return_path_add: options.bool("return_path_add"),
            headers_add: items(options.string("headers_add"), b'\n'),
            headers_remove: items(options.string("headers_remove"), b':'),
            headers_rewrite: headers_rewrite(instance)?,
            current_directory: options.template("current_directory"),
            home_directory: options.template("home_directory"),
            user: options.template("user"),
            group: options.template("group"),
            initgroups: options.bool("initgroups"),
            disable_logging: options.bool("disable_logging"),
            max_parallel: options.template("max_parallel"),
            message_size_limit: options.template("message_size_limit"),
            rcpt_include_affixes: options.bool("rcpt_include_affixes"),
            retry_use_local_part: options.bool("retry_use_local_part"),
            return_path: options.template("return_path"),
            shadow_transport: options.string("shadow_transport").map(str::to_owned),
            shadow_condition: options.template("shadow_condition"),
            filter: Filter::build(options),
            event_action: options.template("event_action"),
            tpda_delivery_action: of_smtp("tpda_delivery_action"),
            tpda_host_defer_action: of_smtp("tpda_host_defer_action"),
            debug_print: options.template("debug_print"),
        })
    }
}

fn headers_rewrite(instance: &Instance) -> Result<Option<Rules>, Vec<ConfigError>> {
    let Some(text) = instance.options.string("headers_rewrite") else { return Ok(None) };
    let at = instance.options.location("headers_rewrite").unwrap_or(&instance.location);
    Rules::parse_headers_rewrite(text)
        .map(Some)
        .map_err(|errors| errors.into_iter().map(|(_, e)| ConfigError::at(at, e.to_string())).collect())
}
