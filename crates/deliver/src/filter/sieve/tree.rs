//! The parsed form of a Sieve script.

use super::Fault;

/// Commands, and the fault at which reading stopped, if it did.
#[derive(Debug, Default)]
pub struct Block {
    /// What precedes the fault.
    pub commands: Vec<Command>,
    /// The fault.
    pub fault: Option<Fault>,
}

/// A command.
#[derive(Debug)]
pub enum Command {
    /// `keep`.
    Keep,
    /// `discard`.
    Discard,
    /// `stop`.
    Stop,
    /// `redirect`.
    Redirect {
        /// To whom.
        address: Vec<u8>,
        /// `:copy`.
        copy: bool,
    },
    /// `fileinto`.
    FileInto {
        /// The folder.
        folder: Vec<u8>,
        /// `:copy`.
        copy: bool,
        /// Where it stands.
        line: usize,
    },
    /// `vacation`.
    Vacation(Box<Vacation>),
    /// `notify`.
    Notify(Box<Notify>),
    /// `if`, `elsif`, `else`.
    If {
        /// Tests and blocks, in order; the last may lack its block if there is a fault.
        branches: Vec<(Test, Block)>,
        /// `else`.
        otherwise: Option<Block>,
        /// A fault in a test or between the blocks.
        fault: Option<Fault>,
    },
}

/// The arguments of `vacation`.
#[derive(Debug, Default)]
pub struct Vacation {
    /// `:days`.
    pub days: Option<u64>,
    /// `:subject`.
    pub subject: Option<Vec<u8>>,
    /// `:from`.
    pub from: Option<Vec<u8>>,
    /// `:addresses`.
    pub addresses: Vec<Vec<u8>>,
    /// `:mime`.
    pub mime: bool,
    /// `:handle`.
    pub handle: Option<Vec<u8>>,
    /// What is answered.
    pub reason: Vec<u8>,
    /// Where it stands.
    pub line: usize,
}

/// The arguments of `notify`.
#[derive(Debug, Default)]
pub struct Notify {
    /// `:from`.
    pub from: Option<Vec<u8>>,
    /// `:importance`: 1, 2 or 3.
    pub importance: Option<u8>,
    /// `:message`.
    pub message: Option<Vec<u8>>,
    /// The URI.
    pub method: Vec<u8>,
    /// Where it stands.
    pub line: usize,
}

/// How strings are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    /// `:is`.
    #[default]
    Is,
    /// `:contains`.
    Contains,
    /// `:matches`.
    Matches,
}

/// What counts in a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comparator {
    /// `i;octet`.
    Octet,
    /// `i;ascii-casemap`.
    #[default]
    Casemap,
    /// `i;ascii-numeric`.
    Numeric,
    /// `i;ascii-numeric` without the `require` that it needs: a fault when something is compared.
    NumericUnrequired,
}

/// Which part of an address is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// `:all`.
    #[default]
    All,
    /// `:localpart`.
    LocalPart,
    /// `:domain`.
    Domain,
    /// `:user`.
    User,
    /// `:detail`.
    Detail,
}

/// How a test compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// The match type.
    pub matching: Match,
    /// The comparator.
    pub comparator: Comparator,
    /// The part of an address.
    pub part: Part,
    /// Where the test ends.
    pub line: usize,
}

/// A test.
#[derive(Debug)]
pub enum Test {
    /// `true` and `false`.
    Constant(bool),
    /// `not`.
    Not(Box<Test>),
    /// `allof`.
    All(Vec<Test>),
    /// `anyof`.
    Any(Vec<Test>),
    /// `header`.
    Header(How, Vec<Vec<u8>>, Vec<Vec<u8>>),
    /// `address`.
    Address(How, Vec<Vec<u8>>, Vec<Vec<u8>>),
    /// `envelope`.
    Envelope(How, Vec<Vec<u8>>, Vec<Vec<u8>>),
    /// `exists`, and the line where it ends.
    Exists(Vec<Vec<u8>>, usize),
    /// `size`; true: `:over`.
    Size(bool, u64),
    /// `valid_notify_method`.
    ValidNotifyMethod(Vec<Vec<u8>>),
    /// `notify_method_capability`: URI, capability, keys.
    NotifyMethodCapability(How, Vec<u8>, Vec<u8>, Vec<Vec<u8>>),
}

impl Block {
    /// The fault in this block, or in what stands in it.
    #[must_use]
    pub fn first_fault(&self) -> Option<&Fault> {
        let inside = self.commands.last().and_then(|command| {
            let Command::If { branches, otherwise, fault } = command else { return None };
            branches
                .iter()
                .find_map(|(_, block)| block.first_fault())
                .or_else(|| otherwise.as_ref().and_then(Block::first_fault))
                .or(fault.as_ref())
        });
        inside.or(self.fault.as_ref())
    }
}
