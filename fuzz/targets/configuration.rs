//! Any bytes as a configuration file: the reader answers with a configuration or with errors that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_lang::config::{Catalogue, DriverRow, Drivers, print, read_bytes, report, rows};

static REDIRECT: DriverRow = DriverRow { name: "redirect", options: rows::ROUTER_REDIRECT };
static SMTP: DriverRow = DriverRow { name: "smtp", options: rows::TRANSPORT_SMTP };
static PLAINTEXT: DriverRow = DriverRow { name: "plaintext", options: rows::AUTH_PLAINTEXT };

fuzz_target!(|bytes: &[u8]| {
    // The reader opens what is included: not here.
    if bytes.windows(8).any(|window| window == b".include") {
        return;
    }
    let catalogue = Catalogue {
        routers: Drivers { generic: rows::ROUTER_GENERIC, drivers: vec![&REDIRECT] },
        transports: Drivers { generic: rows::TRANSPORT_GENERIC, drivers: vec![&SMTP] },
        authenticators: Drivers { generic: rows::AUTH_GENERIC, drivers: vec![&PLAINTEXT] },
        ..Catalogue::default()
    };
    match read_bytes("fuzz", bytes, &[], &catalogue) {
        Ok(config) => {
            let manner = print::Manner { is_bare: false, is_admin: true };
            let words = ["config", "all", "routers", "macros"].map(str::to_owned);
            let _ = print::print(&config, &words, manner, &[]);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in &errors {
                let _ = report::render(error, false);
            }
        }
    }
});
