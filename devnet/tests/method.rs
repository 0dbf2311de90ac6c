//! The method specification and its registration, held against what the standards ask of them: DID Core 1.1, "Methods",
//! and the schema of the W3C list of methods.
//!
//! Deliberately not checked: whether the prose is true. It names the tests that are.

#[cfg(test)]
mod method {
    use serde_json::Value;
    use sillok_did_method::Did;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Words below which a section says nothing.
    const WORDS_MIN: usize = 12;
    /// Words of each of the two sections of considerations, which reviewers want substantive.
    const CONSIDERATIONS_WORDS_MIN: usize = 300;

    fn read(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    /// Each heading without its number, with the text up to the next heading of the same level or above.
    fn sections(text: &str) -> BTreeMap<String, String> {
        let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
        let lines: Vec<&str> = text.lines().collect();
        let mut found = BTreeMap::new();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| level(line) > 1) {
            let title = line.trim_start_matches('#').trim();
            let numbered = title.split_once(' ').filter(|(number, _)| {
                number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            });
            let name = numbered.map_or(title, |(_, name)| name);
            let body = lines[at + 1..]
                .iter()
                .take_while(|later| level(later) == 0 || level(later) > level(line))
                .filter(|later| level(later) == 0);
            let body: Vec<&str> = body.copied().collect();
            assert!(found.insert(name.to_owned(), body.join("\n")).is_none(), "{name} twice");
        }
        found
    }

    #[track_caller]
    fn section<'a>(sections: &'a BTreeMap<String, String>, name: &str) -> &'a str {
        let body = sections.get(name).unwrap_or_else(|| panic!("there is no section {name}"));
        let words = body.split_whitespace().count();
        assert!(words >= WORDS_MIN, "section {name} has {words} words");
        body
    }

    #[test]
    fn the_syntax_is_whole() {
        let sections = sections(&read("docs/method.md"));
        let syntax = section(&sections, "The DID");
        assert!(syntax.contains("There is one method name, and it is `sillok`"));
        assert!(syntax.contains("```abnf") && section(&sections, "DID URLs").contains("```abnf"));
        for name in ["Case and normalization", "Generation", "Uniqueness", "Networks and forks"] {
            section(&sections, name);
        }
        // The example is a DID, which the grammar on the page and the parser both say.
        let example = syntax.split("Example: `").nth(1).and_then(|rest| rest.split('`').next());
        Did::parse(example.unwrap()).unwrap();
    }

    #[test]
    fn every_operation_says_who_authorizes_it() {
        let sections = sections(&read("docs/method.md"));
        section(&sections, "Authorization and cryptography");
        for name in ["Create", "Resolve (read)", "Update", "Set device", "Deactivate"] {
            let body = section(&sections, name);
            assert!(body.contains("**Authorization.**"), "{name}");
        }
        let resolve = section(&sections, "Resolve (read)");
        assert!(resolve.contains("**How a resolver verifies the answer.**"));
    }

    #[test]
    fn every_attack_and_requirement_of_the_security_section_is_considered() {
        let sections = sections(&read("docs/method.md"));
        for name in [
            "Eavesdropping",
            "Replay",
            "Message insertion",
            "Deletion",
            "Modification",
            "Denial of service",
            "Amplification",
            "Man in the middle",
            "Residual risks",
            "Integrity and update authentication",
            "Authentication characteristics",
            "Unique assignment",
            "Endpoint authentication",
            "Topology: light clients and full nodes",
            "What each protection covers",
            "Secrets",
            "Signatures on documents",
            "Burden on the registry",
        ] {
            section(&sections, name);
        }
        let whole = section(&sections, "Security considerations");
        assert!(whole.contains("RFC 3552"));
        assert!(whole.split_whitespace().count() >= CONSIDERATIONS_WORDS_MIN);
        // Integrity and authentication are told of each operation.
        let table = section(&sections, "Integrity and update authentication");
        for operation in ["create", "resolve", "update", "set device", "deactivate"] {
            assert!(table.contains(&format!("| {operation} |")), "{operation}");
        }
    }

    #[test]
    fn all_nine_headings_of_privacy_are_considered() {
        let sections = sections(&read("docs/method.md"));
        for name in [
            "Surveillance",
            "Stored data compromise",
            "Unsolicited traffic",
            "Misattribution",
            "Correlation",
            "Identification",
            "Secondary use",
            "Disclosure",
            "Exclusion",
        ] {
            section(&sections, name);
        }
        let whole = section(&sections, "Privacy considerations");
        assert!(whole.contains("RFC 6973"));
        assert!(whole.split_whitespace().count() >= CONSIDERATIONS_WORDS_MIN);
    }

    /// The schema of the list: these members, no other, text of at most 512 characters.
    fn check_entry(entry: &Value) -> Result<(), String> {
        let members = entry.as_object().ok_or("the entry is no object")?;
        for required in ["name", "status", "specification"] {
            members.get(required).ok_or(format!("{required} is missing"))?;
        }
        for (name, value) in members {
            let value = match name.as_str() {
                "name"
                | "status"
                | "specification"
                | "contactName"
                | "contactEmail"
                | "contactWebsite"
                | "verifiableDataRegistry"
                | "conformanceReport" => value,
                _ => return Err(format!("{name} is no member of an entry")),
            };
            let text = value.as_str().ok_or(format!("{name} is no text"))?;
            let length = text.chars().count();
            if length == 0 || length > 512 {
                return Err(format!("{name} has {length} characters"));
            }
        }
        let statuses = ["registered", "withdrawn", "deprecated"];
        if !statuses.iter().any(|status| members["status"] == *status) {
            return Err("the status is none".to_owned());
        }
        let is_url = |url: &Value| url.as_str().is_some_and(|url| url.starts_with("https://"));
        let urls = ["specification", "contactWebsite", "conformanceReport"];
        if urls.iter().filter_map(|name| members.get(*name)).all(is_url) {
            Ok(())
        } else {
            Err("an address is no https URL".to_owned())
        }
    }

    #[test]
    fn the_entry_fits_the_schema_of_the_list() {
        let entry: Value = serde_json::from_str(&read("docs/registration/sillok.json")).unwrap();
        check_entry(&entry).unwrap();
        assert_eq!(entry["name"], "sillok");
        // What is open is said where the entry is.
        let page = read("docs/registration/README.md");
        let open = entry.to_string().contains(".example");
        assert_eq!(open, page.contains("with them the entry MUST NOT be sent"));

        let changed = |name: &str, value: Value| {
            let mut entry = entry.clone();
            entry[name] = value;
            check_entry(&entry)
        };
        assert!(changed("license", "Apache-2.0".into()).is_err());
        assert!(changed("status", "provisional".into()).is_err());
        assert!(changed("contactName", "x".repeat(513).into()).is_err());
        assert!(changed("specification", Value::Null).is_err());
        assert!(changed("specification", "did-sillok/v1".into()).is_err());
    }

    #[test]
    fn every_criterion_of_the_reviewers_is_answered() {
        let page = read("docs/registration/README.md");
        for criterion in ["M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "S1", "S2", "S3"] {
            let row = page.lines().find(|line| line.starts_with(&format!("| {criterion} ")));
            let answer = row.and_then(|row| row.split('|').nth(2)).unwrap_or_default().trim();
            assert!(answer.split_whitespace().count() >= 4, "{criterion}: {answer}");
        }
    }
}
