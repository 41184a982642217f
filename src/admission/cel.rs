//! The expressions, in CEL as ValidatingAdmissionPolicies have it (Kubernetes documentation, Common Expression Language in Kubernetes).
//!
//! `authorizer` asks the API server's own authorizers about the caller, so RBAC and webhook authorizers count alike. A check costs much of an
//! expression's budget: each stands in a variable of its own, and is made only when it is needed.

/// The caller's uid. Not every way to sign in gives one.
pub(super) const CALLER_UID: &str = "request.userInfo.?uid.orValue('')";

/// The name of the caller's STS session, where EKS says it. The caller has chosen it.
pub(super) const CALLER_SESSION: &str = "request.userInfo.?extra[?'sessionName'][?0].orValue('')";

/// The caller is the operator, or somebody who may do everything. Asked for all namespaces: a Role with `verbs: ["*"]`, as tenants have it in their own
/// namespace, does not hold it, and status of a request there gives access to buckets elsewhere.
pub(super) const OPERATES: &str =
    "authorizer.group('securebucket.io').resource('securebuckets').check('operate').allowed()";

/// Nodes, the control plane and the nameless are no persons. ServiceAccounts are judged by the operator: a bucket has to name them.
pub(super) const NOT_OF_THE_SYSTEM: &str = "!request.userInfo.username.startsWith('system:') || request.userInfo.username.startsWith('system:serviceaccount:')";

pub(super) const NO_REQUEST_BY_THE_SYSTEM: &str = "system:… users ask for no DecryptGrants: sign in as yourself, or let a ServiceAccount ask that the SecureBucket names in grants.robots";

pub(super) const NO_REVIEW_BY_THE_SYSTEM: &str = "system:… users review no DecryptGrants: sign in as yourself, or let a ServiceAccount review that the SecureBucket names in grants.approvers";

/// The operator holds `create` in its own namespace for the proof that a false name is refused, and uses it for dry runs alone.
pub(super) const OPERATOR_ONLY_TRIES: &str = "request.?dryRun.orValue(false) || !request.userInfo.username.startsWith('system:serviceaccount:' + request.namespace + ':') || !variables.operates";

/// The object says who the caller is: neither less nor more. An absent uid or session and an empty one are the same.
pub(super) const STAMPED: &str = "variables.username == request.userInfo.username && variables.uid == variables.callerUid && variables.session == variables.callerSession";

/// What to write, ready to be pasted.
pub(super) const STAMP_THE_REQUESTER: &str = r#"'spec.requester must be you, as the API server sees you; write: requester: {username: "' + request.userInfo.username + '"' + (variables.callerUid == '' ? '' : ', uid: "' + variables.callerUid + '"') + (variables.callerSession == '' ? '' : ', session: "' + variables.callerSession + '"') + '}'"#;

pub(super) const STAMP_THE_REVIEWER: &str = r#"'spec.reviewer must be you, as the API server sees you; write: reviewer: {username: "' + request.userInfo.username + '"' + (variables.callerUid == '' ? '' : ', uid: "' + variables.callerUid + '"') + (variables.callerSession == '' ? '' : ', session: "' + variables.callerSession + '"') + '}'"#;

pub(super) const GROUPS_ARE_THE_CALLERS: &str = "variables.groups.all(g, g in variables.callerGroups)";

pub(super) const WHICH_GROUPS: &str = "'spec.reviewer.groups: you are not in ' + variables.groups.filter(g, !(g in variables.callerGroups)).join(', ') + '; name only groups that `kubectl auth whoami` shows'";

pub(super) const VERB_OF_THE_DECISION: &str = "object.spec.?decision.orValue('') == 'Revoke' ? 'revoke' : 'approve'";

/// On this bucket, in the namespace of the review: a bucket is reviewed where it lives.
pub(super) const MAY_DECIDE: &str = "authorizer.group('securebucket.io').resource('securebuckets').namespace(request.namespace).name(variables.bucket).check(variables.verb).allowed()";

pub(super) const WHO_MAY_DECIDE: &str = r#"request.userInfo.username + ' does not hold the verb "' + variables.verb + '" on securebuckets.securebucket.io "' + variables.bucket + '" in namespace "' + request.namespace + '". The ClusterRole ' + (variables.verb == 'revoke' ? 'securebucket-responder' : 'securebucket-approver') + ' gives it, bound in that namespace; a review lies in the namespace of the bucket'"#;

/// On the bucket that is asked for, in its namespace.
pub(super) const MAY_BREAK_GLASS: &str = "authorizer.group('securebucket.io').resource('securebuckets').namespace(variables.bucketNamespace).name(variables.bucket).check('breakglass').allowed()";

pub(super) const WHO_MAY_BREAK_GLASS: &str = r#"'spec.breakGlass: ' + request.userInfo.username + ' does not hold the verb "breakglass" on securebuckets.securebucket.io "' + variables.bucket + '" in namespace "' + variables.bucketNamespace + '". The ClusterRole securebucket-responder gives it, bound in that namespace; without breakGlass the request waits for approval'"#;

pub(super) const OUR_FINALIZERS: &str = "['securebucket.io/bucket-protection', 'securebucket.io/grant-revocation']";

/// The control plane removes what goes with its namespace or its owner. In another namespace the name makes another bucket; and only who may
/// delegate changes owners.
pub(super) const NOT_THE_CONTROL_PLANE: &str = "!(request.userInfo.username in ['system:serviceaccount:kube-system:namespace-controller', 'system:serviceaccount:kube-system:generic-garbage-collector', 'system:kube-controller-manager'])";

/// What is declared on creation, what is different on a change, what is lost on deletion: made anew without it, the object takes the same bucket
/// back. The default said and the default left out are the same. An owner that is gone has the garbage collector delete the object.
pub(super) const CHANGED: &str = "(variables.old.?access.orValue([]) == variables.new.?access.orValue([]) ? [] : ['spec.access']) \
+ (variables.old.?grants.orValue({}) == variables.new.?grants.orValue({}) ? [] : ['spec.grants']) \
+ (variables.old.?foreignGrants.orValue('Report') == variables.new.?foreignGrants.orValue('Report') ? [] : ['spec.foreignGrants']) \
+ (variables.old.?deletionPolicy.orValue('Retain') == variables.new.?deletionPolicy.orValue('Retain') ? [] : ['spec.deletionPolicy']) \
+ (request.operation != 'UPDATE' || oldObject.metadata.?ownerReferences.orValue([]) == object.metadata.?ownerReferences.orValue([]) ? [] : ['metadata.ownerReferences'])";

/// Setting, raising, changing and taking out. Not the deletion: the lockdown is in the bucket policy, and comes back from there.
pub(super) const LOCKDOWN_CHANGED: &str =
    "request.operation != 'DELETE' && variables.old.?lockdown.orValue({}) != variables.new.?lockdown.orValue({})";

pub(super) const LIFT_IN_NEW: &str =
    "object == null ? '' : object.metadata.?annotations[?'securebucket.io/lift-lockdown'].orValue('')";

/// Taking the annotation away lifts nothing.
pub(super) const LIFT_ASKED: &str = "variables.lift != '' && (oldObject == null || oldObject.metadata.?annotations[?'securebucket.io/lift-lockdown'].orValue('') != variables.lift)";

/// A new value has the operator undo what somebody tightened: remove foreign Denies, enable the key.
pub(super) const REOPEN_IN_NEW: &str =
    "object == null ? '' : object.metadata.?annotations[?'securebucket.io/reconcile-at'].orValue('')";

/// Taking the annotation away undoes nothing.
pub(super) const REOPEN_ASKED: &str = "variables.reopen != '' && (oldObject == null || oldObject.metadata.?annotations[?'securebucket.io/reconcile-at'].orValue('') != variables.reopen)";

pub(super) const MAY_DELEGATE: &str = "authorizer.group('securebucket.io').resource('securebuckets').namespace(request.namespace).name(variables.bucket).check('delegate').allowed()";

pub(super) const MAY_LIFT: &str = "authorizer.group('securebucket.io').resource('securebuckets').namespace(request.namespace).name(variables.bucket).check('lift-lockdown').allowed()";

pub(super) const WHO_MAY_DELEGATE: &str = r#"(request.operation == 'DELETE' ? 'deleting it takes away ' : 'this changes ') + variables.changed.join(', ') + ', and ' + request.userInfo.username + ' does not hold the verb "delegate" on securebuckets.securebucket.io "' + variables.bucket + '" in namespace "' + request.namespace + '". The ClusterRole securebucket-owner gives it, bound in that namespace; a GitOps tool needs it for its ServiceAccount'"#;

pub(super) const WHO_MAY_LOCK: &str = r#"'this changes spec.lockdown, and ' + request.userInfo.username + ' holds neither "delegate" nor "lift-lockdown" on securebuckets.securebucket.io "' + variables.bucket + '" in namespace "' + request.namespace + '". The ClusterRole securebucket-responder gives the latter, bound in that namespace'"#;

pub(super) const WHO_MAY_LIFT: &str = r#"'this lifts the lockdown, and ' + request.userInfo.username + ' does not hold the verb "lift-lockdown" on securebuckets.securebucket.io "' + variables.bucket + '" in namespace "' + request.namespace + '". The ClusterRole securebucket-responder gives it, bound in that namespace'"#;

pub(super) const WHO_MAY_REOPEN: &str = r#"'the annotation securebucket.io/reconcile-at undoes what somebody tightened, and ' + request.userInfo.username + ' holds neither "delegate" nor "lift-lockdown" on securebuckets.securebucket.io "' + variables.bucket + '" in namespace "' + request.namespace + '". The ClusterRoles securebucket-owner and securebucket-responder give one of them, bound in that namespace'"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::verbs::{BREAKGLASS, DELEGATE, OPERATE};
    use crate::api::{BUCKET_FINALIZER, GRANT_FINALIZER, GROUP, LIFT_LOCKDOWN, RECONCILE_AT, verbs};

    #[test]
    fn names_are_those_of_the_api() {
        for finalizer in [BUCKET_FINALIZER, GRANT_FINALIZER] {
            assert!(OUR_FINALIZERS.contains(&format!("'{finalizer}'")));
        }
        for text in [LIFT_IN_NEW, LIFT_ASKED] {
            assert!(text.contains(&format!("'{LIFT_LOCKDOWN}'")));
        }
        for text in [REOPEN_IN_NEW, REOPEN_ASKED] {
            assert!(text.contains(&format!("'{RECONCILE_AT}'")));
        }
        let here = "namespace(request.namespace).name(variables.bucket).";
        let there = "namespace(variables.bucketNamespace).name(variables.bucket).";
        for (text, place, verb) in [
            (OPERATES, "", OPERATE),
            (MAY_DELEGATE, here, DELEGATE),
            (MAY_LIFT, here, verbs::LIFT_LOCKDOWN),
            (MAY_BREAK_GLASS, there, BREAKGLASS),
        ] {
            let asks =
                format!("authorizer.group('{GROUP}').resource('securebuckets').{place}check('{verb}').allowed()");
            assert_eq!(text, asks);
        }
        assert!(
            MAY_DECIDE.contains(&format!("group('{GROUP}').resource('securebuckets').{here}check(variables.verb)"))
        );
        assert!(VERB_OF_THE_DECISION.contains(&format!("'{}' : '{}'", verbs::REVOKE, verbs::APPROVE)));
    }
}
