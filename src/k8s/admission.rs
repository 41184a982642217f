//! Whether the API server holds people to who they are: reads the admission policies, and proves that they refuse a false name.
//!
//! Reading alone would not do: a policy takes a moment to come into force, and an API server may run without them. So the operator tries, in its own
//! namespace and as a dry run, to ask and to review under a name that is not its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ApiError, REQUEST_TIMEOUT, within};
use crate::admission::judge::{Complete, SETTLING, Wanted, judge, wanted};
use crate::admission::proof::{false_request, false_review};
use crate::admission::{Subject, rules};
use crate::api::{DecryptGrant, GrantReview};
use crate::coalesce::Coalesced;
use crate::domain::enforcement::Enforcement;

/// Time between two looks at the policies. While something is wrong the first looks come sooner.
const LOOK: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(250);
/// A proof is made anew after this time although nothing has changed: an API server may have been started without admission policies.
const PROOF_LASTS: Duration = Duration::from_secs(600);
/// Name of the objects that the proof tries to create.
const ATTEMPT: &str = "securebucket-proof";

/// What is known of the admission policies. Clones share it.
#[derive(Clone)]
pub struct Guard(Option<Arc<Shared>>);

struct Shared {
    client: Client,
    namespace: String,
    wanted: Vec<Wanted>,
    state: Mutex<State>,
    /// One look at a time, for all who wait for it.
    looks: Coalesced<Enforcement>,
}

struct State {
    now: Enforcement,
    proven: Option<Proven>,
    /// When the first proof was made by this process.
    first: Option<Instant>,
}

/// What was proven, and when.
struct Proven {
    uids: Vec<String>,
    at: Instant,
}

impl Guard {
    /// Somebody else holds people to who they are (`--admission=Off`).
    pub fn off() -> Self {
        Self(None)
    }

    /// Watches the policies, and proves them in this namespace, the operator's own.
    pub fn new(client: Client, namespace: &str) -> Self {
        let state = State { now: Enforcement::unproven(), proven: None, first: None };
        Self(Some(Arc::new(Shared {
            client,
            namespace: namespace.to_owned(),
            wanted: wanted(),
            state: Mutex::new(state),
            looks: Coalesced::default(),
        })))
    }

    /// As of the last look, which may be some seconds old. Enough to say what an object waits for, not to give access: see [`Guard::fresh`].
    pub fn now(&self) -> Enforcement {
        self.0.as_ref().map_or_else(Enforcement::elsewhere, |shared| shared.lock().now.clone())
    }

    /// As of a look that begins now. After something was read that may count as an approval: had a binding been away when that was made, this look shows
    /// one that is missing, or younger.
    ///
    /// # Errors
    /// If the policies cannot be read.
    pub async fn fresh(&self) -> Result<Enforcement, ApiError> {
        match &self.0 {
            Some(shared) => shared.look().await,
            None => Ok(Enforcement::elsewhere()),
        }
    }

    /// Open once the policies were proven by this process and all API servers work by them.
    ///
    /// # Errors
    /// What is missing, in words for people.
    pub fn ready(&self, now: Timestamp) -> Result<(), String> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let state = shared.lock();
        let settled = Duration::try_from(SETTLING).unwrap_or_default();
        let Some(first) = state.first else {
            return Err(state
                .now
                .problem
                .clone()
                .unwrap_or_else(|| "the admission policies are not proven yet".into()));
        };
        if state.now.since.is_none_or(|since| now > since) || first.elapsed() >= settled {
            return Ok(());
        }
        Err("the admission policies are new; all API servers must have them first".into())
    }

    /// Looks again and again; tells when something has changed. Never ends.
    pub async fn watch(&self, changed: impl Fn(&Enforcement)) {
        let Some(shared) = &self.0 else {
            changed(&self.now());
            return std::future::pending().await;
        };
        let (mut told, mut pause) = (Enforcement::unproven(), SOON);
        loop {
            if let Err(error) = shared.look().await {
                shared.unreadable(&error);
            }
            let now = self.now();
            pause = (pause * 2).min(LOOK);
            if told != now {
                pause = SOON;
                match &now.problem {
                    Some(problem) => tracing::warn!(problem, "admission policies"),
                    None => tracing::info!(
                        since = now.since.map(tracing::field::display),
                        "admission policies are in force"
                    ),
                }
                changed(&now);
                told = now.clone();
            }
            tokio::time::sleep(if now.problem.is_none() { LOOK } else { pause }).await;
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all of them, proves what is not proven yet, and notes what came of it.
    async fn look(&self) -> Result<Enforcement, ApiError> {
        self.looks.get(self.look_now()).await
    }

    async fn look_now(&self) -> Result<Enforcement, ApiError> {
        let found = join_all(self.wanted.iter().map(|w| self.read(w))).await;
        let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
        let looks: Vec<_> = self.wanted.iter().cloned().zip(found).collect();
        let now = match judge(&looks) {
            Ok(complete) => self.proven(complete).await,
            Err(problem) => Enforcement { since: None, problem: Some(problem) },
        };
        self.lock().now = now.clone();
        Ok(now)
    }

    async fn proven(&self, complete: Complete) -> Enforcement {
        let known = {
            let state = self.lock();
            state.proven.as_ref().is_some_and(|p| p.uids == complete.uids && p.at.elapsed() < PROOF_LASTS)
        };
        if !known {
            if let Err(problem) = self.prove().await {
                return Enforcement { since: None, problem: Some(problem) };
            }
            let (mut state, at) = (self.lock(), Instant::now());
            state.first.get_or_insert(at);
            state.proven = Some(Proven { uids: complete.uids, at });
        }
        Enforcement::since(complete.since)
    }

    /// What a failed read means. An API server that is away decides nothing, so that what was known stays; one that refuses the read is a fault of RBAC.
    fn unreadable(&self, error: &ApiError) {
        tracing::warn!(%error, "the admission policies cannot be read");
        if error.status().is_some_and(|code| (400..500).contains(&code) && code != 429) {
            let problem = format!(
                "the operator may not read the admission policies, which the chart's ClusterRole allows: {error}"
            );
            self.lock().now = Enforcement { since: None, problem: Some(problem) };
        }
    }

    async fn read(&self, wanted: &Wanted) -> Result<Option<Value>, ApiError> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &wanted.kind.resource());
        let found = within(REQUEST_TIMEOUT, api.get_opt(&wanted.name)).await?;
        found.map(serde_json::to_value).transpose().map_err(|e| ApiError::Kube(kube::Error::SerdeError(e)))
    }

    /// Tries to ask and to review as nobody.
    async fn prove(&self) -> Result<(), String> {
        self.refused::<DecryptGrant>(Subject::Requester, false_request(ATTEMPT)).await?;
        self.refused::<GrantReview>(Subject::Reviewer, false_review(&self.namespace, ATTEMPT)).await
    }

    async fn refused<K: Resource<DynamicType = ()>>(&self, by: Subject, spec: Value) -> Result<(), String> {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let object = DynamicObject::new(ATTEMPT, &resource).data(json!({"spec": spec}));
        let params = PostParams { dry_run: true, field_manager: None };
        let rule = rules().into_iter().find(|r| r.subject == by);
        let policy = rule.as_ref().map_or("", |r| r.policy_name());
        match within(REQUEST_TIMEOUT, api.create(&params, &object)).await {
            Err(error) if error.is_forbidden() && error.to_string().contains(&format!("'{policy}'")) => Ok(()),
            Err(error) => Err(format!(
                "whether the policy {policy} refuses a false name cannot be seen, because a dry run in namespace {} fails otherwise: {error}",
                self.namespace
            )),
            Ok(_) => Err(format!(
                "the API server takes a {} under a false name although the policy {policy} is there: it is not in force yet, or the API server runs without the admission plugin ValidatingAdmissionPolicy",
                K::kind(&())
            )),
        }
    }
}
