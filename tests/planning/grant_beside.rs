//! What a grant says beside its state: whether its workload has the role, and what still reads when it has ended.

use securebucket::api::condition::{Set, Status, find, is_true, types, update};
use securebucket::api::secure_bucket::Duty;
use securebucket::grant::bound::{Annotation, bound, put};
use securebucket::grant::overlap::{still_readable, with_others};

use crate::fixtures::{entry, install};
use crate::grants::{bucket, request, seconds};
use crate::who_can::{ended, running};

#[test]
fn bound_by_the_annotation() {
    let grant = request("g", &["in/"], "4h");
    let role = install().role_arn("team-a", "etl");
    let named = |annotation| bound(&grant, annotation, &install());
    type Row<'a> = (Annotation<'a>, Status, &'a str, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (Some(Some(&role)), Status::True, "Annotated", &["etl"]),
        (Some(None), Status::False, "NotAnnotated", &[&role, "securebucket-calls-grant.g", "profile calls"]),
        (
            Some(Some("arn:aws:iam::1:role/Own")),
            Status::False,
            "AnotherRole",
            &[&role, "securebucket-calls-grant.g", "profile calls"],
        ),
        (None, Status::Unknown, "ServiceAccountNotFound", &["etl"]),
    ];
    for (annotation, status, reason, parts) in rows {
        let set = named(*annotation);
        assert_eq!((set.status, set.reason.as_str()), (*status, *reason));
        assert!(parts.iter().all(|p| set.message.contains(p)), "{}", set.message);
    }
}

#[test]
fn it_is_put_beside_the_others_and_taken_out() {
    let yes = || Set::yes(types::WORKLOAD_BOUND, "Annotated", "");
    let mut all = update(&[], &[Set::yes(types::APPROVED, "P", ""), Set::yes(types::STALLED, "S", "")], 1, seconds(0));
    put(&mut all, Some(yes()), 1, seconds(0));
    let first = all.clone();
    put(&mut all, Some(yes()), 1, seconds(60));
    assert_eq!(all, first, "no change, no new time");
    assert!(is_true(&all, types::STALLED) && is_true(&all, types::WORKLOAD_BOUND));
    put(&mut all, Some(Set::no(types::WORKLOAD_BOUND, "NotAnnotated", "")), 1, seconds(60));
    assert_ne!(find(&all, types::WORKLOAD_BOUND).unwrap().last_transition_time, first[2].last_transition_time);
    put(&mut all, None, 1, seconds(60));
    assert!(find(&all, types::WORKLOAD_BOUND).is_none() && all.len() == 2);
}

#[test]
fn what_still_reads_when_a_grant_has_ended() {
    let mine = ended(running("mine", &["calls/2026/"], "4h", 0), 600);
    let now = seconds(700);
    let reads = |others: &[&securebucket::api::DecryptGrant]| {
        still_readable(&mine, others.iter().copied(), Some(&bucket(0)), &install(), now)
    };
    let outer = running("outer", &["calls/"], "4h", 0);
    let inner = running("inner", &["calls/2026/01/"], "8h", 0);
    let beside = running("beside", &["calls/2025/"], "4h", 0);
    let over = ended(running("over", &["calls/"], "4h", 0), 300);
    let late = running("late", &["calls/"], "15m", -600);
    let mut other = running("other", &["calls/"], "4h", 0);
    other.spec.subject.service_account_ref.name = "reports".into();
    let mut elsewhere = running("elsewhere", &["calls/"], "4h", 0);
    elsewhere.metadata.namespace = Some("team-b".into());
    assert_eq!(reads(&[&outer, &mine, &inner]), ["DecryptGrant inner", "DecryptGrant outer"]);
    assert_eq!(reads(&[&beside, &over, &late, &other, &elsewhere]), [""; 0]);
    let message = with_others("handed back", &reads(&[&outer]));
    assert!(message.starts_with("handed back; ") && message.ends_with("DecryptGrant outer"), "{message}");
    assert_eq!(with_others("handed back", &[]), "handed back");
}

#[test]
fn a_duty_reads_on_if_it_is_a_processors_of_this_namespace_on_these_prefixes() {
    let mine = ended(running("mine", &["etl/2026/"], "4h", 0), 600);
    let mut own = bucket(0);
    let reads =
        |bucket: &securebucket::api::SecureBucket| still_readable(&mine, [], Some(bucket), &install(), seconds(700));
    own.spec.access = vec![entry("etl", Duty::Processor)];
    assert_eq!(reads(&own), [""; 0], "a bucket of another namespace gives it no duty");
    own.metadata.namespace = Some("team-a".into());
    assert_eq!(reads(&own), ["Processor duty etl-duty"]);
    own.spec.access[0].prefixes[0].0 = "other/".into();
    assert_eq!(reads(&own), [""; 0]);
    own.spec.access = vec![entry("etl", Duty::Producer)];
    assert_eq!(reads(&own), [""; 0]);
}
