//! The postmaster's own texts for reports: `bounce_message_file` and `warn_message_file` (manual chapter 50).
//!
//! A file holds items, separated by lines of exactly four asterisks; each is expanded. A file that cannot be read, an empty
//! item and one that cannot be expanded leave the built-in text in place, and the log says so: a report is never lost over
//! its wording.

use oxim_lang::context::Context;
use oxim_lang::expand::Template;

use crate::delivery::Delivery;

/// The items of one file, expanded. None where the built-in text is to be used.
#[derive(Debug, Default)]
pub struct ReportTexts {
    items: Vec<Option<String>>,
}

impl ReportTexts {
    /// Reads the file that an option names. `kind` is the word for the log: `error` or `warning`.
    #[must_use]
    pub fn read(
        delivery: &Delivery,
        context: &mut Context,
        option: Option<&Template>,
        kind: &str,
    ) -> ReportTexts {
        let Some(option) = option else { return ReportTexts::default() };
        let id = context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
        let complain = |text: String| delivery.services.log().both(format!("{id}{text}"));
        let path = match option.expand(context) {
            Ok(path) if path.is_empty() => return ReportTexts::default(),
            Ok(path) => path.to_string_lossy(),
            Err(error) => {
                complain(format!("Failed to expand the name of the file of {kind} message texts: {error}"));
                return ReportTexts::default();
            }
        };
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let reason = oxim_base::errno::error_text(&error);
                complain(format!("Failed to open {path} for {kind} message texts: {reason}"));
                return ReportTexts::default();
            }
        };
        let items = items(&text)
            .into_iter()
            .enumerate()
            .map(|(number, item)| {
                let template = Template::compile(&item);
                match template.expand(context) {
                    _ if item.is_empty() => None,
                    Ok(text) => Some(text.to_string_lossy()),
                    Err(error) => {
                        let name = match (number, kind) {
                            (0, _) => "header",
                            (1, _) => "intro",
                            (_, "warning") => "final",
                            _ => "generated text",
                        };
                        complain(format!(
                            "Failed to expand string from bounce_message_file or warn_message_file ({name}): {error}"
                        ));
                        None
                    }
                }
            })
            .collect();
        ReportTexts { items }
    }

    /// The item with this number, from 0; it ends with a newline.
    #[must_use]
    pub fn item(&self, number: usize) -> Option<&str> {
        self.items.get(number).and_then(Option::as_deref)
    }
}

fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    for line in text.lines() {
        if line == "****" {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push_str(line);
            item.push('\n');
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_four_asterisks_part_the_items() {
        assert_eq!(
            items("Subject: x\n****\nHello\n***\n****\n\n****\n"),
            ["Subject: x\n", "Hello\n***\n", "\n", ""]
        );
        assert_eq!(items(""), [""]);
    }
}
