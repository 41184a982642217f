//! What the tests stand on.
//!
//! - [`Stack`]: the API server and the AWS emulator that `e2e/stack` started, with CRDs and the chart's RBAC installed.
//! - [`World`]: one test's namespaces, AWS account, operator identity; makes objects and waits for what becomes of them.
//! - [`Operator`]: `securebucket::app::operate` in a thread and runtime of its own, to be stopped or killed, with journals of its requests.
//! - [`hooks`]: closures between the operator and AWS or the API server, for counting, delaying and breaking.
//! - [`Workload`]: a ServiceAccount's pod as far as AWS can tell: a real token, a real role session, the real SDK.

pub mod account;
pub mod chart;
pub mod command;
pub mod facets;
pub mod freeze;
pub mod hooks;
pub mod http;
pub mod journal;
pub mod kube_journal;
pub mod log;
pub mod operator;
pub mod person;
pub mod plugin;
pub mod reviews;
pub mod rights;
pub mod stack;
pub mod wait;
pub mod workload;
pub mod world;

pub use account::{AwsClients, REGION};
pub use operator::{Operator, OperatorBuilder};
pub use stack::Stack;
pub use workload::{Access, Workload};
pub use world::World;
