//! MTA-STS records and policies: no panic; a policy that is read is whole, and a wildcard never stands for no label or several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::mta_sts::{Mode, Policy, policy_id};

fuzz_target!(|data: &[u8]| {
    let records: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    if let Some(id) = policy_id(&records) {
        assert!((1..=32).contains(&id.len()));
    }
    let Ok(policy) = Policy::parse(data) else { return };
    assert!(policy.mode == Mode::None || !policy.mx.is_empty());
    assert!(policy.max_age.as_secs() <= 31_557_600);
    for pattern in &policy.mx {
        match pattern.strip_prefix("*.") {
            Some(parent) => {
                assert!(policy.names(&format!("a.{parent}")));
                let only = Policy { mx: vec![pattern.clone()], ..policy.clone() };
                assert!(!only.names(parent) && !only.names(&format!("a.b.{parent}")) && !only.names(&format!(".{parent}")));
            }
            None => assert!(policy.names(pattern) && policy.names(&pattern.to_ascii_uppercase())),
        }
    }
});
