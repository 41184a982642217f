//! The oracle bites: what is wrong in a world is found by the comparison that ends a run.

use aws_sdk_kms::types::GrantOperation;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::campaign::on_two_threads;
use super::run::Run;
use super::scenario::Scenario;

#[test]
fn what_is_left_behind_is_found() {
    on_two_threads(leave_things_behind());
}

async fn leave_things_behind() {
    let run = Run::new("faults-meta", None, None).await;
    run.carry_out(Scenario::HandBack).await;
    assert_eq!(run.problems(), [""; 0]);
    let lawful = run.snapshots();
    let found = async || run.differs_from(&lawful, "released").await;
    assert_eq!(found().await, [""; 0]);
    let says = |found: &[String], part: &str| {
        assert!(found.iter().any(|line| line.contains(part)), "{part:?} is not in {found:#?}");
    };

    let maps: Api<ConfigMap> = Api::namespaced(run.world.client.clone(), &run.world.namespace);
    let left: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "left-behind"}})).unwrap();
    maps.create(&PostParams::default(), &left).await.unwrap();
    says(&found().await, "not wanted /kubernetes/configmaps/left-behind");

    let allow =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let trust = json!({"Version": "2012-10-17", "Statement": []});
    let (iam, path) = (&run.root.iam, run.world.install.role_path());
    iam.create_role()
        .path(&path)
        .role_name("left")
        .assume_role_policy_document(trust.to_string())
        .send()
        .await
        .unwrap();
    let policy = iam.put_role_policy().role_name("left").policy_name("p").policy_document(allow.to_string());
    policy.send().await.unwrap();
    says(&found().await, "not wanted /roles/left/inline/p/Statement/0/Action");

    // A KMS grant can only be made by the operator's role: its key policy sees to that.
    let key = run.root.kms.list_keys().send().await.unwrap().keys().first().unwrap().key_arn.clone().unwrap();
    let token = std::fs::read_to_string(run.world.token_file()).unwrap();
    let operator = run.world.assume(&run.world.install.operator_role, &token).await.allowed();
    let grant =
        operator.aws.kms.create_grant().key_id(key).grantee_principal(run.world.install.place.role(&path, "left"));
    grant.operations(GrantOperation::Decrypt).name("left").send().await.unwrap();
    says(&found().await, "not wanted /keys/0/grants/0/grantee");

    run.root.kms.create_key().send().await.unwrap();
    says(&found().await, "not wanted /keys/1/state");

    let bucket = run.bucket_arn.get().unwrap().trim_start_matches("arn:aws:s3:::");
    run.root.s3.delete_bucket_policy().bucket(bucket).send().await.unwrap();
    says(&found().await, "missing    /buckets/");
}
