//! The server's half of each AUTH mechanism, fed with any answers: no panic, bounded challenges, and nobody is let in who does
//! not know the secret.
#![no_main]

#[path = "../authenticators.rs"]
mod authenticators;

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use oxim_deliver::authenticator::Step;
use oxim_deliver::delivery::Delivery;
use oxim_lang::config::{self, Config};
use oxim_lang::context::{Context, Services};

/// More steps than any mechanism has.
const STEPS_MAX: usize = 12;

fn delivery() -> &'static (Arc<Config>, Arc<Services>, Delivery) {
    static DELIVERY: OnceLock<(Arc<Config>, Arc<Services>, Delivery)> = OnceLock::new();
    DELIVERY.get_or_init(|| {
        let text = format!("primary_hostname = mx.test.ex\n{}", authenticators::section());
        let config = config::read_bytes("/fuzz", text.as_bytes(), &[], &authenticators::catalogue());
        let config = Arc::new(config.expect("the configuration is good"));
        let services = Arc::new(Services::default());
        let delivery = Delivery::build(Arc::clone(&config), Arc::clone(&services));
        (config, services, delivery.unwrap_or_else(|errors| panic!("the authenticators are good: {errors:?}")))
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, input)) = data.split_first() else { return };
    let (config, services, delivery) = delivery();
    let all = &delivery.authenticators;
    let authenticator = &all[usize::from(choice & 0x7f) % all.len()];
    let mut context = Context::new(Arc::clone(config), Arc::clone(services));
    let mut dialogue = authenticator.begin();
    let mut answers = input.split(|b| *b == b'\n');
    // With or without an initial response.
    let mut answer = if choice & 0x80 == 0 { None } else { answers.next() };
    for _ in 0..STEPS_MAX {
        match dialogue.step(&mut context, answer) {
            Step::Challenge(challenge) => assert!(challenge.len() <= 2 * data.len() + 1024),
            Step::Say(_) => {}
            Step::Accepted { .. } => panic!("{} let somebody in", authenticator.name),
            Step::Refused { .. } | Step::Defer(_) | Step::Undecided { .. } | Step::Malformed => return,
        }
        answer = Some(answers.next().unwrap_or_default());
    }
    panic!("{} never ends", authenticator.name);
});
