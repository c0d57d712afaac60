//! The program.

mod args;

fn main() {
    if let Err(error) = args::parse(std::env::args_os()) {
        eprintln!("{}", error.0);
        std::process::exit(1);
    }
}
