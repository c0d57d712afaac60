//! Expressions compiled once and evaluated many times, as the daemon does: CPU time of each, and growth of memory.
//!
//! Arguments: configuration, message, expressions, evaluations of each, evaluations of all for the growth. One line of
//! output per expression: nanoseconds of CPU, what it gives. `tests/bench/b13_expressions.py` puts it beside `-be`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement stops at the first fault"
)]

use std::sync::Arc;

use oxim_lang::config::{self, Catalogue};
use oxim_lang::context::{Context, Services};
use oxim_lang::expand::Template;
use oxim_lang::list::{ListKind, NamedLists, Surroundings};
use oxim_mail::header::split::{HeaderLimits, split_header_block};

/// Microseconds of CPU that this process has used.
fn cpu_us() -> i64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() * 1_000_000 + t.tv_usec()).sum()
}

/// Resident memory in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn context(config_file: &str, message_file: &str) -> Context {
    let text = std::fs::read(config_file).unwrap();
    let config = Arc::new(config::read_bytes(config_file, &text, &[], &Catalogue::default()).unwrap());
    let mut named = NamedLists::default();
    for list in config.lists.iter() {
        let kind = match list.kind {
            config::ListKind::Domain => ListKind::Domain,
            config::ListKind::Host => ListKind::Host,
            config::ListKind::Address => ListKind::Address,
            config::ListKind::LocalPart => ListKind::LocalPart,
        };
        named.define(kind, &list.name, &list.source, list.is_cached, list.is_hidden);
    }
    let services = Arc::new(Services::default());
    let surroundings = Surroundings {
        named: Arc::new(named),
        primary_hostname: config.main.primary_hostname.clone(),
        ..Surroundings::default()
    };
    assert!(services.surroundings.set(Arc::new(surroundings)).is_ok());
    let mut context = Context::new(config, services);
    context.connection.ident = Some(b"root".to_vec());
    context.message.sender = b"Ann.Example@News.Bench.EX".to_vec();
    let message = std::fs::read(message_file).unwrap();
    context.message.headers = split_header_block(&message, HeaderLimits::default()).unwrap().0;
    context.message.size = i64::try_from(message.len()).unwrap();
    context
}

fn evaluate(template: &Template, context: &mut Context) -> String {
    let result = template.expand(context).unwrap_or_else(|error| panic!("{}: {error}", template.source()));
    context.local.captures.clear();
    result.to_string_lossy()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [config_file, message_file, expressions, each, all] = words.as_slice() else {
        eprintln!("expressions: CONFIGURATION MESSAGE EXPRESSIONS EVALUATIONS_OF_EACH EVALUATIONS_OF_ALL");
        return;
    };
    let mut context = context(config_file, message_file);
    let source = std::fs::read_to_string(expressions).unwrap();
    let templates: Vec<Template> = source.lines().map(Template::compile).collect();
    let count: i64 = each.parse().unwrap();
    for template in &templates {
        let result = evaluate(template, &mut context);
        let before = cpu_us();
        for _ in 0..count {
            std::hint::black_box(template.expand(&mut context).unwrap());
        }
        let taken = cpu_us() - before;
        println!("{}\t{}", taken * 1000 / count, result.escape_default());
    }
    let rounds = all.parse::<usize>().unwrap() / templates.len().max(1);
    let before = resident_kib();
    for _ in 0..rounds {
        for template in &templates {
            std::hint::black_box(template.expand(&mut context).unwrap());
        }
    }
    println!("resident\t{before}\t{}", resident_kib());
}
