//! The documentation says what the code says: tables against the code that they describe, manifests against the CRDs, links against files.

#![cfg(feature = "operator")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code; helpers are outside #[test] functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use kube::CustomResourceExt;
use kube::core::cel::Validator;
use securebucket::api::{DecryptGrant, GrantReview, SecureBucket, condition};
use securebucket::cli::Cli;
use securebucket::k8s::events::Reason;
use securebucket::metrics::{Stability, TABLE};
use serde_json::Value;

#[path = "docs/example.rs"]
mod example;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Files below a directory with one of these extensions, by path relative to the checkout.
fn files(directory: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(directory)).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&relative, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(relative);
        }
    }
    found.sort();
    found
}

/// Every page, with its text.
fn pages() -> Vec<(String, String)> {
    let mut names: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "e2e/README.md"].map(str::to_owned).into();
    names.extend(files("docs", "md"));
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// The text of a page with the content of its code blocks blanked.
fn prose(text: &str) -> String {
    let mut inside = false;
    text.lines()
        .map(|line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            if inside || fence { "" } else { line }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim().strip_prefix("```")) {
            (None, Some(tag)) => open = Some((tag == language, String::new())),
            (Some((wanted, block)), Some(_)) => {
                if *wanted {
                    found.push(std::mem::take(block));
                }
                open = None;
            }
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// What stands under a heading, up to the next one of the same or a higher level.
fn section(page: &str, heading: &str) -> String {
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let text = read(page);
    let mut lines = text.lines().skip_while(|l| *l != heading);
    assert!(lines.next().is_some(), "{page} has no heading {heading:?}");
    let ends = |l: &&str| {
        let depth = l.bytes().take_while(|b| *b == b'#').count();
        depth > 0 && depth <= level && l.as_bytes().get(depth) == Some(&b' ')
    };
    lines.take_while(|l| !ends(l)).collect::<Vec<_>>().join("\n")
}

/// Rows of the tables in a text, by the code words of their first cell.
fn rows(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| `")) {
        let first = line.trim_start_matches('|').split(" |").next().unwrap();
        for word in first.split('`').skip(1).step_by(2) {
            assert!(all.insert(word.to_owned(), line.to_owned()).is_none(), "{word} is listed twice");
        }
    }
    all
}

fn same(what: &str, listed: &BTreeMap<String, String>, existing: &BTreeSet<String>) {
    let listed: BTreeSet<String> = listed.keys().cloned().collect();
    let missing: Vec<_> = existing.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(existing).collect();
    assert!(missing.is_empty() && invented.is_empty(), "{what}: not listed {missing:?}, does not exist {invented:?}");
}

#[test]
fn events_are_those_of_the_code() {
    let listed = rows(&section("docs/reference.md", "## Events"));
    same("events", &listed, &Reason::ALL.iter().map(|r| r.word().to_owned()).collect());
    for reason in Reason::ALL {
        let row = &listed[reason.word()];
        let kind = if reason.is_warning() { "| Warning |" } else { "| Normal |" };
        assert!(row.contains(kind) && row.contains(reason.meaning()), "{reason:?}: {row}");
    }
}

#[test]
fn metrics_are_those_of_the_code() {
    let listed = rows(&section("docs/reference.md", "## Metrics"));
    same("metrics", &listed, &TABLE.iter().map(|m| m.name.to_owned()).collect());
    for metric in TABLE {
        let row = &listed[metric.name];
        let labels = if metric.labels.is_empty() { "–".to_owned() } else { metric.labels.join(", ") };
        let stability = if metric.stability == Stability::Beta { "beta" } else { "alpha" };
        let wanted = format!("| {} | {labels} | {} | {stability} |", metric.kind, metric.help);
        assert!(row.ends_with(&wanted), "{wanted}\n{row}");
    }
}

#[test]
fn condition_types_are_those_of_the_code() {
    let source = read("src/api/condition.rs");
    let module = source.split("pub mod types {").nth(1).unwrap().split("\n}").next().unwrap();
    let existing = module.lines().filter_map(|l| l.split('"').nth(1)).map(str::to_owned).collect();
    same("condition types", &rows(&section("docs/reference.md", "## Condition types")), &existing);
    assert!(existing.contains(condition::types::READY));
}

/// Reasons that the code gives to conditions: the word that follows one of the ways to say it.
fn condition_reasons() -> BTreeSet<String> {
    const BEFORE: [&str; 8] = [
        ".block(\"",
        "stalled(\"",
        "passing(\"",
        "wait(\"",
        "Self{field:\"",
        "doubt(\"",
        "Doubt{reason:\"",
        "AWAITING:&str=\"",
    ];
    let mut all = BTreeSet::new();
    let mut note = |rest: &str| {
        let word = rest.split('"').next().unwrap();
        if word.starts_with(|c: char| c.is_ascii_uppercase()) && word.bytes().all(|b| b.is_ascii_alphanumeric()) {
            all.insert(word.to_owned());
        }
    };
    for path in files("src", "rs") {
        let text = read(&path);
        let code: String = text.split("#[cfg(test)]").next().unwrap().split_whitespace().collect();
        for marker in BEFORE {
            code.split(marker).skip(1).for_each(&mut note);
        }
        // `Set::yes(types::READY, "Reconciled", …)`, `unknown(type_, "Pending", …)`
        for ways in ["Set::yes(", "Set::no(", "Set::unknown("] {
            let literal =
                |call: &&str| call.split_once(",\"").filter(|(first, _)| !first.contains(['(', ')', ';'])).is_some();
            for call in code.split(ways).skip(1).filter(literal) {
                note(call.split_once(",\"").unwrap().1);
            }
        }
    }
    for path in ["src/aws/error.rs", "src/grant/status.rs"] {
        let code: String = read(path).split_whitespace().collect();
        // `Self::Throttled => "Throttled"`, `EndReason::Expired => "Expired"`
        code.split("=>\"").skip(1).for_each(&mut note);
        // `EndReason::ApprovalTimedOut => Some("ApprovalTimedOut")`
        code.split("=>Some(\"").skip(1).for_each(&mut note);
    }
    all
}

#[test]
fn condition_reasons_are_those_of_the_code() {
    same("condition reasons", &rows(&section("docs/reference.md", "## Condition reasons")), &condition_reasons());
}

/// `kubectl securebucket why` knows what to say about each of them, and about no other.
#[cfg(feature = "plugin")]
#[test]
fn every_condition_reason_is_explained() {
    use securebucket::plugin::why::reasons::TABLE;
    let explained: BTreeSet<String> = TABLE.iter().map(|r| r.word.to_owned()).collect();
    let existing = condition_reasons();
    let missing: Vec<_> = existing.difference(&explained).collect();
    let invented: Vec<_> = explained.difference(&existing).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not explained {missing:?}, does not exist {invented:?}");
}

/// The table of states is printed by the code. `REWRITE=1 cargo test --test docs states` puts it into the page.
#[test]
fn states_are_those_of_the_code() {
    const PAGE: &str = "docs/concepts.md";
    const MARKS: [&str; 2] = ["<!-- states: generated -->\n\n", "\n<!-- end of states -->"];
    let text = read(PAGE);
    let (before, rest) = text.split_once(MARKS[0]).expect("the page has a place for the table");
    let (listed, after) = rest.split_once(MARKS[1]).expect("the table has an end");
    let table = securebucket::grant::states::markdown();
    if rewriting() {
        fs::write(root().join(PAGE), [before, MARKS[0], &table, MARKS[1], after].concat()).unwrap();
        return;
    }
    assert_eq!(listed, table, "{PAGE}: stale; run REWRITE=1 cargo test --test docs states");
}

#[allow(clippy::disallowed_methods, reason = "asked for by who runs the test")]
fn rewriting() -> bool {
    std::env::var_os("REWRITE").is_some()
}

#[test]
fn flags_are_those_of_the_binary() {
    let listed = rows(&section("docs/operators.md", "## Flags"));
    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    let shown = || run.get_arguments().filter(|a| !a.is_hide_set() && a.get_id() != "help");
    same("flags", &listed, &shown().map(|a| format!("--{}", a.get_long().unwrap())).collect());
    for argument in shown() {
        let row = &listed[&format!("--{}", argument.get_long().unwrap())];
        let variable = argument.get_env().unwrap().to_str().unwrap();
        assert!(row.contains(&format!("| {variable} |")), "{variable}: {row}");
        let default = argument.get_default_values().first().and_then(|v| v.to_str()).unwrap_or_default();
        assert!(row.contains(default), "{default}: {row}");
    }
}

fn leaves(value: &Value, path: &str, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(value, &path, all);
            }
        }
        other => {
            all.insert(path.to_owned(), other.clone());
        }
    }
}

#[test]
fn values_are_those_of_the_chart() {
    let values: Value = serde_saphyr::from_str(&read("charts/securebucket/values.yaml")).unwrap();
    let mut existing = BTreeMap::new();
    leaves(&values, "", &mut existing);
    let listed = rows(&section("docs/operators.md", "## Values"));
    same("values", &listed, &existing.keys().cloned().collect());
    for (name, default) in existing {
        let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let cell = if text.is_empty() { "| – |".to_owned() } else { format!("| {text} |") };
        assert!(listed[&name].contains(&cell), "{name} is {default}: {}", listed[&name]);
    }
}

/// Paths in `value` that the schema does not know.
fn unknown(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(map) if schema.get("properties").is_some() => map
            .iter()
            .flat_map(|(key, value)| {
                let path = format!("{path}.{key}");
                match schema["properties"].get(key) {
                    Some(schema) => unknown(schema, value, &path),
                    None => vec![path],
                }
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| unknown(&schema["items"], item, path)).collect(),
        _ => Vec::new(),
    }
}

/// Checks an object against types, names of fields and CEL rules of its CRD. False if it is of another kind.
fn check_manifest(object: &Value, origin: &str) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    let crd = match kind {
        "SecureBucket" => {
            serde_json::from_value::<SecureBucket>(object.clone()).unwrap_or_else(|e| panic!("{origin}: {e}"));
            SecureBucket::crd()
        }
        "DecryptGrant" => {
            serde_json::from_value::<DecryptGrant>(object.clone()).unwrap_or_else(|e| panic!("{origin}: {e}"));
            DecryptGrant::crd()
        }
        "GrantReview" => {
            serde_json::from_value::<GrantReview>(object.clone()).unwrap_or_else(|e| panic!("{origin}: {e}"));
            GrantReview::crd()
        }
        _ => return false,
    };
    assert_eq!(object["apiVersion"], format!("{}/{}", crd.spec.group, crd.spec.versions[0].name), "{origin}");
    let crd = serde_json::to_value(crd).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let strange = unknown(&schema["properties"]["spec"], &object["spec"], "spec");
    assert!(strange.is_empty(), "{origin}: {strange:?}");
    assert!(object["metadata"]["name"].is_string(), "{origin}: no name");
    Validator::new().validate(schema, object, None).unwrap_or_else(|e| panic!("{origin}: {e:?}"));
    true
}

fn check_manifests(text: &str, origin: &str) -> usize {
    let documents = text.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    documents.map(|d| d.unwrap_or_else(|e| panic!("{origin}: {e}"))).filter(|d| check_manifest(d, origin)).count()
}

#[test]
fn examples_are_valid() {
    let examples = files("examples", "yaml");
    assert!(examples.len() >= 4);
    for path in examples {
        assert!(check_manifests(&read(&path), &path) > 0, "{path} shows nothing of ours");
    }
}

#[test]
fn manifests_in_pages_are_valid() {
    let mut checked = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "yaml") {
            checked += check_manifests(&block, &page);
        }
    }
    assert!(checked >= 4, "{checked}");
}

#[test]
fn what_is_wrong_in_a_manifest_is_found() {
    let base = "apiVersion: securebucket.io/v1alpha1\nkind: SecureBucket\nmetadata: {name: x}\nspec: ";
    assert_eq!(check_manifests(&format!("{base}{{}}"), "good"), 1);
    for spec in ["{bucketNam: x}", "{grants: {approvers: 2}}", "{versioning: Off}", "{bucketName: xn--a}"] {
        let text = format!("{base}{spec}");
        let caught = std::panic::catch_unwind(|| check_manifests(&text, "bad"));
        assert!(caught.is_err(), "{spec} was taken");
    }
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    for (page, text) in pages() {
        for link in prose(&text).split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, fragment) = link.split_once('#').map_or((link, None), |(p, f)| (p, Some(f)));
            let target = if path.is_empty() {
                root().join(&page)
            } else {
                root().join(Path::new(&page).parent().unwrap()).join(path)
            };
            assert!(target.exists(), "{page}: {link}");
            if let Some(fragment) = fragment {
                let text = prose(&fs::read_to_string(&target).unwrap());
                let found = text.lines().filter(|l| l.starts_with('#')).any(|l| anchor(l) == fragment);
                assert!(found, "{page}: no heading for {link}");
            }
        }
    }
}

#[test]
fn json_in_pages_is_json() {
    let mut found = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "json") {
            found += 1;
            serde_json::from_str::<Value>(&block).unwrap_or_else(|e| panic!("{page}: {e} in\n{block}"));
        }
    }
    assert!(found >= 5, "the worked example and the alarm patterns: {found}");
}

#[test]
fn paths_in_pages_exist() {
    for (page, text) in pages().into_iter().filter(|(page, _)| page != "docs/demo.md") {
        for word in prose(&text).split('`').skip(1).step_by(2) {
            let ours = ["src/", "charts/", "tests/", "examples/", "docs/", "crds/"].iter().any(|p| word.starts_with(p));
            if ours && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.-".contains(&b)) {
                assert!(root().join(word).exists(), "{page}: {word}");
            }
        }
    }
}
