//! `control = fakereject/text`, `control = fakedefer/text`: the message is taken, the client is told otherwise.

use oxim_base::Text;

use super::super::run::Run;
use super::super::{FAKE_REJECT_TEXT, Fake, Phase};
use super::{ControlRow, Fault, Phases, all_but};

const FORBIDDEN: Phases =
    all_but(&[Phase::Mail, Phase::Rcpt, Phase::Predata, Phase::Data, Phase::Prdr, Phase::Mime]);

/// `fakedefer`.
pub(super) static DEFER: ControlRow = ControlRow {
    name: "fakedefer",
    doc: "Answers 450 after the data, and takes the message all the same.",
    forbidden: FORBIDDEN,
    has_options: true,
    apply: Some(|run, options| apply(run, options, Fake::Defer)),
};

/// `fakereject`.
pub(super) static REJECT: ControlRow = ControlRow {
    name: "fakereject",
    doc: "Answers 550 after the data, and takes the message all the same.",
    forbidden: FORBIDDEN,
    has_options: true,
    apply: Some(|run, options| apply(run, options, Fake::Reject)),
};

/// All behind the slash is the text, further slashes too.
fn apply(run: &mut Run<'_>, options: &Text, make: fn(Text) -> Fake) -> Result<(), Fault> {
    let text = match options.as_bytes() {
        b"" => Text::clean(FAKE_REJECT_TEXT),
        [b'/', ..] => options.slice(1, options.len()),
        _ => return Err(Fault::Syntax),
    };
    run.scene.message.fake = Some(make(text));
    Ok(())
}
