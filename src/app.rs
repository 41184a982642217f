//! The application: everything wired together.

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::RunConfig;
use crate::metrics::Metrics;
use crate::server::{self, Health};

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Something outside failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Runs until a signal ends it.
///
/// # Errors
/// If the listener or the signal handler cannot be set up.
pub async fn run(config: RunConfig) -> Result<(), AppError> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|source| AppError::Io { what: "signal handler", source })?;
    let listener =
        TcpListener::bind(config.listen).await.map_err(|source| AppError::Io { what: "listen address", source })?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    server::serve(listener, server::router(Health::default(), metrics), stop)
        .await
        .map_err(|source| AppError::Io { what: "server", source })
}
