//! The workload role slice: one role per ServiceAccount, one writer.

pub mod document;
pub mod observed;
