//! What each reason of a condition means, who can act on it, and what he would type. A test holds the words against those of the operator's code.

use super::Who::{Approver, Aws, Nobody, Owner, Platform, Requester, Responder, Reviewer, Time};
use super::reason::{
    ANEW, ANEW_REVIEW, DOCTOR, EDIT_BUCKET, GRANTS, LOGS, POLICY, RECONCILE, Reason, WHY_BUCKET, any, on,
};
use crate::plugin::names::Kind;

/// Every reason.
pub const TABLE: &[Reason] = &[
    // Under way.
    any(
        "Pending",
        "the operator has not looked at it yet; if that lasts longer than some seconds, it may not be running",
        Time,
        DOCTOR,
    ),
    any("Progressing", "the operator is at work; the message says what comes next", Time, &[]),
    any(
        "Reconciled",
        "AWS is as declared; nothing is waited for",
        Nobody,
        &["kubectl securebucket who-can {bucket} -n {bucket-ns}"],
    ),
    any("Configured", "this piece is as declared", Nobody, &[]),
    any(
        "Deleting",
        "the SecureBucket is being deleted, and waits until the access that the message names is out of AWS",
        Time,
        &["kubectl securebucket list -A"],
    ),
    any("Granting", "approved; the role's policy and the KMS grant are being put in place", Time, &[]),
    any("Scheduled", "approved; access begins at spec.notBefore", Time, &[]),
    any("Removing", "it is over, and what is left of it in AWS is being removed; reads are refused already", Time, &[]),
    any("Revoking", "it is over, and what is left of it in AWS is being removed; reads are refused already", Time, &[]),
    any("LockingDown", "the lockdown is taking this duty out of its role's policy", Time, &[]),
    any("Lifting", "the lockdown is being lifted; the message says what that waits for", Time, &[]),
    // A request.
    any("WaitingForBucket", "the SecureBucket itself is not ready", Owner, WHY_BUCKET),
    any(
        "BucketNotAvailable",
        "there is no such SecureBucket, or its owner does not let this namespace ask; which of the two is not told",
        Owner,
        &["kubectl securebucket can-i request {bucket} -n {bucket-ns} --from {ns}"],
    ),
    any(
        "AwaitingApproval",
        "people must agree before access begins",
        Approver,
        &["kubectl securebucket approve {name} -n {ns}", "kubectl securebucket deny {name} -n {ns} --comment TEXT"],
    ),
    any("RequesterMissing", "the bucket asks for approval, and the request does not say who asks", Requester, ANEW),
    any(
        "RequesterNotAllowed",
        "a ServiceAccount asks that the bucket does not name in grants.robots; a person can ask instead",
        Requester,
        ANEW,
    ),
    any("TicketRequired", "the bucket's owner asks for a ticket of a certain form", Requester, ANEW),
    any(
        "DefaultServiceAccount",
        "the ServiceAccount default stands for every pod that names none; the request needs one of its own",
        Requester,
        ANEW,
    ),
    any(
        "TooManyOpen",
        "the ServiceAccount has as many older requests and grants on this bucket as its owner allows",
        Requester,
        &["kubectl securebucket list -n {ns}", "kubectl securebucket hand-back NAME -n {ns}"],
    ),
    any(
        "SeparationOfDuties",
        "the ServiceAccount has a standing duty on this bucket, and gets no grant beside it",
        Requester,
        ANEW,
    ),
    any("ExtendedNotFound", "there is no grant of the name that it extends", Requester, ANEW),
    any(
        "ExtendedNotActive",
        "the grant that it extends has not begun; this one waits for that",
        Time,
        &["kubectl securebucket list -n {ns}"],
    ),
    any("AutoApproved", "a rule of the bucket's grants.autoApprove approves it; the message names it", Nobody, &[]),
    any(
        "BreakGlass",
        "access was given at once, without approval; somebody else has to review it afterwards",
        Nobody,
        &[],
    ),
    any(
        "ReviewDue",
        "access was given without approval, and somebody else than who asked has to write a review; until then the bucket has no other break-glass",
        Approver,
        &["kubectl securebucket approve {name} -n {ns}", "kubectl securebucket revoke {name} -n {ns}"],
    ),
    any(
        "ReviewOverdue",
        "access was given without approval, and nobody has written the review that was due; the bucket has no other break-glass until then",
        Approver,
        &["kubectl securebucket approve {name} -n {ns}", "kubectl securebucket revoke {name} -n {ns}"],
    ),
    any("Reviewed", "access was given without approval, and was reviewed afterwards", Nobody, &[]),
    any("ApprovalsMet", "enough people approved; the message names them", Nobody, &[]),
    any("PolicyApproved", "the bucket asks for no approval within its terms", Nobody, &[]),
    any(
        "ClockSkew",
        "the operator's clock differs from that of AWS or the API server, so nothing is issued; ends go on",
        Platform,
        DOCTOR,
    ),
    on(
        Kind::Grant,
        "ApprovalNotEnforced",
        "nothing proves that requesters and reviewers are who they say, or this request is older than the proof",
        Platform,
        &["kubectl securebucket doctor", "{anew}"],
    ),
    on(
        Kind::Review,
        "ApprovalNotEnforced",
        "nothing proves that reviewers are who they say, or this review is older than the proof",
        Platform,
        &["kubectl securebucket doctor", "kubectl securebucket approve {grant} -n {grant-ns}"],
    ),
    any(
        "Edited",
        "its spec was changed after it was made, which the CRDs of this version refuse; it counts for nothing, and a new one is needed",
        Platform,
        DOCTOR,
    ),
    // Access, and its ends.
    any(
        "Granted",
        "the ServiceAccount can read until the message says",
        Nobody,
        &["kubectl securebucket hand-back {name} -n {ns}"],
    ),
    any("Expired", "its time passed", Requester, ANEW),
    any("HandedBack", "its holder gave it back", Requester, ANEW),
    any(
        "Revoked",
        "it was ended before its time, and does not come back; the message says by whom or by what",
        Requester,
        ANEW,
    ),
    any("Denied", "it was refused, for good; the message says why", Requester, ANEW),
    any(
        "DeniedByPolicy",
        "a rule of the bucket's grants.deny refused it, for good; the message names it",
        Requester,
        ANEW,
    ),
    any("DeniedByReviewer", "a reviewer refused it, for good", Requester, ANEW),
    any(
        "Refused",
        "it could not be granted any more: bucket or ServiceAccount were replaced, or the bucket is locked down",
        Requester,
        ANEW,
    ),
    any("ApprovalTimedOut", "nobody approved it in time", Requester, ANEW),
    any(
        "Lapsed",
        "it was approved, but access could not begin within an hour of that or of spec.notBefore",
        Requester,
        ANEW,
    ),
    any(
        "RemovalFailed",
        "it is over and reads are refused by date, but something of it is still in AWS; the operator tries on",
        Platform,
        LOGS,
    ),
    // Buckets.
    any(
        "Restricted",
        "somebody made something stricter by hand in AWS; it is left so, because a responder may have meant it",
        Owner,
        RECONCILE,
    ),
    on(
        Kind::Bucket,
        "LockedDown",
        "the bucket is locked down, and AWS is as the lockdown wants it",
        Responder,
        &["kubectl securebucket lift {bucket} -n {bucket-ns} --id {lockdown}"],
    ),
    any(
        "LockedDown",
        "the bucket was locked down, which ended this grant; lifting does not bring it back. When it is lifted, ask anew",
        Requester,
        ANEW,
    ),
    any(
        "Reads",
        "the lockdown refuses reading and listing; writing goes on",
        Responder,
        &["kubectl securebucket lift {bucket} -n {bucket-ns} --id {lockdown}"],
    ),
    any(
        "All",
        "the lockdown refuses everything on objects, and the key is disabled",
        Responder,
        &["kubectl securebucket lift {bucket} -n {bucket-ns} --id {lockdown}"],
    ),
    any(
        "ForeignAccess",
        "somebody else made a KMS grant on the bucket's key; the message names it",
        Owner,
        &["kubectl securebucket who-can {bucket} -n {bucket-ns}", "aws kms revoke-grant --key-id {key} --grant-id ID"],
    ),
    on(
        Kind::Grant,
        "InvalidSpec",
        "the request asks for something that cannot be; its spec cannot be changed",
        Requester,
        ANEW,
    ),
    any("InvalidSpec", "the spec asks for something that cannot be; the message names the field", Owner, EDIT_BUCKET),
    any("BucketNameTaken", "the S3 bucket name belongs to somebody else", Owner, EDIT_BUCKET),
    on(
        Kind::Grant,
        "BucketGone",
        "the SecureBucket is gone or going, or no longer lets this namespace ask",
        Owner,
        GRANTS,
    ),
    any(
        "BucketGone",
        "the S3 bucket was deleted outside the operator, with its data",
        Owner,
        &["kubectl delete sbkt {bucket} -n {bucket-ns}"],
    ),
    any("OwnedByAnother", "the key's alias points to a key that is not this bucket's", Platform, LOGS),
    any(
        "KeyDisabled",
        "somebody disabled the key, so nobody decrypts anything; it is left so",
        Aws,
        &["aws kms enable-key --key-id {key}"],
    ),
    any(
        "KeyPendingDeletion",
        "somebody scheduled the deletion of the key: when it is gone, so is everything under it",
        Aws,
        &["aws kms cancel-key-deletion --key-id {key}"],
    ),
    any(
        "KeyGone",
        "the key no longer exists; what it encrypted cannot be read any more",
        Owner,
        &["kubectl delete sbkt {bucket} -n {bucket-ns}"],
    ),
    any("KeyUnusable", "the key is in a state that refuses the call", Aws, &["aws kms describe-key --key-id {key}"]),
    on(
        Kind::Bucket,
        "ServiceAccountNotFound",
        "a ServiceAccount that holds a duty does not exist; the message names it",
        Owner,
        &["kubectl create serviceaccount NAME -n {ns}"],
    ),
    on(
        Kind::Bucket,
        "PolicyTooLarge",
        "the policy of a duty's role has no room for all its prefixes and grants; the message names the duty",
        Owner,
        EDIT_BUCKET,
    ),
    any(
        "ServiceAccountNotFound",
        "the ServiceAccount that is named does not exist",
        Requester,
        &["kubectl create serviceaccount {sa} -n {ns}"],
    ),
    any(
        "PolicyTooLarge",
        "the role's policy has no room for one more duty or grant",
        Requester,
        &["kubectl securebucket list -n {ns}", "kubectl securebucket hand-back NAME -n {ns}"],
    ),
    any(
        "RoleNameTaken",
        "an IAM role of the workload's name exists and is not the operator's",
        Aws,
        &["aws iam get-role --role-name NAME"],
    ),
    // The workload.
    any("Annotated", "the ServiceAccount names the role, so its pods have it", Nobody, &[]),
    any(
        "NotAnnotated",
        "pods do not get the role by themselves: annotate the ServiceAccount, or use the profile in the ConfigMap",
        Requester,
        &["kubectl annotate sa {sa} -n {ns} eks.amazonaws.com/role-arn=$(kubectl securebucket role-arn {ns}/{sa})"],
    ),
    any(
        "AnotherRole",
        "the ServiceAccount names another role, which its pods have: use the profile in the ConfigMap, or change it",
        Requester,
        &[
            "kubectl get configmap -n {ns}",
            "kubectl annotate sa {sa} -n {ns} --overwrite eks.amazonaws.com/role-arn=$(kubectl securebucket role-arn {ns}/{sa})",
        ],
    ),
    // Reviews.
    any("Counted", "the review counts", Nobody, &[]),
    any(
        "GrantNotFound",
        "no such request asks for this bucket, or the review lies in another namespace than the bucket",
        Reviewer,
        &["kubectl securebucket list --pending -n {ns}"],
    ),
    any("AnotherGrant", "the request was made anew under its name since", Reviewer, ANEW_REVIEW),
    any("Withdrawn", "the review is being deleted", Nobody, &[]),
    any(
        "GrantOver",
        "the grant was over before the review",
        Nobody,
        &["kubectl securebucket why {grant} -n {grant-ns}"],
    ),
    any(
        "TooLate",
        "access had begun before the review; only a revocation counts now",
        Reviewer,
        &["kubectl securebucket revoke {grant} -n {grant-ns}"],
    ),
    any("TooEarly", "the review is older than the request", Reviewer, ANEW_REVIEW),
    any(
        "TermsUnknown",
        "the terms of the request are not resolved yet",
        Reviewer,
        &["kubectl securebucket why {grant} -n {grant-ns}"],
    ),
    any("OtherTerms", "the review names other terms than those of the request", Reviewer, ANEW_REVIEW),
    any(
        "ReviewerNotAllowed",
        "the reviewer is no person, and no set of grants.approvers names the ServiceAccount",
        Approver,
        ANEW_REVIEW,
    ),
    any("NotAnApprover", "the reviewer is in no set of grants.approvers of the bucket", Approver, ANEW_REVIEW),
    any("SelfApproval", "the reviewer is who asks, and nobody approves his own request", Approver, ANEW_REVIEW),
    any("SamePerson", "this person has approved already, under this name or another", Approver, ANEW_REVIEW),
    any(
        "TooShort",
        "the shortened time is shorter than this installation allows",
        Reviewer,
        &["kubectl securebucket approve {grant} -n {grant-ns} --max-duration TIME"],
    ),
    // AWS.
    any(
        "AccessDenied",
        "AWS refuses the operator a call; the message names action, resource and missing statement",
        Platform,
        POLICY,
    ),
    any(
        "LimitExceeded",
        "a quota of the AWS account is used up",
        Aws,
        &["aws service-quotas list-service-quotas --service-code kms"],
    ),
    any(
        "InvalidRequest",
        "AWS says that the operator's request is wrong, which is a fault of the operator",
        Platform,
        LOGS,
    ),
    any("Throttled", "AWS gets too many calls; it is tried again", Time, &[]),
    any("AwsUnavailable", "AWS failed, or did not answer; it is tried again", Time, &[]),
    any("Conflict", "another change is under way in AWS; it is tried again", Time, &[]),
    any("NotFound", "something vanished while it was used; it is tried again", Time, &[]),
    any("AlreadyExists", "something appeared while it was made; it is tried again", Time, &[]),
    any("UnknownPrincipal", "AWS does not know the new role everywhere yet; it is tried again", Time, &[]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::why::reason::explain;

    #[test]
    fn one_explanation_for_each_reason_and_kind() {
        for (index, one) in TABLE.iter().enumerate() {
            let twice = TABLE.iter().skip(index + 1).any(|r| r.word == one.word && r.on == one.on);
            assert!(!twice && !one.means.is_empty(), "{}", one.word);
        }
        assert!(explain("LockedDown", Kind::Bucket).unwrap().commands[0].contains(" lift "));
        assert!(explain("LockedDown", Kind::Grant).unwrap().commands[0].contains("{anew}"));
        assert!(explain("Unheard", Kind::Grant).is_none());
    }

    /// Who has to act is told how, unless it comes by itself.
    #[test]
    fn who_can_act_is_told_how() {
        for one in TABLE {
            assert!(matches!(one.who, Time | Nobody) || !one.commands.is_empty(), "{}", one.word);
        }
    }
}
