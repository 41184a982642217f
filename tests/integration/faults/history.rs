//! What the journal says about a moment: which document a role had, which KMS grants lived, what the API server had accepted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::journal::{Entry, Write};

/// The journal, read as history.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    entries: &'a [Entry],
}

/// A DecryptGrant as the API server accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// The write.
    pub entry: &'a Entry,
    /// The object in its answer.
    pub object: &'a Value,
}

/// What is known of a DecryptGrant from what the API server accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// When it ends by date.
    pub end: Option<Timestamp>,
    /// Name of its KMS grant.
    pub name: Option<&'a str>,
    /// When the proof of its removal was asked to be written.
    pub proved: Option<Timestamp>,
}

impl<'a> Accepted<'a> {
    /// A text at a JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&'a str> {
        self.object.pointer(pointer).and_then(Value::as_str)
    }

    /// An instant at a JSON pointer.
    pub fn instant(&self, pointer: &str) -> Option<Timestamp> {
        self.text(pointer)?.parse().ok()
    }

    /// It holds the finalizer.
    pub fn holds(&self, finalizer: &str) -> bool {
        let held = self.object.pointer("/metadata/finalizers").and_then(Value::as_array);
        held.into_iter().flatten().any(|f| f == finalizer)
    }
}

impl<'a> History<'a> {
    /// Of these entries, in the order of being sent.
    pub fn new(entries: &'a [Entry]) -> Self {
        Self { entries }
    }

    /// All entries.
    pub fn entries(self) -> &'a [Entry] {
        self.entries
    }

    /// AWS writes that took effect: entry, operation, parameters.
    pub fn aws(self) -> impl Iterator<Item = (&'a Entry, &'a str, &'a Value)> {
        self.by_anybody().filter(|(e, _, _)| matches!(e.write, Write::Aws { .. }))
    }

    /// As [`History::aws`], with what others did.
    fn by_anybody(self) -> impl Iterator<Item = (&'a Entry, &'a str, &'a Value)> {
        self.entries.iter().filter_map(|e| match &e.write {
            Write::Aws { operation, parameters } | Write::Outside { operation, parameters } if e.took_effect() => {
                Some((e, operation.as_str(), parameters))
            }
            _ => None,
        })
    }

    /// AWS writes of one operation that took effect.
    pub fn of(self, operation: &'static str) -> impl Iterator<Item = (&'a Entry, &'a Value)> {
        self.aws().filter(move |(_, o, _)| *o == operation).map(|(e, _, p)| (e, p))
    }

    /// When somebody was about to say this word in a GrantReview.
    pub fn reviews(self, decision: &str) -> impl Iterator<Item = Timestamp> {
        let said = self.by_anybody().filter(move |(_, o, p)| *o == "GrantReview" && p["decision"] == decision);
        said.map(|(e, _, _)| e.asked)
    }

    /// Objects of a kind as the API server accepted them from the operator.
    pub fn accepted(self, kind: &'static str) -> impl Iterator<Item = Accepted<'a>> {
        self.entries.iter().filter_map(move |entry| match &entry.write {
            Write::Kube { resource, .. } if entry.took_effect() && resource == kind => {
                Some(Accepted { entry, object: &entry.answer })
            }
            _ => None,
        })
    }

    /// What the inline policy of a role may have been at a moment: as the last answered write left it, and as those under way leave it. AWS
    /// shows an effect before its writer has the answer.
    pub fn documents(self, role: &str, at: Timestamp) -> Vec<Option<&'a Value>> {
        let mut writes: Vec<_> = self.by_anybody().filter(|(e, _, p)| e.sent <= at && p["RoleName"] == role).collect();
        writes.sort_by_key(|(e, _, _)| e.done);
        let mut possible = vec![None];
        for (entry, operation, parameters) in writes {
            let left = match operation {
                "PutRolePolicy" => Some(&parameters["PolicyDocument"]),
                "DeleteRolePolicy" | "DeleteRole" => None,
                _ => continue,
            };
            if entry.done <= at {
                possible.clear();
            }
            possible.push(left);
        }
        possible
    }

    /// KMS grants that were made and not revoked at a moment: id and name.
    pub fn live_grants(self, at: Timestamp) -> BTreeMap<&'a str, &'a str> {
        let mut live = self.made_grants(at);
        for (_, _, parameters) in self.by_anybody().filter(|(e, o, _)| *o == "RevokeGrant" && e.done <= at) {
            live.remove(id(parameters));
        }
        live
    }

    /// KMS grants that were made until a moment: id and name.
    pub fn made_grants(self, at: Timestamp) -> BTreeMap<&'a str, &'a str> {
        let made = self.of("CreateGrant").filter(|(e, _)| e.sent <= at);
        made.map(|(e, p)| (id(&e.answer), p["Name"].as_str().unwrap_or_default())).collect()
    }

    /// What the API server had accepted of DecryptGrants at a moment, by uid. Counted from the request: a watch may bring the object before
    /// its writer has the answer.
    pub fn grants(self, at: Timestamp) -> BTreeMap<&'a str, Known<'a>> {
        let mut grants: BTreeMap<&str, Known<'_>> = BTreeMap::new();
        for grant in self.accepted("decryptgrants").filter(|g| g.entry.sent <= at) {
            let Some(uid) = grant.text("/metadata/uid") else { continue };
            let known = grants.entry(uid).or_default();
            known.end = known.end.or(grant.instant("/status/expiresAt"));
            known.name = known.name.or(grant.text("/status/kmsGrant/name"));
            let proof = grant.text("/status/removal/verifiedAt").map(|_| grant.entry.asked);
            known.proved = known.proved.or(proof);
        }
        grants
    }

    /// Ends of DecryptGrants that the API server had accepted at a moment, by uid.
    pub fn ends(self, at: Timestamp) -> BTreeMap<&'a str, Timestamp> {
        self.grants(at).into_iter().filter_map(|(uid, g)| Some((uid, g.end?))).collect()
    }

    /// The end of the DecryptGrant that gave its KMS grant this name.
    pub fn end_of(self, name: &str, at: Timestamp) -> Option<Timestamp> {
        self.grants(at).into_values().find(|g| g.name == Some(name))?.end
    }
}

fn id(value: &Value) -> &str {
    value["GrantId"].as_str().unwrap_or("?")
}

/// Statements of a policy document.
pub fn statements(document: &Value) -> &[Value] {
    document["Statement"].as_array().map_or(&[], Vec::as_slice)
}

/// Statements of a document with this effect.
pub fn with_effect<'a>(document: &'a Value, effect: &'a str) -> impl Iterator<Item = &'a Value> {
    statements(document).iter().filter(move |s| s["Effect"] == effect)
}

/// A field that is a text or a list of texts.
pub fn texts<'a>(statement: &'a Value, field: &str) -> Vec<&'a str> {
    match &statement[field] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The date that a statement holds by this operator.
pub fn date(statement: &Value, operator: &str) -> Option<Timestamp> {
    let condition = statement["Condition"].get(operator)?;
    match texts(condition, "aws:CurrentTime").as_slice() {
        [one] => one.parse().ok(),
        _ => None,
    }
}

/// The action, with its wildcards, may be one that reads content.
pub fn reads(action: &str) -> bool {
    const READS: [&str; 4] = ["s3:getobject", "s3:getobjectversion", "s3:getobjectattributes", "s3:getobjecttorrent"];
    let action = action.to_ascii_lowercase();
    READS.iter().any(|r| matches(&action, r))
}

/// Wildcard match as in policies.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(after) = text.strip_prefix(start) else { return false };
    (0..=after.len()).any(|i| after.is_char_boundary(i) && matches(rest, &after[i..]))
}

/// True if the document lets its role read now or later, and the Deny that ends it is there: what must hold when a KMS grant is issued.
pub fn carries(document: &Value, end: Timestamp) -> bool {
    let allows = with_effect(document, "Allow")
        .any(|s| texts(s, "Action").iter().any(|a| reads(a)) && date(s, "DateLessThan") == Some(end));
    let denies = with_effect(document, "Deny").any(|s| {
        texts(s, "Action").contains(&"s3:GetObject*") && date(s, "DateGreaterThanEquals").is_some_and(|d| d >= end)
    });
    allows && denies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_read_are_recognised() {
        for action in ["*", "s3:*", "s3:Get*", "s3:GetObject", "S3:getobject*", "s3:GetObjectVersion", "s3:*Version"] {
            assert!(reads(action), "{action}");
        }
        for action in ["s3:PutObject", "s3:ListBucket", "kms:Decrypt", "s3:GetBucket*", "iam:*"] {
            assert!(!reads(action), "{action}");
        }
    }
}
