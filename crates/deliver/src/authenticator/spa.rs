//! The `spa` authenticator: Microsoft's Secure Password Authentication, also known as NTLM (manual chapter 40).
//!
//! The server takes answers of NTLM version 1 and 2, by the clear password of `server_password`; the client gives a version 2 answer
//! where the server's challenge has what that needs, else version 1. An answer by the LAN Manager hash alone is refused: that hash
//! is as good as the password in the clear.

pub mod ntlm;

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_mail::smtp::reply::Reply;

use super::{
    AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire, cancel, client_value,
    decode_challenge, encode, judge, random, set_variables, stars,
};
use ntlm::{Answer, Challenge, Login};

/// The row.
pub static SPA: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "spa", options: rows::AUTH_SPA }, build };

struct Spa {
    server_password: Option<Template>,
    client_username: Option<Template>,
    client_password: Option<Template>,
    client_domain: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    let spa = Spa {
        server_password: options.template("server_password"),
        client_username: options.template("client_username"),
        client_password: options.template("client_password"),
        client_domain: options.template("client_domain"),
    };
    if spa.client_username.is_some() != spa.client_password.is_some() {
        let text = format!(
            "authenticator {}: one of client_username and client_password cannot be set without the other",
            instance.name
        );
        return Err(ConfigError::at(&instance.location, text));
    }
    Ok(Box::new(spa))
}

fn host_name(context: &Context) -> String {
    context.services.surroundings.get().map(|s| s.primary_hostname.clone()).unwrap_or_default()
}

/// Random bytes, as many as an array has.
fn fresh() -> Option<[u8; 8]> {
    random(8)?.try_into().ok()
}

impl Spa {
    fn challenge(state: &mut DialogueState, context: &Context, input: &[u8]) -> Finding {
        let Some(nonce) = fresh() else { return Finding::Later("no random bytes".to_owned()) };
        let challenge = Challenge::for_client(input, nonce, &host_name(context));
        let message = challenge.write();
        state.memory = Some(Box::new(challenge));
        Finding::Ask(message)
    }

    fn judge(
        &self,
        state: &mut DialogueState,
        context: &mut Context,
        challenge: &Challenge,
        input: &[u8],
    ) -> Finding {
        let Some(answer) = Answer::read(input, challenge) else { return Finding::Wrong };
        state.values = vec![Text::tainted(answer.user.as_bytes())];
        set_variables(context, &state.values);
        let Some(template) = &self.server_password else { return Finding::Wrong };
        match template.expand(context) {
            Ok(password) if answer.is_right(challenge, &password.to_string_lossy()) => Finding::Proven,
            Ok(_) | Err(ExpandError::Forced(_)) => Finding::Wrong,
            Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => Finding::Later(text),
        }
    }

    fn talk(
        &self,
        public_name: &str,
        context: &mut Context,
        wire: &mut dyn Wire,
    ) -> Result<ClientOutcome, ClientOutcome> {
        let mut value = |template: &Option<Template>| {
            client_value(template.as_ref(), context).map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        let login = Login {
            user: value(&self.client_username)?,
            password: value(&self.client_password)?,
            domain: value(&self.client_domain)?,
        };
        let fresh = fresh().ok_or_else(|| ClientOutcome::Faulty("no random bytes".to_owned()))?;
        let mut send = |line: &[u8], shown: &str| wire.exchange(line, shown).map_err(ClientOutcome::Broken);
        let command = format!("AUTH {public_name}");
        let reply = send(command.as_bytes(), &command)?;
        if !reply.is_intermediate() {
            return Ok(judge(reply, command));
        }
        let hello = encode(&ntlm::negotiate());
        let shown = stars(&hello);
        let reply: Reply = send(&hello, &shown)?;
        if !reply.is_intermediate() {
            return Ok(judge(reply, shown));
        }
        let challenge = decode_challenge(&reply).and_then(|message| Challenge::read(&message));
        let Some(challenge) = challenge else {
            return Ok(cancel(wire, format!("bad challenge received: \"{reply}\"")));
        };
        let answer = encode(&challenge.answer(&login, &host_name(context), fresh, Stamp::now().seconds));
        let shown = stars(&answer);
        let reply = wire.exchange(&answer, &shown).map_err(ClientOutcome::Broken)?;
        Ok(judge(reply, shown))
    }
}

impl Driver for Spa {
    fn is_server(&self) -> bool {
        self.server_password.is_some()
    }

    fn is_client(&self) -> bool {
        self.client_username.is_some()
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        let memory = state.memory.take().and_then(|memory| memory.downcast::<Challenge>().ok());
        match (memory, input) {
            // Not base64: the words that clients know.
            (None, None) if state.steps == 0 => Finding::Say("NTLM supported"),
            (None, Some(input)) if state.steps <= 1 => Spa::challenge(state, context, input),
            (Some(challenge), Some(input)) => self.judge(state, context, &challenge, input),
            (_, _) => Finding::Malformed,
        }
    }

    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome {
        match self.talk(public_name, context, wire) {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    fn is_same_for_all_messages(&self) -> bool {
        [&self.client_username, &self.client_password, &self.client_domain]
            .into_iter()
            .flatten()
            .all(|template| template.constant().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Halves, context, with_driver};
    use super::super::{Step, encode};
    use super::*;

    fn driver(password: &str) -> Box<Spa> {
        Box::new(Spa {
            server_password: Some(Template::compile("${if eq{$auth1}{Tim}{secret}fail}")),
            client_username: Some(Template::compile("Tim")),
            client_password: Some(Template::compile(password)),
            client_domain: Some(Template::compile("EX")),
        })
    }

    #[test]
    fn both_halves_agree() {
        let server = with_driver(driver(""), None, Some("$auth1"));
        let mut wire = Halves::new(&server);
        assert!(matches!(
            driver("secret").authenticate("NTLM", &mut context(), &mut wire),
            ClientOutcome::Accepted
        ));
        assert_eq!(wire.last, Some(Step::Accepted { id: Some(b"Tim".to_vec()) }));
        assert!(wire.shown.iter().all(|shown| !shown.contains("TlRM")));
        let mut wire = Halves::new(&server);
        assert!(matches!(
            driver("other").authenticate("NTLM", &mut context(), &mut wire),
            ClientOutcome::Refused(_)
        ));
    }

    #[test]
    fn odd_messages_are_refused() {
        let server = with_driver(driver(""), None, None);
        let mut dialogue = server.begin();
        assert_eq!(dialogue.step(&mut context(), None), Step::Say("NTLM supported"));
        assert!(matches!(dialogue.step(&mut context(), Some(b"anything")), Step::Challenge(_)));
        assert_eq!(dialogue.step(&mut context(), Some(b"anything")), Step::Refused { id: None });
        let mut script = super::super::tests::Script::new(&[(334, ""), (334, "AAAA"), (501, "cancelled")]);
        let outcome = driver("secret").authenticate("NTLM", &mut context(), &mut script);
        assert!(matches!(outcome, ClientOutcome::Cancelled(_)));
        assert_eq!(script.seen[1].as_bytes(), encode(&ntlm::negotiate()));
    }
}
