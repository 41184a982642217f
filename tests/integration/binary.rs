//! The built binary as a process: its complaints, its probes and metrics, and how it ends.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::World;
use crate::support::command::{Printed, securebucket};
use crate::support::facets::ids;
use crate::support::http::{free_address, get};
use crate::support::wait::poll;

/// A running operator process. Dropping it kills it.
struct Process {
    child: Child,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Process {
    fn start(world: &World, more: &[&str]) -> Self {
        let address = free_address();
        let log = world.directory().join(format!("{}.log", address.port()));
        let kubeconfig = world.directory().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": world.stack.kube.url, "certificate-authority": world.stack.kube.ca_file}}],
            "users": [{"name": "c", "user": {"token": world.kube_token()}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let mut command = securebucket();
        command.env("KUBECONFIG", &kubeconfig).env("AWS_ENDPOINT_URL", &world.stack.aws.endpoint).arg("run");
        if let Some(path) = crate::support::world::call_log() {
            command.env("SECUREBUCKET_AWS_CALL_LOG", path);
        }
        command.args(["--cluster=t", "--aws-region=eu-west-1", "--log-format=text", "--no-aws-rate-limits"]);
        command.arg(format!("--aws-role-arn={}", world.install.operator_role));
        command.arg(format!("--aws-web-identity-token-file={}", world.token_file().display()));
        command.arg(format!("--watch-namespaces={}", world.namespace)).arg(format!("--listen={address}"));
        command.arg(format!("--lease-namespace={}", world.operator_namespace())).args(more);
        let child = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, address, log }
    }

    /// Status and body of a GET; `None` while nobody listens.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.address, path).await
    }

    async fn ready(&self) {
        let ready = || async { self.get("/readyz").await.filter(|(status, _)| *status == 200).map(drop) };
        assert!(poll(ready).await.is_some(), "not ready:\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; the exit code.
    async fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn wrong_flags_are_refused_before_anything_starts() {
    let good = [
        "run",
        "--cluster=t",
        "--aws-region=eu-west-1",
        "--leader-elect=false",
        "--oidc-issuer=https://x",
        "--admission=Off",
    ];
    for (flags, parts) in [
        (&["--cluster=Prod"][..], &["--cluster", "lowercase"][..]),
        (&["--grant-floor=soon"], &["--grant-floor", "1h30m"]),
        (&["--aws-role-arn=arn:aws:iam::111122223333:role/x"], &["--aws-role-arn", "--aws-web-identity-token-file"]),
        (&["--oidc-issuer="], &["--oidc-issuer", "describe-cluster"]),
        (&["--workers=0"], &["--workers", "at least 1"]),
        (&["--leader-elect=true"], &["--lease-namespace", "POD_NAMESPACE"]),
        (&["--admission=Enforce"], &["--lease-namespace", "--admission=Off"]),
        (&["--admission=maybe"], &["--admission", "Enforce"]),
        (&["--log-level=loud"], &["--log-level", "debug"]),
        (&["--listen=here"], &["--listen", "invalid socket address"]),
        (&["--nonsense"], &["--nonsense", "unexpected argument"]),
    ] {
        let names: Vec<&str> = flags.iter().map(|f| f.split('=').next().unwrap()).collect();
        let kept = good.iter().filter(|g| !names.iter().any(|n| g.starts_with(&format!("{n}="))));
        let printed: Printed = securebucket().args(kept).args(flags).output().unwrap().into();
        assert!(!printed.ok && printed.out.is_empty(), "{flags:?}: {printed:?}");
        for part in parts {
            assert!(printed.err.contains(part), "{flags:?}: {part:?} is not in {}", printed.err);
        }
        assert!(!printed.err.contains("panicked"), "{}", printed.err);
    }
    let missing: Printed = securebucket().arg("run").output().unwrap().into();
    assert!(!missing.ok && missing.err.contains("--cluster"), "{missing:?}");
}

#[tokio::test]
async fn probes_and_metrics() {
    let world = World::new("probes").await;
    world.service_account("app").await;
    let mut process = Process::start(&world, &["--leader-elect=false", "--drift-check=1s"]);
    process.ready().await;
    let entry = json!({"name": "a", "duty": "Producer", "serviceAccountRef": {"name": "app"}, "prefixes": ["in/"]});
    world.apply_bucket("data", json!({"access": [entry]})).await;
    let ids = ids(&world.bucket_ready("data").await);
    world.root().s3.delete_public_access_block().bucket(&ids.bucket).send().await.unwrap();
    world.event("data", "DriftRepaired", "public access block").await;

    let (status, text) = process.get("/livez").await.unwrap();
    assert_eq!((status, text.as_str()), (200, "[+]watches ok\nok\n"));
    let (status, text) = process.get("/readyz").await.unwrap();
    assert_eq!((status, text.as_str()), (200, "[+]caches ok\n[+]admission ok\nok\n"));
    assert_eq!(process.get("/nothing").await.unwrap().0, 404);
    let (status, text) = process.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    // The names that dashboards for controller-runtime know.
    assert!(value("controller_runtime_reconcile_total{controller=\"securebucket\",result=\"requeue_after\"}") >= 1.0);
    assert!(value("controller_runtime_reconcile_total{controller=\"role\",result=\"requeue_after\"}") >= 1.0);
    assert_eq!(value("controller_runtime_reconcile_errors_total{controller=\"decryptgrant\"}"), 0.0);
    assert_eq!(value("controller_runtime_reconcile_panics_total{controller=\"securebucket\"}"), 0.0);
    assert_eq!(value("controller_runtime_max_concurrent_reconciles{controller=\"securebucket\"}"), 8.0);
    assert!(value("controller_runtime_reconcile_time_seconds_count{controller=\"securebucket\"}") >= 1.0);
    assert!(value("workqueue_depth{name=\"securebucket\"}") >= 0.0);
    // AWS calls, and drift.
    let created =
        "securebucket_aws_api_calls_total{service=\"kms\",operation=\"CreateKey\",status_code=\"200\",error_code=\"\"}";
    assert_eq!(value(created), 1.0);
    assert_eq!(value("securebucket_aws_api_call_duration_seconds_count{service=\"kms\",operation=\"CreateKey\"}"), 1.0);
    assert!(value("securebucket_drift_detected_total{facet=\"public access block\"}") >= 1.0);
    assert!(value("securebucket_drift_repaired_total{facet=\"public access block\"}") >= 1.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&format!("securebucket_build_info{{version=\"{version}\"}}")), 1.0);
    assert!(!text.contains(&ids.bucket) && !text.contains(&world.namespace), "no names in labels");
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0), "{}", process.log());
}

#[tokio::test]
async fn it_says_why_it_is_not_ready_and_starts_when_it_can() {
    let world = World::new("unready").await;
    let iam = world.root().iam;
    iam.delete_policy().policy_arn(&world.install.boundary).send().await.unwrap();
    let mut process = Process::start(&world, &["--leader-elect=false"]);
    let says =
        || async { process.get("/readyz").await.filter(|(s, text)| *s == 503 && text.contains("iam:GetPolicy")) };
    assert!(poll(says).await.is_some(), "{:?}\n{}", process.get("/readyz").await, process.log());
    assert_eq!(process.get("/livez").await.unwrap().0, 200, "a restart would not help");
    let boundary = securebucket::aws::policies::boundary(&world.install).render();
    let name = world.install.boundary.rsplit('/').next().unwrap();
    iam.create_policy().policy_name(name).policy_document(&boundary).send().await.unwrap();
    process.ready().await;
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));

    // A boundary that is another is no matter of waiting.
    let wider = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let version = iam.create_policy_version().policy_arn(&world.install.boundary).policy_document(wider);
    version.set_as_default(true).send().await.unwrap();
    let mut process = Process::start(&world, &["--leader-elect=false"]);
    assert_eq!(process.ended().await, Some(1));
    assert!(process.log().contains("securebucket policy boundary --cluster t"), "{}", process.log());
}

#[tokio::test]
async fn sigterm_finishes_the_step_in_hand_and_saves_its_ids() {
    let world = World::new("sigterm").await;
    let mut keys = 0;
    // Wherever the signal comes, one key per bucket, and none that status does not know.
    for (index, delay) in [0, 30, 60, 120, 240].into_iter().enumerate() {
        let mut process = Process::start(&world, &["--leader-elect=false"]);
        process.ready().await;
        let name = format!("b{index}");
        world.apply_bucket(&name, json!({})).await;
        let begun = |b: &securebucket::api::SecureBucket| {
            b.status.as_ref().is_some_and(|s| s.key_attempt.is_some() || s.key_arn.is_some())
        };
        world.bucket_when(&name, "begun", begun).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        process.signal("TERM");
        assert_eq!(process.ended().await, Some(0), "{}", process.log());
        let status = world.buckets().get(&name).await.unwrap().status.unwrap();
        let made = world.keys().await;
        if made.len() > keys {
            assert_eq!(made.len(), keys + 1);
            assert!(
                status.key_arn.is_some_and(|k| made.contains(&k)),
                "the key that was made is not in status: {}",
                process.log()
            );
        }
        keys = made.len();
    }
    let process = Process::start(&world, &["--leader-elect=false"]);
    process.ready().await;
    for index in 0..5 {
        world.bucket_ready(&format!("b{index}")).await;
    }
    assert_eq!(world.keys().await.len(), 5);
}

#[test]
fn version_and_help() {
    for arguments in [&["--version"][..], &["--help"], &["run", "--help"]] {
        let mut child = securebucket().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success() && text.contains("securebucket"), "{arguments:?}: {text}");
    }
}
