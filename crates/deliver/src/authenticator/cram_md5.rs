//! The `cram_md5` authenticator: a challenge and a keyed digest of it (RFC 2195, manual chapter 35).

use hmac::{Hmac, Mac};
use md5::Md5;
use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};

use super::{
    AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire, cancel, decode_challenge, encode,
    is_equal, judge, set_variables, stars,
};

/// The row.
pub static CRAM_MD5: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "cram_md5", options: rows::AUTH_CRAM_MD5 }, build };

struct CramMd5 {
    server_secret: Option<Template>,
    client_name: Option<Template>,
    client_secret: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    Ok(Box::new(CramMd5 {
        server_secret: options.template("server_secret"),
        client_name: options.template("client_name"),
        client_secret: options.template("client_secret"),
    }))
}

/// HMAC-MD5 of the challenge under the secret, in hexadecimal. Secrets of any length will do.
fn digest(secret: &[u8], challenge: &[u8]) -> Option<String> {
    let mut mac = <Hmac<Md5> as Mac>::new_from_slice(secret).ok()?;
    mac.update(challenge);
    Some(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a digest in hexadecimal is the right one; takes the same time wherever they differ.
pub(super) fn is_right(secret: &[u8], challenge: &[u8], given: &[u8]) -> bool {
    let Some(expected) = digest(secret, challenge) else { return false };
    is_equal(expected.as_bytes(), &given.to_ascii_lowercase())
}

pub(super) fn new_challenge(context: &Context) -> Vec<u8> {
    use std::hash::{BuildHasher, Hasher};
    // Each RandomState has fresh keys: nobody can foresee the number, and it never comes twice.
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let host = context.services.surroundings.get().map(|s| s.primary_hostname.clone()).unwrap_or_default();
    format!("<{number}.{}@{host}>", Stamp::now().seconds).into_bytes()
}

/// User and digest of a client's answer.
pub(super) fn split(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memrchr(b' ', answer)?;
    Some((answer.get(..space)?, answer.get(space.checked_add(1)?..)?))
}

/// The client's dialogue.
pub(super) fn send(public_name: &str, wire: &mut dyn Wire, name: &[u8], secret: &[u8]) -> ClientOutcome {
    let command = format!("AUTH {public_name}");
    let reply = match wire.exchange(command.as_bytes(), &command) {
        Ok(reply) => reply,
        Err(error) => return ClientOutcome::Broken(error),
    };
    if !reply.is_intermediate() {
        return judge(reply, command);
    }
    let Some(challenge) = decode_challenge(&reply) else {
        return cancel(wire, format!("bad challenge received: \"{reply}\""));
    };
    let Some(digest) = digest(secret, &challenge) else { return ClientOutcome::NotForThis };
    let answer = encode(&[name, b" ", digest.as_bytes()].concat());
    let shown = stars(&answer);
    match wire.exchange(&answer, &shown) {
        Ok(reply) => judge(reply, shown),
        Err(error) => ClientOutcome::Broken(error),
    }
}

impl Driver for CramMd5 {
    fn is_server(&self) -> bool {
        self.server_secret.is_some()
    }

    fn is_client(&self) -> bool {
        self.client_secret.is_some()
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        let input = match (state.steps, input) {
            (0, None) => return Finding::Ask(new_challenge(context)),
            // The mechanism begins with the server: nothing may come with the command.
            (0, Some(_)) | (_, None) => return Finding::Malformed,
            (_, Some(input)) => input,
        };
        let (name, given) = split(input).unwrap_or((input, b""));
        state.values = vec![Text::tainted(name)];
        set_variables(context, &state.values);
        let Some(template) = &self.server_secret else { return Finding::Wrong };
        match template.expand(context) {
            Ok(secret) if is_right(secret.as_bytes(), &state.challenge, given) => Finding::Proven,
            Ok(_) | Err(ExpandError::Forced(_)) => Finding::Wrong,
            Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => Finding::Later(text),
        }
    }

    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome {
        let mut expand = |template: &Template| match template.expand(context) {
            Ok(text) => Ok(text.into_bytes()),
            Err(ExpandError::Forced(_)) => Err(ClientOutcome::NotForThis),
            Err(error) => {
                Err(ClientOutcome::Faulty(format!("expansion of \"{}\" failed: {error}", template.source())))
            }
        };
        let Some(secret) = &self.client_secret else { return ClientOutcome::NotForThis };
        let secret = match expand(secret) {
            Ok(secret) => secret,
            Err(outcome) => return outcome,
        };
        let name = match self.client_name.as_ref().map(&mut expand) {
            Some(Ok(name)) => name,
            Some(Err(outcome)) => return outcome,
            None => context
                .services
                .surroundings
                .get()
                .map(|s| s.primary_hostname.clone().into_bytes())
                .unwrap_or_default(),
        };
        send(public_name, wire, &name, &secret)
    }

    fn is_same_for_all_messages(&self) -> bool {
        [&self.client_name, &self.client_secret]
            .into_iter()
            .flatten()
            .all(|template| template.constant().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::tests::{Script, context, with_driver};
    use super::*;

    fn driver() -> Box<dyn Driver> {
        Box::new(CramMd5 {
            server_secret: Some(Template::compile("${if eq{$auth1}{tim}{tanstaaftanstaaf}fail}")),
            client_name: Some(Template::compile("tim")),
            client_secret: Some(Template::compile("tanstaaftanstaaf")),
        })
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 2195, section 2.
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(digest(b"tanstaaftanstaaf", challenge).unwrap(), "b913a602c7eda7a495b4e6e7334d3890");
        let mut script =
            Script::new(&[(334, "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"), (235, "ok")]);
        assert!(matches!(
            driver().authenticate("CRAM-MD5", &mut context(), &mut script),
            ClientOutcome::Accepted
        ));
        assert_eq!(script.seen, ["AUTH CRAM-MD5", "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"]);
        assert!(script.shown.iter().all(|line| !line.contains("dGlt")));
    }

    #[test]
    fn the_server_takes_the_right_digest_only() {
        let authenticator = with_driver(driver(), None, Some("$auth1"));
        for (name, secret, good) in
            [("tim", "tanstaaftanstaaf", true), ("tim", "x", false), ("tom", "tanstaaftanstaaf", false)]
        {
            let mut dialogue = authenticator.begin();
            let Step::Challenge(challenge) = dialogue.step(&mut context(), None) else {
                panic!("no challenge")
            };
            let answer = format!("{name} {}", digest(secret.as_bytes(), &challenge).unwrap());
            let step = dialogue.step(&mut context(), Some(answer.as_bytes()));
            let id = Some(name.as_bytes().to_vec());
            assert_eq!(step, if good { Step::Accepted { id } } else { Step::Refused { id } });
        }
        assert_eq!(authenticator.begin().step(&mut context(), Some(b"early")), Step::Malformed);
    }

    #[test]
    fn challenges_differ() {
        assert_ne!(new_challenge(&context()), new_challenge(&context()));
    }
}
