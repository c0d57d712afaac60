//! What the scenarios of `bmi/` need: the program that loads the Brightmail client library, and a library to be loaded.
//!
//! The library is `stand_in.c`, compiled here; beside it stands one that is only there to be loaded first. The program is
//! built with the workspace; where somebody has built less than that, it is built now.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::place;

const LIBRARY: &str = "libbmiclient_single.so";
const XML_LIBRARY: &str = "libxml2_single.so";

/// Whether a scenario needs any of this.
pub(super) fn is_for(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with("bmi"))
}

fn folder() -> PathBuf {
    place::oxim().with_file_name("brightmail")
}

fn program() -> PathBuf {
    place::oxim().with_file_name("oxim-brightmail")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes it all, once.
pub(super) fn provide() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        std::fs::create_dir_all(folder()).unwrap();
        let own = folder().join(format!("{}.c", std::process::id()));
        std::fs::write(&own, "int xml2_single_is_here(void) { return 1; }\n").unwrap();
        compile(&place::source().join("tests/all/scenario/stand_in.c"), LIBRARY);
        compile(&own, XML_LIBRARY);
        let _gone = std::fs::remove_file(own);
        if !program().exists() {
            let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            command.args(["build", "--offline", "--package", "oxim-brightmail"]).current_dir(place::source());
            if place::oxim().components().any(|part| part.as_os_str() == "release") {
                command.arg("--release");
            }
            run(&mut command);
        }
    });
}

/// Others may compile at the same time: what is there is always whole.
fn compile(source: &Path, name: &str) {
    let own = folder().join(format!("{name}.{}", std::process::id()));
    run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&own).arg(source).arg("-ldl"));
    std::fs::rename(own, folder().join(name)).unwrap();
}

/// Puts it all into the folder of the scenario: the program beside the one under test, the libraries in `sdk`.
pub(super) fn place_in(top: &Path) {
    std::fs::create_dir_all(top.join("sdk")).unwrap();
    std::fs::copy(program(), top.join("oxim-brightmail")).unwrap();
    for name in [LIBRARY, XML_LIBRARY] {
        std::fs::copy(folder().join(name), top.join("sdk").join(name)).unwrap();
    }
}
