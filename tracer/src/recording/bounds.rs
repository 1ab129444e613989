//! Cuts what a line says down to what live evidence can say: a small compressed file can hold gigabytes.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Longest text, and longest list of texts in all, in bytes: as much as is read of `/proc/PID/cmdline`.
pub const TEXT: usize = 32 << 10;
/// All texts and lists of one line, in bytes.
const LINE: usize = 1 << 20;
/// Members of all objects of one line.
const MEMBERS: usize = 16 << 10;
/// What an element of a list takes beside its text, in bytes.
const ELEMENT: usize = size_of::<Value>();

/// Reads one line and cuts what is too long: a text at its end, a list and an object by what comes last.
///
/// # Errors
/// Where it is no JSON.
pub fn cut(line: &[u8]) -> serde_json::Result<Value> {
    let left = Left { bytes: Cell::new(LINE), members: Cell::new(MEMBERS) };
    let mut parser = serde_json::Deserializer::from_slice(line);
    let value = Bounded { left: &left, bytes: TEXT }.deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// What may still be taken from the line.
struct Left {
    bytes: Cell<usize>,
    members: Cell<usize>,
}

/// Reads one value.
struct Bounded<'l> {
    left: &'l Left,
    /// How many bytes of text it may have.
    bytes: usize,
}

impl Bounded<'_> {
    fn text(&self, text: &str) -> String {
        let length = text.floor_char_boundary(self.bytes.min(self.left.bytes.get()));
        self.left.bytes.update(|left| left - length);
        text[..length].to_owned()
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.text(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let left = self.left;
        let mut bytes = self.bytes;
        let mut values = Vec::new();
        while bytes > 0 && left.bytes.get() >= ELEMENT {
            let Some(value) = from.next_element_seed(Bounded { left, bytes })? else {
                return Ok(values.into());
            };
            left.bytes.update(|left| left.saturating_sub(ELEMENT));
            bytes = bytes.saturating_sub(value.as_str().map_or(1, |text| text.len() + 1));
            values.push(value);
        }
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let left = self.left;
        let mut values = Map::new();
        while left.members.get() > 0 {
            let Some(key) = from.next_key_seed(Bounded { left, bytes: TEXT })? else {
                return Ok(values.into());
            };
            left.members.update(|left| left - 1);
            let value = from.next_value_seed(Bounded { left, bytes: TEXT })?;
            if let Value::String(key) = key {
                values.insert(key, value);
            }
        }
        while from.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(values.into())
    }
}
