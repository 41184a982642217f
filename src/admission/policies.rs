//! The specs of the policies, with every default written out, so that what the API server gives back is what was sent.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicySpec, Validation, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Subject, cel};
use crate::api::GROUP;

/// The spec of a policy.
pub(super) fn spec(subject: Subject) -> ValidatingAdmissionPolicySpec {
    match subject {
        Subject::Requester => requester(),
        Subject::Reviewer => reviewer(),
        Subject::Status => status(),
        Subject::Delegate => delegate(),
    }
}

fn requester() -> ValidatingAdmissionPolicySpec {
    let variables = [
        ("username", "object.spec.?requester.?username.orValue('')"),
        ("uid", "object.spec.?requester.?uid.orValue('')"),
        ("session", "object.spec.?requester.?session.orValue('')"),
        ("callerUid", cel::CALLER_UID),
        ("callerSession", cel::CALLER_SESSION),
        ("operates", cel::OPERATES),
        ("breakGlass", "object.spec.?breakGlass.orValue(false)"),
        ("bucket", "object.spec.?bucketRef.?name.orValue('')"),
        ("bucketNamespace", "object.spec.?bucketRef.?namespace.orValue(request.namespace)"),
        ("mayBreakGlass", cel::MAY_BREAK_GLASS),
    ];
    let validations = [
        validation(cel::NOT_OF_THE_SYSTEM, cel::NO_REQUEST_BY_THE_SYSTEM, None),
        validation(
            cel::OPERATOR_ONLY_TRIES,
            "the operator asks for nothing itself, nor does a ServiceAccount of this namespace that holds the verb `operate`: use another namespace",
            None,
        ),
        validation(
            cel::STAMPED,
            "spec.requester must be you, as the API server sees you: `kubectl auth whoami`",
            Some(cel::STAMP_THE_REQUESTER),
        ),
        validation(
            "!variables.breakGlass || variables.mayBreakGlass",
            "spec.breakGlass is for holders of the verb `breakglass` on the SecureBucket: ask its owner for the ClusterRole securebucket-responder",
            Some(cel::WHO_MAY_BREAK_GLASS),
        ),
    ];
    policy(rule(&["decryptgrants"], &["CREATE"]), &[], &variables, validations.into())
}

fn reviewer() -> ValidatingAdmissionPolicySpec {
    let variables = [
        ("username", "object.spec.?reviewer.?username.orValue('')"),
        ("uid", "object.spec.?reviewer.?uid.orValue('')"),
        ("session", "object.spec.?reviewer.?session.orValue('')"),
        ("groups", "object.spec.?reviewer.?groups.orValue([])"),
        ("callerUid", cel::CALLER_UID),
        ("callerSession", cel::CALLER_SESSION),
        ("callerGroups", "request.userInfo.?groups.orValue([])"),
        ("operates", cel::OPERATES),
        ("bucket", "object.spec.?bucketRef.?name.orValue('')"),
        ("verb", cel::VERB_OF_THE_DECISION),
        ("may", cel::MAY_DECIDE),
    ];
    let validations = [
        validation(cel::NOT_OF_THE_SYSTEM, cel::NO_REVIEW_BY_THE_SYSTEM, None),
        validation(
            cel::OPERATOR_ONLY_TRIES,
            "the operator reviews nothing itself, nor does a ServiceAccount of this namespace that holds the verb `operate`: use another namespace",
            None,
        ),
        validation(
            cel::STAMPED,
            "spec.reviewer must be you, as the API server sees you: `kubectl auth whoami`",
            Some(cel::STAMP_THE_REVIEWER),
        ),
        validation(
            cel::GROUPS_ARE_THE_CALLERS,
            "spec.reviewer.groups: name only groups that you are in: `kubectl auth whoami`",
            Some(cel::WHICH_GROUPS),
        ),
        validation(
            "variables.may",
            "you may not decide on DecryptGrants of this SecureBucket: ask its owner for the ClusterRole securebucket-approver",
            Some(cel::WHO_MAY_DECIDE),
        ),
    ];
    policy(rule(&["grantreviews"], &["CREATE"]), &[], &variables, validations.into())
}

fn status() -> ValidatingAdmissionPolicySpec {
    let resources = [
        "securebuckets",
        "securebuckets/status",
        "decryptgrants",
        "decryptgrants/status",
        "grantreviews",
        "grantreviews/status",
    ];
    let variables = [
        ("operates", cel::OPERATES),
        ("ours", cel::OUR_FINALIZERS),
        (
            "before",
            "oldObject == null ? [] : oldObject.metadata.?finalizers.orValue([]).filter(f, f in variables.ours)",
        ),
        ("after", "object.metadata.?finalizers.orValue([]).filter(f, f in variables.ours)"),
    ];
    let validations = [
        validation(
            "request.?subResource.orValue('') != 'status' || variables.operates",
            "status is written by the SecureBucket operator alone (whoever holds the verb `operate` on securebuckets.securebucket.io); change spec instead",
            None,
        ),
        validation(
            "variables.before.all(f, f in variables.after) && variables.after.all(f, f in variables.before) || variables.operates",
            "the finalizers securebucket.io/… are the operator's (whoever holds the verb `operate` on securebuckets.securebucket.io): leave them as they are. Delete the object, and the operator removes them when the access is out of AWS",
            None,
        ),
    ];
    policy(rule(&resources, &["CREATE", "UPDATE"]), &[], &variables, validations.into())
}

fn delegate() -> ValidatingAdmissionPolicySpec {
    let variables = [
        ("old", "oldObject == null ? {} : oldObject.?spec.orValue({})"),
        ("new", "object == null ? {} : object.?spec.orValue({})"),
        ("bucket", "object == null ? oldObject.metadata.name : object.metadata.name"),
        ("changed", cel::CHANGED),
        ("locks", cel::LOCKDOWN_CHANGED),
        ("lift", cel::LIFT_IN_NEW),
        ("lifts", cel::LIFT_ASKED),
        ("reopen", cel::REOPEN_IN_NEW),
        ("reopens", cel::REOPEN_ASKED),
        ("mayDelegate", cel::MAY_DELEGATE),
        ("mayLift", cel::MAY_LIFT),
    ];
    let validations = [
        validation(
            "size(variables.changed) == 0 || variables.mayDelegate",
            "who may decrypt is changed by holders of the verb `delegate` on this SecureBucket alone: ask for the ClusterRole securebucket-owner",
            Some(cel::WHO_MAY_DELEGATE),
        ),
        validation(
            "!variables.locks || variables.mayDelegate || variables.mayLift",
            "spec.lockdown is changed by holders of the verb `delegate` or `lift-lockdown` on this SecureBucket alone: ask for the ClusterRole securebucket-responder",
            Some(cel::WHO_MAY_LOCK),
        ),
        validation(
            "!variables.lifts || variables.mayLift",
            "a lockdown is lifted by holders of the verb `lift-lockdown` on this SecureBucket alone: ask for the ClusterRole securebucket-responder",
            Some(cel::WHO_MAY_LIFT),
        ),
        validation(
            "!variables.reopens || variables.mayDelegate || variables.mayLift",
            "the annotation securebucket.io/reconcile-at undoes what somebody tightened, and is for holders of the verb `delegate` or `lift-lockdown` on this SecureBucket: ask for the ClusterRole securebucket-owner or securebucket-responder",
            Some(cel::WHO_MAY_REOPEN),
        ),
    ];
    let conditions = [("not-the-control-plane", cel::NOT_THE_CONTROL_PLANE)];
    policy(rule(&["securebuckets"], &["CREATE", "UPDATE", "DELETE"]), &conditions, &variables, validations.into())
}

fn policy(
    rule: NamedRuleWithOperations,
    conditions: &[(&str, &str)],
    variables: &[(&str, &str)],
    validations: Vec<Validation>,
) -> ValidatingAdmissionPolicySpec {
    let conditions = conditions
        .iter()
        .map(|(name, expression)| MatchCondition { name: (*name).to_owned(), expression: (*expression).to_owned() });
    let variables = variables
        .iter()
        .map(|(name, expression)| Variable { name: (*name).to_owned(), expression: (*expression).to_owned() });
    ValidatingAdmissionPolicySpec {
        audit_annotations: None,
        failure_policy: Some("Fail".into()),
        match_conditions: Some(conditions.collect::<Vec<_>>()).filter(|c| !c.is_empty()),
        match_constraints: Some(MatchResources {
            exclude_resource_rules: None,
            match_policy: Some("Equivalent".into()),
            namespace_selector: Some(LabelSelector::default()),
            object_selector: Some(LabelSelector::default()),
            resource_rules: Some(vec![rule]),
        }),
        param_kind: None,
        validations: Some(validations),
        variables: Some(variables.collect()),
    }
}

/// Of every version of our group: a later one is no way around.
fn rule(resources: &[&str], operations: &[&str]) -> NamedRuleWithOperations {
    let owned = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    NamedRuleWithOperations {
        api_groups: owned(&[GROUP]),
        api_versions: owned(&["*"]),
        operations: owned(operations),
        resource_names: None,
        resources: owned(resources),
        scope: Some("*".into()),
    }
}

/// `Forbidden` and not the default `Invalid`: who may not do it is told so, as RBAC does it.
fn validation(expression: &str, message: &str, computed: Option<&str>) -> Validation {
    Validation {
        expression: expression.to_owned(),
        message: Some(message.to_owned()),
        message_expression: computed.map(str::to_owned),
        reason: Some("Forbidden".into()),
    }
}
