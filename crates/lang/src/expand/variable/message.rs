//! Variables of the message in hand.

use oxim_base::{Taint, Text};
use oxim_mail::address::split_at_domain;
use oxim_mail::header::HeaderList;
use oxim_mail::rfc2047::{self, Undecodable};

use oxim_spool::message::Body;

use super::{Getter, Scope, Value, VariableRow, row};
use crate::context::Context;
use crate::expand::ExpandError;
use crate::expand::elements::Joined;

use Scope::Message;
use Taint::{Clean, Tainted};

fn count(number: u64) -> Value<'static> {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn id(context: &Context) -> Value<'static> {
    context.message.id.as_ref().map_or(Value::Empty, |id| Value::Made(id.to_string().into_bytes()))
}

pub(super) static ROWS: &[VariableRow] = &[
    VariableRow {
        family: true,
        ..row("acl_m", Message, Clean, "Set by ACLs; kept with the message.", |c, key| {
            c.message.acl_m.get(key.as_bytes()).map_or(Value::Empty, Value::Text)
        })
    },
    row("body_linecount", Message, Clean, "Lines of the body.", |c, _| count(c.message.body_lines)),
    row("body_zerocount", Message, Clean, "NUL bytes in the body.", |c, _| count(c.message.body_zeros)),
    row("headers_added", Message, Tainted, "Header lines that ACLs have added so far.", |c, _| {
        joined(&c.message.headers_added)
    }),
    row("local_scan_data", Message, Clean, "What local_scan() has returned.", |c, _| {
        c.message.local_scan_data.as_deref().map_or(Value::Empty, Value::Bytes)
    }),
    row("max_received_linelength", Message, Clean, "The length of the longest line.", |c, _| {
        count(c.message.max_line)
    }),
    VariableRow {
        may_block: true,
        get: Getter::Compute(|c, _| body_part(c, Part::Start)),
        ..row("message_body", Message, Tainted, "The beginning of the body, newlines as spaces.", |_, _| {
            Value::Empty
        })
    },
    VariableRow {
        may_block: true,
        get: Getter::Compute(|c, _| body_part(c, Part::End)),
        ..row("message_body_end", Message, Tainted, "The end of the body, newlines as spaces.", |_, _| {
            Value::Empty
        })
    },
    row("message_body_size", Message, Clean, "The size of the body in bytes.", |c, _| {
        count(c.message.body.as_ref().map_or(0, Body::len))
    }),
    row("message_exim_id", Message, Clean, "The id that this program gave the message.", |c, _| id(c)),
    row("message_headers", Message, Tainted, "All header lines, decoded.", |c, _| {
        Value::Made(decoded_headers(&c.message.headers))
    }),
    row("message_headers_raw", Message, Tainted, "All header lines as they are.", |c, _| {
        Value::Made(raw_headers(&c.message.headers))
    }),
    row("message_id", Message, Clean, "Old name of `$message_exim_id`.", |c, _| id(c)),
    row("message_linecount", Message, Clean, "Lines of header and body.", |c, _| count(c.message.lines)),
    row("message_size", Message, Clean, "The size in bytes; before DATA what MAIL stated, or -1.", |c, _| {
        Value::Number(c.message.size)
    }),
    row("message_smtputf8", Message, Clean, "`yes` for a message with SMTPUTF8, else `no`.", |c, _| {
        Value::Bytes(if c.message.smtputf8 { b"yes" } else { b"no" })
    }),
    row("originator_gid", Message, Clean, "The gid of the process that sent the message.", |c, _| {
        Value::Number(i64::from(c.message.originator_gid))
    }),
    row("originator_uid", Message, Clean, "The uid of the process that sent the message.", |c, _| {
        Value::Number(i64::from(c.message.originator_uid))
    }),
    row(
        "prdr_requested",
        Message,
        Clean,
        "Whether the client wants an answer for each recipient.",
        |c, _| Value::Bytes(if c.message.prdr_requested { b"yes" } else { b"no" }),
    ),
    row(
        "queue_name",
        Message,
        Clean,
        "The queue that the message is on; empty for the default one.",
        |c, _| Value::Bytes(&c.message.queue_name),
    ),
    row("rcpt_count", Message, Clean, "RCPT commands so far, with the current one.", |c, _| {
        count(u64::from(c.message.rcpt_count))
    }),
    row("rcpt_defer_count", Message, Clean, "RCPT commands that got a 4xx reply.", |c, _| {
        count(u64::from(c.message.rcpt_defer_count))
    }),
    row("rcpt_fail_count", Message, Clean, "RCPT commands that got a 5xx reply.", |c, _| {
        count(u64::from(c.message.rcpt_fail_count))
    }),
    row("received_count", Message, Clean, "Received: header lines.", |c, _| {
        count(u64::from(c.message.received_count))
    }),
    row(
        "received_for",
        Message,
        Tainted,
        "The recipient, if there is only one, while the Received: line is made.",
        |c, _| c.message.received_for.as_deref().map_or(Value::Empty, Value::Bytes),
    ),
    row("received_time", Message, Clean, "When the message came, in seconds since 1970.", |c, _| {
        Value::Number(c.message.received.seconds)
    }),
    row("recipients", Message, Tainted, "The envelope recipients, where they may be seen.", |c, _| {
        let visible = if c.message.recipients_visible { c.message.recipients.as_slice() } else { &[] };
        let addresses: Vec<&[u8]> = visible.iter().map(|r| r.address.as_slice()).collect();
        Value::Made(addresses.join(&b", "[..]))
    }),
    row("recipients_count", Message, Clean, "The number of envelope recipients so far.", |c, _| {
        count(c.message.recipients.len() as u64)
    }),
    row(
        "recipients_list",
        Message,
        Tainted,
        "The envelope recipients as a list, where they may be seen.",
        |c, _| {
            let visible = if c.message.recipients_visible { c.message.recipients.as_slice() } else { &[] };
            let mut list = Joined::new(b':');
            for recipient in visible {
                list.push(&Text::tainted(recipient.address.as_slice()));
            }
            Value::Made(list.into_text().into_bytes())
        },
    ),
    row("reply_address", Message, Tainted, "The contents of Reply-To:, or else of From:.", |c, _| {
        Value::Made(reply_address(&c.message.headers))
    }),
    row("sender_address", Message, Tainted, "The envelope sender.", |c, _| Value::Bytes(&c.message.sender)),
    row("sender_address_domain", Message, Tainted, "Its domain.", |c, _| {
        Value::Bytes(split_at_domain(&c.message.sender).1.unwrap_or_default())
    }),
    row("sender_address_local_part", Message, Tainted, "Its local part.", |c, _| {
        Value::Bytes(split_at_domain(&c.message.sender).0)
    }),
];

#[derive(Clone, Copy)]
enum Part {
    Start,
    End,
}

/// As much of the body as `message_body_visible` allows, NULs as spaces.
fn body_part(context: &mut Context, part: Part) -> Result<Text, ExpandError> {
    let Some(body) = &context.message.body else {
        return Ok(Text::new());
    };
    let main = &context.config.main;
    let size = usize::try_from(main.message_body_visible).unwrap_or(0);
    let bytes = match part {
        Part::Start => body.head(size),
        Part::End => body.tail(size),
    };
    let mut bytes = bytes.map_err(|error| {
        let why = oxim_base::errno::error_text(&error);
        ExpandError::Defer(format!("the message body cannot be read: {why}"))
    })?;
    for byte in &mut bytes {
        if *byte == 0 || (*byte == b'\n' && !main.message_body_newlines) {
            *byte = b' ';
        }
    }
    Ok(Text::tainted(bytes))
}

fn joined(texts: &[Text]) -> Value<'static> {
    let lines: Vec<&[u8]> = texts.iter().map(Text::as_bytes).collect();
    Value::Made(lines.join(&b'\n'))
}

fn raw_headers(headers: &HeaderList) -> Vec<u8> {
    headers.iter_live().flat_map(|header| header.text.iter().copied()).collect()
}

fn decoded_headers(headers: &HeaderList) -> Vec<u8> {
    let raw = raw_headers(headers);
    let raw = raw.strip_suffix(b"\n").unwrap_or(&raw);
    rfc2047::decode(raw, None, true, Undecodable::KeepBytes).unwrap_or_else(|_| raw.to_vec())
}

fn reply_address(headers: &HeaderList) -> Vec<u8> {
    let contents = |name: &[u8]| {
        let bodies = headers.find(name).map(|header| header.body().trim_ascii().to_vec());
        bodies.into_iter().find(|body| !body.is_empty())
    };
    contents(b"reply-to").or_else(|| contents(b"from")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use oxim_base::Text;
    use oxim_mail::header::Header;

    use crate::context::Context;
    use crate::expand::Template;

    #[test]
    fn header_lines_come_in_four_forms() {
        let mut context = Context::default();
        for line in
            ["Subject: =?utf-8?q?=C3=A9?= x\n", "To: a@b\n", "To:  c@d \n", "From: me@x\n", "Reply-To: \n"]
        {
            context.message.headers.push_back(Header::new(line));
        }
        let mut expand = |source: &str| Template::compile(source).expand(&mut context).unwrap();
        assert_eq!(expand("$h_subject:"), Text::tainted("é x"));
        assert_eq!(expand("$rh_subject:"), " =?utf-8?q?=C3=A9?= x\n");
        assert_eq!(expand("$h_to:"), "a@b,\nc@d");
        assert_eq!(expand("$lheader_to:"), " a@b:  c@d ");
        assert_eq!(expand("$reply_address"), "me@x");
        assert_eq!(expand("${if def:h_from:{y}{n}}${if def:h_cc:{y}{n}}"), "yn");
        assert_eq!(expand("$message_headers_raw").as_bytes().len(), 70);
        assert!(expand("$message_headers").is_foreign());
    }
}
