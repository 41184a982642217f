//! What stays of a grant that is over, and for how long; and a cluster that is put back to an earlier day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::ResourceExt;
use kube::api::PostParams;
use securebucket::api::condition::{is_true, types};
use securebucket::api::decrypt_grant::EndReason;

use crate::scene::Scene;
use crate::support::hooks::{aws_hook, kube_hook};
use crate::support::journal::Entry;
use crate::support::wait::{grant_conditions, state};

/// How long a record is kept in these tests.
const KEPT: Duration = Duration::from_secs(3);

/// Waits until the log says that the record of this grant went: it says so after the fact.
async fn forgotten(scene: &Scene, uid: &str) {
    let log = || scene.operator.log().text();
    let told = || async { log().lines().any(|l| l.contains("GrantForgotten") && l.contains(uid)).then_some(()) };
    scene.world.until("its end is in the log", told).await;
}

#[tokio::test]
async fn a_record_is_kept_and_then_deleted() {
    // Long enough for the test to see it.
    let kept = Duration::from_secs(10);
    let scene = Scene::with("kept", |o| o.config(|c| c.timing.grant_history = kept)).await;
    let Scene { world, operator, .. } = &scene;
    scene.short_grant("g", &["in/"]).await;
    world.ask("refused", "data", "nobody", "in/", "1h").await;
    world.grant_state("refused", "ServiceAccountNotFound").await;
    let removed = world.grant_removed("g").await;
    let uid = removed.uid().unwrap();
    world.gone(&world.grants(), "g").await;
    let proved: jiff::Timestamp = removed.status.unwrap().removal.unwrap().verified_at.parse().unwrap();
    assert!(world.now().duration_since(proved) >= kept.try_into().unwrap(), "not before its time");
    forgotten(&scene, &uid).await;
    let log = operator.log().text();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("GrantForgotten")).collect();
    assert!(lines.len() == 1 && lines[0].contains(&uid), "{lines:?}");
    // One that is not over is not old.
    world.grant_state("refused", "ServiceAccountNotFound").await;
    // Made anew under the name it is another request, with its own approval.
    let mut spec = crate::scene::spec();
    spec["grants"]["approvals"] = 1.into();
    world.apply_bucket("data", spec).await;
    world.bucket_ready("data").await;
    world.ask("g", "data", "reports", "in/", "1h").await;
    let grant = world.grant_state("g", "AwaitingApproval").await;
    assert!(grant.uid().unwrap() != uid && !is_true(grant_conditions(&grant), types::APPROVED));
}

#[tokio::test]
async fn a_record_whose_deletion_is_not_answered_is_in_the_log_all_the_same() {
    let hook = kube_hook(|what, request, next| async move {
        let deletes = what.method == http::Method::DELETE && what.resource == "decryptgrants";
        let answer = next.send(request).await;
        if deletes { Err(kube::Error::Service("the test lets no answer through".into())) } else { answer }
    });
    let scene = Scene::with("lost", |o| o.config(|c| c.timing.grant_history = KEPT).kube_hook(hook)).await;
    let (grant, _) = scene.short_grant("g", &["in/"]).await;
    scene.world.gone(&scene.world.grants(), "g").await;
    forgotten(&scene, &grant.uid().unwrap()).await;
    let lines = scene.operator.log().text().lines().filter(|l| l.contains("GrantForgotten")).count();
    assert_eq!(lines, 1);
}

#[tokio::test]
async fn a_record_never_goes_before_its_removal_was_read_back() {
    let blind = Arc::new(AtomicBool::new(false));
    let shut = Arc::clone(&blind);
    let hook = aws_hook(move |operation, request, next| {
        let shut = shut.load(Ordering::Relaxed) && operation.name == "ListGrants";
        async move {
            if shut {
                let error = std::io::Error::other("the test lets nobody look");
                return Err(aws_smithy_runtime_api::client::result::ConnectorError::io(error.into()));
            }
            next.send(request).await
        }
    });
    let scene = Scene::with("unproved", |o| o.config(|c| c.timing.grant_history = KEPT).aws_hook(hook)).await;
    let Scene { world, ids, .. } = &scene;
    let (grant, _) = scene.short_grant("g", &["in/"]).await;
    blind.store(true, Ordering::Relaxed);
    world.grant_when("g", "over", |g| g.status.as_ref().is_some_and(|s| s.ended.is_some())).await;
    let end: jiff::Timestamp = grant.status.unwrap().expires_at.unwrap().parse().unwrap();
    let late = || async { (world.now().duration_since(end).as_secs() > 8).then_some(()) };
    world.until("long after a record would have gone", late).await;
    let grant = world.grants().get("g").await.unwrap();
    assert!(grant.metadata.deletion_timestamp.is_none() && grant.status.unwrap().removal.is_none());
    blind.store(false, Ordering::Relaxed);
    world.gone(&world.grants(), "g").await;
    assert_eq!(world.kms_grants(&ids.key).await, []);
}

#[tokio::test]
async fn every_decision_is_a_line_in_the_log() {
    let scene = Scene::with("lines", |o| o.config(|c| c.timing.grant_history = KEPT)).await;
    let Scene { world, operator, ids, .. } = &scene;
    let (grant, _) = scene.short_grant("g", &["in/"]).await;
    world.ask("refused", "data", "nobody", "in/", "1h").await;
    world.grant_state("refused", "ServiceAccountNotFound").await;
    world.gone(&world.grants(), "g").await;
    forgotten(&scene, &grant.uid().unwrap()).await;
    let log = operator.log().text();
    let terms = grant.status.clone().unwrap().resolved.unwrap().terms_hash;
    let decisions = [
        ("GrantRequested", false),
        ("GrantApproved", false),
        ("GrantWindowOpened", true),
        ("GrantIssued", true),
        ("GrantActivated", true),
        ("GrantExpired", true),
        ("GrantRemoved", true),
        ("GrantForgotten", true),
    ];
    for (decision, ends) in decisions {
        let about = |l: &&str| l.contains(&format!("decision=\"{decision}\"")) && l.contains(&grant.uid().unwrap());
        let lines: Vec<&str> = log.lines().filter(about).collect();
        assert_eq!(lines.len(), 1, "{decision}: {lines:?}\n{}", operator.log().tail(60));
        let line = lines[0];
        let subject = format!("subject=\"{}/reports\"", world.namespace);
        let bucket = format!("bucket={}/data", world.namespace);
        for part in [subject.as_str(), &bucket, "prefixes=\"in/\"", "reason=\"integration test\"", "why=\""] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let known = decision != "GrantRequested";
        assert_eq!(line.contains(&terms) && line.contains(&ids.bucket), known, "{line}");
        assert_eq!(line.contains(grant.status.as_ref().unwrap().expires_at.as_ref().unwrap()), ends, "{line}");
    }
    let stalled = |l: &&str| l.contains("decision=\"GrantStalled\"") && l.contains("ServiceAccountNotFound");
    assert_eq!(log.lines().filter(stalled).count(), 1, "said once, and not in every pass");
}

/// etcd is restored to the moment before a revoke: status says that all is well.
#[tokio::test]
async fn a_restore_to_the_moment_before_a_revoke_grants_nothing() {
    let Scene { world, ids, operator, .. } = Scene::watched("restore").await;
    for key in ["in/x", "in/y/x"] {
        world.workload("ingest").await.put(&ids.bucket, key, "content").await.allowed();
    }
    // Another grant of the same ServiceAccount on the same bucket, whose KMS grant would do for both.
    world.ask("other", "data", "reports", "in/y/", "2h").await;
    world.ask("g", "data", "reports", "in/", "1h").await;
    world.grant_active("other").await;
    let active = world.grant_active("g").await.status.unwrap();
    let reports = world.workload("reports").await;
    reports.get(&ids.bucket, "in/x").await.allowed();
    let id = active.kms_grant.as_ref().and_then(|k| k.id.clone()).unwrap();
    world.root().kms.revoke_grant().key_id(&ids.key).grant_id(id).send().await.unwrap();
    world.grant_removed("g").await;
    reports.get(&ids.bucket, "in/x").await.denied();
    operator.stop().await;

    let mut restored = world.grants().get("g").await.unwrap();
    restored.status = Some(active.clone());
    world.grants().replace_status("g", &PostParams::default(), &restored).await.unwrap();
    assert_eq!(state(&world.grants().get("g").await.unwrap()), "Granted", "status says that it may read");
    let operator = world.operator().start();
    let grant = world.grant_removed("g").await;
    let ended = grant.status.clone().unwrap().ended.unwrap();
    assert_eq!(ended.reason, EndReason::Revoked);
    assert!(ended.message.contains("not issued again"), "{}", ended.message);
    assert!(!is_true(grant_conditions(&grant), types::ACTIVE));
    assert_eq!(operator.journal().count("CreateGrant"), 0);
    reports.get(&ids.bucket, "in/x").await.denied();
    reports.get(&ids.bucket, "in/y/x").await.allowed();
    // Its window was not put back at any moment: it could have been read by through the KMS grant of the other.
    let end = active.expires_at.unwrap().replace(':', "%3A");
    let all = operator.journal().all();
    let put_back =
        |e: &&Entry| e.operation.name == "PutRolePolicy" && e.body.as_ref().is_some_and(|b| b.contains(&end));
    assert_eq!(all.iter().filter(put_back).count(), 0);
}
