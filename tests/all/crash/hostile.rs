//! Random bytes, half sessions, endless lines: nothing that a client says ends the daemon.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::stand::{Client, Plan, Stand};
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
pub(super) fn attack(mut stream: TcpStream, chance: &mut Chance) {
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
/// The children of the daemon.
pub(super) fn processes(stand: &Stand) -> String {
    let pid = stand.pid();
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}

/// The daemon takes mail, and nothing of it has ended or panicked since it had these children.
pub(super) fn is_unharmed(stand: &Stand, children: &str) {
    assert!(stand.accepts_again(), "{}", stand.trouble());
    assert_eq!(processes(stand), children, "a process of the daemon ended: {}", stand.trouble());
    let trouble = stand.trouble();
    assert!(!trouble.contains("panicked"), "{trouble}");
}

/// Eight clients at once, each so often.
pub(super) fn from_eight_sides(seed: u64, turns: usize, turn: impl Fn(&mut Chance) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let turn = &turn;
            scope.spawn(move || {
                let mut chance = Chance::new(seed + thread);
                (0..turns).for_each(|_| turn(&mut chance));
            });
        }
    });
}

pub(super) fn random_input() {
    let mut stand = Stand::start(&Plan::default());
    let before = processes(&stand);
    from_eight_sides(600, amount(40, 4000), |chance| {
        if let Ok(stream) = TcpStream::connect(stand.address) {
            attack(stream, chance);
        }
    });
    is_unharmed(&stand, &before);
    stand.stop();
}

/// Sends an opening line by line, then a byte now and then, until the server hangs up; the time that took, and what was heard.
pub(super) fn trickle(mut stream: TcpStream, opening: &[u8]) -> (Duration, String) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for line in opening.split_inclusive(|b| *b == b'\n') {
        if stream.write_all(line).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut heard = Vec::new();
    let began = Instant::now();
    // Far more bytes than two seconds have room for, so that only the server can end it.
    while began.elapsed() < Duration::from_secs(15) {
        let mut part = [0; 512];
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&part[..count]),
            Err(_) if stream.write_all(b"x").is_err() => break,
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    (began.elapsed(), String::from_utf8_lossy(&heard).into_owned())
}

/// Clients that send a byte now and then are gone when the time for a line is over, in a command and within a message.
pub(super) fn slow_clients_are_dropped() {
    let mut stand = Stand::start(&Plan { main: "smtp_receive_timeout = 2s\n", ..Plan::default() });
    let message = b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@mta.test>\r\nDATA\r\nSubject: x\r\n";
    std::thread::scope(|scope| {
        let stand = &stand;
        for opening in [b"".as_slice(), b"EHLO c.test\r\n", message] {
            scope.spawn(move || {
                let (took, heard) = trickle(TcpStream::connect(stand.address).unwrap(), opening);
                assert!(took < Duration::from_secs(12), "{opening:?} after {took:?}: {heard}");
                assert!(heard.contains("421 "), "{opening:?}: {heard}");
            });
        }
    });
    stand.stop();
}

/// More connections at once than the limit are answered, and do not keep others out for long.
pub(super) fn a_storm_of_connections() {
    let mut stand = Stand::start(&Plan { connections: 50, ..Plan::default() });
    let before = processes(&stand);
    let answers: Vec<String> = std::thread::scope(|scope| {
        let storm = |_| {
            let stand = &stand;
            scope.spawn(move || {
                let mut streams = Vec::new();
                for _ in 0..amount(50, 500) {
                    let Ok(stream) = TcpStream::connect(stand.address) else { continue };
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    streams.push(stream);
                }
                let first = |mut stream: TcpStream| {
                    let mut part = [0; 3];
                    stream
                        .read_exact(&mut part)
                        .map_or(String::new(), |()| String::from_utf8_lossy(&part).into())
                };
                streams.into_iter().map(first).collect::<Vec<String>>()
            })
        };
        let threads: Vec<_> = (0..8).map(storm).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = |code: &str| answers.iter().filter(|answer| *answer == code).count();
    assert!(count("220") >= 50, "{answers:?}");
    assert!(count("421") > 0, "{answers:?}");
    assert_eq!(count("220") + count("421"), answers.len(), "all were answered: {answers:?}");
    assert!(stand.accepts_again(), "{}", stand.trouble());
    assert_eq!(processes(&stand), before, "a process of the daemon ended: {}", stand.trouble());
    stand.stop();
}

/// While many sessions wait in `delay` or for something that never answers, others are answered at once.
pub(super) fn waiting_sessions_do_not_keep_others_waiting() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    std::thread::spawn(move || silent.incoming().flatten().collect::<Vec<_>>());
    let main = "acl_smtp_rcpt = rcpt\n";
    let acl = format!(
        "rcpt:\n  accept senders = delay@c.test\n    delay = 60s\n  accept senders = hang@c.test\n    \
         condition = ${{readsocket{{inet:127.0.0.1:{port}}}{{x}}{{60s}}}}\n  accept\n"
    );
    let (hanging, delayed) = (amount(150, 950), amount(100, 950));
    let connections = u32::try_from(hanging + delayed).unwrap() + 50;
    let mut stand = Stand::start(&Plan { connections, main, acl: &acl, ..Plan::default() });
    let open = |sender: &str| {
        let mut client = Client::connect(stand.address).unwrap();
        client.hello().unwrap();
        assert!(client.command(&format!("MAIL FROM:<{sender}@c.test>")).unwrap().code < 400);
        client
    };
    let mut waiting = Vec::new();
    for index in 0..hanging + delayed {
        let mut client = open(if index < hanging { "hang" } else { "delay" });
        client.write(b"RCPT TO:<b@mta.test>\r\n").unwrap();
        waiting.push(client);
    }
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let mut client = open("plain");
            let began = Instant::now();
            assert_eq!(client.command("RCPT TO:<b@mta.test>").unwrap().code, 250);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    eprintln!(
        "{} sessions waiting; RCPT answered: median {:?}, 99th {:?}",
        waiting.len(),
        times[50],
        times[98]
    );
    // The figure that is wanted is a quarter of a second; a machine under load has more.
    assert!(times[98] < Duration::from_secs(if super::is_full() { 1 } else { 5 }), "{times:?}");
    drop(waiting);
    stand.stop();
}
