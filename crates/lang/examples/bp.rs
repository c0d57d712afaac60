//! x
use oxim_lang::config::*;
static ACCEPT: DriverRow = DriverRow { name: "accept", options: rows::ROUTER_ACCEPT };
static DNSLOOKUP: DriverRow = DriverRow { name: "dnslookup", options: rows::ROUTER_DNSLOOKUP };
static IPLITERAL: DriverRow = DriverRow { name: "ipliteral", options: rows::ROUTER_IPLITERAL };
static MANUALROUTE: DriverRow = DriverRow { name: "manualroute", options: rows::ROUTER_MANUALROUTE };
static REDIRECT: DriverRow = DriverRow { name: "redirect", options: rows::ROUTER_REDIRECT };
static APPENDFILE: DriverRow = DriverRow { name: "appendfile", options: rows::TRANSPORT_APPENDFILE };
static AUTOREPLY: DriverRow = DriverRow { name: "autoreply", options: rows::TRANSPORT_AUTOREPLY };
static LMTP: DriverRow = DriverRow { name: "lmtp", options: rows::TRANSPORT_LMTP };
static PIPE: DriverRow = DriverRow { name: "pipe", options: rows::TRANSPORT_PIPE };
static SMTP: DriverRow = DriverRow { name: "smtp", options: rows::TRANSPORT_SMTP };
static PLAINTEXT: DriverRow = DriverRow { name: "plaintext", options: rows::AUTH_PLAINTEXT };
static CRAM_MD5: DriverRow = DriverRow { name: "cram_md5", options: rows::AUTH_CRAM_MD5 };
fn catalogue() -> Catalogue {
    Catalogue {
        routers: Drivers {
            generic: rows::ROUTER_GENERIC,
            drivers: vec![&ACCEPT, &DNSLOOKUP, &IPLITERAL, &MANUALROUTE, &REDIRECT],
        },
        transports: Drivers {
            generic: rows::TRANSPORT_GENERIC,
            drivers: vec![&APPENDFILE, &AUTOREPLY, &LMTP, &PIPE, &SMTP],
        },
        authenticators: Drivers { generic: rows::AUTH_GENERIC, drivers: vec![&CRAM_MD5, &PLAINTEXT] },
    }
}
fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let bare = args.iter().any(|a| a == "-n");
    args.retain(|a| a != "-n");
    let user = args.iter().any(|a| a == "-u");
    args.retain(|a| a != "-u");
    let mut macros = vec![];
    args.retain(|a| {
        if let Some(m) = a.strip_prefix("-D") {
            let (n, v) = m.split_once('=').unwrap_or((m, ""));
            macros.push((n.trim().to_owned(), v.trim().to_owned()));
            false
        } else {
            true
        }
    });
    let path = args.remove(0);
    let start = std::time::Instant::now();
    let n = std::env::var("REPEAT").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for _ in 1..n {
        let _ = read(
            &ConfigSource { path: path.clone(), macros: macros.clone(), checks_owner: false },
            &catalogue(),
        );
    }
    match read(&ConfigSource { path, macros, checks_owner: false }, &catalogue()) {
        Ok(config) => {
            if n > 1 {
                eprintln!("{:?} each", start.elapsed() / n);
            }
            if std::env::var("WARN").is_ok() {
                for w in &config.warnings {
                    print!("{}", report::render(w, true));
                }
            }
            let (text, found) =
                print::print(&config, &args, print::Manner { is_bare: bare, is_admin: !user }, &[]).unwrap();
            print!("{text}");
            std::process::exit(i32::from(!found));
        }
        Err(errors) => {
            if std::env::var("CHECK").is_ok() {
                for e in &errors {
                    println!("{}", report::render(e, false));
                }
            } else {
                println!("{}", errors[0].exim_text());
            }
            std::process::exit(1);
        }
    }
}
