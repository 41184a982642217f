use serde_json::json;

use super::*;
use crate::aws::error::AwsErrorKind as K;
use crate::aws::kms::{KeyHead, Kms};
use crate::bucket::observed::KeyState;
use crate::role::observed::ObservedGrant;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

async fn given(answers: impl IntoIterator<Item = serde_json::Value>) -> (Wire, Kms) {
    let wire = Wire::new(answers.into_iter().map(|a| ok(&a.to_string()))).await;
    let kms = wire.aws.kms(&place());
    (wire, kms)
}

async fn refused(status: u16, code: &str, message: &str) -> (Wire, Kms) {
    let wire = Wire::new([json_error(status, code, message)]).await;
    let kms = wire.aws.kms(&place());
    (wire, kms)
}

fn target(request: &Request) -> &str {
    request.header("x-amz-target").unwrap()
}

fn metadata(state: &str) -> serde_json::Value {
    json!({ "KeyMetadata": { "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Arn": KEY, "KeyState": state } })
}

#[tokio::test(start_paused = true)]
async fn describe_key_by_alias() {
    for (word, state) in [
        ("Enabled", KeyState::Enabled),
        ("Disabled", KeyState::Disabled),
        ("PendingDeletion", KeyState::PendingDeletion),
        ("Creating", KeyState::Other("Creating".into())),
        ("Whatever", KeyState::Other("Whatever".into())),
    ] {
        let (wire, kms) = given([metadata(word)]).await;
        let head = KeyHead { arn: KEY.into(), id: "1234abcd-12ab-34cd-56ef-1234567890ab".into(), state };
        assert_eq!(kms.describe_key("alias/securebucket/c/i").await.unwrap(), head);
        assert_eq!(wire.last().json(), json!({ "KeyId": "alias/securebucket/c/i" }));
    }
    let (_wire, kms) = refused(400, "NotFoundException", "Alias is not found.").await;
    assert_eq!(kms.describe_key("alias/x").await.unwrap_err().kind, K::NotFound);
}

#[tokio::test(start_paused = true)]
async fn create_key_is_symmetric_tagged_and_keeps_the_lockout_check() {
    let (wire, kms) = given([metadata("Enabled")]).await;
    kms.create_key("for a bucket", &document(), &tags()).await.unwrap();
    let sent = wire.last();
    assert_eq!(target(&sent), "TrentService.CreateKey");
    let body = sent.json();
    assert_eq!(body["KeySpec"], "SYMMETRIC_DEFAULT");
    assert_eq!(body["KeyUsage"], "ENCRYPT_DECRYPT");
    assert_eq!(body["Origin"], "AWS_KMS");
    assert_eq!(body["MultiRegion"], false);
    assert_eq!(body["Tags"][1], json!({ "TagKey": "team", "TagValue": "x" }));
    assert_eq!(Document::parse(body["Policy"].as_str().unwrap()).unwrap(), document());
    assert_eq!(body.get("BypassPolicyLockoutSafetyCheck"), None);

    let (_wire, kms) = refused(400, "LimitExceededException", "too many keys").await;
    assert_eq!(kms.create_key("d", &document(), &tags()).await.unwrap_err().kind, K::LimitExceeded);
    let text = "Policy contains a statement with one or more invalid principals.";
    let (_wire, kms) = refused(400, "MalformedPolicyDocumentException", text).await;
    assert_eq!(kms.create_key("d", &document(), &tags()).await.unwrap_err().kind, K::UnknownPrincipal);
}

#[tokio::test(start_paused = true)]
async fn create_key_is_not_repeated_by_the_sdk() {
    let lost = json_error(500, "KMSInternalException", "");
    let wire = Wire::new([lost, ok(&metadata("Enabled").to_string())]).await;
    let kms = wire.aws.kms(&place());
    assert_eq!(kms.create_key("d", &document(), &tags()).await.unwrap_err().kind, K::Unavailable);
    assert_eq!(wire.requests().len(), 1, "the first may have made a key");
    kms.describe_key(KEY).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn aliases() {
    let (wire, kms) = given([json!({})]).await;
    kms.create_alias("alias/securebucket/c/i", KEY).await.unwrap();
    assert_eq!(wire.last().json(), json!({ "AliasName": "alias/securebucket/c/i", "TargetKeyId": KEY }));
    kms.update_alias("alias/securebucket/c/i", "k2").await.unwrap();
    assert_eq!(target(&wire.last()), "TrentService.UpdateAlias");
    let (_wire, kms) = refused(400, "AlreadyExistsException", "An alias with the name exists").await;
    assert_eq!(kms.create_alias("alias/a", KEY).await.unwrap_err().kind, K::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_to_their_end() {
    let (wire, kms) = given([
        json!({ "Keys": [{ "KeyId": "1", "KeyArn": "arn:1" }], "Truncated": true, "NextMarker": "m" }),
        json!({ "Keys": [{ "KeyId": "2", "KeyArn": "arn:2" }], "Truncated": false }),
    ])
    .await;
    assert_eq!(kms.list_keys().await.unwrap(), ["arn:1", "arn:2"]);
    assert_eq!(wire.last().json()["Marker"], "m");

    let (_wire, kms) = given([
        json!({ "Aliases": [{ "AliasName": "alias/aws/s3" }], "Truncated": true, "NextMarker": "m" }),
        json!({ "Aliases": [{ "AliasName": "alias/a", "TargetKeyId": "1" }], "Truncated": false }),
    ])
    .await;
    assert_eq!(kms.list_aliases().await.unwrap(), [("alias/a".to_owned(), "1".to_owned())]);

    let (wire, kms) = given([
        json!({ "Tags": [{ "TagKey": "a", "TagValue": "1" }], "Truncated": true, "NextMarker": "m" }),
        json!({ "Tags": [{ "TagKey": "b", "TagValue": "2" }], "Truncated": false }),
    ])
    .await;
    assert_eq!(kms.key_tags(KEY).await.unwrap().len(), 2);
    assert_eq!(wire.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn grants_are_listed_whole_or_not_at_all() {
    let first = json!({ "GrantId": "g1", "Name": "securebucket/c/u/h", "GranteePrincipal": "arn:aws:iam::111122223333:role/r",
        "Operations": ["DescribeKey", "Decrypt"] });
    let second = json!({ "GrantId": "g2", "GranteeServicePrincipal": "x.amazonaws.com", "Operations": ["Encrypt"] });
    let page = |grant: &serde_json::Value, more: bool, marker: Option<&str>| json!({ "Grants": [grant], "Truncated": more, "NextMarker": marker });
    let (wire, kms) = given([page(&first, true, Some("m")), page(&second, false, None)]).await;
    let expected = [
        ObservedGrant {
            id: "g1".into(),
            name: Some("securebucket/c/u/h".into()),
            grantee: "arn:aws:iam::111122223333:role/r".into(),
            operations: vec!["Decrypt".into(), "DescribeKey".into()],
        },
        ObservedGrant {
            id: "g2".into(),
            name: None,
            grantee: "x.amazonaws.com".into(),
            operations: vec!["Encrypt".into()],
        },
    ];
    assert_eq!(kms.list_grants(KEY).await.unwrap(), expected);
    let sent = wire.requests();
    assert_eq!(sent[0].json(), json!({ "KeyId": KEY, "Limit": 100 }));
    assert_eq!(sent[1].json()["Marker"], "m");

    let (_wire, kms) = given([page(&first, true, None)]).await;
    assert_eq!(kms.list_grants(KEY).await.unwrap_err().kind, K::Unavailable, "a list that breaks off is no list");
}

#[tokio::test(start_paused = true)]
async fn key_policies() {
    let (_wire, kms) = given([json!({ "Policy": document().render() })]).await;
    assert_eq!(kms.key_policy(KEY).await.unwrap(), document());
    let (_wire, kms) = given([json!({ "Policy": "{}" })]).await;
    assert_eq!(kms.key_policy(KEY).await.unwrap_err().kind, K::Invalid);
    let (wire, kms) = given([json!({})]).await;
    kms.put_key_policy(KEY, &document()).await.unwrap();
    let body = wire.last().json();
    assert_eq!(Document::parse(body["Policy"].as_str().unwrap()).unwrap(), document());
    assert_eq!(body.get("BypassPolicyLockoutSafetyCheck"), None);
    let text = "The new key policy will not allow you to update the key policy in the future.";
    let (_wire, kms) = refused(400, "MalformedPolicyDocumentException", text).await;
    assert_eq!(kms.put_key_policy(KEY, &document()).await.unwrap_err().kind, K::Invalid);
}

#[tokio::test(start_paused = true)]
async fn rotation() {
    let (_wire, kms) = given([json!({ "KeyRotationEnabled": true, "RotationPeriodInDays": 180 })]).await;
    assert_eq!(kms.rotation(KEY).await.unwrap(), Some(180));
    let (wire, kms) = given([json!({ "KeyRotationEnabled": false, "RotationPeriodInDays": 365 })]).await;
    assert_eq!(kms.rotation(KEY).await.unwrap(), None);
    kms.enable_rotation(KEY, 90).await.unwrap();
    assert_eq!(wire.last().json(), json!({ "KeyId": KEY, "RotationPeriodInDays": 90 }));
    let (_wire, kms) = refused(400, "DisabledException", "key is disabled").await;
    assert_eq!(kms.enable_rotation(KEY, 90).await.unwrap_err().kind, K::KeyState);
}

#[tokio::test(start_paused = true)]
async fn tags_and_states_are_set() {
    let (wire, kms) = given([json!({ "KeyId": KEY })]).await;
    kms.tag_key(KEY, &tags()).await.unwrap();
    assert_eq!(wire.last().json()["Tags"][1]["TagKey"], "team");
    kms.untag_key(KEY, &["team".to_owned()]).await.unwrap();
    assert_eq!(wire.last().json(), json!({ "KeyId": KEY, "TagKeys": ["team"] }));
    kms.enable_key(KEY).await.unwrap();
    assert_eq!(target(&wire.last()), "TrentService.EnableKey");
    kms.cancel_key_deletion(KEY).await.unwrap();
    assert_eq!(target(&wire.last()), "TrentService.CancelKeyDeletion");
    let (_wire, kms) = refused(400, "KMSInvalidStateException", "is not pending deletion").await;
    assert_eq!(kms.cancel_key_deletion(KEY).await.unwrap_err().kind, K::KeyState);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_decrypt_and_describe_without_constraint_and_its_token_is_dropped() {
    let token = "AQpAM2RhZ".repeat(30);
    let (wire, kms) = given([json!({ "GrantId": "g1", "GrantToken": token })]).await;
    assert_eq!(kms.create_grant(KEY, "arn:aws:iam::111122223333:role/r", "n").await.unwrap(), "g1");
    let expected = json!({ "KeyId": KEY, "GranteePrincipal": "arn:aws:iam::111122223333:role/r",
        "Operations": ["Decrypt", "DescribeKey"], "Name": "n" });
    assert_eq!(wire.last().json(), expected);

    for (code, kind) in [
        ("InvalidArnException", K::UnknownPrincipal),
        ("DisabledException", K::KeyState),
        ("KMSInvalidStateException", K::KeyState),
        ("LimitExceededException", K::LimitExceeded),
        ("NotFoundException", K::NotFound),
    ] {
        let (_wire, kms) = refused(400, code, &format!("token {token} refused")).await;
        let error = kms.create_grant(KEY, "r", "n").await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(!error.to_string().contains(&token[..20]), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn revoke() {
    let (wire, kms) = given([json!({})]).await;
    kms.revoke_grant(KEY, "g1").await.unwrap();
    assert_eq!(wire.last().json(), json!({ "KeyId": KEY, "GrantId": "g1" }));
    let (_wire, kms) = refused(400, "NotFoundException", "Grant ID g1 not found").await;
    assert_eq!(kms.revoke_grant(KEY, "g1").await.unwrap_err().kind, K::NotFound);
    let (_wire, kms) = refused(400, "InvalidArnException", "Invalid keyId").await;
    assert_eq!(kms.revoke_grant(KEY, "g1").await.unwrap_err().kind, K::Invalid, "only a grantee can be unknown yet");
}
