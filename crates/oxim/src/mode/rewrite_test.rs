//! `-brw`: shows what the rewriting rules make of an address, for each place where one can stand (manual section 31.1).

use oxim_deliver::delivery::Delivery;
use oxim_lang::context::Context;

use crate::assemble::Program;

/// Rewrites the first argument; further ones are not looked at, as in Exim.
pub(crate) fn run(program: &Program, delivery: &Delivery, context: &mut Context) -> u8 {
    let Some(address) = program.line.arguments.first() else {
        say!("-brw needs an address argument");
        return 1;
    };
    let shown = delivery.rewrite.show(context, &String::from_utf8_lossy(address), &delivery.rewrite_settings);
    say_part!("{shown}");
    0
}
