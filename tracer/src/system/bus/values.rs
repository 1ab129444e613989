//! D-Bus values as JSON, within bounds.

use serde_json::{Map, Value};
use zbus::{Message, Structure, Variant};

/// Longest string that is kept, bytes.
const MAX_TEXT: usize = 4096;

/// How many elements of an array or fields of a structure are kept.
const MAX_ELEMENTS: usize = 256;

/// How deep values are followed.
const MAX_DEPTH: usize = 4;

/// Longest message whose values are read, bytes: in memory each byte can take some hundred. On the system's bus anybody
/// can send one of 128 MiB.
const MAX_MESSAGE: usize = 256 << 10;

/// Whether a message is too long to be read.
fn is_too_long(message: &Message) -> bool {
    message.data().len() > MAX_MESSAGE
}

/// Whether there can have been more of a value: it is as long as any that is kept.
pub fn may_be_cut(value: &Value) -> bool {
    // A string ends where a letter does.
    const LETTER: usize = 4;
    match value {
        Value::Array(elements) => elements.len() >= MAX_ELEMENTS,
        Value::Object(entries) => entries.len() >= MAX_ELEMENTS,
        Value::String(text) => text.len() + LETTER > MAX_TEXT,
        _ => false,
    }
}

/// The arguments of a message; empty where they cannot be read.
pub fn arguments(message: &Message) -> Vec<Value> {
    if message.body().is_empty() || is_too_long(message) {
        return Vec::new();
    }
    let body = message.body();
    let Ok(structure) = body.deserialize::<Structure<'_>>() else {
        return Vec::new();
    };
    structure.fields().iter().take(MAX_ELEMENTS).map(|field| json(field, 0)).collect()
}

/// The arguments that are strings, numbers or booleans.
pub fn plain_arguments(message: &Message) -> Vec<Value> {
    let mut all = arguments(message);
    all.retain(|value| value.is_string() || value.is_number() || value.is_boolean());
    all
}

/// What changed, by the arguments of a `PropertiesChanged(interface, changed, invalidated)`.
pub fn changed_properties(message: &Message) -> Option<Map<String, Value>> {
    if is_too_long(message) {
        return None;
    }
    let body = message.body();
    let structure = body.deserialize::<Structure<'_>>().ok()?;
    match json(structure.fields().get(1)?, 0) {
        Value::Object(changed) => Some(changed),
        _ => None,
    }
}

/// One value. Arrays of bytes (ids) become hexadecimal, file descriptors `null`.
pub fn json(value: &Variant<'_>, depth: usize) -> Value {
    match value {
        Variant::U8(number) => (*number).into(),
        Variant::Bool(truth) => (*truth).into(),
        Variant::I16(number) => (*number).into(),
        Variant::U16(number) => (*number).into(),
        Variant::I32(number) => (*number).into(),
        Variant::U32(number) => (*number).into(),
        Variant::I64(number) => (*number).into(),
        Variant::U64(number) => (*number).into(),
        Variant::F64(number) => (*number).into(),
        Variant::Str(text) => shortened(text.as_str()).into(),
        Variant::ObjectPath(path) => shortened(path.as_str()).into(),
        Variant::Variant(inner) if depth < MAX_DEPTH => json(inner, depth + 1),
        Variant::Array(array) => list(array.inner(), depth),
        Variant::Structure(structure) => list(structure.fields(), depth),
        Variant::Dict(dict) if depth < MAX_DEPTH => {
            let entries = dict.iter().take(MAX_ELEMENTS).filter_map(|(key, value)| match key {
                Variant::Str(key) => Some((shortened(key.as_str()), json(value, depth + 1))),
                _ => None,
            });
            Value::Object(entries.collect())
        }
        _ => Value::Null,
    }
}

fn list(elements: &[Variant<'_>], depth: usize) -> Value {
    if depth >= MAX_DEPTH {
        return Value::Null;
    }
    let bytes: Option<String> = elements
        .iter()
        .map(
            |element| {
                if let Variant::U8(byte) = element { Some(format!("{byte:02x}")) } else { None }
            },
        )
        .take(MAX_ELEMENTS)
        .collect();
    match bytes {
        Some(bytes) if !elements.is_empty() => Value::String(bytes),
        _ => elements.iter().take(MAX_ELEMENTS).map(|element| json(element, depth + 1)).collect(),
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_told() {
        let message = Message::method_call("/org/freedesktop/systemd1", "StopUnit")
            .build(&("session-3.scope", "fail", 7u32, vec![1u8, 0xab], true))
            .expect("a message");
        assert_eq!(
            arguments(&message),
            [json!("session-3.scope"), json!("fail"), json!(7), json!("01ab"), json!(true)]
        );
        let message = Message::method_call("/x", "One").build(&"only").expect("a message");
        assert_eq!(plain_arguments(&message), [json!("only")]);
        let message = Message::method_call("/x", "None").build(&()).expect("a message");
        assert_eq!(arguments(&message), Vec::<Value>::new());
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let of = |size: usize| {
            let call = Message::method_call("/org/freedesktop/systemd1", "StopUnit");
            call.build(&("a.service", vec![0_u8; size])).expect("a message")
        };
        assert_eq!(arguments(&of(MAX_MESSAGE / 2)).len(), 2);
        assert_eq!(arguments(&of(MAX_MESSAGE)), Vec::<Value>::new());
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ä".repeat(MAX_TEXT);
        assert!(shortened(&text).len() <= MAX_TEXT);
        assert!(text.starts_with(&shortened(&text)));
    }

    proptest::proptest! {
        #[test]
        fn depth_and_size_are_bounded(depth in 0_usize..300, size in 0_usize..2000, text in ".{0,40}") {
            let text = text.repeat(size / 4);
            let mut value = Variant::from(text.as_str());
            for _ in 0..depth {
                value = Variant::Variant(Box::new(value));
            }
            let told = json(&value, 0);
            proptest::prop_assert_eq!(told.is_null(), depth > MAX_DEPTH);
            proptest::prop_assert!(told.as_str().is_none_or(|text| text.len() <= MAX_TEXT));
        }
    }
}
