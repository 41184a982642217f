//! The operator against a real kube-apiserver and the AWS emulator: what the issue asks for, line by line.
//!
//! Needs a stack: `make test`, or `e2e/stack run -- cargo test --test integration -- --test-threads 8`. Each test has a [`support::World`] of
//! its own (namespaces, AWS account, operator), so all of them run side by side, and most of their time is waiting.

#![cfg(feature = "operator")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code; helpers are outside #[test] functions, and the environment says where the stack is"
)]

mod support;

mod smoke {
    use serde_json::json;

    use super::support::World;

    #[tokio::test]
    async fn smoke() {
        let world = World::new("smoke").await;
        let operator = world.operator().start();
        world.service_account("app").await;
        world
            .apply_bucket("data", json!({"access": [{"name": "app", "duty": "Processor", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/"]}]}))
            .await;
        let bucket = world.bucket_ready("data").await;
        let name = bucket.status.unwrap().bucket_name.unwrap();
        let app = world.workload("app").await;
        app.put(&name, "in/x", "hello").await.allowed();
        assert_eq!(app.get(&name, "in/x").await.allowed(), "hello");
        app.put(&name, "out/x", "hello").await.denied();
        for e in operator.journal().all() {
            println!("{e}");
        }
        operator.stop().await;
    }
}
