//! Objects by their names, and what to type when there is none.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use super::exit::{Failure, Outcome};
use super::names::{Kind, Named};
use super::talk::{Refusal, Session, answer};
use crate::api::{DecryptGrant, GrantReview, SecureBucket};

/// A kind of ours.
pub trait Ours:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + serde::Serialize
{
    /// Which.
    const KIND: Kind;
}

impl Ours for DecryptGrant {
    const KIND: Kind = Kind::Grant;
}

impl Ours for SecureBucket {
    const KIND: Kind = Kind::Bucket;
}

impl Ours for GrantReview {
    const KIND: Kind = Kind::Review;
}

/// The object of a name, with the API server's refusal as it is.
///
/// # Errors
/// If there is none, or it must not be read.
pub async fn try_get<K: Ours>(session: &Session, namespace: &str, name: &str) -> Result<K, Refusal> {
    answer(session.within::<K>(namespace).get(name)).await
}

/// The object of a name.
///
/// # Errors
/// If there is none, or it must not be read; with what to type next.
pub async fn get<K: Ours>(session: &Session, namespace: &str, name: &str) -> Outcome<K> {
    try_get(session, namespace, name).await.map_err(|e| missing(K::KIND, namespace, name, &e))
}

/// The object that a command names; of this kind and no other.
///
/// # Errors
/// As [`get`], and if another kind stands before the name.
pub async fn named<K: Ours>(session: &Session, named: &Named) -> Outcome<K> {
    of_kind(named, K::KIND)?;
    get(session, &session.namespace, &named.name).await
}

/// # Errors
/// If another kind stands before the name.
pub fn of_kind(named: &Named, kind: Kind) -> Outcome<()> {
    match named.kind {
        Some(other) if other != kind => {
            let message = format!("{}/{} is no {}", other.resource(), named.name, kind.word());
            Err(Failure::new(super::exit::Exit::Usage, message).next(format!("the name of a {}", kind.word())))
        }
        _ => Ok(()),
    }
}

/// What it means that an object cannot be read.
pub fn missing(kind: Kind, namespace: &str, name: &str, refusal: &Refusal) -> Failure {
    let what = format!("{} {namespace}/{name}", kind.word());
    if !refusal.is_not_found() || refusal.no_such_kind() {
        return refusal.to(&format!("read {what}"));
    }
    let failure = Failure::failed(format!("there is no {what}"));
    match kind {
        Kind::Grant => failure.next(format!("kubectl securebucket list -n {namespace}")),
        Kind::Bucket => failure.next(format!("kubectl get sbkt -n {namespace}")),
        Kind::Review => failure.next(format!("kubectl get greview -n {namespace}")),
    }
    .next("-n NAMESPACE, if it lies in another one")
}

/// All objects of a namespace, or of all namespaces.
///
/// # Errors
/// If they must not be read.
pub async fn all<K: Ours>(session: &Session, namespace: Option<&str>) -> Result<Vec<K>, Refusal> {
    let api = namespace.map_or_else(|| session.everywhere::<K>(), |n| session.within(n));
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(500);
    loop {
        let page = answer(api.list(&params)).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}
