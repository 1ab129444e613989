//! Reading a `death` record in the words of the published format.

use serde_json::Value;

/// A `death` record.
pub struct Death(pub Value);

impl Death {
    /// The story.
    pub fn cause(&self) -> &str {
        self.0["cause"]["id"].as_str().unwrap_or_default()
    }

    /// Asserts who did it: `killer.kind` `process`, its pid and its `comm`.
    pub fn assert_killer(&self, pid: u32, comm: &str) {
        let killer = &self.0["killer"];
        assert_eq!(killer["kind"], "process", "{self}");
        assert_eq!(killer["process"]["pid"], pid, "{self}");
        assert_eq!(killer["process"]["comm"], comm, "{self}");
    }

    /// The setting of this name that decided it.
    pub fn setting(&self, name: &str) -> &Value {
        let settings = self.0["cause"]["settings"].as_array().into_iter().flatten();
        let found: Vec<&Value> = settings.filter(|setting| setting["name"] == name).collect();
        assert_eq!(found.len(), 1, "one setting {name}: {self}");
        found[0]
    }

    /// Asserts that a setting decided it, and where it stands.
    pub fn assert_setting(&self, name: &str, value: &str, file: &str, line: u32) {
        let found = self.setting(name);
        assert_eq!(found["value"], value, "{self}");
        assert_eq!(found["file"], file, "{self}");
        assert_eq!(found["line"], line, "{self}");
    }

    /// Asserts that these links are in the chain in this order, others between them allowed; each is
    /// the kind of event and a word of its text. Every link has its grade and its source.
    pub fn assert_chain(&self, wanted: &[(&str, &str)]) {
        let mut links = self.chain().iter();
        for (event, word) in wanted {
            assert!(
                links.any(|link| link["event"] == *event && text(link).contains(word)),
                "no {event} with {word:?} at its place in the chain: {self}"
            );
        }
        let times: Vec<u64> =
            self.chain().iter().map(|link| link["boot_ns"].as_u64().unwrap_or_default()).collect();
        assert!(times.is_sorted(), "the chain is in order of time: {self}");
        for link in self.chain() {
            let grade = link["evidence"].as_str().unwrap_or_default();
            assert!(["observed", "reported", "inferred"].contains(&grade), "{self}");
            assert!(!link["source"].is_null(), "{self}");
        }
        let last = self.chain().last().map(|link| link["event"].clone());
        assert_eq!(last, Some(Value::from("death")), "{self}");
    }

    /// The story in a sentence or two.
    pub fn explanation(&self) -> &str {
        self.0["cause"]["explanation"].as_str().unwrap_or_default()
    }

    /// Asserts that the story has all of these words, in this order: who asked, for what, and by which setting.
    pub fn assert_says(&self, words: &[&str]) {
        let mut rest = self.explanation();
        for word in words {
            let found = rest.split_once(word);
            rest = found.unwrap_or_else(|| panic!("not said in its place: {word:?}: {self}")).1;
        }
    }

    /// Asserts that nothing is told to be done: there is nothing that would change it.
    pub fn assert_no_fix(&self) {
        assert_eq!(self.0["fixes"], Value::Array(Vec::new()), "{self}");
    }

    /// Asserts that no link of the chain is of this kind.
    pub fn assert_no_link(&self, event: &str) {
        assert!(self.chain().iter().all(|link| link["event"] != event), "a {event} link: {self}");
    }

    /// Asserts that a neighbouring cause was looked at and ruled out, with a reason.
    pub fn assert_ruled_out(&self, id: &str) {
        let considered = self.0["considered"].as_array().into_iter().flatten();
        let found: Vec<&Value> = considered.filter(|other| other["id"] == id).collect();
        assert_eq!(found.len(), 1, "{id} considered once: {self}");
        assert_eq!(found[0]["ruled_out"], true, "{self}");
        assert!(!found[0]["because"].as_str().unwrap_or_default().is_empty(), "{self}");
    }

    /// Why a neighbouring cause was ruled out; empty where it was not.
    pub fn because(&self, id: &str) -> &str {
        let considered = self.0["considered"].as_array().into_iter().flatten();
        let found =
            considered.filter(|other| other["id"] == id).find_map(|it| it["because"].as_str());
        found.unwrap_or_default()
    }

    /// Asserts that a fix has a command, a title or an effect with this text, and returns the fix.
    pub fn fix_with(&self, word: &str) -> &Value {
        let fixes = self.0["fixes"].as_array().into_iter().flatten();
        let mut found = fixes.filter(|fix| {
            ["title", "commands", "effect"]
                .iter()
                .any(|field| fix[field].to_string().contains(word))
        });
        found.next().unwrap_or_else(|| panic!("no fix with {word:?}: {self}"))
    }

    /// The links of the chain.
    pub fn chain(&self) -> &[Value] {
        self.0["chain"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// What of a fix is for a shell: the other lines are remarks for a reader.
pub fn commands(fix: &Value) -> Vec<&str> {
    let lines = fix["commands"].as_array().into_iter().flatten();
    lines.filter_map(Value::as_str).filter(|line| !line.starts_with('#')).collect()
}

/// The text of a link.
pub fn text(link: &Value) -> &str {
    link["text"].as_str().unwrap_or_default()
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
