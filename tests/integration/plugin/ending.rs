//! `lockdown` and `lift`.

use securebucket::api::SecureBucket;
use securebucket::api::condition::{is_true, types};
use securebucket::api::lockdown::LockdownLevel;
use serde_json::json;

use super::Play;
use crate::attacks::bind;
use crate::support::person::Person;
use crate::support::wait::conditions;

#[tokio::test]
async fn carol_closes_and_opens() {
    let play = Play::new("pluglock", json!({"approvals": 0})).await;
    let Play { world, alice, mallory, asks, .. } = &play;
    let carol = Person::named("carol").uid("u-carol");
    bind(world, "securebucket-responder", &carol, &world.namespace).await;
    world.plugin(alice, &play.ask("--name g --wait")).with(0, &["granted until"]);
    world.plugin(&carol, "lift data --id 0000").refused(&["is not locked down"]);

    let line = "lockdown data --reason 'leaked laptop'";
    world.plugin(mallory, line).refused(&["mallory", "securebucket-responder"]);
    world.plugin(&carol, &format!("{line} --dry-run=server")).with(0, &["locked down (server dry run)"]);
    world.plugin(&carol, "lockdown other --reason 'leaked laptop'").refused(&["there is no SecureBucket"]);
    assert!(world.buckets().get("data").await.unwrap().spec.lockdown.is_none());
    let said = world.plugin(&carol, &format!("{line} --wait")).with(0, &["closed: read back from AWS"]);
    let latch = world.buckets().get("data").await.unwrap().status.unwrap().lockdown.unwrap();
    let id = latch.id.as_str();
    assert_eq!(said.out, format!("securebucket.securebucket.io/data locked down, id {id}\n"));
    assert!(said.err.contains(&format!("kubectl securebucket lift data -n {} --id {id}", world.namespace)), "{said:?}");
    assert_eq!((latch.level, latch.reason.as_str()), (LockdownLevel::Reads, "leaked laptop"));
    let ended = |g: &securebucket::api::DecryptGrant| crate::support::wait::state(g) == "LockedDown";
    world.object_when(&world.grants_in(asks), "g", "ended by the lockdown", ended).await;

    // Who looks is told.
    let nobody = |b: &SecureBucket| b.status.as_ref().unwrap().access.is_empty();
    world.bucket_when("data", "nobody is listed", nobody).await;
    world.plugin(&carol, "who-can data").with(0, &["locked down since", "nobody can decrypt"]);
    let said = world.plugin(&carol, "why sbkt/data");
    said.with(0, &["LockedDown", "leaked laptop", &format!("--id {id}"), "may do that"]);
    world.plugin(alice, &format!("why g -n {asks}")).with(0, &["LockedDown", "ask anew", "may do that"]);

    // Raised, and lifted by who names it.
    let level = |b: &SecureBucket| b.status.as_ref().unwrap().lockdown.as_ref().unwrap().level == LockdownLevel::All;
    world.plugin(&carol, &format!("{line} --level All")).with(0, &[id]);
    world.bucket_when("data", "raised", level).await;
    let lift = format!("lift data --id {}", &id[..4]);
    world.plugin(mallory, &lift).refused(&["mallory"]);
    let said = world.plugin(&carol, "lift data");
    said.with(2, &["--id", &format!("→ kubectl securebucket lift data -n {} --id {id}", world.namespace)]);
    world.plugin(&carol, "lift data --id 0000000").refused(&["is not the lockdown in force", id]);
    world.plugin(&carol, &format!("lift data --id {}", &id[..3])).refused(&["is not the lockdown in force"]);
    // Only who may lift: an owner may lock down, and not more.
    let olga = Person::named("olga");
    bind(world, "securebucket-owner", &olga, &world.namespace).await;
    world.plugin(&olga, &lift).refused(&["lift-lockdown", "securebucket-responder"]);
    assert!(world.buckets().get("data").await.unwrap().spec.lockdown.is_some());

    let said =
        world.plugin(&carol, &format!("{lift} --wait")).with(0, &["open: read back from AWS", "take it out in Git"]);
    assert_eq!(said.out, format!("securebucket.securebucket.io/data lifting lockdown {id}\n"));
    let bucket = world.buckets().get("data").await.unwrap();
    assert!(bucket.spec.lockdown.is_none() && !is_true(conditions(&bucket), types::LOCKED_DOWN));
    world.plugin(&carol, "who-can data").with(0, &["etl"]);
}
