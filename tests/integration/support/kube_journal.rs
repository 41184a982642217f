//! What an operator asked of the API server, request by request.

use std::fmt;
use std::sync::{Arc, Mutex};

use http::Method;
use kube::client::Body;

/// Which request it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeRequest {
    /// HTTP method.
    pub method: Method,
    /// Plural name of the kind: `securebuckets`.
    pub resource: String,
    /// `status`, `finalizers`, or empty.
    pub subresource: String,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name, empty for lists and creations.
    pub name: String,
    /// True for a watch.
    pub watch: bool,
    /// True for a dry run: the operator's proof that the admission policies refuse a false name.
    pub dry_run: bool,
}

impl KubeRequest {
    /// Reads it off a request.
    pub fn of(request: &http::Request<Body>) -> Self {
        let uri = request.uri();
        let mut parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        // /api/v1/… or /apis/<group>/<version>/…
        parts.drain(..parts.len().min(if parts.first() == Some(&"apis") { 3 } else { 2 }));
        let mut namespace = String::new();
        if parts.first() == Some(&"namespaces") && parts.len() > 2 {
            namespace = parts[1].to_owned();
            parts.drain(..2);
        }
        let part = |index: usize| parts.get(index).map_or(String::new(), |p| (*p).to_owned());
        let asked = |what: &str| uri.query().is_some_and(|q| q.split('&').any(|p| p == what));
        Self {
            method: request.method().clone(),
            resource: part(0),
            name: part(1),
            subresource: part(2),
            namespace,
            watch: asked("watch=true"),
            dry_run: asked("dryRun=All"),
        }
    }

    /// True if it changes something.
    pub fn is_write(&self) -> bool {
        ![Method::GET, Method::HEAD].contains(&self.method) && !self.dry_run
    }
}

impl fmt::Display for KubeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.watch { "WATCH" } else { self.method.as_str() };
        write!(f, "{verb} {}/{}/{}", self.resource, self.namespace, self.name)?;
        if self.subresource.is_empty() { Ok(()) } else { write!(f, "/{}", self.subresource) }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct KubeEntry {
    /// Which.
    pub request: KubeRequest,
    /// Body, of writes only.
    pub body: Option<String>,
    /// HTTP status; `None` without an answer (yet).
    pub status: Option<u16>,
}

impl fmt::Display for KubeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {:?} {}", self.request, self.status, self.body.as_deref().unwrap_or_default())
    }
}

/// All requests of one operator to the API server. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct KubeJournal(Arc<Mutex<Vec<KubeEntry>>>);

impl KubeJournal {
    /// All entries so far.
    pub fn all(&self) -> Vec<KubeEntry> {
        self.0.lock().unwrap().clone()
    }

    /// Number of entries so far: a mark for [`KubeJournal::writes_since`].
    pub fn mark(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Writes after a mark, but for renewals of the lease.
    pub fn writes_since(&self, mark: usize) -> Vec<KubeEntry> {
        let all = self.0.lock().unwrap();
        let writes = all.iter().skip(mark).filter(|e| e.request.is_write() && e.request.resource != "leases");
        writes.cloned().collect()
    }

    /// What the API server refused with 403: RBAC that is missing from the chart. Not the proof, which has to be refused.
    pub fn forbidden(&self) -> Vec<KubeEntry> {
        self.all().into_iter().filter(|e| e.status == Some(403) && !e.request.dry_run).collect()
    }

    pub(super) fn sent(&self, request: KubeRequest, body: Option<String>) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(KubeEntry { request, body, status: None });
        all.len() - 1
    }

    pub(super) fn answered(&self, index: usize, status: Option<u16>) {
        self.0.lock().unwrap()[index].status = status;
    }
}
