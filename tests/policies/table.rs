//! The verdict table: duties, grants and their ends, IAM administrators, operator and root, and the side doors.
//!
//! The operator is dead from the moment of issue: the KMS grant on B lives for ever in every row.

use jiff::Timestamp;

use crate::doors::{self, ADMINISTRATION, CONFIGURATION};
use crate::rows::{Row, Scenario, allow, deny};
use crate::world::{Case, Question, Who, World, but, grant, hours, noon, seconds, table_case};
use crate::world::{bucket_b, duty, w_arn};
use securebucket::api::secure_bucket::Duty;
use securebucket::bucket::policies::DutyRoles;
use securebucket::role::document::HeldDeny;

const SSE: &str = "s3:x-amz-server-side-encryption";
const KEY: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";

/// Both orders of the two ends, and the same end, without and with the federation pin.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for pin in [false, true] {
        for (t1, t2) in [(4, 8), (8, 4), (6, 6)] {
            let world = World::new(table_case(pin, hours(t1), hours(t2)));
            all.push(Scenario::new(format!("table, pin {pin}, T1 {t1} h, T2 {t2} h"), world, rows));
        }
    }
    all.push(disjoint());
    all.push(operator_died());
    all.push(revoked_early());
    all.push(processor_after_a_grant());
    all.push(producer_with_a_grant());
    all
}

#[test]
fn every_row_of_the_table_holds() {
    scenarios().iter().for_each(Scenario::check);
}

/// Names of Denies, with the one that the federation pin adds.
pub fn pinned<'a>(w: &World, by: &[&'a str]) -> Vec<&'a str> {
    let pin = w.case.pin.then_some("ObjectsOnlyFromThisCluster");
    by.iter().copied().chain(pin).collect()
}

fn rows(w: &World) -> Vec<Row> {
    [producer(w), grants(w), outsiders(w), administrators(w), doors::rows(w)].concat()
}

fn producer(w: &World) -> Vec<Row> {
    let now = noon();
    let put = |key: &str| w.put(Who::W, &w.a, key, now);
    let one = |action: &str| w.object(Who::W, action, &w.a, "in/x", now);
    let headers = |sse: Option<&str>, key: Option<&str>| {
        but(one("s3:PutObject"), |c| {
            let c = sse.map_or(c.clone(), |v| c.with(SSE, v));
            key.map_or(c.clone(), |v| c.with(KEY, v))
        })
    };
    let our_key = w.a.key_arn.clone();
    let parts = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"].map(one).concat();
    let keys = ["kms:GenerateDataKey", "kms:Decrypt"].map(|a| w.kms_by_s3(Who::W, a, &w.a, "in/x", now)).concat();
    let mut rows = vec![
        allow("producer put A/in/x", put("in/x"), &["WriteA", "WriteKeyA", "StandingDuties"]),
        allow("producer multipart A/in/x", [parts, keys].concat(), &["WriteA", "WriteKeyA", "StandingDuties"]),
        allow("producer put A/in/x, our key named", headers(Some("aws:kms"), Some(&our_key)), &["WriteA"]),
        deny("producer put A/out/x", put("out/x"), &[]),
        deny("producer put with SSE-S3", headers(Some("AES256"), None), &["KmsOnly", "NoUnnamedKey"]),
        deny("producer put with DSSE under our key", headers(Some("aws:kms:dsse"), Some(&our_key)), &["KmsOnly"]),
        deny("producer put under B's key", headers(Some("aws:kms"), Some(&w.b.key_arn)), &["ThisKeyOnly"]),
        deny("producer put with aws:kms, no key", headers(Some("aws:kms"), None), &["NoUnnamedKey"]),
        deny(
            "producer put with SSE-C",
            but(one("s3:PutObject"), |c| c.with("s3:x-amz-server-side-encryption-customer-algorithm", "AES256")),
            &["NoCustomerKeys"],
        ),
    ];
    for who in [Who::W, Who::WithS3] {
        rows.push(deny(
            &format!("producer get A/in/x, {who:?}"),
            w.get(who, &w.a, "in/x", now),
            &["ProducersNeverRead"],
        ));
    }
    for action in ["s3:GetObjectVersion", "s3:GetObjectAttributes", "s3:GetObjectTorrent", "s3:GetObjectTagging"] {
        rows.push(deny(&format!("producer {action}"), one(action), &["ProducersNeverRead"]));
    }
    rows.push(deny("producer lists A", w.list(Who::W, &w.a, "in/", now), &[]));
    rows
}

/// The instants around both ends, and one long after.
pub fn instants(t1: Timestamp, t2: Timestamp) -> Vec<Timestamp> {
    [t1, t2].into_iter().flat_map(|t| [-1, 0, 1].map(|n| seconds(t, n))).chain([noon(), hours(1000)]).collect()
}

fn grants(w: &World) -> Vec<Row> {
    let (t1, t2) = (w.case.t1, w.case.t2);
    let last = t1.max(t2);
    let mut rows = Vec::new();
    for t in instants(t1, t2) {
        for year in ["2025", "2026"] {
            // G1 covers both years, G2 covers 2026.
            let mut open = Vec::new();
            if t < t1 {
                open.push("1");
            }
            if t < t2 && year == "2026" && t1 != t2 {
                open.push("2");
            }
            let key = format!("calls/{year}/x");
            let prefix = format!("calls/{year}/");
            let sids = |kind: &str, more: &[&str]| -> Vec<String> {
                open.iter().map(|n| format!("{kind}B{n}")).chain(more.iter().map(|m| (*m).to_owned())).collect()
            };
            let version = [
                w.object(Who::W, "s3:GetObjectVersion", &w.b, &key, t),
                w.kms_by_s3(Who::W, "kms:Decrypt", &w.b, &key, t),
            ];
            let questions: [(&str, Question, Vec<String>); 3] = [
                ("get", w.get(Who::W, &w.b, &key, t), sids("Read", &["grant"])),
                ("get version", version.concat(), sids("Read", &["grant"])),
                ("list", w.list(Who::W, &w.b, &prefix, t), sids("List", &[])),
            ];
            for (verb, question, by) in questions {
                let name = format!("W {verb} B/{key} at {t}");
                let by: Vec<&str> = by.iter().map(String::as_str).collect();
                let end: &[&str] = if t >= last { &["EndB"] } else { &[] };
                rows.push(if open.is_empty() { deny(&name, question, end) } else { allow(&name, question, &by) });
            }
            // Known and accepted: an attached `s3:*` reads on to the bucket's last end, and not one second longer.
            let attached = w.get(Who::WithS3, &w.b, &key, t);
            let name = format!("W with s3:* attached gets B/{key} at {t}");
            let by = sids("Read", &["AttachedS3", "grant"]);
            let by: Vec<&str> = by.iter().map(String::as_str).collect();
            rows.push(if t < last { allow(&name, attached, &by) } else { deny(&name, attached, &["EndB"]) });
            if t >= last {
                let name = format!("W with s3:* attached lists B/{prefix} at {t}");
                rows.push(deny(&name, w.list(Who::WithS3, &w.b, &prefix, t), &["EndB"]));
            }
        }
    }
    let now = noon();
    let whole = vec![w.ask(Who::W, "s3:ListBucket", &w.b.bucket_arn, now)];
    let direct = |context: &str| {
        but(vec![w.ask(Who::W, "kms:Decrypt", &w.b.key_arn, now)], |c| {
            c.with("kms:EncryptionContext:aws:s3:arn", context)
        })
    };
    rows.extend([
        deny("W get B/other/x", w.get(Who::W, &w.b, "other/x", now), &[]),
        deny("W get B/call", w.get(Who::W, &w.b, "call", now), &[]),
        deny("W lists B/other/", w.list(Who::W, &w.b, "other/", now), &[]),
        deny("W lists B without a prefix", whole, &[]),
        deny("W ListBucketVersions", vec![w.ask(Who::W, "s3:ListBucketVersions", &w.b.bucket_arn, now)], &[]),
        deny("W tags of B/calls/x", w.object(Who::W, "s3:GetObjectTagging", &w.b, "calls/x", now), &[]),
        deny("W put B/calls/x", w.put(Who::W, &w.b, "calls/x", now), &["WritesOnlyByDuties"]),
        deny("W kms:Decrypt directly", direct(&w.b.bucket_arn), &["CryptoOnlyThroughS3"]),
        deny(
            "W via S3 of another region",
            but(direct(&w.b.bucket_arn), |c| c.with("kms:ViaService", "s3.eu-central-1.amazonaws.com")),
            &["CryptoOnlyThroughS3"],
        ),
        deny(
            "W via S3 with a foreign bucket's context",
            but(w.kms_by_s3(Who::W, "kms:Decrypt", &w.b, "calls/x", now), |c| {
                c.with("kms:EncryptionContext:aws:s3:arn", &w.a.bucket_arn)
            }),
            &["CryptoOnlyForThisBucket"],
        ),
    ]);
    rows
}

fn outsiders(w: &World) -> Vec<Row> {
    let now = noon();
    let admin = |action: &str, resource: &str| vec![w.ask(Who::Admin, action, resource, now)];
    let grant = |who| {
        but(vec![w.ask(who, "kms:CreateGrant", &w.b.key_arn, now)], |c| {
            c.with("kms:GranteePrincipal", w_arn()).with_all("kms:GrantOperations", &["Decrypt"])
        })
    };
    let direct =
        but(admin("kms:Decrypt", &w.b.key_arn), |c| c.with("kms:EncryptionContext:aws:s3:arn", &w.b.bucket_arn));
    let (objects, crypto) = ("ObjectsOnlyForWorkloads", "CryptoOnlyForWorkloads");
    let mut rows = vec![
        deny("IAM admin get B", w.get(Who::Admin, &w.b, "calls/x", now), &pinned(w, &[objects, crypto])),
        deny(
            "IAM admin put B",
            w.put(Who::Admin, &w.b, "calls/x", now),
            &pinned(w, &[objects, crypto, "WritesOnlyByDuties"]),
        ),
        deny("IAM admin direct decrypt", direct, &[crypto, "CryptoOnlyThroughS3"]),
        deny("IAM admin CreateGrant", grant(Who::Admin), &["GrantsOnlyByOperator"]),
        deny("planted role CreateGrant", grant(Who::Planted), &["GrantsOnlyByOperator"]),
        deny("IAM admin PutKeyPolicy", admin("kms:PutKeyPolicy", &w.b.key_arn), &[]),
        allow("IAM admin DisableKey", admin("kms:DisableKey", &w.b.key_arn), &["InspectAndStop", "AttachedAll"]),
        deny("IAM admin EnableKey", admin("kms:EnableKey", &w.b.key_arn), &[]),
        allow("IAM admin reads B's policy", admin("s3:GetBucketPolicy", &w.b.bucket_arn), &["AttachedAll"]),
        // A role under our path that nobody declared. It sees names; that is all.
        deny("planted role get B", w.get(Who::Planted, &w.b, "calls/x", now), &pinned(w, &[])),
        deny("planted role get A", w.get(Who::Planted, &w.a, "in/x", now), &pinned(w, &[])),
        allow("planted role lists B", w.list(Who::Planted, &w.b, "calls/", now), &["AttachedAll"]),
        deny(
            "planted role tags an object",
            w.object(Who::Planted, "s3:PutObjectTagging", &w.b, "calls/x", now),
            &pinned(w, &["WritesOnlyByDuties"]),
        ),
    ];
    for action in ["s3:GetObjectTagging", "s3:GetObjectAttributes", "s3:GetObjectAcl", "s3:ListMultipartUploadParts"] {
        rows.push(deny(
            &format!("IAM admin {action}"),
            w.object(Who::Admin, action, &w.b, "x", now),
            &pinned(w, &[objects]),
        ));
    }
    for action in
        ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListKeyPolicies", "kms:ListGrants", "kms:ListResourceTags"]
    {
        rows.push(allow(action, admin(action, &w.b.key_arn), &["InspectAndStop", "AttachedAll"]));
    }
    for action in ["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"] {
        rows.push(deny(&format!("IAM admin {action}"), admin(action, &w.b.bucket_arn), &["NamesOnlyForWorkloads"]));
    }
    for action in CONFIGURATION {
        rows.push(deny(&format!("IAM admin {action}"), admin(action, &w.b.bucket_arn), &["ConfigOnlyByOperator"]));
    }
    for who in [Who::EditedTrust, Who::OtherProvider] {
        let question = w.get(who, &w.b, "calls/2025/x", now);
        rows.push(if w.case.pin {
            deny(&format!("{who:?} get B, pinned"), question, &["ObjectsOnlyFromThisCluster"])
        } else {
            // The door that the pin closes: open while a grant lives, and no longer.
            allow(&format!("{who:?} get B, not pinned"), question, &["ReadB1", "grant"])
        });
    }
    rows
}

fn administrators(w: &World) -> Vec<Row> {
    let now = noon();
    let (objects, crypto) = ("ObjectsOnlyForWorkloads", "CryptoOnlyForWorkloads");
    let on = |who, action: &str, resource: &str| vec![w.ask(who, action, resource, now)];
    let bypass = |question| but(question, |c| c.with("kms:BypassPolicyLockoutSafetyCheck", true));
    let key = |who| on(who, "kms:PutKeyPolicy", &w.b.key_arn);
    let mut rows = vec![
        deny(
            "operator get B",
            w.get(Who::Operator, &w.b, "calls/x", now),
            &[objects, crypto, "NoDataPath", "NeverDecrypt"],
        ),
        allow("operator PutKeyPolicy", key(Who::Operator), &["Administer", "OwnKeys"]),
        deny("operator PutKeyPolicy past the lock-out check", bypass(key(Who::Operator)), &["NoLockoutBypass"]),
        allow("operator PutBucketPolicy", on(Who::Operator, "s3:PutBucketPolicy", &w.b.bucket_arn), &["Buckets"]),
    ];
    for action in ADMINISTRATION {
        rows.extend([
            allow(action, on(Who::BreakGlass, action, &w.b.key_arn), &["Administer", "AttachedAll"]),
            deny(&format!("IAM admin {action}"), on(Who::Admin, action, &w.b.key_arn), &[]),
        ]);
    }
    for who in [Who::Root, Who::BreakGlass] {
        rows.extend([
            deny(&format!("{who:?} get B"), w.get(who, &w.b, "calls/x", now), &pinned(w, &[objects, crypto])),
            allow(
                &format!("{who:?} PutBucketPolicy"),
                on(who, "s3:PutBucketPolicy", &w.b.bucket_arn),
                &["AttachedAll"],
            ),
            allow(
                &format!("{who:?} DeleteBucketPolicy"),
                on(who, "s3:DeleteBucketPolicy", &w.b.bucket_arn),
                &["AttachedAll"],
            ),
            allow(
                &format!("{who:?} sets up B"),
                on(who, "s3:PutLifecycleConfiguration", &w.b.bucket_arn),
                &["AttachedAll"],
            ),
            allow(&format!("{who:?} lists B"), w.list(who, &w.b, "calls/", now), &["AttachedAll"]),
            allow(&format!("{who:?} PutKeyPolicy"), key(who), &["Administer", "AttachedAll"]),
            deny(&format!("{who:?} PutKeyPolicy past the lock-out check"), bypass(key(who)), &["NoLockoutBypass"]),
        ]);
    }
    rows
}

/// Two grants that do not overlap: each ends by its own date.
fn disjoint() -> Scenario {
    let (t1, t2) = (hours(8), hours(4));
    let mut case = table_case(false, t1, t2);
    case.w.grants = vec![grant("g1", bucket_b(), "calls/", t1), grant("g2", bucket_b(), "logs/", t2)];
    Scenario::new("disjoint prefixes", World::new(case), |w| {
        let mut rows = Vec::new();
        for t in instants(t1, t2) {
            for (prefix, end, n) in [("calls/", t1, "1"), ("logs/", t2, "2")] {
                let (read, list) = (format!("ReadB{n}"), format!("ListB{n}"));
                let get = w.get(Who::W, &w.b, &format!("{prefix}x"), t);
                let names = w.list(Who::W, &w.b, prefix, t);
                let name = format!("W {prefix} at {t}");
                if t < end {
                    rows.extend([allow(&name, get, &[&read, "grant"]), allow(&name, names, &[&list])]);
                } else {
                    let by: &[&str] = if t >= t1 { &["EndB"] } else { &[] };
                    rows.extend([deny(&name, get, by), deny(&name, names, by)]);
                }
            }
        }
        rows
    })
}

/// G1 10–12 h, G2 16–18 h on the same prefix; the operator died at 11 h, so only G1 was ever written.
fn operator_died() -> Scenario {
    let mut case = table_case(false, hours(0), hours(6));
    case.w.grants = vec![grant("g1", bucket_b(), "calls/", hours(0))];
    Scenario::new("operator died between two windows", World::new(case), |w| {
        vec![
            allow("at 11", w.get(Who::W, &w.b, "calls/x", hours(-1)), &["ReadB1", "grant"]),
            deny("at 14", w.get(Who::W, &w.b, "calls/x", hours(2)), &["EndB"]),
            deny("at 17, in the second window", w.get(Who::W, &w.b, "calls/x", hours(5)), &["EndB"]),
        ]
    })
}

fn revoked_early() -> Scenario {
    let mut case = table_case(false, hours(4), hours(8));
    case.w.grants.retain(|g| g.uid == "g2");
    Scenario::new("G1 revoked early, G2 live", World::new(case), |w| {
        vec![
            allow("get calls/2026/x", w.get(Who::W, &w.b, "calls/2026/x", noon()), &["ReadB2", "grant"]),
            deny("get calls/2025/x", w.get(Who::W, &w.b, "calls/2025/x", noon()), &[]),
            deny("get calls/2026/x after T2", w.get(Who::W, &w.b, "calls/2026/x", hours(8)), &["EndB"]),
        ]
    })
}

/// The Deny of an ended grant is still held when its subject becomes a Processor: the duty must win.
fn processor_after_a_grant() -> Scenario {
    let mut case = Case { t1: hours(-1), t2: hours(8), ..Case::default() };
    case.duties_b = DutyRoles { producers: Vec::new(), processors: vec![w_arn()] };
    case.w.duties = vec![duty(bucket_b(), Duty::Processor, Some("calls/2026/"))];
    let b = bucket_b();
    case.w.held = vec![HeldDeny { identity: b.identity, bucket_arn: b.bucket_arn, from: hours(-1) }];
    let by = ["ProcessB", "ProcessKeyB", "StandingDuties", "grant"];
    Scenario::new("Processor after an ended grant", World::new(case), |w| {
        vec![
            allow("get calls/2026/x", w.get(Who::W, &w.b, "calls/2026/x", noon()), &by),
            deny("get calls/2025/x", w.get(Who::W, &w.b, "calls/2025/x", noon()), &[]),
        ]
    })
}

/// The controller never issues a grant to a Producer of the bucket. This is why: it could not be used.
fn producer_with_a_grant() -> Scenario {
    let mut case = table_case(false, hours(4), hours(8));
    case.duties_b = DutyRoles { producers: vec![w_arn()], processors: Vec::new() };
    Scenario::new("Producer on B with a grant on B", World::new(case), |w| {
        vec![deny("get calls/x", w.get(Who::W, &w.b, "calls/x", noon()), &["ProducersNeverRead"])]
    })
}
