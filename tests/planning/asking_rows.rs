//! What a bucket's owner asks of a request before anybody is asked to agree: one row per rule.

use securebucket::domain::enforcement::Enforcement;

use crate::grant_stages::Stage::{Approved, Held, Resolved};
use crate::grant_stages::{Row, check};
use crate::grants::{bucket, seconds};
use crate::reviews::identity;

#[test]
fn what_the_owner_asks_of_a_request() {
    let rows: &[Row] = &[
        ("reviews are asked of the API server", Resolved, |k| k.reviews = None, "read reviews"),
        ("so before access begins", Approved, |k| k.reviews = None, "read reviews"),
        (
            "nobody knows who asks",
            Resolved,
            |k| (k.bucket, k.grant.spec.requester) = (Some(bucket(1)), None),
            "stalled RequesterMissing",
        ),
        (
            "policies not proven",
            Resolved,
            |k| {
                (k.bucket, k.enforcement) = (Some(bucket(1)), Enforcement::unproven());
                k.grant.spec.requester = Some(identity("alice"));
            },
            "stalled ApprovalNotEnforced",
        ),
        (
            "older than the policies",
            Resolved,
            |k| {
                (k.bucket, k.enforcement) = (Some(bucket(1)), Enforcement::since(seconds(0)));
                k.grant.spec.requester = Some(identity("alice"));
            },
            "stalled ApprovalNotEnforced",
        ),
        (
            "changed after it was made",
            Resolved,
            |k| {
                k.bucket = Some(bucket(1));
                (k.grant.spec.requester, k.grant.metadata.generation) = (Some(identity("alice")), Some(2));
            },
            "stalled Edited",
        ),
        ("which matters to nobody whom nobody asks", Resolved, |k| k.enforcement = Enforcement::unproven(), "approve"),
        (
            "the ServiceAccount of everybody",
            Held,
            |k| k.grant.spec.subject.service_account_ref.name = "default".into(),
            "stalled DefaultServiceAccount",
        ),
        (
            "which the owner allows",
            Held,
            |k| {
                k.grant.spec.subject.service_account_ref.name = "default".into();
                k.bucket().spec.grants.as_mut().unwrap().allow_default_service_account = Some(true);
            },
            "resolve",
        ),
        (
            "no ticket",
            Held,
            |k| k.bucket().spec.grants.as_mut().unwrap().ticket_pattern = Some("SEC-[0-9]+".into()),
            "stalled TicketRequired",
        ),
        (
            "another ticket",
            Held,
            |k| {
                k.bucket().spec.grants.as_mut().unwrap().ticket_pattern = Some("SEC-[0-9]+".into());
                k.grant.spec.ticket = Some("SEC-12x".into());
            },
            "stalled TicketRequired",
        ),
        (
            "a ticket",
            Held,
            |k| {
                k.bucket().spec.grants.as_mut().unwrap().ticket_pattern = Some("SEC-[0-9]+".into());
                k.grant.spec.ticket = Some("SEC-12".into());
            },
            "resolve",
        ),
        ("as many as may be", Held, |k| k.older = (0..4).map(|n| n.to_string()).collect(), "resolve"),
        ("one too many", Held, |k| k.older = (0..5).map(|n| n.to_string()).collect(), "stalled TooManyOpen"),
        (
            "fewer since it was approved",
            Approved,
            |k| {
                k.older = vec!["a".into()];
                k.bucket().spec.grants.as_mut().unwrap().max_open_per_subject = Some(1);
            },
            "stalled TooManyOpen",
        ),
    ];
    check(rows);
}
