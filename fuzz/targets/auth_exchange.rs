//! The server's half of each AUTH mechanism, fed with any answers: no panic, bounded challenges, and nobody is let in who does
//! not know the secret.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use oxim_deliver::authenticator::Step;
use oxim_deliver::delivery::Delivery;
use oxim_deliver::authenticator::AUTHENTICATORS;
use oxim_lang::config::{self, Catalogue, Config, Drivers, rows};
use oxim_lang::context::{Context, Services};

/// What no fuzzer finds by chance.
const SECRET: &str = "yP3-9kQw7ZrT0vLm";
/// More steps than any mechanism has.
const STEPS_MAX: usize = 12;

fn configuration() -> String {
    let mut text = "primary_hostname = mx.test.ex\nbegin authenticators\n".to_owned();
    let mut add = |name: &str, rest: &str| text.push_str(&format!("{name}:\n{rest}\n"));
    add("plain", &format!("driver = plaintext\npublic_name = PLAIN\nserver_prompts = :\nserver_condition = ${{if eq{{$auth3}}{{{SECRET}}}}}\nserver_set_id = $auth2"));
    add("login", &format!("driver = plaintext\npublic_name = LOGIN\nserver_prompts = <| User: | Password:\nserver_condition = ${{if eq{{$auth2}}{{{SECRET}}}}}\nserver_set_id = $auth1"));
    add("cram", &format!("driver = cram_md5\npublic_name = CRAM-MD5\nserver_secret = {SECRET}\nserver_set_id = $auth1"));
    add("ntlm", &format!("driver = spa\npublic_name = NTLM\nserver_password = {SECRET}\nserver_set_id = $auth1"));
    add("external", &format!("driver = external\npublic_name = EXTERNAL\nserver_param2 = ${{if eq{{$auth1}}{{{SECRET}}}}}\nserver_condition = ${{if eq{{$auth1}}{{{SECRET}}}}}\nserver_set_id = $auth1"));
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let name = mechanism.to_ascii_lowercase().replace('-', "_");
        add(
            &format!("gsasl_{name}"),
            &format!("driver = gsasl\npublic_name = GSASL-{mechanism}\nserver_mech = {mechanism}\nserver_realm = test.ex\nserver_hostname = mx.test.ex\nserver_service = smtp\nserver_password = {SECRET}\nserver_set_id = $auth1"),
        );
    }
    text
}

fn delivery() -> &'static (Arc<Config>, Arc<Services>, Delivery) {
    static DELIVERY: OnceLock<(Arc<Config>, Arc<Services>, Delivery)> = OnceLock::new();
    DELIVERY.get_or_init(|| {
        let drivers = AUTHENTICATORS.iter().map(|kind| &kind.row).collect();
        let authenticators = Drivers { generic: rows::AUTH_GENERIC, drivers };
        let catalogue = Catalogue { authenticators, ..Catalogue::default() };
        let config = config::read_bytes("/fuzz", configuration().as_bytes(), &[], &catalogue);
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
