//! The mechanisms of the `gsasl` authenticator that are no SCRAM: ANONYMOUS, CRAM-MD5, DIGEST-MD5, EXTERNAL, LOGIN and PLAIN.
//!
//! `$auth1` is who the client is, `$auth2` whom it wants to act as, `$auth3` the realm. PLAIN and LOGIN are judged by
//! `server_password`, compared in constant time; where that is unset by `server_condition`, which then finds the password in
//! `$auth3`. EXTERNAL and ANONYMOUS only give `$auth1`, and need `server_condition`.

use oxim_base::Text;
use oxim_lang::config::Instance;
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};

use super::super::{
    ClientOutcome, DialogueState, Driver, Finding, Wire, cancel, client_value, cram_md5, decode_challenge,
    encode, is_equal, judge, random, set_variables, stars,
};
use super::digest_md5::{ClientResponse, ServerChallenge, hex};
use super::expanded;
use super::password::{Credentials, Mechanism as Password};

/// Which mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Anonymous,
    CramMd5,
    DigestMd5,
    External,
    Password(Password),
}

impl Mechanism {
    pub(super) fn named(name: &str) -> Option<Mechanism> {
        match name.to_ascii_uppercase().as_str() {
            "ANONYMOUS" => Some(Mechanism::Anonymous),
            "CRAM-MD5" => Some(Mechanism::CramMd5),
            "DIGEST-MD5" => Some(Mechanism::DigestMd5),
            "EXTERNAL" => Some(Mechanism::External),
            other => Password::named(other).map(Mechanism::Password),
        }
    }
}

pub(super) struct Simple {
    mechanism: Mechanism,
    has_condition: bool,
    server_password: Option<Template>,
    server_realm: Option<Template>,
    server_hostname: Option<Template>,
    service: String,
    client_username: Option<Template>,
    client_password: Option<Template>,
    client_authz: Option<Template>,
}

/// What the DIGEST-MD5 server remembers.
enum Memory {
    Challenged(ServerChallenge),
    Proved,
}

impl Simple {
    pub(super) fn build(mechanism: Mechanism, instance: &Instance) -> Simple {
        let options = &instance.options;
        Simple {
            mechanism,
            has_condition: options.is_set("server_condition"),
            server_password: options.template("server_password"),
            server_realm: options.template("server_realm"),
            server_hostname: options.template("server_hostname"),
            service: options.string("server_service").unwrap_or("smtp").to_owned(),
            client_username: options.template("client_username"),
            client_password: options.template("client_password"),
            client_authz: options.template("client_authz"),
        }
    }

    /// Names for `$auth1` to `$auth3`, then the password of that user. None: nobody has such a password.
    fn password(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        names: [&[u8]; 2],
        realm: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Finding> {
        let [user, authorization] = names;
        state.values = vec![Text::tainted(user), Text::tainted(authorization), Text::tainted(realm)];
        set_variables(context, &state.values);
        match expanded(self.server_password.as_ref(), context) {
            Ok(password) => Ok(password.filter(|password| !password.is_empty())),
            Err(error) => Err(later(error)),
        }
    }

    fn realm(&self, context: &mut Context) -> Result<Vec<u8>, Finding> {
        expanded(self.server_realm.as_ref(), context).map(Option::unwrap_or_default).map_err(later)
    }

    fn only_name(&self, state: &mut DialogueState, input: Option<&[u8]>) -> Finding {
        let Some(input) = input else { return Finding::Ask(Vec::new()) };
        state.values = vec![Text::tainted(input)];
        Finding::ConditionDecides
    }

    fn judge_password(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        given: &Credentials,
    ) -> Result<Finding, Finding> {
        if self.server_password.is_none() {
            let parts = [&given.user, &given.authorization, &given.password];
            state.values = parts.map(|part| Text::tainted(part.as_slice())).to_vec();
            return Ok(Finding::ConditionDecides);
        }
        let realm = self.realm(context)?;
        let names = [given.user.as_slice(), &given.authorization];
        let right = self.password(state, context, names, realm)?;
        let fits = right.is_some_and(|right| is_equal(&right, &given.password));
        Ok(if fits { Finding::Proven } else { Finding::Wrong })
    }

    fn serve_cram(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        input: Option<&[u8]>,
    ) -> Result<Finding, Finding> {
        let input = match (state.steps, input) {
            (0, None) => return Ok(Finding::Ask(cram_md5::new_challenge(context))),
            (0, Some(_)) | (_, None) => return Err(Finding::Malformed),
            (_, Some(input)) => input,
        };
        let (user, given) = cram_md5::split(input).ok_or(Finding::Wrong)?;
        let realm = self.realm(context)?;
        let password = self.password(state, context, [user, b""], realm)?;
        let is_right =
            password.is_some_and(|password| cram_md5::is_right(&password, &state.challenge, given));
        Ok(if is_right { Finding::Proven } else { Finding::Wrong })
    }

    fn serve_digest(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        input: Option<&[u8]>,
    ) -> Result<Finding, Finding> {
        let memory = state.memory.take().and_then(|memory| memory.downcast::<Memory>().ok());
        match (memory.map(|memory| *memory), input) {
            // RFC 2831 begins with the server; an empty first response changes nothing.
            (None, None | Some(b"")) if state.steps == 0 => {
                let nonce = random(18).ok_or_else(|| Finding::Later("no random bytes".to_owned()))?;
                let challenge = ServerChallenge { realms: vec![self.realm(context)?], nonce: hex(&nonce) };
                let text = challenge.write();
                state.memory = Some(Box::new(Memory::Challenged(challenge)));
                Ok(Finding::Ask(text))
            }
            (Some(Memory::Challenged(challenge)), Some(input)) => {
                self.judge_digest(state, context, &challenge, input)
            }
            (Some(Memory::Proved), Some(b"")) => Ok(Finding::Proven),
            (_, _) => Err(Finding::Malformed),
        }
    }

    fn judge_digest(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        challenge: &ServerChallenge,
        input: &[u8],
    ) -> Result<Finding, Finding> {
        let response = ClientResponse::read(input).ok_or(Finding::Malformed)?;
        let host = expanded(self.server_hostname.as_ref(), context).map_err(later)?.unwrap_or_default();
        let names = [response.user.as_slice(), &response.authorization];
        let password = self.password(state, context, names, response.realm.clone())?;
        let is_for_us = response.answers(challenge) && response.is_for(&self.service, &host);
        let right = password.filter(|_| is_for_us).map(|password| response.proofs(&password));
        let Some((_, server)) = right.filter(|(client, _)| is_equal(client, &response.response)) else {
            return Ok(Finding::Wrong);
        };
        state.memory = Some(Box::new(Memory::Proved));
        Ok(Finding::Ask([b"rspauth=", server.as_slice()].concat()))
    }

    fn client(
        &self,
        public_name: &str,
        context: &mut Context,
        wire: &mut dyn Wire,
    ) -> Result<ClientOutcome, ClientOutcome> {
        let user = client_value(self.client_username.as_ref(), context)?;
        let authorization = client_value(self.client_authz.as_ref(), context)?;
        let password = client_value(self.client_password.as_ref(), context)?;
        let needs_user = self.mechanism != Mechanism::External;
        let needs_password = needs_user && self.mechanism != Mechanism::Anonymous;
        if (needs_user && user.is_empty()) || (needs_password && password.is_empty()) {
            return Err(ClientOutcome::NotForThis);
        }
        let given = Credentials { authorization, user, password };
        match self.mechanism {
            Mechanism::Password(mechanism) => Ok(mechanism.send(public_name, wire, &given)),
            Mechanism::Anonymous => one_line(public_name, wire, &given.user),
            Mechanism::External if given.authorization.is_empty() => one_line(public_name, wire, &given.user),
            Mechanism::External => one_line(public_name, wire, &given.authorization),
            Mechanism::CramMd5 => Ok(cram_md5::send(public_name, wire, &given.user, &given.password)),
            Mechanism::DigestMd5 => self.client_digest(public_name, context, wire, given),
        }
    }

    fn client_digest(
        &self,
        public_name: &str,
        context: &Context,
        wire: &mut dyn Wire,
        given: Credentials,
    ) -> Result<ClientOutcome, ClientOutcome> {
        let command = format!("AUTH {public_name}");
        let reply = wire.exchange(command.as_bytes(), &command).map_err(ClientOutcome::Broken)?;
        if !reply.is_intermediate() {
            return Ok(judge(reply, command));
        }
        let Some(challenge) = decode_challenge(&reply).and_then(|text| ServerChallenge::read(&text)) else {
            return Ok(cancel(wire, format!("bad challenge received: \"{reply}\"")));
        };
        let own = random(18).ok_or_else(|| ClientOutcome::Faulty("no random bytes".to_owned()))?;
        let host = context.delivery.host.clone().unwrap_or_default().into_bytes();
        let mut response = ClientResponse {
            user: given.user,
            authorization: given.authorization,
            realm: challenge.realms.first().cloned().unwrap_or_default(),
            nonce: challenge.nonce,
            own_nonce: hex(&own),
            uri: [self.service.as_bytes(), b"/", host.as_slice()].concat(),
            response: Vec::new(),
        };
        let (client, server) = response.proofs(&given.password);
        response.response = client;
        let line = encode(&response.write());
        let shown = stars(&line);
        let reply = wire.exchange(&line, &shown).map_err(ClientOutcome::Broken)?;
        if !reply.is_intermediate() {
            // Success without the server's proof would be no success: anybody could give it.
            let is_accepted = reply.is_success();
            let unproven = || ClientOutcome::Cancelled("the server did not prove itself".to_owned());
            return Ok(if is_accepted { unproven() } else { judge(reply, shown) });
        }
        let proof = decode_challenge(&reply).unwrap_or_default();
        if !is_equal(&proof, &[b"rspauth=", server.as_slice()].concat()) {
            return Ok(cancel(wire, "the server's proof is wrong".to_owned()));
        }
        let reply = wire.exchange(b"", "").map_err(ClientOutcome::Broken)?;
        Ok(judge(reply, shown))
    }
}

fn later(error: ExpandError) -> Finding {
    match error {
        ExpandError::Forced(_) => Finding::Later("forced failure".to_owned()),
        ExpandError::Failed(text) | ExpandError::Defer(text) => Finding::Later(text),
    }
}

/// A mechanism that is one line.
fn one_line(public_name: &str, wire: &mut dyn Wire, text: &[u8]) -> Result<ClientOutcome, ClientOutcome> {
    // RFC 4954: an empty first answer is one equals sign.
    let line = if text.is_empty() { b"=".to_vec() } else { encode(text) };
    let shown = format!("AUTH {public_name} {}", stars(&line));
    let command = [b"AUTH ", public_name.as_bytes(), b" ", &line].concat();
    let reply = wire.exchange(&command, &shown).map_err(ClientOutcome::Broken)?;
    if reply.is_intermediate() {
        return Ok(cancel(wire, format!("the server asks for more: \"{reply}\"")));
    }
    Ok(judge(reply, shown))
}

impl Driver for Simple {
    fn is_server(&self) -> bool {
        match self.mechanism {
            Mechanism::Anonymous | Mechanism::External => self.has_condition,
            Mechanism::CramMd5 | Mechanism::DigestMd5 => self.server_password.is_some(),
            Mechanism::Password(_) => self.has_condition || self.server_password.is_some(),
        }
    }

    fn is_client(&self) -> bool {
        self.client_username.is_some()
            || (self.mechanism == Mechanism::External && self.client_authz.is_some())
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        let found = match self.mechanism {
            Mechanism::Anonymous | Mechanism::External => Ok(self.only_name(state, input)),
            Mechanism::CramMd5 => self.serve_cram(state, context, input),
            Mechanism::DigestMd5 => self.serve_digest(state, context, input),
            Mechanism::Password(mechanism) => {
                mechanism.gather(state, input).and_then(|given| self.judge_password(state, context, &given))
            }
        };
        match found {
            Ok(finding) | Err(finding) => finding,
        }
    }

    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome {
        match self.client(public_name, context, wire) {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    fn is_same_for_all_messages(&self) -> bool {
        [&self.client_username, &self.client_password, &self.client_authz]
            .into_iter()
            .flatten()
            .all(|template| template.constant().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Step;
    use super::super::super::tests::{Halves, context, with_driver};
    use super::*;

    fn driver(mechanism: &str, server_password: Option<&str>, client_password: &str) -> Box<Simple> {
        Box::new(Simple {
            mechanism: Mechanism::named(mechanism).unwrap(),
            has_condition: server_password.is_none(),
            server_password: server_password.map(Template::compile),
            server_realm: Some(Template::compile("ex.realm")),
            server_hostname: Some(Template::compile("mx.example")),
            service: "smtp".to_owned(),
            client_username: Some(Template::compile("tim")),
            client_password: Some(Template::compile(client_password)),
            client_authz: Some(Template::compile("bob")),
        })
    }

    fn outcome(mechanism: &str, client_password: &str) -> (ClientOutcome, Option<Step>) {
        let password = "${if eq{$auth1}{tim}{pencil}}";
        let server = with_driver(driver(mechanism, Some(password), ""), None, Some("$auth1 $auth2 $auth3"));
        let mut wire = Halves::new(&server);
        let mut scope = context();
        scope.delivery.host = Some(Text::clean("MX.example"));
        let outcome = driver(mechanism, None, client_password).authenticate("X", &mut scope, &mut wire);
        assert!(wire.shown.iter().all(|shown| !shown.contains("dGlt") && !shown.contains("cGVuY2ls")));
        (outcome, wire.last)
    }

    #[test]
    fn both_halves_of_each_mechanism_agree() {
        for (mechanism, id) in [
            ("PLAIN", "tim bob ex.realm"),
            ("LOGIN", "tim  ex.realm"),
            ("CRAM-MD5", "tim  ex.realm"),
            ("DIGEST-MD5", "tim bob ex.realm"),
        ] {
            let (right, step) = outcome(mechanism, "pencil");
            assert!(matches!(right, ClientOutcome::Accepted), "{mechanism}: {right:?}");
            assert_eq!(step, Some(Step::Accepted { id: Some(id.as_bytes().to_vec()) }), "{mechanism}");
            let (wrong, _) = outcome(mechanism, "pen");
            assert!(matches!(wrong, ClientOutcome::Refused(_)), "{mechanism}: {wrong:?}");
        }
    }

    #[test]
    fn names_alone_need_a_condition() {
        for (mechanism, name) in [("EXTERNAL", "bob"), ("ANONYMOUS", "tim")] {
            let condition = format!("${{if eq{{$auth1}}{{{name}}}}}");
            let server = with_driver(driver(mechanism, None, ""), Some(&condition), Some("$auth1"));
            let mut wire = Halves::new(&server);
            let outcome = driver(mechanism, None, "").authenticate("X", &mut context(), &mut wire);
            assert!(matches!(outcome, ClientOutcome::Accepted));
            let refused = server.begin().step(&mut context(), Some(b"other"));
            assert_eq!(refused, Step::Refused { id: Some(b"other".to_vec()) });
            assert!(!driver(mechanism, Some("x"), "").is_server());
        }
    }

    #[test]
    fn a_condition_sees_the_password_only_where_there_is_no_other() {
        let condition = "${if and{{eq{$auth1}{tim}}{eq{$auth3}{pencil}}}}";
        let server = with_driver(driver("PLAIN", None, ""), Some(condition), Some("$auth1"));
        let step = |text: &[u8]| server.begin().step(&mut context(), Some(text));
        assert_eq!(step(b"\0tim\0pencil"), Step::Accepted { id: Some(b"tim".to_vec()) });
        assert_eq!(step(b"\0tim\0pen"), Step::Refused { id: Some(b"tim".to_vec()) });
        assert_eq!(step(b"tim\0pencil"), Step::Malformed);
        assert_eq!(step(b"a\0tim\0pencil\0more"), Step::Malformed);
    }

    #[test]
    fn forced_failure_defers_and_nobody_has_no_password() {
        let server = with_driver(driver("PLAIN", Some("${if eq{a}{b}{x}fail}"), ""), None, None);
        let step = server.begin().step(&mut context(), Some(b"\0tim\0pencil"));
        assert_eq!(step, Step::Defer("forced failure".to_owned()));
        let server = with_driver(driver("PLAIN", Some(""), ""), None, None);
        assert_eq!(server.begin().step(&mut context(), Some(b"\0tim\0")), Step::Refused { id: None });
    }
}
