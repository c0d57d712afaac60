//! `verify = recipient/quota`: whether the mailbox of the recipient has room for a message of the announced size.
//!
//! What came of it is kept in the hints of callouts, for the times that the options give. A mailbox that cannot be
//! measured counts as one with room: the delivery will find out. Manual sections 44.26 and 44.49.

use oxim_base::Text;
use oxim_deliver::address::Address;
use oxim_deliver::room::Room;

use super::address::Checked;
use super::callout_cache::{Cache, Said};
use super::options::QuotaOptions;
use crate::acl::{Answer, Run};

/// Asks, or recalls what was found out earlier. None: there is room.
pub(super) fn check(run: &mut Run<'_>, routed: &Address, options: &QuotaOptions) -> Option<Checked> {
    let refused = |text: &'static str| {
        Some(Checked { log: Some(Text::clean(text)), failure: Some("quota"), ..Checked::plain(Answer::No) })
    };
    let hints = run.scene.context.services.hints.get().cloned();
    // By the address as it was given: the one behind a redirection may have another mailbox tomorrow.
    let key = [b"quota/".as_slice(), &run.scene.subject].concat();
    let known = hints.as_ref().map_or(Said::Nothing, |hints| {
        Cache::new(hints, &run.reception.config.main_options).within(&key, options.positive, options.negative)
    });
    match known {
        Said::Yes => return None,
        Said::No => return refused("Previous (cached) quota verification failure"),
        Said::Nothing => {}
    }
    let bytes = u64::try_from(run.scene.context.message.size).unwrap_or(0);
    let delivery = run.reception.delivery.clone();
    let room = run.lending(|context| delivery.room_for(context, routed, bytes));
    let said = match &room {
        Room::Fits => Said::Yes,
        Room::Full => Said::No,
        Room::Unknown(why) => {
            run.log_panic(&format!("quota of {} cannot be checked: {why}", routed_text(routed)));
            return None;
        }
    };
    if let Some(hints) = &hints {
        Cache::new(hints, &run.reception.config.main_options).put_said(&key, said);
    }
    if said == Said::No { refused("Over quota") } else { None }
}

fn routed_text(routed: &Address) -> String {
    String::from_utf8_lossy(&routed.address).into_owned()
}
