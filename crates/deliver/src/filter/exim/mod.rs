//! Exim's filter language ("Exim's interfaces to mail filtering", chapter 3; specification chapter 47).

mod condition;
pub mod evaluate;
mod lexer;
mod mail;
mod parse;
pub(super) mod personal;
pub mod tree;

pub use evaluate::Rules;
pub(super) use personal::{contains_caseless, is_personal};

/// What is wrong with a filter, in Exim's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxFault(pub String);

/// A command that not every filter may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restricted {
    /// `defer`, `fail`, `freeze`.
    Judge(tree::Judgement),
    /// `headers add` and `headers remove`.
    Headers,
}

/// A parsed filter, or why it could not be parsed.
#[derive(Debug)]
pub struct Program {
    steps: Result<Vec<tree::Step>, SyntaxFault>,
    restricted: Vec<(Restricted, usize)>,
}

impl Program {
    /// Parses a filter. The first line is a comment.
    #[must_use]
    pub fn parse(data: &[u8]) -> Program {
        let mut lexer = lexer::Lexer::new(data);
        let steps = parse::program(&mut lexer);
        Program { steps, restricted: lexer.restricted }
    }

    /// What is wrong with it, if anything is.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.steps.as_ref().err().map(|fault| fault.0.as_str())
    }

    /// The first command that a filter with these rules may not use. It goes before faults further down.
    fn refusal(&self, rules: &Rules) -> Option<String> {
        let is_refused = |(what, _): &&(Restricted, usize)| {
            !rules.is_system
                && match what {
                    Restricted::Headers => true,
                    Restricted::Judge(tree::Judgement::Defer) => !rules.allow_defer,
                    Restricted::Judge(tree::Judgement::Fail) => !rules.allow_fail,
                    Restricted::Judge(tree::Judgement::Freeze) => !rules.allow_freeze,
                }
        };
        let (what, line) = self.restricted.iter().find(is_refused)?;
        Some(match what {
            Restricted::Headers => format!(
                "header addition and removal is available only in system filters: near line {line} of filter file"
            ),
            Restricted::Judge(judgement) => {
                let word = judgement.word();
                format!("filtering command \"{word}\" is disabled: near line {line} of filter file")
            }
        })
    }
}
