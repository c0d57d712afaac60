//! International messages: whether the envelope goes out in UTF-8, with SMTPUTF8, or in A-labels (manual section 60.1, RFC 6531).
//!
//! Header and body are never converted. Failure: a server without SMTPUTF8 where no conversion is wanted; an address that has
//! no A-label form.

use std::borrow::Cow;
use std::sync::Arc;

use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_mail::idna;
use oxim_spool::message::Message;

use super::session::Session;
use super::trouble::{About, Trouble};
use super::{Target, Work};
use crate::transport::{DeliveryError, error_code};

/// When envelope addresses are converted: `utf8_downconvert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downconvert {
    /// Never: 0.
    Never,
    /// Always: 1.
    Always,
    /// For servers without SMTPUTF8: -1.
    IfNeeded,
}

impl Downconvert {
    /// What the transport says; if that is nothing, what the message does.
    ///
    /// # Errors
    /// The option cannot be expanded.
    pub fn wanted(
        option: Option<&Template>,
        flag: Option<i8>,
        context: &mut Context,
    ) -> Result<Downconvert, String> {
        let text = match option.map(|template| template.expand(context)).transpose() {
            Ok(text) => text,
            Err(error) if error.is_forced() => None,
            Err(error) => return Err(format!("failed to expand utf8_downconvert: {error}")),
        };
        Ok(match text.as_ref().map_or(b"".as_slice(), |text| text.as_bytes()) {
            [b'1', ..] => Downconvert::Always,
            [b'0', ..] => Downconvert::Never,
            [b'-', b'1', ..] => Downconvert::IfNeeded,
            _ => match flag {
                Some(1..) => Downconvert::Always,
                Some(..0) => Downconvert::IfNeeded,
                Some(0) | None => Downconvert::Never,
            },
        })
    }

    /// What that means for a server; None if it cannot have the message.
    #[must_use]
    pub fn form(self, is_offered: bool) -> Option<Form> {
        match (self, is_offered) {
            (Downconvert::Always, _) | (Downconvert::IfNeeded, false) => Some(Form::ALabels),
            (Downconvert::Never | Downconvert::IfNeeded, true) => Some(Form::Utf8),
            (Downconvert::Never, false) => None,
        }
    }
}

/// How envelope addresses go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are: the message is not an international one.
    Plain,
    /// As they are, and SMTPUTF8 says so.
    Utf8,
    /// In A-labels.
    ALabels,
}

impl Form {
    /// An address as it goes out.
    ///
    /// # Errors
    /// It has no A-label form.
    pub fn of<'a>(self, address: &'a [u8]) -> Result<Cow<'a, [u8]>, idna::IdnaError> {
        match self {
            Form::Plain | Form::Utf8 => Ok(Cow::Borrowed(address)),
            Form::ALabels => idna::address_to_ascii(address),
        }
    }
}

/// Why a server cannot have the message.
const NOT_OFFERED: &str = "utf8 support required but not offered for forwarding";

impl Work<'_> {
    /// How the envelope goes out on this connection.
    pub(super) fn form(&mut self, session: &Session, target: &Target) -> Result<Form, Trouble> {
        if !self.is_international(&self.batch.message) {
            return Ok(Form::Plain);
        }
        let flag = self.batch.message.utf8_downconvert;
        let wanted = Downconvert::wanted(self.smtp.utf8_downconvert.as_ref(), flag, self.context);
        let wanted = wanted.map_err(|text| {
            let error = DeliveryError::new(error_code::UNKNOWN, text);
            Trouble { about: About::Configuration, ..Trouble::quiet(error) }
        })?;
        wanted.form(session.connection.extensions().smtputf8).ok_or_else(|| {
            let mut error = DeliveryError::new(0, NOT_OFFERED);
            error.host = Some(Arc::new(session.used(target)));
            Trouble { about: About::Address, is_final: !self.has_more_hosts, ..Trouble::host(error) }
        })
    }

    /// The message came as one, or a redirection has made it one.
    fn is_international(&self, message: &Message) -> bool {
        message.smtputf8 || self.batch.addresses.iter().any(|a| a.parent.is_some() && !a.address.is_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_wish_and_offer() {
        for (wanted, with, without) in [
            (Downconvert::Never, Some(Form::Utf8), None),
            (Downconvert::Always, Some(Form::ALabels), Some(Form::ALabels)),
            (Downconvert::IfNeeded, Some(Form::Utf8), Some(Form::ALabels)),
        ] {
            assert_eq!((wanted.form(true), wanted.form(false)), (with, without), "{wanted:?}");
        }
    }

    #[test]
    fn only_a_labels_convert() {
        let address = "jörg@müller.ex".as_bytes();
        assert_eq!(&*Form::Utf8.of(address).unwrap(), address);
        assert_eq!(&*Form::ALabels.of(address).unwrap(), b"xn--jrg-sna@xn--mller-kva.ex");
        assert!(Form::ALabels.of(b"a@\xff.ex").is_err());
    }
}
