//! The `redirect` router: aliases, `.forward` files, and what else replaces an address by others. Manual chapter 22.
//!
//! Data that begins with `# Exim filter` or `# Sieve filter` is run as a filter (`filter`).

mod filter;
pub mod list;
pub mod source;
mod srs;

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, rows};
use oxim_lang::expand::Template;
use oxim_mail::address::{AddressSyntax, quote_local_part};
use oxim_mail::smtp::reply::after_codes;

use super::worklist::SyntaxNotice;
use super::{
    Build, Problem, Purpose, RouterDriver, RouterKind, Run, TransportUse, Verdict, error_code, prepare,
};
use crate::address::{Address, AddressKind, Refusal};
use crate::agent::Identity;
use crate::filter::Kind;
use list::{Allowed, Content, Item, SyntaxError};
use source::{Checks, Source};

/// The row.
pub static REDIRECT: RouterKind = RouterKind {
    row: &DriverRow { name: "redirect", options: rows::ROUTER_REDIRECT },
    transport: TransportUse::Forbidden,
    build,
};

struct Redirect {
    source: Source,
    allowed: Allowed,
    filter: filter::FilterOptions,
    check_ancestor: bool,
    forbid_file: bool,
    forbid_pipe: bool,
    forbid_smtp_code: bool,
    hide_child: bool,
    include_directory: Option<String>,
    one_time: bool,
    qualify_domain: Option<Template>,
    qualify_preserve_domain: bool,
    rewrite: bool,
    srs: Option<srs::Srs>,
    pipe_transport: Option<Template>,
    file_transport: Option<Template>,
    directory_transport: Option<Template>,
    syntax_errors_to: Option<Template>,
    syntax_errors_text: Option<Template>,
}

fn build(build: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    let options = &build.instance.options;
    let set_or = |name: &str| options.is_set(name).then(|| options.bool(name));
    let source = match (options.template("data"), options.template("file")) {
        (Some(data), None) => Source::Data(data),
        (None, Some(file)) => Source::File(
            file,
            Checks {
                modemask: options.octal("modemask"),
                owners: options.ids("owners"),
                groups: options.ids("owngroups"),
                check_owner: set_or("check_owner"),
                check_group: set_or("check_group"),
                ignore_eacces: options.bool("ignore_eacces"),
                ignore_enotdir: options.bool("ignore_enotdir"),
            },
        ),
        (Some(_), Some(_)) => return Err(build.error("only one of \"file\" or \"data\" must be specified")),
        (None, None) => return Err(build.error("one of \"file\" or \"data\" must be specified")),
    };
    let one_time = options.bool("one_time");
    let generic = build.generic;
    if one_time && generic.changes_headers() {
        return Err(build.error("\"headers_add\" and \"headers_remove\" are not permitted with \"one_time\""));
    }
    if one_time && options.is_set("unseen") {
        return Err(build.error("\"unseen\" may not be used with \"one_time\""));
    }
    if options.is_set("qualify_domain") && options.bool("qualify_preserve_domain") {
        return Err(build.error("only one of \"qualify_domain\" or \"qualify_preserve_domain\" must be set"));
    }
    let allow_filter = options.bool("allow_filter");
    if allow_filter && generic.user.is_none() && !generic.check_local_user {
        return Err(build.error("\"user\" or \"check_local_user\" must be set with \"allow_filter\""));
    }
    Ok(Box::new(Redirect {
        source,
        allowed: Allowed {
            defer: options.bool("allow_defer"),
            fail: options.bool("allow_fail"),
            blackhole: !options.bool("forbid_blackhole"),
            include: !options.bool("forbid_include"),
            skip_syntax_errors: options.bool("skip_syntax_errors"),
        },
        filter: filter::FilterOptions::read(options, one_time),
        check_ancestor: options.bool("check_ancestor"),
        forbid_file: one_time || options.bool("forbid_file"),
        forbid_pipe: one_time || options.bool("forbid_pipe"),
        forbid_smtp_code: options.bool("forbid_smtp_code"),
        hide_child: options.bool("hide_child_in_errmsg"),
        include_directory: options.string("include_directory").map(str::to_owned),
        one_time,
        qualify_domain: options.template("qualify_domain"),
        qualify_preserve_domain: options.bool("qualify_preserve_domain"),
        rewrite: options.bool("rewrite"),
        srs: srs::Srs::read(options),
        pipe_transport: options.template("pipe_transport"),
        file_transport: options.template("file_transport"),
        directory_transport: options.template("directory_transport"),
        syntax_errors_to: options.template("syntax_errors_to"),
        syntax_errors_text: options.template("syntax_errors_text"),
    }))
}

impl RouterDriver for Redirect {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        self.try_route(run, address).unwrap_or_else(Verdict::Defer)
    }
}

impl Redirect {
    fn try_route(&self, run: &mut Run<'_>, address: &mut Address) -> Result<Verdict, Problem> {
        // What waits here is not this router's yet: its sender is told, as by Exim.
        let errors_to = address.propagated.errors_to.clone();
        prepare::propagate(run, address)?;
        address.run_as = prepare::run_as(run)?;
        if let Some(srs) = &self.srs
            && let Some(verdict) = srs.apply(run, address)?
        {
            return Ok(verdict);
        }
        let user = identity(run, address);
        let Some(data) = source::read(&self.source, run, user.as_ref())? else {
            return Ok(Verdict::Decline(None));
        };
        if let Some(kind) = Kind::of(data.as_bytes()) {
            return self.filter(run, address, kind, data.as_bytes());
        }
        let parsed = {
            let smtp_utf8 = run.context.message.smtputf8;
            let settings = AddressSyntax { smtp_utf8, ..run.delivery.settings.syntax };
            let directory = self.include_directory.as_deref();
            let mut include = |name: &str| {
                if data.is_foreign() {
                    return Err(format!("Tainted name '{name}' for included file not permitted"));
                }
                source::include(run, name, directory, user.as_ref())
            };
            list::read(data.as_bytes(), self.allowed, &settings, &mut include)
        };
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(text) => {
                address.propagated.errors_to = errors_to;
                let text = format!("error in redirect {}: {text}", self.source.word());
                return Err(Problem::new(error_code::BAD_REDIRECT, text));
            }
        };
        let has_others = !matches!(&parsed.content, Content::Items(items) if items.is_empty());
        self.report(run, address, &parsed.errors, has_others);
        match parsed.content {
            Content::Blackhole => Ok(Verdict::Discard),
            Content::Fail(text) => Ok(Verdict::Fail(self.told(text))),
            Content::Defer(text) => {
                address.propagated.errors_to = errors_to;
                Ok(Verdict::Defer(self.told(text)))
            }
            Content::Items(items) if items.is_empty() => {
                let skipped = !parsed.errors.is_empty();
                Ok(Verdict::Decline(skipped.then(|| "syntax error in redirection data".into())))
            }
            Content::Items(items) => self.children(run, address, items, !data.is_foreign()),
        }
    }

    fn told(&self, mut text: String) -> Problem {
        if self.forbid_smtp_code {
            text = String::from_utf8_lossy(after_codes(text.as_bytes())).into_owned();
        }
        Problem { is_for_client: true, ..Problem::new(error_code::UNKNOWN, text) }
    }

    /// Logs malformed items that were left out, and has somebody told.
    fn report(&self, run: &mut Run<'_>, address: &Address, errors: &[SyntaxError], has_others: bool) {
        if errors.is_empty() {
            return;
        }
        for error in errors {
            let item = if error.item.is_empty() { String::new() } else { format!(" in \"{}\"", error.item) };
            run.log(&format!("{} router: skipped error: {}{item}", run.router.name, error.message));
        }
        let Some(to) = &self.syntax_errors_to else { return };
        if run.purpose != Purpose::Deliver {
            return;
        }
        let expand = |run: &mut Run<'_>, template: &Template| {
            let text = template.expand(run.context);
            text.map(Text::into_bytes).map_err(|error| {
                let source = String::from_utf8_lossy(template.source_bytes()).into_owned();
                run.log(&format!("{} router failed to expand {source}: {error}", run.router.name));
            })
        };
        let Ok(to) = expand(run, to) else { return };
        let text = self.syntax_errors_text.as_ref().and_then(|t| expand(run, t).ok());
        run.notices.push(SyntaxNotice {
            to,
            text,
            router: run.router.name.clone(),
            address: address.address.clone(),
            errors: errors.to_vec(),
            has_others,
        });
    }

    fn children(
        &self,
        run: &mut Run<'_>,
        address: &mut Address,
        items: Vec<Item>,
        are_ours: bool,
    ) -> Result<Verdict, Problem> {
        let mut qualify_domain = None;
        let parent = prepare::parent(run, address);
        let mut children = Vec::with_capacity(items.len());
        for item in items {
            let child = match item {
                Item::Address { address: text, is_unqualified, keeps_domain } => {
                    let mut is_ours = are_ours;
                    let full = if !is_unqualified {
                        text
                    } else if keeps_domain || self.qualify_preserve_domain {
                        is_ours &= parent.is_ours;
                        join(&text, &parent.domain)
                    } else {
                        if qualify_domain.is_none() {
                            match self.domain_for_unqualified(run) {
                                Some(domain) => qualify_domain = Some(domain),
                                None => return Ok(Verdict::Decline(None)),
                            }
                        }
                        join(&text, qualify_domain.as_deref().unwrap_or_default())
                    };
                    self.mail_child(run, &parent, full, is_ours)
                }
                Item::Pipe(text) => self.special_item(run, &parent, AddressKind::Pipe, text, are_ours),
                Item::File(text) if text.ends_with(b"/") => {
                    self.special_item(run, &parent, AddressKind::Directory, text, are_ours)
                }
                Item::File(text) => self.special_item(run, &parent, AddressKind::File, text, are_ours),
            };
            children.push(child);
        }
        Ok(Verdict::Redirect(children))
    }

    /// `None`: the expansion of `qualify_domain` failed, and the router declines.
    fn domain_for_unqualified(&self, run: &mut Run<'_>) -> Option<Vec<u8>> {
        match &self.qualify_domain {
            Some(template) => template.expand(run.context).ok().map(Text::into_bytes),
            None => Some(run.delivery.settings.qualify_recipient.clone()),
        }
    }

    fn mail_child(&self, run: &mut Run<'_>, parent: &Arc<Address>, text: Vec<u8>, is_ours: bool) -> Address {
        let key = crate::address::unique_form(&text);
        // A user who names an alias of his own means his mailbox.
        let (text, is_ours) = if self.check_ancestor
            && parent.ancestors().any(|a| a.address_key().eq_ignore_ascii_case(&key))
        {
            (parent.address.clone(), parent.is_ours)
        } else {
            (text, is_ours)
        };
        let mut child = Address::child(parent, text);
        child.is_ours = is_ours;
        child.is_hidden_in_bounces |= self.hide_child;
        child.is_one_time |= self.one_time;
        child.skips_rewriting = !self.rewrite;
        child.start = run.router.generic.redirect_router;
        child
    }

    /// A pipe, file or directory of a list. It is tainted unless the list is ours.
    fn special_item(
        &self,
        run: &mut Run<'_>,
        parent: &Arc<Address>,
        kind: AddressKind,
        text: Vec<u8>,
        is_ours: bool,
    ) -> Address {
        Address { is_tainted: !is_ours, ..self.special(run, parent, kind, text) }
    }

    fn special(&self, run: &mut Run<'_>, parent: &Arc<Address>, kind: AddressKind, text: Vec<u8>) -> Address {
        let mut child = Address::special_child(parent, kind, text);
        child.is_hidden_in_bounces |= self.hide_child;
        let (option, template, forbidden) = match kind {
            AddressKind::Pipe => ("pipe_transport", &self.pipe_transport, self.forbid_pipe),
            AddressKind::Directory => ("directory_transport", &self.directory_transport, self.forbid_file),
            AddressKind::Reply => ("reply_transport", &self.filter.reply_transport, self.filter.forbid_reply),
            AddressKind::File | AddressKind::Mail => {
                ("file_transport", &self.file_transport, self.forbid_file)
            }
        };
        let shown =
            Text::tainted(child.address.get(usize::from(kind == AddressKind::Pipe)..).unwrap_or_default());
        match kind {
            AddressKind::Pipe => run.context.delivery.address_pipe = Some(shown),
            AddressKind::File | AddressKind::Directory | AddressKind::Reply | AddressKind::Mail => {
                run.context.delivery.address_file = Some(shown);
            }
        }
        let found = match template {
            None => Err(format!("{option} unset in {} router", run.router.name)),
            Some(template) => {
                prepare::find_transport(run, template).map_err(|problem| problem.text().to_owned())
            }
        };
        run.context.delivery.address_pipe = None;
        run.context.delivery.address_file = None;
        child.transport = found.as_ref().ok().copied();
        child.refusal = match (forbidden, found.err()) {
            (true, setup) => Some(Refusal::Forbidden { setup }),
            (false, Some(text)) => Some(Refusal::Setup(text)),
            (false, None) => None,
        };
        child
    }
}

/// As whom files are read: the user of the router, if it has one.
fn identity(run: &Run<'_>, address: &Address) -> Option<Identity> {
    let (uid, gid) = (address.run_as.uid?, address.run_as.gid?);
    let login = run.local_user.as_ref().filter(|_| address.run_as.initgroups).map(|user| user.name.clone());
    Some(Identity { uid, gid, groups_of: login })
}

/// A local part, quoted if it has to be, with a domain. The local part stands as it was written in the list.
pub(super) fn join(local_part: &[u8], domain: &[u8]) -> Vec<u8> {
    let mut out = if local_part.contains(&b'@') && !local_part.contains(&b'"') {
        quote_local_part(local_part)
    } else {
        local_part.to_vec()
    };
    out.push(b'@');
    out.extend_from_slice(domain);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unqualified_names_get_a_domain() {
        assert_eq!(join(b"bob", b"test.ex"), b"bob@test.ex");
        assert_eq!(join(b"\"two words\"", b"test.ex"), b"\"two words\"@test.ex");
    }
}
