//! Reads one workload role from AWS, in one round trip; a second one only for policies that are not ours.

use super::document::POLICY_NAME;
use super::observed::{ForeignPolicy, ObservedRole};
use super::plan::Action;
use crate::aws::clients::Aws;
use crate::aws::error::Seen;

/// Reads the role of this name after these actions: what they did not touch is as it was seen a moment before.
pub async fn observe_after(
    aws: &Aws,
    name: &str,
    before: Seen<ObservedRole>,
    actions: &[Action],
) -> Seen<ObservedRole> {
    match before {
        Seen::Value(role) if actions.iter().all(Action::is_of_document) => {
            let document = Seen::from_result(aws.iam().role_policy(name, POLICY_NAME).await);
            Seen::Value(ObservedRole { document, ..role })
        }
        // AWS has just made it, and makes a role without policies.
        Seen::Absent if matches!(actions.first(), Some(Action::Create { .. })) => observe_own(aws, name).await,
        _ => observe(aws, name, true).await,
    }
}

/// Reads the role of this name with our policy alone, as if there were no others.
pub async fn observe_own(aws: &Aws, name: &str) -> Seen<ObservedRole> {
    let iam = aws.iam();
    let (head, document) = tokio::join!(iam.role(name), iam.role_policy(name, POLICY_NAME));
    match Seen::from_result(head) {
        Seen::Value(head) => {
            Seen::Value(ObservedRole { head, document: Seen::from_result(document), foreign: Vec::new() })
        }
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(e) => Seen::Unreadable(e),
    }
}

/// Reads the role of this name. Where it was absent when it was last looked at, most likely it still is: one question instead of four.
pub async fn observe(aws: &Aws, name: &str, expected: bool) -> Seen<ObservedRole> {
    let iam = aws.iam();
    if !expected {
        match Seen::from_result(iam.role(name).await) {
            Seen::Value(_) => {}
            Seen::Absent => return Seen::Absent,
            Seen::Unreadable(e) => return Seen::Unreadable(e),
        }
    }
    let (head, document, inline, attached) = tokio::join!(
        iam.role(name),
        iam.role_policy(name, POLICY_NAME),
        iam.role_policies(name),
        iam.attached_policies(name)
    );
    let head = match Seen::from_result(head) {
        Seen::Value(head) => head,
        Seen::Absent => return Seen::Absent,
        Seen::Unreadable(e) => return Seen::Unreadable(e),
    };
    let (inline, attached) = match (inline, attached) {
        (Ok(inline), Ok(attached)) => (inline, attached),
        (Err(e), _) | (_, Err(e)) => return Seen::Unreadable(e),
    };
    let mut foreign = Vec::new();
    for name_of_policy in inline.into_iter().filter(|n| n != POLICY_NAME) {
        let document = Seen::from_result(iam.role_policy(name, &name_of_policy).await);
        foreign.push(ForeignPolicy { name: name_of_policy, attached: false, document });
    }
    for arn in attached {
        let document = Seen::from_result(iam.managed_policy(&arn).await);
        foreign.push(ForeignPolicy { name: arn, attached: true, document });
    }
    Seen::Value(ObservedRole { head, document: Seen::from_result(document), foreign })
}
