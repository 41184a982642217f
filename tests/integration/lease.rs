//! Two operators and one lease: one leads, and when it goes the other takes over.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;

use crate::support::chart::RELEASE;
use crate::support::operator::End;
use crate::support::wait::poll;
use crate::support::{Operator, World};

async fn holder(world: &World) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(world.client.clone(), world.operator_namespace());
    api.get_opt(RELEASE).await.unwrap().and_then(|l| l.spec).and_then(|s| s.holder_identity).filter(|h| !h.is_empty())
}

pub async fn led_by(world: &World, who: &str) {
    let leads = || async { (holder(world).await.as_deref() == Some(who)).then_some(()) };
    world.until(&format!("{who} leads"), leads).await;
}

/// Calls that only a leader makes.
fn worked(operator: &Operator) -> usize {
    operator.journal().all().iter().filter(|e| e.operation.name != "AssumeRoleWithWebIdentity").count()
}

#[tokio::test]
async fn one_leads_and_the_other_takes_over_when_it_is_killed() {
    let world = World::new("lease").await;
    let first = world.operator().lease("first").start();
    led_by(&world, "first").await;
    let second = world.operator().lease("second").start();
    world.apply_bucket("one", json!({})).await;
    world.bucket_ready("one").await;
    assert_eq!(worked(&second), 0, "a standby asks AWS nothing");
    assert_eq!(second.kube_journal().all().iter().filter(|e| e.request.resource != "leases").count(), 0);
    assert!(!second.has_ended());
    first.kill().await;
    world.apply_bucket("two", json!({})).await;
    led_by(&world, "second").await;
    world.bucket_ready("two").await;
    assert!(worked(&second) > 0);
    assert_eq!(second.journal().count("CreateKey"), 1, "what the first did is not done again");
    assert_eq!(world.keys().await.len(), 2);
}

#[tokio::test]
async fn one_that_stops_hands_the_lease_over_at_once() {
    let world = World::new("handover").await;
    let first = world.operator().lease("first").start();
    led_by(&world, "first").await;
    let second = world.operator().lease("second").start();
    world.apply_bucket("one", json!({})).await;
    world.bucket_ready("one").await;
    assert_eq!(first.stop().await, End::Stopped);
    led_by(&world, "second").await;
    world.apply_bucket("two", json!({})).await;
    world.bucket_ready("two").await;
    assert_eq!(second.stop().await, End::Stopped);
    assert_eq!(holder(&world).await, None, "nobody leads");
}

#[tokio::test]
async fn one_that_loses_its_lease_ends() {
    let world = World::new("stolen").await;
    let first = world.operator().lease("first").start();
    led_by(&world, "first").await;
    let api: Api<Lease> = Api::namespaced(world.client.clone(), world.operator_namespace());
    let thief = json!({"spec": {"holderIdentity": "thief", "leaseTransitions": 7}});
    api.patch(RELEASE, &Default::default(), &kube::api::Patch::Merge(thief)).await.unwrap();
    let ended = || async { first.has_ended().then_some(()) };
    assert!(poll(ended).await.is_some(), "it goes on without its lease:\n{}", world.dump().await);
    match first.ended().await {
        End::Failed(why) => assert!(why.contains("lease") || why.contains("lead"), "{why}"),
        other => panic!("{other:?}"),
    }
}
