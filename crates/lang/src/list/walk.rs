//! Going through the items of a list from left to right (manual sections 10.2, 10.3, 10.15, 10.17).

use oxim_base::{Text, debug};

use super::item::{Item, Items, Pattern, Switch};
use super::{Defer, HostName, ListKind, Match, Subject, address, domain, file, host, named};
use crate::context::Context;

/// What came of one item.
pub(super) enum Step {
    /// It does not fit.
    Miss,
    /// It fits; with the value of the match.
    Hit(Option<Text>),
    /// A file item in which a negated line fits: it decides, the other way round.
    Against(Option<Text>),
    /// A line of a file item could not be decided, and the whole list ends with this, whether the item is negated or not.
    Ends(Match),
    /// The name or address of the host does not exist; the text says which.
    Unknown(String),
    /// The name or address of the host cannot be found out now.
    Unanswered(String),
}

/// What `+include_…` and `+ignore_…` ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fail,
    Include,
    Ignore,
}

/// What the switches in the list have changed so far.
struct State {
    caseful: bool,
    unknown: Missing,
    defer: Missing,
}

/// One run through a list.
pub(super) struct Walk<'a> {
    pub(super) items: &'a Items,
    pub(super) subject: &'a Subject<'a>,
    pub(super) label: Option<&'a str>,
    /// How many named lists are around this one.
    pub(super) nesting: usize,
    /// Whether the items are the lines of a file.
    pub(super) in_file: bool,
}

/// What an item decides.
enum Decision {
    /// It fits, or fits not; with its value, which a "no" has too.
    Fits(Match, Option<Text>),
    /// It could not be decided: the list ends with this, and with it a list of which it is a file.
    Undecided(Match),
}

/// How a run ended.
enum Outcome {
    /// An item decided.
    Decided(Decision),
    /// The end was reached.
    End,
}

impl Walk<'_> {
    /// The whole list: the end decides by the last item.
    pub(super) fn run(&self, context: &mut Context) -> Result<Match, Defer> {
        let mut state = State::new(self.subject);
        match self.decide(context, &mut state)? {
            Outcome::Decided(decision) => Ok(decision.result()),
            Outcome::End => {
                let yes = self.ends_negated(context)?;
                self.tell(context, yes, || "end of list".to_owned());
                Ok(if yes { Match::Yes { data: None } } else { Match::No })
            }
        }
    }

    /// Whether the last item is negated: that of the file, if the list ends with a file name. Words such as `+caseful` are none.
    fn ends_negated(&self, context: &Context) -> Result<bool, Defer> {
        let is_item = |item: &&Item| !matches!(item.pattern, Pattern::Switch(_));
        let Some(item) = self.items.all().iter().rev().find(is_item) else { return Ok(false) };
        if !matches!(item.pattern, Pattern::File) {
            return Ok(item.negated);
        }
        let lines = file::read(context, self.kind(), &item.text)?;
        Ok(lines.all().last().is_some_and(|line| line.negated) != item.negated)
    }

    /// A list that may go on elsewhere: None if its end was reached and `last` is false.
    pub(super) fn run_chain(&self, context: &mut Context, last: bool) -> Result<Option<Match>, Defer> {
        if last {
            return self.run(context).map(Some);
        }
        let mut state = State::new(self.subject);
        Ok(match self.decide(context, &mut state)? {
            Outcome::Decided(decision) => Some(decision.result()),
            Outcome::End => None,
        })
    }

    /// The items; a list inside an item (a file) does not decide by its end.
    fn decide(&self, context: &mut Context, state: &mut State) -> Result<Outcome, Defer> {
        if !state.caseful
            && let Some(index) = self.items.index()
        {
            let plain = index_key(self.subject).and_then(|key| index.plain.get(&key).copied());
            let before = plain.unwrap_or(usize::MAX);
            for position in index.others.iter().copied().take_while(|p| *p < before).chain(plain) {
                if let Some(item) = self.items.all().get(position)
                    && let Some(decision) = self.try_item(context, item, state)?
                {
                    return Ok(Outcome::Decided(decision));
                }
            }
            return Ok(Outcome::End);
        }
        for item in self.items.all() {
            if let Some(decision) = self.try_item(context, item, state)? {
                return Ok(Outcome::Decided(decision));
            }
        }
        Ok(Outcome::End)
    }

    /// Some if the item decides.
    fn try_item(
        &self,
        context: &mut Context,
        item: &Item,
        state: &mut State,
    ) -> Result<Option<Decision>, Defer> {
        let (fits, data) = match self.step(context, item, state)? {
            Step::Miss => return Ok(None),
            Step::Hit(data) => (true, data),
            Step::Against(data) => (false, data),
            Step::Ends(result) => return Ok(Some(Decision::Undecided(result))),
            Step::Unknown(why) => return Ok(self.missing(context, state.unknown, &why, "unknown")),
            Step::Unanswered(why) if state.defer == Missing::Fail => return Err(Defer::Remote(why)),
            Step::Unanswered(why) => return Ok(self.missing(context, state.defer, &why, "defer")),
        };
        let yes = fits != item.negated;
        self.tell(context, yes, || {
            format!("matched \"{}{}\"", if item.negated { "!" } else { "" }, item.text)
        });
        let result = if yes { Match::Yes { data: data.clone() } } else { Match::No };
        Ok(Some(Decision::Fits(result, data)))
    }

    fn missing(&self, context: &mut Context, wanted: Missing, why: &str, what: &str) -> Option<Decision> {
        match wanted {
            Missing::Ignore => {
                trace(context, || format!("{why}: item ignored by +ignore_{what}"));
                None
            }
            Missing::Include => {
                self.tell(context, true, || why.to_owned());
                super::surroundings::log_main(context, &format!("{why}: accepted by +include_{what}"));
                Some(Decision::Undecided(Match::Yes { data: None }))
            }
            Missing::Fail => {
                self.tell(context, false, || why.to_owned());
                super::surroundings::log_unknown(context, why);
                Some(Decision::Undecided(Match::No))
            }
        }
    }

    fn step(&self, context: &mut Context, item: &Item, state: &mut State) -> Result<Step, Defer> {
        match &item.pattern {
            Pattern::Faulty(text) => Err(Defer::Config(text.clone())),
            Pattern::Switch(switch) => {
                state.apply(*switch);
                Ok(Step::Miss)
            }
            Pattern::Named(name) => self.named(context, name, self.kind()),
            Pattern::File => self.file(context, item, state),
            Pattern::Empty
            | Pattern::Anything
            | Pattern::LocalName
            | Pattern::LocalAddress
            | Pattern::Mx { .. }
            | Pattern::EndsWith(_)
            | Pattern::Regex(_)
            | Pattern::Literal
            | Pattern::Lookup(_)
            | Pattern::HostLookup { .. }
            | Pattern::Network(_)
            | Pattern::MalformedAddress
            | Pattern::Address { .. }
            | Pattern::DomainOnly(_)
            | Pattern::LocalPartsOf(_) => match self.subject {
                Subject::Domain(text) => domain::step(context, item, text, false),
                Subject::LocalPart { text, .. } | Subject::String { text, .. } => {
                    domain::step(context, item, text, state.caseful)
                }
                Subject::Address { address, captures, .. } => {
                    let subject = address::Subject { address, caseful: state.caseful, captures: *captures };
                    address::step(context, item, &subject, self.nesting, self.in_file)
                }
                Subject::Host { address, name } => host::step(context, item, *address, *name, self.in_file),
            },
        }
    }

    fn kind(&self) -> ListKind {
        match self.subject {
            Subject::Domain(_) => ListKind::Domain,
            Subject::LocalPart { .. } => ListKind::LocalPart,
            Subject::String { .. } => ListKind::String,
            Subject::Address { .. } => ListKind::Address,
            Subject::Host { .. } => ListKind::Host,
        }
    }

    fn named(&self, context: &mut Context, name: &[u8], kind: ListKind) -> Result<Step, Defer> {
        Ok(match named::matches(context, kind, name, self.subject, self.nesting)? {
            Match::Yes { data } => Step::Hit(data),
            Match::No => Step::Miss,
        })
    }

    /// The lines of a file are items of this list: one that decides, decides; the file's end does not.
    fn file(&self, context: &mut Context, item: &Item, state: &mut State) -> Result<Step, Defer> {
        let lines = file::read(context, self.kind(), &item.text)?;
        let walk = Walk {
            items: &lines,
            subject: self.subject,
            label: self.label,
            nesting: self.nesting,
            in_file: true,
        };
        Ok(match walk.decide(context, state)? {
            Outcome::End => Step::Miss,
            Outcome::Decided(Decision::Fits(Match::Yes { data }, _)) => Step::Hit(data),
            Outcome::Decided(Decision::Fits(Match::No, data)) => Step::Against(data),
            Outcome::Decided(Decision::Undecided(result)) => Step::Ends(result),
        })
    }

    /// The line that `-bh` and `-d+lists` show about the whole list.
    fn tell(&self, context: &Context, yes: bool, why: impl FnOnce() -> String) {
        trace(context, || {
            let list = match self.label {
                Some(label) => label.to_owned(),
                None => format!("\"{}\"", self.items.text()),
            };
            format!("{} in {list}? {} ({})", show(self.subject), if yes { "yes" } else { "no" }, why())
        });
    }
}

impl Decision {
    fn result(self) -> Match {
        match self {
            Decision::Fits(result, _) | Decision::Undecided(result) => result,
        }
    }
}

impl State {
    fn new(subject: &Subject<'_>) -> State {
        let caseful = match subject {
            Subject::LocalPart { caseful, .. }
            | Subject::String { caseful, .. }
            | Subject::Address { caseful, .. } => *caseful,
            Subject::Domain(_) | Subject::Host { .. } => false,
        };
        State { caseful, unknown: Missing::Fail, defer: Missing::Fail }
    }

    fn apply(&mut self, switch: Switch) {
        match switch {
            Switch::Caseful => self.caseful = true,
            Switch::IncludeUnknown => self.unknown = Missing::Include,
            Switch::IgnoreUnknown => self.unknown = Missing::Ignore,
            Switch::IncludeDefer => self.defer = Missing::Include,
            Switch::IgnoreDefer => self.defer = Missing::Ignore,
        }
    }
}

/// The key of the subject in the table of plain items.
fn index_key(subject: &Subject<'_>) -> Option<Vec<u8>> {
    match subject {
        Subject::Domain(text)
        | Subject::LocalPart { text, .. }
        | Subject::String { text, .. }
        | Subject::Address { address: text, captures: false, .. } => {
            Some(text.as_bytes().to_ascii_lowercase())
        }
        Subject::Address { .. } => None,
        Subject::Host { address, .. } => address.map(|a| a.to_canonical().to_string().into_bytes()),
    }
}

/// The subject as the traces show it.
pub(super) fn show(subject: &Subject<'_>) -> String {
    match subject {
        Subject::Domain(text) | Subject::LocalPart { text, .. } | Subject::String { text, .. } => {
            text.to_string()
        }
        Subject::Address { address, .. } => address.to_string(),
        Subject::Host { name: HostName::None, address: Some(address) } => address.to_string(),
        Subject::Host { .. } => "host".to_owned(),
    }
}

/// A line about how a list is matched, for `-bh` and `-d+lists`.
pub(super) fn trace(context: &Context, text: impl FnOnce() -> String) {
    if context.connection.host_checking {
        eprintln!(">>> {}", text());
    } else {
        debug::line(debug::LISTS, text);
    }
}
