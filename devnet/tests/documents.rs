//! The documents, held against the tree: links, paths and tests they name, command lines they show, settings they print.
//!
//! A document that says what is no longer so is worse than none. Deliberately not checked: whether the prose is right.

#[cfg(test)]
mod documents {
    use sillok_proto::Tag;
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// The root of the tree.
    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
    }

    /// Every file below `directory` with this ending.
    fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path, ending));
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
        found.sort();
        found
    }

    /// The README and everything under docs, with their text.
    fn documents() -> Vec<(PathBuf, String)> {
        let mut paths = files(&root().join("docs"), "md");
        paths.extend(files(&root().join("vectors"), "md"));
        paths.extend(
            ["python", "java", "universal-resolver"]
                .map(|one| root().join("examples").join(one).join("README.md")),
        );
        paths.push(root().join("README.md"));
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        };
        let documents: Vec<_> = paths.into_iter().map(read).collect();
        assert!(documents.len() > 20, "the documents were not found");
        documents
    }

    /// A fenced block: its language and its text.
    fn blocks(text: &str) -> Vec<(String, String)> {
        let mut blocks = Vec::new();
        let mut open: Option<(String, String)> = None;
        for line in text.lines() {
            // Blocks inside of a list are indented.
            let line = line.trim_start();
            match (line.strip_prefix("```"), &mut open) {
                (Some(language), None) => open = Some((language.to_owned(), String::new())),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some((_, body))) => {
                    body.push_str(line);
                    body.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "a block is not closed");
        blocks
    }

    /// The text between single backticks outside of blocks.
    fn spans(text: &str) -> Vec<String> {
        let mut inside = false;
        let mut spans = Vec::new();
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if !inside {
                spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        spans
    }

    /// The anchors that headings make, as GitHub and its like do.
    fn anchors(text: &str) -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()))
            .map(|heading| {
                let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.collect::<String>().to_lowercase().replace(' ', "-")
            })
            .collect()
    }

    #[test]
    fn every_relative_link_leads_somewhere() {
        for (path, text) in documents() {
            for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let to = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
                assert!(to.exists(), "{}: {target} leads nowhere", path.display());
                if !anchor.is_empty() {
                    let there = anchors(&fs::read_to_string(&to).unwrap());
                    assert!(there.contains(anchor), "{}: no heading {target}", path.display());
                }
            }
        }
    }

    #[test]
    fn every_page_is_linked_from_another() {
        let documents = documents();
        for (path, _) in &documents {
            let name = path.file_name().unwrap().to_str().unwrap();
            // A decision is found by the link to their directory.
            if name == "README.md" || path.parent().unwrap().ends_with("decisions") {
                continue;
            }
            let linked = |(other, text): &(PathBuf, String)| other != path && text.contains(name);
            assert!(documents.iter().any(linked), "nothing links to {name}");
        }
    }

    #[test]
    fn every_path_that_is_named_exists() {
        let tops = [
            "proto",
            "did-method",
            "ledger",
            "verifier",
            "status-list",
            "consensus",
            "client",
            "node",
            "devnet",
            "scripts",
            "deploy",
            "vectors",
            "examples",
        ];
        for (path, text) in documents() {
            for span in spans(&text) {
                let name = span.split(':').next().unwrap_or(&span);
                let is_path = name.split_once('/').is_some_and(|(top, _)| tops.contains(&top))
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
                if is_path {
                    assert!(root().join(name).exists(), "{}: there is no {name}", path.display());
                }
            }
        }
    }

    #[test]
    fn every_test_that_is_named_exists() {
        let tops = [
            "proto",
            "did-method",
            "ledger",
            "verifier",
            "status-list",
            "consensus",
            "client",
            "node",
            "devnet",
        ];
        let sources: String = tops
            .iter()
            .flat_map(|top| ["src", "tests"].map(|part| root().join(top).join(part)))
            .filter(|directory| directory.is_dir())
            .flat_map(|directory| files(&directory, "rs"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let mut named = 0;
        for (path, text) in documents() {
            for span in spans(&text) {
                let words = span.split('_').count();
                let is_test = words >= 5
                    && span
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
                if is_test && !span.ends_with("_max") {
                    let declared = sources.contains(&format!("fn {span}("));
                    assert!(declared, "{}: there is no test {span}", path.display());
                    named += 1;
                }
            }
        }
        assert!(named > 10, "only {named} tests are named");
    }

    /// A program of ours beside the one of this package.
    fn program(name: &str) -> PathBuf {
        let path = Path::new(env!("CARGO_BIN_EXE_sillok-devnet")).with_file_name(name);
        assert!(path.exists(), "{} is not built; run `cargo build --workspace`", path.display());
        path
    }

    /// What `--help` says of each command, asked once.
    #[derive(Default)]
    struct Help {
        known: BTreeMap<Vec<String>, String>,
    }

    impl Help {
        fn of(&mut self, command: &[String]) -> &str {
            self.known.entry(command.to_vec()).or_insert_with(|| {
                let output =
                    Command::new(program(&command[0])).args(&command[1..]).arg("--help").output();
                let output = output.unwrap();
                assert!(output.status.success(), "{command:?} --help failed");
                String::from_utf8(output.stdout).unwrap()
            })
        }

        /// Does `command` list `word` among its commands?
        fn has_command(&mut self, command: &[String], word: &str) -> bool {
            let mut lines =
                self.of(command).lines().skip_while(|line| *line != "Commands:").skip(1);
            lines.any(|line| line.split_whitespace().next() == Some(word))
        }

        /// Checks that the commands and flags of a command line exist.
        fn check(&mut self, line: &str) -> Result<(), String> {
            let line = line.split(" #").next().unwrap_or(line);
            let words: Vec<&str> = line.split_whitespace().collect();
            let mut command = vec![words[0].to_owned()];
            let mut rest = &words[1..];
            while self.of(&command).contains("\nCommands:\n") {
                let Some((word, after)) = rest.split_first() else { break };
                if word.starts_with('-') {
                    break;
                }
                if !self.has_command(&command, word) {
                    return Err(format!("{} has no command {word}", command.join(" ")));
                }
                command.push((*word).to_owned());
                rest = after;
            }
            let help = self.of(&command).to_owned();
            let flags: BTreeSet<&str> =
                help.split(|c: char| c.is_whitespace() || ",=[]<>".contains(c)).collect();
            for word in rest.iter().filter(|word| word.starts_with('-')) {
                let flag = word.split('=').next().unwrap_or(word);
                if !flags.contains(flag) {
                    return Err(format!("{} has no flag {flag}", command.join(" ")));
                }
            }
            Ok(())
        }
    }

    /// Is this a call of one of our programs?
    fn is_ours(line: &str) -> bool {
        ["sillok ", "sillok-node ", "sillok-devnet "].iter().any(|name| line.starts_with(name))
    }

    #[test]
    fn every_command_line_that_is_shown_exists() {
        let mut help = Help::default();
        let mut shown = 0;
        for (path, text) in documents() {
            let in_blocks = blocks(&text).into_iter().filter(|(language, _)| language == "sh");
            let lines = in_blocks.flat_map(|(_, body)| {
                // A long line goes on after a backslash.
                body.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>()
            });
            for line in lines.chain(spans(&text)).filter(|line| is_ours(line)) {
                shown += 1;
                if let Err(error) = help.check(&line) {
                    panic!("{}: `{line}`: {error}", path.display());
                }
            }
        }
        assert!(shown > 20, "only {shown} command lines are shown");
    }

    #[test]
    fn a_command_line_that_does_not_exist_is_noticed() {
        let mut help = Help::default();
        assert_eq!(help.check("sillok-devnet up --validators 4 --detach"), Ok(()));
        assert!(help.check("sillok-devnet conquer").is_err());
        assert!(help.check("sillok-devnet up --vallidators 4").is_err());
        assert!(help.check("sillok-node config defaults").is_err());
    }

    #[test]
    fn every_script_that_is_shown_exists() {
        for (path, text) in documents() {
            for (_, body) in blocks(&text).into_iter().filter(|(language, _)| language == "sh") {
                let scripts = body.lines().filter_map(|line| line.split_whitespace().next());
                for script in scripts.filter(|word| word.starts_with("scripts/")) {
                    assert!(root().join(script).exists(), "{}: no {script}", path.display());
                }
            }
        }
    }

    #[test]
    fn the_settings_in_the_manual_are_those_of_the_program() {
        let text = fs::read_to_string(root().join("docs/operating.md")).unwrap();
        let printed: Vec<String> = blocks(&text)
            .into_iter()
            .filter(|(language, _)| language == "toml")
            .map(|(_, body)| body)
            .collect();
        assert_eq!(printed, [sillok_node::config::default_toml()]);
    }

    #[test]
    fn every_tag_is_in_the_protocol() {
        let text = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
        for tag in Tag::ALL {
            let name = tag.as_str().trim_start_matches("sillok/v1/");
            assert!(text.contains(&format!("`{name}`")), "docs/protocol.md has no tag {name}");
        }
    }

    #[test]
    fn every_event_of_the_log_is_in_the_manual() {
        let text = fs::read_to_string(root().join("docs/operating.md")).unwrap();
        let mut events = 0;
        for source in files(&root().join("node/src"), "rs") {
            let source = fs::read_to_string(source).unwrap();
            for event in
                source.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next())
            {
                assert!(
                    text.contains(&format!("`{event}`")),
                    "docs/operating.md has no event {event}"
                );
                events += 1;
            }
        }
        assert!(events > 5, "only {events} events were found");
    }

    #[test]
    fn every_lie_of_the_liar_is_in_the_page_on_lies() {
        let page = std::fs::read_to_string(root().join("docs/lies.md")).unwrap();
        for lie in sillok_devnet::liar::Lie::ALL {
            assert!(page.contains(&format!("\n| `{lie}` | ")), "docs/lies.md has no row of {lie}");
        }
    }

    #[test]
    fn every_column_family_is_in_the_page_on_state() {
        let text = fs::read_to_string(root().join("docs/state.md")).unwrap();
        let source = fs::read_to_string(root().join("node/src/storage.rs")).unwrap();
        let families: Vec<&str> = source
            .lines()
            .filter(|line| line.starts_with("const ") && line.contains(": &str = \""))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        assert!(families.len() > 10, "only {} column families were found", families.len());
        for family in families {
            assert!(text.contains(&format!("`{family}`")), "docs/state.md has no family {family}");
        }
    }
}
