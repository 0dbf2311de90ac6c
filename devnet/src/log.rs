//! What a node's log tells: its last lines for people, and whether a block was in flight when it was killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// How much of the end of a log is looked at, in bytes.
const TAIL_BYTES: u64 = 256 * 1024;

/// A line about the progress of a height, as the node writes them at level `info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A proposal for this height was taken in and is not decided yet.
    Proposal {
        /// The height.
        height: u64,
    },
    /// The block of this height was persisted.
    Committed {
        /// The height.
        height: u64,
    },
}

/// Reads `event="proposal" height=7` and the like, in the text or the JSON form of the log.
#[must_use]
pub fn progress(line: &str) -> Option<Progress> {
    let plain: String = strip_color(line).chars().filter(|c| !matches!(c, '"' | ' ')).collect();
    let value = |name: &str| {
        let at = [format!("{name}="), format!("{name}:")]
            .iter()
            .find_map(|mark| plain.find(mark.as_str()).map(|start| start + mark.len()))?;
        plain.get(at..)
    };
    let event = value("event")?;
    let height: String = value("height")?.chars().take_while(char::is_ascii_digit).collect();
    let height = height.parse().ok()?;
    if event.starts_with("proposal") {
        Some(Progress::Proposal { height })
    } else if event.starts_with("committed") {
        Some(Progress::Committed { height })
    } else {
        None
    }
}

/// The line without terminal colors.
fn strip_color(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // An escape sequence of ours ends with its first letter.
            let _end = chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

/// The height whose block was proposed and not committed where the log ends, if there was one.
#[must_use]
pub fn in_flight(text: &str) -> Option<u64> {
    match text.lines().rev().find_map(progress)? {
        Progress::Proposal { height } => Some(height),
        Progress::Committed { .. } => None,
    }
}

/// The end of a log, from the first whole line on.
///
/// # Errors
///
/// The file cannot be read.
pub fn tail(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, rest)) if start > 0 => rest.to_owned(),
        _ => text,
    })
}

/// The last `count` lines of a log, or nothing if there is no log.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let text = tail(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).to_owned()).collect()
}

/// Hands the log to `each` line by line, and with `follow` goes on as it grows, until `each` says to stop.
///
/// # Errors
///
/// The file cannot be read.
pub fn read_lines(
    path: &Path,
    last: usize,
    follow: bool,
    mut each: impl FnMut(&str) -> bool,
) -> anyhow::Result<()> {
    for line in last_lines(path, last) {
        if !each(&line) {
            return Ok(());
        }
    }
    if !follow {
        return Ok(());
    }
    let mut reader = BufReader::new(File::open(path)?);
    reader.seek(SeekFrom::End(0))?;
    let mut line = String::new();
    loop {
        if reader.read_line(&mut line)? == 0 {
            // A file tells nobody that it grew; people read slower than this.
            std::thread::sleep(Duration::from_millis(100));
        } else if line.ends_with('\n') {
            if !each(line.trim_end()) {
                return Ok(());
            }
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_in_every_form_of_the_log() {
        let proposal = Some(Progress::Proposal { height: 7 });
        for line in [
            r#"2026-11-21T09:00:00Z  INFO sillok_node::chain: event="proposal" height=7 round=0"#,
            r#"2026-11-21T09:00:00Z  INFO event=proposal round=0 height=7"#,
            r#"{"level":"INFO","event":"proposal","height":7,"round":0}"#,
            "\u{1b}[2m2026\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m \u{1b}[3mevent\u{1b}[0m=\"proposal\" \u{1b}[3mheight\u{1b}[0m=7",
        ] {
            assert_eq!(progress(line), proposal, "{line}");
        }
        assert_eq!(
            progress(r#"INFO event="committed" height=8 transactions=3"#),
            Some(Progress::Committed { height: 8 })
        );
        assert_eq!(progress("INFO listening"), None);
    }

    #[test]
    fn a_block_is_in_flight_between_its_proposal_and_its_commit() {
        let log = "event=committed height=1\nevent=proposal height=2\npeer connected\n";
        assert_eq!(in_flight(log), Some(2));
        assert_eq!(in_flight(&format!("{log}event=committed height=2\n")), None);
        assert_eq!(in_flight(""), None);
    }
}
