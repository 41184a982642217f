//! KMS grants on a key: whose they are, which of them go, and what is said of those that are somebody else's.

use proptest::prelude::*;
use securebucket::api::condition::{find, types};
use securebucket::api::secure_bucket::ForeignGrants;
use securebucket::bucket::action::Facet;
use securebucket::bucket::foreign::{Claim, Claims, Whose, classify};
use securebucket::domain::foreign::Kind;
use securebucket::domain::identity::kms_grant_name;
use securebucket::role::observed::ObservedGrant;

use crate::fixtures::{NAMESPACE, install};
use crate::generate::dim_world;
use crate::laws_converge::config;
use crate::operator::World;
use crate::rows::{Case, Row, check};

fn role() -> String {
    install().role_arn(NAMESPACE, "reports")
}

fn name(uid: &str) -> String {
    kms_grant_name("c1", uid, "terms", "AROA1")
}

fn seen(id: &str, name: Option<String>, grantee: &str, operations: &[&str]) -> ObservedGrant {
    let operations = operations.iter().map(|o| (*o).to_owned()).collect();
    ObservedGrant { id: id.into(), name, grantee: grantee.into(), operations }
}

fn own(id: &str, uid: &str) -> ObservedGrant {
    seen(id, Some(name(uid)), &role(), &["Decrypt", "DescribeKey"])
}

fn planted() -> ObservedGrant {
    seen("planted", None, &install().place.role("/", "Admin"), &["Decrypt"])
}

fn claim(uid: &str, id: Option<&str>) -> Claim {
    Claim { uid: uid.into(), name: name(uid), id: id.map(Into::into), role_arn: role(), role_id: "AROA1".into() }
}

/// Claims of the laws: `live` is issued, the name of `coming` is in status.
pub fn claims() -> Claims {
    let all = vec![claim("live", Some("mine")), claim("coming", None)];
    Claims { all, fresh: true, ..Claims::default() }
}

/// KMS grants of the laws: two that are answered for, one that is left over, one of somebody else.
pub fn grants() -> Vec<ObservedGrant> {
    vec![own("mine", "live"), own("new", "coming"), own("old", "gone"), planted()]
}

impl World {
    /// True if the KMS grant has to go: nobody answers for it, or it is somebody else's and the owner wants none. Written from the spec, not
    /// from the planner.
    pub fn goes(&self, grant: &ObservedGrant) -> bool {
        let revokes = self.object.spec.foreign_grants == Some(ForeignGrants::Revoke);
        grant.id == "old" || grant.id == "planted" && revokes
    }
}

/// Name, the KMS grant, what is changed in the claims, whose it is.
type Whom = (&'static str, fn() -> ObservedGrant, fn(&mut Claims), Whose);

#[test]
fn whose_a_kms_grant_is() {
    let ours = |uid: &str| Whose::Ours(uid.into());
    let rows: &[Whom] = &[
        ("issued, its id in status", || own("mine", "live"), |_| {}, ours("live")),
        ("just issued, its name in status", || own("new", "coming"), |_| {}, ours("coming")),
        // A role that is gone or very new is shown by its unique id.
        (
            "shown under the role's unique id",
            || ObservedGrant { grantee: "AROA1".into(), ..own("mine", "live") },
            |_| {},
            ours("live"),
        ),
        ("nobody answers", || own("old", "gone"), |_| {}, Whose::LeftOver),
        ("nobody answers, by the cache", || own("old", "gone"), |c| c.fresh = false, Whose::Unknown),
        (
            "its DecryptGrant cannot be decoded",
            || own("old", "gone"),
            |c| _ = c.undecodable.insert("gone".into()),
            Whose::Unknown,
        ),
        (
            "another DecryptGrant cannot be decoded",
            || own("old", "gone"),
            |c| _ = c.undecodable.insert("other".into()),
            Whose::LeftOver,
        ),
        (
            "in a namespace that is served",
            || own("old", "gone"),
            |c| c.served = vec![NAMESPACE.into()],
            Whose::LeftOver,
        ),
        ("in a namespace that is not", || own("old", "gone"), |c| c.served = vec!["elsewhere".into()], Whose::Foreign),
        (
            "of a role that is gone, with some namespaces served",
            || ObservedGrant { grantee: "AROA9".into(), ..own("old", "gone") },
            |c| c.served = vec!["elsewhere".into()],
            Whose::LeftOver,
        ),
        ("without a name", planted, |_| {}, Whose::Foreign),
        (
            "of another installation",
            || ObservedGrant { name: Some("securebucket/c2/live/0".into()), ..own("x", "live") },
            |_| {},
            Whose::Foreign,
        ),
        // Whoever reads status can copy a name.
        ("our name, another id", || own("copy", "live"), |_| {}, Whose::Foreign),
        (
            "our name, another grantee",
            || ObservedGrant { grantee: install().place.role("/", "Admin"), ..own("new", "coming") },
            |_| {},
            Whose::Foreign,
        ),
        (
            "our name, more operations",
            || ObservedGrant { operations: vec!["CreateGrant".into(), "Decrypt".into()], ..own("new", "coming") },
            |_| {},
            Whose::Foreign,
        ),
        (
            "a made-up name under a live uid",
            || ObservedGrant { name: Some("securebucket/c1/live/0".into()), ..own("x", "live") },
            |_| {},
            Whose::LeftOver,
        ),
    ];
    for (name, grant, change, expected) in rows {
        let mut all = claims();
        change(&mut all);
        assert_eq!(classify(&[grant()], &all, &install())[0].whose, *expected, "{name}");
    }
}

fn on_key(case: &mut Case) {
    case.key().grants = securebucket::aws::error::Seen::Value(grants());
    case.situation.claims = claims();
}

#[test]
fn what_goes() {
    let rows: &[Row] = &[
        ("reported", on_key, &["- revoke the left-over KMS grant old", "foreign kms grant: planted"]),
        (
            "revoked, if the owner says so",
            |c| {
                on_key(c);
                c.desired.effective.foreign_grants = Some(ForeignGrants::Revoke);
            },
            &[
                "- revoke the left-over KMS grant old",
                "- revoke the foreign KMS grant planted",
                "foreign kms grant: planted",
            ],
        ),
        // Nothing is known of who answers: nothing is revoked.
        (
            "the API server was not asked",
            |c| {
                on_key(c);
                c.situation.claims = Claims { fresh: false, ..claims() };
            },
            &["foreign kms grant: planted"],
        ),
        ("cannot be listed", |c| c.key().grants = crate::fixtures::unreadable(), &["unreadable KMS grants"]),
        (
            "the key waits for its deletion",
            |c| {
                on_key(c);
                c.key().state = securebucket::bucket::observed::KeyState::PendingDeletion;
            },
            &[
                "- revoke the left-over KMS grant old",
                "restricted key",
                "blocked KeyPendingDeletion",
                "foreign kms grant: planted",
            ],
        ),
        (
            "the object is being deleted",
            |c| {
                on_key(c);
                c.situation.releasing = true;
            },
            &["- revoke the left-over KMS grant old", "foreign kms grant: planted"],
        ),
        (
            "the key is somebody else's",
            |c| {
                on_key(c);
                let securebucket::aws::error::Seen::Value(tags) = &mut c.key().tags else { panic!() };
                tags.insert(securebucket::domain::tags::IDENTITY.into(), "0123456789abcdef".into());
            },
            &["blocked OwnedByAnother"],
        ),
    ];
    check(rows);
}

#[test]
fn a_plan_revokes_a_limited_number() {
    let mut case = Case::new();
    case.situation.claims = claims();
    let all = (0..250).map(|n| own(&format!("{n:03}"), &format!("gone{n}"))).collect();
    case.key().grants = securebucket::aws::error::Seen::Value(all);
    let plan = securebucket::bucket::plan::plan(&case.desired, &case.observed, &case.situation, &install());
    assert_eq!(plan.actions.iter().filter(|a| a.facet() == Facet::Grants).count(), 100);
    assert_eq!(plan.grants.unwrap().len(), 250);
}

proptest! {
    #![proptest_config(config(256))]

    /// Whatever else is wrong with the bucket: what is answered for stays, what has to go goes if it can be seen, and the status says the rest.
    #[test]
    fn law_11_left_overs_go_and_what_is_answered_for_stays(world in dim_world()) {
        let mut world = world;
        let before = world.aws.clone();
        world.converge();
        for (arn, key) in before.keys {
            let after = &world.aws.keys[&arn].grants;
            // Another than the one in status is nobody's to touch.
            let known = world.status().key_arn.as_ref() == Some(&arn);
            for grant in key.grants {
                let stays = after.contains(&grant);
                prop_assert!(stays || world.goes(&grant), "{} went: {:?}", grant.id, world);
                let seen = world.plan().grants.is_some();
                prop_assert!(!stays || !seen || !known || !world.goes(&grant), "{} stays: {:?}", grant.id, world);
            }
        }
        let status = world.status();
        let said = find(&status.conditions, types::FOREIGN_ACCESS);
        let there = world.plan().grants.iter().flatten().any(|g| g.whose == Whose::Foreign);
        prop_assert_eq!(said.is_some(), there, "{:?}", said);
        if there {
            let ready = find(&status.conditions, types::READY).unwrap();
            prop_assert!(ready.status == "False" && said.unwrap().message.contains("planted"));
        }
    }
}

#[test]
fn kinds_have_words_of_their_own() {
    let words: std::collections::BTreeSet<&str> = Kind::ALL.iter().map(|k| k.name()).collect();
    assert_eq!(words.len(), Kind::ALL.len());
}
