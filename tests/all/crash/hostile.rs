//! Random bytes, half sessions, endless lines: nothing that a client says ends the daemon.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::stand::{Plan, Stand};
use super::{Chance, amount};

/// Pieces of SMTP, among which random bytes are strewn.
const PIECES: &[&str] = &[
    "EHLO client.test\r\n",
    "HELO\r\n",
    "MAIL FROM:<a@client.test>\r\n",
    "MAIL FROM:<>SIZE=99999999999999999999\r\n",
    "RCPT TO:<b@mta.test>\r\n",
    "RCPT TO:<\"\\\"@[IPv6:::]>\r\n",
    "DATA\r\n",
    ".\r\n",
    "BDAT 18446744073709551615 LAST\r\n",
    "BDAT 5\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY x\r\n",
    "EXPN\r\n",
    "HELP\r\n",
    "ETRN #\r\n",
    "AUTH PLAIN =\r\n",
    "STARTTLS\r\n",
    "QUIT\r\n",
    "Subject: \r\n =?utf-8?b?////?=\r\n\r\n",
    "\r\n",
    "\0",
    "MAIL FROM:<a@b> BODY=8BITMIME RET=FULL ENVID=+ZZ\r\n",
    "PROXY TCP4 1 2 3 4\r\n",
];

fn input(chance: &mut Chance) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..chance.below(25) {
        match chance.below(5) {
            0 => all.extend((0..chance.below(300)).map(|_| (chance.next() >> 32) as u8)),
            1 => all.extend(std::iter::repeat_n((chance.next() >> 32) as u8, chance.below(70_000) as usize)),
            _ => {
                let mut piece = PIECES[chance.below(PIECES.len() as u64) as usize].as_bytes().to_vec();
                if chance.below(4) == 0 {
                    let at = chance.below(piece.len() as u64) as usize;
                    piece[at] ^= 1 << chance.below(8);
                }
                all.extend(piece);
            }
        }
    }
    all
}

/// One client. What it is told does not matter.
fn attack(stand: &Stand, chance: &mut Chance) {
    let Ok(mut stream) = TcpStream::connect(stand.address) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
    // Some wait for the banner as they should, so that what they say is not thrown away as spoken too early.
    if chance.below(4) > 0 {
        let _ = stream.read(&mut [0; 512]);
        if chance.below(2) == 0 {
            let _ = stream.write_all(b"EHLO client.test\r\n");
            let _ = stream.read(&mut [0; 512]);
        }
    }
    for part in input(chance).chunks(1 + chance.below(5000) as usize) {
        if stream.write_all(part).is_err() {
            return;
        }
    }
    if chance.below(3) == 0 {
        return;
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// All processes below the daemon, to see that none was replaced.
fn processes(stand: &Stand) -> String {
    let pid = stand.pid();
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}

pub(super) fn random_input() {
    let mut stand = Stand::start(&Plan::default());
    let before = processes(&stand);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let stand = &stand;
            scope.spawn(move || {
                let mut chance = Chance::new(600 + thread);
                for _ in 0..amount(40, 4000) {
                    attack(stand, &mut chance);
                }
            });
        }
    });
    assert!(stand.accepts_again(), "{}", stand.trouble());
    assert_eq!(processes(&stand), before, "a process of the daemon ended: {}", stand.trouble());
    let trouble = stand.trouble();
    assert!(!trouble.contains("panicked"), "{trouble}");
    stand.stop();
}
