//! The option `debug_print` of routers and transports. What cannot be expanded is shown so, and does no harm.

use oxim_base::debug;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;

/// Whether anything is shown: under any debugging, and under `-v`.
pub(crate) fn is_wanted() -> bool {
    debug::enabled(debug::ALL | debug::VERBOSE)
}

/// Shows it, with a newline behind it.
pub(crate) fn show(template: &Template, context: &mut Context) {
    match template.expand(context) {
        Ok(text) => eprintln!("{}", text.to_string_lossy().trim_end_matches('\n')),
        Err(error) => eprintln!("failed to expand debug_output \"{}\": {error}", template.source()),
    }
}
