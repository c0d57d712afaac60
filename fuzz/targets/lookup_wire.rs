//! Any bytes as what the servers of lookups send, and any text as an LDAP query: a result or a complaint.
#![no_main]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use oxim_lang::lookup::service::wire::{Cursor, Wire};
use oxim_lang::lookup::service::{ber, ldap, ldap_url, mysql, pgsql, redis};
use oxim_net::socket::Socket;

fuzz_target!(|data: &[u8]| {
    let _ = mysql::Greeting::parse(data);
    let _ = mysql::column_name(data);
    let _ = mysql::row(data, 3);
    let _ = mysql::error_message(data, true);
    let mut reply = pgsql::Reply::default();
    for message in data.split(|b| *b == 0xfe) {
        if let Some((kind, body)) = message.split_first() {
            if reply.take(*kind, body).is_err() {
                break;
            }
        }
    }
    let _ = reply.finish();
    let _ = pgsql::error_message(data);
    let mut cursor = Cursor::new(data);
    while let Ok((tag, content)) = ber::take(&mut cursor) {
        let again = ber::element(tag, content);
        assert_eq!(ber::expect(&mut Cursor::new(&again), tag).unwrap(), content);
    }
    let _ = ldap::message(data);
    let _ = ldap::Entry::parse(data);
    let _ = ldap::Done::parse(data);
    let _ = ldap_url::Query::parse(data);
    if let Some(filter) = ldap_url::encode_filter(data) {
        assert!(ber::take(&mut Cursor::new(&filter)).is_ok());
    }
    let _ = ldap_url::without_password(&String::from_utf8_lossy(data));
    // More than a socket holds would block.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(data.get(..16 * 1024).unwrap_or(data)).unwrap();
    drop(theirs);
    let mut wire = Wire::over(Socket::from_unix(ours), Duration::from_secs(5));
    while redis::read(&mut wire, 0).is_ok() {}
});
