//! The `encrypted` condition: the connection is encrypted, with one of the listed cipher suites. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind, Subject};
use oxim_net::tls::TlsFacts;

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, phases};
use super::super::run::Run;

const FORBIDDEN: Phases = phases(&[Phase::NotSmtp, Phase::NotSmtpStart, Phase::Helo]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "encrypted",
    doc: "The connection is encrypted, and the cipher suite is in the list.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Wanted { list: super::list(ListKind::String, argument) }))
}

#[derive(Debug)]
struct Wanted {
    list: List,
}

impl Condition for Wanted {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let Some(cipher) = run.scene.context.connection.tls.as_ref().map(TlsFacts::cipher_field) else {
            return Tested::of(false);
        };
        let cipher = Text::clean(cipher.to_string());
        super::answer(run, &self.list, &Subject::String { text: &cipher, caseful: false })
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}
