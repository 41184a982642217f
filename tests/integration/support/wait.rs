//! Waiting for conditions, with a word to say when they do not come.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams};
use securebucket::api::condition::{is_true, reason, types};
use securebucket::api::{DecryptGrant, SecureBucket};
use serde::de::DeserializeOwned;

use super::World;

/// Longest wait for anything. Generous: many worlds share one machine, and a wait that succeeds is short.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Polls until `probe` gives a value. `None` after [`PATIENCE`].
pub async fn poll<T, F: Future<Output = Option<T>>>(mut probe: impl FnMut() -> F) -> Option<T> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(15);
    loop {
        if let Some(found) = probe().await {
            return Some(found);
        }
        if begun.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(Duration::from_millis(150));
    }
}

/// Conditions of a bucket.
pub fn conditions(bucket: &SecureBucket) -> &[Condition] {
    bucket.status.as_ref().map_or(&[], |s| s.conditions.as_slice())
}

/// Conditions of a grant.
pub fn grant_conditions(grant: &DecryptGrant) -> &[Condition] {
    grant.status.as_ref().map_or(&[], |s| s.conditions.as_slice())
}

/// The word that stands in the column of a grant: the reason of `Active`.
pub fn state(grant: &DecryptGrant) -> &str {
    reason(grant_conditions(grant), types::ACTIVE)
}

/// True if the status speaks of the spec as it is now.
pub fn up_to_date(bucket: &SecureBucket) -> bool {
    bucket.status.as_ref().is_some_and(|s| s.observed_generation == bucket.metadata.generation)
}

impl World {
    /// Waits until `probe` gives a value; else fails with `what` and the logs of the world's operators.
    pub async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, probe: impl FnMut() -> F) -> T {
        match poll(probe).await {
            Some(found) => found,
            None => panic!("not within {PATIENCE:?}: {what}\n{}", self.dump().await),
        }
    }

    /// Waits until an object is as `fits` wants it.
    pub async fn object_when<K>(&self, api: &Api<K>, name: &str, what: &str, fits: impl Fn(&K) -> bool) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let what = format!("{name}: {what}");
        self.until(&what, || async { api.get_opt(name).await.unwrap().filter(|o| fits(o)) }).await
    }

    /// Waits until a SecureBucket of the first namespace is as `fits` wants it.
    pub async fn bucket_when(&self, name: &str, what: &str, fits: impl Fn(&SecureBucket) -> bool) -> SecureBucket {
        self.object_when(&self.buckets(), name, what, fits).await
    }

    /// Waits until a SecureBucket of the first namespace is Ready and its status speaks of the current spec.
    pub async fn bucket_ready(&self, name: &str) -> SecureBucket {
        self.bucket_when(name, "Ready", |b| up_to_date(b) && is_true(conditions(b), types::READY)).await
    }

    /// Waits until `Ready` of a SecureBucket has this reason for the current spec.
    pub async fn bucket_reason(&self, name: &str, word: &str) -> SecureBucket {
        let fits = |b: &SecureBucket| up_to_date(b) && reason(conditions(b), types::READY) == word;
        self.bucket_when(name, &format!("Ready has reason {word}"), fits).await
    }

    /// Waits until a DecryptGrant of the first namespace is as `fits` wants it.
    pub async fn grant_when(&self, name: &str, what: &str, fits: impl Fn(&DecryptGrant) -> bool) -> DecryptGrant {
        self.object_when(&self.grants(), name, what, fits).await
    }

    /// Waits until a DecryptGrant of the first namespace is Active.
    pub async fn grant_active(&self, name: &str) -> DecryptGrant {
        self.grant_when(name, "Active", |g| is_true(grant_conditions(g), types::ACTIVE)).await
    }

    /// The same in another namespace.
    pub async fn grant_active_in(&self, namespace: &str, name: &str) -> DecryptGrant {
        let active = |g: &DecryptGrant| is_true(grant_conditions(g), types::ACTIVE);
        self.object_when(&self.grants_in(namespace), name, "Active", active).await
    }

    /// Waits until a DecryptGrant of the first namespace is in this state (reason of `Active`).
    pub async fn grant_state(&self, name: &str, word: &str) -> DecryptGrant {
        self.grant_when(name, &format!("state {word}"), |g| state(g) == word).await
    }

    /// Waits until the removal of a DecryptGrant of the first namespace has been proved.
    pub async fn grant_removed(&self, name: &str) -> DecryptGrant {
        let fits = |g: &DecryptGrant| g.status.as_ref().is_some_and(|s| s.removal.is_some());
        self.grant_when(name, "removal proved", fits).await
    }

    /// Waits until an object is gone.
    pub async fn gone<K: Clone + DeserializeOwned + Debug>(&self, api: &Api<K>, name: &str) {
        self.until(&format!("{name} gone"), || async { api.get_opt(name).await.unwrap().is_none().then_some(()) })
            .await;
    }

    /// Events of the first namespace about an object of this name, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Event> {
        self.events_in(&self.namespace, name).await
    }

    /// Events of a namespace about an object of this name, oldest first.
    pub async fn events_in(&self, namespace: &str, name: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let mut all = api.list(&ListParams::default()).await.unwrap().items;
        all.retain(|e| e.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(name)));
        all.sort_by_key(|e| e.event_time.clone());
        all
    }

    /// Waits for an event about an object of the first namespace whose note has this text in it.
    pub async fn event(&self, name: &str, word: &str, part: &str) -> Event {
        let fits =
            |e: &Event| e.reason.as_deref() == Some(word) && e.note.as_deref().unwrap_or_default().contains(part);
        let what = format!("event {word} about {name} with {part:?} in its note");
        self.until(&what, || async { self.events(name).await.into_iter().find(|e| fits(e)) }).await
    }

    /// Everything that helps to see why something did not come.
    pub async fn dump(&self) -> String {
        let mut text = String::new();
        for bucket in Api::<SecureBucket>::namespaced(self.client.clone(), &self.namespace)
            .list(&ListParams::default())
            .await
            .unwrap()
        {
            text += &format!("SecureBucket {}\n{}\n", name_of(&bucket.metadata), yaml(&bucket.status));
        }
        for grant in self.grants().list(&ListParams::default()).await.unwrap() {
            text += &format!("DecryptGrant {}\n{}\n", name_of(&grant.metadata), yaml(&grant.status));
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        for e in events.list(&ListParams::default()).await.unwrap() {
            let about = e.regarding.and_then(|r| r.name).unwrap_or_default();
            text += &format!("Event {about}: {} {}\n", e.reason.unwrap_or_default(), e.note.unwrap_or_default());
        }
        for (index, log) in self.logs.lock().unwrap().iter().enumerate() {
            text += &format!("Log of operator {index}\n{}\n", log.tail(60));
        }
        text
    }
}

fn name_of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    format!(
        "{} (finalizers {:?}, deleted {:?})",
        meta.name.clone().unwrap_or_default(),
        meta.finalizers,
        meta.deletion_timestamp
    )
}

fn yaml(value: &impl serde::Serialize) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}
