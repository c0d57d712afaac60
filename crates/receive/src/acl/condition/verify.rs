//! The `verify` condition: a host, an address or a header is what it says it is. The work is done in `crate::verify`.
//! Manual sections 44.26 and 44.45 to 44.51.

use oxim_base::Text;
use oxim_lang::config::Config;

use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::run::Run;
use crate::verify::{self, Request};

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "verify",
    doc: "A sender, recipient, host name, header or certificate is in order.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    let fixed = argument.template.constant().map(Request::parse);
    Ok(Box::new(Verify { fixed }))
}

#[derive(Debug)]
struct Verify {
    /// The request, if its text is constant.
    fixed: Option<Result<Request, String>>,
}

impl Condition for Verify {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let request = match &self.fixed {
            Some(request) => request.clone(),
            None => Request::parse(argument),
        };
        match request {
            Ok(request) => verify::verify(run, &request),
            Err(text) => Tested::logged(Answer::Faulty, text),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        match &self.fixed {
            Some(Ok(request)) => request.may_block(),
            Some(Err(_)) => false,
            None => true,
        }
    }

    fn fault(&self) -> Option<String> {
        self.fixed.as_ref()?.as_ref().err().cloned()
    }

    fn wants_flush(&self) -> bool {
        matches!(&self.fixed, Some(Ok(request)) if request.has_callout())
    }
}
