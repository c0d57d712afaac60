//! How `exipick` shows the messages that fit.

use std::io::{self, BufWriter, Write};

use oxim_lang::regex::Regex;

use super::held::Held;
use super::options::{Form, Options};
use crate::mode::list_queue;

/// Shows them. `count` is how many there were to choose from.
pub(super) fn show(chosen: &[Held], count: usize, options: &Options) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let total: u64 = chosen.iter().map(Held::size).fold(0, u64::saturating_add);
    let in_brackets = if options.size { format!(" ({total})") } else { String::new() };
    match options.form {
        Form::Count => writeln!(out, "{}{in_brackets}", chosen.len())?,
        Form::Matches => {
            writeln!(out, "{} matches out of {count} messages{in_brackets}", chosen.len())?;
        }
        _ if options.size => writeln!(out, "{total}")?,
        _ => {
            for held in chosen {
                one(&mut out, held, options)?;
            }
        }
    }
    out.flush()
}

/// The variables that are shown, with their values.
fn variables(held: &Held, options: &Options) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for wanted in &options.show_vars {
        let names = match wanted.strip_prefix('^') {
            None => vec![wanted.clone()],
            Some(_) => match Regex::compile(wanted.as_bytes(), true) {
                Ok(regex) => held
                    .names()
                    .into_iter()
                    .filter(|n| regex.is_match(n.as_bytes()).unwrap_or(false))
                    .collect(),
                Err(_) => Vec::new(),
            },
        };
        for name in names {
            let value = held.value(&name.to_lowercase()).unwrap_or_default();
            shown.push((name, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    shown
}

fn in_a_row(variables: &[(String, String)], separator: &str) -> String {
    let shown: Vec<String> = variables.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
    if shown.is_empty() { String::new() } else { format!(" {}", shown.join(separator)) }
}

fn one(out: &mut impl Write, held: &Held, options: &Options) -> io::Result<()> {
    let message = &held.message;
    let variables = variables(held, options);
    let sender = String::from_utf8_lossy(&message.sender).into_owned();
    let frozen = if message.frozen.is_some() { " *** frozen ***" } else { "" };
    match options.form {
        Form::Ids => writeln!(out, "{}{}", message.id, in_a_row(&variables, " ")),
        Form::Brief => {
            write!(out, "{} From: <{sender}> To: {}", message.id, addresses(held, ";"))?;
            if !variables.is_empty() {
                write!(out, " Vars:{}", in_a_row(&variables, ";"))?;
            }
            writeln!(out)
        }
        Form::Flat => {
            // Variables stand where the size is.
            let middle = if variables.is_empty() {
                format!(" {}", list_queue::size(held.size()))
            } else {
                in_a_row(&variables, ";")
            };
            let age = list_queue::age(held.age());
            writeln!(out, "{age}{middle} {} <{sender}>{frozen} {}", message.id, addresses(held, " "))
        }
        Form::Queue | Form::Count | Form::Matches => {
            let (age, size) = (list_queue::age(held.age()), list_queue::size(held.size()));
            writeln!(out, "{age} {size} {} <{sender}>{frozen}", message.id)?;
            for (name, value) in &variables {
                writeln!(out, "{name:>27} = '{value}'")?;
            }
            in_lines(out, held, options)
        }
    }
}

fn addresses(held: &Held, separator: &str) -> String {
    let undelivered = held.each("recipients_undel").unwrap_or_default();
    undelivered.iter().map(|a| String::from_utf8_lossy(a)).collect::<Vec<_>>().join(separator)
}

fn in_lines(out: &mut impl Write, held: &Held, options: &Options) -> io::Result<()> {
    let message = &held.message;
    for recipient in &message.recipients {
        let address = String::from_utf8_lossy(&recipient.address);
        match (message.is_done(&recipient.address), options.undelivered_only) {
            (false, _) => writeln!(out, "          {address}")?,
            (true, false) => writeln!(out, "        D {address}")?,
            (true, true) => {}
        }
    }
    if options.with_generated {
        let is_recipient = |address: &Vec<u8>| message.recipients.iter().any(|r| r.address == *address);
        for address in message.non_recipients.iter().filter(|a| !is_recipient(a)) {
            writeln!(out, "       +D {}", String::from_utf8_lossy(address))?;
        }
    }
    writeln!(out)
}
