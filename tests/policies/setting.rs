//! The setting of the verdict table: names, instants, and what the documents are made from.

use jiff::{SignedDuration, Timestamp};
use securebucket::api::secure_bucket::Duty;
use securebucket::bucket::policies::DutyRoles;
use securebucket::domain::arn::Place;
use securebucket::domain::installation::{Installation, Timing};
use securebucket::domain::prefix::Prefixes;
use securebucket::domain::time::after;
use securebucket::role::document::{BucketRef, DutyInput, GrantInput, Inputs};

pub const ACCOUNT: &str = "111122223333";
pub const OTHER_ACCOUNT: &str = "999988887777";
pub const VIA_S3: &str = "s3.eu-west-1.amazonaws.com";
/// A bucket of another account that lets everybody in, under a name that our boundary's pattern matches.
pub const OTHER_BUCKET: &str = "arn:aws:s3:::c1-dropbox";
/// A key of our account that is not the operator's, under the policy that KMS gives a key by default.
pub const OTHER_KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/cccc";

/// What the documents of a world are made from.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub pin: bool,
    /// Processors of A, beside its Producer W.
    pub processors_a: Vec<String>,
    /// Producers and Processors of B.
    pub duties_b: DutyRoles,
    /// W's inputs.
    pub w: Inputs,
    /// Inputs of the other role.
    pub other: Inputs,
    pub t1: Timestamp,
    pub t2: Timestamp,
}

pub fn installation(pin_federation: bool) -> Installation {
    let place = Place { partition: "aws".into(), account: ACCOUNT.into(), region: "eu-west-1".into() };
    Installation {
        cluster: "c1".into(),
        regions: Vec::new(),
        bucket_prefix: "c1".into(),
        operator_role: place.role("/", "securebucket-operator"),
        break_glass_role: Some(place.role("/", "BreakGlass")),
        oidc_issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".into(),
        boundary: place.policy("securebucket-boundary"),
        pin_federation,
        fixed_session_roles: Vec::new(),
        timing: Timing::default(),
        place,
    }
}

pub fn bucket_a() -> BucketRef {
    bucket("c1-raw-1a2b3c4d", "aaaa", "a1a1a1a1a1a1a1a1")
}

pub fn bucket_b() -> BucketRef {
    bucket("c1-calls-5e6f7a8b", "bbbb", "b2b2b2b2b2b2b2b2")
}

pub fn bucket(name: &str, key: &str, identity: &str) -> BucketRef {
    let place = installation(false).place;
    BucketRef {
        identity: identity.into(),
        bucket_arn: place.bucket(name),
        key_arn: place.key(key),
        via_s3: place.via_s3(),
    }
}

pub fn w_arn() -> String {
    installation(false).role_arn("team-a", "etl")
}

pub fn other_arn() -> String {
    installation(false).role_arn("team-b", "reports")
}

/// Noon of the day on which everything happens.
pub fn noon() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

pub fn hours(n: i64) -> Timestamp {
    after(noon(), SignedDuration::from_hours(n))
}

pub fn seconds(at: Timestamp, n: i64) -> Timestamp {
    after(at, SignedDuration::from_secs(n))
}

pub fn grant(uid: &str, bucket: BucketRef, prefix: &str, end: Timestamp) -> GrantInput {
    let prefixes = Prefixes::parse(&[prefix]).unwrap();
    GrantInput { uid: uid.into(), bucket, prefixes, expires_at: end, activated_at: hours(-1), issued: true }
}

pub fn duty(bucket: BucketRef, duty: Duty, prefix: Option<&str>) -> DutyInput {
    let prefixes = prefix.map(|p| Prefixes::parse(&[p]).unwrap());
    DutyInput { bucket, duty, prefixes, lock: None, established: true }
}

/// The setting of the table: W is Producer on A `in/` and holds G1 on B `calls/` until T1 and G2 on B `calls/2026/` until T2.
pub fn table_case(pin: bool, t1: Timestamp, t2: Timestamp) -> Case {
    let grants = vec![grant("g1", bucket_b(), "calls/", t1), grant("g2", bucket_b(), "calls/2026/", t2)];
    let w = Inputs { duties: vec![duty(bucket_a(), Duty::Producer, Some("in/"))], grants, held: Vec::new() };
    Case { pin, w, t1, t2, ..Case::default() }
}
