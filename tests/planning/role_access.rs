//! What whoever is a workload role can do, and who can be it, judged by its documents.

use std::collections::BTreeSet;

use securebucket::aws::policies::boundary;
use securebucket::domain::policy::{Document, Effect};
use securebucket::role::plan::Plan;

use crate::evaluator::{Context, Outcome, Policies, Request, evaluate};
use crate::fixtures::{ACCOUNT, install};
use crate::operator::Fault;
use crate::role_generate::{at, buckets};
use crate::role_model::{Role, RoleWorld};

const KEYS: [&str; 3] = ["a/x", "a/b/x", "z/x"];

/// What whoever is the role can do, and who can be it.
pub fn access(role: Option<&Role>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let Some(role) = role else { return all };
    let bounded = role.boundary.as_ref().map(|_| boundary(&install()));
    let identity = role.document.iter().chain(role.foreign.iter().map(|(_, _, d)| d)).collect();
    let policies = Policies { identity, boundary: bounded.as_ref(), ..Policies::default() };
    for hour in [0, 1, 2, 3, 1_000_000] {
        for bucket in buckets() {
            let objects = KEYS.map(|key| format!("{}/{key}", bucket.bucket_arn));
            let mut asks: Vec<(&str, String)> = objects.iter().map(|o| ("s3:GetObject", o.clone())).collect();
            asks.extend([
                ("s3:PutObject", objects[0].clone()),
                ("s3:ListBucket", bucket.bucket_arn.clone()),
                ("kms:Decrypt", bucket.key_arn.clone()),
                ("s3:DeleteObject", objects[0].clone()),
                ("kms:CreateGrant", bucket.key_arn.clone()),
                ("sqs:SendMessage", "arn:aws:sqs:eu-west-1:111122223333:q".into()),
            ]);
            for (action, resource) in asks {
                let context = Context::default()
                    .with("aws:CurrentTime", at(hour))
                    .with("aws:ResourceAccount", ACCOUNT)
                    .with("kms:ViaService", &bucket.via_s3)
                    .with("s3:prefix", "a/x");
                let request = Request {
                    principal: role.arn.clone(),
                    action: action.into(),
                    resource: resource.clone(),
                    resource_account: ACCOUNT.into(),
                    context,
                };
                if evaluate(&request, &policies).outcome == Outcome::Allowed {
                    all.insert(format!("{action} {resource} in hour {hour}"));
                }
            }
        }
    }
    let refused = role.trust.statements.iter().any(|s| s.effect == Effect::Deny);
    let trusts = role.trust.statements.iter().filter(|s| s.effect == Effect::Allow && !refused);
    all.extend(trusts.map(|s| format!("{:?} may be the role", s.principals)));
    all
}

/// What a role that is as wanted lets people do.
pub fn wanted(world: &RoleWorld) -> BTreeSet<String> {
    let desired = world.desired();
    access(Some(&Role {
        arn: desired.arn,
        role_id: String::new(),
        boundary: Some(desired.boundary),
        trust: Document::new(desired.trust),
        tags: desired.tags,
        document: Some(world.wanted()),
        foreign: Vec::new(),
    }))
}

/// What can be done after each step of the plan; the first entry is from before it.
pub fn steps(world: &RoleWorld, plan: &Plan) -> Vec<BTreeSet<String>> {
    let mut all = vec![access(world.role.as_ref())];
    for until in 0..plan.actions.len() {
        let mut partly = world.clone();
        let _ = partly.execute(plan, |i, _| if i > until { Fault::Dies } else { Fault::None });
        all.push(access(partly.role.as_ref()));
    }
    all
}

/// What each step gives and takes.
pub fn listing(plan: &Plan, steps: &[BTreeSet<String>]) -> String {
    let mut text = String::from("\n");
    for (action, pair) in plan.actions.iter().zip(steps.windows(2)) {
        let more: Vec<&String> = pair[1].difference(&pair[0]).collect();
        let less: Vec<&String> = pair[0].difference(&pair[1]).collect();
        text.push_str(&format!("{action}: +{more:?} -{less:?}\n"));
    }
    text
}
