//! The `gsasl` authenticator, done here without a library (manual chapter 38). SCRAM-SHA-1 and SCRAM-SHA-256, each with `-PLUS`, are in
//! this file, the simpler mechanisms in [`simple`].
//!
//! In SCRAM neither side sends the password, and each proves to the other that it knows it. `-PLUS` binds the proof to the TLS session by
//! `tls-exporter`, so it is offered and used under TLS 1.3 only. Mechanisms that need a server or a library of their own are refused by
//! name, with the reason.

pub mod digest_md5;
pub(super) mod password;
pub mod scram;
mod simple;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_mail::smtp::reply::Reply;

use super::{
    AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire, cancel, client_value,
    decode_challenge, encode, is_equal, judge, random, set_variables, stars,
};
use scram::{Binding, ClientFirst, Digests, Keys, Malformed, ServerFirst};

/// The row.
pub static GSASL: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "gsasl", options: rows::AUTH_GSASL }, build };

/// The name of the one method of channel binding.
const METHOD: &[u8] = b"tls-exporter";
/// Mechanisms of GNU SASL that are refused, and why.
static UNAVAILABLE: &[(&str, &str)] = &[
    ("GS2-KRB5", "it needs a Kerberos library; the dovecot driver can pass it to Dovecot"),
    ("GSSAPI", "it needs a Kerberos library; the dovecot driver can pass it to Dovecot"),
    ("KERBEROS_V5", "it needs a Kerberos library, and is out of use"),
    ("NTLM", "it has a driver of its own, spa"),
    ("OPENID20", "it needs a web server that sends users to their provider"),
    ("SAML20", "it needs a web server that sends users to their provider"),
    ("SECURID", "it needs the maker's server"),
];
/// Random bytes of a nonce and of a salt.
const RANDOM_BYTES: usize = 18;

struct Gsasl {
    digests: Digests,
    is_plus: bool,
    binds_as_server: bool,
    server_password: Option<Template>,
    server_key: Option<Template>,
    server_skey: Option<Template>,
    server_realm: Option<Template>,
    server_iterations: Option<Template>,
    server_salt: Option<Template>,
    client_username: Option<Template>,
    client_password: Option<Template>,
    client_spassword: Option<Template>,
    client_authz: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    let public_name = options.string("public_name").unwrap_or(&instance.name);
    let mechanism = options.string("server_mech").filter(|text| !text.is_empty()).unwrap_or(public_name);
    let refused = |text: String| {
        ConfigError::at(&instance.location, format!("authenticator {}: {text}", instance.name))
    };
    let (digests, is_plus) = match mechanism.to_ascii_uppercase().as_str() {
        "SCRAM-SHA-1" => (Digests::Sha1, false),
        "SCRAM-SHA-1-PLUS" => (Digests::Sha1, true),
        "SCRAM-SHA-256" => (Digests::Sha256, false),
        "SCRAM-SHA-256-PLUS" => (Digests::Sha256, true),
        other => {
            if let Some(simple) = simple::Mechanism::named(other) {
                return Ok(Box::new(simple::Simple::build(simple, instance)));
            }
            let known = UNAVAILABLE.iter().find(|(name, _)| *name == other);
            let why = known.map_or("GNU SASL has no such mechanism", |(_, why)| *why);
            return Err(refused(format!("mechanism {mechanism} of gsasl is not available: {why}")));
        }
    };
    let driver = Gsasl {
        digests,
        is_plus,
        binds_as_server: options.bool("server_channelbinding"),
        server_password: options.template("server_password"),
        server_key: options.template("server_key"),
        server_skey: options.template("server_skey"),
        server_realm: options.template("server_realm"),
        server_iterations: options.template("server_scram_iter"),
        server_salt: options.template("server_scram_salt"),
        client_username: options.template("client_username"),
        client_password: options.template("client_password"),
        client_spassword: options.template("client_spassword"),
        client_authz: options.template("client_authz"),
    };
    if is_plus && driver.is_server() && !driver.binds_as_server {
        return Err(refused(format!("{mechanism} needs server_channelbinding")));
    }
    if is_plus && driver.is_client() && !options.bool("client_channelbinding") {
        return Err(refused(format!("{mechanism} needs client_channelbinding")));
    }
    Ok(Box::new(driver))
}

/// What the server remembers between the client's messages.
enum Memory {
    /// Its challenge is out.
    Challenged { first: Box<ClientFirst>, server_first: ServerFirst, keys: Keys, bound: Vec<u8> },
    /// Its own proof is out: the client has only to say that it has it.
    Proved,
}

/// Expands an option that may be unset.
fn expanded(template: Option<&Template>, context: &mut Context) -> Result<Option<Vec<u8>>, ExpandError> {
    template.map(|template| template.expand(context).map(Text::into_bytes)).transpose()
}

impl Gsasl {
    fn first(&self, state: &mut DialogueState, context: &mut Context, input: &[u8]) -> Finding {
        let Ok(first) = ClientFirst::read(input) else { return Finding::Malformed };
        let bound = match (&first.binding, self.is_plus) {
            (Binding::Named(name), true) if name == METHOD => {
                let Some(bound) = context.connection.tls.as_ref().and_then(|tls| tls.channel_binding) else {
                    return Finding::Wrong;
                };
                bound.to_vec()
            }
            // A client that could bind and was not offered it: somebody between took the offer away.
            (Binding::Unoffered, false) if self.binds_as_server => return Finding::Wrong,
            (Binding::Unoffered | Binding::Unsupported, false) => Vec::new(),
            (_, true) | (Binding::Named(_), false) => return Finding::Wrong,
        };
        match self.challenge(state, context, first, bound) {
            Ok(finding) => finding,
            Err(ExpandError::Forced(_)) => Finding::Later("forced failure".to_owned()),
            Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => Finding::Later(text),
        }
    }

    fn challenge(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        first: ClientFirst,
        bound: Vec<u8>,
    ) -> Result<Finding, ExpandError> {
        let realm = expanded(self.server_realm.as_ref(), context)?.unwrap_or_default();
        state.values = vec![
            Text::tainted(first.user.as_slice()),
            Text::tainted(first.authorization.as_slice()),
            Text::clean(realm),
        ];
        set_variables(context, &state.values);
        let iterations = expanded(self.server_iterations.as_ref(), context)?.unwrap_or_default();
        let iterations =
            std::str::from_utf8(&iterations).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let allowed = scram::ITERATIONS_MIN..=scram::ITERATIONS_MAX;
        let Some(iterations) = iterations.filter(|count| allowed.contains(count)) else {
            return Ok(Finding::Later("server_scram_iter is no number from 4096 to 1000000".to_owned()));
        };
        let Some(nonce) = random(RANDOM_BYTES) else {
            return Ok(Finding::Later("no random bytes".to_owned()));
        };
        let salt = match expanded(self.server_salt.as_ref(), context)? {
            Some(text) if !text.is_empty() => STANDARD.decode(text.trim_ascii()).ok(),
            Some(_) | None => random(RANDOM_BYTES),
        };
        let Some(salt) = salt else {
            return Ok(Finding::Later("server_scram_salt is not base64".to_owned()));
        };
        let nonce = [first.nonce.as_slice(), STANDARD.encode(nonce).as_bytes()].concat();
        let server_first = ServerFirst { nonce, salt, iterations };
        let keys = match self.stored_keys(context)? {
            Some(keys) => keys,
            None => {
                let password = expanded(self.server_password.as_ref(), context)?.unwrap_or_default();
                if password.is_empty() {
                    return Ok(Finding::Wrong);
                }
                let salted = self.digests.salted(&password, &server_first.salt, iterations);
                Keys::of(self.digests, &salted)
            }
        };
        let challenge = server_first.write();
        state.memory =
            Some(Box::new(Memory::Challenged { first: Box::new(first), server_first, keys, bound }));
        Ok(Finding::Ask(challenge))
    }

    /// `server_key` and `server_skey`, if both are of the right length.
    fn stored_keys(&self, context: &mut Context) -> Result<Option<Keys>, ExpandError> {
        let mut key = |template: Option<&Template>| {
            let text = expanded(template, context)?;
            let bytes = text.and_then(|text| STANDARD.decode(text.trim_ascii()).ok());
            Ok(bytes.filter(|bytes| bytes.len() == self.digests.len()))
        };
        let server = key(self.server_key.as_ref())?;
        let stored = key(self.server_skey.as_ref())?;
        Ok(server.zip(stored).map(|(server, stored)| Keys { stored, server }))
    }

    /// The options of the client; Err: what comes of them.
    fn credentials(&self, context: &mut Context) -> Result<(Vec<u8>, Vec<u8>), ClientOutcome> {
        let mut values = [Vec::new(), Vec::new()];
        for (value, template) in values.iter_mut().zip([&self.client_username, &self.client_authz]) {
            *value = client_value(template.as_ref(), context)?;
        }
        let [user, authorization] = values;
        if user.is_empty() { Err(ClientOutcome::NotForThis) } else { Ok((user, authorization)) }
    }

    /// The salted password: `client_spassword` if it is one, else that of `client_password`.
    fn salted(
        &self,
        context: &mut Context,
        user: &[u8],
        server: &ServerFirst,
    ) -> Result<Vec<u8>, ClientOutcome> {
        set_variables(
            context,
            &[
                Text::clean(user),
                Text::clean(server.iterations.to_string()),
                Text::tainted(STANDARD.encode(&server.salt)),
            ],
        );
        let prepared = from_hex(&client_value(self.client_spassword.as_ref(), context)?);
        if let Some(salted) = prepared.filter(|salted| salted.len() == self.digests.len()) {
            return Ok(salted);
        }
        let password = client_value(self.client_password.as_ref(), context)?;
        if password.is_empty() {
            return Err(ClientOutcome::NotForThis);
        }
        Ok(self.digests.salted(&password, &server.salt, server.iterations))
    }

    /// The client's dialogue from its first message on.
    fn talk(
        &self,
        public_name: &str,
        context: &mut Context,
        wire: &mut dyn Wire,
        (user, authorization): (&[u8], &[u8]),
    ) -> Result<ClientOutcome, ClientOutcome> {
        let nonce =
            random(RANDOM_BYTES).ok_or_else(|| ClientOutcome::Faulty("no random bytes".to_owned()))?;
        let nonce = STANDARD.encode(nonce).into_bytes();
        let bound = match context.delivery.tls.as_ref().and_then(|tls| tls.channel_binding) {
            Some(bound) if self.is_plus => bound.to_vec(),
            None if self.is_plus => return Ok(ClientOutcome::NotForThis),
            Some(_) | None => Vec::new(),
        };
        let start = if self.is_plus { [b"p=", METHOD].concat() } else { b"n".to_vec() };
        let authorization = match authorization {
            b"" => Vec::new(),
            name => [b"a=".as_slice(), &scram::encoded_name(name)].concat(),
        };
        let header = [start.as_slice(), b",", &authorization, b","].concat();
        let bare = [b"n=".as_slice(), &scram::encoded_name(user), b",r=", &nonce].concat();
        let encoded = encode(&[header.as_slice(), &bare].concat());
        let shown = format!("AUTH {public_name} {}", stars(&encoded));
        let reply = send(wire, &[b"AUTH ", public_name.as_bytes(), b" ", &encoded].concat(), &shown)?;
        if !reply.is_intermediate() {
            return Ok(judge(reply, shown));
        }
        let server_first = decode_challenge(&reply).unwrap_or_default();
        let server = match ServerFirst::read(&server_first, &nonce) {
            Ok(server) => server,
            Err(Malformed) => return Ok(cancel(wire, format!("bad challenge received: \"{reply}\""))),
        };
        let salted = match self.salted(context, user, &server) {
            Ok(salted) => salted,
            Err(outcome) => {
                let cancelled = cancel(wire, String::new());
                return Err(if matches!(cancelled, ClientOutcome::Broken(_)) { cancelled } else { outcome });
            }
        };
        let (message, proof) =
            scram::prove(self.digests, &salted, &header, &bound, &bare, (&server_first, &server.nonce));
        let encoded = encode(&message);
        let shown = stars(&encoded);
        let reply = send(wire, &encoded, &shown)?;
        if !reply.is_intermediate() {
            // Success without the server's proof would be no success: anybody could give it.
            let is_accepted = reply.is_success();
            let unproven = || ClientOutcome::Cancelled("the server did not prove itself".to_owned());
            return Ok(if is_accepted { unproven() } else { judge(reply, shown) });
        }
        let given = decode_challenge(&reply).unwrap_or_default();
        if !is_equal(&given, &proof) {
            return Ok(cancel(wire, "the server's proof is wrong".to_owned()));
        }
        let reply = send(wire, b"", "")?;
        // For `client_set_id`, whose expansion may keep the salted password.
        let salted: String = salted.iter().map(|byte| format!("{byte:02x}")).collect();
        context.connection.auth_vars.push(Text::clean(salted));
        Ok(judge(reply, shown))
    }
}

fn send(wire: &mut dyn Wire, line: &[u8], shown: &str) -> Result<Reply, ClientOutcome> {
    wire.exchange(line, shown).map_err(ClientOutcome::Broken)
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.trim_ascii().as_chunks::<2>() else { return None };
    pairs
        .iter()
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()))
        .collect()
}

impl Driver for Gsasl {
    fn is_server(&self) -> bool {
        self.server_password.is_some() || (self.server_key.is_some() && self.server_skey.is_some())
    }

    fn is_client(&self) -> bool {
        self.client_username.is_some()
    }

    fn is_possible(&self, context: &Context) -> bool {
        !self.is_plus || context.connection.tls.as_ref().is_some_and(|tls| tls.channel_binding.is_some())
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        let memory = state.memory.take().and_then(|memory| memory.downcast::<Memory>().ok());
        match (memory.map(|memory| *memory), input) {
            (None, None) if state.steps == 0 => Finding::Ask(Vec::new()),
            (None, Some(input)) if state.steps <= 1 => self.first(state, context, input),
            (Some(Memory::Challenged { first, server_first, keys, bound }), Some(input)) => {
                match scram::judge(self.digests, &keys, &first, &server_first, &bound, input) {
                    Ok(Some(proof)) => {
                        state.memory = Some(Box::new(Memory::Proved));
                        Finding::Ask(proof)
                    }
                    Ok(None) => Finding::Wrong,
                    Err(Malformed) => Finding::Malformed,
                }
            }
            (Some(Memory::Proved), Some(b"")) => Finding::Proven,
            (_, _) => Finding::Malformed,
        }
    }

    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome {
        let (user, authorization) = match self.credentials(context) {
            Ok(credentials) => credentials,
            Err(outcome) => return outcome,
        };
        match self.talk(public_name, context, wire, (&user, &authorization)) {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    fn is_same_for_all_messages(&self) -> bool {
        [&self.client_username, &self.client_password, &self.client_spassword, &self.client_authz]
            .into_iter()
            .flatten()
            .all(|template| template.constant().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, with_driver};
    use super::super::{Authenticator, Dialogue, Step};
    use super::*;
    use oxim_net::smtp_client::SmtpError;
    use std::sync::Arc;

    fn driver(digests: Digests, is_plus: bool, client_password: &str) -> Gsasl {
        Gsasl {
            digests,
            is_plus,
            binds_as_server: is_plus,
            server_password: Some(Template::compile("${if eq{$auth1}{tim}{pencil}}")),
            server_key: None,
            server_skey: None,
            server_realm: None,
            server_iterations: Some(Template::compile("4096")),
            server_salt: None,
            client_username: Some(Template::compile("tim")),
            client_password: Some(Template::compile(client_password)),
            client_spassword: None,
            client_authz: Some(Template::compile("a=b")),
        }
    }

    /// The server's half as the other end of a wire.
    struct Loop {
        dialogue: Dialogue,
        context: Context,
        spoiled: bool,
        last: Option<Step>,
    }

    impl Loop {
        fn new(server: &Arc<Authenticator>) -> Loop {
            Loop { dialogue: server.begin(), context: context(), spoiled: false, last: None }
        }
    }

    impl Wire for Loop {
        fn exchange(&mut self, line: &[u8], shown: &str) -> Result<Reply, SmtpError> {
            if line == b"*" {
                return Ok(Reply::new(501, "cancelled"));
            }
            let data = STANDARD.decode(line.rsplit(|b| *b == b' ').next().unwrap()).unwrap();
            assert!(!shown.contains("dGlt"));
            let step = self.dialogue.step(&mut self.context, Some(&data));
            self.last = Some(step.clone());
            Ok(match step {
                Step::Challenge(text) if self.spoiled && text.starts_with(b"v=") => Reply::new(334, "dj1B"),
                Step::Challenge(text) => Reply::new(334, STANDARD.encode(text)),
                Step::Accepted { .. } => Reply::new(235, "ok"),
                Step::Refused { .. } => Reply::new(535, "no"),
                Step::Defer(_) | Step::Undecided { .. } => Reply::new(435, "later"),
                Step::Say(words) => Reply::new(334, words),
                Step::Malformed => Reply::new(501, "bad"),
            })
        }
    }

    #[test]
    fn both_halves_agree() {
        for digests in [Digests::Sha1, Digests::Sha256] {
            let server = with_driver(Box::new(driver(digests, false, "")), None, Some("$auth1 as $auth2"));
            let mut wire = Loop::new(&server);
            let client = driver(digests, false, "pencil");
            assert!(matches!(client.authenticate("X", &mut context(), &mut wire), ClientOutcome::Accepted));
            assert_eq!(wire.last, Some(Step::Accepted { id: Some(b"tim as a=b".to_vec()) }));
            let mut wire = Loop::new(&server);
            let client = driver(digests, false, "pen");
            assert!(matches!(client.authenticate("X", &mut context(), &mut wire), ClientOutcome::Refused(_)));
            let mut wire = Loop::new(&server);
            wire.spoiled = true;
            let client = driver(digests, false, "pencil");
            assert!(matches!(
                client.authenticate("X", &mut context(), &mut wire),
                ClientOutcome::Cancelled(_)
            ));
        }
    }

    #[test]
    fn prepared_passwords_are_used_first() {
        let salt = b"salt";
        let salted = Digests::Sha1.salted(b"pencil", salt, 4096);
        let keys = Keys::of(Digests::Sha1, &salted);
        let mut server = driver(Digests::Sha1, false, "");
        server.server_password = None;
        server.server_key = Some(Template::compile(&STANDARD.encode(&keys.server)));
        server.server_skey = Some(Template::compile(&STANDARD.encode(&keys.stored)));
        server.server_salt = Some(Template::compile(&STANDARD.encode(salt)));
        assert!(server.is_server());
        let server = with_driver(Box::new(server), None, None);
        let mut client = driver(Digests::Sha1, false, "wrong");
        let hex: String = salted.iter().map(|byte| format!("{byte:02x}")).collect();
        client.client_spassword = Some(Template::compile(&format!("${{if eq{{$auth2}}{{4096}}{{{hex}}}}}")));
        let mut wire = Loop::new(&server);
        assert!(matches!(client.authenticate("X", &mut context(), &mut wire), ClientOutcome::Accepted));
    }

    #[test]
    fn binding_is_neither_forgone_nor_feigned() {
        let plus = with_driver(Box::new(driver(Digests::Sha1, true, "")), None, None);
        let mut plain = driver(Digests::Sha1, false, "");
        plain.binds_as_server = true;
        let plain = with_driver(Box::new(plain), None, None);
        for (server, first) in [
            (&plus, "n,,n=tim,r=x"),
            (&plus, "p=tls-unique,,n=tim,r=x"),
            (&plus, "p=tls-exporter,,n=tim,r=x"),
            (&plain, "p=tls-exporter,,n=tim,r=x"),
            (&plain, "y,,n=tim,r=x"),
        ] {
            let step = server.begin().step(&mut context(), Some(first.as_bytes()));
            assert_eq!(step, Step::Refused { id: None }, "{first}");
        }
        let step = plain.begin().step(&mut context(), Some(b"n,,n=nobody,r=x"));
        assert_eq!(step, Step::Refused { id: None });
        assert_eq!(plain.begin().step(&mut context(), Some(b"nonsense")), Step::Malformed);
    }
}
