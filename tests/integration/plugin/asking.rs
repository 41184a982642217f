//! `request`, `list`, `hand-back`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kube::api::ListParams;
use securebucket::api::DecryptGrant;
use serde_json::{Value, json};

use super::Play;
use crate::attacks::bind;
use crate::support::person::Person;
use crate::support::plugin::Said;
use crate::support::wait::state;

#[tokio::test]
async fn alice_asks_in_her_own_name() {
    let play = Play::new("plugask", json!({"approvals": 1})).await;
    let Play { world, asks, alice, mallory, .. } = &play;
    let said = world.plugin(alice, &play.ask("--ticket OPS-1 --not-before 2026-01-01T00:00:00Z")).with(0, &[]);
    let name = said.out.strip_prefix("decryptgrant.securebucket.io/").unwrap().split(' ').next().unwrap();
    assert!(name.starts_with("reports-") && name.len() == "reports-".len() + 5, "{name}");
    assert_eq!(said.out, format!("decryptgrant.securebucket.io/{name} created, awaiting 1 approval\n"));
    let grant = world.grants_in(asks).get(name).await.unwrap();
    assert_eq!(serde_json::to_value(&grant.spec.requester).unwrap(), alice.stamp());
    let at = &grant.spec.bucket_ref;
    assert_eq!((at.name.as_str(), at.namespace.as_deref()), ("data", Some(world.namespace.as_str())));
    assert_eq!((grant.spec.ticket.as_deref(), grant.spec.reason.as_str()), (Some("OPS-1"), "Q3 report"));
    assert_eq!(grant.spec.not_before.map(|at| at.0).as_deref(), Some("2026-01-01T00:00:00Z"));

    // Somebody whose name is an ARN.
    let dev = Person::named("arn:aws:sts::111122223333:assumed-role/dev/erin").uid("aws-iam-authenticator:AROADEV");
    bind(world, "securebucket-requester", &dev, asks).await;
    let said = world.plugin(&dev, &play.ask("-o json")).with(0, &[]);
    let made: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&made["spec"]["requester"], &made["kind"]), (&dev.stamp(), &json!("DecryptGrant")));
    let said = world.plugin(&dev, &play.ask("--name own -o name"));
    said.exactly("decryptgrant.securebucket.io/own\n");
    world.plugin(&dev, &play.ask("--name own")).refused(&["already exists", "another --name"]);

    // Nothing is written by a dry run, and by nobody who may not.
    let before = world.grants_in(asks).list(&ListParams::default()).await.unwrap().items.len();
    let said = world.plugin(alice, &play.ask("--name dry --dry-run=server"));
    said.exactly("decryptgrant.securebucket.io/dry created (server dry run)\n");
    world.plugin(mallory, &play.ask("")).refused(&["mallory", "securebucket-requester", asks]);
    world.plugin(alice, &play.ask("--prefix in")).refused(&["prefixes", "ends in '/'"]);
    assert_eq!(world.grants_in(asks).list(&ListParams::default()).await.unwrap().items.len(), before);
}

/// With a real token, not by impersonation: `--as` is a right of its own.
#[tokio::test]
async fn nobody_asks_as_somebody_else() {
    let play = Play::new("plugas", json!({"approvals": 1})).await;
    let real = format!("--kubeconfig {} --context alice", play.world.stack.kube.kubeconfig.display());
    let line = play.ask(&format!("{real} -n {} --as bob", play.world.namespace));
    play.world.plugin(&super::admin(), &line).refused(&["cannot impersonate"]);
    // An admin may, and then the request is in bob's name.
    bind(&play.world, "securebucket-requester", &play.bob, &play.asks).await;
    let line = play.ask("--as bob --as-uid u-bob --name bobs -o yaml");
    let said = play.world.plugin(&super::admin(), &line).with(0, &[]);
    let made: Value = serde_saphyr::from_str(&said.out).unwrap();
    assert_eq!(made["spec"]["requester"], play.bob.stamp());
}

#[tokio::test]
async fn waiting_ends_with_access_or_without() {
    let play = Play::new("plugwait", json!({"approvals": 0, "ticketPattern": "OPS-[0-9]+"})).await;
    let Play { world, asks, alice, mallory, .. } = &play;
    let said = world.plugin(alice, &play.ask("--ticket OPS-1 --name good --wait")).with(0, &["granted until"]);
    assert!(said.out.starts_with("decryptgrant.securebucket.io/good created"), "{said:?}");
    world.grant_active_in(asks, "good").await;

    // What needs somebody is not waited for.
    let said = world.plugin(alice, &play.ask("--name bad --wait"));
    said.with(4, &["TicketRequired", "spec.ticket", &format!("→ kubectl securebucket why bad -n {asks}")]);
    let said = world.plugin(alice, &play.ask("--name bad2"));
    said.with(0, &["created, TicketRequired", "→ kubectl securebucket why bad2"]);

    // Access is given back by who may.
    world.plugin(mallory, &format!("hand-back good -n {asks}")).refused(&["mallory"]);
    let said = world.plugin(alice, &format!("hand-back good -n {asks} --dry-run=server"));
    said.exactly("decryptgrant.securebucket.io/good handed back (server dry run)\n");
    assert!(world.grants_in(asks).get("good").await.unwrap().metadata.deletion_timestamp.is_none());
    let said = world.plugin(alice, &format!("hand-back dgrant/good -n {asks} --wait"));
    said.exactly("decryptgrant.securebucket.io/good handed back\n");
    let key = crate::support::facets::ids(&world.bucket_ready("data").await).key;
    assert!(world.kms_grants(&key).await.is_empty());
    // The proof is in status a moment before the object goes.
    world.gone(&world.grants_in(asks), "good").await;
    let again = world.plugin(alice, &format!("hand-back good -n {asks}"));
    again.refused(&["there is no DecryptGrant", &format!("kubectl securebucket list -n {asks}")]);
    world.plugin(alice, &format!("hand-back sbkt/data -n {asks}")).with(2, &["is no DecryptGrant"]);
}

#[tokio::test]
async fn waiting_is_given_up_with_a_code_of_its_own() {
    let play = Play::new("plugctrlc", json!({"approvals": 1})).await;
    let Play { world, asks, alice, .. } = &play;
    let said = world.plugin(alice, &play.ask("--name slow --wait --timeout 2s"));
    let said = said.with(124, &["waiting: awaiting 1 approval", "not within 2 s", "goes on"]);
    assert!(said.err.contains(&format!("→ kubectl securebucket why slow -n {asks}")), "{said:?}");

    let line = format!("exec kubectl-securebucket {}", play.ask("--name stopped --wait"));
    let mut shell = world.shell(alice, &world.namespace, &line);
    let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("waiting: ")), "it ended without waiting");
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    // At once, and not when five minutes are over.
    let begun = Instant::now();
    let mut said = Said::from(child.wait_with_output().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(60));
    said.err = told.collect::<Vec<_>>().join("\n");
    said.with(130, &["interrupted", "goes on", "kubectl securebucket why stopped"]);
    world.grants_in(asks).get("stopped").await.unwrap();
}

#[tokio::test]
async fn lists_for_whoever_may_read() {
    let play = Play::new("pluglist", json!({"approvals": 2})).await;
    let Play { world, asks, alice, bob, mallory, .. } = &play;
    world.plugin(alice, &format!("list -n {asks}")).with(0, &["no DecryptGrants in namespace"]);
    world.plugin(bob, "list --pending").with(0, &["nothing waits for a decision"]);
    world.plugin(alice, &play.ask("--name one --ticket OPS-7")).with(0, &["awaiting 2 approvals"]);
    let said = world.plugin(alice, &format!("list -n {asks}")).with(0, &[]);
    let words: Vec<Vec<&str>> = said.out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "BUCKET", "REQUESTER", "STATE", "EXPIRES", "AGE"]);
    assert_eq!(words[1][..4], ["one", &format!("{}/data", world.namespace), "alice", "AwaitingApproval"]);
    world.plugin(alice, &format!("list -n {asks} -o wide")).with(0, &["SUBJECT", "reports", "Q3 report"]);
    world.plugin(alice, &format!("list -n {asks} -o name")).exactly("decryptgrant.securebucket.io/one\n");
    let said = world.plugin(alice, &format!("list -n {asks} -o json")).with(0, &[]);
    let list: Value = serde_json::from_str(&said.out).unwrap();
    let one: DecryptGrant = serde_json::from_value(list["items"][0].clone()).unwrap();
    assert_eq!((list["kind"].as_str(), one.metadata.name.as_deref()), (Some("List"), Some("one")));

    // Bob sees what waits on his bucket, with no right where it lies; alice sees it there.
    let shown = |b: &securebucket::api::SecureBucket| !b.status.as_ref().unwrap().pending_grants.is_empty();
    world.bucket_when("data", "shows the request", shown).await;
    let next = format!("→ kubectl securebucket approve one -n {asks}");
    world.plugin(bob, "list --pending").with(0, &[asks, "one", "alice", "reports", "in/", "1h", "0 of 2", &next]);
    world.plugin(bob, "list --pending -o wide").with(0, &["Q3 report", "OPS-7", "TERMS"]);
    let own = world.plugin(alice, &format!("list --pending -n {asks}")).with(0, &["one", "0 of 2"]);
    assert_eq!(own.out.lines().count(), 2, "{own:?}");
    world.plugin(bob, &format!("list -n {asks}")).refused(&["bob", asks]);
    world.plugin(alice, "list -A").refused(&["at the cluster scope", "-n NAMESPACE"]);
    world.plugin(&super::admin(), "list -A").with(0, &["NAMESPACE", asks, "one"]);
    world.plugin(mallory, &format!("list -n {asks}")).refused(&["mallory"]);
    world.plugin(mallory, "list --pending").refused(&["mallory"]);
}

#[tokio::test]
async fn access_goes_on_by_a_request_of_its_own() {
    let play = Play::new("plugext", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, mallory, .. } = &play;
    bind(world, "securebucket-viewer", bob, asks).await;
    world.plugin(alice, &play.ask("--name q3")).with(0, &["awaiting 1 approval"]);
    let more = format!("-n {asks} --duration 30m --reason 'one more table'");
    // Before it has begun there is nothing to go on from.
    world.plugin(alice, &format!("extend q3 {more} --name early")).with(0, &["ExtendedNotActive"]);
    world.plugin(bob, &format!("approve q3 -n {asks}")).with(0, &["grantreview.securebucket.io/q3-bob"]);
    world.grant_active_in(asks, "q3").await;
    let said = world.plugin(alice, &format!("extend q3 {more} --name q3b"));
    said.with(0, &["decryptgrant.securebucket.io/q3b created, awaiting 1 approval"]);
    let made = world.grants_in(asks).get("q3b").await.unwrap();
    let first = world.grants_in(asks).get("q3").await.unwrap();
    assert_eq!(made.spec.extends.map(|e| e.name), Some("q3".to_owned()));
    assert_eq!((made.spec.bucket_ref, made.spec.subject), (first.spec.bucket_ref, first.spec.subject));
    assert_eq!(made.spec.prefixes, first.spec.prefixes);
    // Who decides sees what it goes on from, and alice is not the one.
    world.plugin(bob, &format!("approve q3b -n {asks}")).with(0, &["extends   q3", "q3b-bob"]);
    world.grant_active_in(asks, "q3b").await;

    world.plugin(mallory, &format!("extend q3 {more}")).refused(&["mallory"]);
    world.plugin(alice, &format!("extend none {more}")).refused(&["there is no DecryptGrant", asks]);
    let said = world.plugin(alice, &format!("extend q3 -n {asks} --duration 8h --reason long --name long"));
    said.with(0, &["created, Denied: spec.extends"]);
    let said = world.plugin(alice, &format!("extend q3 {more} --prefix other/ --name wide"));
    said.with(0, &["created, Denied: spec.extends"]);
}

#[tokio::test]
async fn in_an_emergency_at_once() {
    let play = Play::new("plugglass", json!({"approvals": 1, "breakGlass": {"maxDuration": "1h"}})).await;
    let Play { world, asks, alice, bob, .. } = &play;
    let rhea = Person::named("rhea").uid("u-rhea");
    bind(world, "securebucket-responder", &rhea, &world.namespace).await;
    bind(world, "securebucket-requester", &rhea, asks).await;
    world.plugin(alice, &play.ask("--break-glass --name no")).refused(&["breakglass", "alice"]);
    world.plugin(&rhea, &play.ask("--break-glass --name inc --wait")).with(0, &["granted until"]);
    // Neither who reviews it afterwards nor who ends it may read requests where it lies: the bucket shows them what they sign.
    let shows = |b: &securebucket::api::SecureBucket| {
        let status = b.status.as_ref().unwrap();
        status.pending_grants.iter().any(|p| p.break_glass == Some(true))
            && status.access.iter().any(|a| a.name.ends_with("/inc"))
    };
    world.bucket_when("data", "shows what has to be reviewed", shows).await;
    let said = world.plugin(bob, &format!("approve inc -n {asks} --wait"));
    said.with(0, &["break-glass", "it counts"]);
    let rex = Person::named("rex");
    bind(world, "securebucket-responder", &rex, &world.namespace).await;
    let reviewed = |b: &securebucket::api::SecureBucket| b.status.as_ref().unwrap().pending_grants.is_empty();
    world.bucket_when("data", "waits for no review", reviewed).await;
    // He may not see when it is done.
    let said = world.plugin(&rex, &format!("revoke inc -n {asks}"));
    said.with(0, &["grantreview.securebucket.io/inc-rex-revoke created", "the time until"]);
    world.object_when(&world.grants_in(asks), "inc", "is revoked", |g: &DecryptGrant| state(g) == "Revoked").await;
}
