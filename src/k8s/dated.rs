//! A client that notes the `Date` of every answer of the API server.

use http::{Request, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use kube::Client;
use kube::client::Body;

use crate::clock::{Clock, Whose};

/// `inner`, with `clock` told of every answer's `Date`.
pub fn dated(inner: Client, clock: Clock) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, clock) = (inner.clone(), clock.clone());
        async move {
            let answer = inner.send(request).await?;
            if let Some(date) = date(&answer) {
                clock.heard(Whose::Kubernetes, date);
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}

fn date(answer: &Response<Body>) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(answer.headers().get("date")?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;

    use super::*;

    /// An API server that answers everything with this header.
    fn server(header: Option<&'static str>) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let mut answer = Response::builder().status(404);
            if let Some(date) = header {
                answer = answer.header("date", date);
            }
            let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
            Ok::<_, kube::Error>(answer.body(Body::from(body.as_bytes().to_vec())).unwrap())
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn every_answer_counts_and_what_is_no_date_does_not() {
        let at = "Mon, 01 Jan 2001 00:00:00 GMT";
        for (header, heard) in [(Some(at), true), (None, false), (Some("soon"), false)] {
            let clock = Clock::new();
            let api: Api<Namespace> = Api::all(dated(server(header), clock.clone()));
            assert_eq!(api.get_opt("x").await.unwrap(), None);
            assert_eq!(clock.skew(Whose::Kubernetes).is_some(), heard, "{header:?}");
            assert_eq!(clock.skew(Whose::Aws), None);
        }
    }
}
