//! Lines for the operator on stdout, where a stdout that is closed is no reason to stop serving.

use std::{fmt, io::Write as _};

/// As `println!`, which panics where the reader of stdout has gone away; this goes on without.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
