//! AWS refuses the operator one action at a time: whatever it is, a condition names it and the way out, and all is well when it may again.

mod change;
mod create;
mod grants;
mod roles;

use securebucket::api::SecureBucket;
use securebucket::api::condition::{find, is_true, types};
use securebucket::aws::policies;
use securebucket::domain::policy::Statement;

use crate::scene::{OFTEN, Scene};
use crate::support::account::put_operator_policy;
use crate::support::wait::conditions;
use crate::support::{Operator, World};

impl World {
    /// Takes one action away from the operator.
    pub async fn refuse(&self, action: &str) {
        let mut policy = policies::operator(&self.install);
        policy.statements.push(Statement::deny("Refused").actions([action]).resources(["*"]));
        put_operator_policy(&self.root(), &policy.render()).await;
    }

    /// Gives it back.
    async fn allow(&self) {
        put_operator_policy(&self.root(), &policies::operator(&self.install).render()).await;
    }

    /// Waits until a bucket is stalled by the refusal, and checks what people are told.
    pub async fn refused(&self, bucket: &str, action: &str) -> SecureBucket {
        let part = format!("AWS refuses {action} on ");
        let says = |b: &SecureBucket| conditions(b).iter().any(|c| c.message.contains(&part));
        let found = self.bucket_when(bucket, &format!("names {action}"), says).await;
        let all = conditions(&found);
        assert!(is_true(all, types::STALLED) && !is_true(all, types::READY), "{action}: {all:#?}");
        let message = &find(all, types::STALLED).unwrap().message;
        assert!(message.contains("securebucket policy operator"), "{action}: the way out is not in {message}");
        found
    }
}

/// A scene that is looked at often, whose operator may be refused something.
async fn scene(name: &str) -> Scene {
    Scene::with(name, |o| o.drift_check(OFTEN).refusals_expected()).await
}

/// An operator that may be refused something.
fn operator(world: &World) -> Operator {
    world.operator().refusals_expected().start()
}
