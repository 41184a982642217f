//! IAM policy documents as data: built, parsed from what AWS returns, compared by meaning.
//!
//! AWS reorders keys, turns one-element lists into strings and the other way round, so text is never compared. A [`Document`] holds the
//! normal form: lists sorted and without repeats, conditions in ordered maps.
//! Source: IAM User Guide, reference_policies_grammar.

mod implied;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Condition block: operator → key → values.
pub type Conditions = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a statement does when it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Gives access, unless something denies it.
    Allow,
    /// Refuses access, whatever allows it.
    Deny,
}

/// A list that names what it covers, or what it does not cover (`Action` / `NotAction`, `Resource` / `NotResource`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Everything that matches one of these patterns.
    Only(BTreeSet<String>),
    /// Everything but what matches one of these.
    AllBut(BTreeSet<String>),
    /// The element is absent (`Resource` in a trust policy).
    Absent,
}

/// `Principal` of a statement in a resource policy: kind (`AWS`, `Federated`, `Service`) → names. `*` alone is `{"*": {"*"}}`.
pub type Principals = BTreeMap<String, BTreeSet<String>>;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    /// Statement id; unique within a document of ours.
    pub sid: String,
    /// Allow or Deny.
    pub effect: Effect,
    /// Who; absent in identity policies.
    pub principals: Option<Principals>,
    /// `NotPrincipal`; never written by us, kept when found.
    pub not_principals: Option<Principals>,
    /// Which actions.
    pub actions: Set,
    /// On what.
    pub resources: Set,
    /// When.
    pub conditions: Conditions,
}

/// A policy document, version 2012-10-17.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Document {
    /// `Id`: on documents that we write, `securebucket/<digest of the statements>`. It tells a hand edit from an older version of ours.
    pub id: Option<String>,
    /// Statements in order.
    pub statements: Vec<Statement>,
}

/// A document that cannot be read as a policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a policy document: {0}")]
pub struct NotAPolicy(pub String);

/// Strings to an ordered set.
pub fn set<I: IntoIterator<Item = S>, S: Into<String>>(items: I) -> BTreeSet<String> {
    items.into_iter().map(Into::into).collect()
}

impl Statement {
    fn new(sid: impl Into<String>, effect: Effect) -> Self {
        Self {
            sid: sid.into(),
            effect,
            principals: None,
            not_principals: None,
            actions: Set::Absent,
            resources: Set::Absent,
            conditions: Conditions::new(),
        }
    }

    /// An Allow with this Sid.
    #[must_use]
    pub fn allow(sid: impl Into<String>) -> Self {
        Self::new(sid, Effect::Allow)
    }

    /// A Deny with this Sid.
    #[must_use]
    pub fn deny(sid: impl Into<String>) -> Self {
        Self::new(sid, Effect::Deny)
    }

    /// `Principal: "*"`.
    #[must_use]
    pub fn anyone(mut self) -> Self {
        self.principals = Some(BTreeMap::from([("*".into(), set(["*"]))]));
        self
    }

    /// `Principal: {kind: name}`.
    #[must_use]
    pub fn principal(mut self, kind: &str, name: &str) -> Self {
        self.principals = Some(BTreeMap::from([(kind.into(), set([name]))]));
        self
    }

    /// `Action`.
    #[must_use]
    pub fn actions<I: IntoIterator<Item = S>, S: Into<String>>(mut self, actions: I) -> Self {
        self.actions = Set::Only(set(actions));
        self
    }

    /// `NotAction`.
    #[must_use]
    pub fn not_actions<I: IntoIterator<Item = S>, S: Into<String>>(mut self, actions: I) -> Self {
        self.actions = Set::AllBut(set(actions));
        self
    }

    /// `Resource`.
    #[must_use]
    pub fn resources<I: IntoIterator<Item = S>, S: Into<String>>(mut self, resources: I) -> Self {
        self.resources = Set::Only(set(resources));
        self
    }

    /// Adds one condition; all conditions of a statement must hold.
    #[must_use]
    pub fn when<I: IntoIterator<Item = S>, S: Into<String>>(mut self, operator: &str, key: &str, values: I) -> Self {
        self.conditions.entry(operator.into()).or_default().insert(key.into(), set(values));
        self
    }

    /// The value of a single-valued condition, if there is just one.
    pub fn condition(&self, operator: &str, key: &str) -> Option<&str> {
        let values = self.conditions.get(operator)?.get(key)?;
        if values.len() == 1 { values.first().map(String::as_str) } else { None }
    }

    /// The same statement whatever it is called.
    fn body(&self) -> Self {
        Self { sid: String::new(), ..self.clone() }
    }

    /// True if both statements say the same, apart from their Sids.
    pub fn same_as(&self, other: &Self) -> bool {
        self.body() == other.body()
    }

    fn to_value(&self) -> Value {
        let mut map = Map::new();
        if !self.sid.is_empty() {
            map.insert("Sid".into(), json!(self.sid));
        }
        map.insert("Effect".into(), json!(if self.effect == Effect::Allow { "Allow" } else { "Deny" }));
        for (name, principals) in [("Principal", &self.principals), ("NotPrincipal", &self.not_principals)] {
            if let Some(principals) = principals {
                let anyone = principals.get("*").is_some();
                let value = if anyone {
                    json!("*")
                } else {
                    Value::Object(principals.iter().map(|(k, v)| (k.clone(), strings(v))).collect())
                };
                map.insert(name.into(), value);
            }
        }
        for (only, all_but, items) in
            [("Action", "NotAction", &self.actions), ("Resource", "NotResource", &self.resources)]
        {
            match items {
                Set::Only(items) => map.insert(only.into(), strings(items)),
                Set::AllBut(items) => map.insert(all_but.into(), strings(items)),
                Set::Absent => None,
            };
        }
        if !self.conditions.is_empty() {
            let conditions = self.conditions.iter().map(|(operator, keys)| {
                (
                    operator.clone(),
                    Value::Object(keys.iter().map(|(key, values)| (key.clone(), strings(values))).collect()),
                )
            });
            map.insert("Condition".into(), Value::Object(conditions.collect()));
        }
        Value::Object(map)
    }

    fn from_value(value: &Value) -> Result<Self, NotAPolicy> {
        let map = value.as_object().ok_or_else(|| NotAPolicy("a statement is not an object".into()))?;
        let effect = match map.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            other => return Err(NotAPolicy(format!("Effect is {other:?}"))),
        };
        let sets = |only: &str, all_but: &str| match (map.get(only), map.get(all_but)) {
            (Some(v), None) => Ok(Set::Only(parse_strings(v)?)),
            (None, Some(v)) => Ok(Set::AllBut(parse_strings(v)?)),
            (None, None) => Ok(Set::Absent),
            _ => Err(NotAPolicy(format!("both {only} and {all_but}"))),
        };
        let mut conditions = Conditions::new();
        for (operator, keys) in map.get("Condition").and_then(Value::as_object).into_iter().flatten() {
            let keys = keys.as_object().ok_or_else(|| NotAPolicy(format!("condition {operator} is not an object")))?;
            for (key, values) in keys {
                conditions.entry(operator.clone()).or_default().insert(key.clone(), parse_strings(values)?);
            }
        }
        Ok(Self {
            sid: map.get("Sid").and_then(Value::as_str).unwrap_or_default().to_owned(),
            effect,
            principals: map.get("Principal").map(parse_principals).transpose()?,
            not_principals: map.get("NotPrincipal").map(parse_principals).transpose()?,
            actions: sets("Action", "NotAction")?,
            resources: sets("Resource", "NotResource")?,
            conditions,
        })
    }
}

fn strings(items: &BTreeSet<String>) -> Value {
    match (items.len(), items.first()) {
        (1, Some(one)) => json!(one),
        _ => json!(items),
    }
}

fn parse_strings(value: &Value) -> Result<BTreeSet<String>, NotAPolicy> {
    let text = |v: &Value| match v {
        Value::String(s) => Ok(s.clone()),
        // AWS accepts and may return bare booleans and numbers in conditions.
        Value::Bool(b) => Ok(b.to_string()),
        Value::Number(n) => Ok(n.to_string()),
        other => Err(NotAPolicy(format!("expected a string, found {other}"))),
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        one => Ok(BTreeSet::from([text(one)?])),
    }
}

fn parse_principals(value: &Value) -> Result<Principals, NotAPolicy> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(kind, names)| Ok((kind.clone(), parse_strings(names)?)))
            .collect::<Result<Principals, _>>()
            // {"AWS": "*"} and "*" mean the same to S3 and KMS.
            .map(|p| {
                if p == BTreeMap::from([("AWS".into(), set(["*"]))]) {
                    BTreeMap::from([("*".into(), set(["*"]))])
                } else {
                    p
                }
            }),
        other => Ok(BTreeMap::from([("*".into(), parse_strings(other)?)])),
    }
}

impl Document {
    /// A document of these statements, without `Id`.
    #[must_use]
    pub fn new(statements: Vec<Statement>) -> Self {
        Self { id: None, statements }
    }

    /// The same document with the `Id` that certifies its statements as written by us.
    #[must_use]
    pub fn certified(mut self) -> Self {
        self.id = Some(format!("securebucket/{}", self.digest()));
        self
    }

    /// True if the statements are exactly those of the document as we wrote it: nobody has edited it since.
    pub fn is_certified(&self) -> bool {
        self.id.as_deref() == Some(&format!("securebucket/{}", self.digest()))
    }

    /// Hex digest over the normal form of the statements; their order does not matter.
    pub fn digest(&self) -> String {
        let mut statements = self.statements.clone();
        statements.sort();
        let text: String = statements.iter().map(|s| s.to_value().to_string()).collect();
        Sha256::digest(text.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect()
    }

    /// The statement with this Sid.
    pub fn statement(&self, sid: &str) -> Option<&Statement> {
        self.statements.iter().find(|s| s.sid == sid)
    }

    /// True if both documents have the same statements, in any order and whatever their `Id`.
    pub fn same_as(&self, other: &Self) -> bool {
        let sorted = |d: &Self| {
            let mut s = d.statements.clone();
            s.sort();
            s
        };
        sorted(self) == sorted(other)
    }

    /// Reads a document as AWS returns it.
    ///
    /// # Errors
    /// If the text is not JSON or not a policy.
    pub fn parse(text: &str) -> Result<Self, NotAPolicy> {
        let value: Value = serde_json::from_str(text).map_err(|e| NotAPolicy(e.to_string()))?;
        let statements = match value.get("Statement") {
            Some(Value::Array(items)) => items.iter().map(Statement::from_value).collect::<Result<_, _>>()?,
            Some(one) => vec![Statement::from_value(one)?],
            None => return Err(NotAPolicy("there is no Statement".into())),
        };
        Ok(Self { id: value.get("Id").and_then(Value::as_str).map(str::to_owned), statements })
    }

    /// Compact JSON for the call. IAM counts its length without white space.
    pub fn render(&self) -> String {
        self.to_value().to_string()
    }

    /// The document as JSON.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("Version".into(), json!("2012-10-17"));
        if let Some(id) = &self.id {
            map.insert("Id".into(), json!(id));
        }
        map.insert("Statement".into(), Value::Array(self.statements.iter().map(Statement::to_value).collect()));
        Value::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny(actions: &[&str]) -> Statement {
        Statement::deny("D").anyone().actions(actions.iter().copied()).resources(["arn:aws:s3:::b/*"])
    }

    #[test]
    fn aws_normal_form_is_the_same_document() {
        let ours = Document::new(vec![Statement::deny("A").anyone().actions(["s3:*"]).resources(["b", "b/*"]).when(
            "Bool",
            "aws:SecureTransport",
            ["false"],
        )])
        .certified();
        let aws = format!(
            r#"{{"Statement":{{"Condition":{{"Bool":{{"aws:SecureTransport":[false]}}}},"Resource":["b/*","b"],"Action":["s3:*"],
               "Principal":{{"AWS":"*"}},"Effect":"Deny","Sid":"A"}},"Id":"{}"}}"#,
            ours.id.clone().unwrap()
        );
        let read = Document::parse(&aws).unwrap();
        assert!(read.same_as(&ours));
        assert!(read.is_certified());
        assert_eq!(Document::parse(&ours.render()).unwrap(), ours);
    }

    #[test]
    fn an_edit_breaks_the_certificate() {
        let mut doc = Document::new(vec![deny(&["s3:GetObject"]), deny(&["s3:PutObject"])]).certified();
        doc.statements.reverse();
        assert!(doc.is_certified(), "order has no meaning");
        doc.statements.pop();
        assert!(!doc.is_certified());
    }

    #[test]
    fn garbage_is_an_error_not_an_empty_policy() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"Statement":[{"Effect":"Maybe"}]}"#,
            r#"{"Statement":[{"Effect":"Deny","Action":{}}]}"#,
        ] {
            assert!(Document::parse(text).is_err(), "{text}");
        }
    }
}
