//! Variables of features that are not built yet: a template that uses one is faulty, and says so.

use oxim_base::Taint;

use super::{Getter, Scope, VariableRow};

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

pub(super) static ROWS: &[VariableRow] = &[not_yet("connection_id")];
