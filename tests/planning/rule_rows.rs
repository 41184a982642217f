//! What the rules of a bucket do to a request: `grants.deny` and `grants.autoApprove`, at the request and when access begins.

use std::time::{Duration, Instant};

use securebucket::api::condition::{Set, find, types};
use securebucket::api::decrypt_grant::ApprovalRules;
use securebucket::api::grant_review::Decision::{Approve, Deny};
use securebucket::api::grants::{RequestRule, ServiceAccountName};
use securebucket::api::types::SetName;
use securebucket::bucket::desired::desired;
use securebucket::domain::enforcement::Enforcement;
use securebucket::grant::facts::Step;
use securebucket::grant::status::settle;

use crate::fixtures::install;
use crate::grant_stages::Stage::{Activated, Approved, Held, Recorded, Resolved};
use crate::grant_stages::{Known, Row, Stage, check};
use crate::grants::{bucket, conditions, seconds};
use crate::reviews::{identity, review};

pub fn rule(name: &str, expression: &str) -> RequestRule {
    RequestRule { name: SetName(name.into()), expression: expression.into(), message: None }
}

impl Known {
    pub fn deny(&mut self, expression: &str) {
        self.bucket().spec.grants.as_mut().unwrap().deny.push(rule("no", expression));
    }

    pub fn auto(&mut self, expression: &str) {
        self.bucket().spec.grants.as_mut().unwrap().auto_approve.push(rule("yes", expression));
    }
}

/// A request for 4 h by alice of one approval; when it was made a rule stood in for that.
fn by_rule(stage: Stage) -> Known {
    let mut known = Known::at(stage);
    known.bucket = Some(bucket(1));
    if stage >= Resolved {
        let rules = ApprovalRules { auto_approved_by: Some("yes".into()), ..ApprovalRules::default() };
        known.change(|s| s.approval_rules = Some(rules));
    }
    known
}

const SHORT: &str = "request.duration <= duration('4h')";
const LONG: &str = "request.duration > duration('4h')";
/// No request of these has a ticket.
const ERRS: &str = "request.ticket == 'x'";

#[test]
fn rules_that_deny() {
    let rows: &[Row] = &[
        ("one that does not hold", Held, |k| k.deny(LONG), "resolve"),
        ("one that holds", Held, |k| k.deny(SHORT), "end Denied"),
        ("one that says nothing", Held, |k| k.deny(ERRS), "end Denied"),
        ("one that is none", Held, |k| k.deny("request.duration >"), "end Denied"),
        ("one that gives no yes or no", Held, |k| k.deny("request.reason"), "end Denied"),
        ("one that takes too long", Held, |k| k.deny(&doubling()), "end Denied"),
        ("the second of two", Held, |k| (k.deny(LONG), k.deny(SHORT)).1, "end Denied"),
        ("one of later", Resolved, |k| k.deny(SHORT), "end Denied"),
        ("one of later that does not hold", Resolved, |k| k.deny(LONG), "approve"),
        ("when access begins", Approved, |k| k.deny(SHORT), "end Denied"),
        ("when access begins, not holding", Approved, |k| k.deny(LONG), "look"),
        ("one of after that", Recorded, |k| k.deny(SHORT), "settled"),
        ("it wins over a rule that approves", Held, |k| (k.auto(SHORT), k.deny(SHORT)).1, "end Denied"),
        (
            "who asks is known to it",
            Held,
            |k| {
                k.deny(
                    "request.requester.username != 'alice' || request.namespace != 'team-a' || bucket.name != 'calls'",
                )
            },
            "resolve",
        ),
        (
            "nobody who asks is none that it lets pass",
            Held,
            |k| (k.grant.spec.requester, _) = (None, k.deny("request.requester.username == 'eve'")),
            "end Denied",
        ),
        // A rule may speak of who asks, so that he has to be who he says, although nobody is asked.
        (
            "nobody who asks",
            Resolved,
            |k| (k.grant.spec.requester, _) = (None, k.deny(LONG)),
            "stalled RequesterMissing",
        ),
        (
            "nobody holds him to it",
            Resolved,
            |k| (k.enforcement, _) = (Enforcement::unproven(), k.deny(LONG)),
            "stalled ApprovalNotEnforced",
        ),
        (
            "nobody held him to it",
            Resolved,
            |k| (k.enforcement, _) = (Enforcement::since(seconds(0)), k.deny(LONG)),
            "stalled ApprovalNotEnforced",
        ),
        (
            "he is held to it",
            Resolved,
            |k| (k.enforcement, _) = (Enforcement::since(seconds(-1)), k.deny(LONG)),
            "approve",
        ),
        (
            "a namespace that may not ask learns nothing",
            Held,
            |k| {
                k.deny(SHORT);
                k.bucket().spec.grants.as_mut().unwrap().allowed_namespaces.clear();
            },
            "stalled BucketNotAvailable",
        ),
    ];
    check(rows);
}

/// Twice as long with each step.
fn doubling() -> String {
    format!("[1]{0} == [1]{0}", ".map(x,[x,x])".repeat(24))
}

#[test]
fn a_denial_says_which_rule_and_what_to_do() {
    let told = |expression: &str, message: Option<&str>| {
        let mut known = Known::at(Held);
        known.deny(expression);
        known.bucket().spec.grants.as_mut().unwrap().deny[0].message = message.map(str::to_owned);
        let Step::End { message, rule, review, .. } = known.step() else { panic!("{expression}") };
        assert_eq!((rule.as_deref(), review), (Some("no"), None));
        message
    };
    assert!(
        told(SHORT, Some("nothing under four hours"))
            .contains("rule no of the bucket's grants.deny: nothing under four hours")
    );
    let erring = told(ERRS, None);
    assert!(erring.contains("there is no ticket") && erring.contains("mend the rule"), "{erring}");
    assert!(told(&doubling(), None).contains("2000 steps"));
    // Denied, by policy, and for good.
    let mut known = Known::at(Held);
    known.deny(SHORT);
    let step = known.step();
    let Step::End { reason, message, rule, .. } = step.clone() else { panic!() };
    let end = securebucket::api::decrypt_grant::EndStatus { reason, at: String::new(), message, review: None, rule };
    known.change(|s| s.ended = Some(end));
    let status = settle(&known.grant, known.status(), &step, known.now, known.now);
    assert_eq!(find(&status.conditions, types::DENIED).unwrap().reason, "DeniedByPolicy");
    known.bucket = Some(bucket(0));
    assert_eq!(known.word(), "record removal");
}

#[test]
fn rules_that_approve() {
    let mut wrong = String::new();
    type Change = fn(&mut Known);
    let rows: &[(&str, Stage, Change, &str)] = &[
        ("at both moments", Resolved, |k| k.auto(SHORT), "approve"),
        ("only when it was made", Resolved, |_| {}, "wait AwaitingApproval"),
        ("not now", Resolved, |k| k.auto(LONG), "wait AwaitingApproval"),
        ("one that says nothing", Resolved, |k| k.auto(ERRS), "wait AwaitingApproval"),
        ("one that is none", Resolved, |k| k.auto("request."), "wait AwaitingApproval"),
        ("one that takes too long", Resolved, |k| k.auto(&doubling()), "wait AwaitingApproval"),
        ("another that holds", Resolved, |k| (k.auto(ERRS), k.auto(SHORT)).1, "approve"),
        (
            "only now",
            Resolved,
            |k| {
                k.auto(SHORT);
                k.change(|s| s.approval_rules = Some(ApprovalRules { approvals: 1, ..ApprovalRules::default() }));
            },
            "wait AwaitingApproval",
        ),
        (
            "resolved by a version that wrote no rules",
            Resolved,
            |k| {
                k.auto(SHORT);
                k.change(|s| s.approval_rules = None);
            },
            "wait AwaitingApproval",
        ),
        (
            "nobody who asks",
            Resolved,
            |k| (k.grant.spec.requester, _) = (None, k.auto(SHORT)),
            "stalled RequesterMissing",
        ),
        (
            "nobody holds him to who he is",
            Resolved,
            |k| (k.enforcement, _) = (Enforcement::unproven(), k.auto(SHORT)),
            "stalled ApprovalNotEnforced",
        ),
        (
            "nobody held him to it",
            Resolved,
            |k| (k.enforcement, _) = (Enforcement::since(seconds(0)), k.auto(SHORT)),
            "stalled ApprovalNotEnforced",
        ),
        (
            "also where the rule is gone and nobody is asked",
            Resolved,
            |k| {
                k.bucket = Some(bucket(0));
                k.enforcement = Enforcement::unproven();
            },
            "stalled ApprovalNotEnforced",
        ),
        (
            "a robot that nobody named",
            Resolved,
            |k| (k.grant.spec.requester, _) = (Some(identity("system:serviceaccount:ci:bot")), k.auto(SHORT)),
            "stalled RequesterNotAllowed",
        ),
        (
            "a robot that the owner named",
            Resolved,
            |k| {
                k.grant.spec.requester = Some(identity("system:serviceaccount:ci:bot"));
                k.bucket().spec.grants.as_mut().unwrap().robots = vec![ServiceAccountName("ci/bot".into())];
                k.auto(SHORT);
            },
            "approve",
        ),
        (
            "a reviewer says no",
            Resolved,
            |k| {
                k.auto(SHORT);
                let no = review("no", &k.grant, Deny, "carol");
                k.add(no);
            },
            "end Denied",
        ),
        ("reviews are read before", Resolved, |k| (k.reviews, _) = (None, k.auto(SHORT)), "read reviews"),
        ("when access begins", Approved, |k| (k.looked, _) = (Known::at(Activated).looked, k.auto(SHORT)), "activate"),
        (
            "not when access begins",
            Approved,
            |k| (k.looked, _) = (Known::at(Activated).looked, k.auto(LONG)),
            "wait AwaitingApproval",
        ),
        ("gone when access begins", Approved, |k| k.looked = Known::at(Activated).looked, "wait AwaitingApproval"),
        (
            "not approved in time",
            Resolved,
            |k| {
                k.now = seconds(24 * 3_600);
            },
            "end ApprovalTimedOut",
        ),
    ];
    for (name, stage, change, expected) in rows {
        let mut known = by_rule(*stage);
        change(&mut known);
        if known.word() != *expected {
            wrong.push_str(&format!("{name}: wanted {expected}, found {}\n", known.word()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_a_rule_approved_says_so() {
    let mut known = Known::at(Held);
    known.bucket = Some(bucket(1));
    known.auto(SHORT);
    let Step::Resolve(resolution) = known.step() else { panic!() };
    assert_eq!((resolution.rules.approvals, resolution.rules.auto_approved_by.as_deref()), (0, Some("yes")));
    assert!(resolution.pending_until.is_some(), "it does not wait for ever");
    known.change(|s| resolution.record(s));
    let Step::Approve(agreement) = known.step() else { panic!("{}", known.word()) };
    let Set { reason, message, .. } = agreement.condition();
    assert!(reason == "AutoApproved" && message.contains("rule yes"), "{reason} {message}");
    // People who agreed have no part in it.
    let bob = review("r-bob", &known.grant, Approve, "bob");
    known.add(bob);
    let Step::Approve(agreement) = known.step() else { panic!("{}", known.word()) };
    assert!(agreement.approvals.is_empty() && !agreement.shortened);
    // What says nothing is told to who waits.
    let mut known = by_rule(Resolved);
    known.auto(ERRS);
    let Step::Wait { problem, .. } = known.step() else { panic!() };
    assert!(problem.message.contains("rule yes of grants.autoApprove says nothing of it"), "{}", problem.message);
    // Where nobody is asked no rule stands in for anybody.
    let mut known = Known::at(Held);
    known.auto(SHORT);
    let Step::Resolve(resolution) = known.step() else { panic!() };
    assert_eq!(resolution.rules.auto_approved_by, None);
    known.change(|s| s.conditions = conditions(&[]));
}

#[test]
fn a_rule_that_is_none_is_said_on_the_bucket() {
    let said = |deny: &str, auto: &str| {
        let mut known = Known::at(Held);
        known.deny(deny);
        known.auto(auto);
        desired(known.bucket(), "ns-uid-data", &install()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    // Whether a request has a ticket, or a second prefix, depends on the request.
    for fine in
        [SHORT, LONG, ERRS, "request.prefixes[1] == 'a/'", "has(request.notBefore) && request.requester.uid == 'x'"]
    {
        assert_eq!(said(fine, fine), "", "{fine}");
    }
    for (rule, part) in [
        ("request.durations > duration('1h')", "request.durations is not known"),
        ("request.duration > 3600", "a duration and an int cannot be compared"),
        ("request.reason", "gives a string"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "within each other"),
        ("request.reason.matches('(')", "matches"),
    ] {
        let (deny, auto) = (said(rule, "true"), said("true", rule));
        assert!(
            deny.contains("spec.grants.deny[0].expression (no)") && deny.contains("denies every request"),
            "{deny}"
        );
        assert!(
            auto.contains("spec.grants.autoApprove[0].expression (yes)") && auto.contains("approves none"),
            "{auto}"
        );
        assert!(deny.contains(part) && auto.contains(part), "{deny}");
    }
    assert!(said(&doubling(), "true").contains("2000 steps"));
}

#[test]
fn a_bucket_full_of_the_worst_rules_holds_nobody_up() {
    let mut known = by_rule(Resolved);
    for _ in 0..16 {
        known.auto(&doubling());
    }
    let begin = Instant::now();
    assert_eq!(known.word(), "wait AwaitingApproval");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
