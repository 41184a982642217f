//! The admission policies: what the API server itself holds people to, without a webhook server. Pure.
//!
//! They are the same in every installation. The operator is whoever holds the virtual verb `operate`, so no name of a ServiceAccount stands in them.
//! A policy is named after the hash of its content and is never edited: an edit would count as another policy, and restoring it would not bring back
//! what it was worth before. See [`judge`] for what the operator makes of the objects that it finds.
//!
//! What is *not* here: specs of DecryptGrants and GrantReviews are frozen by a rule of their CRDs, which holds as early and for the same requests.
//! Names of ConfigMaps are a policy of the chart, because it has to know the operator's ServiceAccount: whoever is cluster-admin holds `operate` as
//! well, and writes ConfigMaps of all names.

mod cel;
pub mod judge;
mod policies;
pub mod proof;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a policy is about: the middle of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Who asks for a DecryptGrant says who he is.
    Requester,
    /// Who reviews says who he is, and may.
    Reviewer,
    /// Status and finalizers are the operator's.
    Status,
    /// Who may decrypt is changed by those who may delegate.
    Delegate,
}

impl Subject {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 4] = [Self::Requester, Self::Reviewer, Self::Status, Self::Delegate];

    /// The word in the names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::Reviewer => "reviewer",
            Self::Status => "status",
            Self::Delegate => "delegate",
        }
    }
}

/// A policy and the binding that puts it in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it is about.
    pub subject: Subject,
    /// The policy.
    pub policy: ValidatingAdmissionPolicy,
    /// Its binding.
    pub binding: ValidatingAdmissionPolicyBinding,
}

impl Rule {
    fn of(subject: Subject) -> Self {
        let spec = policies::spec(subject);
        let name = name(subject, &spec);
        let bound = ValidatingAdmissionPolicyBindingSpec {
            match_resources: None,
            param_ref: None,
            policy_name: Some(name.clone()),
            validation_actions: Some(vec!["Deny".into()]),
        };
        let policy = ValidatingAdmissionPolicy { metadata: metadata(name), spec: Some(spec), status: None };
        let binding =
            ValidatingAdmissionPolicyBinding { metadata: metadata(self::name(subject, &bound)), spec: Some(bound) };
        Self { subject, policy, binding }
    }

    /// Name of the policy.
    pub fn policy_name(&self) -> &str {
        self.policy.metadata.name.as_deref().unwrap_or_default()
    }

    /// Name of the binding.
    pub fn binding_name(&self) -> &str {
        self.binding.metadata.name.as_deref().unwrap_or_default()
    }
}

/// Every rule, as this version has it.
pub fn rules() -> Vec<Rule> {
    Subject::ALL.into_iter().map(Rule::of).collect()
}

/// `securebucket-<subject>-<first 10 hex digits of the SHA-256 of the spec>`.
fn name(subject: Subject, spec: &impl Serialize) -> String {
    let text = serde_json::to_value(spec).map(|value| canonical(&value).to_string()).unwrap_or_default();
    let digest: String = Sha256::digest(text.as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("securebucket-{}-{digest}", subject.word())
}

fn metadata(name: String) -> ObjectMeta {
    ObjectMeta { name: Some(name), ..ObjectMeta::default() }
}

/// A JSON value with its keys in order, and without what says nothing: null, and objects and lists that are empty. The API server fills in
/// `namespaceSelector: {}` and the like, and every other default is written out in [`policies`].
fn canonical(value: &Value) -> Value {
    let says_something = |v: &Value| match v {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            let kept = sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value)));
            Value::Object(kept.filter(|(_, value)| says_something(value)).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_follow_from_the_content() {
        for rule in rules() {
            let spec = rule.policy.spec.clone().unwrap();
            let word = rule.subject.word();
            assert!(rule.policy_name().starts_with(&format!("securebucket-{word}-")), "{}", rule.policy_name());
            assert_eq!(rule.policy_name().len(), "securebucket--".len() + word.len() + 10);
            assert_ne!(rule.policy_name(), rule.binding_name());
            assert_eq!(rule.binding.spec.as_ref().unwrap().policy_name.as_deref(), Some(rule.policy_name()));
            let mut other = spec;
            other.failure_policy = Some("Ignore".into());
            assert_ne!(name(rule.subject, &other), rule.policy_name(), "another content has another name");
        }
    }

    #[test]
    fn every_rule_fails_closed_and_denies() {
        for rule in rules() {
            let spec = rule.policy.spec.unwrap();
            assert_eq!(spec.failure_policy.as_deref(), Some("Fail"));
            assert_eq!(rule.binding.spec.unwrap().validation_actions.unwrap(), ["Deny"]);
            for validation in spec.validations.unwrap() {
                assert_eq!(validation.reason.as_deref(), Some("Forbidden"));
                assert!(validation.message.is_some(), "a message for when its expression fails");
            }
        }
    }

    #[test]
    fn the_canonical_form_has_no_empty_things_and_one_order() {
        let one = json!({"b": {}, "a": [{"d": null, "c": "x"}], "e": []});
        assert_eq!(canonical(&one).to_string(), r#"{"a":[{"c":"x"}]}"#);
    }
}
