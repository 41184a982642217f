//! The operator against a real kube-apiserver and the AWS emulator: what the issue asks for, line by line.
//!
//! Needs a stack: `make test`, or `e2e/stack run -- cargo test --test integration -- --test-threads 8`. Each test has a [`support::World`] of
//! its own (namespaces, AWS account, operator), so all of them run side by side, and most of their time is waiting.

#![cfg(all(feature = "operator", feature = "plugin"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code; helpers are outside #[test] functions, and the environment says where the stack is"
)]

mod api_server;
mod attacks;
mod bad_input;
mod binary;
mod break_glass;
mod calls;
mod create;
mod deadlines;
mod downtime;
mod drift_bucket;
mod drift_key;
mod drift_role;
mod duties;
mod extends;
mod faults;
mod foreign;
mod grants_begin;
mod grants_ends;
mod grants_life;
mod grants_overlap;
mod grants_refused;
mod history;
mod lease;
mod lockdown;
mod lockdown_lift;
mod plugin;
mod quiet;
mod refusals;
mod release;
mod reviews;
mod reviews_input;
mod reviews_rules;
mod roles_rest;
mod rules;
mod scene;
mod secrets;
mod support;
mod tightened;
mod two_leaders;
mod view;
mod who_can;
