//! An API server made of a closure, for unit tests.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) body: Value,
}

/// An answer; `None` for one that never comes.
pub(crate) struct Answer(Option<(u16, Value)>);

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self(Some((200, body)))
    }

    pub(crate) fn status(code: u16, reason: &str) -> Self {
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
        Self(Some((code, body)))
    }

    /// No body: a watch that ends at once.
    pub(crate) fn empty() -> Self {
        Self(Some((200, Value::Null)))
    }

    pub(crate) fn never() -> Self {
        Self(None)
    }
}

/// All requests so far.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<Seen>>>);

impl Requests {
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// The one request; takes it.
    pub(crate) fn only(&self) -> Seen {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Methods of all requests; takes them.
    pub(crate) fn methods(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().map(|s| s.method).collect()
    }
}

/// A client whose requests are answered by `answer`.
pub(crate) fn server(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (Client, Requests) {
    let requests = Requests::default();
    let (answer, log) = (Arc::new(answer), requests.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, log) = (Arc::clone(&answer), log.clone());
        async move {
            let (head, body) = request.into_parts();
            let header = |name| {
                head.headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok()).unwrap_or_default().to_owned()
            };
            let bytes = body.collect().await.unwrap().to_bytes();
            let seen = Seen {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                content_type: header("content-type"),
                accept: header("accept"),
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            };
            let answer = answer(&seen);
            log.0.lock().unwrap().push(seen);
            let Some((code, body)) = answer.0 else { return std::future::pending().await };
            let body = if body.is_null() { Body::empty() } else { Body::from(serde_json::to_vec(&body).unwrap()) };
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), requests)
}
