//! Whether the policies in the API server are those of this version, untouched, and since when.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::core::ApiResource;
use serde_json::Value;

use super::{canonical, rules};

/// How long all API servers of a control plane may need to work by a new policy: each takes it from a watch, and compiles what has changed once a
/// second (Kubernetes, `apiserver/pkg/admission/plugin/policy/generic`).
pub const SETTLING: SignedDuration = SignedDuration::from_secs(5);

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `ValidatingAdmissionPolicy`.
    Policy,
    /// `ValidatingAdmissionPolicyBinding`.
    Binding,
}

impl Kind {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "ValidatingAdmissionPolicy",
            Self::Binding => "ValidatingAdmissionPolicyBinding",
        }
    }

    /// Not by its type: a field that it does not know would be lost, and with it a change.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Policy => ApiResource::erase::<ValidatingAdmissionPolicy>(&()),
            Self::Binding => ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()),
        }
    }
}

/// An object that must be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Spec, in canonical form.
    spec: Value,
}

/// Everything that must be there.
pub fn wanted() -> Vec<Wanted> {
    let spec = |value: serde_json::Result<Value>| canonical(&value.unwrap_or_default());
    let pairs = rules().into_iter().map(|rule| {
        let (policy, binding) = (rule.policy_name().to_owned(), rule.binding_name().to_owned());
        [
            Wanted { kind: Kind::Policy, name: policy, spec: spec(serde_json::to_value(&rule.policy.spec)) },
            Wanted { kind: Kind::Binding, name: binding, spec: spec(serde_json::to_value(&rule.binding.spec)) },
        ]
    });
    pairs.flatten().collect()
}

/// All of them are there as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// From when on all API servers work by the newest of them.
    pub since: Timestamp,
    /// Their uids: another one is another object, whatever its name.
    pub uids: Vec<String>,
}

/// Judges what was found: each object as the API server gave it, or `None` where there is none of the name.
///
/// # Errors
/// In words for people: which object is not as it should be, and what to do.
pub fn judge(looks: &[(Wanted, Option<Value>)]) -> Result<Complete, String> {
    let mut newest = Timestamp::UNIX_EPOCH;
    let mut uids = Vec::new();
    for (wanted, found) in looks {
        let (uid, created) = one(wanted, found.as_ref())?;
        newest = newest.max(created);
        uids.push(uid);
    }
    Ok(Complete { since: newest.checked_add(SETTLING).unwrap_or(newest), uids })
}

const AGAIN: &str =
    "What was asked or reviewed until then has to be asked or reviewed again, because nobody knows who wrote it";

fn one(wanted: &Wanted, found: Option<&Value>) -> Result<(String, Timestamp), String> {
    let what = format!("{} {}", wanted.kind.word(), wanted.name);
    let restore = "`helm upgrade`, or `securebucket admission | kubectl apply -f -`, makes it";
    let Some(found) = found else {
        return Err(format!(
            "{what} is missing, so the names in requests and reviews are worth nothing: {restore}. {AGAIN}"
        ));
    };
    let meta = &found["metadata"];
    if !meta["deletionTimestamp"].is_null() {
        return Err(format!("{what} is being deleted: let it go, then {restore}. {AGAIN}"));
    }
    // Content that was changed and changed back looks untouched, but for this number.
    if canonical(&found["spec"]) != wanted.spec || meta["generation"] != 1 {
        return Err(format!(
            "{what} was edited, so the names in requests and reviews are worth nothing: `kubectl delete` it, then {restore} anew. {AGAIN}"
        ));
    }
    let created = meta["creationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match (meta["uid"].as_str(), created) {
        (Some(uid), Some(created)) => Ok((uid.to_owned(), created)),
        _ => Err(format!("{what} has no uid or creation time: it was not read from an API server")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the API server gives them back, all of the same second but the last.
    fn found() -> Vec<(Wanted, Option<Value>)> {
        let wanted = wanted();
        let last = wanted.len() - 1;
        let object = |(n, w): (usize, Wanted)| {
            let second = if n == last { 30 } else { 10 };
            let meta = json!({"uid": format!("u{n}"), "generation": 1, "creationTimestamp": format!("2026-01-01T00:00:{second}Z")});
            let mut spec = w.spec.clone();
            if w.kind == Kind::Policy {
                spec["matchConstraints"]["namespaceSelector"] = json!({});
            }
            (w, Some(json!({"metadata": meta, "spec": spec})))
        };
        wanted.into_iter().enumerate().map(object).collect()
    }

    #[test]
    fn complete_since_the_newest_and_its_settling() {
        let complete = judge(&found()).unwrap();
        assert_eq!(complete.since, "2026-01-01T00:00:35Z".parse().unwrap());
        assert_eq!(complete.uids.len(), 8);
    }

    #[test]
    fn each_of_them_counts() {
        for n in 0..found().len() {
            let mut all = found();
            let name = all[n].0.name.clone();
            all[n].1 = None;
            let problem = judge(&all).unwrap_err();
            assert!(problem.contains(&name) && problem.contains("missing"), "{problem}");
        }
    }

    #[test]
    fn an_edit_is_seen_and_so_is_one_that_was_undone() {
        let edits: [fn(&mut Value); 5] = [
            |o| o["spec"]["failurePolicy"] = json!("Ignore"),
            |o| o["spec"]["validations"][0]["expression"] = json!("true"),
            |o| o["spec"]["matchConstraints"]["namespaceSelector"] = json!({"matchLabels": {"a": "b"}}),
            |o| o["spec"]["somethingNew"] = json!("of a later Kubernetes"),
            |o| o["metadata"]["generation"] = json!(3),
        ];
        for edit in edits {
            let mut all = found();
            edit(all[0].1.as_mut().unwrap());
            let problem = judge(&all).unwrap_err();
            assert!(problem.contains("was edited") && problem.contains("kubectl delete"), "{problem}");
        }
        let mut all = found();
        all[1].1.as_mut().unwrap()["spec"]["matchResources"] =
            json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
        assert!(judge(&all).is_err(), "a binding that leaves namespaces out");
        let mut all = found();
        all[1].1.as_mut().unwrap()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(judge(&all).is_err());
    }

    #[test]
    fn made_anew_is_another_and_younger() {
        let before = judge(&found()).unwrap();
        let mut all = found();
        all[1].1.as_mut().unwrap()["metadata"] =
            json!({"uid": "other", "generation": 1, "creationTimestamp": "2026-01-02T00:00:00Z"});
        let after = judge(&all).unwrap();
        assert!(after.since > before.since && after.uids != before.uids);
    }
}
