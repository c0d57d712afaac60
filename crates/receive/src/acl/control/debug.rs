//! `control = debug`: debugging output of one connection, in a file of its own beside the logs.
//!
//! Options `tag=`, `opts=`, `stop`, `kill`, `pretrigger=`, `trigger=`. It ends with the connection; deliveries are not in it. A
//! file that cannot be written is a line in the panic log. Under `-bh` it is only mentioned. Manual section 44.22.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::debug::{self, Tap};
use oxim_base::errno::error_text;
use oxim_base::limits::DEBUG_BUFFER_BYTES_MAX;
use oxim_base::{Text, clock};
use parking_lot::Mutex;

use super::super::run::Run;
use super::{ControlRow, Fault, options};
use crate::reception::Reception;

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "debug",
    doc: "Writes debugging output of this connection to a file: `/tag=`, `/opts=`, `/stop`, `/kill`, `/pretrigger=`, `/trigger=`.",
    forbidden: 0,
    has_options: true,
    apply: Some(apply),
};

/// The debugging output of one connection.
#[derive(Debug)]
struct DebugFile {
    mask: u64,
    path: PathBuf,
    /// A write to the panic log lets the buffer out.
    waits_for_panic: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    /// Lines that wait for the trigger, and how many bytes they may take; 0: written at once.
    waiting: VecDeque<String>,
    waiting_bytes: usize,
    limit: usize,
    is_killed: bool,
}

impl DebugFile {
    fn write(&self, state: &mut State, text: &str) {
        if state.file.is_none() {
            let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path);
            // The ACL has seen that the place can be written to; one that has gone since is not worth the session.
            state.file = opened.ok();
        }
        if let Some(file) = &mut state.file {
            let now = clock::Stamp::now().strftime(clock::Zone::Utc, "%H:%M:%S");
            let _ = file.write_all(format!("{now} {} {text}\n", std::process::id()).as_bytes());
        }
    }

    fn trigger(&self) {
        let mut state = self.state.lock();
        state.limit = 0;
        for text in std::mem::take(&mut state.waiting) {
            self.write(&mut state, &text);
        }
    }
}

impl Tap for DebugFile {
    fn mask(&self) -> u64 {
        self.mask
    }

    fn line(&self, text: &str) {
        let mut state = self.state.lock();
        if state.is_killed {
            return;
        }
        if state.limit == 0 {
            return self.write(&mut state, text);
        }
        state.waiting_bytes = state.waiting_bytes.saturating_add(text.len());
        state.waiting.push_back(text.to_owned());
        while state.waiting_bytes > state.limit {
            let Some(oldest) = state.waiting.pop_front() else { break };
            state.waiting_bytes = state.waiting_bytes.saturating_sub(oldest.len());
        }
    }

    fn panicked(&self) {
        if self.waits_for_panic {
            self.trigger();
        }
    }
}

/// What the options ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    tag: String,
    selectors: String,
    stop: bool,
    kill: bool,
    pretrigger: usize,
    on_panic: bool,
    now: bool,
}

/// Words that are not known are passed over, as in Exim.
fn wanted(text: &Text) -> Wanted {
    let mut wanted = Wanted::default();
    for option in options(text) {
        let option = option.to_string_lossy();
        match option.split_once('=') {
            Some(("tag", tag)) => wanted.tag = tag.to_owned(),
            Some(("opts", selectors)) => wanted.selectors = selectors.to_owned(),
            Some(("pretrigger", size)) => {
                wanted.pretrigger = size.trim().parse().unwrap_or(0).min(DEBUG_BUFFER_BYTES_MAX);
            }
            Some(("trigger", "now")) => wanted.now = true,
            Some(("trigger", "paniclog")) => wanted.on_panic = true,
            None if option == "stop" => wanted.stop = true,
            None if option == "kill" => wanted.kill = true,
            Some(_) | None => {}
        }
    }
    wanted
}

fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Fault> {
    let wanted = wanted(text);
    if wanted.stop || wanted.kill {
        if let Some(file) = run.scene.connection.debug.take() {
            debug::set_tap(None);
            if wanted.kill {
                file.kill();
            }
        }
        return Ok(());
    }
    if let (true, Some(running)) = (wanted.now, &run.scene.connection.debug) {
        running.0.trigger();
        return Ok(());
    }
    if run.is_host_checking() {
        run.trace(|| "DEBUGGING ACTIVATED FROM WITHIN CONFIG.".to_owned());
        let shown = |text: &str| if text.is_empty() { "(null)".to_owned() } else { format!("\"{text}\"") };
        run.trace(|| format!("DEBUG: Tag={} opts={}", shown(&wanted.tag), shown(&wanted.selectors)));
        return Ok(());
    }
    if run.scene.connection.debug.is_some() {
        return Ok(());
    }
    match start(run.reception, &wanted) {
        Ok(file) => {
            let file = Debugging(Arc::new(file));
            file.enter();
            run.scene.connection.debug = Some(file);
            debug::line(debug::ALL, || "DEBUGGING ACTIVATED FROM WITHIN CONFIG.".to_owned());
            debug::line(debug::ALL, || {
                format!("DEBUG: Tag=\"{}\" opts=\"{}\"", wanted.tag, wanted.selectors)
            });
        }
        Err(reason) => run.log_panic(&reason),
    }
    Ok(())
}

fn start(reception: &Reception, wanted: &Wanted) -> Result<DebugFile, String> {
    if wanted.tag.bytes().any(|byte| byte == b'/' || byte == 0) {
        return Err(format!("debug file tag \"{}\" must not contain a slash", wanted.tag));
    }
    let mask =
        debug::parse(&wanted.selectors).map_err(|word| format!("unknown debug selector \"{word}\""))?;
    let directory = &reception.settings.log_directory;
    if directory.is_empty() {
        return Err("there is no log directory for the debug file".to_owned());
    }
    let path = PathBuf::from(format!("{}/debuglog{}", directory.trim_end_matches('/'), wanted.tag));
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&path);
    let file = opened
        .map_err(|error| format!("debug file {} cannot be opened: {}", path.display(), error_text(&error)))?;
    let state = State { file: Some(file), limit: wanted.pretrigger, ..State::default() };
    Ok(DebugFile { mask, path, waits_for_panic: wanted.on_panic, state: Mutex::new(state) })
}

/// Debugging that is on for a connection.
#[derive(Clone, Debug)]
pub struct Debugging(Arc<DebugFile>);

impl Debugging {
    /// Turns it on for this thread; gives back what was on before, for [`debug::set_tap`].
    pub(crate) fn enter(&self) -> Option<Arc<dyn Tap>> {
        debug::set_tap(Some(Arc::clone(&self.0) as Arc<dyn Tap>))
    }

    fn kill(&self) {
        let mut state = self.0.state.lock();
        state.is_killed = true;
        state.waiting.clear();
        if state.file.take().is_some() {
            let _ = std::fs::remove_file(&self.0.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let all = wanted(&Text::clean("/tag=.x/opts=+acl/pretrigger=1024/trigger=paniclog/nonsense"));
        let expected = Wanted {
            tag: ".x".to_owned(),
            selectors: "+acl".to_owned(),
            pretrigger: 1024,
            on_panic: true,
            ..Wanted::default()
        };
        assert_eq!(all, expected);
        assert!(wanted(&Text::clean("/kill")).kill);
    }

    #[test]
    fn the_buffer_keeps_the_newest_lines_until_it_is_let_out() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("debuglog");
        let state = State { limit: 10, ..State::default() };
        let file = DebugFile {
            mask: debug::ALL,
            path: path.clone(),
            waits_for_panic: true,
            state: Mutex::new(state),
        };
        for text in ["first", "second", "third"] {
            file.line(text);
        }
        assert!(!path.exists());
        file.panicked();
        file.line("fourth");
        let text = std::fs::read_to_string(&path).unwrap();
        let words: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(words, ["third", "fourth"]);
        Debugging(Arc::new(file)).kill();
        assert!(!path.exists());
    }
}
