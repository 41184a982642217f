//! The other duties, and the boundary of every workload role.

use crate::rows::{Row, Scenario, allow, deny};
use crate::world::{
    Case, OTHER_BUCKET, Question, Who, World, bucket_a, bucket_b, but, duty, hours, noon, other_arn, table_case,
};
use securebucket::api::secure_bucket::Duty;
use securebucket::bucket::policies::DutyRoles;
use securebucket::role::document::{AUDIT_BUCKET, AUDIT_KEY, AUDIT_OBJECT, BucketRef, Inputs};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for pin in [false, true] {
        let mut case = Case { pin, ..Case::default() };
        case.duties_b.processors = vec![other_arn()];
        case.processors_a = vec![other_arn()];
        case.other.duties = [bucket_a(), bucket_b()].map(|b| duty(b, Duty::Processor, Some("in/"))).into();
        all.push(Scenario::new(format!("Processor, pin {pin}"), World::new(case), processor));
        let case = Case {
            pin,
            duties_b: DutyRoles::default(),
            other: Inputs { duties: vec![duty(bucket_b(), Duty::Auditor, None)], ..Inputs::default() },
            ..Case::default()
        };
        all.push(Scenario::new(format!("Auditor, pin {pin}"), World::new(case), auditor));
        let world = World::new(table_case(pin, hours(4), hours(8)));
        all.push(Scenario::new(format!("boundary, pin {pin}"), world, boundary));
    }
    all
}

#[test]
fn every_duty_gives_what_it_says_and_no_more() {
    scenarios().iter().for_each(Scenario::check);
}

fn processor(w: &World) -> Vec<Row> {
    let now = noon();
    let mut rows = [processor_on(w, &w.a, "A"), processor_on(w, &w.b, "B")].concat();
    let recreated = w.get(Who::OtherRecreated, &w.b, "in/x", now);
    rows.extend([
        // Known and accepted: `StandingDuties` matches by name. The pin closes it.
        if w.case.pin {
            deny("role made anew gets", recreated, &["ObjectsOnlyFromThisCluster"])
        } else {
            allow("role made anew gets", recreated, &["AttachedAll", "StandingDuties"])
        },
        // Whoever else works under the path.
        deny("W get", w.get(Who::WithS3, &w.a, "in/x", now), &["ProducersNeverRead"]),
        deny("W put", w.put(Who::WithS3, &w.b, "in/x", now), &["WritesOnlyByDuties"]),
    ]);
    rows
}

fn processor_on(w: &World, bucket: &BucketRef, n: &str) -> Vec<Row> {
    let now = noon();
    let sids = ["Process", "ProcessKey", "ProcessList"].map(|s| format!("{s}{n}"));
    let [process, key, list] = [0, 1, 2].map(|i| sids[i].as_str());
    let by = [process, key, "StandingDuties"];
    let who = Who::Other;
    let object = |action: &str| w.object(who, action, bucket, "in/x", now);
    let version = [object("s3:GetObjectVersion"), w.kms_by_s3(who, "kms:Decrypt", bucket, "in/x", now)].concat();
    let direct = but(w.kms_by_s3(who, "kms:Decrypt", bucket, "in/x", now), |c| c.without("kms:ViaService"));
    vec![
        allow("get", w.get(who, bucket, "in/x", now), &by),
        allow("get version", version, &by),
        allow("put", w.put(who, bucket, "in/x", now), &by),
        allow("abort an upload", object("s3:AbortMultipartUpload"), &[process]),
        allow("parts of an upload", object("s3:ListMultipartUploadParts"), &[process]),
        allow("list", w.list(who, bucket, "in/", now), &[list]),
        allow("years later", w.get(who, bucket, "in/x", hours(30_000)), &by),
        deny("get elsewhere", w.get(who, bucket, "out/x", now), &[]),
        deny("put elsewhere", w.put(who, bucket, "out/x", now), &[]),
        deny("list elsewhere", w.list(who, bucket, "out/", now), &[]),
        deny("list everything", vec![w.ask(who, "s3:ListBucket", &bucket.bucket_arn, now)], &[]),
        deny("delete", object("s3:DeleteObject"), &["NobodyDeletes"]),
        deny("key without S3", direct, &["CryptoOnlyThroughS3"]),
    ]
}

fn auditor(w: &World) -> Vec<Row> {
    let now = noon();
    let on = |action: &str, resource: &str| vec![w.ask(Who::Other, action, resource, now)];
    let mut rows = Vec::new();
    for action in AUDIT_BUCKET.into_iter().chain(["s3:ListBucketVersions"]) {
        rows.push(allow(action, on(action, &w.b.bucket_arn), &["AuditB"]));
        rows.push(deny(&format!("{action} on A"), on(action, &w.a.bucket_arn), &[]));
    }
    for action in AUDIT_OBJECT {
        rows.push(allow(action, w.object(Who::Other, action, &w.b, "x", now), &["AuditObjectsB"]));
    }
    for action in AUDIT_KEY {
        rows.push(allow(action, on(action, &w.b.key_arn), &["AuditKeyB", "InspectAndStop"]));
        rows.push(deny(&format!("{action} on A's key"), on(action, &w.a.key_arn), &[]));
    }
    for action in ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes", "s3:GetObjectTorrent"] {
        rows.push(deny(action, w.object(Who::Other, action, &w.b, "x", now), &[]));
    }
    // Even with `s3:*` attached there is no key.
    rows.push(deny("get with s3:* attached", w.get(Who::OtherWithS3, &w.b, "x", now), &[]));
    rows.push(deny("put", w.put(Who::Other, &w.b, "x", now), &["WritesOnlyByDuties"]));
    rows.push(deny("PutBucketPolicy", on("s3:PutBucketPolicy", &w.b.bucket_arn), &["ConfigOnlyByOperator", "Never"]));
    rows.push(deny("DisableKey", on("kms:DisableKey", &w.b.key_arn), &[]));
    rows
}

/// What a workload cannot get although somebody attached `*:*` to its role.
fn boundary(w: &World) -> Vec<Row> {
    let now = noon();
    let on = |action: &str, resource: &str| -> Question { vec![w.ask(Who::WithAll, action, resource, now)] };
    let abroad = format!("{OTHER_BUCKET}/x");
    let mut rows = vec![
        allow("get B, to the end", w.get(Who::WithAll, &w.b, "calls/2025/x", now), &["AttachedAll", "ReadB1", "grant"]),
        allow("get from another account", on("s3:GetObject", &abroad), &["Open"]),
        deny("copy out to another account", on("s3:PutObject", &abroad), &[]),
        deny("write to a bucket outside the prefix", on("s3:PutObject", "arn:aws:s3:::payroll/x"), &[]),
        deny("read a bucket outside the prefix", on("s3:GetObject", "arn:aws:s3:::payroll/x"), &[]),
        deny("CreateGrant", on("kms:CreateGrant", &w.b.key_arn), &["Never", "GrantsOnlyByOperator"]),
        deny("PutKeyPolicy", on("kms:PutKeyPolicy", &w.b.key_arn), &["Never"]),
        deny("PutBucketPolicy", on("s3:PutBucketPolicy", &w.b.bucket_arn), &["ConfigOnlyByOperator", "Never"]),
        deny("DeleteBucket", on("s3:DeleteBucket", &w.b.bucket_arn), &["ConfigOnlyByOperator", "Never"]),
        deny("DisableKey", on("kms:DisableKey", &w.b.key_arn), &[]),
        deny("a queue", on("sqs:SendMessage", "arn:aws:sqs:eu-west-1:111122223333:q"), &[]),
    ];
    for action in ["iam:CreateRole", "sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"] {
        rows.push(deny(action, on(action, "arn:aws:iam::111122223333:role/Admin"), &["Never"]));
    }
    rows
}
