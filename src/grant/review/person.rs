//! When two stamped identities are one person. Pure.
//!
//! The API server knows user names. On EKS one person has many: the name holds the name of an STS session, which the caller chooses, and the role
//! stays the same (EKS User Guide, access entries: `{{SessionName}}`). So two identities are taken for one person as soon as one thing says so.

use crate::api::types::{Identity, Reviewer};

/// Prefix of the user names of ServiceAccounts (Kubernetes: Authenticating).
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Prefix of all user names that are not of people.
const SYSTEM: &str = "system:";

/// A stamped identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person<'a> {
    /// User name.
    pub username: &'a str,
    /// Uid, if the authentication gives one.
    pub uid: Option<&'a str>,
    /// Name of the EKS session, if it is one.
    pub session: Option<&'a str>,
}

impl<'a> From<&'a Identity> for Person<'a> {
    fn from(who: &'a Identity) -> Self {
        Self { username: &who.username, uid: who.uid.as_deref(), session: who.session.as_deref() }
    }
}

impl<'a> From<&'a Reviewer> for Person<'a> {
    fn from(who: &'a Reviewer) -> Self {
        Self { username: &who.username, uid: who.uid.as_deref(), session: who.session.as_deref() }
    }
}

/// What makes two identities one person, in words; `None` if nothing does. `fixed` are the uids, or the ids of the roles that they end in, of
/// roles whose session names the caller cannot choose: many people share their uid, and the names tell them apart.
pub fn same(a: Person<'_>, b: Person<'_>, fixed: &[String]) -> Option<&'static str> {
    if equal(a.username, b.username) {
        return Some("the same user name");
    }
    if both(a.session, b.session).is_some_and(|(a, b)| equal(a, b)) {
        return Some("the same session name");
    }
    let uid = both(a.uid, b.uid).filter(|(a, b)| a == b).map(|(uid, _)| uid)?;
    let shared = fixed.iter().any(|f| uid == f || uid.rsplit(':').next() == Some(f));
    (!shared).then_some("the same uid, which is that of one IAM role or user under whatever session name")
}

fn both<'a>(a: Option<&'a str>, b: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    a.zip(b).filter(|(a, b)| !a.is_empty() && !b.is_empty())
}

fn equal(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// True if a name is as a list of people has it: without regard to case.
pub fn named(username: &str, listed: &str) -> bool {
    equal(username, listed)
}

/// True if the user is none of the people.
pub fn is_system(username: &str) -> bool {
    username.get(..SYSTEM.len()).is_some_and(|start| start.eq_ignore_ascii_case(SYSTEM))
}

/// `<namespace>/<name>` if the user is a ServiceAccount.
pub fn service_account(username: &str) -> Option<String> {
    let (namespace, name) = username.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    Some(format!("{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person<'a>(username: &'a str, uid: &'a str, session: &'a str) -> Person<'a> {
        let given = |text: &'a str| (!text.is_empty()).then_some(text);
        Person { username, uid: given(uid), session: given(session) }
    }

    #[test]
    fn one_thing_is_enough() {
        let dev = "aws-iam-authenticator:111122223333:AROADEV";
        let sso = "aws-iam-authenticator:111122223333:AROASSO";
        let fixed = [String::from("AROASSO")];
        let rows = [
            ("alice", "", "", "bob", "", "", false),
            ("alice", "", "", "Alice", "", "", true),
            ("ÄNNE", "", "", "änne", "", "", true),
            // One role under two session names: on EKS the caller chooses them.
            ("dev:alice", dev, "alice", "dev:bob", dev, "bob", true),
            // One person who comes by two roles.
            ("dev:alice", dev, "alice", "ops:alice", sso, "ALICE", true),
            ("dev:alice", dev, "alice", "ops:bob", sso, "bob", false),
            // A role whose session names are given by the identity provider.
            ("sso:alice", sso, "alice", "sso:bob", sso, "bob", false),
            ("sso:alice", sso, "alice", "sso:Alice2", sso, "alice", true),
            // Absent is not equal to absent.
            ("alice", "", "", "bob", "", "x", false),
        ];
        for (a, a_uid, a_session, b, b_uid, b_session, one) in rows {
            let (left, right) = (person(a, a_uid, a_session), person(b, b_uid, b_session));
            assert_eq!(same(left, right, &fixed).is_some(), one, "{left:?} {right:?}");
            assert_eq!(same(right, left, &fixed).is_some(), one, "{right:?} {left:?}");
        }
        let empty = Person { username: "a", uid: Some(""), session: Some("") };
        assert!(same(empty, Person { username: "b", ..empty }, &[]).is_none());
    }

    #[test]
    fn robots_are_known_by_their_name() {
        assert_eq!(service_account("system:serviceaccount:ci:deployer").as_deref(), Some("ci/deployer"));
        assert_eq!(service_account("alice"), None);
        assert!(is_system("system:node:n1") && is_system("System:anonymous") && !is_system("systemic"));
    }
}
