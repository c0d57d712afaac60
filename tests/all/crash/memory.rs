//! What a session costs: many are held, before DATA and within it, and the memory of the daemon is divided among them.

use std::fs;

use super::amount;
use super::stand::{Client, Plan, Stand};

/// Bytes for each session that waits after RCPT.
const BEFORE_DATA_BYTES_MAX: u64 = 64 << 10;
/// Bytes for each session that has sent a part of its message.
const WITHIN_DATA_BYTES_MAX: u64 = 256 << 10;

/// Memory in use by the daemon and its children, in bytes.
fn resident(stand: &Stand) -> u64 {
    let pid = stand.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut all: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
    all.push(pid.to_string());
    let of_one = |pid: &String| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    all.iter().map(of_one).sum()
}

fn open(stand: &Stand) -> Client {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    for line in ["MAIL FROM:<sender@client.test>", "RCPT TO:<someone@mta.test>"] {
        assert!(client.command(line).unwrap().code < 400);
    }
    client
}

pub(super) fn sessions_are_small() {
    let count = amount(300, 1900);
    let mut stand =
        Stand::start(&Plan { connections: u32::try_from(count).unwrap() + 100, ..Plan::default() });
    // What is made once must not count.
    drop((0..20).map(|_| open(&stand)).collect::<Vec<_>>());
    let empty = resident(&stand);
    let mut clients: Vec<Client> = (0..count).map(|_| open(&stand)).collect();
    let each = resident(&stand).saturating_sub(empty) / count as u64;
    assert!(each <= BEFORE_DATA_BYTES_MAX, "{each} bytes for each of {count} sessions before DATA");
    let line = [b"x".repeat(76), b"\r\n".to_vec()].concat();
    for client in &mut clients {
        assert!(client.command("DATA").unwrap().code < 400);
        client.write(b"Subject: long\r\n\r\n").unwrap();
        // A megabyte each: the body is on disk, whatever its size.
        for _ in 0..16 {
            client.write(&line.repeat(840)).unwrap();
        }
    }
    let within = resident(&stand).saturating_sub(empty) / count as u64;
    assert!(within <= WITHIN_DATA_BYTES_MAX, "{within} bytes for each of {count} sessions within DATA");
    eprintln!("{count} sessions: {each} bytes each before DATA, {within} within");
    drop(clients);
    assert!(stand.accepts_again(), "{}", stand.trouble());
    stand.stop();
}
