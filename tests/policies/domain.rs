//! Laws of documents, of repair and of prefixes, on random ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use securebucket::domain::drift::{KEPT, merge};
use securebucket::domain::policy::{Conditions, Document, Effect, Set, Statement};
use securebucket::domain::prefix::Prefixes;

use crate::evaluator::{Context, Outcome, Policies, Request, evaluate, matches};
use crate::world::{ACCOUNT, w_arn};

const ACTIONS: [&str; 9] = [
    "*",
    "s3:*",
    "s3:Get*",
    "s3:GetObject*",
    "s3:GetObject",
    "s3:PutObject",
    "s3:ListBucket",
    "s3:?etObject",
    "kms:Decrypt",
];
const RESOURCES: [&str; 7] = [
    "*",
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b/in/*",
    "arn:aws:s3:::b/in/x",
    "arn:aws:s3:::*/in/*",
    "arn:aws:s3:::c/*",
];
const CONDITIONS: [(&str, &str, &[&str]); 8] = [
    ("Bool", "aws:SecureTransport", &["true", "false"]),
    ("StringEquals", "kms:ViaService", &["s3", "sqs"]),
    ("StringNotEquals", "kms:ViaService", &["s3", "sqs"]),
    ("StringLike", "s3:prefix", &["in/*", "*", "out/"]),
    ("StringNotLike", "s3:prefix", &["in/*", "out/"]),
    ("Null", "s3:prefix", &["true", "false"]),
    ("ForAllValues:StringEquals", "kms:GrantOperations", &["Decrypt", "Encrypt"]),
    ("ForAnyValue:StringNotEquals", "kms:GrantOperations", &["Decrypt", "Encrypt"]),
];

fn some_of(items: &'static [&'static str]) -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::vec(prop::sample::select(items), 1..4).prop_map(|v| v.into_iter().map(Into::into).collect())
}

fn set_of(items: &'static [&'static str]) -> impl Strategy<Value = Set> {
    (some_of(items), prop::bool::weighted(0.8))
        .prop_map(|(items, only)| if only { Set::Only(items) } else { Set::AllBut(items) })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let one = prop::sample::select(&CONDITIONS[..])
        .prop_flat_map(|(operator, key, values)| some_of(values).prop_map(move |values| (operator, key, values)));
    prop::collection::vec(one, 0..3).prop_map(|all| {
        let mut conditions = Conditions::new();
        for (operator, key, values) in all {
            conditions.entry(operator.into()).or_default().insert(key.into(), values);
        }
        conditions
    })
}

fn statement(effect: impl Strategy<Value = Effect>) -> impl Strategy<Value = Statement> {
    let who = prop::sample::select(vec![
        ("*", "*".to_owned()),
        ("AWS", w_arn()),
        ("AWS", format!("arn:aws:iam::{ACCOUNT}:root")),
    ]);
    let sid = prop::sample::select(vec!["", "A", "B", "C", "Responder"]);
    (sid, effect, who, set_of(&ACTIONS), set_of(&RESOURCES), conditions()).prop_map(
        |(sid, effect, (kind, name), actions, resources, conditions)| Statement {
            effect,
            actions,
            resources,
            conditions,
            ..Statement::deny(sid).principal(kind, &name)
        },
    )
}

fn any_statement() -> impl Strategy<Value = Statement> {
    statement(prop::sample::select(vec![Effect::Allow, Effect::Deny]))
}

/// Statements of ours: Denies and some Allows, each under its own Sid.
fn desired() -> impl Strategy<Value = Vec<Statement>> {
    prop::collection::vec(any_statement(), 0..4).prop_map(|mut all| {
        all.iter_mut().enumerate().for_each(|(n, s)| s.sid = format!("Ours{n}"));
        all
    })
}

fn requests() -> Vec<Request> {
    let contexts = [
        Context::default(),
        Context::default().with("aws:SecureTransport", false).with("kms:ViaService", "s3").with("s3:prefix", "in/x"),
        Context::default().with("aws:SecureTransport", true).with("kms:ViaService", "ec2").with("s3:prefix", "out/"),
        Context::default().with_all("kms:GrantOperations", &["Decrypt", "Encrypt"]).with("s3:prefix", "other"),
        Context::default().with_all("kms:GrantOperations", &["CreateGrant"]),
    ];
    let mut all = Vec::new();
    for action in ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:ListBucket", "kms:Decrypt", "iam:GetRole"]
    {
        for resource in
            ["arn:aws:s3:::b", "arn:aws:s3:::b/in/x", "arn:aws:s3:::b/out/x", "arn:aws:s3:::c/in/x", "arn:aws:s3:::d"]
        {
            for context in &contexts {
                for principal in [w_arn(), format!("arn:aws:iam::{ACCOUNT}:role/Admin")] {
                    all.push(Request {
                        principal,
                        action: action.into(),
                        resource: resource.into(),
                        resource_account: ACCOUNT.into(),
                        context: context.clone(),
                    });
                }
            }
        }
    }
    all
}

/// What the document lets somebody do whom IAM lets do everything.
fn allows(document: &Document, request: &Request) -> bool {
    let everything = Document::new(vec![Statement::allow("All").actions(["*"]).resources(["*"])]);
    let policies = Policies { identity: vec![&everything], resource: Some(document), ..Policies::default() };
    evaluate(request, &policies).outcome == Outcome::Allowed
}

fn denies(document: &Document, request: &Request) -> bool {
    document.statements.iter().any(|s| s.effect == Effect::Deny && matches(s, request))
}

#[test]
fn the_same_foreign_deny_twice_is_kept_once() {
    let deny = Statement::deny("").anyone().actions(["s3:GetObject"]).resources(["arn:aws:s3:::b/*"]);
    let observed = Document::new(vec![deny.clone(), deny]);
    let merged = merge(&[], Some(&observed), false);
    assert_eq!((merged.kept.len(), merged.write.unwrap().statements.len()), (1, 1));
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_rendered_reads_back(statements in prop::collection::vec(any_statement(), 0..6), certified in any::<bool>()) {
        let document = Document::new(statements);
        let document = if certified { document.certified() } else { document };
        let back = Document::parse(&document.render()).unwrap();
        prop_assert_eq!(&back, &document);
        prop_assert_eq!(back.is_certified(), certified);
    }

    #[test]
    fn the_digest_knows_no_order_but_every_change(statements in prop::collection::vec(any_statement(), 1..6), by in any::<prop::sample::Index>(), other in any_statement()) {
        let document = Document::new(statements.clone());
        let mut turned = statements.clone();
        turned.rotate_left(by.index(statements.len()));
        prop_assert_eq!(Document::new(turned.clone()).digest(), document.digest());
        prop_assert!(Document::new(turned.clone()).same_as(&document));
        let at = by.index(statements.len());
        let changed = turned[at] != other;
        turned[at] = other;
        prop_assert_eq!(Document::new(turned).digest() != document.digest(), changed);
    }

    #[test]
    fn a_deny_that_is_implied_refuses_nothing_more(
        wide in statement(Just(Effect::Deny)),
        actions in set_of(&ACTIONS),
        resources in set_of(&RESOURCES),
        more in conditions(),
        changed in any::<[bool; 3]>(),
    ) {
        // A statement near the other, so that many pairs are implied.
        let mut narrow = wide.clone();
        if changed[0] { narrow.actions = actions; }
        if changed[1] { narrow.resources = resources; }
        if changed[2] {
            for (operator, keys) in more {
                narrow.conditions.entry(operator).or_insert_with(BTreeMap::new).extend(keys);
            }
        }
        prop_assert!(wide.implied_by(&wide));
        if narrow.implied_by(&wide) {
            for request in requests() {
                prop_assert!(!matches(&narrow, &request) || matches(&wide, &request), "{:?}", request);
            }
        }
        if wide.implied_by(&narrow) {
            for request in requests() {
                prop_assert!(!matches(&wide, &request) || matches(&narrow, &request), "{:?}", request);
            }
        }
    }

    #[test]
    fn repair_settles_narrows_and_keeps_the_denies_of_others(
        desired in desired(),
        foreign in prop::collection::vec(any_statement(), 0..4),
        keep_ours in prop::collection::vec(any::<bool>(), 4),
        stale in any::<bool>(),
        obey in any::<bool>(),
    ) {
        // The document as we wrote it, then edited: some of ours gone, some of others' in.
        let ours = Document::new(desired.clone()).certified();
        let kept = ours.statements.iter().zip(&keep_ours).filter(|(_, keep)| **keep).map(|(s, _)| s.clone());
        let mut observed = Document::new(kept.chain(foreign).collect());
        observed.id = if stale { ours.id.clone() } else { None };
        let merged = merge(&desired, Some(&observed), obey);
        let after = merged.write.clone().unwrap_or_else(|| observed.clone());
        prop_assert!(merged.write.as_ref().is_none_or(Document::is_certified));

        let again = merge(&desired, Some(&after), obey);
        prop_assert_eq!(&again.write, &None, "it settles");
        prop_assert!(again.loosened.is_empty());
        prop_assert_eq!(&again.kept, &merged.kept, "what is kept goes on being reported");

        let wanted = Document::new(desired);
        for request in requests() {
            prop_assert!(!allows(&after, &request) || allows(&wanted, &request), "wider than desired: {:?}", request);
            if !obey && !observed.is_certified() {
                prop_assert!(!denies(&observed, &request) || denies(&after, &request), "a Deny was dropped: {:?}", request);
            }
            if obey {
                prop_assert_eq!(allows(&after, &request), allows(&wanted, &request), "obeyed: {:?}", request);
            }
        }
        let sids: Vec<&String> = after.statements.iter().map(|s| &s.sid).collect();
        if merged.write.is_some() {
            prop_assert_eq!(sids.iter().collect::<BTreeSet<_>>().len(), sids.len(), "a Sid occurs twice");
        }
    }

    #[test]
    fn a_new_spec_loses_no_kept_deny(
        old in desired(),
        new in desired(),
        foreign in prop::collection::vec(statement(Just(Effect::Deny)), 1..4),
    ) {
        let edited = Document::new([old.clone(), foreign.clone()].concat());
        let first = merge(&old, Some(&edited), false);
        let written = first.write.unwrap_or(edited);
        let second = merge(&new, Some(&written), false).write.unwrap_or_else(|| written.clone());
        for request in requests() {
            let refused = foreign.iter().any(|s| matches(s, &request));
            prop_assert!(!refused || denies(&second, &request) || old.iter().any(|o| o.effect == Effect::Deny && matches(o, &request)), "{:?}", request);
        }
        prop_assert!(second.statements.iter().filter(|s| s.sid.starts_with(KEPT)).all(|s| s.effect == Effect::Deny));
    }

    #[test]
    fn collapsed_prefixes_cover_the_same_keys(
        texts in prop::collection::vec("[ab/]{1,5}/|\\*", 1..6),
        keys in prop::collection::vec("[ab/]{0,7}", 1..20),
    ) {
        let prefixes = Prefixes::parse(&texts).unwrap();
        let covers = |p: &str, key: &str| p == "*" || key.starts_with(p);
        for key in &keys {
            let before = texts.iter().any(|p| covers(p, key));
            prop_assert_eq!(prefixes.iter().any(|p| covers(p, key)), before);
            // The patterns cover what the prefixes cover.
            let arn = format!("arn:aws:s3:::b/{key}");
            prop_assert_eq!(prefixes.object_arns("arn:aws:s3:::b").iter().any(|p| crate::evaluator::glob(p, &arn)), before);
            prop_assert_eq!(prefixes.list_patterns().iter().any(|p| crate::evaluator::glob(p, key)), before);
        }
        let minimal = prefixes.iter().all(|p| prefixes.iter().all(|q| p == q || !covers(q, p)));
        prop_assert!(minimal, "one lies within another: {}", prefixes);
    }

    #[test]
    fn no_pattern_says_more_than_its_prefix(text in prop_oneof![".{0,12}/?", "[!-~]{1,20}/", "[A-Za-z0-9!_.'()/=+@:,-]{1,20}/"]) {
        if let Ok(prefixes) = Prefixes::parse(&[&text]) {
            for pattern in prefixes.object_arns("arn:aws:s3:::b").into_iter().chain(prefixes.list_patterns()) {
                let stem = pattern.strip_suffix('*').unwrap();
                prop_assert!(!stem.contains(['*', '?', '$', '"', '\\']), "{}", pattern);
                prop_assert!(stem.is_empty() || stem.ends_with('/'), "{}", pattern);
            }
        }
    }
}
