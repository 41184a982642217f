//! Rate limits on our own side: quotas belong to the account, and others in it need them too.
//!
//! Rates are at most half of the published quota (KMS Developer Guide, requests-per-second), so that with a full burst not even one second
//! exceeds the quota. S3 and IAM publish none for their control planes: cautious values.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use tokio::sync::Mutex;

use super::calls::{Call, Service};

/// Which limits to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    enforced: bool,
}

impl Limits {
    /// Half of what AWS allows an account.
    pub fn half_of_quota() -> Self {
        Self { enforced: true }
    }

    /// None, for a local stack.
    pub fn unlimited() -> Self {
        Self { enforced: false }
    }
}

/// Calls that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// A call with a quota of its own.
    Own(Call),
    /// IAM writes that take access away, or may: they never queue behind the creation of roles.
    Narrowing,
    /// All other writes of a service.
    Writes(Service),
    /// All other reads of a service.
    Reads(Service),
}

fn lane(call: Call) -> Lane {
    match call {
        Call::CreateKey
        | Call::CreateAlias
        | Call::UpdateAlias
        | Call::EnableKey
        | Call::CancelKeyDeletion
        | Call::PutKeyPolicy
        | Call::EnableKeyRotation
        | Call::TagResource
        | Call::UntagResource
        | Call::CreateGrant
        | Call::RevokeGrant
        | Call::ListGrants => Lane::Own(call),
        Call::PutRolePolicy | Call::DeleteRolePolicy | Call::DetachRolePolicy => Lane::Narrowing,
        _ if call.is_write() => Lane::Writes(call.service()),
        _ => Lane::Reads(call.service()),
    }
}

/// Calls per second, which is also the burst.
fn per_second(lane: Lane) -> u32 {
    match lane {
        // Quota 5.
        Lane::Own(
            Call::CreateKey
            | Call::CreateAlias
            | Call::UpdateAlias
            | Call::EnableKey
            | Call::CancelKeyDeletion
            | Call::UntagResource,
        ) => 2,
        // Quota 10.
        Lane::Own(Call::TagResource) => 5,
        // Quota 15.
        Lane::Own(Call::PutKeyPolicy | Call::EnableKeyRotation) => 7,
        // Quota 50.
        Lane::Own(Call::CreateGrant | Call::RevokeGrant) => 25,
        // Quota 100.
        Lane::Own(Call::ListGrants) => 50,
        // Quotas 500 to 2000.
        Lane::Reads(Service::Kms) => 200,
        Lane::Narrowing | Lane::Writes(Service::S3 | Service::Iam) => 10,
        Lane::Reads(Service::S3) => 100,
        Lane::Reads(Service::Iam) => 20,
        Lane::Own(_) | Lane::Writes(Service::Kms | Service::Sts) | Lane::Reads(Service::Sts) => 5,
    }
}

/// The limiters of one account and region.
#[derive(Debug)]
pub struct Limiter {
    lanes: BTreeMap<Lane, Mutex<DefaultDirectRateLimiter>>,
}

impl Limiter {
    /// Limiters with full bursts.
    pub fn new(limits: Limits) -> Self {
        let calls = if limits.enforced { Call::ALL } else { &[] };
        let limiter = |lane| {
            let rate = NonZeroU32::new(per_second(lane)).unwrap_or(NonZeroU32::MIN);
            Mutex::new(DefaultDirectRateLimiter::direct(Quota::per_second(rate)))
        };
        let lanes = calls.iter().map(|call| lane(*call)).map(|lane| (lane, limiter(lane))).collect();
        Self { lanes }
    }

    /// Waits until the call may be made. First come, first served.
    pub async fn turn(&self, call: Call) {
        let Some(limiter) = self.lanes.get(&lane(call)) else { return };
        // The lock is fair, and held while the first in line sleeps: the others wait behind it instead of all waking for each token.
        let limiter = limiter.lock().await;
        while let Err(not_yet) = limiter.check() {
            tokio::time::sleep(not_yet.wait_time_from(DefaultClock::default().now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn slow_kms_operations_have_their_own_lanes_below_half_of_the_quota() {
        // (call, published quota per second)
        for (call, quota) in [
            (Call::CreateKey, 5),
            (Call::CreateAlias, 5),
            (Call::UpdateAlias, 5),
            (Call::EnableKey, 5),
            (Call::CancelKeyDeletion, 5),
            (Call::PutKeyPolicy, 15),
            (Call::EnableKeyRotation, 15),
            (Call::TagResource, 10),
            (Call::UntagResource, 5),
            (Call::CreateGrant, 50),
            (Call::RevokeGrant, 50),
            (Call::ListGrants, 100),
        ] {
            assert_eq!(lane(call), Lane::Own(call));
            assert!(per_second(lane(call)) * 2 <= quota, "{call:?}");
        }
    }

    #[test]
    fn narrowing_does_not_share_a_lane_with_widening() {
        for narrowing in [Call::RevokeGrant, Call::PutRolePolicy, Call::DeleteRolePolicy, Call::DetachRolePolicy] {
            for widening in [Call::CreateGrant, Call::CreateRole, Call::TagRole, Call::CreateKey] {
                assert_ne!(lane(narrowing), lane(widening));
            }
        }
    }

    #[test]
    fn no_kms_write_is_left_without_a_quota() {
        let rest: Vec<_> = Call::ALL.iter().filter(|c| lane(**c) == Lane::Writes(Service::Kms)).collect();
        assert!(rest.is_empty(), "{rest:?}");
    }

    #[tokio::test]
    async fn a_burst_passes_and_the_next_call_waits() {
        let limiter = Limiter::new(Limits::half_of_quota());
        let start = Instant::now();
        for _ in 0..25 {
            limiter.turn(Call::RevokeGrant).await;
        }
        limiter.turn(Call::CreateKey).await;
        limiter.turn(Call::CreateKey).await;
        assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
        limiter.turn(Call::CreateKey).await;
        assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn unlimited_never_waits() {
        let limiter = Limiter::new(Limits::unlimited());
        let start = Instant::now();
        for _ in 0..1000 {
            limiter.turn(Call::CreateKey).await;
        }
        assert!(start.elapsed() < Duration::from_millis(400));
    }
}
