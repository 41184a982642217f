use std::sync::Mutex;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use serde_json::{Value, json};

use super::*;
use crate::k8s::fake::{Answer, Requests, Seen, server};
use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

fn object(namespace: &str, name: &str, uid: &str, version: &str) -> Value {
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": uid, "resourceVersion": version,
            "managedFields": [{"manager": "x"}],
        },
        "data": {},
    })
}

fn good(name: &str, uid: &str, version: &str) -> Guarded<ConfigMap> {
    serde_json::from_value(object("ns", name, uid, version)).unwrap()
}

fn bad(name: &str, uid: &str) -> Guarded<ConfigMap> {
    let mut value = object("ns", name, uid, "1");
    value["data"] = json!("not a map");
    serde_json::from_value(value).unwrap()
}

/// A sink and what it reported, as words.
struct Probe {
    sink: Sink<ConfigMap>,
    log: Arc<Mutex<Vec<String>>>,
}

fn word<K: Resource>(event: &WatchEvent<K>) -> String {
    let name = |o: &Arc<K>| {
        let meta = o.meta();
        format!("{}@{}", meta.name.clone().unwrap_or_default(), meta.resource_version.clone().unwrap_or_default())
    };
    match event {
        WatchEvent::Applied(o) => format!("+{}", name(o)),
        WatchEvent::Deleted(o) => format!("-{}", name(o)),
        WatchEvent::Undecodable(u) => format!("!{}/{}", u.namespace, u.name),
        WatchEvent::Synced => "synced".into(),
    }
}

impl Probe {
    fn new() -> Self {
        Self { sink: Sink::new(Cache::new(1), 0), log: Arc::default() }
    }

    fn take(&mut self, events: Vec<watcher::Event<Guarded<ConfigMap>>>) -> Vec<String> {
        let (log, cache) = (Arc::clone(&self.log), self.sink.cache.clone());
        let on_event = move |event: WatchEvent<ConfigMap>| {
            // A callback may read the cache: it must not be locked.
            let _ = cache.list();
            log.lock().unwrap().push(word(&event));
        };
        for event in events {
            self.sink.take(event, &on_event);
        }
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

#[tokio::test]
async fn a_list_then_changes() {
    let mut probe = Probe::new();
    let cache = probe.sink.cache.clone();
    let seen = probe.take(vec![Init, InitApply(good("a", "u1", "1")), InitApply(good("b", "u2", "2"))]);
    assert_eq!(seen, ["+a@1", "+b@2"]);
    assert!(!cache.is_synced());
    assert_eq!(probe.take(vec![InitDone]), ["synced"]);
    assert!(cache.is_synced());
    let seen = probe.take(vec![Apply(good("a", "u1", "3")), Delete(good("b", "u2", "4"))]);
    assert_eq!(seen, ["+a@3", "-b@2"]);
    assert_eq!(cache.list().len(), 1);
    let a = cache.get("ns", "a").unwrap();
    assert_eq!(a.metadata.resource_version.as_deref(), Some("3"));
    assert_eq!(a.metadata.managed_fields, None);
}

#[tokio::test]
async fn a_second_list_reports_what_vanished_and_repeats_nothing() {
    let mut probe = Probe::new();
    probe.take(vec![Init, InitApply(good("a", "u1", "1")), InitApply(good("b", "u2", "2")), InitDone]);
    probe.take(vec![Apply(good("c", "u3", "3"))]);
    let cache = probe.sink.cache.clone();
    let seen = probe.take(vec![Init, InitApply(good("a", "u1", "1"))]);
    assert_eq!(seen, Vec::<String>::new(), "unchanged");
    assert!(cache.get("ns", "b").is_some(), "a list in progress takes nothing away");
    assert_eq!(probe.take(vec![InitDone]), ["-b@2", "-c@3"]);
    assert!(cache.is_synced() && cache.list().len() == 1);
}

#[tokio::test]
async fn an_object_made_anew_between_two_looks_is_another_one() {
    let mut probe = Probe::new();
    probe.take(vec![Init, InitApply(good("a", "u1", "1")), InitDone]);
    assert_eq!(probe.take(vec![Apply(good("a", "u9", "5"))]), ["-a@1", "+a@5"]);
}

#[tokio::test]
async fn an_undecodable_object_stops_nobody_and_is_not_absent() {
    let mut probe = Probe::new();
    let cache = probe.sink.cache.clone();
    let seen = probe.take(vec![Init, InitApply(bad("x", "u1")), InitApply(good("a", "u2", "2")), InitDone]);
    assert_eq!(seen, ["!ns/x", "+a@2", "synced"]);
    assert_eq!(cache.undecodable().len(), 1);
    assert!(cache.undecodable()[0].error.contains("Expected a map"), "{:?}", cache.undecodable());
    assert_eq!(probe.take(vec![Init, InitApply(bad("x", "u1")), InitApply(good("a", "u2", "2")), InitDone]), [""; 0]);
    assert_eq!(
        probe.take(vec![Apply(bad("a", "u2"))]),
        ["!ns/a"],
        "was good: leaves the cache, is not reported deleted"
    );
    assert!(cache.get("ns", "a").is_none());
    assert_eq!(probe.take(vec![Apply(good("a", "u2", "2"))]), ["+a@2"], "and comes back");
    assert_eq!(probe.take(vec![Delete(bad("x", "u1"))]), [""; 0], "nothing is known of it that could be handed on");
    assert!(cache.undecodable().is_empty());
}

#[tokio::test]
async fn several_namespaces_are_one_cache_that_is_synced_last_of_all() {
    let cache: Cache<ConfigMap> = Cache::new(2);
    let mut sinks = [Sink::new(cache.clone(), 0), Sink::new(cache.clone(), 1)];
    let log = Mutex::new(Vec::new());
    let on_event = |event: WatchEvent<ConfigMap>| log.lock().unwrap().push(word(&event));
    for (i, sink) in sinks.iter_mut().enumerate() {
        let object = serde_json::from_value(object(&format!("ns{i}"), "a", &format!("u{i}"), "1")).unwrap();
        for event in [Init, InitApply(object), InitDone] {
            sink.take(event, &on_event);
        }
    }
    assert_eq!(*log.lock().unwrap(), ["+a@1", "+a@1", "synced"]);
    assert_eq!((cache.list().len(), cache.list_in("ns1").len(), cache.list_in("ns").len()), (2, 1, 0));
    sinks[0].take(Init, &on_event);
    sinks[0].take(InitDone, &on_event);
    assert!(cache.get("ns0", "a").is_none() && cache.get("ns1", "a").is_some(), "one source knows its own alone");
}

/// A server whose lists are answered by `list` and whose watches are silent.
fn lists(list: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (Client, Requests) {
    server(move |seen| if seen.query.contains("watch=true") { Answer::never() } else { list(seen) })
}

fn list_of(items: Vec<Value>) -> Answer {
    Answer::ok(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}))
}

#[tokio::test(start_paused = true)]
async fn lists_and_watches_each_namespace_once_with_a_short_timeout() {
    let (client, requests) = lists(|_| list_of(vec![]));
    let namespaces = ["a".to_owned(), "b".to_owned(), "a".to_owned()];
    let (cache, run) = watch::<ConfigMap, _>(&client, &namespaces, |_| {});
    let _ = tokio::time::timeout(Duration::from_millis(1), run).await;
    assert!(cache.is_synced());
    let all = requests.all();
    let listed: BTreeSet<&str> = all.iter().filter(|r| !r.query.contains("watch")).map(|r| r.path.as_str()).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let watched = all.iter().find(|r| r.query.contains("watch=true")).unwrap();
    assert!(watched.query.contains("timeoutSeconds=60"), "{}", watched.query);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_all_that_is_asked_for_where_that_is_enough() {
    let (client, requests) = lists(|_| list_of(vec![]));
    let (_, run) = watch::<PartialObjectMeta<ServiceAccount>, _>(&client, &[], |_| {});
    let _ = tokio::time::timeout(Duration::from_millis(1), run).await;
    let (_, run) = watch_namespaces(&client, &["team".to_owned()], |_| {});
    let _ = tokio::time::timeout(Duration::from_millis(1), run).await;
    let all = requests.all();
    assert!(all.iter().all(|r| r.accept.contains("PartialObjectMetadata")), "{all:?}");
    assert!(all.iter().any(|r| r.path == "/api/v1/serviceaccounts"));
    let namespaces: Vec<&Seen> = all.iter().filter(|r| r.path == "/api/v1/namespaces").collect();
    assert!(!namespaces.is_empty() && namespaces.iter().all(|r| r.query.contains("metadata.name%3Dteam")), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_list_backs_off_and_is_heard_of_only_once_it_works() {
    let fail = Arc::new(Mutex::new(true));
    let seen = Arc::clone(&fail);
    let (client, requests) =
        lists(move |_| if *seen.lock().unwrap() { Answer::status(403, "Forbidden") } else { list_of(vec![]) });
    let (cache, run) = watch::<ConfigMap, _>(&client, &[], |_| {});
    let begun = cache.last_seen();
    let mut run = std::pin::pin!(run);
    let _ = tokio::time::timeout(Duration::from_secs(600), &mut run).await;
    let tries = requests.all().len();
    assert!((10..60).contains(&tries), "{tries}");
    assert_eq!(cache.last_seen(), begun, "silence: what liveness looks at");
    assert!(!cache.is_synced());
    *fail.lock().unwrap() = false;
    let _ = tokio::time::timeout(Duration::from_secs(60), &mut run).await;
    assert!(cache.is_synced() && cache.last_seen() > begun);
}

#[tokio::test(start_paused = true)]
async fn everything_is_listed_anew_after_a_while() {
    let (client, requests) = lists(|_| list_of(vec![]));
    let (cache, run) = watch::<ConfigMap, _>(&client, &[], |_| {});
    let _ = tokio::time::timeout(RESYNC * 7 / 2, run).await;
    let listed = requests.all().iter().filter(|r| !r.query.contains("watch")).count();
    assert!((3..=4).contains(&listed), "{listed}");
    assert!(cache.last_seen().elapsed() < RESYNC * 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_an_answer_is_given_up() {
    let (client, requests) = server(|_| Answer::never());
    let (cache, run) = watch::<ConfigMap, _>(&client, &[], |_| {});
    let _ = tokio::time::timeout(Duration::from_secs(300), run).await;
    assert!(requests.all().len() >= 3, "{:?}", requests.all());
    assert!(!cache.is_synced());
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_not_begun_again_at_once() {
    let (client, requests) = server(|seen| match seen.query.contains("watch=true") {
        true => Answer::empty(),
        false => list_of(vec![]),
    });
    let (_, run) = watch::<ConfigMap, _>(&client, &[], |_| {});
    let _ = tokio::time::timeout(Duration::from_secs(60), run).await;
    let watches = requests.all().iter().filter(|r| r.query.contains("watch=true")).count();
    assert!((30..=62).contains(&watches), "{watches}");
}
