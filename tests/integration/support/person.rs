//! People, as the API server's authentication has them.

use http::{HeaderName, HeaderValue};
use kube::Client;
use serde_json::{Value, json};

use super::{Stack, World};

/// Somebody.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// User name.
    pub username: String,
    uid: Option<String>,
    groups: Vec<String>,
    session: Option<String>,
}

impl Person {
    /// A user without a uid, in no group.
    pub fn named(username: &str) -> Self {
        Self { username: username.into(), ..Self::default() }
    }

    /// With a uid.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// In a group.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Somebody with an IAM role on EKS, in a session of this name.
    pub fn of_role(role: &str, session: &str) -> Self {
        let person = Self::named(&format!("arn:aws:sts::111122223333:assumed-role/{role}/{session}"));
        let uid = format!("aws-iam-authenticator:111122223333:AROA{}", role.to_uppercase());
        Self { session: Some(session.into()), ..person.uid(&uid) }
    }

    /// Whom a `requester` or `reviewer` names, with every right: for tests that are not about rights.
    pub fn stamped(stamp: &Value) -> Self {
        let text = |name: &str| stamp[name].as_str().map(str::to_owned);
        let groups = stamp["groups"].as_array().into_iter().flatten().filter_map(|g| g.as_str().map(str::to_owned));
        Self {
            username: text("username").unwrap_or_default(),
            uid: text("uid"),
            groups: groups.chain(["system:masters".to_owned()]).collect(),
            session: text("session"),
        }
    }

    /// What `requester` or `reviewer` has to say of him.
    pub fn stamp(&self) -> Value {
        let mut stamp = json!({"username": self.username});
        if let Some(uid) = &self.uid {
            stamp["uid"] = json!(uid);
        }
        if let Some(session) = &self.session {
            stamp["session"] = json!(session);
        }
        stamp
    }

    /// A client that is him: cluster-admin impersonates, after which nobody can tell the difference.
    pub async fn client(&self, world: &World) -> Client {
        self.client_on(world.stack).await
    }

    /// A kubeconfig that makes kubectl and its plugins him.
    pub fn kubeconfig(&self, stack: &Stack, namespace: &str) -> Value {
        let mut user = json!({"token": stack.kube.admin_token, "as": self.username, "as-groups": self.groups});
        if let Some(uid) = &self.uid {
            user["as-uid"] = json!(uid);
        }
        // Their clients escape the key of an extra once and no more, and the API server lower-cases it before: `sessionName` cannot be impersonated so.
        assert!(self.session.is_none(), "no kubeconfig makes somebody a user of EKS");
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": stack.kube.url, "certificate-authority": stack.kube.ca_file}}],
            "users": [{"name": "c", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": namespace}}],
        })
    }

    async fn client_on(&self, stack: &Stack) -> Client {
        let header = |name: &str, value: &str| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = vec![header("impersonate-user", &self.username)];
        headers.extend(self.uid.iter().map(|uid| header("impersonate-uid", uid)));
        headers.extend(self.groups.iter().map(|group| header("impersonate-group", group)));
        // The key is lower-cased before it is unescaped, so that the N of `sessionName` comes as %4E.
        headers.extend(self.session.iter().map(|session| header("impersonate-extra-session%4eame", session)));
        stack.client_with(&stack.kube.admin_token, headers).await
    }
}
