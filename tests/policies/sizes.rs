//! Sizes of the documents at their worst, against what AWS takes.

use securebucket::api::secure_bucket::Duty;
use securebucket::aws::policies::{boundary, operator};
use securebucket::bucket::policies::{DutyRoles, bucket_policy, key_policy};
use securebucket::domain::installation::Installation;
use securebucket::domain::policy::Document;
use securebucket::domain::prefix::Prefixes;
use securebucket::role::document::{BucketRef, DutyInput, GrantInput, HEAD_ROOM, Inputs, MAX_CHARACTERS, build};

use crate::world::{hours, installation};

/// Every name at its longest.
fn widest() -> (Installation, BucketRef) {
    let mut install = installation(true);
    install.cluster = "c".repeat(32);
    install.bucket_prefix = "b".repeat(32);
    install.place.partition = "aws-us-gov".into();
    install.place.region = "ap-southeast-1".into();
    install.oidc_issuer = format!("https://oidc.eks.ap-southeast-1.amazonaws.com/id/{}", "E".repeat(32));
    install.operator_role = install.place.role(&format!("/{}/", "p".repeat(60)), &"o".repeat(64));
    install.break_glass_role = Some(install.place.role(&format!("/{}/", "p".repeat(60)), &"g".repeat(64)));
    install.boundary = install.place.policy(&"s".repeat(128));
    let bucket = BucketRef {
        identity: "f".repeat(16),
        bucket_arn: install.place.bucket(&"b".repeat(63)),
        key_arn: install.place.key("0e9b0f6e-0000-0000-0000-000000000000"),
        via_s3: install.place.via_s3(),
    };
    (install, bucket)
}

/// 32 duties, as many as `spec.access` takes.
fn duties(install: &Installation) -> DutyRoles {
    let role = |n: usize| install.role_arn(&"n".repeat(63), &format!("{}{n}", "s".repeat(200)));
    DutyRoles { producers: (0..31).map(role).collect(), processors: vec![role(31)] }
}

fn length(statements: Vec<securebucket::domain::policy::Statement>) -> usize {
    Document::new(statements).certified().render().len()
}

#[test]
fn key_and_bucket_policy_fit_with_every_duty_taken() {
    let (install, bucket) = widest();
    let duties = duties(&install);
    let key = length(key_policy(&install, &install.place, &bucket.bucket_arn, &duties));
    let policy = length(bucket_policy(&install, &bucket.bucket_arn, &bucket.key_arn, &duties));
    // Room for Denies of responders, which are carried along.
    assert!(key < 32_768 - 8_192, "key policy: {key} of 32768 (KMS Developer Guide, key-policy-overview)");
    assert!(policy < 20_480 - 2_048, "bucket policy: {policy} of 20480 (S3 User Guide, bucket policy size)");
}

#[test]
fn key_and_bucket_policy_of_the_worked_example_are_small() {
    let (install, b) = (installation(true), crate::world::bucket_b());
    let duties = DutyRoles::default();
    assert!(length(key_policy(&install, &install.place, &b.bucket_arn, &duties)) < 3_500);
    assert!(length(bucket_policy(&install, &b.bucket_arn, &b.key_arn, &duties)) < 4_500);
}

fn grant(bucket: &BucketRef, n: i64, prefixes: &[&str], issued: bool) -> GrantInput {
    GrantInput {
        uid: format!("g{n:03}"),
        bucket: bucket.clone(),
        prefixes: Prefixes::parse(prefixes).unwrap(),
        expires_at: hours(n),
        activated_at: hours(-n),
        issued,
    }
}

#[test]
fn a_role_with_duties_and_ten_grants_fits() {
    let (_, bucket) = widest();
    let other = |n: usize| BucketRef {
        identity: format!("{n:016}"),
        bucket_arn: format!("{}{n}", &bucket.bucket_arn[..70]),
        ..bucket.clone()
    };
    let prefixes = Prefixes::parse(&["incoming/", "calls/2026/"]).unwrap();
    let duties = (0..3).map(|n| DutyInput {
        bucket: other(n),
        duty: Duty::Producer,
        prefixes: Some(prefixes.clone()),
        lock: None,
        established: true,
    });
    let grants = (1..=10).map(|n| grant(&bucket, n, &["calls/2026/11/"], true)).collect();
    let built = build(&Inputs { duties: duties.collect(), grants, held: Vec::new() });
    let size = length(built.statements);
    assert!(built.left_out.is_empty() && size <= MAX_CHARACTERS - HEAD_ROOM, "{size}");
}

#[test]
fn a_full_document_leaves_out_the_youngest_that_are_not_issued() {
    let (_, bucket) = widest();
    // `activated_at` falls with n: the youngest has the smallest n.
    let grants: Vec<GrantInput> = (1..=40).map(|n| grant(&bucket, n, &["calls/2026/11/"], n % 4 == 0)).collect();
    let built = build(&Inputs { grants: grants.clone(), ..Inputs::default() });
    assert!(length(built.statements.clone()) <= MAX_CHARACTERS - HEAD_ROOM);
    assert!(!built.left_out.is_empty());
    let unissued: Vec<&GrantInput> = grants.iter().filter(|g| !g.issued).collect();
    let (out, kept): (Vec<&GrantInput>, Vec<&GrantInput>) =
        unissued.iter().partition(|g| built.left_out.contains(&g.uid));
    assert!(out.iter().all(|o| kept.iter().all(|k| k.activated_at < o.activated_at)), "an older one was left out");
    assert_eq!(out.len(), built.left_out.len(), "an issued grant was left out");
}

#[test]
fn printed_policies_fit() {
    let (install, _) = widest();
    let (operator, boundary) = (operator(&install).render().len(), boundary(&install).render().len());
    assert!(
        boundary <= 6_144,
        "boundary: {boundary} of the 6144 of a managed policy (IAM User Guide, reference_iam-quotas)"
    );
    // Beyond this a managed policy cannot hold it; the inline policies of a role may have 10240 together.
    assert!(operator <= 6_144, "operator: {operator} of the 6144 of a managed policy: attach it inline from now on");
}

/// A duty that finds no room is left out by itself; what is in force stays, so that narrowing always fits.
#[test]
fn new_duties_that_find_no_room_are_left_out_and_established_ones_stay() {
    let long: Vec<String> = (0..8).map(|n| format!("{n}{}/", "p".repeat(500))).collect();
    let prefixes = Prefixes::parse(&long).unwrap();
    let other = |n: u32| BucketRef { identity: format!("{n:016x}"), ..widest().1 };
    let duty = |n: u32, established| DutyInput {
        bucket: other(n),
        duty: Duty::Producer,
        prefixes: Some(prefixes.clone()),
        lock: None,
        established,
    };
    let inputs = Inputs { duties: vec![duty(1, false), duty(2, true), duty(3, false)], ..Inputs::default() };
    let built = build(&inputs);
    assert!(Document::new(built.statements.clone()).certified().render().len() <= MAX_CHARACTERS);
    assert!(!built.left_out.contains(&other(2).identity), "what is in force stays");
    assert!(!built.left_out.is_empty(), "not all three fit");
    let document = Document::new(built.statements);
    for n in 1..=3 {
        let identity = other(n).identity;
        assert_ne!(securebucket::role::document::has_duty(&document, &identity), built.left_out.contains(&identity));
    }
}
