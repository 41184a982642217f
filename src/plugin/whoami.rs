//! Who one is to the API server, and what one may do.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};

use super::exit::Failure;
use super::talk::{Refusal, Session};
use crate::api::GROUP;
use crate::api::types::{GroupName, Identity, Reviewer};

/// Groups that a review may name.
const MOST_GROUPS: usize = 32;

/// The caller.
#[derive(Clone, Debug, Default)]
pub struct Me {
    /// What the admission policies compare `requester` and `reviewer` with.
    pub identity: Identity,
    groups: Vec<String>,
}

impl Me {
    /// Asks the API server.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn ask(session: &Session) -> Result<Self, Failure> {
        let review = session.ask(&SelfSubjectReview::default()).await;
        let review = review.map_err(|e| e.to("learn who you are to the API server"))?;
        Ok(Self::from(review.status.and_then(|s| s.user_info).unwrap_or_default()))
    }

    /// As a review has to name him: with those of his groups that the sets of approvers name.
    pub fn reviewer(&self, named: &[String]) -> Reviewer {
        let groups = self.groups.iter().filter(|g| named.contains(g)).take(MOST_GROUPS);
        let Identity { username, uid, session } = self.identity.clone();
        Reviewer { username, uid, session, groups: groups.cloned().map(GroupName).collect() }
    }

    /// A short name of the person: the session's, if there is one.
    pub fn short(&self) -> &str {
        self.identity.session.as_deref().unwrap_or(&self.identity.username)
    }
}

/// As the admission policies read `request.userInfo`: what is empty is absent.
impl From<UserInfo> for Me {
    fn from(user: UserInfo) -> Self {
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        let session = user.extra.and_then(|mut extra| extra.remove("sessionName"));
        let session = session.and_then(|values| values.into_iter().next());
        let identity =
            Identity { username: user.username.unwrap_or_default(), uid: given(user.uid), session: given(session) };
        Self { identity, groups: user.groups.unwrap_or_default() }
    }
}

/// Something that RBAC may allow: a verb on objects of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right<'a> {
    /// The verb, a virtual one too.
    pub verb: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// One object, or all of the namespace.
    pub name: Option<&'a str>,
    /// The namespace.
    pub namespace: &'a str,
}

/// Whether one has it.
///
/// # Errors
/// If the API server does not say.
pub async fn may(session: &Session, right: Right<'_>) -> Result<bool, Refusal> {
    let attributes = ResourceAttributes {
        group: Some(GROUP.into()),
        resource: Some(right.resource.into()),
        verb: Some(right.verb.into()),
        name: right.name.map(str::to_owned),
        namespace: Some(right.namespace.into()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = session.ask(&SelfSubjectAccessReview { spec, ..Default::default() }).await?;
    Ok(review.status.is_some_and(|s| s.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eks_user_has_a_session() {
        let name = "arn:aws:sts::111122223333:assumed-role/dev/bob";
        let user = UserInfo {
            username: Some(name.into()),
            uid: Some("aws-iam-authenticator:111122223333:AROADEV".into()),
            groups: Some(vec!["owners".into(), "system:authenticated".into()]),
            extra: Some([("sessionName".to_owned(), vec!["bob".to_owned()])].into()),
        };
        let me = Me::from(user);
        assert_eq!((me.short(), me.identity.session.as_deref()), ("bob", Some("bob")));
        let reviewer = me.reviewer(&["owners".into(), "security".into()]);
        assert_eq!(reviewer.groups, [GroupName("owners".into())]);
        assert!(me.reviewer(&[]).groups.is_empty());
        let plain =
            Me::from(UserInfo { username: Some("bob".into()), uid: Some(String::new()), ..UserInfo::default() });
        assert_eq!((plain.short(), plain.identity.uid.as_deref()), ("bob", None));
    }
}
