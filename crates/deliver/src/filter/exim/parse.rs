//! The commands of an Exim filter. Manual "Exim's interfaces to mail filtering", sections 3.9 to 3.21.

use oxim_lang::expand::Template;

use super::condition;
use super::lexer::Lexer;
use super::tree::{Command, HeadersVerb, Judgement, MailCommand, Prefix, Step};
use super::{Restricted, SyntaxFault};

/// How deep `if` commands may stand in one another.
const NESTING_MAX: usize = 100;

/// How a list of commands ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    End,
    Endif,
    Else,
    Elif,
}

impl Stop {
    fn word(self) -> &'static str {
        match self {
            Stop::End => "",
            Stop::Endif => "endif",
            Stop::Else => "else",
            Stop::Elif => "elif",
        }
    }
}

type Parsed<T> = Result<T, SyntaxFault>;

/// Parses a whole file.
pub(super) fn program(lexer: &mut Lexer<'_>) -> Parsed<Vec<Step>> {
    let (steps, stop) = commands(lexer, 0)?;
    match stop {
        Stop::End => Ok(steps),
        other @ (Stop::Endif | Stop::Else | Stop::Elif) => Err(SyntaxFault(format!(
            "unexpected \"{}\" command near line {} of filter file",
            other.word(),
            lexer.line
        ))),
    }
}

fn near(lexer: &Lexer<'_>, text: &str) -> SyntaxFault {
    SyntaxFault(format!("{text} near line {} of filter file", lexer.line))
}

fn commands(lexer: &mut Lexer<'_>, depth: usize) -> Parsed<(Vec<Step>, Stop)> {
    if depth > NESTING_MAX {
        return Err(near(lexer, "\"if\" commands are nested too deep"));
    }
    let mut steps = Vec::new();
    loop {
        let mut prefix = Prefix::default();
        let word = loop {
            let word = lexer.word(false)?;
            match word.as_slice() {
                b"seen" | b"unseen" if prefix.seen.is_some() => {
                    return Err(SyntaxFault(format!(
                        "\"seen\" or \"unseen\" repeated near line {}",
                        lexer.line
                    )));
                }
                b"seen" => prefix.seen = Some(true),
                b"unseen" => prefix.seen = Some(false),
                b"noerror" => prefix.noerror = true,
                _ => break word,
            }
        };
        let stop = match word.as_slice() {
            b"" => Stop::End,
            b"endif" => Stop::Endif,
            b"else" => Stop::Else,
            b"elif" => Stop::Elif,
            word => {
                steps.push(Step { prefix, command: command(lexer, word, prefix, depth)? });
                continue;
            }
        };
        if prefix != Prefix::default() {
            return Err(dangling(lexer, prefix, stop));
        }
        return Ok((steps, stop));
    }
}

fn dangling(lexer: &Lexer<'_>, prefix: Prefix, stop: Stop) -> SyntaxFault {
    let words = match (stop, prefix.seen.is_some(), prefix.noerror) {
        (Stop::End, true, false) => "\"seen\" or \"unseen\"",
        (Stop::End, false, _) => "\"noerror\"",
        _ => "\"seen\", \"unseen\", or \"noerror\"",
    };
    SyntaxFault(format!("{words} near line {} is not followed by a command", lexer.line))
}

fn command(lexer: &mut Lexer<'_>, word: &[u8], prefix: Prefix, depth: usize) -> Parsed<Command> {
    let name = String::from_utf8_lossy(word).into_owned();
    if matches!(word, b"add" | b"headers" | b"if") && prefix != Prefix::default() {
        return Err(SyntaxFault(format!(
            "\"seen\", \"unseen\", or \"noerror\" found before an \"{name}\" command near line {}",
            lexer.line
        )));
    }
    Ok(match word {
        b"add" => add(lexer)?,
        b"deliver" => {
            let address = argument(lexer, &name)?;
            let mark = lexer.mark();
            let errors_to = if lexer.word(false)? == b"errors_to" {
                Some(Template::compile_bytes(&lexer.word(false)?))
            } else {
                lexer.back_to(mark);
                None
            };
            Command::Deliver { address: Template::compile_bytes(&address), errors_to }
        }
        b"save" => {
            Command::Save { path: Template::compile_bytes(&argument(lexer, &name)?), mode: lexer.mode() }
        }
        b"pipe" => Command::Pipe(argument(lexer, &name)?),
        b"mail" => Command::Mail(Box::new(mail(lexer, false)?)),
        b"vacation" => Command::Mail(Box::new(mail(lexer, true)?)),
        b"logfile" => {
            Command::LogFile { path: Template::compile_bytes(&argument(lexer, &name)?), mode: lexer.mode() }
        }
        b"logwrite" => Command::LogWrite(Template::compile_bytes(&argument(lexer, &name)?)),
        b"testprint" => Command::TestPrint(Template::compile_bytes(&argument(lexer, &name)?)),
        b"headers" => headers(lexer)?,
        b"finish" => Command::Finish,
        b"defer" => judge(lexer, Judgement::Defer)?,
        b"fail" => judge(lexer, Judgement::Fail)?,
        b"freeze" => judge(lexer, Judgement::Freeze)?,
        b"if" => conditional(lexer, depth)?,
        _ => return Err(near(lexer, &format!("unknown filtering command \"{name}\""))),
    })
}

fn argument(lexer: &mut Lexer<'_>, name: &str) -> Parsed<Vec<u8>> {
    let value = lexer.item(false)?;
    if value.is_empty() {
        return Err(near(lexer, &format!("\"{name}\" requires an argument")));
    }
    Ok(value)
}

fn add(lexer: &mut Lexer<'_>) -> Parsed<Command> {
    let number = argument(lexer, "add")?;
    if lexer.word(false)? != b"to" {
        return Err(near(lexer, "\"to\" expected in \"add\" command"));
    }
    let variable = lexer.item(false)?;
    if variable.is_empty() {
        return Err(near(lexer, "value missing after \"to\""));
    }
    Ok(Command::Add {
        number: Template::compile_bytes(&number),
        variable: Template::compile_bytes(&variable),
    })
}

fn headers(lexer: &mut Lexer<'_>) -> Parsed<Command> {
    let word = argument(lexer, "headers")?;
    if word != b"charset" {
        lexer.restricted.push((Restricted::Headers, lexer.line));
    }
    let verb = match word.as_slice() {
        b"add" => HeadersVerb::Add,
        b"remove" => HeadersVerb::Remove,
        b"charset" => HeadersVerb::Charset,
        _ => {
            return Err(near(lexer, "\"add\", \"remove\", or \"charset\" expected in \"headers\" command"));
        }
    };
    let value = lexer.item(false)?;
    if value.is_empty() {
        return Err(near(lexer, "value missing after \"add\", \"remove\", or \"charset\""));
    }
    Ok(Command::Headers(verb, Template::compile_bytes(&value)))
}

/// The word `text` may be left out before a quote.
fn judge(lexer: &mut Lexer<'_>, judgement: Judgement) -> Parsed<Command> {
    lexer.restricted.push((Restricted::Judge(judgement), lexer.line));
    let mut text = Vec::new();
    if lexer.next_is(b'"') {
        text = lexer.item(false)?;
    } else {
        let mark = lexer.mark();
        if lexer.word(false)? == b"text" {
            text = lexer.item(false)?;
        } else {
            lexer.back_to(mark);
        }
    }
    Ok(Command::Judge { judgement, text: Template::compile_bytes(&text) })
}

fn mail(lexer: &mut Lexer<'_>, is_vacation: bool) -> Parsed<MailCommand> {
    let mut mail = MailCommand { is_vacation, ..MailCommand::default() };
    if is_vacation {
        mail.subject = Some(Template::compile("On vacation"));
        mail.file = Some(Template::compile(".vacation.msg"));
        mail.log = Some(Template::compile(".vacation.log"));
        mail.once = Some(Template::compile(".vacation"));
        mail.once_repeat = Some(Template::compile("7d"));
        mail.expand = true;
    }
    loop {
        let mark = lexer.mark();
        let word = lexer.word(false)?;
        let mut value = || lexer.item(false).map(|value| Some(Template::compile_bytes(&value)));
        match word.as_slice() {
            b"to" => mail.to = value()?,
            b"cc" => mail.cc = value()?,
            b"bcc" => mail.bcc = value()?,
            b"from" => mail.from = value()?,
            b"reply_to" => mail.reply_to = value()?,
            b"subject" => mail.subject = value()?,
            b"extra_headers" => mail.extra_headers = value()?,
            b"text" => mail.text = value()?,
            b"file" => {
                mail.file = value()?;
                // The default of vacation is expanded, another file only on demand.
                mail.expand &= !is_vacation;
            }
            b"log" => mail.log = value()?,
            b"once" => mail.once = value()?,
            b"once_repeat" => mail.once_repeat = value()?,
            b"expand" => {
                if lexer.word(false)? != b"file" {
                    return Err(near(lexer, "\"expand\" not followed by \"file\" "));
                }
                mail.file = Some(Template::compile_bytes(&lexer.item(false)?));
                mail.expand = true;
            }
            b"return" => {
                if lexer.word(false)? != b"message" {
                    return Err(near(lexer, "\"return\" not followed by \"message\" "));
                }
                mail.return_message = true;
            }
            _ => {
                lexer.back_to(mark);
                return Ok(mail);
            }
        }
    }
}

fn conditional(lexer: &mut Lexer<'_>, depth: usize) -> Parsed<Command> {
    let inner = depth.saturating_add(1);
    let mut branches = Vec::new();
    let mut otherwise = Vec::new();
    loop {
        let condition = condition::read(lexer)?;
        let (steps, stop) = commands(lexer, inner)?;
        branches.push((condition, steps));
        match stop {
            Stop::Elif => continue,
            Stop::Else => {
                let (steps, stop) = commands(lexer, inner)?;
                otherwise = steps;
                expect_endif(lexer, stop)?;
            }
            other @ (Stop::End | Stop::Endif) => expect_endif(lexer, other)?,
        }
        return Ok(Command::If { branches, otherwise });
    }
}

fn expect_endif(lexer: &Lexer<'_>, stop: Stop) -> Parsed<()> {
    match stop {
        Stop::Endif => Ok(()),
        Stop::End => Err(SyntaxFault("\"endif\" missing at end of filter file".to_owned())),
        Stop::Else | Stop::Elif => Err(near(lexer, "\"endif\" missing")),
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::exim::Program;

    fn fault(body: &str) -> String {
        let data = format!("# Exim filter\n{body}");
        Program::parse(data.as_bytes()).fault().unwrap_or("").to_owned()
    }

    #[test]
    fn faults_as_observed() {
        for (body, expected) in [
            ("foo\n", "unknown filtering command \"foo\" near line 3 of filter file"),
            ("deliver x\nbogus y", "unknown filtering command \"bogus\" near line 3 of filter file"),
            ("mail text hi\nbogus\n", "unknown filtering command \"bogus\" near line 5 of filter file"),
            (
                "mail text hi\ndeliver x\nbogus\n",
                "unknown filtering command \"bogus\" near line 6 of filter file",
            ),
            ("deliver\n", "\"deliver\" requires an argument near line 3 of filter file"),
            ("save \"\"\n", "\"save\" requires an argument near line 3 of filter file"),
            ("save foo bar\n", "unknown filtering command \"bar\" near line 3 of filter file"),
            ("add 1\n", "\"to\" expected in \"add\" command near line 3 of filter file"),
            ("add 1 to\n", "value missing after \"to\" near line 3 of filter file"),
            ("headers\n", "\"headers\" requires an argument near line 3 of filter file"),
            (
                "headers charset\n",
                "value missing after \"add\", \"remove\", or \"charset\" near line 3 of filter file",
            ),
            ("mail expand text x\n", "\"expand\" not followed by \"file\"  near line 2 of filter file"),
            ("mail return foo\n", "\"return\" not followed by \"message\"  near line 3 of filter file"),
            ("deliver \"a b\n", "quote missing at end of string in line 2"),
            ("deliver \"a\\\n   \n b@c\" bogus\n", "quote missing at end of string in line 3"),
            ("seen\n", "\"seen\" or \"unseen\" near line 3 is not followed by a command"),
            ("noerror\n", "\"noerror\" near line 3 is not followed by a command"),
            (
                "if a is a then seen endif\n",
                "\"seen\", \"unseen\", or \"noerror\" near line 3 is not followed by a command",
            ),
            ("seen seen deliver x\n", "\"seen\" or \"unseen\" repeated near line 2"),
            (
                "noerror add 1 to n1\n",
                "\"seen\", \"unseen\", or \"noerror\" found before an \"add\" command near line 2",
            ),
            ("endif\n", "unexpected \"endif\" command near line 3 of filter file"),
            ("elif a is b then\n", "unexpected \"elif\" command near line 2 of filter file"),
            ("if a is b then deliver x\n", "\"endif\" missing at end of filter file"),
            (
                "if a is b then deliver x else deliver y else deliver z endif\n",
                "\"endif\" missing near line 2 of filter file",
            ),
            ("fail\n\nbogus y\n", "unknown filtering command \"bogus\" near line 4 of filter file"),
            ("deliver#comment\n", "unknown filtering command \"deliver#comment\" near line 3 of filter file"),
            ("deliver x # a \"comment\n", ""),
            ("deliver \"x\"deliver y save z 640 save z\n640", ""),
        ] {
            assert_eq!(fault(body), expected, "{body:?}");
        }
    }

    #[test]
    fn words_and_strings_have_a_greatest_length() {
        let long = "a".repeat(1100);
        assert_eq!(
            fault(&format!("deliver {long}")),
            "word is too long in line 2 of filter file (max = 1024 chars)"
        );
        assert_eq!(
            fault(&format!("deliver \"{long}\"")),
            "string is too long in line 2 of filter file (max = 1024 chars)"
        );
    }

    #[test]
    fn deep_nesting_is_refused_and_no_stack_is_lost() {
        assert!(fault(&"if a is a then ".repeat(5000)).contains("nested too deep"));
        assert!(fault(&format!("if {}", "(".repeat(5000))).contains("nested too deep"));
        assert!(fault(&format!("if {} a is a then endif", "not ".repeat(5000))).is_empty());
        assert!(fault(&format!("if a is a {} then endif", "or a is a ".repeat(5000))).contains("too many"));
    }
}
