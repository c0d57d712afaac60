//! Sockets with deadlines: DNS, TLS, the SMTP client.
