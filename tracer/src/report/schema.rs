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
}
