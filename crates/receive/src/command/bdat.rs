//! BDAT: a chunk of the message follows at once, counted instead of dotted. RFC 3030; manual: `chunking_advertise_hosts`.
//!
//! A chunk that is refused is read and thrown away, because the client has sent it already.

use std::sync::Arc;

use super::data::without_recipients;
use super::protocol_error;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{BodySource, Chunking, Progress, Talk};

pub(super) fn run(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    size: u64,
    last: bool,
    was_rcpt: bool,
) -> Progress {
    let refusal = if !talk.offers.chunking {
        Some(protocol_error(reception, talk, 503, "BDAT command used when CHUNKING not advertised"))
    } else if talk.transaction.chunking == Chunking::Failed {
        Some(protocol_error(reception, talk, 503, "only RSET accepted now"))
    } else {
        without_recipients(reception, talk, "BDAT", was_rcpt)
    };
    match refusal {
        None => Progress::Body(BodySource::Chunk { size, last }, None),
        Some(Progress::Reply(reply)) if !reply.close => {
            Progress::Body(BodySource::Discarded { size }, Some(reply))
        }
        Some(other) => other,
    }
}

/// The reply to a chunk after which more are to come.
pub(crate) fn after_chunk(talk: &mut Talk, size: u64) -> Reply {
    talk.transaction.chunking = Chunking::Between;
    Reply::new(250, format!("{size} byte chunk received"))
}
