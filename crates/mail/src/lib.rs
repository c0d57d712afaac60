//! Messages as data: addresses, header lists, ids, dates, SMTP commands and replies.
