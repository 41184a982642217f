//! Who holds what: each ClusterRole of the chart, and the built-in ones, against every verb that decides something.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{ListParams, PostParams};

use super::{Person, bind};
use crate::support::{World, chart};

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Asked for by the admission policies alone.
const VIRTUAL: [&str; 6] = ["approve", "revoke", "delegate", "lift-lockdown", "breakglass", "operate"];
const RESOURCES: [(&str, &str); 9] = [
    ("securebucket.io", "securebuckets"),
    ("securebucket.io", "securebuckets/status"),
    ("securebucket.io", "decryptgrants"),
    ("securebucket.io", "decryptgrants/status"),
    ("securebucket.io", "grantreviews"),
    ("securebucket.io", "grantreviews/status"),
    ("", "configmaps"),
    ("", "secrets"),
    ("", "serviceaccounts/token"),
];

const OURS: [&str; 6] = [
    "securebuckets",
    "securebuckets/status",
    "decryptgrants",
    "decryptgrants/status",
    "grantreviews",
    "grantreviews/status",
];

/// Resource → verbs.
type Rights = BTreeMap<&'static str, BTreeSet<&'static str>>;

fn rights(table: &[(&'static str, &[&'static str])]) -> Rights {
    table.iter().map(|(resource, verbs)| (*resource, verbs.iter().copied().chain(READ).collect())).collect()
}

fn expected() -> Vec<(&'static str, Rights)> {
    vec![
        ("securebucket-requester", rights(&[("decryptgrants", &["create", "delete"]), ("configmaps", &[])])),
        ("securebucket-approver", rights(&[("securebuckets", &["approve"]), ("grantreviews", &["create"])])),
        (
            "securebucket-owner",
            rights(&[
                ("securebuckets", &["create", "update", "patch", "delete", "delegate", "approve", "revoke"]),
                ("decryptgrants", &[]),
                ("grantreviews", &["create", "delete"]),
                ("configmaps", &[]),
            ]),
        ),
        (
            "securebucket-responder",
            rights(&[
                ("securebuckets", &["update", "patch", "revoke", "lift-lockdown", "breakglass"]),
                ("decryptgrants", &[]),
                ("grantreviews", &["create"]),
            ]),
        ),
        ("securebucket-auditor", rights(&[("securebuckets", &[]), ("decryptgrants", &[]), ("grantreviews", &[])])),
        ("securebucket-viewer", rights(&[("securebuckets", &[]), ("decryptgrants", &[]), ("grantreviews", &[])])),
    ]
}

/// What somebody may in the namespace of the world to whom these ClusterRoles are bound there.
async fn found(world: &World, roles: &[&str]) -> Rights {
    let person = Person::named(&format!("has-{}", roles[0]));
    for role in roles {
        bind(world, role, &person, &world.namespace).await;
    }
    let api: Api<SubjectAccessReview> = Api::all(world.client.clone());
    let questions = RESOURCES.iter().flat_map(|(group, resource)| {
        READ.iter().chain(&WRITE).chain(&VIRTUAL).map(move |verb| (*group, *resource, *verb))
    });
    let answers = futures::future::join_all(questions.map(|(group, resource, verb)| {
        let (api, user) = (api.clone(), person.username.clone());
        let (name, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = ResourceAttributes {
            group: Some(group.into()),
            resource: Some(name.into()),
            subresource: Some(subresource.into()),
            verb: Some(verb.into()),
            namespace: Some(world.namespace.clone()),
            ..Default::default()
        };
        async move {
            let spec = SubjectAccessReviewSpec {
                user: Some(user),
                resource_attributes: Some(attributes),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            let answer = api.create(&PostParams::default(), &review).await.unwrap();
            answer.status.unwrap().allowed.then_some((resource, verb))
        }
    }));
    let mut rights = Rights::new();
    for (resource, verb) in answers.await.into_iter().flatten() {
        rights.entry(resource).or_default().insert(verb);
    }
    rights
}

#[tokio::test]
async fn each_role_of_the_chart_holds_this_and_nothing_else() {
    let world = World::new("atkroles").await;
    let rendered = chart::of_kind::<ClusterRole>(&chart::render(world.stack, &[]), "ClusterRole");
    let shipped: BTreeSet<&str> = rendered.iter().filter_map(|r| r.metadata.name.as_deref()).collect();
    let known = expected().into_iter().map(|(role, _)| role).chain(["securebucket"]).collect();
    assert_eq!(shipped, known, "a role without a row in this matrix");
    for (role, expected) in expected() {
        assert_eq!(found(&world, &[role]).await, expected, "{role}");
    }
}

/// `view`, `edit` and `admin` collect the rules of labelled roles, and of one another. No controller does it here, so their parts are bound one by one.
#[tokio::test]
async fn built_in_roles_decide_nothing() {
    let world = World::new("atkbuiltin").await;
    let all = Api::<ClusterRole>::all(world.client.clone()).list(&ListParams::default()).await.unwrap().items;
    let labelled = |target: &str| {
        let key = format!("rbac.authorization.k8s.io/aggregate-to-{target}");
        let with = all.iter().filter(|r| r.metadata.labels.iter().flatten().any(|(k, v)| *k == key && v == "true"));
        // Those that are made of others have no rules of their own.
        let own = with.filter(|r| r.rules.as_ref().is_some_and(|rules| !rules.is_empty()));
        own.filter_map(|r| r.metadata.name.as_deref()).collect::<Vec<&str>>()
    };
    let mut parts: Vec<&str> = Vec::new();
    for role in ["view", "edit", "admin"] {
        parts.extend(labelled(role));
        assert!(parts.contains(&"securebucket-viewer"), "{parts:?}");
        let found = found(&world, &parts).await;
        assert!(
            found["configmaps"].contains("get") && (role == "view" || found["secrets"].contains("create")),
            "{role}"
        );
        for (resource, verbs) in found.iter().filter(|(resource, _)| OURS.contains(resource)) {
            assert_eq!(*verbs, READ.into_iter().collect(), "{role}: {resource}");
        }
    }
}
