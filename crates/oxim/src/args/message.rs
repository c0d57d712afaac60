//! `-M…`: acts on messages of the queue.

use super::mode::{self, Mode};
use super::{ArgumentError, CommandLine, Cursor};

/// What is done to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageAction {
    /// `-M`: deliver now, frozen or not.
    DeliverForced,
    /// `-Mc`: deliver, with the usual tests.
    Deliver,
    /// `-Mar`: add recipients.
    AddRecipients,
    /// `-Mes`: change the sender.
    EditSender,
    /// `-Mf`: freeze.
    Freeze,
    /// `-Mg`: give up: fail all its addresses.
    GiveUp,
    /// `-MG`: move to another queue.
    MoveToQueue,
    /// `-Mmad`: mark all addresses as delivered.
    MarkAllDelivered,
    /// `-Mmd`: mark some addresses as delivered.
    MarkDelivered,
    /// `-Mrm`: remove.
    Remove,
    /// `-Mt`: thaw.
    Thaw,
    /// `-Mvb`: show the body.
    ShowBody,
    /// `-Mvc`: show the whole message.
    ShowCopy,
    /// `-Mvh`: show the header file.
    ShowHeader,
    /// `-Mvl`: show the message log.
    ShowLog,
}

/// An action and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageCommand {
    /// The action.
    pub action: MessageAction,
    /// Message ids, or one id and what belongs to the action.
    pub words: Vec<Vec<u8>>,
}

/// Actions by the letters behind `-M`.
const ACTIONS: &[(&[u8], MessageAction)] = &[
    (b"", MessageAction::DeliverForced),
    (b"c", MessageAction::Deliver),
    (b"ar", MessageAction::AddRecipients),
    (b"es", MessageAction::EditSender),
    (b"f", MessageAction::Freeze),
    (b"g", MessageAction::GiveUp),
    (b"G", MessageAction::MoveToQueue),
    (b"mad", MessageAction::MarkAllDelivered),
    (b"md", MessageAction::MarkDelivered),
    (b"rm", MessageAction::Remove),
    (b"t", MessageAction::Thaw),
    (b"vb", MessageAction::ShowBody),
    (b"vc", MessageAction::ShowCopy),
    (b"vh", MessageAction::ShowHeader),
    (b"vl", MessageAction::ShowLog),
];

pub(super) fn option(
    line: &mut CommandLine,
    cursor: &mut Cursor,
    word: &[u8],
    rest: &[u8],
) -> Result<(), ArgumentError> {
    if rest == b"set" {
        return set(line, cursor, word);
    }
    if rest.starts_with(b"C") {
        return Err(ArgumentError::internal_to_exim(word));
    }
    let action = ACTIONS.iter().find(|(name, _)| *name == rest).map(|(_, action)| *action);
    let action = action.ok_or_else(|| ArgumentError::unknown(word))?;
    let words: Vec<Vec<u8>> = cursor.words.by_ref().collect();
    if words.is_empty() {
        return Err(ArgumentError(format!(
            "exim: no message ids given after {} option",
            String::from_utf8_lossy(word)
        )));
    }
    let is_about_one = matches!(
        action,
        MessageAction::AddRecipients | MessageAction::EditSender | MessageAction::MarkDelivered
    );
    let ids: &[Vec<u8>] = if matches!(action, MessageAction::MoveToQueue) {
        words.get(1..).unwrap_or_default()
    } else if is_about_one {
        words.get(..1).unwrap_or_default()
    } else {
        &words
    };
    for id in ids {
        well_formed(id, word)?;
    }
    let is_shown = matches!(
        action,
        MessageAction::ShowBody
            | MessageAction::ShowCopy
            | MessageAction::ShowHeader
            | MessageAction::ShowLog
    );
    if is_shown && words.len() > 1 {
        return Err(ArgumentError("*** Only one message can be listed at once".to_owned()));
    }
    if is_about_one && words.len() < 2 {
        return Err(ArgumentError::unknown(word));
    }
    if action == MessageAction::EditSender && words.len() > 2 {
        return Err(ArgumentError("exim: only one sender address can be given after -Mes".to_owned()));
    }
    mode::set(line, Mode::Message(MessageCommand { action, words }))
}

fn well_formed(id: &[u8], word: &[u8]) -> Result<(), ArgumentError> {
    if oxim_mail::message_id::MessageId::parse(id).is_some() {
        return Ok(());
    }
    Err(ArgumentError(format!(
        "exim: malformed message id {} after {} option",
        String::from_utf8_lossy(id),
        String::from_utf8_lossy(word)
    )))
}

/// `-Mset`: the message that `-be` loads.
fn set(line: &mut CommandLine, cursor: &mut Cursor, word: &[u8]) -> Result<(), ArgumentError> {
    let id = cursor.words.next().ok_or_else(|| {
        ArgumentError(format!("exim: no message ids given after {} option", String::from_utf8_lossy(word)))
    })?;
    well_formed(&id, word)?;
    line.loaded_message = Some(id);
    Ok(())
}
