//! PLAIN (RFC 4616) and LOGIN as mechanisms that send a password: what drivers share that judge it in different ways.

use super::super::{ClientOutcome, DialogueState, Finding, Wire, encode, judge, stars};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::authenticator) enum Mechanism {
    Plain,
    Login,
}

/// What the client has sent.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::authenticator) struct Credentials {
    /// Whom it wants to act as; empty if as itself.
    pub(in crate::authenticator) authorization: Vec<u8>,
    /// Who it is.
    pub(in crate::authenticator) user: Vec<u8>,
    /// Its password.
    pub(in crate::authenticator) password: Vec<u8>,
}

impl Mechanism {
    /// The mechanism of this name.
    pub(in crate::authenticator) fn named(name: &str) -> Option<Mechanism> {
        match name.to_ascii_uppercase().as_str() {
            "PLAIN" => Some(Mechanism::Plain),
            "LOGIN" => Some(Mechanism::Login),
            _ => None,
        }
    }

    /// Takes what the client sends until all is there; the error asks for more, or says that it makes no sense.
    pub(in crate::authenticator) fn gather(
        self,
        state: &mut DialogueState,
        input: Option<&[u8]>,
    ) -> Result<Credentials, Finding> {
        match self {
            Mechanism::Plain => plain(input),
            Mechanism::Login => login(state, input),
        }
    }

    /// Sends them as client.
    pub(in crate::authenticator) fn send(
        self,
        public_name: &str,
        wire: &mut dyn Wire,
        given: &Credentials,
    ) -> ClientOutcome {
        let lines = match self {
            Mechanism::Plain => {
                let message = [given.authorization.as_slice(), &given.user, &given.password].join(&0);
                vec![message]
            }
            Mechanism::Login => vec![given.user.clone(), given.password.clone()],
        };
        let mut first = format!("AUTH {public_name}");
        let mut lines = lines.into_iter().map(|line| encode(&line));
        let mut command = first.clone().into_bytes();
        if self == Mechanism::Plain {
            let line = lines.next().unwrap_or_default();
            command = [command.as_slice(), b" ", &line].concat();
            first = format!("{first} {}", stars(&line));
        }
        let mut shown = first;
        loop {
            let reply = match wire.exchange(&command, &shown) {
                Ok(reply) => reply,
                Err(error) => return ClientOutcome::Broken(error),
            };
            if !reply.is_intermediate() {
                return judge(reply, shown);
            }
            let Some(line) = lines.next() else {
                return super::super::cancel(wire, format!("the server asks for more: \"{reply}\""));
            };
            shown = stars(&line);
            command = line;
        }
    }
}

fn plain(input: Option<&[u8]>) -> Result<Credentials, Finding> {
    let input = input.ok_or_else(|| Finding::Ask(Vec::new()))?;
    let mut parts = input.split(|byte| *byte == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(authorization), Some(user), Some(password), None) if !user.is_empty() => Ok(Credentials {
            authorization: authorization.to_vec(),
            user: user.to_vec(),
            password: password.to_vec(),
        }),
        _ => Err(Finding::Malformed),
    }
}

fn login(state: &mut DialogueState, input: Option<&[u8]>) -> Result<Credentials, Finding> {
    let user = state.memory.take().and_then(|memory| memory.downcast::<Vec<u8>>().ok());
    match (user, input) {
        (None, None) if state.steps == 0 => Err(Finding::Ask(b"Username:".to_vec())),
        (None, Some(user)) if state.steps <= 1 && !user.is_empty() && !user.contains(&0) => {
            state.memory = Some(Box::new(user.to_vec()));
            Err(Finding::Ask(b"Password:".to_vec()))
        }
        (Some(user), Some(password)) => {
            Ok(Credentials { authorization: Vec::new(), user: *user, password: password.to_vec() })
        }
        (_, _) => Err(Finding::Malformed),
    }
}
