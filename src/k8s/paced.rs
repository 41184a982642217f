//! A client that starts at most one watch per second.
//!
//! kube's watcher begins the next watch as soon as one ends, without a back-off, because an end is the normal case. A load balancer or a
//! server on its way down that ends each watch at once would be asked as fast as the network allows. (client-go backs off when a watch
//! "lasted less than a second and no items received".)

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Shortest time between the starts of two watches; a normal one lasts a minute.
const SPACING: Duration = Duration::from_secs(1);

/// The same client for one source of a watch. As any new client of kube's, it must be made within a tokio runtime.
pub(super) fn paced(client: &Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (client, next) = (client.clone(), Arc::new(Mutex::new(Instant::now())));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, next) = (client.clone(), Arc::clone(&next));
        async move {
            if request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true")) {
                let mut next = next.lock().await;
                sleep_until(*next).await;
                *next = Instant::now() + SPACING;
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}
