//! How a message comes in: the SMTP session, ACLs, verification.
