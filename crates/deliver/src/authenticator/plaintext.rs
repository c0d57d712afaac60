//! The `plaintext` authenticator: PLAIN, LOGIN, and whatever else sends strings that a condition judges (manual chapter 34).
//!
//! As a server it gathers strings, which are parted by NUL bytes, until there are as many as prompts, and expands
//! `server_condition`. As a client it sends the strings of `client_send`, where `^` stands for a NUL byte.

use oxim_base::{Text, debug};
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list;

use super::{
    AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire, cancel, decode_challenge, encode,
    judge, stars,
};

/// The row.
pub static PLAINTEXT: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "plaintext", options: rows::AUTH_PLAINTEXT }, build };

/// How many strings are kept: `$auth1` to `$auth3`.
const STRINGS_MAX: usize = 3;

struct Plaintext {
    prompts: Option<Template>,
    is_server: bool,
    client_send: Vec<Template>,
    ignores_bad_base64: bool,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    let send = options
        .string("client_send")
        .map(|text| list::split(text.as_bytes()).map(|item| Template::compile_bytes(&item)).collect());
    Ok(Box::new(Plaintext {
        prompts: options.template("server_prompts"),
        is_server: options.is_set("server_condition") || options.is_set("server_prompts"),
        client_send: send.unwrap_or_default(),
        ignores_bad_base64: options.bool("client_ignore_invalid_base64"),
    }))
}

impl Plaintext {
    fn prompts(&self, context: &mut Context) -> Result<Vec<Vec<u8>>, String> {
        let Some(template) = &self.prompts else { return Ok(Vec::new()) };
        let text =
            template.expand(context).map_err(|error| format!("failed to expand server_prompts: {error}"))?;
        Ok(list::split(text.as_bytes()).map(std::borrow::Cow::into_owned).collect())
    }
}

impl Driver for Plaintext {
    fn is_server(&self) -> bool {
        self.is_server
    }

    fn is_client(&self) -> bool {
        !self.client_send.is_empty()
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        let prompts = match self.prompts(context) {
            Ok(prompts) => prompts,
            Err(text) => return Finding::Later(text),
        };
        if let Some(input) = input {
            let room = STRINGS_MAX.saturating_sub(state.values.len());
            state.values.extend(input.split(|byte| *byte == 0).take(room).map(Text::tainted));
        }
        match prompts.get(state.values.len()) {
            Some(prompt) => Finding::Ask(prompt.clone()),
            None => Finding::ConditionDecides,
        }
    }

    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome {
        let mut last = None;
        for (index, template) in self.client_send.iter().enumerate() {
            let data = match template.expand(context) {
                Ok(text) => with_nuls(text.as_bytes()),
                Err(ExpandError::Forced(_)) if index == 0 => return ClientOutcome::NotForThis,
                Err(ExpandError::Forced(_)) => {
                    let outcome = cancel(wire, String::new());
                    let is_cancelled = matches!(outcome, ClientOutcome::Cancelled(_));
                    return if is_cancelled { ClientOutcome::NotForThis } else { outcome };
                }
                Err(error) => {
                    let fault = format!("expansion of \"{}\" failed: {error}", template.source());
                    if index > 0
                        && let ClientOutcome::Broken(error) = cancel(wire, String::new())
                    {
                        return ClientOutcome::Broken(error);
                    }
                    return ClientOutcome::Faulty(fault);
                }
            };
            let encoded = encode(&data);
            let (line, shown) = match (index, encoded.is_empty()) {
                (0, true) => (format!("AUTH {public_name}").into_bytes(), format!("AUTH {public_name}")),
                (0, false) => {
                    let line = [b"AUTH ", public_name.as_bytes(), b" ", encoded.as_slice()].concat();
                    (line, format!("AUTH {public_name} {}", stars(&encoded)))
                }
                _ => (encoded.clone(), stars(&encoded)),
            };
            let reply = match wire.exchange(&line, &shown) {
                Ok(reply) => reply,
                Err(error) => return ClientOutcome::Broken(error),
            };
            if !reply.is_intermediate() {
                return judge(reply, shown);
            }
            let challenge = decode_challenge(&reply);
            if challenge.is_none() && !self.ignores_bad_base64 {
                return cancel(wire, format!("Invalid base64 string in server response \"{reply}\""));
            }
            debug::line(debug::AUTH, || format!("{public_name}: the server asks for string {}", index + 2));
            if context.connection.auth_vars.len() < STRINGS_MAX {
                context.connection.auth_vars.push(Text::tainted(challenge.unwrap_or_default()));
            }
            last = Some(reply);
        }
        let asked = last.map(|reply| reply.to_string()).unwrap_or_default();
        cancel(
            wire,
            format!(
                "Too few items in client_send in {public_name} authenticator: the server asked \"{asked}\""
            ),
        )
    }

    fn is_same_for_all_messages(&self) -> bool {
        self.client_send.iter().all(|template| template.constant().is_some())
    }
}

/// `^` becomes NUL, `^^` a circumflex.
fn with_nuls(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'^' if bytes.next_if_eq(&b'^').is_some() => out.push(b'^'),
            b'^' => out.push(0),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Script, context, with_driver};
    use super::super::{Step, encode};
    use super::*;

    fn server(prompts: Option<&str>) -> Box<dyn Driver> {
        Box::new(Plaintext {
            prompts: prompts.map(Template::compile),
            is_server: true,
            client_send: Vec::new(),
            ignores_bad_base64: false,
        })
    }

    fn client(send: &str) -> Plaintext {
        let client_send = list::split(send.as_bytes()).map(|item| Template::compile_bytes(&item)).collect();
        Plaintext { prompts: None, is_server: false, client_send, ignores_bad_base64: false }
    }

    #[test]
    fn plain_with_and_without_initial_response() {
        let condition = "${if and{{eq{$auth2}{user}}{eq{$auth3}{secret}}}}";
        let authenticator = with_driver(server(Some(":")), Some(condition), Some("$auth2"));
        let accepted = Step::Accepted { id: Some(b"user".to_vec()) };
        assert_eq!(authenticator.begin().step(&mut context(), Some(b"\0user\0secret")), accepted);
        let mut dialogue = authenticator.begin();
        assert_eq!(dialogue.step(&mut context(), None), Step::Challenge(Vec::new()));
        assert_eq!(dialogue.step(&mut context(), Some(b"\0user\0secret")), accepted);
        let refused = Step::Refused { id: Some(b"user".to_vec()) };
        assert_eq!(authenticator.begin().step(&mut context(), Some(b"\0user\0wrong")), refused);
    }

    #[test]
    fn login_asks_twice() {
        let authenticator = with_driver(
            server(Some("Username:: : Password::")),
            Some("${if eq{$auth2}{secret}{yes}{no}}"),
            Some("$auth1"),
        );
        let mut dialogue = authenticator.begin();
        assert_eq!(dialogue.step(&mut context(), None), Step::Challenge(b"Username:".to_vec()));
        assert_eq!(dialogue.step(&mut context(), Some(b"bob")), Step::Challenge(b"Password:".to_vec()));
        assert_eq!(
            dialogue.step(&mut context(), Some(b"secret")),
            Step::Accepted { id: Some(b"bob".to_vec()) }
        );
    }

    #[test]
    fn what_the_condition_says_decides() {
        for (condition, expected) in [
            (Some("maybe"), Step::Undecided { text: "maybe".to_owned(), id: None }),
            (Some("${if eq{1}{2}{yes}fail}"), Step::Refused { id: None }),
            (Some(" Yes "), Step::Accepted { id: None }),
            (None, Step::Refused { id: None }),
        ] {
            let authenticator = with_driver(server(None), condition, None);
            assert_eq!(authenticator.begin().step(&mut context(), Some(b"x")), expected, "{condition:?}");
        }
    }

    #[test]
    fn the_client_sends_what_it_is_told_and_shows_stars() {
        let mut script = Script::new(&[(235, "ok")]);
        assert!(matches!(
            client("^user^secret").authenticate("PLAIN", &mut context(), &mut script),
            ClientOutcome::Accepted
        ));
        assert_eq!(script.seen, ["AUTH PLAIN AHVzZXIAc2VjcmV0"]);
        assert_eq!(script.shown, ["AUTH PLAIN ****************"]);
        let mut script = Script::new(&[(334, "VXNlcm5hbWU6"), (334, "UGFzc3dvcmQ6"), (535, "no")]);
        let outcome = client(": ${if eq{$auth1}{Username::}{user}fail} : secret").authenticate(
            "LOGIN",
            &mut context(),
            &mut script,
        );
        assert!(matches!(outcome, ClientOutcome::Refused(reply) if reply.code == 535));
        assert_eq!(script.seen, ["AUTH LOGIN", "dXNlcg==", "c2VjcmV0"]);
    }

    #[test]
    fn the_client_gives_up_politely() {
        let mut script = Script::new(&[(334, "!!"), (501, "cancelled")]);
        let outcome = client(": user").authenticate("LOGIN", &mut context(), &mut script);
        assert!(
            matches!(outcome, ClientOutcome::Cancelled(text) if text == "Invalid base64 string in server response \"334 !!\"")
        );
        assert_eq!(script.seen, ["AUTH LOGIN", "*"]);
        let mut script = Script::new(&[]);
        assert!(matches!(
            client("${if eq{a}{b}{x}fail}").authenticate("PLAIN", &mut context(), &mut script),
            ClientOutcome::NotForThis
        ));
        assert!(script.seen.is_empty());
    }

    #[test]
    fn circumflexes() {
        assert_eq!(with_nuls(b"^a^b^^c"), b"\0a\0b^c");
        assert_eq!(encode(&with_nuls(b"^user^secret")), b"AHVzZXIAc2VjcmV0");
    }
}
