//! Variables of features that are not built yet: a template that uses one is faulty, and says so.

use oxim_base::Taint;

use super::{Getter, Scope, VariableRow};

#[allow(dead_code, reason = "for the next variable that is known before it is built")]
const fn not_yet(name: &'static str) -> VariableRow {
    VariableRow {
        name,
        family: false,
        scope: Scope::Message,
        taint: Taint::Tainted,
        doc: "Not implemented yet.",
        may_block: false,
        get: Getter::NotYet,
    }
}

pub(super) static ROWS: &[VariableRow] = &[];
