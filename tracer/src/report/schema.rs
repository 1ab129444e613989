//! JSON Schemas, made from the types that are written.
//!
//! The files under `docs/schema/` are what these functions give; a test compares.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::evidence::SCHEMA;
use crate::recording::RecordingLine;
use crate::story::verdict::Record;

/// Schema of one line of `--format json`.
pub fn schema() -> Value {
    titled::<Record>("One line of killtrace --format json")
}

/// Schema of one line of a recording.
pub fn recording_schema() -> Value {
    titled::<RecordingLine>("One line of a killtrace recording")
}

fn titled<T: JsonSchema>(title: &str) -> Value {
    // As written: a field that is always there is required even where it can be null.
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.insert("$comment".to_owned(), format!("schema version {SCHEMA}").into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Set to rewrite the files instead of comparing them.
    const UPDATE: &str = "KILLTRACE_UPDATE_SCHEMA";

    fn compare(name: &str, schema: &Value) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(name);
        let mut text = serde_json::to_string_pretty(schema).expect("JSON");
        text.push('\n');
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &text).expect("the schema can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/schema/{name} is not what the types say: run `{UPDATE}=1 cargo test -p killtrace schema` \
             and commit the change; where a field was renamed or dropped, raise evidence::SCHEMA"
        );
    }

    #[test]
    fn the_schema_of_the_report_is_current() {
        compare("report.schema.json", &schema());
    }

    #[test]
    fn the_schema_of_the_recording_is_current() {
        compare("recording.schema.json", &recording_schema());
    }

    /// Every field and every word of a closed vocabulary, from anywhere in the schema.
    fn words(schema: &Value, out: &mut std::collections::BTreeSet<String>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            out.extend(properties.keys().cloned());
        }
        let one = schema.get("const").into_iter();
        let many = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        out.extend(one.chain(many).filter_map(Value::as_str).map(str::to_owned));
        match schema {
            Value::Array(values) => values.iter().for_each(|value| words(value, out)),
            Value::Object(values) => values.values().for_each(|value| words(value, out)),
            _ => {}
        }
    }

    #[test]
    fn the_page_about_the_output_explains_every_word() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/output.md");
        let page = std::fs::read_to_string(path).expect("docs/output.md");
        let mut all = std::collections::BTreeSet::new();
        words(&schema(), &mut all);
        assert!(all.len() > 150, "{all:?}");
        let named = |word: &str| {
            let ends = |c: Option<char>| {
                c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            };
            page.match_indices(word).any(|(at, _)| {
                ends(page[..at].chars().next_back()) && ends(page[at + word.len()..].chars().next())
            })
        };
        let missing: Vec<_> = all.iter().filter(|word| !named(word)).collect();
        assert!(missing.is_empty(), "docs/output.md does not explain {missing:?}");
    }
}
