//! The hosts file (hosts(5)), read once and again when it changes.
//!
//! An unreadable file counts as empty: the C library does the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often the file is looked at for changes, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Table {
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<String>>,
    canonical: HashMap<String, String>,
}

struct State {
    table: Table,
    stamp: Option<(SystemTime, u64)>,
    checked: Option<Instant>,
}

/// The hosts file of this system.
pub(super) struct HostsFile {
    path: PathBuf,
    state: Mutex<State>,
}

impl HostsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        HostsFile { path, state: Mutex::new(State { table: Table::default(), stamp: None, checked: None }) }
    }

    /// The canonical name and all addresses of a name; none if the file does not have it.
    pub(super) fn addresses(&self, name: &str) -> Option<(String, Vec<IpAddr>)> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.with_table(|table| {
            let addresses = table.addresses.get(&name)?.clone();
            Some((table.canonical.get(&name).cloned().unwrap_or(name), addresses))
        })
    }

    /// The names of an address, the canonical one first.
    pub(super) fn names(&self, address: IpAddr) -> Option<Vec<String>> {
        self.with_table(|table| table.names.get(&address).cloned())
    }

    fn with_table<T>(&self, ask: impl FnOnce(&Table) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.is_none_or(|checked| checked.elapsed() >= CHECK_INTERVAL) {
            state.checked = Some(Instant::now());
            let stamp =
                std::fs::metadata(&self.path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            if stamp != state.stamp {
                state.stamp = stamp;
                let text = std::fs::read(&self.path).unwrap_or_default();
                state.table = parse(&String::from_utf8_lossy(&text));
            }
        }
        ask(&state.table)
    }
}

fn parse(text: &str) -> Table {
    let mut table = Table::default();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        let names: Vec<String> = words.map(str::to_owned).collect();
        let Some(canonical) = names.first().cloned() else { continue };
        for name in &names {
            let key = name.to_ascii_lowercase();
            let addresses = table.addresses.entry(key.clone()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
            table.canonical.entry(key).or_insert_with(|| canonical.clone());
        }
        // gethostbyaddr stops at the first line that has the address.
        table.names.entry(address).or_insert(names);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn names_and_addresses_are_found_both_ways() {
        let table =
            parse("127.0.0.1 localhost lh # here\n::1 localhost\n127.0.0.1 other\njunk x\n192.0.2.9\n");
        assert_eq!(table.addresses["localhost"].len(), 2);
        assert_eq!(table.canonical["lh"], "localhost");
        assert_eq!(table.names[&"127.0.0.1".parse::<IpAddr>().unwrap()], vec!["localhost", "lh"]);
        assert!(table.addresses.contains_key("other"));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "192.0.2.1 a.example").unwrap();
        let hosts = HostsFile::new(file.path().to_owned());
        assert!(hosts.addresses("A.EXAMPLE.").is_some());
        writeln!(file, "192.0.2.2 b.example").unwrap();
        hosts.state.lock().unwrap().checked = None;
        assert_eq!(hosts.addresses("b.example").unwrap().1, vec!["192.0.2.2".parse::<IpAddr>().unwrap()]);
    }
}
