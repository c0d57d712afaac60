//! Verifies the client: its HELO name, its own name, its certificate. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::context::HostLookup;

use crate::acl::{Answer, Run, Tested};
use crate::host_name::{self, Helo};

/// `verify = certificate`.
pub(super) fn certificate(run: &Run<'_>) -> Tested {
    let is_verified = run.scene.context.connection.tls.as_ref().is_some_and(|tls| tls.verified);
    if is_verified {
        return Tested::of(true);
    }
    Tested { user: Some(Text::clean("no verified certificate")), ..Tested::of(false) }
}

/// `verify = helo`. Found out once for each HELO; true for a local caller.
pub(super) fn helo(run: &mut Run<'_>) -> Tested {
    let connection = &run.scene.context.connection;
    if connection.host_address.is_none() {
        return Tested::of(true);
    }
    if !connection.helo_verified && !connection.helo_verify_failed {
        run.trace(|| {
            let helo = run.scene.context.connection.helo_name.as_deref().unwrap_or_default();
            format!("verifying EHLO/HELO argument \"{}\"", String::from_utf8_lossy(helo))
        });
        let reception = run.reception;
        let verified = run.lending(|context| host_name::verify_helo(reception, context));
        let connection = &mut run.scene.context.connection;
        connection.helo_verified = verified == Helo::Verified;
        connection.helo_verify_failed = verified == Helo::Wrong;
    }
    Tested::of(run.scene.context.connection.helo_verified)
}

/// `verify = reverse_host_lookup`. True for a local caller.
pub(super) fn reverse_lookup(run: &mut Run<'_>, defer_ok: bool) -> Tested {
    let connection = &run.scene.context.connection;
    if connection.host_address.is_none() || connection.host_name.is_some() {
        return Tested::of(true);
    }
    let was_tried = connection.host_lookup != HostLookup::NotTried;
    if !was_tried {
        run.trace(|| "looking up host name to force name/address consistency check".to_owned());
        let reception = run.reception;
        run.lending(|context| host_name::look_up(reception, context));
    }
    let connection = &run.scene.context.connection;
    let (answer, word) = match connection.host_lookup {
        HostLookup::Found => return Tested::of(true),
        HostLookup::Deferred if defer_ok => return Tested::of(true),
        HostLookup::Deferred | HostLookup::NotTried => (Answer::Later, "deferred"),
        HostLookup::Failed => (Answer::No, "failed"),
    };
    let purpose = if was_tried { "" } else { " for reverse lookup check" };
    let why = match connection.host_lookup_message.as_str() {
        "" => String::new(),
        why => format!(" ({why})"),
    };
    Tested::logged(answer, format!("host lookup {word}{purpose}{why}"))
}
