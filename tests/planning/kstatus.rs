//! kstatus's reading of an object, ported: what Flux, Argo CD and Helm make of our conditions.
//! Source: github.com/fluxcd/cli-utils, pkg/kstatus/status, generic.go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use securebucket::api::{DecryptGrant, SecureBucket};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    Terminating,
    InProgress,
    Failed,
    Current,
}

/// Reads metadata, `status.observedGeneration` and conditions.
pub fn kstatus(metadata: &ObjectMeta, observed: Option<i64>, conditions: &[Condition]) -> Kstatus {
    let find = |type_: &str| conditions.iter().find(|c| c.type_ == type_).map(|c| c.status.as_str());
    if metadata.deletion_timestamp.is_some() {
        return Kstatus::Terminating;
    }
    if observed.is_some() && observed != metadata.generation {
        return Kstatus::InProgress;
    }
    if find("Reconciling") == Some("True") {
        return Kstatus::InProgress;
    }
    if find("Stalled") == Some("True") {
        return Kstatus::Failed;
    }
    match find("Ready") {
        Some("False" | "Unknown") => Kstatus::InProgress,
        // Also an object without conditions: that is why they are written on the first visit.
        _ => Kstatus::Current,
    }
}

pub fn of_grant(grant: &DecryptGrant) -> Kstatus {
    let status = grant.status.clone().unwrap_or_default();
    kstatus(&grant.metadata, status.observed_generation, &status.conditions)
}

pub fn of_bucket(bucket: &SecureBucket) -> Kstatus {
    let status = bucket.status.clone().unwrap_or_default();
    kstatus(&bucket.metadata, status.observed_generation, &status.conditions)
}
