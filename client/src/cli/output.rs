//! What is printed: tables and a little color for people at a terminal, JSON for programs.
//!
//! A closed pipe (`| head`) is not an error, so writing never fails here.

use super::failure::Failure;
use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    colored: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        // no-color.org
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colored: !json && !no_color && std::io::stdout().is_terminal() }
    }

    /// A line for people.
    pub(crate) fn line(self, text: impl Display) {
        if !self.json {
            print(text);
        }
    }

    /// A remark that is no part of the answer.
    pub(crate) fn note(self, text: impl Display) {
        let _closed = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// The answer for programs.
    pub(crate) fn value(self, value: &Value) {
        if self.json {
            print(format_args!("{value:#}"));
        }
    }

    pub(crate) fn failure(self, failure: &Failure) {
        let mut error = json!({
            "code": failure.code,
            "message": failure.message,
            "fields": failure.fields,
            "exit": failure.exit,
        });
        if !failure.violations.is_empty() {
            error["violations"] = failure.violations.clone().into();
        }
        self.value(&json!({ "error": error }));
        if !self.json {
            self.note(format_args!("sillok: {}", failure.message));
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colored { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A table with a head line.
    pub(crate) fn table<const N: usize>(self, head: [&str; N], rows: Vec<[String; N]>) {
        let mut table = plain();
        table.set_header(head);
        for row in rows {
            table.add_row(row.map(Cell::new));
        }
        self.line(trimmed(&table));
    }

    /// Names and values, one a line.
    pub(crate) fn facts(self, facts: &[(&str, String)]) {
        let mut table = plain();
        for (name, value) in facts {
            table.add_row([Cell::new(name), Cell::new(value)]);
        }
        self.line(trimmed(&table));
    }
}

/// Columns without lines between them: copies well, also through pipes.
fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // DIDs and hashes are of use whole.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn print(text: impl Display) {
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// `12 s`, `3 min`, `2 h`, `5 d`: how long ago, at a glance.
pub(crate) fn age(age_ms: u64) -> String {
    let seconds = age_ms / 1000;
    match seconds {
        0..=119 => format!("{}.{} s", seconds, age_ms % 1000 / 100),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
