//! Rate limits on our own side: quotas belong to the account, and others in it need them too.
//!
//! Rates are at most half of the published quota (KMS Developer Guide, requests-per-second), so that with a full burst not even one second
//! exceeds the quota; `RevokeGrant` alone may use more of its own. S3 and IAM publish none for their control planes: cautious values.

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

/// What a call is for. Calls that take access away, and the reads that say what to take and prove that it is gone, never queue behind others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Everything else.
    Usual,
    /// Taking access away.
    Narrowing,
}

/// Calls that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// A call with a quota of its own.
    Own(Call),
    /// The part of that quota that is kept for taking access away.
    OwnNarrowing(Call),
    /// Writes of a service that take access away.
    NarrowingWrites(Service),
    /// Reads of a service for that.
    NarrowingReads(Service),
    /// All other writes of a service.
    Writes(Service),
    /// All other reads of a service.
    Reads(Service),
}

fn lane(call: Call, purpose: Purpose) -> Lane {
    match call {
        // One lane: who waits here takes access away, whatever he says.
        Call::RevokeGrant => Lane::Own(call),
        Call::DeleteRolePolicy | Call::DetachRolePolicy => Lane::NarrowingWrites(Service::Iam),
        Call::PutKeyPolicy | Call::ListGrants if purpose == Purpose::Narrowing => Lane::OwnNarrowing(call),
        Call::CreateKey
        | Call::CreateAlias
        | Call::UpdateAlias
        | Call::DisableKey
        | Call::EnableKey
        | Call::CancelKeyDeletion
        | Call::PutKeyPolicy
        | Call::EnableKeyRotation
        | Call::TagResource
        | Call::UntagResource
        | Call::CreateGrant
        | Call::ListGrants => Lane::Own(call),
        _ => match (call.is_write(), purpose) {
            (true, Purpose::Usual) => Lane::Writes(call.service()),
            (true, Purpose::Narrowing) => Lane::NarrowingWrites(call.service()),
            (false, Purpose::Usual) => Lane::Reads(call.service()),
            (false, Purpose::Narrowing) => Lane::NarrowingReads(call.service()),
        },
    }
}

/// Calls per second.
fn per_second(lane: Lane) -> u32 {
    match lane {
        // Quota 5.
        Lane::Own(
            Call::CreateKey
            | Call::CreateAlias
            | Call::UpdateAlias
            | Call::DisableKey
            | Call::EnableKey
            | Call::CancelKeyDeletion
            | Call::UntagResource,
        ) => 2,
        // Quota 10.
        Lane::Own(Call::TagResource) => 5,
        // Quota 15.
        Lane::Own(Call::EnableKeyRotation) => 7,
        Lane::Own(Call::PutKeyPolicy) => 5,
        Lane::OwnNarrowing(Call::PutKeyPolicy) => 2,
        // Quota 50.
        Lane::Own(Call::CreateGrant) => 25,
        // The same quota. An end does not wait for the sake of others in the account, who would be ending access as well.
        Lane::Own(Call::RevokeGrant) => 45,
        // Quota 100.
        Lane::Own(Call::ListGrants) | Lane::OwnNarrowing(Call::ListGrants) => 25,
        // Quotas 500 to 2000.
        Lane::Reads(Service::Kms) => 150,
        Lane::NarrowingReads(Service::Kms) => 50,
        Lane::Writes(Service::S3 | Service::Iam) | Lane::NarrowingWrites(Service::S3 | Service::Iam) => 10,
        Lane::Reads(Service::S3) => 70,
        Lane::NarrowingReads(Service::S3) => 30,
        Lane::Reads(Service::Iam) | Lane::NarrowingReads(Service::Iam) => 20,
        Lane::Own(_)
        | Lane::OwnNarrowing(_)
        | Lane::Writes(Service::Kms | Service::Sts)
        | Lane::NarrowingWrites(Service::Kms | Service::Sts)
        | Lane::Reads(Service::Sts)
        | Lane::NarrowingReads(Service::Sts) => 5,
    }
}

/// Calls in one moment. A full burst and a second of the rate together exceed no quota.
fn burst(lane: Lane) -> u32 {
    match lane {
        Lane::Own(Call::RevokeGrant) => 5,
        // Hardly ever used, and then for many roles at once.
        Lane::NarrowingReads(Service::Iam) => 40,
        other => per_second(other),
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
            let burst = NonZeroU32::new(burst(lane)).unwrap_or(NonZeroU32::MIN);
            Mutex::new(DefaultDirectRateLimiter::direct(Quota::per_second(rate).allow_burst(burst)))
        };
        let lanes = calls.iter().flat_map(|call| [lane(*call, Purpose::Usual), lane(*call, Purpose::Narrowing)]);
        let lanes = lanes.map(|lane| (lane, limiter(lane))).collect();
        Self { lanes }
    }

    /// Waits until the call may be made. First come, first served.
    pub async fn turn(&self, call: Call, purpose: Purpose) {
        let Some(limiter) = self.lanes.get(&lane(call, purpose)) else { return };
        // The lock is fair, and held while the first in line sleeps: the others wait behind it instead of all waking for each token.
        let limiter = limiter.lock().await;
        while let Err(not_yet) = limiter.check() {
            tokio::time::sleep(not_yet.wait_time_from(DefaultClock::default().now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn slow_kms_operations_have_their_own_lanes_below_half_of_the_quota() {
        // (call, published quota per second)
        for (call, quota) in [
            (Call::CreateKey, 5),
            (Call::CreateAlias, 5),
            (Call::UpdateAlias, 5),
            (Call::DisableKey, 5),
            (Call::EnableKey, 5),
            (Call::CancelKeyDeletion, 5),
            (Call::PutKeyPolicy, 15),
            (Call::EnableKeyRotation, 15),
            (Call::TagResource, 10),
            (Call::UntagResource, 5),
            (Call::CreateGrant, 50),
            (Call::ListGrants, 100),
        ] {
            assert_eq!(lane(call, Purpose::Usual), Lane::Own(call));
            let lanes = BTreeSet::from([lane(call, Purpose::Usual), lane(call, Purpose::Narrowing)]);
            let all: u32 =
                lanes.into_iter().filter(|l| matches!(l, Lane::Own(_) | Lane::OwnNarrowing(_))).map(per_second).sum();
            assert!(all * 2 <= quota, "{call:?}");
        }
        let revoke = lane(Call::RevokeGrant, Purpose::Usual);
        assert!(per_second(revoke) + burst(revoke) <= 50);
    }

    #[test]
    fn narrowing_does_not_share_a_lane_with_widening() {
        for narrowing in Call::ALL.iter().filter(|c| !matches!(lane(**c, Purpose::Narrowing), Lane::Own(_))) {
            for usual in Call::ALL.iter().filter(|c| !matches!(c, Call::DeleteRolePolicy | Call::DetachRolePolicy)) {
                assert_ne!(
                    lane(*narrowing, Purpose::Narrowing),
                    lane(*usual, Purpose::Usual),
                    "{narrowing:?} {usual:?}"
                );
            }
        }
        let used = [
            (Call::RevokeGrant, Call::CreateGrant),
            (Call::PutRolePolicy, Call::PutRolePolicy),
            (Call::DeleteRolePolicy, Call::CreateRole),
            (Call::GetRole, Call::GetRole),
            (Call::ListGrants, Call::ListGrants),
        ];
        for (narrowing, usual) in used {
            assert_ne!(lane(narrowing, Purpose::Narrowing), lane(usual, Purpose::Usual));
        }
    }

    #[test]
    fn no_kms_write_is_left_without_a_quota() {
        let rest: Vec<_> =
            Call::ALL.iter().filter(|c| lane(**c, Purpose::Usual) == Lane::Writes(Service::Kms)).collect();
        assert!(rest.is_empty(), "{rest:?}");
    }

    #[tokio::test]
    async fn a_burst_passes_and_the_next_call_waits() {
        let limiter = Limiter::new(Limits::half_of_quota());
        let start = Instant::now();
        for _ in 0..25 {
            limiter.turn(Call::CreateGrant, Purpose::Usual).await;
        }
        limiter.turn(Call::CreateKey, Purpose::Usual).await;
        limiter.turn(Call::CreateKey, Purpose::Usual).await;
        assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
        limiter.turn(Call::CreateKey, Purpose::Usual).await;
        assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn unlimited_never_waits() {
        let limiter = Limiter::new(Limits::unlimited());
        let start = Instant::now();
        for _ in 0..1000 {
            limiter.turn(Call::CreateKey, Purpose::Usual).await;
        }
        assert!(start.elapsed() < Duration::from_millis(400));
    }
}
