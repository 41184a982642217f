//! The vocabulary of the operator: names, documents, time. Pure; imports neither kube's client, nor the AWS SDK, nor tokio.

pub mod arn;
pub mod cel;
pub mod drift;
pub mod enforcement;
pub mod foreign;
pub mod identity;
pub mod installation;
pub mod policy;
pub mod prefix;
pub mod tags;
pub mod time;
