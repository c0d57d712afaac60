//! `${prvs` and `${prvscheck`: signed return paths (manual section 44.53). The calculation is in `oxim_mailauth::prvs`.

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_mailauth::prvs;

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::{Body, ExpandError};

pub(super) static ROWS: &[&ItemRow] = &[
    &row(
        "prvs",
        "An address signed with a secret, for the return path: address, secret, key number.",
        &[],
        |p| {
            super::strings::fixed(p, "prvs", 2, 3, |_, texts| match texts {
                [address, secret, rest @ ..] => sign(address, secret, rest.first()),
                _ => Ok(Text::new()),
            })
        },
    ),
    &row(
        "prvscheck",
        "Checks a signed address: address, secret, result; without a result it gives the address that was signed.",
        &[("${prvscheck{a@b}{secret}}", "")],
        |p| {
            // Read in two parts, which the complaints show.
            let mut strings = p.open_strings("prvscheck", 1, 1)?;
            strings.extend(p.strings("prvscheck", 1, 2)?);
            Ok(Box::new(Check { strings }))
        },
    ),
];

fn sign(address: &Text, secret: &Text, key: Option<&Text>) -> Result<Text, ExpandError> {
    let failed = |text: &str| Err(ExpandError::Failed(text.to_owned()));
    // What stands in front of the last @ may have others.
    let at = memchr::memrchr(b'@', address.as_bytes());
    if at.is_none_or(|at| at == 0 || at.saturating_add(1) == address.len()) {
        return failed("prvs first argument must be a qualified email address");
    }
    let key = match key.map(Text::as_bytes) {
        None => b'0',
        Some([digit @ b'0'..=b'9']) => *digit,
        Some(_) => return failed("prvs third argument must be a single digit"),
    };
    let signed = prvs::sign(address.as_bytes(), secret.as_bytes(), key, Stamp::now().seconds);
    Ok(address.derive(signed))
}

struct Check {
    strings: Vec<Body>,
}

impl Item for Check {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let [address, rest @ ..] = self.strings.as_slice() else { return Ok(()) };
        let address = address.expand(context)?;
        context.local.prvscheck_result = None;
        // A signed address has one line.
        let line = address.as_bytes().strip_suffix(b"\n").unwrap_or(address.as_bytes());
        let Some(signed) = prvs::read(line).filter(|_| !line.contains(&b'\n')) else {
            // The rest is evaluated all the same, so that what is wrong with it shows.
            return rest.iter().try_for_each(|body| body.expand(context).map(|_| ()));
        };
        context.local.prvscheck_address = Some(address.derive(signed.address.clone()));
        context.local.prvscheck_keynum = Some(address.derive(vec![signed.key]));
        let result = check(context, out, &signed, rest);
        // Only the result stays behind.
        context.local.prvscheck_address = None;
        context.local.prvscheck_keynum = None;
        result
    }
}

fn check(
    context: &mut Context,
    out: &mut Text,
    signed: &prvs::Signed,
    rest: &[Body],
) -> Result<(), ExpandError> {
    let secret = match rest.first() {
        Some(body) => body.expand(context)?,
        None => Text::new(),
    };
    let valid = signed.is_valid(secret.as_bytes(), Stamp::now().seconds);
    context.local.prvscheck_result = valid.then(|| Text::from("1"));
    let result = match rest.get(1) {
        Some(body) => body.expand(context)?,
        None => Text::new(),
    };
    if result.is_empty() {
        out.push(&context.local.prvscheck_address.clone().unwrap_or_default());
    } else {
        out.push(&result);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::context::Context;
    use crate::expand::Template;

    #[test]
    fn what_was_signed_can_be_checked() {
        let mut context = Context::default();
        let mut expand =
            |source: &str| Template::compile(source).expand(&mut context).map(|t| t.to_string_lossy());
        let signed = expand("${prvs{a@b.c}{secret}{3}}").unwrap();
        assert!(signed.starts_with("prvs=3") && signed.ends_with("=a@b.c"));
        let report =
            "{$prvscheck_result-$prvscheck_keynum-$prvscheck_address}}|$prvscheck_result|$prvscheck_keynum";
        assert_eq!(expand(&format!("${{prvscheck{{{signed}}}{{secret}}{report}")).unwrap(), "1-3-a@b.c|1|");
        assert_eq!(expand(&format!("${{prvscheck{{{signed}}}{{other}}{report}")).unwrap(), "-3-a@b.c||");
        assert_eq!(expand(&format!("${{prvscheck{{{signed}}}{{other}}}}")).unwrap(), "a@b.c");
        assert!(expand("${prvs{abc}{secret}}").is_err());
    }
}
