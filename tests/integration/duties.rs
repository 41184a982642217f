//! Standing duties, asked of AWS by the workloads themselves.

use serde_json::json;

use crate::support::account::AUDIENCE;
use crate::support::facets::ids;
use crate::support::{Access, World};

async fn world_with(name: &str) -> (World, crate::support::Operator, String) {
    let world = World::new(name).await;
    let operator = world.operator().start();
    for account in ["ingest", "etl", "audit", "other"] {
        world.service_account(account).await;
    }
    let access = json!([
        {"name": "ingest", "duty": "Producer", "serviceAccountRef": {"name": "ingest"}, "prefixes": ["in/"]},
        {"name": "etl", "duty": "Processor", "serviceAccountRef": {"name": "etl"}, "prefixes": ["in/", "out/"]},
        {"name": "audit", "duty": "Auditor", "serviceAccountRef": {"name": "audit"}},
    ]);
    world.apply_bucket("data", json!({"access": access})).await;
    let bucket = ids(&world.bucket_ready("data").await).bucket;
    (world, operator, bucket)
}

#[tokio::test]
async fn a_producer_writes_and_never_reads() {
    let (world, _operator, bucket) = world_with("producer").await;
    let producer = world.workload("ingest").await;
    producer.put(&bucket, "in/one", "1").await.allowed();
    producer.put_multipart(&bucket, "in/large").await.allowed();
    producer.put(&bucket, "out/one", "1").await.denied();
    producer.put_multipart(&bucket, "out/large").await.denied();
    // Not even what it wrote, in no version, and no names.
    producer.get(&bucket, "in/one").await.denied();
    producer.list(&bucket, "in/").await.denied();
    let versioned = producer.aws.s3.get_object_attributes().bucket(&bucket).key("in/one");
    let versioned = versioned.object_attributes(aws_sdk_s3::types::ObjectAttributes::Etag).send().await;
    assert!(versioned.is_err());
    let delete = producer.aws.s3.delete_object().bucket(&bucket).key("in/one").send().await;
    assert!(Access::of(delete.map(drop)).is_denied(), "nobody deletes");
    // Beside it: who may read finds what was written.
    let processor = world.workload("etl").await;
    assert_eq!(processor.get(&bucket, "in/one").await.allowed(), "1");
}

#[tokio::test]
async fn a_processor_reads_and_writes_under_its_prefixes_only() {
    let (world, _operator, bucket) = world_with("processor").await;
    let processor = world.workload("etl").await;
    processor.put(&bucket, "out/one", "1").await.allowed();
    processor.put_multipart(&bucket, "out/large").await.allowed();
    assert_eq!(processor.get(&bucket, "out/one").await.allowed(), "1");
    assert_eq!(processor.list(&bucket, "out/").await.allowed().len(), 2);
    processor.put(&bucket, "elsewhere/one", "1").await.denied();
    processor.get(&bucket, "elsewhere/one").await.denied();
    processor.list(&bucket, "").await.denied();
    processor.list(&bucket, "o").await.denied();
    // An upload that chooses its own encryption is refused, whoever makes it.
    let put = |key: &str| processor.aws.s3.put_object().bucket(&bucket).key(key);
    let aes = put("out/aes").server_side_encryption(aws_sdk_s3::types::ServerSideEncryption::Aes256);
    assert!(Access::of(aes.send().await.map(drop)).is_denied(), "SSE-S3");
    let unnamed = put("out/unnamed").server_side_encryption(aws_sdk_s3::types::ServerSideEncryption::AwsKms);
    assert!(Access::of(unnamed.send().await.map(drop)).is_denied(), "aws:kms without a key");
    let key = ids(&world.bucket_ready("data").await).key;
    let named = put("out/named").server_side_encryption(aws_sdk_s3::types::ServerSideEncryption::AwsKms);
    Access::of(named.ssekms_key_id(&key).send().await.map(drop)).allowed();
    // The key serves S3 and this bucket, and nothing else.
    let direct = processor.aws.kms.generate_data_key().key_id(&key);
    let direct = direct.key_spec(aws_sdk_kms::types::DataKeySpec::Aes256).send().await;
    assert!(Access::of(direct.map(drop)).is_denied(), "KMS directly");
}

#[tokio::test]
async fn an_auditor_sees_configuration_and_names_and_no_content() {
    let (world, _operator, bucket) = world_with("auditor").await;
    let ingest = world.workload("ingest").await;
    ingest.put(&bucket, "in/one", "1").await.allowed();
    let auditor = world.workload("audit").await;
    assert_eq!(auditor.list(&bucket, "in/").await.allowed(), ["in/one"]);
    let s3 = &auditor.aws.s3;
    Access::of(s3.get_bucket_policy().bucket(&bucket).send().await.map(drop)).allowed();
    Access::of(s3.get_bucket_encryption().bucket(&bucket).send().await.map(drop)).allowed();
    Access::of(s3.get_public_access_block().bucket(&bucket).send().await.map(drop)).allowed();
    let key = ids(&world.bucket_ready("data").await).key;
    let kms = &auditor.aws.kms;
    Access::of(kms.get_key_policy().key_id(&key).send().await.map(drop)).allowed();
    Access::of(kms.list_grants().key_id(&key).send().await.map(drop)).allowed();

    auditor.get(&bucket, "in/one").await.denied();
    auditor.put(&bucket, "in/two", "2").await.denied();
    let policy = s3.delete_bucket_policy().bucket(&bucket).send().await;
    assert!(Access::of(policy.map(drop)).is_denied(), "configuration is for looking");
    let disable = kms.disable_key().key_id(&key).send().await;
    assert!(Access::of(disable.map(drop)).is_denied());
}

#[tokio::test]
async fn a_role_is_for_its_own_service_account_and_audience() {
    let (world, _operator, bucket) = world_with("trust").await;
    let role = world.role_arn("etl");
    let own = world.token_for("etl", AUDIENCE).await;
    world.assume(&role, &own).await.allowed().put(&bucket, "in/one", "1").await.allowed();
    let other = world.token_for("other", AUDIENCE).await;
    assert!(world.assume(&role, &other).await.is_denied(), "another ServiceAccount");
    let ingest = world.token_for("ingest", AUDIENCE).await;
    assert!(world.assume(&role, &ingest).await.is_denied(), "another duty's ServiceAccount");
    let audience = world.token_for("etl", "https://kubernetes.default.svc").await;
    assert!(world.assume(&role, &audience).await.is_denied(), "a token for the API server");
    let elsewhere = world.token_in(world.operator_namespace(), "securebucket", AUDIENCE).await;
    assert!(world.assume(&role, &elsewhere).await.is_denied(), "the operator itself");
}
