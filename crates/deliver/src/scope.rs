//! Puts a message of the spool where expansions see it.

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::context::{Context, HostLookup};
use oxim_mail::address::split_at_domain;
use oxim_spool::message::{Body, Message};

/// Makes a message the one in hand: what was known at its arrival is known again.
pub fn enter_message(context: &mut Context, message: &Message, body: &Body) {
    let connection = &mut context.connection;
    if let Some(host) = &message.host {
        connection.host_address = Some(host.address);
        connection.host_port = host.port;
        connection.host_name.clone_from(&host.name);
        connection.host_lookup = match (&host.name, host.lookup_failed, host.lookup_deferred) {
            (Some(_), _, _) => HostLookup::Found,
            (None, true, _) => HostLookup::Failed,
            (None, false, true) => HostLookup::Deferred,
            (None, false, false) => HostLookup::NotTried,
        };
    }
    connection.helo_name.clone_from(&message.helo_name);
    connection.ident.clone_from(&message.ident);
    connection.interface = message.interface;
    connection.is_over = true;
    connection.tls_record.clone_from(&message.tls);
    connection.auth_id.clone_from(&message.auth_id);
    connection.auth_sender.clone_from(&message.auth_sender);
    connection.authenticator.clone_from(&message.authenticator);
    connection.protocol = message.protocol.clone().unwrap_or_default();
    connection.acl_c.clone_from(&message.acl_c);
    connection.active_hostname.clone_from(&message.active_hostname);
    let scope = &mut context.message;
    scope.id = Some(message.id);
    scope.sender.clone_from(&message.sender);
    scope.recipients = Arc::new(message.recipients.clone());
    scope.headers = message.headers.clone();
    scope.body = Some(body.clone());
    scope.size = i64::try_from(message.size_with(body.len())).unwrap_or(i64::MAX);
    scope.acl_m.clone_from(&message.acl_m);
    scope.received = message.received;
    scope.body_lines = message.body_lines;
    scope.received_count = u32::try_from(message.headers.find(b"received").count()).unwrap_or(u32::MAX);
    let header_lines = u64::try_from(message.headers.line_count()).unwrap_or(0);
    scope.lines = header_lines.saturating_add(message.body_lines);
    scope.body_zeros = message.body_zeros;
    scope.max_line = message.max_line;
    scope.originator_uid = message.uid;
    scope.originator_gid = message.gid;
    scope.first_delivery = message.first_delivery;
    scope.manually_thawed = message.manual_thaw;
    scope.queue_name.clone_from(&message.queue_name);
    scope.smtputf8 = message.smtputf8;
    scope.local_scan_data.clone_from(&message.local_scan_data);
}

/// Makes an address the one in hand, as `$local_part` and `$domain` show it.
pub(crate) fn enter_address(context: &mut Context, address: &[u8]) {
    let (local_part, domain) = split_at_domain(address);
    context.address.local_part = Text::tainted(local_part);
    context.address.domain = Text::tainted(domain.unwrap_or_default());
}
