//! Standard output and standard error: whoever reads them may go at any time (`oxim -bp | head`), and then there is nobody to tell.
//! The macros of the standard library would panic, in the middle of what the program does.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line to standard output.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::out(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Writes to standard output.
macro_rules! say_part {
    ($($argument:tt)*) => { $crate::console::out(format_args!($($argument)*)) };
}

/// Writes a line to standard error.
macro_rules! complain {
    ($($argument:tt)*) => { $crate::console::error(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Writes to standard error.
macro_rules! complain_part {
    ($($argument:tt)*) => { $crate::console::error(format_args!($($argument)*)) };
}

/// Writes to standard output.
pub fn out(text: Arguments<'_>) {
    let _ = std::io::stdout().lock().write_fmt(text);
}

/// Writes to standard error.
pub fn error(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}
