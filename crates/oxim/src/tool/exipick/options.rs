//! The options of `exipick`: long names after one or two hyphens, `=` or the next word for values, and exiqgrep's letters.

/// What `--help` says.
pub(crate) const HELP: &str = "exipick: lists the queued messages that fit

usage: exipick [options] [criterion ...]

Criteria: [!]$variable, or $variable OPERATOR value, with the operators
  < <= > >= == !=   numbers; with the units d h m s M K B
  eq ne = =~ !~     strings; = and =~ take regular expressions

Which messages fit:
  --and --or        all criteria (the default), or any
  --not             each criterion is turned round
  --caseful         = heeds the case
  -f -r -s -o -y -z -x  as exiqgrep has them, but heeding the case
Where they are:
  -C, --config FILE     the configuration that names the spool directory
  --spool DIRECTORY     the spool directory
  --queue NAME          the queue
  --input-dir NAME      the directory in it (input)
  --finput              as --input-dir Finput
  --freeze FILE         keeps the queue in a file
  --thaw FILE           reads it from there
How they are shown:
  -bp -l            as Exim lists them (the default)
  -bpa -bpu         with generated addresses; without delivered ones
  -bpr -bpra -bpru  the same, unsorted
  -b  --flatq  -i   a line each; ids only
  -bpc -c  --size   how many; how many bytes
  --show-vars LIST  with variables; ^ begins a regular expression
  --sort LIST  --unsorted  --random  -R, --reverse
  --show-rules --show-tests   what is tested, and with what result
  --version  --help
";

/// What wrong options are answered with.
pub(crate) const USAGE: &str =
    "Usage:\n      exipick [<options>] [<criterion> [<criterion> ...]]\n      exipick --help|--man\n";

/// How messages are shown. Of several that are asked for, the last in this order counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// As `exim -bp`.
    #[default]
    Queue,
    /// Ids.
    Ids,
    /// A line with sender and recipients.
    Brief,
    /// A line as `exim -bp` has it.
    Flat,
    /// A number (`-bpc`).
    Count,
    /// A sentence (`-c`).
    Matches,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub form: Form,
    pub undelivered_only: bool,
    pub with_generated: bool,
    pub any: bool,
    pub not: bool,
    pub caseful: bool,
    pub random: bool,
    pub reverse: bool,
    pub unsorted: bool,
    pub size: bool,
    pub show_rules: bool,
    pub show_tests: bool,
    pub show_vars: Vec<String>,
    pub sort: Vec<String>,
    pub config: Option<Vec<u8>>,
    pub spool: Option<Vec<u8>>,
    pub queue: Vec<u8>,
    pub input: Vec<u8>,
    pub freeze: Option<Vec<u8>>,
    pub thaw: Option<Vec<u8>>,
    pub criteria: Vec<Vec<u8>>,
}

/// Why options are not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Help was asked for.
    Help,
    /// What to say.
    Unknown(String),
}

const VALUED: &[&str] = &[
    "C",
    "config",
    "charset",
    "f",
    "freeze",
    "input-dir",
    "o",
    "queue",
    "r",
    "s",
    "spool",
    "show-vars",
    "thaw",
    "sort",
    "y",
];
const PLAIN: &[&str] = &[
    "and",
    "b",
    "bp",
    "bpa",
    "bpc",
    "bpr",
    "bpra",
    "bpru",
    "bpu",
    "c",
    "caseful",
    "finput",
    "flatq",
    "help",
    "i",
    "l",
    "man",
    "not",
    "or",
    "R",
    "random",
    "reverse",
    "show-rules",
    "show-tests",
    "size",
    "unsorted",
    "x",
    "z",
];

impl Options {
    /// Whether it reads the queue of the usual configuration, and neither reads nor writes anything else.
    pub(crate) fn stays_in_queue(&self) -> bool {
        let named = [&self.config, &self.spool, &self.freeze, &self.thaw];
        named.iter().all(|name| name.is_none())
            && [&self.queue, &self.input].iter().all(|name| !name.contains(&b'/') && !name.starts_with(b"."))
    }

    /// Whether it shows no more than `exim -bp` does, and chooses by no more.
    pub(crate) fn is_plain_list(&self) -> bool {
        let chooses = !self.criteria.is_empty() || !self.sort.is_empty() || self.input != b"input";
        !chooses && !self.show_tests && self.show_vars.is_empty()
    }

    /// Reads the words behind the name.
    pub(crate) fn read(words: &[Vec<u8>]) -> Result<Options, Wrong> {
        let mut options = Options { input: b"input".to_vec(), ..Options::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == b"--" {
                options.criteria.extend(words.by_ref().cloned());
                break;
            }
            let Some(body) = word.strip_prefix(b"-").filter(|body| !body.is_empty()) else {
                options.criteria.push(word.clone());
                continue;
            };
            let body = body.strip_prefix(b"-").unwrap_or(body);
            let (name, given) = match body.iter().position(|b| *b == b'=') {
                Some(at) => (body.get(..at).unwrap_or_default(), body.get(at + 1..).map(<[u8]>::to_vec)),
                None => (body, None),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            match whole_name(&name) {
                Some(name) if VALUED.contains(&name) => {
                    let value = given.or_else(|| words.next().cloned());
                    let value =
                        value.ok_or_else(|| Wrong::Unknown(format!("Option {name} requires an argument")))?;
                    options.valued(name, value)?;
                }
                Some(name) => options.plain(name)?,
                None => options.bundle(&name)?,
            }
        }
        Ok(options)
    }

    /// Exiqgrep's letters may stand in one word.
    fn bundle(&mut self, name: &str) -> Result<(), Wrong> {
        let unknown = || Wrong::Unknown(format!("Unknown option: {name}"));
        if name.is_empty() || !name.bytes().all(|b| b"bcilRxz".contains(&b)) {
            return Err(unknown());
        }
        name.bytes()
            .try_for_each(|b| self.plain(PLAIN.iter().find(|p| p.as_bytes() == [b]).ok_or_else(unknown)?))
    }

    fn plain(&mut self, name: &str) -> Result<(), Wrong> {
        match name {
            "and" => self.any = false,
            "or" => self.any = true,
            "not" => self.not = true,
            "b" => self.form = self.form.max(Form::Brief),
            "c" => self.form = self.form.max(Form::Matches),
            "i" => self.form = self.form.max(Form::Ids),
            "flatq" => self.form = self.form.max(Form::Flat),
            "bpc" => self.form = self.form.max(Form::Count),
            "bp" | "l" => {}
            "caseful" => self.caseful = true,
            "finput" => self.input = b"Finput".to_vec(),
            "R" | "reverse" => self.reverse = true,
            "random" => self.random = true,
            "unsorted" => self.unsorted = true,
            "show-rules" => self.show_rules = true,
            "show-tests" => self.show_tests = true,
            "size" => self.size = true,
            "x" => self.criteria.push(b"!$deliver_freeze".to_vec()),
            "z" => self.criteria.push(b"$deliver_freeze".to_vec()),
            "help" | "man" => return Err(Wrong::Help),
            kin => {
                self.with_generated |= kin.contains('a');
                self.undelivered_only |= kin.contains('u');
                self.unsorted |= kin.contains('r');
            }
        }
        Ok(())
    }

    fn valued(&mut self, name: &str, value: Vec<u8>) -> Result<(), Wrong> {
        let list = |value: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(value);
            text.split(',').map(|name| name.trim_start_matches('$').to_owned()).collect()
        };
        let criterion = |before: &str, after: &str| [before.as_bytes(), &value, after.as_bytes()].concat();
        match name {
            "C" | "config" => self.config = Some(value),
            "charset" if value.eq_ignore_ascii_case(b"utf-8") => {}
            "charset" => {
                return Err(Wrong::Unknown(
                    "option --charset is not implemented yet but for UTF-8".to_owned(),
                ));
            }
            "f" => self.criteria.push(criterion("$sender_address =~ /", "/")),
            "r" => self.criteria.push(criterion("$recipients =~ /", "/")),
            "s" => self.criteria.push(criterion("$shown_message_size eq ", "")),
            "o" => self.criteria.push(criterion("$message_age > ", "")),
            "y" => self.criteria.push(criterion("$message_age < ", "")),
            "freeze" => self.freeze = Some(value),
            "thaw" => self.thaw = Some(value),
            "queue" => self.queue = value,
            "input-dir" => self.input = value,
            "spool" => self.spool = Some(value),
            "show-vars" => self.show_vars.extend(list(&value)),
            _ => self.sort.extend(list(&value)),
        }
        Ok(())
    }
}

/// The name, or the only long one that it begins.
fn whole_name(given: &str) -> Option<&'static str> {
    let all = || VALUED.iter().chain(PLAIN).copied();
    if let Some(exact) = all().find(|name| *name == given) {
        return Some(exact);
    }
    let mut begun =
        all().filter(|name| name.starts_with(given) && given.len() > 1 && !given.starts_with("bp"));
    begun.next().filter(|_| begun.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, Wrong> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        Options::read(&words)
    }

    #[test]
    fn names_may_be_short_and_letters_together() {
        let options = read("-zi --show-v message_age,^rec --sort=$message_size -R -o 5").unwrap();
        assert_eq!((options.form, options.reverse), (Form::Ids, true));
        assert_eq!(options.show_vars, ["message_age", "^rec"]);
        assert_eq!(options.sort, ["message_size"]);
        assert_eq!(options.criteria, [b"$deliver_freeze".to_vec(), b"$message_age > 5".to_vec()]);
        let options = read("-bpru").unwrap();
        assert!(options.unsorted && options.undelivered_only && !options.with_generated);
        assert!(matches!(read("--bogus"), Err(Wrong::Unknown(_))));
        assert!(matches!(read("--spool"), Err(Wrong::Unknown(_))));
        assert_eq!(read("--help").unwrap_err(), Wrong::Help);
    }
}
