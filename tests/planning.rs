//! The pure half: tables of plans and decisions, and the laws that every plan keeps, on a model of AWS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code; helpers are outside #[test] functions"
)]

#[path = "planning/access.rs"]
mod access;
#[path = "planning/asking_rows.rs"]
mod asking_rows;
#[path = "planning/desired_spec.rs"]
mod desired_spec;
#[path = "policies/evaluator.rs"]
#[allow(dead_code, reason = "tests/policies.rs uses all of it")]
mod evaluator;
#[path = "planning/extend_rows.rs"]
mod extend_rows;
#[path = "planning/fixtures.rs"]
mod fixtures;
#[path = "planning/foreign.rs"]
mod foreign;
#[path = "planning/generate.rs"]
mod generate;
#[path = "planning/glass_reviews.rs"]
mod glass_reviews;
#[path = "planning/glass_rows.rs"]
mod glass_rows;
#[path = "planning/grant_beside.rs"]
mod grant_beside;
#[path = "planning/grant_crash.rs"]
mod grant_crash;
#[path = "planning/grant_deadline.rs"]
mod grant_deadline;
#[path = "planning/grant_decide.rs"]
mod grant_decide;
#[path = "planning/grant_end.rs"]
mod grant_end;
#[path = "planning/grant_events.rs"]
mod grant_events;
#[path = "planning/grant_operator.rs"]
mod grant_operator;
#[path = "planning/grant_stages.rs"]
mod grant_stages;
#[path = "planning/grant_time.rs"]
mod grant_time;
#[path = "planning/grant_world.rs"]
mod grant_world;
#[path = "planning/grants.rs"]
mod grants;
#[path = "planning/kstatus.rs"]
mod kstatus;
#[path = "planning/laws_converge.rs"]
mod laws_converge;
#[path = "planning/laws_glass.rs"]
mod laws_glass;
#[path = "planning/laws_grant.rs"]
mod laws_grant;
#[path = "planning/laws_lockdown.rs"]
mod laws_lockdown;
#[path = "planning/laws_review.rs"]
mod laws_review;
#[path = "planning/laws_role.rs"]
mod laws_role;
#[path = "planning/laws_safety.rs"]
mod laws_safety;
#[path = "planning/laws_time.rs"]
mod laws_time;
#[path = "planning/model.rs"]
mod model;
#[path = "planning/operator.rs"]
mod operator;
#[path = "planning/plan_bucket.rs"]
mod plan_bucket;
#[path = "planning/plan_change.rs"]
mod plan_change;
#[path = "planning/plan_key.rs"]
mod plan_key;
#[path = "planning/review_rows.rs"]
mod review_rows;
#[path = "planning/reviews.rs"]
mod reviews;
#[path = "planning/role_access.rs"]
mod role_access;
#[path = "planning/role_generate.rs"]
mod role_generate;
#[path = "planning/role_model.rs"]
mod role_model;
#[path = "planning/role_plan.rs"]
mod role_plan;
#[path = "planning/role_rows.rs"]
mod role_rows;
#[path = "planning/rows.rs"]
mod rows;
#[path = "planning/rule_rows.rs"]
mod rule_rows;
#[path = "planning/status_bucket.rs"]
mod status_bucket;
#[path = "planning/status_grant.rs"]
mod status_grant;
#[path = "planning/who_can.rs"]
mod who_can;
