//! The law bites: a lawful history passes, and each way to break it is found.

use jiff::SignedDuration;
use serde_json::json;

use super::super::journal::Write;
use super::*;

const T0: &str = "2026-01-01T00:00:00Z";
const END: &str = "2026-01-01T01:00:00Z";
const READER: &str = "ns--reader-00000000";
const READER_ARN: &str = "arn:aws:iam::1:role/securebucket/c/ns--reader-00000000";

fn at(second: i64) -> Timestamp {
    T0.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn entry(second: i64, write: Write, answer: Value) -> Entry {
    Entry { asked: at(second), sent: at(second), done: at(second), status: 200, write, answer }
}

fn aws(second: i64, operation: &str, parameters: Value) -> Entry {
    entry(second, Write::Aws { operation: operation.into(), parameters }, json!({"GrantId": "g"}))
}

fn kube(second: i64, method: &str, resource: &str, body: Value, answer: Value) -> Entry {
    entry(second, Write::Kube { method: method.into(), resource: resource.into(), body }, answer)
}

fn grant(second: i64, status: Value) -> Entry {
    let answer = json!({"metadata": {"uid": "u", "finalizers": [GRANT_FINALIZER]}, "status": status});
    kube(second, "PUT", "decryptgrants", Value::Null, answer)
}

fn allow(end: &str) -> Value {
    json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": "arn:aws:s3:::b/in/*",
           "Condition": {"DateLessThan": {"aws:CurrentTime": end}}})
}

fn deny(from: &str) -> Value {
    json!({"Effect": "Deny", "Action": ["s3:GetObject*", "s3:ListBucket*"], "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
           "Condition": {"DateGreaterThanEquals": {"aws:CurrentTime": from}}})
}

fn role_policy(second: i64, statements: Value) -> Entry {
    aws(second, "PutRolePolicy", json!({"RoleName": READER, "PolicyDocument": {"Statement": statements}}))
}

fn create_grant(second: i64) -> Entry {
    let parameters = json!({"Operations": ["Decrypt", "DescribeKey"], "GranteePrincipal": READER_ARN, "Name": "n"});
    aws(second, "CreateGrant", parameters)
}

/// Finalizer, key, bucket policy, grant with its window, role policy, KMS grant; then the end of it.
fn lawful() -> Vec<Entry> {
    let bucket = json!({"metadata": {"uid": "b", "finalizers": [BUCKET_FINALIZER]}});
    let key_policy = json!({"Statement": [{"Sid": "k", "Effect": "Allow"}]});
    let bucket_policy = json!({"Statement": [{"Sid": "p", "Effect": "Deny"}]});
    let window = json!({"activatedAt": T0, "expiresAt": END, "kmsGrant": {"name": "n"}});
    let removal =
        json!({"activatedAt": T0, "expiresAt": END, "kmsGrant": {"name": "n"}, "removal": {"verifiedAt": T0}});
    let the_grant = json!({"metadata": {"uid": "u"}, "status": removal.clone()});
    let the_bucket = json!({"metadata": {"uid": "b"}});
    let remove = json!([{"op": "test"}, {"op": "remove"}]);
    vec![
        kube(0, "PATCH", "securebuckets", json!([{"op": "add"}]), bucket),
        aws(1, "CreateKey", json!({ "Policy": key_policy })),
        aws(2, "PutBucketPolicy", json!({ "Policy": bucket_policy })),
        grant(3, json!({})),
        grant(4, window),
        role_policy(5, json!([allow(END), deny(END)])),
        create_grant(6),
        role_policy(7, json!([deny(T0)])),
        aws(8, "RevokeGrant", json!({"GrantId": "g"})),
        grant(9, removal),
        kube(10, "PATCH", "decryptgrants", remove.clone(), the_grant),
        aws(11, "DeleteRolePolicy", json!({"RoleName": READER})),
        kube(12, "PATCH", "securebuckets", remove, the_bucket),
    ]
}

fn violations(entries: Vec<Entry>) -> Vec<String> {
    violations_in(Scenario::HandBack, entries)
}

fn violations_in(scenario: Scenario, mut entries: Vec<Entry>) -> Vec<String> {
    entries.sort_by_key(|e| e.sent);
    let mask = Mask::default();
    let usual = Usual::of(&lawful(), &mask);
    let law = Law {
        reader: READER.into(),
        reader_arn: READER_ARN.into(),
        scenario,
        bucket_arn: "arn:aws:s3:::b".into(),
        prefix: "in/",
        mask: &mask,
        usual: Some(&usual),
    };
    law.violations(&entries)
}

/// The lawful history with the entry at a second replaced or, if there is none, added.
fn with(changed: Entry) -> Vec<Entry> {
    let others = lawful().into_iter().filter(|e| e.sent != changed.sent);
    others.chain([changed.clone()]).collect()
}

/// The lawful history, but that no removal was ever proved.
fn unproved() -> Vec<Entry> {
    let mut entries = without(9);
    for status in entries.iter_mut().filter_map(|e| e.answer.pointer_mut("/status")?.as_object_mut()) {
        status.remove("removal");
    }
    entries
}

fn without(second: i64) -> Vec<Entry> {
    lawful().into_iter().filter(|e| e.sent != at(second)).collect()
}

#[test]
fn a_lawful_history_breaks_nothing() {
    assert_eq!(violations(lawful()), [""; 0]);
}

#[test]
fn every_breach_is_found() {
    const LATER: &str = "2026-01-01T02:00:00Z";
    let undated = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/in/*"});
    let wide = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
                      "Condition": {"DateLessThan": {"aws:CurrentTime": END}}});
    let other_role = json!({"RoleName": "ns--writer-0", "PolicyDocument": {"Statement": [allow(END), deny(END)]}});
    let reencrypt = json!({"Operations": ["Decrypt", "ReEncryptFrom"], "GranteePrincipal": READER_ARN, "Name": "n"});
    let stranger =
        json!({"Operations": ["Decrypt", "DescribeKey"], "GranteePrincipal": "arn:aws:iam::1:role/x", "Name": "n"});
    let nameless = json!({"Operations": ["Decrypt", "DescribeKey"], "GranteePrincipal": READER_ARN});
    let second_name = json!({"Operations": ["Decrypt", "DescribeKey"], "GranteePrincipal": READER_ARN, "Name": "m"});
    let open = json!({"Statement": [{"Sid": "p", "Effect": "Allow", "Principal": "*"}]});
    let cases: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("an Allow without a date", with(role_policy(5, json!([undated, deny(END)]))), "without an end"),
        ("an Allow beyond the end", with(role_policy(5, json!([allow(LATER), deny(END)]))), "is no expiresAt"),
        ("an Allow for other objects", with(role_policy(5, json!([wide, deny(END)]))), "other objects"),
        ("an Allow with no Deny", with(role_policy(5, json!([allow(END)]))), "no Deny ends"),
        ("a Deny before the Allow's end", with(role_policy(5, json!([allow(END), deny(T0)]))), "no Deny ends"),
        ("a Deny after the last end", with(role_policy(5, json!([allow(END), deny(LATER)]))), "no Deny ends"),
        ("an Allow before expiresAt is known", without(4), "before any expiresAt"),
        ("a role without a grant", with(aws(20, "PutRolePolicy", other_role)), "a role without a grant"),
        ("a KMS grant before the role's policy", without(5), "while the role's policy is"),
        ("a KMS grant after the end", with(create_grant(3601)), "after its end"),
        ("a KMS grant for more operations", with(aws(6, "CreateGrant", reencrypt)), "ReEncryptFrom"),
        ("a KMS grant to somebody else", with(aws(6, "CreateGrant", stranger)), "role/x"),
        ("a KMS grant without a name", with(aws(6, "CreateGrant", nameless)), "which no status had"),
        ("a KMS grant by another name", with(aws(13, "CreateGrant", second_name)), "which no status had"),
        ("a second key", with(aws(13, "CreateKey", json!({"Policy": {"Statement": [{"Sid": "k"}]}}))), "2 keys"),
        ("a write before the finalizer", without(0), "before the finalizer of the SecureBucket"),
        ("a write after the finalizer", with(aws(13, "PutKeyPolicy", json!({}))), "after the SecureBucket let go"),
        (
            "a KMS grant before its finalizer",
            without(3).into_iter().filter(|e| e.sent != at(4)).collect(),
            "of the DecryptGrant",
        ),
        ("a destroyed bucket", with(aws(13, "DeleteBucket", json!({}))), "DeleteBucket was asked for"),
        ("a destroyed key", with(aws(13, "ScheduleKeyDeletion", json!({}))), "ScheduleKeyDeletion was asked for"),
        ("a disabled key, without a lockdown", with(aws(13, "DisableKey", json!({}))), "DisableKey was asked for"),
        ("a prolonged window", with(grant(9, json!({"activatedAt": T0, "expiresAt": LATER}))), "expiresAt went from"),
        ("a window that is taken back", with(grant(9, json!({"activatedAt": T0}))), "expiresAt went from"),
        ("proof while a KMS grant lives", without(8), "removal recorded while"),
        ("proof while an Allow stands", without(7), "removal recorded while"),
        ("revoking before the Allow is out", without(7), "still lets its holder read"),
        ("the Deny goes while a KMS grant lives", with(role_policy(7, json!([]))), "takes the Deny away"),
        ("a finalizer that goes without proof", unproved(), "proof: false"),
        ("a bucket policy that allows", with(aws(2, "PutBucketPolicy", json!({ "Policy": open }))), "that allows"),
        (
            "another bucket policy",
            with(aws(2, "PutBucketPolicy", json!({"Policy": {"Statement": [{"Sid": "q"}]}}))),
            "does not; new in it",
        ),
    ];
    let again: Vec<Entry> = (20..22).map(|s| role_policy(s, json!([deny(T0)]))).collect();
    let cases = cases.into_iter().chain([(
        "a storm of writes",
        lawful().into_iter().chain(again).collect(),
        "had an effect 4 times, at most 3",
    )]);
    for (what, entries, word) in cases {
        let found = violations(entries);
        assert!(found.iter().any(|f| f.contains(word)), "{what}: not found in {found:?}");
    }
}

#[test]
fn two_persons_agree_before_anything_begins() {
    let says = |second, decision: &str| {
        let parameters = json!({ "decision": decision });
        entry(second, Write::Outside { operation: "GrantReview".into(), parameters }, Value::Null)
    };
    let after = |words: [Entry; 2]| violations_in(Scenario::Agreement, lawful().into_iter().chain(words).collect());
    // The window opens at the fourth second.
    assert_eq!(after([says(2, "Approve"), says(3, "Approve")]), [""; 0]);
    for words in [[says(2, "Approve"), says(5, "Approve")], [says(2, "Approve"), says(3, "Deny")]] {
        let found = after(words);
        assert!(found.iter().any(|v| v.contains("two agreed at")), "{found:?}");
    }
}
