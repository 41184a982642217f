//! One watch per kind, with a cache of its objects.
//!
//! Built on kube's watcher, with a cache of our own instead of kube's reflector, because of what controllers here need to know:
//! - an object that vanished while the watch was down is reported as deleted (the reflector drops it in silence);
//! - an object that cannot be decoded stops neither its kind nor looks deleted: it is reported, and told apart from an absent one;
//! - several namespaces are one cache;
//! - a list from scratch every few minutes replaces the trust in an endless stream, and says that the watch still works.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::{self, DefaultBackoff, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::guard::Guarded;
use super::paced::paced;
use crate::domain::time::jittered;

/// The server ends a watch after this long; kube's watcher gives a silent connection five seconds more. The default is 290 s, for which
/// a dead connection would hide events.
const WATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Everything is listed anew this often. A watch from which nothing was heard for three times as long is dead.
pub const RESYNC: Duration = Duration::from_secs(300);
/// Longest wait for the next object of a list. kube sets no time limit on an answer.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

/// What a watch reports.
#[derive(Clone, Debug)]
pub enum WatchEvent<K> {
    /// The object is new or has changed.
    Applied(Arc<K>),
    /// The object is gone; this is its last known state.
    Deleted(Arc<K>),
    /// The object is there but cannot be decoded. It has left the cache, which is not the same as being deleted.
    Undecodable(Undecodable),
    /// Every namespace has been listed once: the cache is complete. Reported once.
    Synced,
}

/// An object that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid, if it has one.
    pub uid: Option<String>,
    /// Why.
    pub error: String,
}

/// Read access to what a watch has seen. Clones share the cache.
pub struct Cache<K> {
    shared: Arc<RwLock<Shared<K>>>,
}

struct Shared<K> {
    objects: BTreeMap<Key, Arc<K>>,
    undecodable: BTreeMap<Key, Undecodable>,
    /// Per source: when it was last heard of, and whether it has been listed once.
    sources: Vec<Source>,
}

#[derive(Clone, Copy)]
struct Source {
    last_seen: Instant,
    synced: bool,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> Cache<K> {
    fn new(sources: usize) -> Self {
        let sources = vec![Source { last_seen: Instant::now(), synced: false }; sources];
        let shared = Shared { objects: BTreeMap::new(), undecodable: BTreeMap::new(), sources };
        Self { shared: Arc::new(RwLock::new(shared)) }
    }

    /// The object of this name. Cluster-scoped kinds have the namespace `""`.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects, in the order of namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// All objects of one namespace, in the order of their names.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = (namespace.to_owned(), String::new());
        let shared = self.read();
        shared.objects.range(from..).take_while(|(k, _)| k.0 == namespace).map(|(_, v)| Arc::clone(v)).collect()
    }

    /// Objects that are there but cannot be decoded: while there are any, the absence of an object from the cache proves nothing.
    pub fn undecodable(&self) -> Vec<Undecodable> {
        self.read().undecodable.values().cloned().collect()
    }

    /// True once every namespace has been listed.
    pub fn is_synced(&self) -> bool {
        self.read().is_synced()
    }

    /// When the watch that has been silent for longest was last heard of; the start of the process at first.
    /// Silence beyond three times [`RESYNC`] means that it is dead.
    pub fn last_seen(&self) -> Instant {
        self.read().sources.iter().map(|s| s.last_seen).min().unwrap_or_else(Instant::now)
    }

    fn read(&self) -> RwLockReadGuard<'_, Shared<K>> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shared<K>> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches a namespaced kind in the whole cluster, or in the namespaces named. For metadata alone, `K` is `PartialObjectMeta<_>`.
///
/// Nothing is asked until the future is polled; it never ends. `on_event` is called from it and must not block.
pub fn watch<K, F>(
    client: &Client,
    namespaces: &[String],
    on_event: F,
) -> (Cache<K>, impl Future<Output = Infallible> + Send + use<K, F>)
where
    F: Fn(WatchEvent<K>) + Send + Sync + 'static,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let apis = if namespaces.is_empty() {
        vec![(Api::all(paced(client)), config())]
    } else {
        let unique: BTreeSet<&String> = namespaces.iter().collect();
        unique.into_iter().map(|ns| (Api::namespaced(paced(client), ns), config())).collect()
    };
    watch_all(apis, Arc::new(on_event))
}

/// Watches the metadata of all namespaces, or of those named: one request per name then, so that a role limited by `resourceNames` is enough.
pub fn watch_namespaces<F>(
    client: &Client,
    namespaces: &[String],
    on_event: F,
) -> (Cache<PartialObjectMeta<Namespace>>, impl Future<Output = Infallible> + Send + use<F>)
where
    F: Fn(WatchEvent<PartialObjectMeta<Namespace>>) + Send + Sync + 'static,
{
    let apis = if namespaces.is_empty() {
        vec![(Api::all(paced(client)), config())]
    } else {
        let unique: BTreeSet<&String> = namespaces.iter().collect();
        unique
            .into_iter()
            .map(|ns| (Api::all(paced(client)), config().fields(&format!("metadata.name={ns}"))))
            .collect()
    };
    watch_all(apis, Arc::new(on_event))
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT.as_secs() as u32)
}

type OnEvent<K> = Arc<dyn Fn(WatchEvent<K>) + Send + Sync>;

fn watch_all<K>(
    apis: Vec<(Api<Guarded<K>>, watcher::Config)>,
    on_event: OnEvent<K>,
) -> (Cache<K>, impl Future<Output = Infallible> + Send + use<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let cache = Cache::new(apis.len());
    let sources: FuturesUnordered<_> = apis
        .into_iter()
        .enumerate()
        .map(|(index, (api, config))| {
            let sink = Sink::new(cache.clone(), index);
            watch_one(api, config, sink, Arc::clone(&on_event))
        })
        .collect();
    (cache, async move {
        let mut sources = sources;
        loop {
            match sources.next().await {
                Some(never) => match never {},
                None => std::future::pending().await,
            }
        }
    })
}

/// One source: a stream of list and watch that is thrown away and begun anew at each resync, with a back-off of its own.
async fn watch_one<K>(
    api: Api<Guarded<K>>,
    config: watcher::Config,
    mut sink: Sink<K>,
    on_event: OnEvent<K>,
) -> Infallible
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut backoff = DefaultBackoff::default();
    let resync = jittered(RESYNC, api.resource_url());
    loop {
        let mut stream = std::pin::pin!(watcher(api.clone(), config.clone()));
        let fresh_until = Instant::now() + resync;
        sink.listing = true;
        loop {
            // While listing, a stuck answer is what can go wrong; afterwards silence is normal and ends with the resync.
            let deadline = if sink.listing { Instant::now() + LIST_TIMEOUT } else { fresh_until };
            match timeout_at(deadline, stream.next()).await {
                Ok(Some(Ok(event))) => sink.take(event, &*on_event),
                Ok(Some(Err(error))) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch failed; trying again");
                    tokio::time::sleep(backoff.next().unwrap_or(RESYNC)).await;
                }
                Err(_) if sink.listing => {
                    tracing::warn!(kind = %K::kind(&()), "no answer to a list; trying again");
                    tokio::time::sleep(backoff.next().unwrap_or(RESYNC)).await;
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
    }
}

/// Takes the events of one source into the cache.
struct Sink<K> {
    cache: Cache<K>,
    index: usize,
    /// Keys that this source has put into the cache.
    known: BTreeSet<Key>,
    /// What the list in progress has shown so far.
    listed: BTreeSet<Key>,
    listing: bool,
}

impl<K: Resource<DynamicType = ()>> Sink<K> {
    fn new(cache: Cache<K>, index: usize) -> Self {
        Self { cache, index, known: BTreeSet::new(), listed: BTreeSet::new(), listing: true }
    }

    fn take(&mut self, event: watcher::Event<Guarded<K>>, on_event: &dyn Fn(WatchEvent<K>)) {
        let mut events = Vec::new();
        {
            let mut shared = self.cache.write();
            match event {
                watcher::Event::Init => {
                    self.listed.clear();
                    self.listing = true;
                    // Nothing has been heard of the server yet.
                    return;
                }
                watcher::Event::InitApply(object) => {
                    self.listed.insert(shared.apply(object, &mut events));
                }
                watcher::Event::InitDone => {
                    self.listing = false;
                    let listed = std::mem::take(&mut self.listed);
                    for key in self.known.difference(&listed) {
                        shared.delete(key, &mut events);
                    }
                    self.known = listed;
                    let was = shared.is_synced();
                    shared.sources.get_mut(self.index).into_iter().for_each(|s| s.synced = true);
                    if !was && shared.is_synced() {
                        events.push(WatchEvent::Synced);
                    }
                }
                watcher::Event::Apply(object) => {
                    self.known.insert(shared.apply(object, &mut events));
                }
                watcher::Event::Delete(object) => {
                    let key = key_of(object.meta());
                    self.known.remove(&key);
                    shared.delete(&key, &mut events);
                }
            }
            shared.sources.get_mut(self.index).into_iter().for_each(|s| s.last_seen = Instant::now());
        }
        // The cache is unlocked here: a callback may read it.
        events.into_iter().for_each(on_event);
    }
}

impl<K> Shared<K> {
    fn is_synced(&self) -> bool {
        self.sources.iter().all(|s| s.synced)
    }

    fn delete(&mut self, key: &Key, events: &mut Vec<WatchEvent<K>>) {
        self.undecodable.remove(key);
        if let Some(last) = self.objects.remove(key) {
            events.push(WatchEvent::Deleted(last));
        }
    }
}

impl<K: Resource> Shared<K> {
    fn apply(&mut self, object: Guarded<K>, events: &mut Vec<WatchEvent<K>>) -> Key {
        let key = key_of(object.meta());
        let mut object = match object.into_result() {
            Ok(object) => object,
            Err((uid, error)) => {
                self.objects.remove(&key);
                let report = Undecodable { namespace: key.0.clone(), name: key.1.clone(), uid, error };
                if self.undecodable.get(&key) != Some(&report) {
                    self.undecodable.insert(key.clone(), report.clone());
                    events.push(WatchEvent::Undecodable(report));
                }
                return key;
            }
        };
        self.undecodable.remove(&key);
        // Half of the memory of a small object, and nothing here reads it.
        object.meta_mut().managed_fields = None;
        if let Some(before) = self.objects.get(&key) {
            let (old, new) = (before.meta(), object.meta());
            if old.uid != new.uid {
                // Deleted and made anew between two looks: two different objects.
                events.push(WatchEvent::Deleted(Arc::clone(before)));
            } else if old.resource_version == new.resource_version {
                return key;
            }
        }
        let object = Arc::new(object);
        self.objects.insert(key.clone(), Arc::clone(&object));
        events.push(WatchEvent::Applied(object));
        key
    }
}

fn key_of(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
