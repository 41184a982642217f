//! Closures between an operator and the outside. A hook gets each request and the way on, and answers as it likes: it may wait, fail before
//! or after the request had its effect, or send it twice.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use futures::future::BoxFuture;
use kube::Client;
use kube::client::Body;
use securebucket::clock::Clock;

use super::journal::{self, Journal, Operation, Outcome};
use super::kube_journal::{KubeJournal, KubeRequest};

/// Answer to an AWS request.
pub type AwsAnswer = Result<HttpResponse, ConnectorError>;
/// Hook on the way to AWS. [`AwsNext::send`] sends a request on.
pub type AwsHook = Arc<dyn Fn(Operation, HttpRequest, AwsNext) -> BoxFuture<'static, AwsAnswer> + Send + Sync>;

/// Answer to a request to the API server.
pub type KubeAnswer = kube::Result<http::Response<Body>>;
/// Hook on the way to the API server. `Client::send` sends a request on; bodies of requests can be copied with `Body::try_clone`.
pub type KubeHook =
    Arc<dyn Fn(KubeRequest, http::Request<Body>, Client) -> BoxFuture<'static, KubeAnswer> + Send + Sync>;

/// The way on to AWS. May be used any number of times.
#[derive(Clone, Debug)]
pub struct AwsNext(SharedHttpConnector);

impl AwsNext {
    /// Sends the request.
    pub async fn send(&self, request: HttpRequest) -> AwsAnswer {
        self.0.call(request).await
    }
}

/// An AWS hook from an async closure.
pub fn aws_hook<F, Fut>(hook: F) -> AwsHook
where
    F: Fn(Operation, HttpRequest, AwsNext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = AwsAnswer> + Send + 'static,
{
    Arc::new(move |operation, request, next| Box::pin(hook(operation, request, next)))
}

/// A hook towards the API server from an async closure.
pub fn kube_hook<F, Fut>(hook: F) -> KubeHook
where
    F: Fn(KubeRequest, http::Request<Body>, Client) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = KubeAnswer> + Send + 'static,
{
    Arc::new(move |what, request, next| Box::pin(hook(what, request, next)))
}

/// `inner` behind the hook, with every request and what the operator saw of it in the journal.
pub fn journaled(inner: SharedHttpClient, journal: Journal, hook: Option<AwsHook>) -> SharedHttpClient {
    SharedHttpClient::new(Journaled { inner, journal, hook })
}

struct Journaled {
    inner: SharedHttpClient,
    journal: Journal,
    hook: Option<AwsHook>,
}

impl fmt::Debug for Journaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journaled")
    }
}

impl HttpClient for Journaled {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(JournaledConnector {
            inner: self.inner.http_connector(settings, components),
            journal: self.journal.clone(),
            hook: self.hook.clone(),
        })
    }
}

struct JournaledConnector {
    inner: SharedHttpConnector,
    journal: Journal,
    hook: Option<AwsHook>,
}

impl fmt::Debug for JournaledConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournaledConnector")
    }
}

impl HttpConnector for JournaledConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (journal, hook, next) = (self.journal.clone(), self.hook.clone(), AwsNext(self.inner.clone()));
        HttpConnectorFuture::new(async move {
            let operation = journal::operation(&request);
            let index = journal.sent(operation.clone(), &request);
            let answer = match hook {
                Some(hook) => hook(operation, request, next).await,
                None => next.send(request).await,
            };
            match answer {
                Ok(response) => {
                    let (response, code) = with_code(response).await;
                    journal.answered(index, Outcome::Status(response.status().as_u16(), code));
                    Ok(response)
                }
                Err(error) => {
                    journal.answered(index, Outcome::Failed(error.to_string()));
                    Err(error)
                }
            }
        })
    }
}

/// The answer, and AWS's error code if it is an error.
async fn with_code(mut response: HttpResponse) -> (HttpResponse, Option<String>) {
    if response.status().is_success() {
        return (response, None);
    }
    let bytes = match ByteStream::new(response.take_body()).collect().await {
        Ok(bytes) => bytes.into_bytes(),
        Err(_) => return (response, None),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    *response.body_mut() = SdkBody::from(bytes);
    let between = |from: &str, to: &str| {
        let rest = &text[text.find(from)? + from.len()..];
        Some(rest[..rest.find(to)?].to_owned())
    };
    let code = between("<Code>", "</Code>")
        .or_else(|| between("\"__type\":\"", "\""))
        .or_else(|| between("\"__type\": \"", "\""));
    (response, code)
}

/// A client that sends through the hook to `inner`, with every request in the journal.
pub fn journaled_client(inner: Client, journal: KubeJournal, hook: Option<KubeHook>) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (journal, hook, inner) = (journal.clone(), hook.clone(), inner.clone());
        async move {
            let what = KubeRequest::of(&request);
            let (request, body) = with_text(request, what.is_write()).await?;
            let index = journal.sent(what.clone(), body);
            let answer = match hook {
                Some(hook) => hook(what, request, inner).await,
                None => inner.send(request).await,
            };
            journal.answered(index, answer.as_ref().ok().map(|r| r.status().as_u16()));
            answer
        }
    });
    Client::new(service, namespace)
}

async fn with_text(request: http::Request<Body>, wanted: bool) -> kube::Result<(http::Request<Body>, Option<String>)> {
    if !wanted {
        return Ok((request, None));
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect_bytes().await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok((http::Request::from_parts(parts, Body::from(bytes)), Some(text)))
}

/// A hook that has the API server's clock be ahead by so many seconds, as far as its answers say.
pub fn api_server_ahead(seconds: i64) -> KubeHook {
    kube_hook(move |_, request, next| async move {
        let mut answer = next.send(request).await?;
        let now = Clock::shifted(seconds).system_now();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap();
        answer.headers_mut().insert("date", date.parse().unwrap());
        Ok(answer)
    })
}
