//! [`Aws`]: built once, cloned everywhere; hands out one adapter per service and region.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::calls::Call;
use super::credentials::WebIdentity;
use super::error::{AwsError, AwsErrorKind};
use super::funnel::{CallLog, CallObserver, Fence, Funnel, Shared, Way, unexpected};
use super::http::dated;
use super::iam::Iam;
use super::kms::Kms;
use super::limit::{Limiter, Limits, Purpose};
use super::s3::S3;
use crate::clock::Clock;
use crate::domain::arn::Place;

/// Longest time from a call's turn to its end, with retries. It must stay below the lease's duration minus its renewal deadline: a leader
/// that has lost its lease has no call under way any more when another takes over.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time of one attempt.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;

/// How to reach AWS.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// One endpoint for all services instead of AWS's: a local stack.
    pub endpoint_url: Option<String>,
    /// The operator's own region.
    pub region: String,
    /// Role to run under. With [`AwsSettings::web_identity_token_file`]; without both, the SDK's default chain looks for credentials.
    pub role_arn: Option<String>,
    /// File with the ServiceAccount token for the role.
    pub web_identity_token_file: Option<PathBuf>,
    /// Rate limits.
    pub limits: Limits,
    /// File for the names of the operations called, for tests.
    pub call_log: Option<PathBuf>,
}

/// Who AWS says we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// 12 digits.
    pub account: String,
    /// ARN, of a role session as a rule: `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    pub arn: String,
}

/// The way to AWS. Clones share everything.
#[derive(Clone, Debug)]
pub struct Aws {
    inner: Arc<Inner>,
    purpose: Purpose,
    fence: Option<Fence>,
}

#[derive(Debug)]
struct Inner {
    config: SdkConfig,
    path_style: bool,
    limits: Limits,
    shared: Arc<Shared>,
    global: Arc<Funnel>,
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
    regions: Mutex<BTreeMap<String, Regional>>,
    clock: Clock,
}

/// Clients of one region.
#[derive(Clone, Debug)]
struct Regional {
    funnel: Arc<Funnel>,
    s3: aws_sdk_s3::Client,
    kms: aws_sdk_kms::Client,
}

impl Aws {
    /// Sets the clients up; makes no call. Answers that pass through `http` set `clock`.
    pub async fn new(
        settings: AwsSettings,
        http: SharedHttpClient,
        clock: Clock,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Self {
        let http = dated(http, clock.clone());
        let config = match (&settings.role_arn, &settings.web_identity_token_file) {
            (Some(role_arn), Some(token_file)) => {
                let anonymous = loader(&settings, &http, &clock).no_credentials().load().await;
                let provider = WebIdentity {
                    sts: aws_sdk_sts::Client::new(&anonymous),
                    role_arn: role_arn.clone(),
                    token_file: token_file.clone(),
                };
                loader(&settings, &http, &clock).credentials_provider(provider).load().await
            }
            _ => loader(&settings, &http, &clock).load().await,
        };
        let log = settings.call_log.as_deref().map(CallLog::new);
        let shared = Arc::new(Shared { observer, log });
        let limiter = Limiter::new(settings.limits);
        let global = Arc::new(Funnel { region: settings.region.clone(), limiter, shared: shared.clone() });
        let inner = Inner {
            path_style: config.endpoint_url().is_some(),
            limits: settings.limits,
            shared,
            global,
            iam: aws_sdk_iam::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            regions: Mutex::default(),
            config,
            clock,
        };
        Self { inner: Arc::new(inner), purpose: Purpose::Usual, fence: None }
    }

    /// The same, for calls that take access away or prove that it is gone: they have a share of every limit to themselves.
    #[must_use]
    pub fn narrowing(&self) -> Self {
        Self { purpose: Purpose::Narrowing, ..self.clone() }
    }

    /// The same, for calls that give access: none is sent while the fence is closed.
    #[must_use]
    pub fn fenced(&self, fence: Fence) -> Self {
        Self { fence: Some(fence), purpose: Purpose::Usual, ..self.clone() }
    }

    fn way(&self, funnel: Arc<Funnel>) -> Way {
        Way { funnel, purpose: self.purpose, fence: self.fence.clone() }
    }

    /// The clock that AWS's answers set.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// S3 in the region of `place`, for buckets of its account.
    pub fn s3(&self, place: &Place) -> S3 {
        let Regional { funnel, s3, .. } = self.regional(&place.region);
        S3::new(self.way(funnel), s3, place.account.clone())
    }

    /// KMS in the region of `place`.
    pub fn kms(&self, place: &Place) -> Kms {
        let Regional { funnel, kms, .. } = self.regional(&place.region);
        Kms::new(self.way(funnel), kms)
    }

    /// IAM.
    pub fn iam(&self) -> Iam {
        Iam::new(self.way(self.inner.global.clone()), self.inner.iam.clone())
    }

    /// Asks AWS who we are.
    ///
    /// # Errors
    /// If there are no credentials, or no answer.
    pub async fn identify(&self) -> Result<Caller, AwsError> {
        let resource = "the operator's identity";
        let answer =
            self.way(self.inner.global.clone()).call(resource, self.inner.sts.get_caller_identity().send()).await?;
        match (answer.account, answer.arn) {
            (Some(account), Some(arn)) => Ok(Caller { account, arn }),
            _ => {
                let message = "the answer names no account";
                Err(unexpected(Call::GetCallerIdentity, AwsErrorKind::Unavailable, resource, message))
            }
        }
    }

    fn regional(&self, region: &str) -> Regional {
        let inner = &self.inner;
        let mut regions = inner.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = regions.get(region) {
            return known.clone();
        }
        // From one configuration, so that all regions share credentials and connections.
        let config = inner.config.to_builder().region(Region::new(region.to_owned())).build();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(inner.path_style).build();
        let limiter = Limiter::new(inner.limits);
        let regional = Regional {
            funnel: Arc::new(Funnel { region: region.to_owned(), limiter, shared: inner.shared.clone() }),
            s3: aws_sdk_s3::Client::from_conf(s3),
            kms: aws_sdk_kms::Client::new(&config),
        };
        regions.insert(region.to_owned(), regional.clone());
        regional
    }
}

fn loader(settings: &AwsSettings, http: &SharedHttpClient, clock: &Clock) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(OPERATION_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .http_client(http.clone())
        .time_source(clock.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts)
        .identity_cache(IdentityCache::lazy().load_timeout(ATTEMPT_TIMEOUT).build())
        // Bodies are small; the time-outs above are enough.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    match &settings.endpoint_url {
        Some(url) => loader.endpoint_url(url),
        None => loader,
    }
}
