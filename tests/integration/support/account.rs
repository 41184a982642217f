//! A fresh AWS account on the emulator, set up as a platform team sets one up for the operator.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use securebucket::aws::policies;
use securebucket::clock::Clock;
use securebucket::domain::arn::issuer_host_path;
use securebucket::domain::installation::Installation;
use serde_json::{Value, json};

use super::Stack;

/// Region of all worlds.
pub const REGION: &str = "eu-west-1";
/// Further region that all worlds serve.
pub const OTHER_REGION: &str = "eu-central-1";
/// Name of the operator's role.
pub const OPERATOR_ROLE: &str = "securebucket-operator";
/// Name of its one inline policy.
pub const OPERATOR_POLICY: &str = "operator";
/// Audience of tokens for AWS.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// Clients of one principal for the services of the tests, in one region.
#[derive(Clone, Debug)]
pub struct AwsClients {
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// KMS.
    pub kms: aws_sdk_kms::Client,
    /// IAM.
    pub iam: aws_sdk_iam::Client,
}

impl AwsClients {
    /// Clients with these credentials, who sign by this clock.
    pub fn new(stack: &Stack, credentials: Credentials, region: &str, clock: &Clock) -> Self {
        let config = config(stack, region, Some(credentials), clock);
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            kms: aws_sdk_kms::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
        }
    }

    /// The account's root user: the access key that is an account's number. The emulator lets root pass everything but an explicit Deny, so
    /// no permission may ever be judged by it.
    pub fn root(stack: &Stack, account: &str, region: &str, clock: &Clock) -> Self {
        Self::new(stack, Credentials::new(account, "root", None, None, "test"), region, clock)
    }
}

fn config(stack: &Stack, region: &str, credentials: Option<Credentials>, clock: &Clock) -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(&stack.aws.endpoint)
        .time_source(clock.clone())
        .http_client(transport());
    config.set_credentials_provider(credentials.map(SharedCredentialsProvider::new));
    config.build()
}

/// An STS client without credentials, for AssumeRoleWithWebIdentity.
pub fn anonymous_sts(stack: &Stack) -> aws_sdk_sts::Client {
    aws_sdk_sts::Client::new(&config(stack, REGION, None, &Clock::new()))
}

/// An HTTP client for the emulator's plain endpoint. It belongs to the runtime that uses it first.
pub fn transport() -> SharedHttpClient {
    Builder::new().build_http()
}

/// 12 random digits.
pub fn random_account() -> String {
    format!("{:012}", uuid::Uuid::new_v4().as_u128() % 900_000_000_000 + 100_000_000_000)
}

/// Trust policy for one ServiceAccount.
pub fn trust(install: &Installation, subject: &str) -> Value {
    let issuer = issuer_host_path(&install.oidc_issuer);
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": install.oidc_provider()},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {format!("{issuer}:sub"): subject, format!("{issuer}:aud"): AUDIENCE}},
    }]})
}

/// Makes OIDC provider, boundary and operator role, with the two documents that `securebucket policy` prints.
pub(super) async fn prepare(root: &AwsClients, install: &Installation, operator_subject: &str) {
    let iam = &root.iam;
    iam.create_open_id_connect_provider()
        .url(&install.oidc_issuer)
        .client_id_list(AUDIENCE)
        .send()
        .await
        .expect("OIDC provider");
    let boundary_name = install.boundary.rsplit('/').next().unwrap();
    let boundary = policies::boundary(install).render();
    iam.create_policy().policy_name(boundary_name).policy_document(boundary).send().await.expect("boundary");
    let trust = trust(install, operator_subject).to_string();
    iam.create_role().role_name(OPERATOR_ROLE).assume_role_policy_document(trust).send().await.expect("operator role");
    put_operator_policy(root, &policies::operator(install).render()).await;
}

/// Replaces the operator's policy.
pub async fn put_operator_policy(root: &AwsClients, document: &str) {
    root.iam
        .put_role_policy()
        .role_name(OPERATOR_ROLE)
        .policy_name(OPERATOR_POLICY)
        .policy_document(document)
        .send()
        .await
        .expect("operator policy");
}
