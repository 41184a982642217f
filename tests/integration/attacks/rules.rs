//! Rules of a bucket that say nothing, or never come to an end, and requests that would have a rule approve what it was not written for.

use securebucket::admission::Subject;
use securebucket::api::condition::{find, is_true};
use serde_json::{Value, json};

use super::{Person, ask, asked_anew, bind, create, taken, while_away, with_policies_of_its_own};
use crate::support::World;
use crate::support::wait::{grant_conditions, state};
use crate::support::world::grant_spec;

async fn bucket(world: &World, grants: Value) {
    world.apply_bucket("data", json!({"grants": grants})).await;
}

/// Ten kilobytes of work for each of its sixteen rules, if nothing cut them off: each step doubles what the one before made.
fn endless() -> Vec<Value> {
    let double = format!("[1]{0} == [1]{0}", ".map(x,[x,x])".repeat(30));
    let nested =
        format!("[{0}].all(a, [{0}].all(b, a != b || request.reason.matches('(x+x+)+y')))", vec!["1"; 80].join(","));
    let rule =
        |n: u32| json!({"name": format!("r{n}"), "expression": if n.is_multiple_of(2) { &double } else { &nested }});
    (0..16).map(rule).collect()
}

#[tokio::test]
async fn a_rule_that_errs_or_runs_long_lets_nobody_in_and_holds_nobody_up() {
    let world = World::new("atkrule").await;
    let operator = world.operator().start();
    world.service_account("reports").await;
    bucket(&world, json!({})).await;
    world.bucket_ready("data").await;
    world.apply_bucket("other", json!({"grants": {"approvals": 0}})).await;
    world.bucket_ready("other").await;
    let (ns, alice) = (world.namespace.clone(), Person::named("alice"));
    bind(&world, "securebucket-requester", &alice, &ns).await;
    let client = alice.client(&world).await;

    for (name, expression, words) in [
        ("errs", "request.ticket == 'x'", "there is no ticket in this request"),
        ("types", "request.duration == '1h'", "cannot be compared"),
        ("none", "request.", "ends too early"),
        ("no-bool", "request.reason", "not true or false"),
    ] {
        bucket(&world, json!({"approvals": 1, "autoApprove": [{"name": name, "expression": expression}]})).await;
        taken(ask(&client, &ns, &format!("auto-{name}"), alice.stamp()).await);
        let told = |g: &securebucket::api::DecryptGrant| {
            let active = find(grant_conditions(g), "Active");
            active.is_some_and(|c| c.reason == "AwaitingApproval" && c.message.contains(words))
        };
        let grant = world.grant_when(&format!("auto-{name}"), words, told).await;
        assert!(!is_true(grant_conditions(&grant), "Approved"));
        bucket(&world, json!({"approvals": 0, "deny": [{"name": name, "expression": expression}]})).await;
        taken(ask(&client, &ns, &format!("deny-{name}"), alice.stamp()).await);
        let grant = world.grant_state(&format!("deny-{name}"), "Denied").await;
        let denied = find(grant_conditions(&grant), "Denied").unwrap();
        assert!(denied.reason == "DeniedByPolicy" && denied.message.contains(words), "{denied:?}");
    }

    bucket(&world, json!({"approvals": 1, "deny": [], "autoApprove": endless()})).await;
    for n in 0..6 {
        taken(ask(&client, &ns, &format!("long-{n}"), alice.stamp()).await);
    }
    // Others do not wait for it.
    let mut spec = grant_spec("other", "reports", &["in/"], "1h");
    spec["requester"] = alice.stamp();
    taken(create(&client, &ns, "DecryptGrant", "beside", spec).await);
    world.grant_active("beside").await;
    // Too many are open on `data` by now for one ServiceAccount, which is as good: none of them is in.
    for n in 0..6 {
        let grant = world.grant_when(&format!("long-{n}"), "it was looked at", |g| !state(g).is_empty()).await;
        assert!(!is_true(grant_conditions(&grant), "Approved"), "long-{n}");
    }
    assert_eq!(operator.journal().count("CreateGrant"), 1);
}

/// A rule approves for alice. Whoever asks in her name is refused; while nothing refuses that, no rule approves.
#[tokio::test]
async fn a_request_that_was_made_while_a_binding_was_away_is_approved_by_no_rule() {
    let world = with_policies_of_its_own("atkauto").await;
    let operator = world.operator().start();
    world.service_account("reports").await;
    let rule = json!([{"name": "alice", "expression": "request.requester.username == 'alice'"}]);
    bucket(&world, json!({"approvals": 1, "autoApprove": rule})).await;
    world.bucket_ready("data").await;
    let (ns, alice, mallory) = (world.namespace.clone(), Person::named("alice"), Person::named("mallory"));
    for person in [&alice, &mallory] {
        bind(&world, "securebucket-requester", person, &ns).await;
    }
    let client = mallory.client(&world).await;
    super::refused(ask(&client, &ns, "forged", alice.stamp()).await, "requester", &["username: \"mallory\""]);

    while_away(&world, Subject::Requester, || ask(&client, &ns, "forged", alice.stamp())).await;
    let grant = world.grant_state("forged", "ApprovalNotEnforced").await;
    assert!(!is_true(grant_conditions(&grant), "Approved"));
    assert_eq!(operator.journal().count("CreateGrant"), 0);

    // By herself, once the binding is older than what she asks for.
    let own = asked_anew(&world, &alice, &["Granting", "Granted"]).await;
    world.grant_active(own.metadata.name.as_deref().unwrap()).await;
}
