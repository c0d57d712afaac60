//! Strings as a configuration holds them: compiling never panics, and what compiles without a fault and cannot reach
//! outside is evaluated within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

fuzz_target!(|data: &[u8]| {
    let template = Template::compile_bytes(data);
    if let Some(fault) = template.syntax_error() {
        assert!(fault.span.start <= fault.span.end && fault.span.end == data.len());
    }
    if !template.may_block() {
        let mut context = Context::default();
        let _ = template.expand(&mut context);
        assert_eq!(context.local.depth, 0);
    }
});
