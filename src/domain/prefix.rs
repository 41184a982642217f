//! Key prefixes: one grammar, one function that collapses them, one that renders them into policies.

use std::collections::BTreeSet;
use std::fmt;

/// A set of key prefixes in normal form: no entry lies within another; `*` stands alone for the whole bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefixes(BTreeSet<String>);

/// A prefix outside the grammar.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "prefix {text:?} {problem}; write a path that ends in '/', of letters, digits and !_.'()/=+@:,- , or '*' alone for the whole bucket"
)]
pub struct InvalidPrefix {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

const MAX: usize = 512;
/// Stands for the whole bucket.
pub const WHOLE_BUCKET: &str = "*";

impl Prefixes {
    /// Checks and collapses.
    ///
    /// # Errors
    /// If an entry is outside the grammar, or there is none.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, InvalidPrefix> {
        let mut all = BTreeSet::new();
        for text in texts {
            check(text.as_ref())?;
            all.insert(text.as_ref().to_owned());
        }
        if all.is_empty() {
            return Err(InvalidPrefix { text: String::new(), problem: "is missing" });
        }
        if all.contains(WHOLE_BUCKET) {
            return Ok(Self(BTreeSet::from([WHOLE_BUCKET.to_owned()])));
        }
        let outermost =
            all.iter().filter(|p| !all.iter().any(|q| q != *p && p.starts_with(q.as_str()))).cloned().collect();
        Ok(Self(outermost))
    }

    /// The prefixes in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True if an object may lie under prefixes of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let stem = |p: &str| if p == WHOLE_BUCKET { String::new() } else { p.to_owned() };
        self.iter().any(|a| {
            let a = stem(a);
            other.iter().map(stem).any(|b| a.starts_with(&b) || b.starts_with(&a))
        })
    }

    /// True if each object under prefixes of the other lies under one of these.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|b| self.iter().any(|a| a == WHOLE_BUCKET || (b != WHOLE_BUCKET && b.starts_with(a))))
    }

    /// ARNs of the objects under the prefixes, for `Resource`.
    pub fn object_arns(&self, bucket_arn: &str) -> Vec<String> {
        self.iter()
            .map(|p| if p == WHOLE_BUCKET { format!("{bucket_arn}/*") } else { format!("{bucket_arn}/{p}*") })
            .collect()
    }

    /// Patterns for the condition key `s3:prefix` of a listing.
    pub fn list_patterns(&self) -> Vec<String> {
        self.iter().map(|p| if p == WHOLE_BUCKET { "*".to_owned() } else { format!("{p}*") }).collect()
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(", "))
    }
}

fn check(text: &str) -> Result<(), InvalidPrefix> {
    let fail = |problem| Err(InvalidPrefix { text: text.chars().take(80).collect(), problem });
    if text == WHOLE_BUCKET {
        return Ok(());
    }
    if text.len() > MAX {
        return fail("is longer than 512 characters");
    }
    if text.contains("${") {
        return fail("looks like a policy variable");
    }
    if text.contains(['*', '?']) {
        return fail("has a wildcard");
    }
    if let Some(_bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"!_.'()/=+@:,-".contains(*c)) {
        return fail("has a character outside the grammar");
    }
    if text.len() < 2 || !text.ends_with('/') {
        return fail("does not end in '/'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_nested_entries_collapse() {
        let p = Prefixes::parse(&["a/b/", "a/", "a/", "ab/"]).unwrap();
        assert_eq!(p.iter().collect::<Vec<_>>(), ["a/", "ab/"]);
        assert_eq!(Prefixes::parse(&["a/", "*"]).unwrap().iter().collect::<Vec<_>>(), ["*"]);
    }

    #[test]
    fn covering() {
        let parse = |p: &[&str]| Prefixes::parse(p).unwrap();
        for (a, b, expected) in [
            (&["a/"][..], &["a/"][..], true),
            (&["a/"], &["a/b/", "a/c/"], true),
            (&["a/b/"], &["a/"], false),
            (&["a/", "c/"], &["a/", "b/"], false),
            (&["a/"], &["ab/"], false),
            (&["*"], &["a/"], true),
            (&["*"], &["*"], true),
            (&["a/"], &["*"], false),
        ] {
            assert_eq!(parse(a).covers(&parse(b)), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn overlapping() {
        let parse = |p: &[&str]| Prefixes::parse(p).unwrap();
        for (a, b, expected) in [
            (&["a/"][..], &["a/b/"][..], true),
            (&["a/b/"], &["a/"], true),
            (&["a/"], &["ab/"], false),
            (&["a/", "c/"], &["b/", "c/d/"], true),
            (&["*"], &["x/"], true),
            (&["x/"], &["y/"], false),
        ] {
            assert_eq!(parse(a).overlaps(&parse(b)), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn rendering() {
        let p = Prefixes::parse(&["calls/"]).unwrap();
        assert_eq!(p.object_arns("arn:aws:s3:::b"), ["arn:aws:s3:::b/calls/*"]);
        assert_eq!(p.list_patterns(), ["calls/*"]);
        assert_eq!(Prefixes::parse(&["*"]).unwrap().object_arns("arn:aws:s3:::b"), ["arn:aws:s3:::b/*"]);
    }

    #[test]
    fn what_is_outside_the_grammar_is_refused_by_name() {
        for (text, word) in [
            ("calls", "end"),
            ("", "end"),
            ("/", "end"),
            ("c*/", "wildcard"),
            ("c?/", "wildcard"),
            ("${aws:username}/", "variable"),
            ("a b/", "grammar"),
            ("a\"/", "grammar"),
            ("ä/", "grammar"),
            ("*/", "wildcard"),
        ] {
            let error = Prefixes::parse(&[text]).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(Prefixes::parse(&["x".repeat(512) + "/"]).is_err());
        assert!(Prefixes::parse::<&str>(&[]).is_err());
    }
}
