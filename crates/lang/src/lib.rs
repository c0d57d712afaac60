//! Exim's language: configuration, lists, lookups, expansions.
