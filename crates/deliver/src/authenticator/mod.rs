//! SMTP authentication: both halves of each mechanism in one file (manual chapters 33 to 42).
//!
//! A driver is a row of [`AUTHENTICATORS`]. The server's half is a dialogue that takes decoded client data and answers
//! with a [`Step`]; the client's half talks through a [`Wire`]. Base64, counting, log lines and replies are the caller's.
//!
//! What clients send is never shown: no log line, error or debug text here holds it.

pub mod cram_md5;
pub mod cyrus_sasl;
pub mod dovecot;
pub mod external;
pub mod gsasl;
pub mod plaintext;
pub mod spa;
pub mod tls;

use std::any::Any;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxim_base::{Text, debug};
use oxim_lang::config::{Config, ConfigError, DriverRow, Instance};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::SmtpError;

/// An authenticator driver's row.
pub struct AuthenticatorKind {
    /// Name and private options.
    pub row: DriverRow,
    /// Reads the private options.
    pub build: fn(&Instance) -> Result<Box<dyn Driver>, ConfigError>,
}

/// All authenticator drivers that are built.
pub static AUTHENTICATORS: &[&AuthenticatorKind] = &[
    &cram_md5::CRAM_MD5,
    &cyrus_sasl::CYRUS_SASL,
    &dovecot::DOVECOT,
    &external::EXTERNAL,
    &gsasl::GSASL,
    &plaintext::PLAINTEXT,
    &spa::SPA,
    &tls::TLS,
];

/// What the server says after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client must answer this; not yet encoded.
    Challenge(Vec<u8>),
    /// As a challenge, in words that are sent as they are.
    Say(&'static str),
    /// The client is who it says.
    Accepted {
        /// `server_set_id`.
        id: Option<Vec<u8>>,
    },
    /// It is not.
    Refused {
        /// `server_set_id`: `$authenticated_fail_id`.
        id: Option<Vec<u8>>,
    },
    /// It cannot be found out now; the text is for the log.
    Defer(String),
    /// `server_condition` says something else than yes and no, and that is for the client too.
    Undecided {
        /// What it says.
        text: String,
        /// `server_set_id`.
        id: Option<Vec<u8>>,
    },
    /// What the client sent makes no sense to the mechanism.
    Malformed,
}

/// What a dialogue remembers between steps.
#[derive(Default)]
pub struct DialogueState {
    /// `$auth1`… so far.
    pub values: Vec<Text>,
    /// What was asked last.
    pub challenge: Vec<u8>,
    /// How many steps were made.
    pub steps: usize,
    /// What else the driver needs at the next step.
    pub memory: Option<Box<dyn Any + Send + Sync>>,
}

/// What a mechanism finds, before `server_condition` and `server_set_id`.
pub enum Finding {
    /// More is needed.
    Ask(Vec<u8>),
    /// More is needed, and the words that ask for it are not encoded.
    Say(&'static str),
    /// The secret fits; `server_condition` still has to agree if it is set.
    Proven,
    /// There is no secret of its own: `server_condition` decides, and must be set.
    ConditionDecides,
    /// The secret does not fit.
    Wrong,
    /// Ask again later.
    Later(String),
    /// No sense.
    Malformed,
}

/// What came of a client's attempt.
#[derive(Debug)]
pub enum ClientOutcome {
    /// 2yz.
    Accepted,
    /// 5yz: another authenticator may do better.
    Refused(Reply),
    /// 4yz: this server gets no message now. The text is what the reply answers, without secrets.
    TemporarilyRefused {
        /// `AUTH PLAIN ****`.
        after: String,
        /// The reply.
        reply: Reply,
    },
    /// We gave up in the middle, for this reason.
    Cancelled(String),
    /// The configuration says that this authenticator is not for this server.
    NotForThis,
    /// The configuration is at fault.
    Faulty(String),
    /// The connection broke.
    Broken(SmtpError),
}

/// The connection as the client's half of a mechanism sees it.
pub trait Wire {
    /// Sends a line that nobody may see, and reads the reply. `shown` stands for it in logs.
    ///
    /// # Errors
    /// The connection broke.
    fn exchange(&mut self, line: &[u8], shown: &str) -> Result<Reply, SmtpError>;
}

/// A mechanism with its options.
pub trait Driver: Send + Sync {
    /// Whether server options are set.
    fn is_server(&self) -> bool;

    /// Whether client options are set.
    fn is_client(&self) -> bool;

    /// Whether it judges a TLS session and not what the client says: then it is run right after the handshake, and never offered.
    fn judges_tls(&self) -> bool {
        false
    }

    /// Whether it can work on this connection as server; what cannot is not offered.
    fn is_possible(&self, _: &Context) -> bool {
        true
    }

    /// One step as server. `input` is `None` if the AUTH command brought nothing.
    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding;

    /// The whole dialogue as client.
    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome;

    /// Whether the client's part is the same for every message: then an authenticated connection can be used again.
    fn is_same_for_all_messages(&self) -> bool;
}

/// A configured authenticator.
pub struct Authenticator {
    /// Its name in the configuration.
    pub name: String,
    /// The name of the mechanism, as offered and asked for.
    pub public_name: String,
    /// `server_mail_auth_condition`.
    pub mail_auth_condition: Option<Template>,
    advertise_condition: Option<Template>,
    server_condition: Option<Template>,
    set_id: Option<Template>,
    debug_print: Option<Template>,
    client_condition: Option<Template>,
    client_set_id: Option<Template>,
    driver: Box<dyn Driver>,
}

/// Builds all authenticators of a configuration, in order.
///
/// # Errors
/// Drivers that do not exist or are not built, and faulty options.
pub fn build_all(config: &Config) -> Result<Vec<Arc<Authenticator>>, Vec<ConfigError>> {
    let mut built: Vec<Arc<Authenticator>> = Vec::new();
    let mut errors = Vec::new();
    for instance in &config.authenticators {
        match Authenticator::build(instance) {
            Ok(authenticator) => {
                if authenticator.judges_tls() && built.iter().any(|other| other.judges_tls()) {
                    let text =
                        format!("authenticator {}: there can be only one of driver tls", instance.name);
                    errors.push(ConfigError::at(&instance.location, text));
                }
                let twin = built.iter().find(|other| {
                    other.public_name.eq_ignore_ascii_case(&authenticator.public_name)
                        && ((other.is_client() && authenticator.is_client())
                            || (other.is_server() && authenticator.is_server()))
                });
                if let Some(twin) = twin {
                    let half =
                        if twin.is_client() && authenticator.is_client() { "client" } else { "server" };
                    let text = format!(
                        "two {half} authenticators ({} and {}) have the same public name ({})",
                        twin.name, authenticator.name, authenticator.public_name
                    );
                    errors.push(ConfigError::at(&instance.location, text));
                }
                built.push(Arc::new(authenticator));
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(built) } else { Err(errors) }
}

impl Authenticator {
    /// Builds one from its section.
    ///
    /// # Errors
    /// The driver is unknown or not built, or an option is faulty.
    pub fn build(instance: &Instance) -> Result<Authenticator, ConfigError> {
        let options = &instance.options;
        let kind = AUTHENTICATORS.iter().find(|kind| kind.row.name == instance.driver).ok_or_else(|| {
            let text = format!(
                "authenticator {}: driver \"{}\" is not implemented yet",
                instance.name, instance.driver
            );
            ConfigError::at(&instance.location, text)
        })?;
        Ok(Authenticator {
            name: instance.name.clone(),
            public_name: options.string("public_name").unwrap_or(&instance.name).to_owned(),
            mail_auth_condition: options.template("server_mail_auth_condition"),
            advertise_condition: options.template("server_advertise_condition"),
            server_condition: options.template("server_condition"),
            set_id: options.template("server_set_id"),
            debug_print: options.template("server_debug_print"),
            client_condition: options.template("client_condition"),
            client_set_id: options.template("client_set_id"),
            driver: (kind.build)(instance)?,
        })
    }

    /// Whether it can act as a server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.driver.is_server()
    }

    /// Whether it can act as a client.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.driver.is_client()
    }

    /// Whether it is offered now (`server_advertise_condition`). The error is a text for the log: then it is not offered.
    ///
    /// # Errors
    /// The expansion failed, and neither by wish nor for want of a lookup's answer.
    pub fn is_advertised(&self, context: &mut Context) -> Result<bool, String> {
        if !self.is_server() || self.judges_tls() || !self.driver.is_possible(context) {
            return Ok(false);
        }
        let Some(template) = &self.advertise_condition else { return Ok(true) };
        match template.expand(context) {
            Ok(text) => Ok(is_true_enough(&text)),
            Err(ExpandError::Forced(_) | ExpandError::Defer(_)) => Ok(false),
            Err(ExpandError::Failed(error)) => {
                let source = template.source();
                Err(format!(
                    "failed to expand condition \"{source}\" for {} authenticator: {error}",
                    self.name
                ))
            }
        }
    }

    /// Whether it judges the TLS session, right after the handshake.
    #[must_use]
    pub fn judges_tls(&self) -> bool {
        self.driver.judges_tls()
    }

    /// A dialogue before its first step.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Dialogue {
        Dialogue { authenticator: Arc::clone(self), state: DialogueState::default() }
    }

    /// Whether a client uses it now (`client_condition`).
    ///
    /// # Errors
    /// A text for the log: the expansion failed.
    pub fn is_for_client(&self, context: &mut Context) -> Result<bool, String> {
        let Some(template) = &self.client_condition else { return Ok(true) };
        match template.expand(context) {
            Ok(text) => Ok(is_true_enough(&text)),
            Err(ExpandError::Forced(_)) => Ok(false),
            Err(error) => Err(format!("failed to expand client_condition in {}: {error}", self.name)),
        }
    }

    /// Authenticates to a server. Gives the field `A=` of deliveries besides: the name, and `client_set_id` if it is set.
    pub fn authenticate(&self, context: &mut Context, wire: &mut dyn Wire) -> (ClientOutcome, String) {
        let saved = std::mem::take(&mut context.connection.auth_vars);
        let outcome = self.driver.authenticate(&self.public_name, context, wire);
        let field =
            if matches!(outcome, ClientOutcome::Accepted) { self.log_field(context) } else { String::new() };
        context.connection.auth_vars = saved;
        (outcome, field)
    }

    fn log_field(&self, context: &mut Context) -> String {
        match self.client_set_id.as_ref().and_then(|template| template.expand(context).ok()) {
            Some(id) if !id.is_empty() => format!("{}:{id}", self.name),
            _ => self.name.clone(),
        }
    }

    /// Whether a connection that it authenticated can carry other messages.
    #[must_use]
    pub fn is_same_for_all_messages(&self) -> bool {
        self.driver.is_same_for_all_messages()
    }

    fn id(&self, context: &mut Context) -> Option<Vec<u8>> {
        self.set_id.as_ref().and_then(|template| template.expand(context).ok()).map(Text::into_bytes)
    }

    /// What `server_condition` says.
    fn conclude(&self, context: &mut Context, must_be_set: bool) -> Step {
        let Some(template) = &self.server_condition else {
            let id = self.id(context);
            return if must_be_set { Step::Refused { id } } else { Step::Accepted { id } };
        };
        match template.expand(context) {
            Ok(text) => match text.trimmed().to_string_lossy().to_ascii_lowercase().as_str() {
                "1" | "yes" | "true" => Step::Accepted { id: self.id(context) },
                _ if text.is_empty() => Step::Refused { id: self.id(context) },
                "0" | "no" | "false" => Step::Refused { id: self.id(context) },
                _ => Step::Undecided { text: text.to_string_lossy(), id: self.id(context) },
            },
            Err(ExpandError::Forced(_)) => Step::Refused { id: self.id(context) },
            Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => Step::Defer(text),
        }
    }
}

/// One run of the server's half.
pub struct Dialogue {
    authenticator: Arc<Authenticator>,
    state: DialogueState,
}

impl Dialogue {
    /// Takes what the client sent, decoded; `None` before it has sent anything. May block.
    pub fn step(&mut self, context: &mut Context, input: Option<&[u8]>) -> Step {
        let authenticator = Arc::clone(&self.authenticator);
        let finding = authenticator.driver.serve(&mut self.state, context, input);
        self.state.steps += 1;
        if let Finding::Ask(challenge) = finding {
            self.state.challenge.clone_from(&challenge);
            return Step::Challenge(challenge);
        }
        if let Finding::Say(words) = finding {
            return Step::Say(words);
        }
        set_variables(context, &self.state.values);
        authenticator.print_debug(context);
        match finding {
            Finding::Proven => authenticator.conclude(context, false),
            Finding::ConditionDecides => authenticator.conclude(context, true),
            Finding::Wrong => Step::Refused { id: authenticator.id(context) },
            Finding::Later(text) => Step::Defer(text),
            Finding::Malformed | Finding::Ask(_) | Finding::Say(_) => Step::Malformed,
        }
    }
}

impl Authenticator {
    fn print_debug(&self, context: &mut Context) {
        if let Some(template) = self.debug_print.as_ref().filter(|_| debug::enabled(debug::AUTH)) {
            let text = template.expand(context).map_or_else(
                |error| format!("failed to expand debug_output \"{}\": {error}", template.source()),
                |text| text.to_string_lossy(),
            );
            debug::line(debug::AUTH, || text);
        }
    }
}

/// `$auth1`… and, for old configurations, `$1`….
pub(crate) fn set_variables(context: &mut Context, values: &[Text]) {
    context.connection.auth_vars = values.to_vec();
    context.local.captures = std::iter::once(Text::new()).chain(values.iter().cloned()).collect();
}

/// Whether two secrets are equal; takes the same time wherever they differ.
pub(crate) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

fn is_true_enough(text: &Text) -> bool {
    !matches!(text.trimmed().to_string_lossy().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false")
}

/// The end of a client's dialogue, from the last reply.
pub(crate) fn judge(reply: Reply, after: String) -> ClientOutcome {
    if reply.is_success() {
        ClientOutcome::Accepted
    } else if reply.is_temporary() {
        ClientOutcome::TemporarilyRefused { after, reply }
    } else {
        ClientOutcome::Refused(reply)
    }
}

/// A challenge, decoded. `None` if it is not base64.
pub(crate) fn decode_challenge(reply: &Reply) -> Option<Vec<u8>> {
    let text = reply.lines.first().map(|line| line.trim_ascii()).unwrap_or_default();
    STANDARD.decode(text).ok()
}

/// A line with as many stars as the secret has letters.
pub(crate) fn stars(text: &[u8]) -> String {
    "*".repeat(text.len())
}

pub(crate) fn encode(data: &[u8]) -> Vec<u8> {
    STANDARD.encode(data).into_bytes()
}

/// Random bytes. None: the system has none.
pub(crate) fn random(count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    (got == count).then_some(bytes)
}

/// An option of the client; empty if it is unset. The error is what comes of the attempt.
pub(crate) fn client_value(
    template: Option<&Template>,
    context: &mut Context,
) -> Result<Vec<u8>, ClientOutcome> {
    let Some(template) = template else { return Ok(Vec::new()) };
    template.expand(context).map(Text::into_bytes).map_err(|error| match error {
        ExpandError::Forced(_) => ClientOutcome::NotForThis,
        error @ (ExpandError::Failed(_) | ExpandError::Defer(_)) => {
            ClientOutcome::Faulty(format!("expansion of \"{}\" failed: {error}", template.source()))
        }
    })
}

/// Ends the dialogue from our side.
pub(crate) fn cancel(wire: &mut dyn Wire, reason: String) -> ClientOutcome {
    match wire.exchange(b"*", "*") {
        Ok(_) => ClientOutcome::Cancelled(reason),
        Err(error) => ClientOutcome::Broken(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A server that answers from a list.
    pub(crate) struct Script {
        pub(crate) replies: VecDeque<Reply>,
        pub(crate) seen: Vec<String>,
        pub(crate) shown: Vec<String>,
    }

    impl Script {
        pub(crate) fn new(replies: &[(u16, &str)]) -> Script {
            let replies = replies.iter().map(|(code, text)| Reply::new(*code, text)).collect();
            Script { replies, seen: Vec::new(), shown: Vec::new() }
        }
    }

    impl Wire for Script {
        fn exchange(&mut self, line: &[u8], shown: &str) -> Result<Reply, SmtpError> {
            self.seen.push(String::from_utf8(line.to_vec()).unwrap());
            self.shown.push(shown.to_owned());
            Ok(self.replies.pop_front().unwrap())
        }
    }

    /// The server's half as the other end of a wire.
    pub(crate) struct Halves {
        dialogue: Dialogue,
        context: Context,
        pub(crate) last: Option<Step>,
        pub(crate) shown: Vec<String>,
    }

    impl Halves {
        pub(crate) fn new(server: &Arc<Authenticator>) -> Halves {
            Halves { dialogue: server.begin(), context: context(), last: None, shown: Vec::new() }
        }
    }

    impl Wire for Halves {
        fn exchange(&mut self, line: &[u8], shown: &str) -> Result<Reply, SmtpError> {
            self.shown.push(shown.to_owned());
            if line == b"*" {
                return Ok(Reply::new(501, "cancelled"));
            }
            let is_first = line.starts_with(b"AUTH ");
            let word = line.split(|b| *b == b' ').nth(if is_first { 2 } else { 0 });
            let data =
                word.map(|word| if word == b"=" { Vec::new() } else { STANDARD.decode(word).unwrap() });
            let step = self.dialogue.step(&mut self.context, data.as_deref());
            self.last = Some(step.clone());
            Ok(match step {
                Step::Challenge(text) => Reply::new(334, STANDARD.encode(text)),
                Step::Say(words) => Reply::new(334, words),
                Step::Accepted { .. } => Reply::new(235, "ok"),
                Step::Refused { .. } => Reply::new(535, "no"),
                Step::Defer(_) | Step::Undecided { .. } => Reply::new(435, "later"),
                Step::Malformed => Reply::new(501, "bad"),
            })
        }
    }

    pub(crate) fn context() -> Context {
        Context::default()
    }

    pub(crate) fn with_driver(
        driver: Box<dyn Driver>,
        server_condition: Option<&str>,
        set_id: Option<&str>,
    ) -> Arc<Authenticator> {
        Arc::new(Authenticator {
            name: "test".to_owned(),
            public_name: "TEST".to_owned(),
            mail_auth_condition: None,
            advertise_condition: None,
            server_condition: server_condition.map(Template::compile),
            set_id: set_id.map(Template::compile),
            debug_print: None,
            client_condition: None,
            client_set_id: None,
            driver,
        })
    }

    #[test]
    fn names_of_kinds_are_in_order_and_unique() {
        let names: Vec<&str> = AUTHENTICATORS.iter().map(|kind| kind.row.name).collect();
        assert!(names.is_sorted());
    }
}
