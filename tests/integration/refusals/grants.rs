//! Actions that a grant needs, and that its end needs.

use kube::api::DeleteParams;
use securebucket::api::DecryptGrant;
use securebucket::api::condition::{find, is_true, types};

use super::scene;
use crate::scene::Scene;
use crate::support::wait::grant_conditions;

async fn refused(scene: &Scene, name: &str, action: &str) {
    let says = |g: &DecryptGrant| grant_conditions(g).iter().any(|c| c.message.contains(action));
    let grant = scene.world.grant_when(name, &format!("names {action}"), says).await;
    assert!(!is_true(grant_conditions(&grant), types::READY), "{:#?}", grant_conditions(&grant));
    let fits = |g: &DecryptGrant| is_true(grant_conditions(g), types::STALLED);
    let grant = scene.world.grant_when(name, "stalled", fits).await;
    let message = &find(grant_conditions(&grant), types::STALLED).unwrap().message;
    assert!(message.contains(action) && message.contains("securebucket policy operator"), "{message}");
}

#[tokio::test]
async fn the_beginning() {
    let scene = scene("gbegin").await;
    let world = &scene.world;
    for action in ["iam:CreateRole", "iam:PutRolePolicy", "kms:CreateGrant", "kms:ListGrants"] {
        let name = action.replace(':', "-").to_lowercase();
        world.refuse(action).await;
        world.ask(&name, "data", "reports", "in/", "1h").await;
        refused(&scene, &name, action).await;
        world.allow().await;
        world.grant_active(&name).await;
        world.grants().delete(&name, &DeleteParams::default()).await.unwrap();
        world.gone(&world.grants(), &name).await;
    }
    assert_eq!(world.kms_grants(&scene.ids.key).await, []);
}

#[tokio::test]
async fn the_end() {
    let scene = scene("gend").await;
    let world = &scene.world;
    world.workload("ingest").await.put(&scene.ids.bucket, "in/x", "1").await.allowed();
    for action in ["iam:PutRolePolicy", "kms:RevokeGrant", "kms:ListGrants"] {
        let name = action.replace(':', "-").to_lowercase();
        world.ask(&name, "data", "reports", "in/", "1h").await;
        world.grant_active(&name).await;
        let reports = world.workload("reports").await;
        reports.get(&scene.ids.bucket, "in/x").await.allowed();
        world.refuse(action).await;
        world.grants().delete(&name, &DeleteParams::default()).await.unwrap();
        // What a check was refused before is said no more once the end is written.
        world.grant_state(&name, "HandedBack").await;
        refused(&scene, &name, action).await;
        // One of the two halves is enough to end the access.
        let over = || async { reports.get(&scene.ids.bucket, "in/x").await.is_denied().then_some(()) };
        world.until("no more reading", over).await;
        world.allow().await;
        world.gone(&world.grants(), &name).await;
    }
    assert_eq!(world.kms_grants(&scene.ids.key).await, []);
}
