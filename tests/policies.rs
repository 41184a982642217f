//! The policy documents, judged: every verdict that docs/concepts.md promises, asked of the documents that the operator writes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code; helpers are outside #[test] functions"
)]

#[path = "policies/domain.rs"]
mod domain;
#[path = "policies/doors.rs"]
mod doors;
#[path = "policies/edited.rs"]
mod edited;
#[path = "policies/evaluator.rs"]
mod evaluator;
#[path = "policies/further.rs"]
mod further;
#[path = "policies/layers.rs"]
mod layers;
#[path = "policies/lockdown.rs"]
mod lockdown;
#[path = "policies/operator.rs"]
mod operator;
#[path = "policies/roles.rs"]
mod roles;
#[path = "policies/rows.rs"]
mod rows;
#[path = "policies/semantics.rs"]
mod semantics;
#[path = "policies/setting.rs"]
mod setting;
#[path = "policies/sizes.rs"]
mod sizes;
#[path = "policies/table.rs"]
mod table;
#[path = "policies/world.rs"]
mod world;
