//! Advice for people about strings that cannot work (`oxim check`): the name that was meant, and what to use instead of a
//! value from outside. Never part of what Exim would say.

use super::{Kind, names};
use crate::config::report;
use crate::lookup::LOOKUPS;

/// How complaints about names begin, up to the name in quotes, and what may have been meant.
const COMPLAINTS: &[(&str, &[Kind])] = &[
    ("unknown variable name \"", &[Kind::Variable]),
    ("unknown variable in \"${", &[Kind::Variable]),
    ("unknown variable \"", &[Kind::Variable]),
    ("unknown expansion operator \"", &[Kind::Operator]),
    ("unknown condition \"", &[Kind::Condition]),
    ("\"${", &[Kind::Item, Kind::Operator, Kind::Variable]),
];
const LOOKUP_COMPLAINT: &str = "unknown lookup type \"";

/// Variables from outside, and those that hold what a lookup of theirs has found.
const LOOKED_UP: &[(&str, &str)] = &[
    ("domain", "domain_data"),
    ("local_part", "local_part_data"),
    ("recipients", "recipient_data"),
    ("sender_address", "sender_data"),
    ("sender_host_name", "host_data"),
];

/// The name that a complaint about the syntax is about.
#[must_use]
pub fn name_in(message: &str) -> Option<&str> {
    let starts = COMPLAINTS.iter().map(|(start, _)| *start).chain([LOOKUP_COMPLAINT]);
    starts.into_iter().find_map(|start| {
        let (_, rest) = message.split_once(start)?;
        rest.split(['"', '}']).next().filter(|name| !name.is_empty())
    })
}

/// The name that may have been meant, as a sentence.
#[must_use]
pub fn suggestion(message: &str) -> Option<String> {
    let name = name_in(message)?;
    if message.contains(LOOKUP_COMPLAINT) {
        return report::nearest(name, LOOKUPS.iter().map(|kind| kind.name));
    }
    let (_, kinds) = COMPLAINTS.iter().find(|(start, _)| message.contains(start))?;
    // What follows an underscore is an argument of some operators.
    let operator = name.split_once('_').map_or(name, |(operator, _)| operator);
    let whole = report::nearest(name, kinds.iter().flat_map(|kind| names(*kind)));
    whole.or_else(|| {
        kinds.contains(&Kind::Operator).then(|| report::nearest(operator, names(Kind::Operator)))?
    })
}

/// What to use instead of a variable whose value comes from outside, where such values are refused.
#[must_use]
pub fn instead_of(variable: &str) -> String {
    match LOOKED_UP.iter().find(|(name, _)| *name == variable) {
        Some((_, data)) => format!("use ${data}, the value of the lookup, instead of ${variable}"),
        None => format!("look ${variable} up, and use the value of the lookup instead"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expand::Template;

    #[test]
    fn the_name_that_was_meant() {
        for (source, expected) in [
            ("$local_prat", "local_part"),
            ("${domian}", "domain"),
            ("${if def:sender_adress{a}}", "sender_address"),
            ("${lenght_3:abc}", "length"),
            ("${if match_domian{a}{b}}", "match_domain"),
            ("${lokup{a}lsearch{/x}}", "lookup"),
            ("${lookup{a}lserach{/x}}", "lsearch"),
        ] {
            let template = Template::compile(source);
            let advice = suggestion(&template.syntax_error().unwrap().message);
            assert_eq!(advice, Some(format!("did you mean \"{expected}\"?")), "{source}");
        }
        for source in ["$no_such_thing_at_all", "${if eq{a}"] {
            assert_eq!(
                suggestion(&Template::compile(source).syntax_error().unwrap().message),
                None,
                "{source}"
            );
        }
    }

    #[test]
    fn what_is_refused_because_of_where_it_comes_from() {
        for (source, expected) in [
            ("${lookup{a}lsearch{/etc/$domain}}", Some(("domain", 19))),
            ("x${if eq{a}{b}{${readfile{/home/$local_part/x}}}}", Some(("local_part", 26))),
            ("${lookup{$domain}lsearch{/etc/$domain_data}}", None),
            ("${readfile{/etc/${lc:a}}}", None),
        ] {
            let template = Template::compile(source);
            let refused =
                template.refused_names().first().map(|name| (name.variable.as_str(), name.position));
            assert_eq!(refused, expected, "{source}");
        }
        assert_eq!(Template::compile("/var/mail/$local_part").foreign_variables(), ["local_part"]);
        assert!(Template::compile("/var/mail/$local_part_data").foreign_variables().is_empty());
        assert!(instead_of("local_part").contains("$local_part_data"));
    }

    #[test]
    fn the_variables_to_use_exist() {
        for (name, data) in LOOKED_UP {
            for source in [name, data] {
                assert_eq!(Template::compile(&format!("${source}")).syntax_error(), None, "{source}");
            }
            assert_eq!(Template::compile(&format!("${name}")).foreign_variables(), [*name]);
        }
    }
}
