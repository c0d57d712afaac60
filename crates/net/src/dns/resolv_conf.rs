//! Reads resolv.conf(5): name servers, search list, and the two timing options.
//!
//! Unknown lines are skipped, as the C library does. No usable server means the one on this host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Most name servers that are used. The C library's figure.
const SERVERS_MAX: usize = 3;
/// Most search domains that are used.
const SEARCH_MAX: usize = 6;

/// What the file said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) attempts: Option<usize>,
}

/// The file of this system, read again when it changes: laptops and leases move.
pub(super) struct ResolvConfFile {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    conf: Arc<ResolvConf>,
    stamp: Option<(SystemTime, u64)>,
    checked: Instant,
}

/// How often the file is looked at for changes, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl ResolvConfFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let state = State { conf: Arc::new(read(&path)), stamp: stamp(&path), checked: Instant::now() };
        ResolvConfFile { path, state: Mutex::new(state) }
    }

    pub(super) fn get(&self) -> Arc<ResolvConf> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.elapsed() >= CHECK_INTERVAL {
            state.checked = Instant::now();
            let stamp = stamp(&self.path);
            if stamp != state.stamp {
                state.stamp = stamp;
                state.conf = Arc::new(read(&self.path));
            }
        }
        state.conf.clone()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Reads the file; a missing one counts as empty.
fn read(path: &Path) -> ResolvConf {
    let text = std::fs::read(path).unwrap_or_default();
    let mut conf = parse(&String::from_utf8_lossy(&text));
    if conf.servers.is_empty() {
        conf.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
    }
    if conf.search.is_empty() {
        conf.search.extend(local_domain(&rustix::system::uname().nodename().to_string_lossy()));
    }
    conf
}

/// The domain of this host's name, which resolv.conf(5) has searched where the file names none.
fn local_domain(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, domain)| domain.to_owned()).filter(|domain| !domain.is_empty())
}

fn parse(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => add_server(&mut conf, words.next()),
            // The last of domain and search counts.
            Some("domain" | "search") => {
                conf.search =
                    words.take(SEARCH_MAX).map(|word| word.trim_end_matches('.').to_owned()).collect();
            }
            Some("options") => words.for_each(|word| read_option(&mut conf, word)),
            _ => {}
        }
    }
    conf
}

/// An address, perhaps with a zone (`fe80::1%eth0`; the zone is not used).
fn add_server(conf: &mut ResolvConf, word: Option<&str>) {
    let address = word.and_then(|word| word.split('%').next()).and_then(|word| word.parse::<IpAddr>().ok());
    if let Some(address) = address
        && conf.servers.len() < SERVERS_MAX
    {
        conf.servers.push(SocketAddr::new(address, 53));
    }
}

fn read_option(conf: &mut ResolvConf, word: &str) {
    if let Some(seconds) = word.strip_prefix("timeout:").and_then(|value| value.parse::<u64>().ok()) {
        conf.timeout = Some(Duration::from_secs(seconds.clamp(1, 30)));
    }
    if let Some(count) = word.strip_prefix("attempts:").and_then(|value| value.parse::<usize>().ok()) {
        conf.attempts = Some(count.clamp(1, 5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_search_and_options_are_read() {
        let conf = parse(
            "# c\nnameserver 192.0.2.1\nnameserver ::1\nnameserver junk\ndomain a.example\nsearch b.example c.example.\noptions timeout:2 attempts:9 ndots:1\n",
        );
        assert_eq!(conf.servers, vec!["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(conf.search, vec!["b.example", "c.example"]);
        assert_eq!((conf.timeout, conf.attempts), (Some(Duration::from_secs(2)), Some(5)));
    }

    #[test]
    fn a_missing_file_means_the_local_server() {
        assert_eq!(
            read(Path::new("/nonexistent/resolv.conf")).servers,
            vec!["127.0.0.1:53".parse().unwrap()]
        );
    }

    #[test]
    fn the_own_domain_is_searched_by_default() {
        assert_eq!(local_domain("host.test.ex").as_deref(), Some("test.ex"));
        assert_eq!(local_domain("host"), None);
        assert_eq!(local_domain("host."), None);
    }
}
