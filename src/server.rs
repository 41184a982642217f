//! One HTTP listener: probes and metrics.

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// A named condition of a probe.
pub struct Gate {
    name: &'static str,
    check: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Gate {
    /// A gate that is open while `check` is `Ok`; its error says in words why not. Must not block.
    pub fn new(name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { name, check: Box::new(check) }
    }
}

/// Gates of both probes. Liveness asks for what only a restart mends; readiness for what traffic and rollouts wait for.
#[derive(Default)]
pub struct Health {
    /// Gates of `/livez`.
    pub live: Vec<Gate>,
    /// Gates of `/readyz`.
    pub ready: Vec<Gate>,
}

struct App {
    health: Health,
    metrics: Metrics,
}

/// The routes.
pub fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|State(app): State<Arc<App>>| async move { probe(&app.health.live) }))
        .route("/readyz", get(|State(app): State<Arc<App>>| async move { probe(&app.health.ready) }))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::new(App { health, metrics }))
}

/// Serves until `shutdown` resolves.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], app.metrics.encode()).into_response()
}

/// One line per gate, as the API server's own probes have it; 503 if one is closed.
fn probe(gates: &[Gate]) -> (StatusCode, String) {
    let mut text = String::new();
    let mut status = StatusCode::OK;
    for gate in gates {
        let _ = match (gate.check)() {
            Ok(()) => writeln!(text, "[+]{} ok", gate.name),
            Err(reason) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                writeln!(text, "[-]{} failed: {reason}", gate.name)
            }
        };
    }
    text.push_str(if status.is_success() { "ok\n" } else { "failed\n" });
    (status, text)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower::ServiceExt;

    use super::*;

    async fn fetch(router: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).map_or("", |v| v.to_str().unwrap()).to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_the_gate_that_is_closed_and_why() {
        let synced = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&synced);
        let gate = Gate::new("securebuckets", move || {
            if seen.load(Ordering::Relaxed) { Ok(()) } else { Err("not listed yet".into()) }
        });
        let health = Health { live: Vec::new(), ready: vec![Gate::new("aws", || Ok(())), gate] };
        let router = router(health, Metrics::new("1"));
        let (status, _, text) = fetch(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "[+]aws ok\n[-]securebuckets failed: not listed yet\nfailed\n");
        assert_eq!(fetch(&router, "/livez").await.0, StatusCode::OK, "not ready is no reason for a restart");
        synced.store(true, Ordering::Relaxed);
        let (status, _, text) = fetch(&router, "/readyz").await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "[+]aws ok\n[+]securebuckets ok\nok\n"));
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_text() {
        let router = router(Health::default(), Metrics::new("1.2.3"));
        let (status, kind, text) = fetch(&router, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        assert!(text.contains(r#"securebucket_build_info{version="1.2.3"} 1"#) && text.ends_with("# EOF\n"), "{text}");
        assert_eq!(fetch(&router, "/debug").await.0, StatusCode::NOT_FOUND);
    }
}
