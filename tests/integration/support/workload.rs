//! A workload: what a pod with a ServiceAccount and its role can do, by the real SDK with a real token.

use aws_credential_types::Credentials;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::World;
use super::account::{AUDIENCE, AwsClients, REGION, anonymous_sts};

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access<T> {
    /// It was allowed.
    Allowed(T),
    /// AWS refused it.
    Denied {
        /// AWS's code: `AccessDenied`.
        code: String,
        /// AWS's words: which action, and whether a Deny or the lack of an Allow refused it.
        message: String,
    },
}

impl<T: std::fmt::Debug> Access<T> {
    /// True if it was refused.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// The value; fails the test if it was refused.
    #[track_caller]
    pub fn allowed(self) -> T {
        match self {
            Self::Allowed(value) => value,
            Self::Denied { code, message } => panic!("refused, but should be allowed: {code}: {message}"),
        }
    }

    /// AWS's words; fails the test if it was allowed.
    #[track_caller]
    pub fn denied(self) -> String {
        match self {
            Self::Denied { message, .. } => message,
            Self::Allowed(value) => panic!("allowed, but should be refused: {value:?}"),
        }
    }

    /// From an answer of the SDK. Any failure but a refusal fails the test.
    #[track_caller]
    pub fn of<E: ProvideErrorMetadata + std::fmt::Debug>(answer: Result<T, E>) -> Self {
        match answer {
            Ok(value) => Self::Allowed(value),
            Err(error) => match error.code() {
                Some(code) if code.starts_with("AccessDenied") || code == "Forbidden" => {
                    Self::Denied { code: code.to_owned(), message: error.message().unwrap_or_default().to_owned() }
                }
                _ => panic!("neither allowed nor refused: {error:?}"),
            },
        }
    }
}

/// Clients of a role session.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Clients with the session's credentials.
    pub aws: AwsClients,
}

impl World {
    /// The workload of a ServiceAccount of the first namespace, under the role that its name gives.
    pub async fn workload(&self, account: &str) -> Workload {
        self.workload_in(&self.namespace, account).await
    }

    /// The workload of a ServiceAccount, under the role that its name gives.
    pub async fn workload_in(&self, namespace: &str, account: &str) -> Workload {
        let token = self.token_in(namespace, account, AUDIENCE).await;
        self.assume(&self.install.role_arn(namespace, account), &token).await.allowed()
    }

    /// A role session by a token.
    pub async fn assume(&self, role_arn: &str, token: &str) -> Access<Workload> {
        let sts = anonymous_sts(self.stack);
        let answer = sts
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name("workload")
            .web_identity_token(token)
            .send()
            .await;
        let answer = match answer {
            Err(error) if error.code() == Some("InvalidIdentityToken") => {
                let message = error.message().unwrap_or_default().to_owned();
                return Access::Denied { code: "InvalidIdentityToken".into(), message };
            }
            answer => Access::of(answer),
        };
        match answer {
            Access::Allowed(answer) => {
                let c = answer.credentials.unwrap();
                let credentials =
                    Credentials::new(c.access_key_id, c.secret_access_key, Some(c.session_token), None, "test");
                Access::Allowed(Workload { aws: AwsClients::new(self.stack, credentials, REGION, &self.clock) })
            }
            Access::Denied { code, message } => Access::Denied { code, message },
        }
    }
}

impl Workload {
    /// PutObject.
    pub async fn put(&self, bucket: &str, key: &str, content: &str) -> Access<()> {
        let body = ByteStream::from(content.as_bytes().to_vec());
        let answer = self.aws.s3.put_object().bucket(bucket).key(key).body(body).send().await;
        Access::of(answer.map(drop))
    }

    /// GetObject.
    pub async fn get(&self, bucket: &str, key: &str) -> Access<String> {
        match Access::of(self.aws.s3.get_object().bucket(bucket).key(key).send().await) {
            Access::Allowed(answer) => {
                let bytes = answer.body.collect().await.unwrap().into_bytes();
                Access::Allowed(String::from_utf8(bytes.to_vec()).unwrap())
            }
            Access::Denied { code, message } => Access::Denied { code, message },
        }
    }

    /// ListObjectsV2 under a prefix: the keys.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Access<Vec<String>> {
        let answer = self.aws.s3.list_objects_v2().bucket(bucket).prefix(prefix).send().await;
        Access::of(answer.map(|a| a.contents.unwrap_or_default().into_iter().filter_map(|o| o.key).collect()))
    }

    /// A multipart upload of two parts, from begin to end.
    pub async fn put_multipart(&self, bucket: &str, key: &str) -> Access<()> {
        let s3 = &self.aws.s3;
        let begun = match Access::of(s3.create_multipart_upload().bucket(bucket).key(key).send().await) {
            Access::Allowed(begun) => begun,
            Access::Denied { code, message } => return Access::Denied { code, message },
        };
        let upload = begun.upload_id.unwrap();
        let mut parts = Vec::new();
        // Every part but the last has at least 5 MiB (S3 User Guide, qfacts).
        for (number, size) in [(1, 5 * 1024 * 1024), (2, 10)] {
            let body = ByteStream::from(vec![b'x'; size]);
            let part = s3.upload_part().bucket(bucket).key(key).upload_id(&upload).part_number(number).body(body);
            match Access::of(part.send().await) {
                Access::Allowed(done) => {
                    parts.push(CompletedPart::builder().part_number(number).set_e_tag(done.e_tag).build());
                }
                Access::Denied { code, message } => return Access::Denied { code, message },
            }
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let done = s3.complete_multipart_upload().bucket(bucket).key(key).upload_id(&upload).multipart_upload(parts);
        Access::of(done.send().await.map(drop))
    }
}
