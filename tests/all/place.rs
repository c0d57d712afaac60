//! Where things are: the source tree, the program under test, the oracle.

use std::path::{Path, PathBuf};

/// The top of the source tree.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The program under test: beside this test binary.
pub(crate) fn oxim() -> PathBuf {
    if let Some(path) = std::env::var_os("OXIM_BINARY") {
        return path.into();
    }
    let me = std::env::current_exe().unwrap();
    me.parent().unwrap().parent().unwrap().join("oxim")
}

/// The oracle, if it is installed.
pub(crate) fn exim() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/sbin/exim4");
    path.exists().then_some(path)
}

/// Where `scripts/test-packages` has put what it does not install.
pub(crate) fn peers() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    me.ancestors().nth(3).unwrap().join("peers")
}
