//! The plan for the key, row by row.

use securebucket::aws::error::Seen;
use securebucket::bucket::observed::KeyState;
use securebucket::domain::policy::Statement;
use securebucket::domain::tags;

use crate::fixtures::{strangers_key, unreadable};
use crate::rows::{Case, Row, check};

fn responder() -> Statement {
    Statement::deny("Incident42").anyone().actions(["kms:Decrypt"]).resources(["*"])
}

fn foreign_allow() -> Statement {
    Statement::allow("Oops").anyone().actions(["kms:Decrypt"]).resources(["*"])
}

fn key_tags(case: &mut Case, change: impl FnOnce(&mut tags::Tags)) {
    let Seen::Value(tags) = &mut case.key().tags else { panic!() };
    change(tags);
}

#[test]
fn existence() {
    let rows: &[Row] = &[
        ("all as declared", |_| {}, &[]),
        // The first pass: the key is announced before it is made, the bucket's policy comes before anything is stored under the key.
        (
            "nothing is there yet",
            Case::fresh,
            &[
                "- announce the creation of a key",
                "- create the key",
                "- create the alias",
                "- create the bucket",
                "- rotate the key every 365 days",
                "- block public access",
                "- put the bucket policy",
                "- set default encryption to SSE-KMS under the key, SSE-C blocked",
                "- set versioning to Enabled",
                "- abort incomplete uploads after 7 days",
            ],
        ),
        // An announced CreateKey whose answer is not in: nothing is made until it is known what became of it.
        (
            "announced, too young to be repeated",
            |c| {
                c.fresh();
                c.situation.attempt_pending = true;
            },
            &["waiting for the key"],
        ),
        // Found by the attempt in its tags: it is ours, has no alias yet, and its id is not in status.
        (
            "made by a lost call",
            |c| {
                c.observed.bucket = Seen::Absent;
                c.situation = Default::default();
                c.key().alias_target = Seen::Absent;
                c.key().rotation_days = Seen::Value(None);
            },
            &[
                "- record key key-0",
                "- create the alias",
                "- create the bucket",
                "- rotate the key every 365 days",
                "- block public access",
                "- put the bucket policy",
                "- set default encryption to SSE-KMS under the key, SSE-C blocked",
                "- set versioning to Enabled",
                "- abort incomplete uploads after 7 days",
            ],
        ),
        // What it encrypted is lost; a second key would hide that.
        ("recorded and gone", |c| c.observed.key = Seen::Absent, &["blocked KeyGone"]),
        // Nothing new is put under a key that is no more.
        (
            "gone before there was a bucket",
            |c| {
                c.observed.key = Seen::Absent;
                c.observed.bucket = Seen::Absent;
                c.situation.bound = false;
            },
            &["blocked KeyGone"],
        ),
        // A 403 is not an absence: no second key, and the bucket's policy is kept right by what status knows.
        (
            "unreadable",
            |c| {
                c.observed.key = unreadable();
                c.bucket().policy = Seen::Absent;
            },
            &["- put the bucket policy", "drift bucket policy: there is no bucket policy", "unreadable key"],
        ),
        (
            "unreadable, and not recorded",
            |c| {
                c.observed.key = unreadable();
                c.observed.bucket = Seen::Absent;
                c.situation = Default::default();
            },
            &["unreadable key"],
        ),
    ];
    check(rows);
}

#[test]
fn owner() {
    let rows: &[Row] = &[
        // Created again: taken back, and marked anew.
        ("returning", Case::returned, &["- record key key-0", "- tag the key", "- tag the bucket"]),
        (
            "another's",
            |c| key_tags(c, |t| drop(t.insert(tags::IDENTITY.into(), "0123456789abcdef".into()))),
            &["blocked OwnedByAnother"],
        ),
        (
            "of another cluster",
            |c| key_tags(c, |t| drop(t.insert(tags::CLUSTER.into(), "c2".into()))),
            &["blocked OwnedByAnother"],
        ),
        // Somebody stripped the marks of a recorded key: said, left, and only narrowed.
        ("unmarked", |c| key_tags(c, tags::Tags::clear), &["restricted key tags"]),
        (
            "unmarked, a foreign Allow in its policy",
            |c| {
                key_tags(c, tags::Tags::clear);
                c.edit_key_policy(|s| s.push(foreign_allow()));
            },
            &[
                "- put the key policy",
                "drift key policy: missing, changed or foreign statements: Oops",
                "restricted key tags",
                "foreign key policy: Oops",
            ],
        ),
        // What gives access needs the mark.
        (
            "unmarked, without its duties",
            |c| {
                key_tags(c, tags::Tags::clear);
                c.edit_key_policy(|s| s.retain(|s| s.sid != "StandingDuties"));
            },
            &["drift key policy: missing, changed or foreign statements: StandingDuties", "restricted key tags"],
        ),
        (
            "unmarked, declared state asked for",
            |c| {
                key_tags(c, tags::Tags::clear);
                c.situation.obey = true;
            },
            &["- tag the key"],
        ),
        (
            "unmarked and not recorded",
            |c| {
                key_tags(c, tags::Tags::clear);
                c.situation = Default::default();
            },
            &["blocked OwnedByAnother"],
        ),
        ("tags unreadable", |c| c.key().tags = unreadable(), &["unreadable key tags"]),
        (
            "tags unreadable and not recorded",
            |c| {
                c.key().tags = unreadable();
                c.situation.key_arn = None;
                c.situation.provisioned = false;
            },
            &["unreadable key tags"],
        ),
        // User tags of an earlier spec go, those of others stay.
        (
            "tags differ",
            |c| {
                c.desired.tags_before = vec!["old".into()];
                key_tags(c, |t| drop(t.insert("old".into(), "x".into())));
            },
            &["- tag the key", "drift key tags: tags differ"],
        ),
        ("others' tags", |c| key_tags(c, |t| drop(t.insert("cost".into(), "1".into()))), &[]),
    ];
    check(rows);
}

#[test]
fn state() {
    let rows: &[Row] = &[
        // Somebody closed it: left as it is.
        ("disabled", |c| c.key().state = KeyState::Disabled, &["restricted key", "blocked KeyDisabled"]),
        // Enabled under a policy, and behind a bucket policy, that were just written.
        (
            "disabled, declared state asked for",
            |c| {
                c.key().state = KeyState::Disabled;
                c.situation.obey = true;
            },
            &["- put the bucket policy", "+ put the key policy", "+ enable the key"],
        ),
        (
            "pending deletion",
            |c| c.key().state = KeyState::PendingDeletion,
            &["restricted key", "blocked KeyPendingDeletion"],
        ),
        (
            "pending deletion, declared state asked for",
            |c| {
                c.key().state = KeyState::PendingDeletion;
                c.situation.obey = true;
            },
            &["- put the bucket policy", "- cancel the key's deletion", "+ put the key policy", "+ enable the key"],
        ),
        // Created again while its key was on the way out: taken back. It is marked when it has arrived.
        (
            "pending deletion, returning",
            |c| {
                c.returned();
                c.key().state = KeyState::PendingDeletion;
            },
            &[
                "- put the bucket policy",
                "- record key key-0",
                "- cancel the key's deletion",
                "- tag the bucket",
                "+ put the key policy",
                "+ enable the key",
            ],
        ),
        // The operator died between cancelling and enabling.
        (
            "on its way back",
            |c| {
                c.returned();
                c.key().state = KeyState::Disabled;
                c.situation.key_arn = Some(crate::fixtures::key_arn(0));
            },
            &["- put the bucket policy", "- tag the bucket", "+ put the key policy", "+ enable the key"],
        ),
        // A key that somebody disabled while the object was away is marked before it is recorded, so that it is not taken for the row above.
        (
            "disabled, returning",
            |c| {
                c.returned();
                c.key().state = KeyState::Disabled;
            },
            &["- tag the key", "- tag the bucket", "restricted key", "blocked KeyDisabled"],
        ),
        ("creating", |c| c.key().state = KeyState::Other("Creating".into()), &["blocked KeyUnusable"]),
        // Nothing is put under a key that cannot be used.
        (
            "disabled before there was a bucket",
            |c| {
                c.key().state = KeyState::Disabled;
                c.observed.bucket = Seen::Absent;
                c.situation.bound = false;
                c.situation.provisioned = false;
            },
            &["restricted key", "blocked KeyDisabled"],
        ),
    ];
    check(rows);
}

#[test]
fn alias_and_rotation() {
    let rows: &[Row] = &[
        (
            "alias missing",
            |c| c.key().alias_target = Seen::Absent,
            &["- create the alias", "drift key: the alias is missing"],
        ),
        (
            "alias elsewhere",
            |c| c.key().alias_target = Seen::Value(strangers_key()),
            &["- point the alias back to the key", "drift key: the alias points to strangers"],
        ),
        // KMS refuses to point an alias to a key that is pending deletion.
        (
            "alias elsewhere, key pending deletion",
            |c| {
                c.key().alias_target = Seen::Value(strangers_key());
                c.key().state = KeyState::PendingDeletion;
            },
            &["restricted key", "blocked KeyPendingDeletion"],
        ),
        ("alias unreadable", |c| c.key().alias_target = unreadable(), &["unreadable key"]),
        (
            "rotation off",
            |c| c.key().rotation_days = Seen::Value(None),
            &["- rotate the key every 365 days", "drift key rotation: rotation is off"],
        ),
        (
            "rotation slower",
            |c| c.key().rotation_days = Seen::Value(Some(2560)),
            &["- rotate the key every 365 days", "drift key rotation: rotation every 2560 days"],
        ),
        // Before the first complete read a difference is work, and after a change of the spec it is declared: no drift.
        (
            "rotation off, not complete yet",
            |c| {
                c.key().rotation_days = Seen::Value(None);
                c.situation.provisioned = false;
            },
            &["- rotate the key every 365 days"],
        ),
        (
            "rotation another, spec changed",
            |c| {
                c.desired.rotation_days = 90;
                c.situation.spec_changed = true;
            },
            &["- rotate the key every 90 days"],
        ),
        ("rotation unreadable", |c| c.key().rotation_days = unreadable(), &["unreadable key rotation"]),
        // KMS refuses to change the rotation of a disabled key.
        (
            "rotation off, key disabled",
            |c| {
                c.key().rotation_days = Seen::Absent;
                c.key().state = KeyState::Disabled;
            },
            &["restricted key", "blocked KeyDisabled"],
        ),
    ];
    check(rows);
}

#[test]
fn policy() {
    let rows: &[Row] = &[
        (
            "looser: a foreign Allow",
            |c| c.edit_key_policy(|s| s.push(foreign_allow())),
            &[
                "- put the key policy",
                "drift key policy: missing, changed or foreign statements: Oops",
                "foreign key policy: Oops",
            ],
        ),
        (
            "looser: a Deny is gone",
            |c| c.edit_key_policy(|s| s.retain(|s| s.sid != "CryptoOnlyThroughS3")),
            &["- put the key policy", "drift key policy: missing, changed or foreign statements: CryptoOnlyThroughS3"],
        ),
        // Kept, under a name that tells it from ours.
        (
            "tighter: a responder's Deny",
            |c| c.edit_key_policy(|s| s.push(responder())),
            &["- put the key policy", "restricted key policy"],
        ),
        (
            "tighter, declared state asked for",
            |c| {
                c.edit_key_policy(|s| s.push(responder()));
                c.situation.obey = true;
            },
            &["- put the bucket policy", "+ put the key policy"],
        ),
        // Roles get the key last, and the bucket's Denies are written just before.
        (
            "tighter: the duties are gone",
            |c| c.edit_key_policy(|s| s.retain(|s| s.sid != "StandingDuties")),
            &[
                "- put the bucket policy",
                "+ put the key policy",
                "drift key policy: missing, changed or foreign statements: StandingDuties",
            ],
        ),
        // Both at once: what it takes at once, what it gives last.
        (
            "looser and tighter",
            |c| {
                c.edit_key_policy(|s| {
                    s.retain(|s| s.sid != "StandingDuties");
                    s.push(foreign_allow());
                });
            },
            &[
                "- put the key policy",
                "- put the bucket policy",
                "+ put the key policy",
                "drift key policy: missing, changed or foreign statements: Oops, StandingDuties",
                "foreign key policy: Oops",
            ],
        ),
        ("unreadable", |c| c.key().policy = unreadable(), &["unreadable key policy"]),
        // Nothing is given while something is unknown.
        (
            "tighter, and something else unreadable",
            |c| {
                c.edit_key_policy(|s| s.retain(|s| s.sid != "StandingDuties"));
                c.bucket().lifecycle = unreadable();
            },
            &["drift key policy: missing, changed or foreign statements: StandingDuties", "unreadable lifecycle"],
        ),
    ];
    check(rows);
}
