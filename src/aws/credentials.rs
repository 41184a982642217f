//! The operator's own credentials: its ServiceAccount token for a role session.
//!
//! The SDK has such a provider, but it takes its endpoint from the environment alone; this one asks the same endpoint as everything else.

use std::path::PathBuf;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use aws_sdk_sts::Client;

/// Session name: one name, so that CloudTrail and refusals read the same whichever replica asks.
const SESSION: &str = "securebucket";

/// AssumeRoleWithWebIdentity with a token file. The kubelet renews the file, so it is read each time.
#[derive(Debug)]
pub struct WebIdentity {
    /// Client without credentials.
    pub sts: Client,
    /// Role to assume.
    pub role_arn: String,
    /// File with the ServiceAccount token.
    pub token_file: PathBuf,
}

impl WebIdentity {
    async fn load(&self) -> Provided {
        let token = tokio::fs::read_to_string(&self.token_file).await.map_err(CredentialsError::provider_error)?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role_arn)
            .role_session_name(SESSION)
            .web_identity_token(token.trim())
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let session = answer.credentials.ok_or_else(|| CredentialsError::unhandled("STS gave no credentials"))?;
        let expiry = SystemTime::try_from(session.expiration).map_err(CredentialsError::unhandled)?;
        Ok(Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            Some(expiry),
            "WebIdentity",
        ))
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}
