//! `-bP`: printing the configuration (manual section 5.2).
