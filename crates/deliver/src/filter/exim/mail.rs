//! `mail` and `vacation`: evaluation. Manual "Exim's interfaces to mail filtering", section 3.14.

use oxim_base::clock;
use oxim_lang::expand::Template;

use super::evaluate::{Evaluation, Halt};
use super::tree::{MailCommand, Prefix};
use crate::filter::{Deed, Reply, printing};

/// The values of one command.
struct Values {
    to: Option<Vec<u8>>,
    cc: Vec<u8>,
    bcc: Vec<u8>,
    from: Vec<u8>,
    reply_to: Vec<u8>,
    subject: Vec<u8>,
    headers: Vec<u8>,
    text: Vec<u8>,
    file: Vec<u8>,
    log: Vec<u8>,
    once: Vec<u8>,
    once_repeat: Vec<u8>,
}

impl Evaluation<'_> {
    /// A value that becomes a header line must not begin another.
    fn header_value(&mut self, template: Option<&Template>) -> Result<Vec<u8>, Halt> {
        let value = self.optional(template)?;
        let mut rest = value.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            if byte == b'\n' && !matches!(rest.peek(), Some(b' ' | b'\t')) {
                let shown = String::from_utf8_lossy(&printing(&value)).into_owned();
                return Err(Halt::error(format!("\\n not followed by space in \"{shown}\" in mail command")));
            }
        }
        Ok(value)
    }

    fn optional(&mut self, template: Option<&Template>) -> Result<Vec<u8>, Halt> {
        match template {
            Some(template) => Ok(self.expand_in(template, "mail")?.into_bytes()),
            None => Ok(Vec::new()),
        }
    }

    fn values(&mut self, mail: &MailCommand) -> Result<Values, Halt> {
        let to = match &mail.to {
            Some(_) => Some(self.header_value(mail.to.as_ref())?),
            None => None,
        };
        Ok(Values {
            to,
            cc: self.header_value(mail.cc.as_ref())?,
            bcc: self.header_value(mail.bcc.as_ref())?,
            from: self.header_value(mail.from.as_ref())?,
            reply_to: self.header_value(mail.reply_to.as_ref())?,
            subject: self.header_value(mail.subject.as_ref())?,
            headers: self.optional(mail.extra_headers.as_ref())?,
            text: self.optional(mail.text.as_ref())?,
            file: self.optional(mail.file.as_ref())?,
            log: self.optional(mail.log.as_ref())?,
            once: self.optional(mail.once.as_ref())?,
            once_repeat: self.optional(mail.once_repeat.as_ref())?,
        })
    }

    pub(super) fn mail(&mut self, prefix: Prefix, mail: &MailCommand) -> Result<(), Halt> {
        let values = self.values(mail)?;
        // A bounce is never answered.
        if self.answers_bounce() {
            if self.rules.is_test {
                let name: &[u8] = if mail.is_vacation { b"vacation" } else { b"mail" };
                self.show_line(&[name, b" command ignored because return_path is empty"]);
            }
            return Ok(());
        }
        if self.rules.is_test {
            self.show_mail(prefix, mail, &values);
            return Ok(());
        }
        let to = match values.to {
            Some(to) => to,
            None => self.expand_in(&Template::compile("$reply_address"), "mail")?.into_bytes(),
        };
        let once_repeat = if values.once_repeat.is_empty() {
            0
        } else {
            let text = String::from_utf8_lossy(&values.once_repeat).into_owned();
            clock::parse_interval(&text).ok_or_else(|| {
                Halt::error(format!("Bad time value for \"once_repeat\" in mail or vacation command: {text}"))
            })?
        };
        self.make(
            Deed::Reply(Box::new(Reply {
                to,
                cc: values.cc,
                bcc: values.bcc,
                from: values.from,
                reply_to: values.reply_to,
                subject: values.subject,
                headers: values.headers,
                text: values.text,
                file: values.file,
                expands_file: mail.expand,
                log: values.log,
                once: values.once,
                once_repeat,
                returns_message: mail.return_message,
            })),
            prefix,
        );
        Ok(())
    }

    fn answers_bounce(&self) -> bool {
        let return_path = self.context.delivery.return_path.as_ref();
        return_path.unwrap_or(&self.context.message.sender).is_empty()
    }

    fn show_mail(&mut self, prefix: Prefix, mail: &MailCommand, values: &Values) {
        let mut out = Vec::new();
        out.extend_from_slice(if prefix.seen == Some(true) { b"Seen mail to: " } else { b"Mail to: " });
        out.extend_from_slice(values.to.as_deref().unwrap_or(b"<default>"));
        if mail.is_vacation {
            out.extend_from_slice(b" (vacation)");
        }
        if prefix.noerror {
            out.extend_from_slice(b" (noerror)");
        }
        out.push(b'\n');
        // What is given is shown, even if it is empty.
        let mut line = |name: &str, given: &Option<Template>, value: &[u8], end: &str| {
            if given.is_some() {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(end.as_bytes());
                out.push(b'\n');
            }
        };
        line("     cc", &mail.cc, &values.cc, "");
        line("    bcc", &mail.bcc, &values.bcc, "");
        line("   from", &mail.from, &values.from, "");
        line("reply_to", &mail.reply_to, &values.reply_to, "");
        line("subject", &mail.subject, &printing(&values.subject), "");
        line("extra_headers", &mail.extra_headers, &printing(&values.headers), "");
        line("   text", &mail.text, &printing(&values.text), "");
        line("   file", &mail.file, &values.file, if mail.expand { " (expanded)" } else { "" });
        line("    log", &mail.log, &values.log, "");
        line("   once", &mail.once, &values.once, "");
        line("once_repeat", &mail.once_repeat, &values.once_repeat, "");
        if mail.return_message {
            out.extend_from_slice(b"Return original message\n");
        }
        self.show(&out);
    }
}
