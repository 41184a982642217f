//! `why`, `who-can`, `role-arn`, `can-i`, `doctor`, `completion`.

use serde_json::{Value, json};

use super::{Play, admin, deployment};
use crate::attacks::bind;
use crate::support::person::Person;
use crate::support::{Stack, World, chart};

#[tokio::test]
async fn why_names_who_and_how() {
    let play = Play::new("plugwhy", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, mallory, .. } = &play;
    world.plugin(alice, &play.ask("--name g")).with(0, &[]);
    play.awaiting("g").await;
    let said = world.plugin(alice, &format!("why g -n {asks}"));
    let said = said.with(
        0,
        &[&format!("DecryptGrant {asks}/g: AwaitingApproval"), "people must agree", "but not alice, who asks"],
    );
    for line in [format!("type   kubectl securebucket approve g -n {asks}"), "you    may not do that".into()] {
        assert!(said.out.contains(&line), "{line}: {said:?}");
    }
    bind(world, "securebucket-viewer", bob, asks).await;
    world.plugin(bob, &format!("why dgrant/g -n {asks}")).with(0, &["AwaitingApproval", "you    may do that"]);
    let said = world.plugin(bob, &format!("why g -n {asks} -o json")).with(0, &[]);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&told[0]["reason"], &told[0]["youMay"]), (&json!("AwaitingApproval"), &json!(true)));

    // A bucket, by its own name too; a review; and what is not there.
    world.plugin(bob, "why data").with(0, &[&format!("SecureBucket {}/data: Reconciled", world.namespace)]);
    world.plugin(bob, &format!("approve g -n {asks}")).with(0, &[]);
    world.grant_active_in(asks, "g").await;
    let review = world.reviews().get("g-bob").await.unwrap();
    world.counted(&review, "Counted").await;
    world.plugin(bob, "why greview/g-bob").with(0, &["GrantReview", "Counted"]);
    let annotate = format!("kubectl annotate sa reports -n {asks}");
    world.plugin(alice, &format!("why g -n {asks}")).with(0, &["Granted", "NotAnnotated", &annotate]);
    world.plugin(alice, &format!("why none -n {asks}")).refused(&["there is no DecryptGrant", "list --pending"]);
    world.plugin(alice, &format!("why other/g -n {asks}")).with(2, &["-n other"]);
    world.plugin(mallory, &format!("why g -n {asks}")).refused(&["mallory"]);
    world.plugin(mallory, "why sbkt/data").refused(&["mallory"]);
}

#[tokio::test]
async fn who_can_lists_duties_and_grants() {
    let play = Play::new("plugwhocan", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, mallory, .. } = &play;
    world.plugin(alice, &play.ask("--name g")).with(0, &[]);
    play.awaiting("g").await;
    bind(world, "securebucket-viewer", bob, asks).await;
    world.plugin(bob, &format!("approve g -n {asks}")).with(0, &[]);
    let until = world.grant_active_in(asks, "g").await.status.unwrap().expires_at.unwrap();
    let listed = |b: &securebucket::api::SecureBucket| b.status.as_ref().unwrap().access.len() == 2;
    world.bucket_when("data", "lists both", listed).await;
    let said = world.plugin(bob, "who-can data").with(0, &[]);
    let line = |start: &str| -> Vec<String> {
        let line = said.out.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}: {said:?}"));
        line.split("  ").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let etl = format!("{}/etl", world.namespace);
    assert_eq!(line(&etl), [etl.as_str(), "duty etl", "standing", "spec.access", "in/"]);
    let reports = format!("{asks}/reports");
    assert_eq!(line(&reports), [reports.as_str(), &format!("grant {asks}/g"), &until, "bob", "in/"]);
    world
        .plugin(bob, "who-can sbkt/data -o wide")
        .with(0, &["LAST-30-DAYS", &world.install.role_arn(asks, "reports"), "1h"]);
    let said = world.plugin(bob, "who-can data -o json").with(0, &[]);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()[1]["agreedBy"], "bob");
    world.plugin(mallory, "who-can data").refused(&["mallory"]);
    world.plugin(bob, "who-can other").refused(&["there is no SecureBucket", "kubectl get sbkt"]);
}

#[tokio::test]
async fn role_arns_are_known_before_the_role() {
    let play = Play::new("plugrole", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, mallory, .. } = &play;
    let arn = world.role_arn("etl");
    world.plugin(bob, "role-arn etl").exactly(&format!("{arn}\n"));
    world.plugin(bob, &format!("role-arn {}/etl -o json", world.namespace)).with(0, &[&arn]);
    // Nothing names it yet.
    let said = world.plugin(bob, "role-arn later").with(0, &["computed"]);
    assert_eq!(said.out, format!("{}\n", world.role_arn("later")));
    // Alice sees no bucket; her own request tells her.
    let line = format!("role-arn {asks}/reports");
    world.plugin(alice, &line).refused(&["not known", "--account ID --installation NAME"]);
    world.plugin(alice, &play.ask("--name g")).with(0, &[]);
    play.awaiting("g").await;
    let own = world.install.role_arn(asks, "reports");
    world.plugin(alice, &line).exactly(&format!("{own}\n"));
    // Mallory may compute what everybody can, and look up nothing.
    world.plugin(mallory, &line).refused(&["not known"]);
    let said = world.plugin(mallory, &format!("{line} --account {} --installation t", world.account));
    said.exactly(&format!("{own}\n"));
}

#[tokio::test]
async fn can_i_says_what_is_missing() {
    let play = Play::new("plugcani", json!({"approvals": 1})).await;
    let Play { world, asks, alice, bob, mallory, .. } = &play;
    let carol = Person::named("carol");
    bind(world, "securebucket-responder", &carol, &world.namespace).await;
    let olga = Person::named("olga");
    bind(world, "securebucket-owner", &olga, &world.namespace).await;
    let rhea = Person::named("rhea");
    bind(world, "securebucket-responder", &rhea, &world.namespace).await;
    bind(world, "securebucket-requester", &rhea, asks).await;
    let rows: [(&Person, &str, &[&str]); 6] = [
        (alice, &format!("--from {asks}"), &["request", "hand-back"]),
        (bob, "", &["approve", "deny", "who-can"]),
        (&carol, "", &["revoke", "lockdown", "lift-lockdown", "who-can"]),
        (&olga, "", &["approve", "deny", "revoke", "delegate", "lockdown", "who-can"]),
        (
            &rhea,
            &format!("--from {asks}"),
            &["request", "hand-back", "revoke", "lockdown", "lift-lockdown", "breakglass", "who-can"],
        ),
        (mallory, "", &[]),
    ];
    let deeds = [
        "request",
        "approve",
        "deny",
        "revoke",
        "hand-back",
        "delegate",
        "lockdown",
        "lift-lockdown",
        "breakglass",
        "who-can",
    ];
    for (person, further, may) in rows {
        for deed in deeds {
            let said = world.plugin(person, &format!("can-i {deed} data {further}"));
            let (code, word) = if may.contains(&deed) { (0, "yes\n") } else { (3, "no\n") };
            assert_eq!((said.code, said.out.as_str()), (code, word), "{} {deed}: {said:?}", person.username);
            assert_eq!(said.err.contains("you do not hold"), code == 3, "{said:?}");
        }
    }
    let said = world.plugin(mallory, "can-i approve data");
    said.with(3, &["\"approve\" on securebuckets.securebucket.io/data", "securebucket-approver gives it"]);
    // The right alone is not the owner's consent.
    bind(world, "securebucket-requester", bob, &world.other("asks")).await;
    world.apply_bucket("closed", json!({})).await;
    world.bucket_ready("closed").await;
    world.plugin(bob, &format!("can-i request closed --from {asks}")).with(3, &["allowedNamespaces"]);
}

#[tokio::test]
async fn the_doctor_sees_a_healthy_installation() {
    let world = World::new("plugdoctor").await;
    let _operator = world.operator().lease("pod-1").start();
    world.apply_bucket("data", json!({})).await;
    world.bucket_ready("data").await;
    deployment(&world.client, world.operator_namespace(), 1).await;
    let line = format!("doctor -n {} --operator-namespace {}", world.namespace, world.operator_namespace());
    let said = world.plugin(&admin(), &line).with(0, &[]);
    for good in [
        "✔ API server 1.",
        "✔ CRDs v1alpha1 served",
        "✔ you are admin",
        "✔ admission policies of this version",
        "✔ requesters are held",
        "✔ reviewers are held",
        "1 of 1 replicas available",
        "✔ pod-1 leads and renews",
        "1 SecureBuckets",
        "no removal overdue",
        "– AWS itself",
    ] {
        assert!(said.out.contains(good), "{good}: {}", said.out);
    }
    assert!(!said.out.contains('\x1b'), "no colours where there is no terminal");
    // Whoever may see nothing is told so, and not that all is well.
    let mallory = Person::named("mallory");
    let said = world.plugin(&mallory, &line).with(0, &[]);
    for unseen in [
        "– admission policies",
        "– whether requesters",
        "– the operator's Deployment",
        "– SecureBuckets",
        "– DecryptGrants",
    ] {
        assert!(said.out.contains(unseen), "{unseen}: {}", said.out);
    }
    // Something is wrong.
    world.apply_bucket("broken", json!({"bucketName": "not-with-the-prefix"})).await;
    let stalled =
        |b: &securebucket::api::SecureBucket| crate::support::wait::conditions(b).iter().any(|c| c.type_ == "Stalled");
    world.bucket_when("broken", "stalled", stalled).await;
    let said = world.plugin(&admin(), &line);
    let way_out = format!("→ kubectl securebucket why sbkt/broken -n {}", world.namespace);
    said.with(3, &["✘ SecureBucket", "InvalidSpec", &way_out, "not as they should be"]);
    let said = world.plugin(&admin(), &format!("{line} -o json")).with(3, &[]);
    let found: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert!(found.iter().any(|f| f["mark"] == "Bad") && found.iter().any(|f| f["mark"] == "Unseen"));
}

#[tokio::test]
async fn the_doctor_finds_what_is_missing() {
    let stack = Stack::of_its_own().await;
    let world = World::on(stack, "plugsick", &[]).await;
    let line = format!("doctor -n {} --operator-namespace {}", world.namespace, world.operator_namespace());
    let said = world.plugin(&admin(), &line);
    let said = said.with(3, &["✘ ValidatingAdmissionPolicy", "is missing", "✘ no Deployment of the operator"]);
    assert!(
        said.out.contains("✘ it is not so that requesters") && said.out.contains("✘ it is not so that reviewers"),
        "{}",
        said.out
    );
    // A dead operator: a Deployment without a pod, a lease that nobody renews.
    deployment(&world.client, world.operator_namespace(), 0).await;
    let operator = world.operator().lease("pod-1").start();
    let api: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(world.client.clone(), world.operator_namespace());
    let held = || async { api.get(chart::RELEASE).await.ok()?.spec?.holder_identity };
    world.until("a lease", held).await;
    operator.kill().await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let said = world.plugin(&admin(), &line);
    said.with(3, &["✘ operator", "0 of 1 replicas", "✘ pod-1 leads by its lease, but has not renewed it"]);
    // Nobody to be asked.
    let said = world.plugin(&admin(), "doctor --cluster none");
    assert_eq!(said.code, 1, "{said:?}");
    let config = world.directory().join("away");
    let mut away = admin().kubeconfig(stack, "default");
    away["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    std::fs::write(&config, away.to_string()).unwrap();
    let said = world.plugin(&admin(), &format!("doctor --kubeconfig {}", config.display()));
    said.with(3, &["✘ API server cannot be reached", "kubectl cluster-info"]);
    let said = world.plugin(&admin(), &format!("list --kubeconfig {}", config.display()));
    said.refused(&["cannot list", "kubectl cluster-info"]);
}

/// Without a cluster at all.
#[tokio::test]
async fn shells_complete_commands_flags_and_values() {
    let world = World::new("plugcomplete").await;
    let nobody = Person::named("nobody");
    for shell in ["bash", "zsh", "fish"] {
        world.plugin(&nobody, &format!("completion {shell}")).with(0, &["hand-back", "who-can"]);
    }
    world.plugin(&nobody, "completion tcsh").with(2, &["possible values"]);
    // As kubectl asks, and as it is asked by the shell.
    let script = world.plugin(&nobody, "completion kubectl").with(0, &["__complete"]);
    let file = world.directory().join("bin/kubectl_complete-securebucket");
    std::fs::write(&file, script.out).unwrap();
    std::process::Command::new("chmod").arg("+x").arg(&file).status().unwrap();
    let complete = |words: &str| {
        let output =
            world.shell(&nobody, "default", &format!("kubectl __complete securebucket {words}")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(complete("ha").starts_with("hand-back\t"), "{}", complete("ha"));
    let can = complete("can-i lo");
    assert!(can.contains("lockdown\t") && !can.contains("approve"), "{can}");
    assert!(complete("request --for").contains("--for-service-account\t"));
    assert!(complete("lockdown data --level ''").contains("Reads\t"));
}
