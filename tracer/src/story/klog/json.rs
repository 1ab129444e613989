//! The same log as JSON (`--logging-format=json`), an object a line:
//! `{"ts":1714900000000.1,"caller":"kubelet/kubelet.go:745","msg":"Killing container","v":2,"pod":{"name":"web","namespace":"shop"}}`.
//! What others wrote stands in its strings, escaped: no line of theirs begins one of the journal's.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{FIELDS, Line};

/// What klog has in a line before the fields: when it was said, where, what, and what a logger is called.
const HEAD: [&str; 5] = ["ts", "caller", "msg", "v", "logger"];

/// A line, where it is one: as klog's encoder writes it, which begins with the time.
pub(super) fn line(text: &str) -> Option<Line<'static>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let (first, time) = members.first()?;
    let head = |name: &str| members.iter().find(|(known, _)| known == name)?.1.as_str();
    let is_its = first == "ts" && time.is_number() && head("caller").is_some_and(is_place);
    let message = head("msg").filter(|_| is_its)?.to_owned();
    let fields = members.into_iter().filter(|(name, _)| !HEAD.contains(&name.as_str()));
    let fields = fields.map(|(name, value)| (name.into(), told(&value).into())).take(FIELDS);
    Some(Line { message: message.into(), fields: fields.collect() })
}

/// `kubelet/kubelet.go:745`
fn is_place(caller: &str) -> bool {
    caller.rsplit_once(':').is_some_and(|(file, line)| {
        file.ends_with(".go") && !line.is_empty() && line.bytes().all(|it| it.is_ascii_digit())
    })
}

/// A value as the text has it: `shop/web` for what names an object, `[shop/web shop/db]` for a list of such.
fn told(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) if all.iter().all(Value::is_object) => {
            // Which one is first counts: one whose name is none keeps its place.
            let names = all.iter().map(|it| object(it).unwrap_or_else(|| "?".to_owned()));
            format!("[{}]", names.collect::<Vec<_>>().join(" "))
        }
        other => object(other).unwrap_or_else(|| other.to_string()),
    }
}

/// The namespace and the name of what an object stands for, where it has no more than these, and they can be such.
fn object(value: &Value) -> Option<String> {
    let members = value.as_object()?;
    let plain = |text: &&str| {
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-.".contains(&it);
        !text.is_empty() && text.bytes().all(is_plain)
    };
    let part = |name: &str| members.get(name).and_then(Value::as_str).filter(plain);
    let name = part("name")?;
    match members.len() {
        1 => Some(name.to_owned()),
        2 => Some(format!("{}/{name}", part("namespace")?)),
        _ => None,
    }
}

/// The members of an object in their order: of two of one name the first one is klog's own.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST;
    use super::*;

    const HEAD: &str = r#"{"ts":1714900000123.4567,"caller":"kuberuntime/kuberuntime_container.go:749","msg":"M","v":2"#;

    fn of(fields: &str) -> Option<Line<'static>> {
        line(&format!("{HEAD}{fields}}}"))
    }

    /// As kubelet 1.31 writes them.
    #[test]
    fn fields_are_found() {
        let line = of(
            r#","pod":{"name":"web-0","namespace":"shop"},"podUID":"1-2","containerName":"web","containerStatusID":{"Type":"containerd","ID":"05657a"},"gracePeriod":30,"pods":[{"name":"b","namespace":"a"},{"name":"d","namespace":"c"}],"node":{"name":"n1"},"containerMessage":"Container web \"x\" a=b","none":null"#,
        );
        let line = line.expect("a line");
        assert_eq!(line.message, "M");
        assert_eq!(line.get("pod"), Some("shop/web-0"));
        assert_eq!((line.get("podUID"), line.get("gracePeriod")), (Some("1-2"), Some("30")));
        assert_eq!(line.list("pods").collect::<Vec<_>>(), ["a/b", "c/d"]);
        assert_eq!(line.get("node"), Some("n1"));
        assert!(line.get("containerStatusID").is_some_and(|it| it.contains("05657a")));
        assert_eq!(line.get("containerMessage"), Some("Container web \"x\" a=b"));
        assert_eq!((line.get("ts"), line.get("v"), line.get("a")), (None, None, None));
    }

    /// What others wrote is in a string; no name of theirs is one of klog's, nor one of two names.
    #[test]
    fn what_others_wrote_is_no_field() {
        let line = of(
            r#","output":"\",\"pod\":{\"name\":\"x\"}\n{\"ts\":1}","msg":"N","pod":{"name":"a b","namespace":"c"}"#,
        );
        let line = line.expect("a line");
        assert_eq!(line.message, "M");
        assert_ne!(line.get("pod"), Some("c/a b"));
        assert!(line.get("output").is_some_and(|it| it.starts_with("\",\"pod\"")));
        let twice = of(r#","pod":{"name":"a","namespace":"b"},"pod":{"name":"c","namespace":"d"}"#);
        assert_eq!(twice.expect("a line").get("pod"), Some("b/a"));
        let odd = of(r#","pods":[{"name":"x y"},{"name":"d","namespace":"c"}]"#).expect("a line");
        assert_eq!(odd.list("pods").collect::<Vec<_>>(), ["?", "c/d"]);
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in [
            "{",
            "{}",
            "[]",
            r#"{"ts":"x","caller":"k.go:1","msg":"M"}"#,
            r#"{"ts":1,"msg":"M"}"#,
            r#"{"ts":1,"caller":"kubelet","msg":"M"}"#,
            r#"{"ts":1,"caller":"k.go:","msg":"M"}"#,
            r#"{"ts":1,"caller":"k.go:1"}"#,
            r#"{"ts":1,"caller":"k.go:1","msg":1}"#,
            r#"{"msg":"M","ts":1,"caller":"k.go:1"}"#,
            r#"{"ts":1,"caller":"k.go:1","msg":"M"} x"#,
        ] {
            assert_eq!(line(text), None, "{text}");
        }
        assert!(of("").is_some());
        // Deep, and many.
        assert_eq!(of(&format!(",\"x\":{}1{}", "[".repeat(4000), "]".repeat(4000))), None);
        let many: String = (0..500).map(|at| format!(",\"f{at}\":1")).collect();
        assert_eq!(of(&many).expect("a line").get("f499"), None);
        let long = format!("{HEAD},\"x\":\"{}\"}}", "x".repeat(LONGEST));
        assert_eq!(Line::of(&long), None);
        assert_eq!(Line::of(&format!(" {HEAD}}}")), None);
    }
}
