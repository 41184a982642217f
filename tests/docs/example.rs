//! The worked example of docs/concepts.md, and the statements that the page lists.

use std::collections::BTreeSet;

use securebucket::api::secure_bucket::Duty;
use securebucket::bucket::policies::{DutyRoles, bucket_policy, key_policy};
use securebucket::domain::arn::Place;
use securebucket::domain::installation::{Installation, Timing};
use securebucket::domain::policy::{Document, Statement};
use securebucket::domain::prefix::Prefixes;
use securebucket::role::document::{BucketRef, DutyInput, GrantInput, Inputs, build};

use crate::{blocks, read, rows, same, section};

/// The setting of the worked example in docs/concepts.md.
struct Example {
    install: Installation,
    a: BucketRef,
    b: BucketRef,
    w: String,
}

fn example() -> Example {
    let place = Place { partition: "aws".into(), account: "111122223333".into(), region: "eu-west-1".into() };
    let bucket = |name: &str, key: &str, identity: &str| BucketRef {
        identity: identity.into(),
        bucket_arn: place.bucket(name),
        key_arn: place.key(key),
        via_s3: place.via_s3(),
    };
    let (a, b) = (
        bucket("c1-raw-1a2b3c4d", "aaaa", "a1a1a1a1a1a1a1a1"),
        bucket("c1-calls-5e6f7a8b", "bbbb", "b2b2b2b2b2b2b2b2"),
    );
    let install = Installation {
        cluster: "c1".into(),
        regions: Vec::new(),
        bucket_prefix: "c1".into(),
        operator_role: place.role("/", "securebucket-operator"),
        break_glass_role: Some(place.role("/", "BreakGlass")),
        oidc_issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".into(),
        boundary: place.policy("securebucket-c1-boundary"),
        pin_federation: true,
        fixed_session_roles: Vec::new(),
        timing: Timing::default(),
        place,
    };
    let w = install.role_arn("team-a", "etl");
    Example { install, a, b, w }
}

fn sids(statements: &[Statement]) -> BTreeSet<String> {
    statements.iter().map(|s| s.sid.clone()).collect()
}

#[test]
fn the_worked_example_is_what_the_code_writes() {
    let Example { a, b, .. } = example();
    let grant = |prefix: &str, end: &str| GrantInput {
        uid: prefix.into(),
        bucket: b.clone(),
        prefixes: Prefixes::parse(&[prefix]).unwrap(),
        expires_at: end.parse().unwrap(),
        activated_at: "2026-11-24T12:00:00Z".parse().unwrap(),
        issued: true,
    };
    let prefixes = Some(Prefixes::parse(&["in/"]).unwrap());
    let inputs = Inputs {
        duties: vec![DutyInput { bucket: a, duty: Duty::Producer, prefixes, lock: None, established: true }],
        grants: vec![grant("calls/", "2026-11-24T16:00:00Z"), grant("calls/2026/", "2026-11-24T20:00:00Z")],
        held: Vec::new(),
    };
    let written = Document::new(build(&inputs).statements);
    let shown = blocks(&read("docs/concepts.md"), "json");
    let shown = Document::parse(shown.first().unwrap()).unwrap();
    assert!(shown.same_as(&written), "written: {:#}", written.to_value());
}

#[test]
fn the_statements_of_key_and_bucket_policy_are_listed() {
    let Example { install, a, w, .. } = example();
    let duties = DutyRoles { producers: vec![w], processors: Vec::new() };
    let key = key_policy(&install, &install.place, &a.bucket_arn, &duties);
    same("key policy", &rows(&section("docs/concepts.md", "### Key policy")), &sids(&key));
    let bucket = bucket_policy(&install, &a.bucket_arn, &a.key_arn, &duties);
    same("bucket policy", &rows(&section("docs/concepts.md", "### Bucket policy")), &sids(&bucket));
}
