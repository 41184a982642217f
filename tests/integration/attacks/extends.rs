//! Extensions as a way to more: somebody else's grant, another's approval, and time without end.

use kube::api::DeleteParams;
use securebucket::api::condition::{find, is_true};
use serde_json::{Value, json};

use super::{Person, bind, create, taken};
use crate::support::World;
use crate::support::wait::grant_conditions;
use crate::support::world::grant_spec;

fn extending(person: &Person, account: &str, name: &str, duration: &str) -> Value {
    let mut spec = grant_spec("data", account, &["in/"], duration);
    spec["requester"] = person.stamp();
    if !name.is_empty() {
        spec["extends"] = json!({"name": name});
    }
    spec
}

async fn denied(world: &World, name: &str, words: &str) {
    let grant = world.grant_state(name, "Denied").await;
    let message = &find(grant_conditions(&grant), "Active").unwrap().message;
    assert!(message.contains(words) && !is_true(grant_conditions(&grant), "Active"), "{message}");
}

#[tokio::test]
async fn an_extension_gives_nothing_that_a_request_would_not() {
    let world = World::new("atkextend").await;
    let operator = world.operator().start();
    let (ns, alice, mallory) = (world.namespace.clone(), Person::named("alice"), Person::named("mallory"));
    for account in ["reports", "mallorys"] {
        world.service_account(account).await;
    }
    for person in [&alice, &mallory] {
        bind(&world, "securebucket-requester", person, &ns).await;
    }
    world.apply_bucket("data", json!({"grants": {"approvals": 0, "maxDuration": "1h"}})).await;
    world.bucket_ready("data").await;
    let client = alice.client(&world).await;
    let ask = |name: &'static str, spec: Value| create(&client, &ns, "DecryptGrant", name, spec);
    taken(ask("own", extending(&alice, "reports", "", "15m")).await);
    world.grant_active("own").await;
    // Of somebody else's subject: his own ServiceAccount on the back of hers.
    let spec = extending(&mallory, "mallorys", "own", "20m");
    taken(create(&mallory.client(&world).await, &ns, "DecryptGrant", "foreign", spec).await);
    denied(&world, "foreign", "another ServiceAccount").await;
    // Beyond the ceiling, at once and step by step.
    taken(ask("hour", extending(&alice, "reports", "own", "1h")).await);
    denied(&world, "hour", "maxDuration").await;
    taken(ask("step", extending(&alice, "reports", "own", "55m")).await);
    world.grant_active("step").await;
    taken(ask("step-on", extending(&alice, "reports", "step", "1h")).await);
    denied(&world, "step-on", "maxDuration").await;
    // After the chain has been broken and its first grant made anew under the name.
    world.grants().delete("own", &DeleteParams::default()).await.unwrap();
    let gone = || async { world.grants().get_opt("own").await.unwrap().is_none().then_some(()) };
    assert!(crate::support::wait::poll(gone).await.is_some(), "handed back");
    taken(ask("own", extending(&alice, "reports", "own", "15m")).await);
    denied(&world, "own", "is this grant itself").await;
    taken(ask("after", extending(&alice, "reports", "own", "15m")).await);
    denied(&world, "after", "is over").await;
    assert_eq!(operator.journal().count("CreateGrant"), 2);
}
