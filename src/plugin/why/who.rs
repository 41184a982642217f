//! Who can act on something, and whether that is oneself; and the names that a command needs.

use kube::ResourceExt;

use crate::api::grants::ApproverSet;
use crate::api::verbs::{APPROVE, DELEGATE, LIFT_LOCKDOWN};
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::grant::terms::target;
use crate::plugin::talk::Session;
use crate::plugin::whoami::{Right, may};

/// Who can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody need: it comes by itself.
    Time,
    /// Nobody need: it is as it should be, or over.
    Nobody,
    /// Who asks, or whoever may ask in that namespace.
    Requester,
    /// Whoever may approve.
    Approver,
    /// Who wrote the review.
    Reviewer,
    /// The bucket's owner.
    Owner,
    /// Whoever may lift a lockdown.
    Responder,
    /// Who runs the operator.
    Platform,
    /// An administrator of the AWS account.
    Aws,
}

/// Names for commands, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    bucket_namespace: String,
    bucket: String,
    grant_namespace: String,
    grant: String,
    service_account: String,
    requester: Option<String>,
    reviewer: Option<String>,
    key: Option<String>,
    lockdown: Option<String>,
    anew: Option<String>,
    approvers: Vec<ApproverSet>,
}

impl Names {
    /// Of a DecryptGrant.
    pub fn of_grant(grant: &DecryptGrant, bucket: Option<&SecureBucket>) -> Self {
        let (namespace, name) = (grant.namespace().unwrap_or_default(), grant.name_any());
        let at = target(grant);
        Self {
            service_account: grant.spec.subject.service_account_ref.name.clone(),
            requester: grant.spec.requester.as_ref().map(|r| r.username.clone()),
            anew: Some(anew(grant, &at.namespace, &at.name)),
            bucket_namespace: at.namespace,
            bucket: at.name,
            grant_namespace: namespace.clone(),
            grant: name.clone(),
            namespace,
            name,
            ..bucket.map(Self::of_bucket).unwrap_or_default()
        }
    }

    /// Of a GrantReview.
    pub fn of_review(review: &GrantReview, bucket: Option<&SecureBucket>) -> Self {
        let namespace = review.namespace().unwrap_or_default();
        Self {
            name: review.name_any(),
            bucket_namespace: namespace.clone(),
            bucket: review.spec.bucket_ref.name.clone(),
            grant_namespace: review.spec.grant_ref.namespace.clone(),
            grant: review.spec.grant_ref.name.clone(),
            reviewer: Some(review.spec.reviewer.username.clone()),
            namespace,
            ..bucket.map(Self::of_bucket).unwrap_or_default()
        }
    }

    /// Of a SecureBucket.
    pub fn of_bucket(bucket: &SecureBucket) -> Self {
        let (namespace, name) = (bucket.namespace().unwrap_or_default(), bucket.name_any());
        let status = bucket.status.clone().unwrap_or_default();
        Self {
            bucket_namespace: namespace.clone(),
            bucket: name.clone(),
            key: status.key_arn,
            lockdown: status.lockdown.map(|l| l.id),
            approvers: bucket.spec.grants.as_ref().map(|g| g.approvers.clone()).unwrap_or_default(),
            namespace,
            name,
            ..Self::default()
        }
    }
}

/// The same request once more.
fn anew(grant: &DecryptGrant, bucket_namespace: &str, bucket: &str) -> String {
    let spec = &grant.spec;
    let namespace = grant.namespace().unwrap_or_default();
    let prefixes: Vec<String> = spec.prefixes.iter().map(|p| format!("--prefix {}", quoted(&p.0))).collect();
    let ticket = spec.ticket.as_ref().map(|t| format!(" --ticket {}", quoted(t))).unwrap_or_default();
    format!(
        "kubectl securebucket request {bucket} -n {bucket_namespace} --for-service-account {namespace}/{} {} --duration {} --reason {}{ticket}",
        spec.subject.service_account_ref.name,
        prefixes.join(" "),
        quoted(&spec.duration.0),
        quoted(&spec.reason)
    )
}

/// A word for a shell: whoever pastes the command runs nothing that somebody else wrote into a request.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.:=+@%,-".contains(&b));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A command with its places filled. What is not known stays a word in capitals.
pub fn fill(command: &str, names: &Names) -> String {
    let known = |text: &Option<String>, word: &str| text.clone().unwrap_or_else(|| word.to_owned());
    let places = [
        ("{bucket-ns}", names.bucket_namespace.clone()),
        ("{bucket}", names.bucket.clone()),
        ("{grant-ns}", names.grant_namespace.clone()),
        ("{grant}", names.grant.clone()),
        ("{ns}", names.namespace.clone()),
        ("{name}", names.name.clone()),
        ("{sa}", if names.service_account.is_empty() { "NAME".into() } else { names.service_account.clone() }),
        ("{key}", known(&names.key, "KEY")),
        ("{lockdown}", known(&names.lockdown, "ID")),
    ];
    if command == "{anew}" {
        return known(&names.anew, "kubectl securebucket request --help");
    }
    places.iter().fold(command.to_owned(), |text, (place, name)| text.replace(place, name))
}

/// Who can act, in words, and whether that is oneself where the API server can say so.
pub async fn acts(session: &Session, who: Who, names: &Names) -> (String, Option<bool>) {
    let on_bucket =
        |verb| Right { verb, resource: "securebuckets", name: Some(&names.bucket), namespace: &names.bucket_namespace };
    let asks = Right { verb: "create", resource: "decryptgrants", name: None, namespace: &names.grant_namespace };
    let right = match who {
        Who::Time | Who::Nobody | Who::Platform | Who::Aws | Who::Reviewer => None,
        Who::Requester => (!names.grant_namespace.is_empty()).then_some(asks),
        Who::Approver => Some(on_bucket(APPROVE)),
        Who::Owner => Some(on_bucket(DELEGATE)),
        Who::Responder => Some(on_bucket(LIFT_LOCKDOWN)),
    };
    // Who asks may hold the right and still is none of those who can act.
    let you = match right {
        Some(right) => may(session, right).await.ok(),
        None => None,
    };
    (words(who, names), you)
}

fn words(who: Who, names: &Names) -> String {
    let bucket = format!("SecureBucket {}/{}", names.bucket_namespace, names.bucket);
    match who {
        Who::Time => "nobody needs to: it goes on by itself".into(),
        Who::Nobody => "nobody needs to".into(),
        Who::Requester => {
            format!("whoever may ask in namespace {} (ClusterRole securebucket-requester)", names.grant_namespace)
        }
        Who::Approver => {
            let others = names.requester.as_ref().map(|r| format!(", but not {r}, who asks")).unwrap_or_default();
            let not = names.reviewer.as_ref().map(|r| format!(", but not {r}")).unwrap_or_default();
            format!("whoever holds \"{APPROVE}\" on {bucket}{}{others}{not}", members(&names.approvers))
        }
        Who::Reviewer => format!("{}, by a new review", names.reviewer.as_deref().unwrap_or("the reviewer")),
        Who::Owner => format!("an owner of {bucket}, who holds \"{DELEGATE}\" on it"),
        Who::Responder => format!("whoever holds \"{LIFT_LOCKDOWN}\" on {bucket}"),
        Who::Platform => "who runs the operator".into(),
        Who::Aws => "an administrator of the AWS account".into(),
    }
}

/// ` and is in security (bob, group sec)`, if only members of sets count.
fn members(sets: &[ApproverSet]) -> String {
    let of = |set: &ApproverSet| {
        let users = set.users.iter().map(|u| u.0.clone());
        let groups = set.groups.iter().map(|g| format!("group {}", g.0));
        let robots = set.service_accounts.iter().map(|s| format!("ServiceAccount {}", s.0));
        let all: Vec<String> = users.chain(groups).chain(robots).collect();
        format!("{} ({})", set.name.0, all.join(", "))
    };
    let all: Vec<String> = sets.iter().map(of).collect();
    if all.is_empty() { String::new() } else { format!(" and is in {}", all.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_quoted() {
        assert_eq!(quoted("calls/2026/"), "calls/2026/");
        assert_eq!(quoted("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(quoted("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!((quoted("*"), quoted("")), ("'*'".into(), "''".into()));
    }

    #[test]
    fn places_are_filled() {
        let names = Names {
            bucket: "b".into(),
            bucket_namespace: "bn".into(),
            name: "g".into(),
            namespace: "gn".into(),
            ..Names::default()
        };
        assert_eq!(
            fill("x {bucket} -n {bucket-ns} {name} -n {ns} --id {lockdown}", &names),
            "x b -n bn g -n gn --id ID"
        );
        for reason in super::super::reasons::TABLE {
            for command in reason.commands {
                let filled = fill(command, &names).replace("'{.spec.grants}'", "");
                assert!(!filled.contains('{') || filled.contains("jsonpath"), "{}: {filled}", reason.word);
            }
        }
    }
}
