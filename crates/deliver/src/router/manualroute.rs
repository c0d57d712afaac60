//! The `manualroute` router: the postmaster says which hosts serve which domains. Manual chapter 20.

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, rows};
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::{List, ListKind, Match, Subject, split_at};

use super::host_list::{Method, NotFound};
use super::matching;
use super::{
    Build, Inputs, Problem, RouterDriver, RouterKind, Run, TransportUse, Verdict, error_code, host_item,
    host_list, prepare,
};
use crate::address::{Address, TransportId};

/// The row.
pub static MANUALROUTE: RouterKind = RouterKind {
    row: &DriverRow { name: "manualroute", options: rows::ROUTER_MANUALROUTE },
    transport: TransportUse::Allowed,
    build,
};

/// One rule of `route_list`.
struct Rule {
    pattern: List,
    hosts: Template,
    options: String,
}

enum Routes {
    List(Vec<Rule>),
    Data(Template),
}

struct ManualRoute {
    routes: Routes,
    hosts_randomize: bool,
    host_find_failed: NotFound,
    host_all_ignored: NotFound,
    same_domain_copy_routing: bool,
}

fn build(build: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    let options = &build.instance.options;
    let routes = match (options.string("route_list"), options.template("route_data")) {
        (Some(list), None) => Routes::List(rules(list)),
        (None, Some(data)) => Routes::Data(data),
        _ => return Err(build.error("route_list or route_data (but not both) must be specified")),
    };
    let word = |name: &str, default: NotFound| match options.string(name) {
        None => Ok(default),
        Some(text) => NotFound::parse(text)
            .filter(|found| name == "host_find_failed" || *found != NotFound::Ignore)
            .ok_or_else(|| build.error(&format!("invalid setting for {name}: {text}"))),
    };
    Ok(Box::new(ManualRoute {
        routes,
        hosts_randomize: options.bool("hosts_randomize"),
        host_find_failed: word("host_find_failed", NotFound::Freeze)?,
        host_all_ignored: word("host_all_ignored", NotFound::Defer)?,
        same_domain_copy_routing: options.bool("same_domain_copy_routing"),
    }))
}

fn rules(list: &str) -> Vec<Rule> {
    split_at(list.as_bytes(), b';')
        .filter(|item| !item.is_empty())
        .map(|item| {
            let (pattern, rest) = word(&item);
            let (hosts, rest) = word(rest);
            Rule {
                pattern: List::single_expanded(ListKind::Domain, &String::from_utf8_lossy(&pattern)),
                hosts: Template::compile_bytes(&hosts),
                options: String::from_utf8_lossy(rest).trim().to_owned(),
            }
        })
        .collect()
}

/// The first word of a rule, which may be in quotes, and what follows it.
fn word(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let text = text.trim_ascii_start();
    if let [b'"', rest @ ..] = text {
        let mut out = Vec::new();
        let mut bytes = rest.iter().copied().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => return (out, rest.get(at.saturating_add(1)..).unwrap_or_default()),
                b'\\' => out.extend(bytes.next().map(|(_, escaped)| match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    other => other,
                })),
                _ => out.push(byte),
            }
        }
        return (out, &[]);
    }
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (head, rest) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, &[]));
    (head.to_vec(), rest)
}

/// The words behind a host list.
struct RuleOptions {
    randomize: bool,
    method: Method,
    transport: Option<TransportId>,
}

impl RouterDriver for ManualRoute {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        let captures = run.context.local.captures.clone();
        let value = run.context.local.value.clone();
        let verdict = self.try_route(run, address).unwrap_or_else(Verdict::Defer);
        run.context.local.captures = captures;
        run.context.local.value = value;
        verdict
    }

    fn inputs(&self) -> Option<Inputs<'_>> {
        Some(match &self.routes {
            Routes::List(rules) => Inputs {
                lists: rules.iter().map(|rule| &rule.pattern).collect(),
                templates: rules.iter().map(|rule| &rule.hosts).collect(),
                are_hosts_shuffled: false,
            },
            Routes::Data(template) => Inputs { templates: vec![template], ..Inputs::default() },
        })
    }

    fn copies_routing_by_domain(&self) -> bool {
        self.same_domain_copy_routing
    }
}

impl ManualRoute {
    fn try_route(&self, run: &mut Run<'_>, address: &mut Address) -> Result<Verdict, Problem> {
        let Some((hosts, options)) = self.route_of(run, address)? else {
            return Ok(Verdict::Decline(None));
        };
        let options = match self.options(run, &options) {
            Ok(options) => options,
            Err(word) => {
                let what = format!("unknown routing option or transport name \"{word}\"");
                run.log(&format!("Error in {} router: {what}", run.router.name));
                let text = format!("error in router: {what}");
                return Ok(Verdict::Defer(Problem::new(error_code::UNKNOWN, text)));
            }
        };
        prepare::propagate(run, address)?;
        address.transport = match (options.transport, &run.router.generic.transport) {
            (Some(transport), _) => Some(transport),
            (None, Some(template)) => Some(prepare::find_transport(run, template)?),
            (None, None) => None,
        };
        let Some(transport) = address.transport else {
            if run.purpose.is_verify() {
                return Ok(Verdict::Deliver);
            }
            let text = format!("transport unset in {} router", run.router.name);
            return Ok(Verdict::Defer(Problem::new(error_code::BAD_TRANSPORT, text)));
        };
        if run.delivery.is_local_transport(transport) {
            address.host_list = (!hosts.is_empty()).then_some(hosts);
            prepare::finish(run, address)?;
            return Ok(Verdict::Deliver);
        }
        if let Some(verdict) = self.find_hosts(run, address, &hosts, &options)? {
            return Ok(verdict);
        }
        prepare::finish(run, address)?;
        Ok(Verdict::Deliver)
    }

    /// Fills in the host list; a verdict if that is not possible.
    fn find_hosts(
        &self,
        run: &mut Run<'_>,
        address: &mut Address,
        hosts: &Text,
        options: &RuleOptions,
    ) -> Result<Option<Verdict>, Problem> {
        let mut items = host_item::list(hosts.as_bytes()).hosts;
        if items.is_empty() && run.purpose.is_verify() {
            // There is a route; where it leads does not matter here.
            return Ok(None);
        }
        if items.is_empty() {
            let domain = String::from_utf8_lossy(&address.domain);
            let text =
                format!("error in {} router: no host(s) specified for domain {domain}", run.router.name);
            run.log(&text);
            return Ok(Some(Verdict::Defer(Problem::new(error_code::UNKNOWN, text))));
        }
        if options.randomize {
            host_item::shuffle_groups(&mut items);
        }
        let found = host_list::look_up(
            run,
            address,
            items,
            options.method,
            self.host_find_failed,
            self.host_all_ignored,
        )?;
        let mut hosts = match found {
            Ok(hosts) => hosts,
            Err(verdict) => return Ok(Some(verdict)),
        };
        host_list::translate_addresses(run, &mut hosts)?;
        address.hosts = hosts.into();
        address.is_randomized = options.randomize;
        Ok(None)
    }

    /// Host list and options for the domain; `None` if no rule is for it.
    fn route_of(&self, run: &mut Run<'_>, address: &Address) -> Result<Option<(Text, String)>, Problem> {
        match &self.routes {
            Routes::List(rules) => {
                let Some(rule) = find_rule(run, rules, address)? else { return Ok(None) };
                let hosts = expand(run, &rule.hosts, &format!("{} router: ", run.router.name))?;
                Ok(hosts.map(|hosts| (hosts, rule.options.clone())))
            }
            Routes::Data(template) => {
                // What it gives is split only now: the host list, and behind it the options.
                let Some(text) = expand(run, template, "")? else { return Ok(None) };
                let (hosts, rest) = word(text.as_bytes());
                let options = String::from_utf8_lossy(rest).trim().to_owned();
                let hosts = expand_hosts(run, text.derive(hosts))?;
                Ok(hosts.filter(|hosts| !hosts.is_empty()).map(|hosts| (hosts, options)))
            }
        }
    }

    /// Reads the option words; the error is what is left when one is not known.
    fn options(&self, run: &Run<'_>, words: &str) -> Result<RuleOptions, String> {
        let mut out =
            RuleOptions { randomize: self.hosts_randomize, method: Method::default(), transport: None };
        let mut rest = words.trim_start();
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            match word {
                "randomize" => out.randomize = true,
                "no_randomize" => out.randomize = false,
                "byname" => out.method.by_name = true,
                "bydns" => out.method.by_dns = true,
                "ipv4_only" => out.method.ipv4_only = true,
                "ipv4_prefer" => out.method.ipv4_prefer = true,
                name => match run.delivery.transport_named(name) {
                    Some(transport) => out.transport = Some(transport),
                    None => return Err(rest.to_owned()),
                },
            }
            rest = after.trim_start();
        }
        Ok(out)
    }
}

/// `None` after a forced failure: the router declines.
fn expand(run: &mut Run<'_>, template: &Template, who: &str) -> Result<Option<Text>, Problem> {
    match template.expand(run.context) {
        Ok(text) => Ok(Some(text)),
        Err(ExpandError::Forced(_)) => Ok(None),
        Err(error) => {
            let source = String::from_utf8_lossy(template.source_bytes());
            let text = format!("{who}failed to expand \"{source}\": {error}");
            Err(Problem::new(error_code::UNKNOWN, text))
        }
    }
}

/// The host list that `route_data` gave is expanded once more (section 20.4), unless somebody outside could have written it.
fn expand_hosts(run: &mut Run<'_>, hosts: Text) -> Result<Option<Text>, Problem> {
    if !hosts.as_bytes().iter().any(|byte| matches!(byte, b'$' | b'\\')) {
        return Ok(Some(hosts));
    }
    if hosts.is_foreign() {
        let what = format!("attempt to expand tainted string '{hosts}'");
        run.log_panic(&what);
        let text = format!("{} router: failed to expand \"{hosts}\": {what}", run.router.name);
        return Err(Problem::new(error_code::UNKNOWN, text));
    }
    expand(run, &Template::compile_bytes(hosts.as_bytes()), &format!("{} router: ", run.router.name))
}

/// The first rule whose pattern the domain matches; `$0`, `$1`… and `$value` are set from the match.
fn find_rule<'r>(
    run: &mut Run<'_>,
    rules: &'r [Rule],
    address: &Address,
) -> Result<Option<&'r Rule>, Problem> {
    let domain = address.domain_text();
    for rule in rules {
        match rule.pattern.matches(run.context, &Subject::Domain(&domain)) {
            Ok(Match::No) => {}
            Ok(Match::Yes { data }) => {
                if run.context.local.captures.is_empty() {
                    run.context.local.captures = vec![domain];
                }
                run.context.local.value = data;
                return Ok(Some(rule));
            }
            Err(defer) => {
                matching::tell(run.context, &defer, "route_list");
                return Err(Problem::new(error_code::UNKNOWN, "lookup defer in route_list".to_owned()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_be_quoted() {
        let (first, rest) = word(b"  *.ex  \"a : b\\\"c\" byname");
        assert_eq!(first, b"*.ex");
        let (second, rest) = word(rest);
        assert_eq!(second, b"a : b\"c");
        assert_eq!(rest, b" byname");
    }

    #[test]
    fn rules_are_separated_by_semicolons() {
        let rules = rules("a.ex h1:h2 ; ; lsearch;;/x $value byname; saved.ex");
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[1].options, "byname");
        assert_eq!(rules[2].hosts.source(), "");
    }
}
