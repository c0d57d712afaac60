//! Exim's companion programs, called by their names: one row and one file for each (manual chapter 54).
//!
//! A tool is this program under another name, by a link. Each row has the name, a line of documentation and what runs.
//! `docs/features/tools.md` has a line for each; their scenarios stand in `tests/scenarios/tools`.

mod exicyclog;
mod exigrep;
mod exim_checkaccess;
mod exim_dbmbuild;
mod exim_dumpdb;
mod exim_fixdb;
mod exim_id_update;
mod exim_lock;
mod exim_msgdate;
mod exim_tidydb;
mod eximstats;
mod exinext;
pub(crate) mod exipick;
mod exiqgrep;
mod exiqsumm;
mod exiwhat;
mod hints;
mod letters;
mod listing;
mod log_file;
mod log_line;
#[cfg(test)]
mod manual;
mod ocsp_fetch;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::args::CommandLine;
use crate::assemble::Program;

/// One companion program.
pub(crate) struct Tool {
    /// What it is called by.
    pub name: &'static str,
    /// What it is for.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that keeps the page in step"))]
    pub summary: &'static str,
    /// How it is called, and its options: what its manual page shows.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that writes the manual pages"))]
    pub usage: &'static str,
    /// Whether `--version` tells its name and the version, as Exim's scripts do.
    pub tells_version: bool,
    /// Does it, and returns the exit code.
    pub run: fn(&Call) -> u8,
}

/// All of them, by name.
pub(crate) const TOOLS: &[Tool] = &[
    Tool {
        name: "exicyclog",
        summary: "cycles the logs",
        usage: "usage: exicyclog [-k <number>] [-l <path>]\n\n  -k <number>  how many old logs are kept (10)\n  -l <path>    the main log, instead of the configuration's\n",
        tells_version: true,
        run: exicyclog::run,
    },
    Tool {
        name: "exigrep",
        summary: "shows whole messages of a main log that have a line with a pattern",
        usage: exigrep::HELP,
        tells_version: true,
        run: exigrep::run,
    },
    Tool {
        name: "exim_checkaccess",
        summary: "tells whether a client may send to a recipient",
        usage: exim_checkaccess::USAGE,
        tells_version: false,
        run: exim_checkaccess::run,
    },
    Tool {
        name: "exim_dbmbuild",
        summary: "makes a DBM file",
        usage: exim_dbmbuild::USAGE,
        tells_version: false,
        run: exim_dbmbuild::run,
    },
    Tool {
        name: "exim_dumpdb",
        summary: "shows what the hints hold",
        usage: "usage: exim_dumpdb [-z] [-k] <spool-directory> <database-name>\n\n  -z  times in UTC\n  -k  keys only\n",
        tells_version: false,
        run: exim_dumpdb::run,
    },
    Tool {
        name: "exim_fixdb",
        summary: "shows and changes single hints",
        usage: "usage: exim_fixdb [-z] <spool-directory> <database-name>\n\n  -z  times in UTC\n",
        tells_version: false,
        run: exim_fixdb::run,
    },
    Tool {
        name: "exim_id_update",
        summary: "renames queued messages between the two forms of ids",
        usage: exim_id_update::HELP,
        tells_version: false,
        run: exim_id_update::run,
    },
    Tool {
        name: "exim_lock",
        summary: "locks a mailbox while a command runs",
        usage: exim_lock::USAGE,
        tells_version: false,
        run: exim_lock::run,
    },
    Tool {
        name: "exim_msgdate",
        summary: "tells when a message came, by its id",
        usage: exim_msgdate::HELP,
        tells_version: false,
        run: exim_msgdate::run,
    },
    Tool {
        name: "exim_tidydb",
        summary: "removes old hints",
        usage: "usage: exim_tidydb [-t <time>] <spool-directory> <database-name>\n\n  -t <time>  what is older goes (30d)\n",
        tells_version: false,
        run: exim_tidydb::run,
    },
    Tool {
        name: "eximstats",
        summary: "makes statistics of main logs",
        usage: eximstats::options::HELP,
        tells_version: true,
        run: eximstats::run,
    },
    Tool {
        name: "exinext",
        summary: "tells when an address, domain or message is tried again",
        usage: "usage: exinext [-C <file>] [-D<macro>] <address>|<domain>|<local-part>|<message-id>",
        tells_version: true,
        run: exinext::run,
    },
    Tool {
        name: "exipick",
        summary: "selects queued messages by anything that the spool says of them",
        usage: exipick::options::HELP,
        tells_version: true,
        run: exipick::run,
    },
    Tool {
        name: "exiqgrep",
        summary: "selects from the listing of the queue",
        usage: exiqgrep::HELP,
        tells_version: true,
        run: exiqgrep::run,
    },
    Tool {
        name: "exiqsumm",
        summary: "sums up a listing of the queue by domain",
        usage: "usage: exiqsumm [-a] [-c] [-b] [-f] [-s] [<file> ...]\n\n  -a  sorted by age\n  -c  sorted by count\n  -b  with bounces\n  -f  with frozen messages\n  -s  by senders\n",
        tells_version: true,
        run: exiqsumm::run,
    },
    Tool {
        name: "exiwhat",
        summary: "tells what the processes are doing",
        usage: "usage: exiwhat [-C <file>]",
        tells_version: true,
        run: exiwhat::run,
    },
    Tool {
        name: "ocsp_fetch.pl",
        summary: "fetches proofs that certificates are not revoked",
        usage: "usage: ocsp_fetch.pl [-C FILE] [--force] [--issuer FILE] [--url URL] [--pem] [CERTIFICATE PROOF]",
        tells_version: false,
        run: ocsp_fetch::run,
    },
];

/// How a tool was called.
pub(crate) struct Call {
    /// The name, as it was given.
    path: OsString,
    /// The words behind it.
    pub words: Vec<Vec<u8>>,
}

impl Call {
    /// The last part of the name.
    pub(crate) fn name(&self) -> String {
        base_name(&self.path).to_string_lossy().into_owned()
    }

    /// The whole command line.
    pub(crate) fn command_line(&self) -> Vec<OsString> {
        use std::os::unix::ffi::OsStringExt;
        let words = self.words.iter().map(|word| OsString::from_vec(word.clone()));
        std::iter::once(self.path.clone()).chain(words).collect()
    }

    /// This program as Exim, to be run.
    pub(crate) fn exim(&self) -> Command {
        let own = std::env::current_exe().unwrap_or_else(|_| "/usr/sbin/exim".into());
        let mut command = Command::new(own);
        command.arg0("exim");
        command
    }

    /// Tells about a fault, and returns the exit code.
    pub(crate) fn fail(&self, code: u8, text: impl std::fmt::Display) -> u8 {
        complain!("{}: {text}", self.name());
        code
    }
}

/// The configuration that a tool works with: the default one, or that of its `-C`.
///
/// # Errors
/// The exit code; what is wrong has been told.
pub(crate) fn configuration(file: Option<&[u8]>) -> Result<Program, u8> {
    Program::read(CommandLine::of_configuration(file))
}

/// Writes to standard output.
pub(crate) fn say(text: impl std::fmt::Display) {
    say_part!("{text}");
}

fn base_name(path: &OsStr) -> &OsStr {
    OsStr::from_bytes(path.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default())
}

fn named(name: &[u8]) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name.as_bytes() == name)
}

/// Whether a program's name, without its folder, is that of a tool.
pub(crate) fn is_companion(name: &[u8]) -> bool {
    named(name).is_some()
}

/// Runs the tool that the program was called as. None: it was called otherwise.
pub(crate) fn run(words: &[OsString]) -> Option<u8> {
    let (path, rest) = words.split_first()?;
    let tool = named(base_name(path).as_bytes())?;
    let call = Call { path: path.clone(), words: rest.iter().map(|w| w.as_bytes().to_vec()).collect() };
    if tool.tells_version && call.words.first().is_some_and(|w| w == b"--version") {
        say!("{}: {}\nbuild: {}", tool.name, path.to_string_lossy(), crate::mode::version::EXIM_VERSION);
        return Some(0);
    }
    Some((tool.run)(&call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_its_line_and_its_scenario() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let page = std::fs::read_to_string(format!("{source}/docs/features/tools.md")).unwrap();
        assert!(TOOLS.is_sorted_by_key(|tool| tool.name));
        for tool in TOOLS {
            let line = format!("| `{}` | {} |", tool.name, tool.summary);
            assert!(page.contains(&line), "docs/features/tools.md lacks: {line}");
            let scenario = format!("{source}/tests/scenarios/tools/{}.txt", tool.name);
            assert!(std::path::Path::new(&scenario).exists(), "{scenario} is missing");
        }
    }
}
