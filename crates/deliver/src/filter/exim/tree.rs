//! The parsed form of an Exim filter. Strings are compiled; nothing is parsed again at evaluation.

use oxim_lang::expand::Template;

/// A string of a test: case counts if the test is written in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextTest {
    /// `is`.
    Is,
    /// `begins`.
    Begins,
    /// `ends`.
    Ends,
    /// `contains`.
    Contains,
    /// `matches`.
    Matches,
}

/// A condition.
#[derive(Debug)]
pub enum Condition {
    /// Two strings.
    Text {
        /// The subject.
        left: Template,
        /// What it is compared with.
        right: Template,
        /// How.
        test: TextTest,
        /// Whether the case of letters counts.
        caseful: bool,
    },
    /// Two numbers; `above` or below.
    Number {
        /// The first.
        left: Template,
        /// The second.
        right: Template,
        /// `above`, not `below`.
        above: bool,
    },
    /// `error_message`.
    ErrorMessage,
    /// `delivered`.
    Delivered,
    /// `first_delivery`.
    FirstDelivery,
    /// `manually_thawed`.
    ManuallyThawed,
    /// `personal`, with its aliases.
    Personal(Vec<Template>),
    /// `foranyaddress`.
    ForAnyAddress(Template, Box<Condition>),
    /// `not`.
    Not(Box<Condition>),
    /// `and`.
    And(Box<Condition>, Box<Condition>),
    /// `or`.
    Or(Box<Condition>, Box<Condition>),
}

/// `seen`, `unseen`, `noerror`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// `seen` or `unseen`; unset: as the command has it.
    pub seen: Option<bool>,
    /// `noerror`.
    pub noerror: bool,
}

/// What `mail` and `vacation` were told.
#[derive(Debug, Default)]
pub struct MailCommand {
    /// It is `vacation`.
    pub is_vacation: bool,
    /// `to`.
    pub to: Option<Template>,
    /// `cc`.
    pub cc: Option<Template>,
    /// `bcc`.
    pub bcc: Option<Template>,
    /// `from`.
    pub from: Option<Template>,
    /// `reply_to`.
    pub reply_to: Option<Template>,
    /// `subject`.
    pub subject: Option<Template>,
    /// `extra_headers`.
    pub extra_headers: Option<Template>,
    /// `text`.
    pub text: Option<Template>,
    /// `file`.
    pub file: Option<Template>,
    /// `log`.
    pub log: Option<Template>,
    /// `once`.
    pub once: Option<Template>,
    /// `once_repeat`.
    pub once_repeat: Option<Template>,
    /// `expand`.
    pub expand: bool,
    /// `return message`.
    pub return_message: bool,
}

/// What `headers` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadersVerb {
    /// `add`.
    Add,
    /// `remove`.
    Remove,
    /// `charset`.
    Charset,
}

/// The three commands that end a filter with a judgement on the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// `defer`.
    Defer,
    /// `fail`.
    Fail,
    /// `freeze`.
    Freeze,
}

impl Judgement {
    /// The command.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Judgement::Defer => "defer",
            Judgement::Fail => "fail",
            Judgement::Freeze => "freeze",
        }
    }
}

/// A command.
#[derive(Debug)]
pub enum Command {
    /// `add`.
    Add {
        /// How much.
        number: Template,
        /// To which variable.
        variable: Template,
    },
    /// `deliver`.
    Deliver {
        /// To whom.
        address: Template,
        /// `errors_to`.
        errors_to: Option<Template>,
    },
    /// `save`.
    Save {
        /// Where.
        path: Template,
        /// Mode of the file.
        mode: Option<u32>,
    },
    /// `pipe`: expanded when it is run.
    Pipe(Vec<u8>),
    /// `mail` and `vacation`.
    Mail(Box<MailCommand>),
    /// `logfile`.
    LogFile {
        /// Where.
        path: Template,
        /// Mode of the file.
        mode: Option<u32>,
    },
    /// `logwrite`.
    LogWrite(Template),
    /// `headers`.
    Headers(HeadersVerb, Template),
    /// `testprint`.
    TestPrint(Template),
    /// `finish`.
    Finish,
    /// `defer`, `fail`, `freeze`.
    Judge {
        /// Which.
        judgement: Judgement,
        /// Its text.
        text: Template,
    },
    /// `if`.
    If {
        /// The conditions with what is done if one is met, in order.
        branches: Vec<(Condition, Vec<Step>)>,
        /// `else`.
        otherwise: Vec<Step>,
    },
}

/// A command with its prefix words.
#[derive(Debug)]
pub struct Step {
    /// The prefix words.
    pub prefix: Prefix,
    /// The command.
    pub command: Command,
}
