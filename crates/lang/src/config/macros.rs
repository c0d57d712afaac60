//! Macros of the configuration file, and their replacement in a line.
//!
//! Manual sections 6.4 to 6.9. Replacement goes through the macros in the order of their definition, and does not look
//! again for a macro in what it put in for it. A file has hundreds of lines and there are about a thousand predefined
//! macros, so a line is not searched for each: it is searched once for places where some macro may start.

use super::builtin::Builtins;
use super::error::ConfigError;

/// Longest line. Macros that double what earlier ones hold would otherwise fill the memory.
pub(super) const LINE_BYTES_MAX: usize = 1 << 24;

/// One macro of the file or of the command line.
#[derive(Clone, Debug)]
pub struct Macro {
    /// Its name.
    pub name: String,
    /// What is put in its place.
    pub value: String,
    /// Defined by `-D`: definitions in the file are ignored.
    pub is_from_command_line: bool,
}

/// All macros known so far.
#[derive(Clone, Debug)]
pub struct Macros {
    builtins: Builtins,
    defined: Vec<Macro>,
    /// For each capital letter, the macros that begin with it.
    by_letter: [Vec<usize>; 26],
}

fn letter_index(byte: u8) -> Option<usize> {
    byte.is_ascii_uppercase().then(|| usize::from(byte.wrapping_sub(b'A')))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A line of the form `NAME = value` or `NAME == value` taken apart.
pub struct Definition<'a> {
    /// The name.
    pub name: &'a str,
    /// `==`.
    pub is_redefinition: bool,
    /// The value without white space around it.
    pub value: &'a str,
}

/// Takes a definition apart; None if the line is none.
#[must_use]
pub fn definition(line: &str) -> Option<Definition<'_>> {
    let (name, rest) = leading_name(line)?;
    let rest = rest.trim_start().strip_prefix('=')?;
    let (is_redefinition, value) = match rest.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, rest),
    };
    Some(Definition { name, is_redefinition, value: value.trim() })
}

/// The name at the start of a line that begins with a capital letter, and the rest of the line.
fn leading_name(line: &str) -> Option<(&str, &str)> {
    if !line.as_bytes().first().is_some_and(u8::is_ascii_uppercase) {
        return None;
    }
    let length = line.bytes().take_while(|byte| is_name_byte(*byte)).count();
    line.split_at_checked(length)
}

impl Macros {
    /// The predefined macros, and those of the command line.
    #[must_use]
    pub fn new(builtins: Builtins, command_line: &[(String, String)]) -> Macros {
        let mut macros = Macros { builtins, defined: Vec::new(), by_letter: Default::default() };
        for (name, value) in command_line {
            macros.push(Macro { name: name.clone(), value: value.clone(), is_from_command_line: true });
        }
        macros
    }

    fn push(&mut self, new: Macro) {
        let at = self.defined.len();
        if let Some(list) =
            new.name.bytes().next().and_then(letter_index).and_then(|letter| self.by_letter.get_mut(letter))
        {
            list.push(at);
        }
        self.defined.push(new);
    }

    /// The macros of the command line and the file, in the order of definition.
    #[must_use]
    pub fn defined(&self) -> &[Macro] {
        &self.defined
    }

    /// The predefined ones.
    #[must_use]
    pub fn builtins(&self) -> &Builtins {
        &self.builtins
    }

    /// Defines or redefines a macro.
    ///
    /// # Errors
    /// A second definition without `==`, a redefinition of nothing, a name that contains an earlier one.
    pub fn define(&mut self, definition: &Definition<'_>) -> Result<(), ConfigError> {
        let name = definition.name;
        for known in &mut self.defined {
            if known.name == name {
                if known.is_from_command_line {
                    return Ok(());
                }
                if !definition.is_redefinition {
                    return Err(ConfigError::new(format!(
                        "macro \"{name}\" is already defined (use \"==\" if you want to redefine it)"
                    )));
                }
                definition.value.clone_into(&mut known.value);
                return Ok(());
            }
            if known.name.len() < name.len() && name.contains(known.name.as_str()) {
                return Err(ConfigError::new(format!(
                    "\"{name}\" cannot be defined as a macro because previously defined macro \"{}\" is a substring",
                    known.name
                )));
            }
        }
        if definition.is_redefinition {
            return Err(ConfigError::new(format!("can't redefine an undefined macro \"{name}\"")));
        }
        self.push(Macro {
            name: name.to_owned(),
            value: definition.value.to_owned(),
            is_from_command_line: false,
        });
        Ok(())
    }

    /// Replaces macros in `line`, in place. With `keeps_name`, a line that defines a macro keeps that macro's name.
    /// True if anything was replaced.
    pub fn replace(&self, line: &mut String, keeps_name: bool) -> bool {
        let from = if keeps_name { definition_value_start(line) } else { 0 };
        let mut replaced = self.replace_builtins(line, from);
        let mut order = 0;
        while let Some((at, name, value)) = self.first_present(line, from, order) {
            replace_all(line, from, name, value);
            replaced = true;
            order = at.saturating_add(1);
        }
        replaced
    }

    /// The first macro, in order of definition from `order` on, that occurs in the line.
    fn first_present(&self, line: &str, from: usize, order: usize) -> Option<(usize, &str, &str)> {
        if order >= self.defined.len() {
            return None;
        }
        let bytes = line.as_bytes();
        let mut best: Option<(usize, &Macro)> = None;
        for (at, byte) in bytes.iter().enumerate().skip(from) {
            let Some(list) = letter_index(*byte).and_then(|letter| self.by_letter.get(letter)) else {
                continue;
            };
            for index in list {
                if *index < order || best.is_some_and(|(found, _)| found <= *index) {
                    continue;
                }
                if let Some(known) = self.defined.get(*index)
                    && bytes.get(at..).is_some_and(|rest| rest.starts_with(known.name.as_bytes()))
                {
                    best = Some((*index, known));
                }
            }
        }
        best.map(|(index, known)| (index, known.name.as_str(), known.value.as_str()))
    }

    fn replace_builtins(&self, line: &mut String, from: usize) -> bool {
        let mut start = from;
        let mut replaced = false;
        while let Some(at) = next_builtin(line, start) {
            start = at.saturating_add(1);
            let Some((length, value)) = line.get(at..).and_then(|rest| self.builtins.at_start(rest)) else {
                continue;
            };
            line.replace_range(at..at.saturating_add(length), value);
            start = at.saturating_add(value.len());
            replaced = true;
        }
        replaced
    }
}

/// The next place where the name of a predefined macro may stand: an underscore before a capital letter.
fn next_builtin(line: &str, from: usize) -> Option<usize> {
    let rest = line.as_bytes().get(from..)?;
    memchr::memchr_iter(b'_', rest)
        .find(|at| rest.get(at.saturating_add(1)).is_some_and(u8::is_ascii_uppercase))
        .map(|at| from.saturating_add(at))
}

/// Where replacement starts in a line that defines a macro: at the `=`. In other lines at 0.
fn definition_value_start(line: &str) -> usize {
    match leading_name(line) {
        Some((_, rest)) if rest.trim_start().starts_with('=') => {
            line.len().saturating_sub(rest.trim_start().len())
        }
        _ => 0,
    }
}

fn replace_all(line: &mut String, from: usize, name: &str, value: &str) {
    let Some((head, tail)) = line.split_at_checked(from) else { return };
    let mut out = String::with_capacity(line.len().saturating_add(value.len()));
    out.push_str(head);
    let mut rest = tail;
    while let Some((before, after)) = rest.split_once(name) {
        out.push_str(before);
        out.push_str(value);
        rest = after;
        if out.len() > LINE_BYTES_MAX {
            break;
        }
    }
    out.push_str(rest);
    *line = out;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macros(lines: &[&str]) -> Macros {
        let mut macros = Macros::new(Builtins::none(), &[]);
        for line in lines {
            macros.define(&definition(line).unwrap()).unwrap();
        }
        macros
    }

    fn replaced(macros: &Macros, line: &str) -> String {
        let mut line = line.to_owned();
        macros.replace(&mut line, true);
        line
    }

    #[test]
    fn in_the_order_of_definition() {
        let known = macros(&["ABC = x", "AB = y", "C=ABC AB"]);
        assert_eq!(replaced(&known, "ABC.AB"), "x.y");
        assert_eq!(replaced(&known, "C"), "ABC AB");
        assert_eq!(replaced(&known, "q ABCABC"), "q xx");
        let known = macros(&["C = A", "A = 1"]);
        assert_eq!(replaced(&known, "C = AA C"), "C = 11 1");
        assert_eq!(replaced(&known, "CA C"), "11 1");
    }

    #[test]
    fn redefinition_and_command_line() {
        let mut known = Macros::new(Builtins::none(), &[("ABC".into(), "cmd".into())]);
        known.define(&definition("ABC = x").unwrap()).unwrap();
        known.define(&definition("D = 1").unwrap()).unwrap();
        known.define(&definition("D == 2").unwrap()).unwrap();
        assert_eq!(replaced(&known, "ABC D"), "cmd 2");
        let error =
            |line: &str, known: &mut Macros| known.define(&definition(line).unwrap()).unwrap_err().message;
        assert_eq!(
            error("D = 3", &mut known),
            "macro \"D\" is already defined (use \"==\" if you want to redefine it)"
        );
        assert_eq!(error("E == 3", &mut known), "can't redefine an undefined macro \"E\"");
        assert_eq!(
            error("XABCX = 2", &mut known),
            "\"XABCX\" cannot be defined as a macro because previously defined macro \"ABC\" is a substring"
        );
    }
}
