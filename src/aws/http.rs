//! HTTP client of the SDK: notes the `Date` of every answer. Retries and credential calls pass here too.

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::clock::{Clock, Whose};

/// The client for real use: rustls on aws-lc, roots of the operating system.
pub fn https() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

/// `inner`, with `clock` told of every answer's `Date`.
pub fn dated(inner: SharedHttpClient, clock: Clock) -> SharedHttpClient {
    SharedHttpClient::new(Dated { inner, clock })
}

#[derive(Debug)]
struct Dated {
    inner: SharedHttpClient,
    clock: Clock,
}

impl HttpClient for Dated {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(DatedConnector {
            inner: self.inner.http_connector(settings, components),
            clock: self.clock.clone(),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct DatedConnector {
    inner: SharedHttpConnector,
    clock: Clock,
}

impl HttpConnector for DatedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let of_aws = !is_node_local(request.uri());
        let (answer, clock) = (self.inner.call(request), self.clock.clone());
        HttpConnectorFuture::new(async move {
            let response = answer.await?;
            if let Some(date) = of_aws.then(|| date(&response)).flatten() {
                clock.heard(Whose::Aws, date);
            }
            Ok(response)
        })
    }
}

/// Instance metadata and the pod identity agent answer from this node, by its clock.
fn is_node_local(uri: &str) -> bool {
    ["http://169.254.", "http://[fd00:ec2::"].iter().any(|prefix| uri.starts_with(prefix))
}

fn date(response: &HttpResponse) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(response.headers().get("date")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_local_answers_say_nothing_of_the_time_of_aws() {
        assert!(is_node_local("http://169.254.169.254/latest/api/token"));
        assert!(is_node_local("http://[fd00:ec2::23]/v1/credentials"));
        assert!(!is_node_local("https://kms.eu-west-1.amazonaws.com/"));
        assert!(!is_node_local("http://127.0.0.1:4566/"));
    }
}
