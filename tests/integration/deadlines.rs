//! What is over goes out of AWS before anything is made there, and a removal that does not succeed is said loudly and tried for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::result::ConnectorError;
use kube::api::DeleteParams;
use securebucket::api::condition::{find, types};
use serde_json::json;

use crate::scene::{Scene, spec};
use crate::support::hooks::{AwsNext, aws_hook};
use crate::support::journal::Entry;
use crate::support::wait::grant_conditions;

fn makes(entry: &Entry) -> bool {
    entry.operation.name.starts_with("Create")
}

/// The calls that took a grant of `account` out of AWS were answered before the first was sent that makes anything.
async fn ends_came_first(scene_name: &str, by_date: bool) {
    let scene = Scene::new(scene_name).await;
    scene.world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "content").await.allowed();
    if by_date {
        scene.short_grant("g", &["in/"]).await;
    } else {
        scene.world.ask("g", "data", "reports", "in/", "1h").await;
        scene.world.grant_active("g").await;
    }
    let Scene { world, ids, operator, .. } = scene;
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    operator.kill().await;
    if by_date {
        let refused = || async { reports.get(&ids.bucket, "in/x").await.is_denied().then_some(()) };
        world.until("reading ends with nobody there to end it", refused).await;
    } else {
        world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    }
    for name in ["a", "b", "c"] {
        world.apply_bucket(name, spec()).await;
    }
    world.service_account("other").await;
    world.ask("new", "data", "other", "in/", "1h").await;

    let operator = world.operator().start();
    for name in ["a", "b", "c"] {
        world.bucket_ready(name).await;
    }
    world.grant_active("new").await;
    if by_date {
        drop(world.grant_removed("g").await)
    } else {
        world.gone(&world.grants(), "g").await
    }
    reports.get(&ids.bucket, "in/x").await.denied();
    world.workload("other").await.get(&ids.bucket, "in/x").await.allowed();

    let all = operator.journal().all();
    let made = all.iter().find(|e| makes(e)).expect("something was made").sent;
    let role = world.role_name("reports");
    let narrows = |e: &Entry| {
        e.operation.name == "RevokeGrant"
            || e.operation.name == "PutRolePolicy" && e.body.as_deref().is_some_and(|b| b.contains(&role))
    };
    let mut ends = ["PutRolePolicy", "RevokeGrant"].map(|name| {
        let end = all.iter().find(|e| e.operation.name == name && narrows(e));
        end.unwrap_or_else(|| panic!("no {name}")).answered.unwrap()
    });
    ends.sort();
    assert!(ends[1] < made, "something was made before {:?} was over: {all:#?}", ends[1] - made);
}

#[tokio::test]
async fn after_a_down_time_what_expired_goes_before_anything_is_made() {
    ends_came_first("downdate", true).await;
}

#[tokio::test]
async fn after_a_down_time_what_was_handed_back_goes_before_anything_is_made() {
    ends_came_first("downback", false).await;
}

#[tokio::test]
async fn a_removal_that_does_not_succeed_is_told_once_and_tried_until_it_does() {
    let broken = Arc::new(AtomicBool::new(true));
    let hook = {
        let broken = Arc::clone(&broken);
        aws_hook(move |operation, request, next: AwsNext| {
            let fails = operation.name == "RevokeGrant" && broken.load(Ordering::Relaxed);
            async move {
                if fails {
                    Err(ConnectorError::io("injected: the connection broke".into()))
                } else {
                    next.send(request).await
                }
            }
        })
    };
    let scene = Scene::with("overdue", |operator| operator.serving().aws_hook(hook)).await;
    let Scene { world, ids, operator, .. } = &scene;
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("g").await;
    operator.metric_is("securebucket_grant_activation_seconds_count", 1.0).await;
    assert_eq!(operator.metric("securebucket_grants_overdue").await, 0.0);
    world.grants().delete("g", &DeleteParams::default()).await.unwrap();
    let event = world.event("g", "RemovalOverdue", "not proved yet").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let says = |g: &securebucket::api::DecryptGrant| {
        let ready = find(grant_conditions(g), types::READY);
        ready.is_some_and(|c| c.status == "False" && c.message.contains("the removal is overdue since"))
    };
    let grant = world.grant_when("g", "its condition says so", says).await;
    assert!(grant.metadata.deletion_timestamp.is_some(), "and the finalizer holds");
    assert!(grant.status.unwrap().removal.is_none());
    assert_eq!(world.kms_grants(&ids.key).await.len(), 1);
    operator.metric_is("securebucket_grants_overdue", 1.0).await;
    assert!(operator.metric("securebucket_grants_overdue_oldest_seconds").await >= 60.0);
    assert_eq!(operator.metric("securebucket_grant_revocation_lag_seconds_count").await, 0.0);
    let tried = operator.journal().count("RevokeGrant");
    let again = || async { (operator.journal().count("RevokeGrant") > tried).then_some(()) };
    world.until("it is tried again", again).await;

    broken.store(false, Ordering::Relaxed);
    world.gone(&world.grants(), "g").await;
    assert_eq!(world.kms_grants(&ids.key).await, []);
    world.event("g", "GrantRemoved", "removal verified").await;
    operator.metric_is("securebucket_grants_overdue", 0.0).await;
    operator.metric_is("securebucket_grant_revocation_lag_seconds_count", 1.0).await;
    assert!(operator.metric("securebucket_grant_revocation_lag_seconds_sum").await >= 60.0);
    for clock in ["aws", "kubernetes"] {
        let skew = operator.metric(&format!("securebucket_clock_skew_seconds{{against=\"{clock}\"}}")).await;
        assert!(skew.abs() < 30.0, "{clock}: {skew}");
    }
    let told = world.events("g").await.into_iter().filter(|e| e.reason.as_deref() == Some("RemovalOverdue"));
    assert_eq!(told.count(), 1, "{}", json!(world.events("g").await));
}
