//! `oxim queue`: lists the queue, shows messages, and acts on them, chosen by any field.
//!
//! Messages are chosen by ids and by criteria as exipick has them (`sender_address = example`, `message_age > 3h`). To act on all that
//! there are, `--all` must be said. What acting prints and logs is what `-M…` does. Exit codes: 2 for wrong words, 1 if
//! something could not be done.

use std::io::{self, Write};

use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use oxim_mail::message_id::MessageId;
use oxim_spool::files::directories::Directories;
use serde_json::{Value, json};

use crate::args::{CommandLine, Listing, MessageAction, MessageCommand, Mode};
use crate::assemble::Program;
use crate::tool::exipick::criteria::{self, Criterion};
use crate::tool::exipick::held::{self, Held};
use crate::tool::exipick::options::Options;
use crate::{control, mode};

const USAGE: &str = "usage: oxim queue [list|show] [options] [ID|CRITERION]...
       oxim queue ACTION [options] [ID|CRITERION]...

  list          a line for each message (the default); show: all that is known
  ACTION        deliver, freeze, thaw, remove, give-up, mark-delivered, move QUEUE
  CRITERION     FIELD, !FIELD, or FIELD OPERATOR VALUE in one word:
                'sender_address = example', 'message_age > 3h', deliver_freeze;
                the fields are exipick's; all criteria must hold
  --json        JSON, a message a line
  --queue NAME  only this queue; without it all of them
  --any         one criterion is enough
  --all         acts on all messages, if there is no criterion
  -C FILE       the configuration";

/// What to do with the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    List,
    Show,
    Act(MessageAction, Option<Vec<u8>>),
}

/// The command line.
#[derive(Debug)]
pub(crate) struct Wish {
    deed: Deed,
    json: bool,
    queue: Option<Vec<u8>>,
    any: bool,
    all: bool,
    config: Option<Vec<u8>>,
    ids: Vec<MessageId>,
    criteria: Vec<Vec<u8>>,
}

const ACTIONS: &[(&str, MessageAction)] = &[
    ("deliver", MessageAction::DeliverForced),
    ("freeze", MessageAction::Freeze),
    ("thaw", MessageAction::Thaw),
    ("remove", MessageAction::Remove),
    ("give-up", MessageAction::GiveUp),
    ("mark-delivered", MessageAction::MarkAllDelivered),
    ("move", MessageAction::MoveToQueue),
];

impl Wish {
    /// Reads the words behind `queue`. The error is what to print.
    pub(crate) fn read(words: &[Vec<u8>]) -> Result<Wish, String> {
        let mut words = words.iter().peekable();
        let mut wish = Wish {
            deed: Deed::List,
            json: false,
            queue: None,
            any: false,
            all: false,
            config: None,
            ids: Vec::new(),
            criteria: Vec::new(),
        };
        let first = words.peek().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
        let action = ACTIONS.iter().find(|(name, _)| *name == first).map(|(_, action)| *action);
        if matches!(first.as_str(), "list" | "show") || action.is_some() {
            words.next();
        }
        match action {
            Some(MessageAction::MoveToQueue) => {
                let queue = words.next().cloned().ok_or_else(|| USAGE.to_owned())?;
                wish.deed = Deed::Act(MessageAction::MoveToQueue, Some(queue));
            }
            Some(action) => wish.deed = Deed::Act(action, None),
            None if first == "show" => wish.deed = Deed::Show,
            None => {}
        }
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"--json" => wish.json = true,
                b"--any" => wish.any = true,
                b"--all" => wish.all = true,
                b"--queue" => wish.queue = Some(words.next().cloned().ok_or_else(|| USAGE.to_owned())?),
                b"-C" => wish.config = Some(words.next().cloned().ok_or_else(|| USAGE.to_owned())?),
                option if option.starts_with(b"-") => return Err(USAGE.to_owned()),
                other => match MessageId::parse(other) {
                    Some(id) => wish.ids.push(id),
                    None => wish.criteria.push(other.to_vec()),
                },
            }
        }
        let chooses = !wish.ids.is_empty() || !wish.criteria.is_empty();
        if matches!(wish.deed, Deed::Act(..)) && chooses == wish.all {
            return Err("which messages? Give ids, criteria, or --all alone".to_owned());
        }
        Ok(wish)
    }

    /// Whether a configuration is named.
    pub(crate) fn names_configuration(&self) -> bool {
        self.config.is_some()
    }

    /// Whether it shows no more than `-bp` does, and chooses by no more.
    pub(crate) fn is_plain_list(&self) -> bool {
        self.deed == Deed::List && self.criteria.is_empty()
    }

    /// The command line of Exim's that needs the same rights.
    pub(crate) fn line(&self) -> CommandLine {
        let mode = match &self.deed {
            Deed::List | Deed::Show => Mode::ListQueue(Listing::default()),
            Deed::Act(action, _) => Mode::Message(MessageCommand { action: *action, words: Vec::new() }),
        };
        CommandLine { mode, ..CommandLine::of_configuration(self.config.as_deref()) }
    }
}

/// Does it.
pub(crate) fn run(program: &Program, wish: &Wish) -> u8 {
    let chosen = match chosen(program, wish) {
        Ok(chosen) => chosen,
        Err((code, text)) => {
            complain!("exim: {text}");
            return code;
        }
    };
    match &wish.deed {
        Deed::List | Deed::Show => u8::from(show(&chosen, wish).is_err()),
        Deed::Act(action, argument) => act(program, *action, argument.as_ref(), &chosen),
    }
}

/// A message and its queue.
struct Chosen {
    queue: String,
    held: Held,
}

fn chosen(program: &Program, wish: &Wish) -> Result<Vec<Chosen>, (u8, String)> {
    let criteria: Result<Vec<Criterion>, String> =
        wish.criteria.iter().map(|text| Criterion::parse(text, false, false)).collect();
    let criteria = criteria.map_err(|text| (2, text))?;
    let options = Options { any: wish.any, ..Options::default() };
    let spool = &program.services.spool_directory;
    control::flush(spool);
    let queues: Vec<Vec<u8>> = match &wish.queue {
        Some(queue) => vec![queue.clone()],
        None => {
            let named = Directories::open(spool, None, false)
                .map_err(|error| (1, format!("{}: {}", spool.display(), error_text(&error))))?
                .queue_names();
            std::iter::once(Vec::new()).chain(named.iter().map(|name| name.to_vec())).collect()
        }
    };
    let now = Stamp::now().seconds;
    let mut all = Vec::new();
    for queue in queues {
        let name = String::from_utf8_lossy(&queue).into_owned();
        if name.contains(['/', '\0']) || name.starts_with('.') {
            return Err((2, format!("{name} is no name of a queue")));
        }
        let directory = spool.join(&name).join("input");
        let sources = match held::sources(&directory) {
            Ok(sources) => sources,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((1, format!("{}: {}", directory.display(), error_text(&error)))),
        };
        for source in sources {
            match Held::read(source, now) {
                Ok(held) if is_wanted(&held, wish, &criteria, &options) => {
                    all.push(Chosen { queue: name.clone(), held });
                }
                Ok(_) => {}
                Err(text) => complain!("exim: {text}"),
            }
        }
    }
    all.sort_by_key(|chosen| chosen.held.arrival());
    Ok(all)
}

fn is_wanted(held: &Held, wish: &Wish, criteria: &[Criterion], options: &Options) -> bool {
    (wish.ids.is_empty() || wish.ids.contains(&held.message.id)) && criteria::choose(held, criteria, options)
}

fn act(program: &Program, action: MessageAction, argument: Option<&Vec<u8>>, chosen: &[Chosen]) -> u8 {
    if chosen.is_empty() {
        say!("no message fits");
        return 0;
    }
    let ids = chosen.iter().map(|chosen| chosen.held.message.id.as_bytes().to_vec());
    let words = argument.cloned().into_iter().chain(ids).collect();
    mode::message::run(program, &MessageCommand { action, words })
}

fn show(all: &[Chosen], wish: &Wish) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for chosen in all {
        match (wish.json, wish.deed == Deed::Show) {
            (true, whole) => writeln!(out, "{}", as_json(chosen, whole))?,
            (false, false) => writeln!(out, "{}", in_a_line(chosen))?,
            (false, true) => out.write_all(in_full(chosen).as_bytes())?,
        }
    }
    out.flush()
}

/// Age, size, id, sender, recipients that are left, and what is out of the ordinary.
fn in_a_line(chosen: &Chosen) -> String {
    let (held, message) = (&chosen.held, &chosen.held.message);
    let left: Vec<String> = held
        .each("recipients_undel")
        .unwrap_or_default()
        .iter()
        .map(|address| String::from_utf8_lossy(address).into_owned())
        .collect();
    let mut line = format!(
        "{} {} {} <{}> {}",
        super::list_queue::age(held.age()),
        super::list_queue::size(held.size()),
        message.id,
        String::from_utf8_lossy(&message.sender),
        left.join(",")
    );
    if message.frozen.is_some() {
        line.push_str(" frozen");
    }
    if !chosen.queue.is_empty() {
        line.push_str(&format!(" queue={}", chosen.queue));
    }
    line
}

/// Everything, a field a line.
fn in_full(chosen: &Chosen) -> String {
    let mut out = format!("{}\n  queue = '{}'\n", chosen.held.message.id, chosen.queue);
    for name in chosen.held.names() {
        let value = chosen.held.value(&name).unwrap_or_default();
        let text = String::from_utf8_lossy(&value).trim_end().replace('\n', "\n    ");
        out.push_str(&format!("  {name} = '{text}'\n"));
    }
    out.push('\n');
    out
}

/// The same for programs.
fn as_json(chosen: &Chosen, whole: bool) -> Value {
    let (held, message) = (&chosen.held, &chosen.held.message);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let recipients: Vec<Value> = message
        .recipients
        .iter()
        .map(|r| json!({ "address": text(&r.address), "done": message.is_done(&r.address) }))
        .collect();
    let mut value = json!({
        "id": message.id.to_string(),
        "queue": chosen.queue,
        "received": message.received.seconds,
        "age": held.age(),
        "size": held.size(),
        "sender": text(&message.sender),
        "frozen": message.frozen,
        "recipients": recipients,
        "protocol": message.protocol.as_deref().map(text),
        "host": message.host.as_ref().map(|host| host.address.to_string()),
        "host_name": message.host.as_ref().and_then(|host| host.name.as_deref()).map(text),
        "authenticated_id": message.auth_id.as_deref().map(text),
    });
    if whole && let Some(object) = value.as_object_mut() {
        let fields: serde_json::Map<String, Value> = held
            .names()
            .into_iter()
            .map(|name| {
                let value = held.value(&name).unwrap_or_default();
                (name, Value::String(text(&value)))
            })
            .collect();
        object.insert("fields".to_owned(), Value::Object(fields));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Wish, String> {
        Wish::read(&words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn words_say_what_to_do_with_which() {
        assert_eq!(read(&[]).unwrap().deed, Deed::List);
        let wish = read(&["show", "--json", "1xUbRL-0004r9-33", "message_age > 3h"]).unwrap();
        assert_eq!((wish.deed, wish.json, wish.ids.len(), wish.criteria.len()), (Deed::Show, true, 1, 1));
        let wish = read(&["move", "slow", "deliver_freeze"]).unwrap();
        assert_eq!(wish.deed, Deed::Act(MessageAction::MoveToQueue, Some(b"slow".to_vec())));
        assert!(read(&["remove", "--all"]).is_ok());
        for wrong in [&["remove"][..], &["remove", "--all", "x"], &["list", "--bogus"], &["move"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
