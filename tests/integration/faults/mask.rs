//! Makes two worlds comparable: what differs from world to world by nature (names, ids, times) becomes a placeholder.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Replacements of one world, longest text first.
#[derive(Clone, Debug, Default)]
pub struct Mask(Vec<(String, &'static str)>);

impl Mask {
    /// Replaces `text` by `placeholder` wherever it stands.
    pub fn add(&mut self, text: impl Into<String>, placeholder: &'static str) {
        let text = text.into();
        if !text.is_empty() && !self.0.iter().any(|(t, _)| *t == text) {
            self.0.push((text, placeholder));
            self.0.sort_by_key(|(t, _)| std::cmp::Reverse(t.len()));
        }
    }

    /// The value with placeholders; times of transitions are left out.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(all) => Value::Array(all.iter().map(|v| self.value(v)).collect()),
            Value::Object(fields) => {
                let masked = fields.iter().filter(|(name, _)| *name != "lastTransitionTime");
                Value::Object(masked.map(|(name, v)| (self.text(name), self.value(v))).collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    /// The text with placeholders.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, placeholder) in &self.0 {
            text = text.replace(known, placeholder);
        }
        // Sids that end with a date or a hash.
        for sid in ["Read<identity>t", "List<identity>t", "UntilLastWrite", "Written", "LockdownAll", "LockdownNames"] {
            if let Some(start) = text.strip_prefix(sid)
                && start.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return format!("{sid}<tail>");
            }
        }
        shapes(&text)
    }
}

/// Replaces what shows by its shape that it is an id or a time: times, UUIDs, hashes, ids of roles.
fn shapes(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
    let mut masked = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        // A colon separates, but for those inside a time.
        if time(run.trim_end_matches(':')) {
            masked.push_str("<time>");
            masked.push_str(&run[run.trim_end_matches(':').len()..]);
        } else {
            let parts: Vec<&str> = run.split(':').map(|part| placeholder(part).unwrap_or(part)).collect();
            masked.push_str(&parts.join(":"));
        }
        let next = after.find(word).unwrap_or(after.len());
        masked.push_str(&after[..next]);
        rest = &after[next..];
    }
    masked
}

fn placeholder(word: &str) -> Option<&'static str> {
    let hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
    let groups: Vec<&str> = word.split('-').collect();
    let uuid = groups.len() == 5 && groups.iter().zip([8, 4, 4, 4, 12]).all(|(g, n)| g.len() == n && hex(g));
    if uuid {
        Some("<uuid>")
    } else if word.len() >= 32 && hex(word) {
        Some("<hash>")
    } else if word.starts_with("AROA") && word.len() > 15 {
        Some("<role id>")
    } else {
        None
    }
}

/// `2026-01-01T00:00:00Z`, with or without fractions.
fn time(word: &str) -> bool {
    word.len() >= 19 && word.ends_with('Z') && word.parse::<jiff::Timestamp>().is_ok()
}

/// The value as lines `path = scalar`, for comparing and for showing differences.
pub fn lines(value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    walk(value, String::new(), &mut all);
    all
}

fn walk(value: &Value, path: String, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, v)| walk(v, format!("{path}/{name}"), all));
        }
        Value::Array(values) if !values.is_empty() => {
            values.iter().enumerate().for_each(|(i, v)| walk(v, format!("{path}/{i}"), all));
        }
        scalar => all.push(format!("{path} = {scalar}")),
    }
}

/// What stands in only one of two lists of lines.
pub fn difference(wanted: &[String], found: &[String]) -> Vec<String> {
    if wanted == found {
        return Vec::new();
    }
    let (w, f): (BTreeSet<&String>, BTreeSet<&String>) = (wanted.iter().collect(), found.iter().collect());
    let missing = w.difference(&f).map(|l| format!("missing    {l}"));
    let more = f.difference(&w).map(|l| format!("not wanted {l}"));
    missing.chain(more).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_by_nature_is_masked_and_nothing_else() {
        let mut mask = Mask::default();
        mask.add("123456789012", "<account>");
        mask.add("0123456789abcdef", "<identity>");
        for (text, masked) in [
            (
                "arn:aws:kms:eu-west-1:123456789012:key/0f8fad5b-d9cb-469f-a165-70867728950e",
                "arn:aws:kms:eu-west-1:<account>:key/<uuid>",
            ),
            ("readable until 2026-01-01T00:00:00Z: yes", "readable until <time>: yes"),
            ("removal verified at 2026-01-01T00:00:00Z: gone", "removal verified at <time>: gone"),
            ("Read0123456789abcdeft6738abcd", "Read<identity>t<tail>"),
            ("End0123456789abcdef", "End<identity>"),
            ("AROAEXAMPLE0123456789", "<role id>"),
            ("s3:GetObject", "s3:GetObject"),
            ("2026", "2026"),
        ] {
            assert_eq!(mask.text(text), masked);
        }
        let value = json!({"a": [{"lastTransitionTime": "x", "b": 1}], "c": {}});
        assert_eq!(lines(&mask.value(&value)), ["/a/0/b = 1", "/c = {}"]);
    }

    #[test]
    fn differences_say_what_is_missing_and_what_is_too_much() {
        let lines = |all: &[&str]| all.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let found = difference(&lines(&["a", "b"]), &lines(&["b", "c"]));
        assert_eq!(found, ["missing    a", "not wanted c"]);
        assert!(difference(&lines(&["a"]), &lines(&["a"])).is_empty());
    }
}
