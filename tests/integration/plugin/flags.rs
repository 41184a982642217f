//! Flags that all commands share: whose kubeconfig, as whom, in which form, and in which colours.

use serde_json::{Value, json};

use super::{Play, admin};
use crate::attacks::role_binding;
use crate::support::plugin::Said;
use crate::support::wait::poll;

#[tokio::test]
async fn yaml_says_what_json_says() {
    let play = Play::new("plugyaml", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, .. } = &play;
    world.plugin(alice, &play.ask("--name g")).with(0, &[]);
    play.awaiting("g").await;
    let listed = |b: &securebucket::api::SecureBucket| b.status.as_ref().unwrap().access.len() == 1;
    world.bucket_when("data", "lists its Processor", listed).await;
    for (who, line) in [
        (alice, format!("list -n {asks}")),
        (alice, format!("why g -n {asks}")),
        (bob, "who-can data".into()),
        (bob, "can-i approve data".into()),
        (bob, "role-arn etl".into()),
    ] {
        let json: Value =
            serde_json::from_str(&world.plugin(who, &format!("{line} -o json")).with(0, &[]).out).unwrap();
        let yaml = world.plugin(who, &format!("{line} -o yaml")).with(0, &[]).out;
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), json, "{line}: {yaml}");
        assert!(!yaml.starts_with('{') && !json.is_null(), "{yaml}");
    }
    // What is written, likewise: the object, which kubectl takes as it is.
    let said = world.plugin(alice, &play.ask("--name h --dry-run=server -o yaml")).with(0, &[]);
    let made: Value = serde_saphyr::from_str(&said.out).unwrap();
    assert_eq!((&made["kind"], &made["spec"]["reason"]), (&json!("DecryptGrant"), &json!("Q3 report")));
    world.plugin(alice, &play.ask("--name h --dry-run=server -o table")).with(2, &["json, yaml, wide, name"]);
}

fn push_context(config: &mut Value, name: &str, user: &str, namespace: &str) {
    let context = json!({"name": name, "context": {"cluster": "c", "user": user, "namespace": namespace}});
    config["contexts"].as_array_mut().unwrap().push(context);
}

#[tokio::test]
async fn another_context_user_or_cluster_of_the_kubeconfig() {
    let play = Play::new("plugconf", json!({"approvals": 1})).await;
    let Play { world, asks, alice, mallory, .. } = &play;
    let mut config = alice.kubeconfig(world.stack, asks);
    let mut push = |field: &str, value: Value| config[field].as_array_mut().unwrap().push(value);
    let other = mallory.kubeconfig(world.stack, asks)["users"][0]["user"].clone();
    push("users", json!({"name": "mallory", "user": other}));
    push("clusters", json!({"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}}));
    push("contexts", json!({"name": "g", "context": {"cluster": "gone", "user": "c", "namespace": asks}}));
    push_context(&mut config, "m", "mallory", asks);
    let file = world.directory().join("several");
    std::fs::write(&file, config.to_string()).unwrap();
    // The caller's own kubeconfig is mallory's: what is read is the one that is named.
    let list = |flags: &str| world.plugin(mallory, &format!("list --kubeconfig {} {flags}", file.display()));
    for alices in ["", "--context c", "--context m --user c", "--context g --cluster c"] {
        list(alices).with(0, &[&format!("no DecryptGrants in namespace {asks}")]);
    }
    for mallorys in ["--context m", "--user mallory", "--context g --cluster c --user mallory"] {
        list(mallorys).refused(&["mallory"]);
    }
    for nowhere in ["--context g", "--cluster gone"] {
        list(nowhere).refused(&["Connection refused", "--context NAME"]);
    }
    push_context(&mut config, "nobody", "", asks);
    push_context(&mut config, "typo", "malory", asks);
    std::fs::write(&file, config.to_string()).unwrap();
    list("--context nobody").refused(&["system:anonymous"]);
    list("--context typo").refused(&["there is no user \"malory\" in it"]);
    for unknown in ["--context none", "--user none", "--cluster none"] {
        list(unknown).refused(&["the kubeconfig is of no use", "none"]);
    }
}

#[tokio::test]
async fn as_a_member_of_a_group() {
    let play = Play::new("plugroup", json!({"approvals": 1})).await;
    let Play { world, asks, alice, .. } = &play;
    let group = format!("approvers-{}", world.namespace);
    for (role, namespace) in [("securebucket-approver", &world.namespace), ("securebucket-viewer", asks)] {
        role_binding(world, ("ClusterRole", role), ("Group", &group), namespace).await;
    }
    let member = format!("--as zoe --as-group devs --as-group {group}");
    let known = || async { (world.plugin(&admin(), &format!("can-i approve data {member}")).code == 0).then_some(()) };
    assert!(poll(known).await.is_some(), "the authorizer learns of the binding");
    world.plugin(&admin(), "can-i approve data --as zoe --as-group devs").with(3, &["securebucket-approver"]);
    world.plugin(alice, &play.ask("--name g")).with(0, &[]);
    play.awaiting("g").await;
    world.plugin(&admin(), &format!("approve g -n {asks} --as zoe --as-group devs")).with(1, &["zoe"]);
    world.plugin(&admin(), &format!("approve g -n {asks} {member}")).with(0, &["g-zoe created"]);
    let grant = world.grant_active_in(asks, "g").await;
    assert_eq!(grant.status.unwrap().approvals[0].reviewer, "zoe");
    world.plugin(&admin(), &format!("list --as-group {group}")).with(2, &["--as"]);
}

#[tokio::test]
async fn colours_on_a_terminal_and_nowhere_else() {
    let play = Play::new("plugtty", json!({"approvals": 1})).await;
    let Play { world, bob, .. } = &play;
    let said = |script: &str| Said::from(world.shell(bob, &world.namespace, script).output().unwrap());
    let terminal = "python3 -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))'";
    let why = "kubectl-securebucket why data";
    let words = format!("SecureBucket {}/data", world.namespace);
    let coloured = said(&format!("{terminal} {why}")).with(0, &[&words]).out;
    assert!(coloured.contains("\x1b[1m") && coloured.contains("\x1b[32m"), "{coloured:?}");
    for plain in [why.to_owned(), format!("NO_COLOR=1 {terminal} {why}")] {
        let out = said(&plain).with(0, &[&words]).out;
        assert!(!out.contains('\x1b'), "{plain}: {out:?}");
    }
    // An empty value is none (https://no-color.org).
    assert!(said(&format!("NO_COLOR= {terminal} {why}")).out.contains("\x1b["));
}

#[tokio::test]
async fn extend_with_a_ticket_waits_until_it_goes_on() {
    let play = Play::new("plugmore", json!({"approvals": 0})).await;
    let Play { world, asks, alice, .. } = &play;
    let said = world.plugin(alice, &play.ask("--name first --wait")).with(0, &["granted until"]);
    assert!(said.out.contains("decryptgrant.securebucket.io/first created"), "{said:?}");
    let more = format!("extend first -n {asks} --duration 90m --reason 'one more table'");
    let said = world.plugin(alice, &format!("{more} --ticket OPS-9 --name more --wait")).with(0, &["granted until"]);
    assert!(said.out.contains("decryptgrant.securebucket.io/more created"), "{said:?}");
    let made = world.grants_in(asks).get("more").await.unwrap();
    assert_eq!(made.spec.ticket.as_deref(), Some("OPS-9"));
    assert_eq!(made.spec.extends.map(|e| e.name), Some("first".into()));
    // Too long for the bucket: it does not wait for what will not be.
    let long = format!("extend first -n {asks} --duration 700h --reason long --name long --wait");
    world.plugin(alice, &long).with(4, &["InvalidSpec: spec.duration: 700h is longer than 8h"]);
}

#[tokio::test]
async fn roles_of_other_partitions() {
    let play = Play::new("plugpart", json!({"approvals": 1})).await;
    let line = "role-arn team/app --account 111122223333 --installation t";
    let arn = play.world.plugin(&play.mallory, line).with(0, &[]).out;
    assert!(arn.starts_with("arn:aws:iam::111122223333:role/securebucket/t/team--app-"), "{arn}");
    let other = play.world.plugin(&play.mallory, &format!("{line} --partition aws-us-gov"));
    other.exactly(&arn.replace("arn:aws:", "arn:aws-us-gov:"));
    play.world.plugin(&play.mallory, "role-arn app --account 111122223333 --installation t").with(2, &["namespace"]);
}
