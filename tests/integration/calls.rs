//! How many AWS calls things cost: one SecureBucket with one duty, as the comparison in docs/ has it. Printed with `--nocapture`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::hooks::{AwsNext, aws_hook};
use crate::support::journal::{Entry, depth};
use crate::support::{Operator, World};

/// Added to each call, so that what waits for an answer can be told from what does not.
const LATENCY: Duration = Duration::from_millis(40);
/// Time between two checks; far longer than a check takes.
const EVERY: Duration = Duration::from_secs(6);

fn spec() -> Value {
    let entry = json!({"name": "a", "duty": "Producer", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/"]});
    json!({"access": [entry]})
}

/// Bursts of calls: what lies closer together than half the time between two checks.
fn bursts(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut all: Vec<Vec<Entry>> = Vec::new();
    for entry in entries {
        match all.last_mut() {
            Some(burst) if entry.sent.duration_since(burst[burst.len() - 1].sent) < EVERY / 2 => burst.push(entry),
            _ => all.push(vec![entry]),
        }
    }
    all
}

fn start(world: &World) -> Operator {
    let slow = aws_hook(|_, request, next: AwsNext| async move {
        tokio::time::sleep(LATENCY).await;
        next.send(request).await
    });
    world.operator().drift_check(EVERY).aws_hook(slow).start()
}

fn reads(entries: &[Entry]) -> usize {
    entries.iter().filter(|e| !e.operation.write).count()
}

#[tokio::test]
async fn one_bucket_with_one_role() {
    let world = World::new("calls").await;
    world.service_account("app").await;
    let operator = start(&world);
    let working = || async { operator.log().text().contains("working").then_some(()) };
    world.until("the operator works", working).await;
    let journal = operator.journal().clone();

    let mark = journal.mark();
    world.apply_bucket("data", spec()).await;
    world.bucket_ready("data").await;
    let created = bursts(journal.since(mark)).remove(0);

    // Passes in hand are finished by a graceful end, so that only whole checks are counted.
    let mark = journal.mark();
    let checks = || async { (journal.count("GetBucketPolicy") >= 4 && journal.count("GetRole") >= 5).then_some(()) };
    world.until("three checks", checks).await;
    operator.stop().await;
    let (iam, rest): (Vec<Entry>, Vec<Entry>) =
        journal.since(mark).into_iter().partition(|e| e.operation.service == "iam");
    let per_bucket = rest.len() / rest.iter().filter(|e| e.operation.name == "GetBucketPolicy").count();
    let per_role = iam.len() / iam.iter().filter(|e| e.operation.name == "GetRole").count();
    let written = rest.iter().chain(&iam).filter(|e| e.operation.write).count();
    let deepest = bursts(rest).iter().chain(&bursts(iam)).map(|b| depth(b)).max().unwrap_or(0);

    println!();
    println!("AWS calls of one SecureBucket with one duty     calls  writes  round trips");
    println!(
        "  create                                      {:7} {:7} {:12}",
        created.len(),
        created.len() - reads(&created),
        depth(&created)
    );
    println!("  check, in sync                              {:7} {:7} {:12}", per_bucket + per_role, written, deepest);
    println!("    of them the bucket and its key            {per_bucket:7}");
    println!("    of them the role                          {per_role:7}");
    println!("  change that concerns nobody                 {:7} {:7} {:12}", 0, 0, 0);

    assert!(per_bucket + per_role <= 16, "a check takes {} reads", per_bucket + per_role);
    assert_eq!(written, 0, "a check writes nothing");
    assert!(deepest <= 2, "a check is {deepest} round trips deep");
    assert!(created.len() <= 45, "creation takes {} calls", created.len());
}
