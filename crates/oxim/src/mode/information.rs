//! `-bI:…`: lists for other programs (manual section 5.3).

const HELP: &str = "The -bI: flag takes a word that names the information wanted.\n\n  exim -bI:help    this text\n  exim -bI:dscp    the names of DSCP values, one per line\n  exim -bI:sieve   the supported Sieve extensions, one per line";

/// Prints what was asked for. Exit code 1, with the help text on standard error, for an unknown word.
pub(crate) fn run(word: &[u8]) -> u8 {
    match word.to_ascii_lowercase().as_slice() {
        b"help" => say!("{HELP}"),
        b"dscp" => oxim_net::socket::DSCP_NAMES.iter().for_each(|(name, _)| say!("{name}")),
        b"sieve" => oxim_deliver::filter::sieve::EXTENSIONS.iter().for_each(|name| say!("{name}")),
        _ => {
            complain!("{HELP}");
            return 1;
        }
    }
    0
}
