//! Reads the statements of an ACL, once.
//!
//! The error texts are Exim's; the reader of the configuration puts `error in ACL: ` before them. Manual section 44.17.

use oxim_base::Text;
use oxim_lang::config::{AclSource, Config, ConfigError, Location};
use oxim_lang::expand::Template;

use super::clause::{self, Argument, ClauseRow, Condition, Kind, Modifier};
use super::verb::Verb;
use super::{Phase, control};

/// What the name of an ACL is in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AclName {
    /// A section of the configuration, or a file.
    Named(String),
    /// The text of an option or argument.
    Inline,
}

impl std::fmt::Display for AclName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AclName::Named(name) => write!(f, "ACL \"{name}\""),
            AclName::Inline => f.write_str("inline ACL"),
        }
    }
}

/// A compiled ACL.
#[derive(Debug)]
pub struct Acl {
    pub(crate) name: AclName,
    pub(crate) statements: Vec<Statement>,
    may_block: bool,
    /// The ACLs that it calls by constant names.
    pub(crate) calls: Vec<String>,
}

/// A verb with its conditions and modifiers, in order.
#[derive(Debug)]
pub(crate) struct Statement {
    pub verb: Verb,
    pub location: Option<Location>,
    pub clauses: Vec<Clause>,
}

/// A condition or modifier in a statement.
pub(crate) struct Clause {
    pub row: &'static ClauseRow,
    pub is_negated: bool,
    /// The name as debug output shows it: `set acl_m1`.
    pub label: String,
    /// What stands after the equals sign, without white space around it.
    pub template: Template,
    pub action: Action,
    location: Option<Location>,
}

/// What a clause does.
#[derive(Debug)]
pub(crate) enum Action {
    Test(Box<dyn Condition>),
    Apply(Box<dyn Modifier>),
    Call(Call),
    Delay,
    Message,
    LogMessage,
    LogRejectTarget,
    Endpass,
}

/// `acl = name arguments`: the words are expanded one by one.
#[derive(Debug)]
pub(crate) struct Call {
    pub name: Template,
    pub arguments: Vec<Template>,
}

/// How many arguments an ACL gets at most; further words are dropped, as Exim does.
const ARGUMENTS_MAX: usize = 9;

impl std::fmt::Debug for Clause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let not = if self.is_negated { "!" } else { "" };
        write!(f, "{not}{} = {}", self.label, self.template.source())
    }
}

impl Acl {
    /// Compiles one ACL of the configuration.
    ///
    /// # Errors
    /// Every line that is not understood, with its place.
    pub fn compile(source: &AclSource) -> Result<Acl, Vec<ConfigError>> {
        let mut acl = Acl::empty(AclName::Named(source.name.clone()));
        let mut errors = Vec::new();
        for line in &source.lines {
            if let Err(message) = acl.add_line(&line.text, Some(&line.location)) {
                errors.push(ConfigError::at(&line.location, format!("error in ACL: {message}")));
            }
        }
        if errors.is_empty() { Ok(acl.finished()) } else { Err(errors) }
    }

    /// Compiles an ACL that stands in an option or came out of an expansion.
    ///
    /// # Errors
    /// What is wrong with it, in Exim's words.
    pub fn compile_text(text: &str) -> Result<Acl, String> {
        Acl::compile_lines(text, AclName::Inline)
    }

    /// Compiles the contents of a file.
    ///
    /// # Errors
    /// What is wrong with it, in Exim's words.
    pub(crate) fn compile_file(path: &str, text: &str) -> Result<Acl, String> {
        Acl::compile_lines(text, AclName::Named(path.to_owned()))
    }

    fn compile_lines(text: &str, name: AclName) -> Result<Acl, String> {
        let mut acl = Acl::empty(name);
        for line in logical_lines(text) {
            acl.add_line(&line, None)?;
        }
        Ok(acl.finished())
    }

    fn empty(name: AclName) -> Acl {
        Acl { name, statements: Vec::new(), may_block: true, calls: Vec::new() }
    }

    fn finished(mut self) -> Acl {
        let clauses = self.statements.iter().flat_map(|s| &s.clauses);
        self.calls = clauses.filter_map(Clause::constant_call).collect();
        self
    }

    /// Finds out whether it may block, with the named lists of a configuration. Until then it is taken to.
    #[must_use]
    pub fn with_lists_of(mut self, config: &Config) -> Acl {
        self.may_block = self.statements.iter().flat_map(|s| &s.clauses).any(|c| c.may_block(config));
        self
    }

    /// Whether it must run on a worker thread: something in it may wait for files, DNS, lookups or other hosts. What it
    /// calls by constant names is not counted; [`super::Acls::may_block`] does that.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.may_block
    }

    /// What is illegal in a phase wherever it stands in the ACL: it would fail whenever it is reached.
    #[must_use]
    pub fn illegal_in(&self, phase: Phase) -> Vec<ConfigError> {
        let clauses = self.statements.iter().flat_map(|s| &s.clauses);
        clauses.filter_map(|clause| Some(clause.located(clause.illegality(phase)?))).collect()
    }

    /// What would fail whenever it is reached, in whatever phase. `is_acl` knows the names of all ACLs.
    pub(crate) fn faults(&self, is_acl: &dyn Fn(&str) -> bool) -> Vec<ConfigError> {
        let clauses = self.statements.iter().flat_map(|s| &s.clauses);
        let fault = |clause: &Clause| {
            let call = || clause.constant_call().and_then(|name| missing(&name, is_acl));
            Some(clause.located(clause.fault().or_else(call)?))
        };
        clauses.filter_map(fault).collect()
    }

    fn add_line(&mut self, line: &str, location: Option<&Location>) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let word = word_of(line);
        let mut rest = line;
        if let Some(verb) = Verb::parse(word) {
            self.statements.push(Statement { verb, location: location.cloned(), clauses: Vec::new() });
            rest = line.get(word.len()..).unwrap_or_default().trim_start();
            if rest.is_empty() {
                return Ok(());
            }
        }
        let Some(statement) = self.statements.last_mut() else {
            return Err(format!("unknown ACL verb \"{word}\" in \"{line}\""));
        };
        let clause = parse_clause(statement.verb, rest, line, location)?;
        statement.clauses.push(clause);
        Ok(())
    }
}

/// Why a constant text can be run as no ACL: it is neither the name of one, nor a file, nor ACL text itself.
pub(crate) fn missing(text: &str, is_acl: &dyn Fn(&str) -> bool) -> Option<String> {
    if text.is_empty() || text.starts_with('/') || is_acl(text) {
        return None;
    }
    Acl::compile_text(text).err()
}

/// The letters, digits and underscores at the start.
fn word_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn parse_clause(verb: Verb, text: &str, line: &str, location: Option<&Location>) -> Result<Clause, String> {
    let (is_negated, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let name = word_of(text);
    let row = clause::find(name).ok_or_else(|| format!("unknown ACL condition/modifier in \"{line}\""))?;
    if is_negated && !row.is_condition() {
        return Err(format!("ACL error: negation is not allowed with \"{name}\""));
    }
    let rest = text.get(name.len()..).unwrap_or_default().trim_start();
    if matches!(row.kind, Kind::Endpass) {
        if !verb.is_affirmative() {
            return Err(format!("ACL error: \"{name}\" is not allowed with \"{}\"", verb.name()));
        }
        let template = Template::literal("");
        return Ok(Clause {
            row,
            is_negated,
            label: name.to_owned(),
            template,
            action: Action::Endpass,
            location: location.cloned(),
        });
    }
    let (variable, rest) = if name == "set" { variable_of(rest, text)? } else { ("", rest) };
    let what = if row.is_condition() { "condition" } else { "modifier" };
    let value = rest.strip_prefix('=').ok_or_else(|| format!("\"=\" missing after ACL \"{name}\" {what}"))?;
    let template = Template::compile(value.trim());
    let action = compile_action(row, &Argument { variable, template: &template })?;
    let label = match variable {
        "" => name.to_owned(),
        _ if variable.starts_with("dkim_") => format!("{name} {variable}"),
        _ => format!("{name} acl_{variable}"),
    };
    Ok(Clause { row, is_negated, label, template, action, location: location.cloned() })
}

/// The name after `set acl_`, and what follows it.
fn variable_of<'a>(rest: &'a str, clause: &str) -> Result<(&'a str, &'a str), String> {
    let bad = |why: &str| format!("invalid variable name after \"set\" in ACL modifier \"{clause}\" ({why})");
    for name in ["dkim_verify_status", "dkim_verify_reason"] {
        if let Some(after) = rest.strip_prefix(name)
            && after.starts_with(|c: char| c.is_ascii_whitespace() || c == '=')
        {
            return Ok((name, after.trim_start()));
        }
    }
    // No name can begin with a dollar sign; it was printed so in the manual. Reading the file has warned of it.
    let rest = rest.strip_prefix('$').filter(|name| name.starts_with("acl_")).unwrap_or(rest);
    if !rest.starts_with("acl_c") && !rest.starts_with("acl_m") {
        return Err(bad("must start \"acl_c\" or \"acl_m\""));
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let mut key = name.get("acl_c".len()..).unwrap_or_default().chars();
    if !key.next().is_some_and(|c| c.is_ascii_digit() || c == '_') {
        return Err(bad("digit or underscore must follow acl_c or acl_m"));
    }
    if let Some(odd) = key.find(|c| !c.is_ascii_alphanumeric() && *c != '_') {
        return Err(format!("invalid character \"{odd}\" in variable name in ACL modifier \"{clause}\""));
    }
    Ok((name.get("acl_".len()..).unwrap_or_default(), after.trim_start()))
}

fn compile_action(row: &'static ClauseRow, argument: &Argument<'_>) -> Result<Action, String> {
    Ok(match row.kind {
        Kind::Condition(compile) => Action::Test(compile(argument)?),
        Kind::Modifier(compile) => Action::Apply(compile(argument)?),
        Kind::Acl => Action::Call(compile_call(argument.source())),
        Kind::Delay => Action::Delay,
        Kind::Message => Action::Message,
        Kind::LogMessage => Action::LogMessage,
        Kind::LogRejectTarget => Action::LogRejectTarget,
        Kind::Endpass => Action::Endpass,
    })
}

/// The words are parted before anything is expanded, also within braces: so does Exim.
fn compile_call(source: &str) -> Call {
    let mut words = source.split_ascii_whitespace().map(Template::compile);
    let name = words.next().unwrap_or_else(|| Template::literal(""));
    Call { name, arguments: words.take(ARGUMENTS_MAX).collect() }
}

impl Clause {
    /// Why it cannot be used in a phase.
    pub(crate) fn illegality(&self, phase: Phase) -> Option<String> {
        if self.row.forbidden & phase.bit() != 0 {
            if self.row.name == "bmi_optin" {
                return Some(format!("cannot set bmi_optin modifier in {} ACL", phase.acl_name()));
            }
            let use_or_test = if self.row.is_condition() { "test" } else { "use" };
            return Some(format!(
                "cannot {use_or_test} {} condition in {} ACL",
                self.row.name,
                phase.acl_name()
            ));
        }
        if self.row.name == "control" {
            let constant = self.template.constant()?;
            return control::illegality(constant, phase);
        }
        None
    }

    fn located(&self, message: String) -> ConfigError {
        match &self.location {
            Some(location) => ConfigError::at(location, message),
            None => ConfigError::new(message),
        }
    }

    /// Why it would fail whenever it is reached, as far as its argument is constant and does not name an ACL.
    fn fault(&self) -> Option<String> {
        match &self.action {
            Action::Test(condition) => condition.fault(),
            Action::Apply(_) if self.row.name == "control" => control::fault(self.template.constant()?),
            Action::Delay => {
                let text = self.template.constant()?.to_string_lossy();
                super::interpreter::delay_seconds(&text).err()
            }
            Action::Apply(_)
            | Action::Call(_)
            | Action::Message
            | Action::LogMessage
            | Action::LogRejectTarget
            | Action::Endpass => None,
        }
    }

    /// The name of the ACL that it calls, if that is constant.
    fn constant_call(&self) -> Option<String> {
        match &self.action {
            Action::Call(call) => call.name.constant().map(Text::to_string_lossy),
            Action::Test(_)
            | Action::Apply(_)
            | Action::Delay
            | Action::Message
            | Action::LogMessage
            | Action::LogRejectTarget
            | Action::Endpass => None,
        }
    }

    fn may_block(&self, config: &Config) -> bool {
        let beyond = match &self.action {
            Action::Test(condition) => condition.may_block(config),
            Action::Call(call) => {
                // An ACL whose name is not known yet may be any.
                let words = || std::iter::once(&call.name).chain(&call.arguments);
                return call.name.constant().is_none() || words().any(Template::may_block);
            }
            Action::Apply(modifier) => modifier.may_block(),
            Action::Delay
            | Action::Message
            | Action::LogMessage
            | Action::LogRejectTarget
            | Action::Endpass => false,
        };
        let own_expansion = !matches!(self.action, Action::Test(_)) || self.row.is_expanded;
        beyond || own_expansion && self.template.may_block()
    }
}

/// Lines as the configuration reader makes them: a backslash at the end continues a line, comment lines are dropped.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continued: Option<String> = None;
    for physical in text.lines() {
        let trimmed = physical.trim_end();
        if trimmed.trim_start().starts_with('#') || continued.is_none() && trimmed.trim().is_empty() {
            continue;
        }
        let part = if continued.is_some() { trimmed.trim_start() } else { trimmed };
        let mut line = continued.take().unwrap_or_default();
        if let Some(head) = part.strip_suffix('\\') {
            line.push_str(head);
            continued = Some(line);
        } else {
            line.push_str(part);
            lines.push(line);
        }
    }
    lines.extend(continued);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Acl::compile_text(text).unwrap_err()
    }

    #[test]
    fn faults_are_named_as_exim_names_them() {
        assert_eq!(refusal("frob"), "unknown ACL verb \"frob\" in \"frob\"");
        assert_eq!(refusal("hosts = *"), "unknown ACL verb \"hosts\" in \"hosts = *\"");
        assert_eq!(refusal("accept frob = 1"), "unknown ACL condition/modifier in \"accept frob = 1\"");
        assert_eq!(refusal("accept\n Hosts = *"), "unknown ACL condition/modifier in \"Hosts = *\"");
        assert_eq!(refusal("accept !message = x"), "ACL error: negation is not allowed with \"message\"");
        assert_eq!(refusal("accept hosts *"), "\"=\" missing after ACL \"hosts\" condition");
        assert_eq!(refusal("warn set acl_m1 3"), "\"=\" missing after ACL \"set\" modifier");
        assert_eq!(refusal("deny endpass"), "ACL error: \"endpass\" is not allowed with \"deny\"");
        assert_eq!(
            refusal("accept set acl_x1 = 3"),
            "invalid variable name after \"set\" in ACL modifier \"set acl_x1 = 3\" \
             (must start \"acl_c\" or \"acl_m\")"
        );
        assert_eq!(
            refusal("accept set acl_mx = 3"),
            "invalid variable name after \"set\" in ACL modifier \"set acl_mx = 3\" \
             (digit or underscore must follow acl_c or acl_m)"
        );
        assert_eq!(
            refusal("accept set acl_m_a-b = 3"),
            "invalid character \"-\" in variable name in ACL modifier \"set acl_m_a-b = 3\""
        );
    }

    #[test]
    fn a_dollar_sign_before_the_name_is_left_out() {
        let acl = Acl::compile_text("warn set $acl_m_a = x").unwrap();
        assert_eq!(format!("{:?}", acl.statements.first().unwrap().clauses), "[set acl_m_a = x]");
        assert!(refusal("warn set $x = 1").starts_with("invalid variable name"));
    }

    #[test]
    fn verbs_start_statements_and_everything_else_belongs_to_the_last() {
        let acl = Acl::compile_text("# no\nwarn ! condition = 1\n set acl_m_a=\\\n  x\n\naccept endpass x")
            .unwrap();
        assert_eq!(acl.statements.len(), 2);
        let clauses = &acl.statements.first().unwrap().clauses;
        assert_eq!(format!("{clauses:?}"), "[!condition = 1, set acl_m_a = x]");
    }

    #[test]
    fn what_may_block_is_known_beforehand() {
        let place = crate::test_support::place(
            "hostlist near = 10.0.0.0/8\nhostlist mixed = +near : lsearch;/etc/hosts\nhostlist named = *.b.example",
        );
        let config = &place.reception.config;
        let blocks = |text: &str| Acl::compile_text(text).unwrap().with_lists_of(config).may_block();
        assert!(Acl::compile_text("accept").unwrap().may_block());
        assert!(!blocks("accept hosts = +near"));
        assert!(blocks("accept hosts = +mixed"));
        assert!(blocks("accept hosts = +named"));
        assert!(blocks("accept hosts = +unknown"));
        assert!(!blocks("deny domains = a.example : *.b\n hosts = 10.0.0.0/8\n message = no $domain"));
        assert!(blocks("deny domains = lsearch;/etc/domains"));
        assert!(blocks("deny dnslists = a.example"));
        assert!(!blocks("accept acl = other"));
        assert!(blocks("accept acl = $acl_m_other"));
        assert!(blocks("accept verify = recipient"));
        assert!(!blocks("accept verify = certificate"));
        assert!(blocks("accept condition = ${lookup{x}lsearch{/etc/x}{1}{0}}"));
        assert!(blocks("accept message = ${readfile{/etc/motd}}"));
    }

    #[test]
    fn what_is_illegal_in_a_phase_is_found_without_running() {
        let acl = Acl::compile_text("warn domains = x\n control = freeze\n control = freeze$acl_m1\naccept")
            .unwrap();
        let texts: Vec<_> = acl.illegal_in(Phase::Connect).into_iter().map(|e| e.message).collect();
        assert_eq!(
            texts,
            [
                "cannot test domains condition in connection ACL",
                "cannot use \"control=freeze\" in connection ACL"
            ]
        );
        assert!(acl.illegal_in(Phase::Rcpt).is_empty());
    }
}
