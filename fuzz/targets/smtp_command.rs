//! SMTP command lines and the parameters of MAIL and RCPT: no panic; the path is a piece of the line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::smtp::arguments::{Offered, mail_arguments, rcpt_arguments};
use oxim_mail::smtp::command::{Command, helo_name_is_valid, parse};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, line)) = data.split_first() else { return };
    let offered = Offered {
        eight_bit: true,
        dsn: flags & 2 != 0,
        prdr: flags & 4 != 0,
        smtputf8: flags & 8 != 0,
    };
    match parse(line) {
        Ok(Command::Mail(argument)) => {
            if let Ok(found) = mail_arguments(argument, &offered) {
                assert!(argument.starts_with(&found.path) && !found.path.is_empty());
            }
        }
        Ok(Command::Rcpt(argument)) => {
            if let Ok(found) = rcpt_arguments(argument, &offered) {
                assert!(argument.starts_with(&found.path) && !found.path.is_empty());
            }
        }
        Ok(Command::Helo(name) | Command::Ehlo(name)) => {
            let _ = helo_name_is_valid(name, b"_");
        }
        _ => {}
    }
});
