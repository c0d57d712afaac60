//! What lasts on disk: messages, hints, logs.
