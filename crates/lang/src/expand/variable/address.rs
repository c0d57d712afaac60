//! Variables of the address in hand, and of the router or transport that has it.

use oxim_base::{Taint, Text};

use super::{Scope, Value, VariableRow, row};

use Scope::{Address, Delivery};
use Taint::{Clean, Tainted};

fn optional(text: &Option<Text>) -> Value<'_> {
    text.as_ref().map_or(Value::Empty, Value::Text)
}

fn name(text: &Option<String>) -> Value<'_> {
    text.as_deref().map_or(Value::Empty, |t| Value::Bytes(t.as_bytes()))
}

fn bytes(value: &Option<Vec<u8>>) -> Value<'_> {
    value.as_deref().map_or(Value::Empty, Value::Bytes)
}

fn id(value: Option<u32>) -> Value<'static> {
    // Exim shows the unset value, which is -1 without its sign.
    Value::Number(i64::from(value.unwrap_or(u32::MAX)))
}

/// The address and its way.
pub(super) static ROWS: &[VariableRow] = &[
    row("address_data", Address, Clean, "Set by the `address_data` option of routers.", |c, _| {
        optional(&c.address.address_data)
    }),
    row("address_file", Delivery, Tainted, "The file that an alias or filter names.", |c, _| {
        optional(&c.delivery.address_file)
    }),
    row("address_pipe", Delivery, Tainted, "The command that an alias or filter names.", |c, _| {
        optional(&c.delivery.address_pipe)
    }),
    row("bounce_recipient", Delivery, Tainted, "Who gets the bounce that is being made.", |c, _| {
        bytes(&c.delivery.bounce_recipient)
    }),
    row("domain", Address, Tainted, "The domain of the address, in lower case.", |c, _| {
        Value::Text(&c.address.domain)
    }),
    row("domain_data", Address, Clean, "What the domain matched in a list.", |c, _| {
        optional(&c.address.domain_data)
    }),
    row("home", Address, Clean, "The user's home directory.", |c, _| optional(&c.address.home)),
    row("host", Delivery, Tainted, "The host that a router or transport is using.", |c, _| {
        optional(&c.delivery.host)
    }),
    row("host_address", Delivery, Tainted, "Its address.", |c, _| {
        c.delivery.host_address.map_or(Value::Empty, |a| Value::Made(a.to_string().into_bytes()))
    }),
    row("host_data", Address, Clean, "What the host matched in a list.", |c, _| {
        optional(&c.address.host_data)
    }),
    row("host_port", Delivery, Clean, "Its port.", |c, _| Value::Number(i64::from(c.delivery.host_port))),
    row("inode", Delivery, Clean, "The inode of the file that `directory_file` names.", |c, _| {
        Value::Number(i64::try_from(c.delivery.inode).unwrap_or(0))
    }),
    row("local_part", Address, Tainted, "The local part, unquoted, without prefix and suffix.", |c, _| {
        Value::Text(&c.address.local_part)
    }),
    row("local_part_data", Address, Clean, "What the local part matched in a list.", |c, _| {
        optional(&c.address.local_part_data)
    }),
    row("local_part_prefix", Address, Tainted, "The prefix that a router took off.", |c, _| {
        optional(&c.address.local_part_prefix)
    }),
    row("local_part_prefix_v", Address, Tainted, "The variable part of the prefix.", |c, _| {
        optional(&c.address.local_part_prefix_v)
    }),
    row("local_part_suffix", Address, Tainted, "The suffix that a router took off.", |c, _| {
        optional(&c.address.local_part_suffix)
    }),
    row("local_part_suffix_v", Address, Tainted, "The variable part of the suffix.", |c, _| {
        optional(&c.address.local_part_suffix_v)
    }),
    row(
        "local_part_verified",
        Address,
        Clean,
        "The local part, once a list or the user data base has verified it.",
        |c, _| optional(&c.address.local_part_verified),
    ),
    row("local_user_gid", Address, Clean, "The gid found by `check_local_user`.", |c, _| {
        id(c.address.local_user_gid)
    }),
    row("local_user_uid", Address, Clean, "The uid found by `check_local_user`.", |c, _| {
        id(c.address.local_user_uid)
    }),
    row(
        "mailstore_basename",
        Delivery,
        Clean,
        "The name, without suffix, of the files being written.",
        |c, _| bytes(&c.delivery.mailstore_basename),
    ),
    row("message_age", Delivery, Clean, "Seconds since the message came, when the attempt began.", |c, _| {
        Value::Number(i64::try_from(c.delivery.message_age).unwrap_or(i64::MAX))
    }),
    VariableRow {
        family: true,
        ..row("n", Address, Clean, "`$n0` to `$n9`: counters of a filter file.", |c, key| {
            counter(&c.address.counters, key)
        })
    },
    row(
        "original_domain",
        Address,
        Tainted,
        "The domain of the address that the message came with.",
        |c, _| Value::Text(&c.address.original_domain),
    ),
    row(
        "original_local_part",
        Address,
        Tainted,
        "The whole local part of the address that the message came with.",
        |c, _| Value::Text(&c.address.original_local_part),
    ),
    row(
        "parent_domain",
        Address,
        Tainted,
        "The domain of the address that this one was made from.",
        |c, _| Value::Text(&c.address.parent_domain),
    ),
    row(
        "parent_local_part",
        Address,
        Tainted,
        "The local part of the address that this one was made from.",
        |c, _| Value::Text(&c.address.parent_local_part),
    ),
    row("srs_db_address", Address, Tainted, "The sender that `srs_dbinsert` is to remember.", |c, _| {
        optional(&c.address.srs.db_address)
    }),
    row("srs_db_key", Address, Tainted, "The key of a sender in the database of SRS.", |c, _| {
        optional(&c.address.srs.db_key)
    }),
    row("srs_orig_recipient", Address, Tainted, "The SRS address that is being reversed.", |c, _| {
        optional(&c.address.srs.orig_recipient)
    }),
    row("srs_orig_sender", Address, Tainted, "The sender before SRS has rewritten it.", |c, _| {
        optional(&c.address.srs.orig_sender)
    }),
    row("srs_status", Address, Clean, "Always empty, as in the versions that had it.", |_, _| Value::Empty),
    row("srs_recipient", Address, Tainted, "The sender that `inbound_srs` has found.", |c, _| {
        optional(&c.address.srs_recipient)
    }),
    row("recipient_data", Address, Clean, "What the recipient matched in an address list.", |c, _| {
        optional(&c.address.recipient_data)
    }),
    row("return_path", Delivery, Tainted, "The envelope sender with which the message goes out.", |c, _| {
        bytes(&c.delivery.return_path)
    }),
    row("router_name", Delivery, Clean, "The router that is running.", |c, _| name(&c.delivery.router_name)),
    row("self_hostname", Address, Clean, "The local host that a router has come upon.", |c, _| {
        optional(&c.address.self_hostname)
    }),
    row("sender_address_data", Address, Clean, "`$address_data` of the verified sender.", |c, _| {
        optional(&c.address.sender_address_data)
    }),
    row("sender_data", Address, Clean, "What the sender matched in an address list.", |c, _| {
        optional(&c.address.sender_data)
    }),
    row("sending_ip_address", Delivery, Clean, "Our own address on an outgoing connection.", |c, _| {
        c.delivery.sending.map_or(Value::Empty, |a| Value::Made(a.ip().to_string().into_bytes()))
    }),
    row("sending_port", Delivery, Clean, "Our own port on an outgoing connection.", |c, _| {
        Value::Number(c.delivery.sending.map_or(-1, |a| i64::from(a.port())))
    }),
    VariableRow {
        family: true,
        ..row("sn", Address, Clean, "`$sn0` to `$sn9`: counters left by the system filter.", |c, key| {
            counter(&c.message.system_counters, key)
        })
    },
    row("thisaddress", Address, Tainted, "The address of `foranyaddress` in a filter file.", |c, _| {
        optional(&c.address.this_address)
    }),
    row("transport_name", Delivery, Clean, "The transport that is running.", |c, _| {
        name(&c.delivery.transport_name)
    }),
    row("verify_mode", Delivery, Clean, "`S` or `R` while a sender or recipient is verified.", |c, _| {
        Value::Bytes(c.delivery.verify_mode.as_bytes())
    }),
    row("warn_message_delay", Delivery, Clean, "How long the message of a warning has waited.", |c, _| {
        name(&c.delivery.warn_message_delay)
    }),
    row("warn_message_recipients", Delivery, Tainted, "For whom the message of a warning is.", |c, _| {
        bytes(&c.delivery.warn_message_recipients)
    }),
    VariableRow {
        family: true,
        ..row("r_", Address, Clean, "Set by the `set` option of routers.", |c, key| {
            c.address.router_variables.get(key.as_bytes()).map_or(Value::Empty, Value::Text)
        })
    },
];

fn counter(counters: &[i64; 10], key: &str) -> Value<'static> {
    key.parse::<usize>().ok().and_then(|i| counters.get(i)).map_or(Value::Empty, |n| Value::Number(*n))
}

#[cfg(test)]
mod tests {
    use crate::context::Context;
    use crate::expand::Template;
    use oxim_base::Text;

    #[test]
    fn the_return_path_is_empty_where_nothing_is_routed() {
        let mut context = Context::default();
        context.message.sender = b"a@b".to_vec();
        let template = Template::compile("$return_path");
        assert_eq!(template.expand(&mut context).unwrap(), "");
        context.delivery.return_path = Some(b"c@d".to_vec());
        assert_eq!(template.expand(&mut context).unwrap(), Text::tainted("c@d"));
    }
}
