//! docs/plugin.md, typed: once all commands of the plugin, once the plain ones beside them, each time in a world that begins anew. What the page shows
//! is what is said, but for times, ids and hashes.

use std::process::Command;

use kube::api::PostParams;
use securebucket::api::condition::{is_true, types};
use securebucket::api::{DecryptGrant, SecureBucket};
use serde_json::json;

use super::{admin, deployment};
use crate::attacks::bind;
use crate::support::person::Person;
use crate::support::plugin::Said;
use crate::support::wait::{conditions, grant_conditions, state};
use crate::support::{Operator, World};

/// What stands under a heading.
struct Section {
    command: String,
    /// What is typed, and what it says.
    typed: Vec<(String, String)>,
    /// Scripts with plain kubectl.
    plain: Vec<String>,
}

fn sections() -> Vec<Section> {
    let page = include_str!("../../../docs/plugin.md");
    let sections = page.split("\n## ").skip(1).filter(|s| !s.starts_with("Install\n"));
    sections.map(section).collect()
}

fn section(text: &str) -> Section {
    let command = text.lines().next().unwrap().to_owned();
    let blocks = |tag: &str| -> Vec<String> {
        let fence = format!("\n```{tag}\n");
        let starts = text.split(&fence).skip(1);
        starts.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
    };
    let typed = blocks("console").iter().flat_map(|block| transcript(block)).collect();
    Section { command, typed, plain: blocks("sh") }
}

/// Commands of a block, each with the lines that follow it.
fn transcript(block: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push((command.to_owned(), String::new())),
            (None, Some((_, said))) => *said += &format!("{line}\n"),
            (None, None) => panic!("a block begins with what is said: {block}"),
        }
    }
    all
}

/// The world of the page.
struct Stage {
    world: World,
    analytics: String,
    _operator: Operator,
}

impl Stage {
    async fn new(name: &str) -> Self {
        let world = World::with_namespaces(name, &["asks"]).await;
        let (telephony, analytics) = (world.namespace.clone(), world.other("asks"));
        let operator = world.operator().lease("securebucket-0").start();
        for account in ["ingest", "etl"] {
            world.service_account(account).await;
        }
        world.service_account_in(&analytics, "reports").await;
        let duty = |name: &str, duty: &str| json!({"name": name, "duty": duty, "serviceAccountRef": {"name": name}, "prefixes": ["calls/"]});
        let spec = json!({
            "access": [duty("ingest", "Producer"), duty("etl", "Processor")],
            "grants": {"allowedNamespaces": [analytics], "approvals": 1},
        });
        world.apply_bucket("call-logs", spec).await;
        world.bucket_ready("call-logs").await;
        deployment(&world.client, world.operator_namespace(), 1).await;
        for (role, who, namespace) in [
            ("securebucket-requester", "alice", &analytics),
            ("securebucket-owner", "bob", &telephony),
            ("securebucket-viewer", "bob", &analytics),
            ("securebucket-responder", "carol", &telephony),
            ("securebucket-viewer", "carol", &analytics),
        ] {
            bind(&world, role, &person(who), namespace).await;
        }
        Self { world, analytics, _operator: operator }
    }

    /// The page's names as they are here.
    async fn here(&self, text: &str) -> String {
        let bucket = self.bucket().await;
        let lockdown = bucket.status.and_then(|s| s.lockdown).map_or_else(|| "7f3a90c1".to_owned(), |l| l.id);
        text.replace("securebucket-system", self.world.operator_namespace())
            .replace("telephony", &self.world.namespace)
            .replace("analytics", &self.analytics)
            .replace("7f3a90c1", &lockdown)
    }

    async fn bucket(&self) -> SecureBucket {
        self.world.buckets().get("call-logs").await.unwrap()
    }

    fn run(&self, who: &str, script: &str) -> Said {
        let mut shell: Command = self.world.shell(&person(who), "default", script);
        Said::from(shell.output().unwrap())
    }

    /// What has to be there before a section begins.
    async fn before(&self, command: &str) {
        match command {
            "why" | "approve" => self.grant_is("reports-q3", "AwaitingApproval").await,
            "deny" => self.asked("reports-q4", "Q4 quality report").await,
            "revoke" => {
                self.asked("reports-q5", "Q5 quality report").await;
                let line = format!("kubectl securebucket approve reports-q5 -n {}", self.analytics);
                self.run("bob", &line).with(0, &[]);
                self.grant_is("reports-q5", "Granted").await;
            }
            "list" => {
                let fits = |b: &SecureBucket| !b.status.as_ref().unwrap().pending_grants.is_empty();
                self.world.bucket_when("call-logs", "shows the request", fits).await;
            }
            "extend" => self.grant_is("reports-q3", "Granted").await,
            "who-can" => {
                self.grant_is("reports-q3", "Granted").await;
                let fits = |b: &SecureBucket| b.status.as_ref().unwrap().access.len() == 2;
                self.world.bucket_when("call-logs", "lists both", fits).await;
            }
            "lift" => {
                let fits = |b: &SecureBucket| b.status.as_ref().unwrap().lockdown.is_some();
                self.world.bucket_when("call-logs", "is locked down", fits).await;
            }
            _ => {}
        }
    }

    async fn asked(&self, name: &str, reason: &str) {
        let object = json!({
            "apiVersion": "securebucket.io/v1alpha1", "kind": "DecryptGrant", "metadata": {"name": name},
            "spec": {
                "bucketRef": {"name": "call-logs", "namespace": self.world.namespace},
                "subject": {"serviceAccountRef": {"name": "reports"}},
                "prefixes": ["calls/2026/"], "duration": "2h", "reason": reason, "requester": person("alice").stamp(),
            },
        });
        let client = person("alice").client(&self.world).await;
        let api: kube::Api<DecryptGrant> = kube::Api::namespaced(client, &self.analytics);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        self.grant_is(name, "AwaitingApproval").await;
    }

    async fn grant_is(&self, name: &str, wanted: &str) {
        let api = self.world.grants_in(&self.analytics);
        self.world.object_when(&api, name, wanted, |g: &DecryptGrant| state(g) == wanted).await;
    }

    /// What a section is about has come about, whichever way it was typed.
    async fn after(&self, command: &str) {
        let world = &self.world;
        match command {
            "request" => self.grant_is("reports-q3", "AwaitingApproval").await,
            "approve" => self.grant_is("reports-q3", "Granted").await,
            "extend" => self.grant_is("reports-q3b", "AwaitingApproval").await,
            "hand-back" => world.gone(&world.grants_in(&self.analytics), "reports-q3").await,
            "deny" => self.grant_is("reports-q4", "Denied").await,
            "revoke" => {
                self.grant_is("reports-q5", "Revoked").await;
                let api = world.grants_in(&self.analytics);
                let removed = |g: &DecryptGrant| is_true(grant_conditions(g), types::READY);
                world.object_when(&api, "reports-q5", "is removed", removed).await;
            }
            "lockdown" => {
                let closed = |b: &SecureBucket| is_true(conditions(b), types::LOCKED_DOWN);
                world.bucket_when("call-logs", "is locked down", closed).await;
            }
            "lift" => {
                let open = |b: &SecureBucket| b.status.as_ref().unwrap().last_lockdown.is_some();
                world.bucket_when("call-logs", "is open", open).await;
            }
            _ => {}
        }
    }
}

fn person(name: &str) -> Person {
    if name == "admin" { admin() } else { Person::named(name).uid(&format!("u-{name}")) }
}

/// Whether a line is as the page has it: the same words, where a word with digits stands for another.
fn alike(shown: &str, said: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (shown, said) = (words(shown), words(said));
    let digits = |word: &str| word.bytes().any(|b| b.is_ascii_digit());
    shown.len() == said.len() && shown.iter().zip(&said).all(|(a, b)| a == b || (digits(a) && digits(b)))
}

#[tokio::test]
async fn what_the_plugin_is_told_and_says() {
    let stage = Stage::new("pageplug").await;
    let mut typed = 0;
    for section in sections().iter().filter(|s| s.command != "completion") {
        stage.before(&section.command).await;
        for (line, shown) in &section.typed {
            let (command, who) = line.split_once(" # ").unwrap_or_else(|| panic!("who types {line:?}?"));
            let (command, shown) = (stage.here(command).await, stage.here(shown).await);
            let said = stage.run(who, &command).with(0, &[]);
            // An id is the operator's to choose.
            let shown = if section.command == "lockdown" { stage.here(&shown).await } else { shown };
            let all = format!("{}{}", said.out, said.err);
            for line in shown.lines() {
                assert!(all.lines().any(|l| alike(line, l)), "{command}\nthe page: {line}\nsaid: {all}");
            }
            typed += 1;
        }
        stage.after(&section.command).await;
    }
    assert!(typed >= 14, "{typed}");
}

#[tokio::test]
async fn the_same_with_plain_kubectl() {
    let stage = Stage::new("pageplain").await;
    for section in sections().iter().filter(|s| s.command != "completion") {
        stage.before(&section.command).await;
        assert!(!section.plain.is_empty(), "{}: nothing stands beside it", section.command);
        for script in &section.plain {
            let script = stage.here(script).await;
            let who = script.lines().next().and_then(|l| l.strip_prefix("# ")).expect("who types it").to_owned();
            let said = stage.run(&who, &format!("set -e\n{script}")).with(0, &[]);
            assert!(!said.out.trim().is_empty(), "{script}: {said:?}");
        }
        stage.after(&section.command).await;
    }
}

/// One section for each command, and none for another.
#[test]
fn every_command_has_a_section() {
    let listed: Vec<String> = sections().into_iter().map(|s| s.command).collect();
    let root = <securebucket::plugin::cli::Cli as clap::CommandFactory>::command();
    let commands: Vec<&clap::Command> = root.get_subcommands().filter(|c| !c.is_hide_set()).collect();
    assert_eq!(listed.len(), commands.len(), "{listed:?}");
    for command in commands {
        assert!(listed.iter().any(|l| l == command.get_name()), "docs/plugin.md has no section {}", command.get_name());
    }
}

/// The first block of the page, which shows an error.
#[tokio::test]
async fn the_error_of_the_page() {
    let page = include_str!("../../../docs/plugin.md");
    let block =
        page.split("An error names the way out:\n\n```console\n").nth(1).unwrap().split("\n```").next().unwrap();
    let world = World::with_namespaces("pageerror", &["asks"]).await;
    let asks = world.other("asks");
    bind(&world, "securebucket-viewer", &person("bob"), &asks).await;
    let here = |text: &str| text.replace("analytics", &asks);
    let (line, shown) = transcript(block).remove(0);
    let said = Said::from(world.shell(&person("bob"), "default", &here(&line)).output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (1, here(&shown).as_str()));
}
