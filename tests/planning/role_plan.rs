//! The plan for a workload role, row by row.

use jiff::Timestamp;
use securebucket::aws::error::Seen;
use securebucket::domain::policy::Statement;
use securebucket::domain::tags;
use securebucket::role::observed::ForeignPolicy;

use crate::fixtures::unreadable;
use crate::role_rows::{Case, Row, check, ends, gives, reads, responder};

#[test]
fn existence() {
    let rows: &[Row] = &[
        ("as wanted", |_| {}, &[]),
        ("absent", |c| c.observed = Seen::Absent, &["+ create the role", "+ put the role's policy"]),
        (
            "absent and not needed",
            |c| {
                c.unneeded();
                c.observed = Seen::Absent;
            },
            &[],
        ),
        ("unreadable", |c| c.observed = unreadable(), &["unreadable"]),
        ("not needed", Case::unneeded, &["- delete the role's policy", "- delete the role"]),
        ("not needed, used a short while ago", Case::resting, &["+ delete the role's policy"]),
        (
            "not needed, used a short while ago, without its policy",
            |c| {
                c.resting();
                c.role().document = Seen::Absent;
            },
            &[],
        ),
        (
            "the same, asked for the declared state",
            |c| {
                c.resting();
                c.role().document = Seen::Absent;
                c.obey = true;
            },
            &[],
        ),
        (
            "absent, used a short while ago",
            |c| {
                c.resting();
                c.observed = Seen::Absent;
            },
            &[],
        ),
        // What somebody attaches meanwhile goes at once.
        (
            "not needed, used a short while ago, a foreign Allow attached",
            |c| {
                c.resting();
                c.role().document = Seen::Absent;
                c.attach("arn:aws:iam::aws:policy/Admin", true, &[reads("A")]);
            },
            &["- detach arn:aws:iam::aws:policy/Admin", "drift foreign policy arn:aws:iam::aws:policy/Admin"],
        ),
        // Policies first: IAM deletes no role that has any.
        (
            "not needed, a foreign Allow attached",
            |c| {
                c.unneeded();
                c.attach("arn:aws:iam::aws:policy/Admin", true, &[reads("A")]);
            },
            &[
                "- put the role's policy",
                "- detach arn:aws:iam::aws:policy/Admin",
                "+ delete the role's policy",
                "+ delete the role",
                "drift foreign policy arn:aws:iam::aws:policy/Admin",
            ],
        ),
        // A responder's Deny would go with the role: it stays, emptied.
        (
            "not needed, a responder's Deny in its document",
            |c| {
                c.unneeded();
                c.document().statements.push(responder("Incident42"));
            },
            // In a document that somebody has edited, our own statement that is not wanted any more looks like anybody's.
            &["+ put the role's policy", "drift role policy: Write1111111111111111", "restricted: role's policy"],
        ),
        (
            "not needed, a responder's policy",
            |c| {
                c.unneeded();
                c.attach("p", false, &[responder("Incident42")]);
            },
            &["+ delete the role's policy", "restricted: only denies"],
        ),
        // Until all is gone nothing is allowed in place of the Denies that go.
        (
            "not needed, a responder's policy, declared state asked for",
            |c| {
                c.unneeded();
                c.attach("p", false, &[responder("Incident42")]);
                c.obey = true;
            },
            &[
                "- put the role's policy",
                "- delete the foreign inline policy p",
                "+ delete the role's policy",
                "+ delete the role",
                "drift foreign policy p",
            ],
        ),
        (
            "not needed, its policy unreadable",
            |c| {
                c.unneeded();
                c.role().document = unreadable();
            },
            &["unreadable"],
        ),
    ];
    check(rows);
}

#[test]
fn owner_and_head() {
    let rows: &[Row] = &[
        (
            "under another path",
            |c| c.role().head.arn = "arn:aws:iam::111122223333:role/x".into(),
            &["problem RoleNameTaken"],
        ),
        (
            "of another cluster",
            |c| drop(c.role().head.tags.insert(tags::CLUSTER.into(), "c2".into())),
            &["problem RoleNameTaken"],
        ),
        ("marks gone", |c| c.role().head.tags.clear(), &["restricted: marks"]),
        // Without our marks the role is narrowed and not widened.
        (
            "marks gone, looser and tighter",
            |c| {
                c.role().head.tags.clear();
                c.document().statements = vec![ends(), reads("Oops")];
            },
            &["- put the role's policy", "drift role policy: Oops, Write1111111111111111", "restricted: marks"],
        ),
        (
            "marks gone, declared state asked for",
            |c| {
                c.role().head.tags.clear();
                c.obey = true;
            },
            &["- tag the role"],
        ),
        // Without the boundary IAM refuses us every other change.
        (
            "boundary missing",
            |c| {
                c.role().head.boundary = None;
                c.document().statements.push(reads("Oops"));
            },
            &[
                "- put the permissions boundary",
                "- put the role's policy",
                "drift role policy: Oops",
                "drift the permissions boundary is missing or another",
            ],
        ),
        (
            "another boundary",
            |c| c.role().head.boundary = Some("arn:aws:iam::aws:policy/AdministratorAccess".into()),
            &["- put the permissions boundary", "drift the permissions boundary is missing or another"],
        ),
        (
            "trust looser",
            |c| {
                let open = Statement::allow("Open")
                    .principal("AWS", "arn:aws:iam::999988887777:root")
                    .actions(["sts:AssumeRole"]);
                c.role().head.trust.statements.push(open);
            },
            &["- put the trust policy", "drift trust policy: Open"],
        ),
        (
            "trust tighter",
            |c| c.role().head.trust.statements.push(Statement::deny("Incident42").anyone().actions(["sts:*"])),
            &["- put the trust policy", "restricted: trust policy"],
        ),
        (
            "trust tighter, declared state asked for",
            |c| {
                c.role().head.trust.statements.push(Statement::deny("Incident42").anyone().actions(["sts:*"]));
                c.obey = true;
            },
            &["+ put the trust policy"],
        ),
        (
            "trust replaced",
            |c| {
                let open = Statement::allow("Open")
                    .principal("AWS", "arn:aws:iam::999988887777:root")
                    .actions(["sts:AssumeRole"]);
                c.role().head.trust.statements = vec![open];
            },
            &["+ put the trust policy", "drift trust policy: OnlyThisServiceAccount, Open"],
        ),
    ];
    check(rows);
}

#[test]
fn document() {
    let rows: &[Row] = &[
        ("absent", |c| c.role().document = Seen::Absent, &["+ put the role's policy"]),
        ("unreadable", |c| c.role().document = unreadable(), &["unreadable"]),
        (
            "a statement more is wanted",
            |c| c.statements.push(reads("Read2222222222222222t1")),
            &["+ put the role's policy"],
        ),
        (
            "a statement less is wanted",
            |c| c.statements.retain(|s| s.sid.starts_with("End")),
            &["- put the role's policy"],
        ),
        (
            "a foreign Allow",
            |c| c.document().statements.push(reads("Oops")),
            &["- put the role's policy", "drift role policy: Oops"],
        ),
        (
            "our Deny taken out",
            |c| c.document().statements.retain(|s| !s.sid.starts_with("End")),
            &["- put the role's policy", "drift role policy: End2222222222222222"],
        ),
        (
            "a responder's Deny",
            |c| c.document().statements.push(responder("Incident42")),
            &["- put the role's policy", "restricted: role's policy"],
        ),
        (
            "a responder's Deny, declared state asked for",
            |c| {
                c.document().statements.push(responder("Incident42"));
                c.obey = true;
            },
            &["+ put the role's policy"],
        ),
        // With nothing else to be done one write does both: it is one step for AWS too.
        (
            "one statement for another",
            |c| c.statements = vec![reads("Read2222222222222222t1"), ends()],
            &["+ put the role's policy"],
        ),
        // With something in between, what it takes comes first and what it gives last.
        (
            "one statement for another, a foreign policy attached",
            |c| {
                c.statements = vec![reads("Read2222222222222222t1"), ends()];
                c.attach("p", false, &[reads("A")]);
            },
            &[
                "- put the role's policy",
                "- delete the foreign inline policy p",
                "+ put the role's policy",
                "drift foreign policy p",
            ],
        ),
        // Nothing is given while something is unknown.
        (
            "a statement more is wanted, a foreign policy unreadable",
            |c| {
                c.statements.push(reads("Read2222222222222222t1"));
                c.role().foreign.push(ForeignPolicy { name: "p".into(), attached: false, document: unreadable() });
            },
            &["unreadable"],
        ),
        // The end moved with a later grant while somebody had edited the document: the earlier end is ours, the window beside it says so.
        (
            "edited, and its end moves",
            |c| {
                let window = reads("Read2222222222222222t6b058a40");
                let moved = ends().when("DateGreaterThanEquals", "aws:CurrentTime", ["2026-11-24T20:00:00Z"]);
                let at = "2026-11-24T16:00:00Z".parse::<Timestamp>().unwrap().as_second();
                let window = Statement { sid: format!("Read2222222222222222t{at:x}"), ..window };
                c.document().statements.push(window.clone());
                c.document().id = None;
                c.statements = vec![gives(), window, moved];
            },
            &["+ put the role's policy", "drift role policy: End2222222222222222"],
        ),
    ];
    check(rows);
}

#[test]
fn foreign_policies() {
    let rows: &[Row] = &[
        (
            "an inline one",
            |c| c.attach("p", false, &[reads("A")]),
            &["- delete the foreign inline policy p", "drift foreign policy p"],
        ),
        (
            "an attached one",
            |c| c.attach("arn:aws:iam::aws:policy/Admin", true, &[reads("A")]),
            &["- detach arn:aws:iam::aws:policy/Admin", "drift foreign policy arn:aws:iam::aws:policy/Admin"],
        ),
        // Gone between listing and reading.
        (
            "absent",
            |c| c.role().foreign.push(ForeignPolicy { name: "p".into(), attached: false, document: Seen::Absent }),
            &["- delete the foreign inline policy p", "drift foreign policy p"],
        ),
        ("deny-only", |c| c.attach("p", false, &[responder("A")]), &["restricted: only denies"]),
        (
            "deny-only, declared state asked for",
            |c| {
                c.attach("p", false, &[responder("A")]);
                c.obey = true;
            },
            &[
                "- put the role's policy",
                "- delete the foreign inline policy p",
                "+ put the role's policy",
                "drift foreign policy p",
            ],
        ),
        (
            "unreadable",
            |c| c.role().foreign.push(ForeignPolicy { name: "p".into(), attached: true, document: unreadable() }),
            &["unreadable"],
        ),
        // Its Deny is carried over first; the policy goes when the Deny is seen in ours.
        (
            "mixed",
            |c| c.attach("p", false, &[reads("A"), responder("B")]),
            &["- put the role's policy", "drift foreign policy p", "restricted: role's policy"],
        ),
        (
            "mixed, its Deny carried over",
            |c| {
                c.attach("p", false, &[reads("A"), responder("B")]);
                // As the row above leaves it.
                let first = c.plan();
                let carried = first.actions.iter().find_map(|a| match a {
                    securebucket::role::plan::Action::PutDocument { document } => Some(document.clone()),
                    _ => None,
                });
                c.role().document = Seen::Value(carried.unwrap());
            },
            &["- delete the foreign inline policy p", "drift foreign policy p", "restricted: role's policy"],
        ),
        // Nowhere to carry it: it stays where it is.
        (
            "mixed, our document unreadable",
            |c| {
                c.attach("p", false, &[reads("A"), responder("B")]);
                c.role().document = unreadable();
            },
            &["drift foreign policy p", "unreadable"],
        ),
    ];
    check(rows);
}

#[test]
fn who_has_just_taken_over_leaves_out_what_gives_access() {
    let mut absent = Case::new();
    absent.observed = Seen::Absent;
    let mut plan = absent.plan();
    assert!(plan.hold_back() && plan.actions.is_empty() && plan.problem.is_some(), "{plan:?}");

    let mut mixed = Case::new();
    mixed.document().statements.clear();
    mixed.attach("p", false, &[reads("A")]);
    let mut plan = mixed.plan();
    let restricting = plan.widening;
    assert!(restricting > 0 && plan.widens);
    assert!(plan.hold_back() && !plan.widens && plan.actions.len() == restricting, "{plan:?}");

    let mut narrowing = Case::new();
    narrowing.unneeded();
    let mut plan = narrowing.plan();
    let before = plan.clone();
    assert!(!plan.hold_back());
    assert_eq!(plan, before, "what takes access away goes on");
}
