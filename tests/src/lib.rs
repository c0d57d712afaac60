//! Tests that use all crates.
