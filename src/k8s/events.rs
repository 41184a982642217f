//! Kubernetes events (`events.k8s.io/v1`): what a person sees in `kubectl describe` and `kubectl events`.
//!
//! Best effort. An event that cannot be written is counted and forgotten; the record of what happened is in status and in CloudTrail.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::within;
use crate::domain::identity::hex;

/// Name under which the operator reports.
pub const CONTROLLER: &str = "securebucket.io/operator";
/// Events that wait for the API server; further ones are dropped and counted.
const BUFFER: usize = 1024;
/// A note has at most this many bytes (`noteLengthLimit` of the apiserver's validation is 1 kB).
const NOTE_LIMIT: usize = 1000;
/// An action has at most this many (`actionLengthLimit`, likewise).
const ACTION_LIMIT: usize = 128;
/// Longest wait for one event, so that a slow API server costs events and not memory.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

macro_rules! reasons {
    ($($name:ident $kind:ident $meaning:literal;)*) => {
        /// Reason of an event. The one list: the reference page is printed from it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $(#[doc = $meaning] $name),* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word, as in `.reason` of the event.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// True for `Warning`, false for `Normal`.
            pub fn is_warning(self) -> bool {
                match self { $(Self::$name => matches!(EventType::$kind, EventType::Warning)),* }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),* }
            }
        }
    };
}

reasons! {
    BucketCreated Normal "The S3 bucket was created.";
    BucketRecovered Normal "An earlier SecureBucket's S3 bucket of this identity was taken back.";
    BucketRetained Normal "The SecureBucket was deleted; the S3 bucket and its key stay, without access for workloads.";
    KeyCreated Normal "The KMS key was created.";
    KeyRecovered Normal "An earlier SecureBucket's KMS key of this identity was taken back.";
    Hardened Normal "A piece of the bucket or key was configured for the first time or after a change of the spec.";
    RoleCreated Normal "The IAM role of a ServiceAccount was created.";
    RoleRemoved Normal "The IAM role of a ServiceAccount was deleted: no duty and no grant needs it any more.";
    AccessGiven Normal "A ServiceAccount was given a standing duty.";
    AccessWithdrawn Normal "A standing duty was withdrawn from a ServiceAccount.";
    DriftDetected Warning "Something in AWS was loosened outside the operator.";
    DriftRepaired Normal "What was loosened outside the operator is again as declared.";
    ForeignAccess Warning "Somebody gave access outside the operator: by a KMS grant on the key, or by an Allow in a policy, which is removed.";
    ForeignAccessRevoked Normal "A KMS grant that somebody else made was revoked (`spec.foreignGrants: Revoke`).";
    LeftOverRevoked Warning "A KMS grant of ours for which no DecryptGrant answers any more was revoked.";
    Restricted Warning "Something in AWS was tightened outside the operator. It stays until the annotation `securebucket.io/reconcile-at` asks for the declared state.";
    LockedDown Warning "The bucket was locked down: nobody reads, and every grant on it is over for good.";
    LockdownLifted Normal "A lockdown was lifted: duties are in force again, ended grants are not.";
    AccessDenied Warning "AWS refuses the operator a call.";
    InvalidSpec Warning "The spec asks for something that cannot be; the message says what to change.";
    NameTaken Warning "The bucket name belongs to somebody else.";
    Stalled Warning "Nothing more happens without a human; the message says what is needed.";
    GrantRequested Normal "A DecryptGrant asks to read from the bucket.";
    ApprovalRequested Normal "A DecryptGrant waits for people to approve it; the note has what a GrantReview must name.";
    ReviewNotCounted Warning "A GrantReview does not count; its condition `Counted` says why not and what to do.";
    GrantApproved Normal "A DecryptGrant has the approvals that it needs.";
    GrantRefused Warning "A DecryptGrant was refused; it will never become active.";
    BreakGlass Warning "Somebody has access at once and without approval; somebody else has to review it.";
    BreakGlassReviewed Normal "Access that began without approval was reviewed by somebody else.";
    ReviewOverdue Warning "Access that began without approval was not reviewed in time; there is no further break-glass on the bucket until it is.";
    GrantActivated Normal "A DecryptGrant became active: its ServiceAccount can read until it ends.";
    GrantExpired Normal "The time of a DecryptGrant passed.";
    GrantHandedBack Normal "A DecryptGrant was deleted before its time passed.";
    GrantRevoked Warning "A DecryptGrant was ended before its time, and not by its holder.";
    GrantRemoved Normal "Nothing of a DecryptGrant is left in AWS: its absence was read back.";
    RemovalOverdue Warning "The end of a DecryptGrant has passed and its removal is not verified yet. The dated Deny in its role's policy ends the access all the same.";
}

/// Publishes events. Clones share one queue.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<Pending>,
    dropped: std::sync::Arc<dyn Fn() + Send + Sync>,
}

struct Pending {
    about: ObjectReference,
    event: Event,
}

impl Events {
    /// Events as `instance` (the pod's name), and the future that writes them: to be polled beside the passes. It ends when the last clone
    /// of the `Events` is gone and everything is written. `dropped` is called for each event that could not be.
    pub fn new<F: Fn() + Send + Sync + 'static>(
        client: Client,
        instance: &str,
        dropped: F,
    ) -> (Self, impl Future<Output = ()> + Send + use<F>) {
        let (sender, mut receiver) = mpsc::channel::<Pending>(BUFFER);
        let dropped: std::sync::Arc<dyn Fn() + Send + Sync> = std::sync::Arc::new(dropped);
        let reporter = Reporter { controller: CONTROLLER.into(), instance: Some(instance.chars().take(128).collect()) };
        let recorder = Recorder::new(client, reporter);
        let events = Self { sender, dropped: std::sync::Arc::clone(&dropped) };
        let drain = async move {
            while let Some(Pending { about, event }) = receiver.recv().await {
                if let Err(error) = within(WRITE_TIMEOUT, recorder.publish(&event, &about)).await {
                    tracing::debug!(%error, reason = event.reason, object = about.name, "event was not written");
                    dropped();
                }
            }
        };
        (events, drain)
    }

    /// Says that something happened to `about`. Never waits and never fails.
    ///
    /// `action` is a short word for what the operator did or tried (`PutBucketPolicy`). The recorder makes one series, with the first note, of
    /// events that agree in everything but the note: the second role created, or another difference in the same facet, would never be read. So
    /// a digest of the note goes into the action; only what says the same is a series.
    pub fn publish(
        &self,
        about: &ObjectReference,
        related: Option<&ObjectReference>,
        reason: Reason,
        action: &str,
        note: impl Into<String>,
    ) {
        let note = note.into();
        let digest = hex(&[&note], 8);
        let event = Event {
            type_: if reason.is_warning() { EventType::Warning } else { EventType::Normal },
            reason: reason.word().into(),
            action: format!("{}#{digest}", truncate(action.to_owned(), ACTION_LIMIT - digest.len() - 1)),
            note: Some(truncate(note, NOTE_LIMIT)),
            secondary: related.cloned(),
        };
        if self.sender.try_send(Pending { about: identified(about), event }).is_err() {
            (self.dropped)();
        }
    }
}

/// Without the resourceVersion: events about the same object at two versions belong to one series.
fn identified(about: &ObjectReference) -> ObjectReference {
    ObjectReference { resource_version: None, ..about.clone() }
}

/// Cuts to at most `limit` bytes between two characters.
fn truncate(mut text: String, limit: usize) -> String {
    const MORE: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(MORE.len())));
        text.push_str(MORE);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::k8s::fake::{Answer, server};

    fn bucket() -> ObjectReference {
        ObjectReference {
            api_version: Some("securebucket.io/v1alpha1".into()),
            kind: Some("SecureBucket".into()),
            namespace: Some("ns".into()),
            name: Some("b".into()),
            uid: Some("u".into()),
            resource_version: Some("9".into()),
            ..ObjectReference::default()
        }
    }

    fn counter() -> (Arc<AtomicUsize>, impl Fn() + Send + Sync + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let inner = Arc::clone(&count);
        (count, move || {
            inner.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn reasons_are_words_with_a_meaning() {
        let words: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.word().len() <= 128 && reason.word().bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(reason.meaning().ends_with('.'), "{reason:?}");
        }
        assert!(Reason::RemovalOverdue.is_warning() && !Reason::GrantRemoved.is_warning());
    }

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(truncate("short".into(), 1000), "short");
        let cut = truncate("ä".repeat(600), 1000);
        assert!(cut.len() <= 1000 && cut.len() > 990, "{}", cut.len());
        assert!(cut.ends_with("ä…"));
        assert_eq!(truncate("a".repeat(1000), 1000).len(), 1000);
    }

    #[tokio::test]
    async fn events_are_written_in_order_and_the_drain_ends_with_the_last_handle() {
        let (client, requests) = server(|seen| Answer::ok(seen.body.clone()));
        let (dropped, count) = counter();
        let (events, drain) = Events::new(client, "pod-1", count);
        events.publish(&bucket(), None, Reason::BucketCreated, "CreateBucket", "created");
        events.clone().publish(&bucket(), Some(&bucket()), Reason::AccessDenied, "PutBucketPolicy", "x".repeat(5000));
        drop(events);
        drain.await;
        let all = requests.all();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].path, "/apis/events.k8s.io/v1/namespaces/ns/events");
        assert_eq!(all[0].body["reason"], json!("BucketCreated"));
        assert_eq!(all[0].body["type"], json!("Normal"));
        assert!(all[0].body["action"].as_str().unwrap().starts_with("CreateBucket#"), "{}", all[0].body["action"]);
        assert_eq!(all[0].body["regarding"]["uid"], json!("u"));
        assert_eq!(all[0].body["reportingInstance"], json!("pod-1"));
        assert_eq!(all[1].body["type"], json!("Warning"));
        assert_eq!(all[1].body["related"]["name"], json!("b"));
        assert_eq!(all[1].body["note"].as_str().unwrap().len(), 1000);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn only_the_same_text_becomes_a_series() {
        let (client, requests) = server(|seen| Answer::ok(seen.body.clone()));
        let (events, drain) = Events::new(client, "pod-1", || {});
        let action = "a".repeat(200);
        for note in ["role of ingest", "role of auditor", "role of ingest"] {
            events.publish(&bucket(), None, Reason::RoleCreated, &action, note);
        }
        drop(events);
        drain.await;
        let all = requests.all();
        let told: Vec<_> = all.iter().map(|r| (r.method.as_str(), r.body["note"].as_str().unwrap())).collect();
        assert_eq!(told, [("POST", "role of ingest"), ("POST", "role of auditor"), ("PATCH", "role of ingest")]);
        assert!(all.iter().all(|r| r.body["action"].as_str().unwrap().len() <= ACTION_LIMIT));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_counted_and_nothing_else() {
        let (client, _requests) = server(|_| Answer::status(403, "Forbidden"));
        let (dropped, count) = counter();
        let (events, drain) = Events::new(client, "pod-1", count);
        for _ in 0..(BUFFER + 3) {
            events.publish(&bucket(), None, Reason::Stalled, "a", "n");
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3, "the buffer is full, and publish did not wait");
        drop(events);
        drain.await;
        assert_eq!(dropped.load(Ordering::Relaxed), BUFFER + 3);
    }
}
