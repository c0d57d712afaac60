//! Tells the comsat service that a user has new mail (`notify_comsat`, manual chapter 26).
//!
//! One datagram to the loopback interface, `user@offset` as a line, where the offset is that of the new message in the mailbox.
//! Nobody answers, and nobody may be there: a note that is lost is lost.

use std::net::{Ipv4Addr, UdpSocket};

/// The port of `comsat`, which /etc/services calls `biff` too.
const PORT: u16 = 512;

/// Sends the note.
pub(super) fn tell(user: &[u8], offset: u64) {
    tell_at(user, offset, PORT);
}

fn tell_at(user: &[u8], offset: u64, port: u16) {
    let note = [user, format!("@{offset}\n").as_bytes()].concat();
    if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        let _ = socket.send_to(&note, (Ipv4Addr::LOCALHOST, port));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_note_names_user_and_place() {
        let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        service.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tell_at(b"bob", 17, service.local_addr().unwrap().port());
        let mut buffer = [0; 64];
        let read = service.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"bob@17\n");
    }
}
