//! What people see: lines, ticks and tables on standard output, with color where it is a terminal.
//!
//! A closed pipe (`| head`) is not an error of ours, so writing never fails here.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Writes a line to standard output.
pub fn line(text: impl Display) {
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard error: progress that is no part of the answer.
pub fn note(text: impl Display) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a value as JSON.
///
/// # Errors
///
/// Never for the types of this crate.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// The colors used, and when they are not.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colored: bool,
}

impl Style {
    /// Color on a terminal, unless `NO_COLOR` is set (no-color.org).
    #[must_use]
    pub fn detect() -> Self {
        let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colored: std::io::stdout().is_terminal() && !asked_not_to }
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        if self.colored { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }

    /// Something that was checked and is right.
    #[must_use]
    pub fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    /// Something that is wrong.
    #[must_use]
    pub fn bad(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    /// A heading.
    #[must_use]
    pub fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    #[must_use]
    pub fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }
}

/// A table with a heading row.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings);
    table
}

/// A table of names and figures.
#[must_use]
pub fn figures(rows: impl IntoIterator<Item = (&'static str, String)>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    for (name, value) in rows {
        table.add_row(vec![Cell::new(name), number(value)]);
    }
    table
}

/// A cell with a number.
#[must_use]
pub fn number(value: impl Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// A duration in the unit people read best: `740 µs`, `12.4 ms`, `3.20 s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// A count with its digits in groups of three.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_people_write_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(10_000), "10,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(duration(Duration::from_micros(740)), "740 µs");
        assert_eq!(duration(Duration::from_micros(12_400)), "12.4 ms");
        assert_eq!(duration(Duration::from_millis(3_200)), "3.20 s");
    }
}
