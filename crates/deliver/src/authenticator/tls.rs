//! The `tls` authenticator: the client's certificate, and nothing that it says (manual chapter 42).
//!
//! It is no mechanism of AUTH and never offered. Right after the handshake its parameters are expanded, and `server_condition`
//! decides; without a condition, a certificate that has been verified is enough. Failure modes: a parameter that is made to fail, or
//! a condition that is false, leaves the client unauthenticated; what cannot be found out is logged besides.

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};

use super::{AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire, set_variables};

/// The row.
pub static TLS: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "tls", options: rows::AUTH_TLS }, build };

struct Tls {
    parameters: [Option<Template>; 3],
    has_condition: bool,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    Ok(Box::new(Tls {
        parameters: ["server_param1", "server_param2", "server_param3"].map(|name| options.template(name)),
        has_condition: options.is_set("server_condition"),
    }))
}

impl Driver for Tls {
    fn is_server(&self) -> bool {
        self.has_condition || self.parameters.iter().any(Option::is_some)
    }

    fn is_client(&self) -> bool {
        false
    }

    fn judges_tls(&self) -> bool {
        true
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, _: Option<&[u8]>) -> Finding {
        for template in &self.parameters {
            set_variables(context, &state.values);
            match template.as_ref().map(|template| template.expand(context)).transpose() {
                Ok(value) => state.values.push(value.unwrap_or_default()),
                Err(ExpandError::Forced(_)) => return Finding::Wrong,
                Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => return Finding::Later(text),
            }
        }
        while state.values.last().is_some_and(Text::is_empty) {
            state.values.pop();
        }
        if self.has_condition {
            return Finding::ConditionDecides;
        }
        let is_verified = context.connection.tls.as_ref().is_some_and(|tls| tls.verified);
        if is_verified { Finding::Proven } else { Finding::Wrong }
    }

    fn authenticate(&self, _: &str, _: &mut Context, _: &mut dyn Wire) -> ClientOutcome {
        ClientOutcome::NotForThis
    }

    fn is_same_for_all_messages(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::tests::{context, with_driver};
    use super::*;
    use oxim_net::tls::TlsFacts;

    fn driver(parameter: &str, has_condition: bool) -> Box<dyn Driver> {
        Box::new(Tls { parameters: [Some(Template::compile(parameter)), None, None], has_condition })
    }

    fn step(parameter: &str, condition: Option<&str>, verified: bool) -> Step {
        let server = with_driver(driver(parameter, condition.is_some()), condition, Some("$auth1"));
        assert!(!server.is_advertised(&mut context()).unwrap());
        let mut scope = context();
        scope.connection.tls = Some(TlsFacts { verified, ..TlsFacts::default() });
        server.begin().step(&mut scope, None)
    }

    #[test]
    fn condition_or_verification_decides() {
        let id = Some(b"tim".to_vec());
        assert_eq!(step("tim", None, true), Step::Accepted { id: id.clone() });
        assert_eq!(step("tim", None, false), Step::Refused { id: id.clone() });
        let condition = Some("${if eq{$auth1}{tim}}");
        assert_eq!(step("tim", condition, false), Step::Accepted { id });
        assert_eq!(step("tom", condition, true), Step::Refused { id: Some(b"tom".to_vec()) });
        assert!(matches!(step("${if eq{1}{2}{x}fail}", condition, true), Step::Refused { .. }));
        assert!(matches!(step("${nonsense", condition, true), Step::Defer(_)));
    }
}
