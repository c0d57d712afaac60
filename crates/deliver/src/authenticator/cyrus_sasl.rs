//! The `cyrus_sasl` authenticator, without the library: saslauthd is asked over its socket (manual chapter 36).
//!
//! saslauthd judges passwords, so the mechanisms are PLAIN and LOGIN; others need the library and are refused by name. Failure mode:
//! a daemon that cannot be asked: ask again later. Passwords stand in no error text.

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::condition::saslauthd_accepts;
use oxim_lang::expand::{ExpandError, Template};

use super::gsasl::password::{Credentials, Mechanism};
use super::{AuthenticatorKind, ClientOutcome, DialogueState, Driver, Finding, Wire};

/// The row.
pub static CYRUS_SASL: AuthenticatorKind =
    AuthenticatorKind { row: DriverRow { name: "cyrus_sasl", options: rows::AUTH_CYRUS_SASL }, build };

struct CyrusSasl {
    mechanism: Mechanism,
    service: String,
    realm: Option<Template>,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, ConfigError> {
    let options = &instance.options;
    let public_name = options.string("public_name").unwrap_or(&instance.name);
    let mechanism = options.string("server_mech").filter(|text| !text.is_empty()).unwrap_or(public_name);
    let Some(found) = Mechanism::named(mechanism) else {
        let text = format!(
            "authenticator {}: mechanism {mechanism} of cyrus_sasl is not available: it needs the Cyrus SASL library; saslauthd does PLAIN and LOGIN, the gsasl driver does CRAM-MD5, DIGEST-MD5 and SCRAM",
            instance.name
        );
        return Err(ConfigError::at(&instance.location, text));
    };
    Ok(Box::new(CyrusSasl {
        mechanism: found,
        service: options.string("server_service").unwrap_or("smtp").to_owned(),
        realm: options.template("server_realm"),
    }))
}

impl CyrusSasl {
    fn ask(&self, state: &mut DialogueState, context: &mut Context, given: Credentials) -> Finding {
        // Acting as somebody else is for a condition to allow: it sees both names.
        let authorization = if given.authorization.is_empty() { &given.user } else { &given.authorization };
        state.values = vec![Text::tainted(given.user.as_slice()), Text::tainted(authorization.as_slice())];
        super::set_variables(context, &state.values);
        let realm = match self.realm.as_ref().map(|realm| realm.expand(context)).transpose() {
            Ok(realm) => realm.map(Text::into_bytes).unwrap_or_default(),
            Err(ExpandError::Forced(_)) => return Finding::Wrong,
            Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => return Finding::Later(text),
        };
        match saslauthd_accepts(&given.user, &given.password, self.service.as_bytes(), &realm) {
            Ok(true) => Finding::Proven,
            Ok(false) => Finding::Wrong,
            Err(reason) => Finding::Later(format!("saslauthd: {reason}")),
        }
    }
}

impl Driver for CyrusSasl {
    fn is_server(&self) -> bool {
        true
    }

    fn is_client(&self) -> bool {
        false
    }

    fn serve(&self, state: &mut DialogueState, context: &mut Context, input: Option<&[u8]>) -> Finding {
        match self.mechanism.gather(state, input) {
            Ok(given) => self.ask(state, context, given),
            Err(finding) => finding,
        }
    }

    fn authenticate(&self, _: &str, _: &mut Context, _: &mut dyn Wire) -> ClientOutcome {
        ClientOutcome::NotForThis
    }

    fn is_same_for_all_messages(&self) -> bool {
        true
    }
}
