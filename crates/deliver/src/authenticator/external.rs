//! The `external` authenticator: the client only says who it is, and what is known besides (a certificate) decides (RFC 4422
//! appendix A, manual chapter 41).

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};

use super::{
    AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire, cancel, encode, judge,
    set_variables, stars,
};

/// The row.
pub static EXTERNAL: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "external", options: rows::AUTH_EXTERNAL }, build };

struct External {
    is_server: bool,
    /// `server_param2` and `server_param3`.
    parameters: [Option<Template>; 2],
    client_send: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    Ok(Box::new(External {
        is_server: options.is_set("server_condition"),
        parameters: [options.template("server_param2"), options.template("server_param3")],
        client_send: options.template("client_send"),
    }))
}

impl Driver for External {
    fn is_server(&self) -> bool {
        self.is_server
    }

    fn is_client(&self) -> bool {
        self.client_send.is_some()
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        let Some(input) = input else { return Finding::Ask(Vec::new()) };
        state.values = vec![Text::tainted(input)];
        for template in &self.parameters {
            set_variables(context, &state.values);
            match template.as_ref().map(|template| template.expand(context)).transpose() {
                Ok(value) => state.values.push(value.unwrap_or_default()),
                Err(ExpandError::Forced(_)) => return Finding::Wrong,
                Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => return Finding::Later(text),
            }
        }
        Finding::ConditionDecides
    }

    fn authenticate(&self, public_name: &str, context: &mut Context, wire: &mut dyn Wire) -> ClientOutcome {
        let Some(template) = &self.client_send else { return ClientOutcome::NotForThis };
        let identity = match template.expand(context) {
            Ok(text) => encode(text.as_bytes()),
            Err(ExpandError::Forced(_)) => return ClientOutcome::NotForThis,
            Err(error @ (ExpandError::Failed(_) | ExpandError::Defer(_))) => {
                let fault = format!("expansion of \"{}\" failed: {error}", template.source());
                return ClientOutcome::Faulty(fault);
            }
        };
        // RFC 4954: an empty first answer is one equals sign.
        let identity = if identity.is_empty() { b"=".to_vec() } else { identity };
        let line = [b"AUTH ", public_name.as_bytes(), b" ", &identity].concat();
        let shown = format!("AUTH {public_name} {}", stars(&identity));
        match wire.exchange(&line, &shown) {
            Ok(reply) if reply.is_intermediate() => {
                cancel(wire, format!("the server asks for more than the identity: \"{reply}\""))
            }
            Ok(reply) => judge(reply, shown),
            Err(error) => ClientOutcome::Broken(error),
        }
    }

    fn is_same_for_all_messages(&self) -> bool {
        self.client_send.as_ref().is_none_or(|template| template.constant().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::tests::{Script, context, with_driver};
    use super::*;

    fn driver(parameter: &str, send: &str) -> Box<dyn Driver> {
        let parameters = [Some(Template::compile(parameter)), None];
        Box::new(External { is_server: true, parameters, client_send: Some(Template::compile(send)) })
    }

    #[test]
    fn the_condition_sees_the_identity_and_the_parameters() {
        let server = with_driver(driver("for $auth1", ""), Some("${if eq{$auth2}{for tim}}"), Some("$auth1"));
        let mut dialogue = server.begin();
        assert_eq!(dialogue.step(&mut context(), None), Step::Challenge(Vec::new()));
        let id = |name: &str| Some(name.as_bytes().to_vec());
        assert_eq!(dialogue.step(&mut context(), Some(b"tim")), Step::Accepted { id: id("tim") });
        let server = with_driver(driver("${if eq{$auth1}{tim}{x}fail}", ""), Some("yes"), Some("$auth1"));
        assert_eq!(server.begin().step(&mut context(), Some(b"tom")), Step::Refused { id: id("tom") });
        let server = with_driver(driver("${nonsense", ""), Some("yes"), None);
        assert!(matches!(server.begin().step(&mut context(), Some(b"tim")), Step::Defer(_)));
    }

    #[test]
    fn the_client_says_who_it_is() {
        for (send, line) in [("tim", "AUTH EXTERNAL dGlt"), ("", "AUTH EXTERNAL =")] {
            let mut script = Script::new(&[(235, "ok")]);
            let outcome = driver("", send).authenticate("EXTERNAL", &mut context(), &mut script);
            assert!(matches!(outcome, ClientOutcome::Accepted));
            assert_eq!(script.seen, [line]);
            assert!(!script.shown.iter().any(|shown| shown.contains("dGlt")));
        }
        let mut script = Script::new(&[(334, ""), (501, "cancelled")]);
        let outcome = driver("", "tim").authenticate("EXTERNAL", &mut context(), &mut script);
        assert!(matches!(outcome, ClientOutcome::Cancelled(_)));
    }
}
