//! The journal of a run: every write that reached AWS or the API server, whether or not the operator heard of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use securebucket::clock::Clock;
use serde_json::Value;

/// Now. All parties of a run are on one machine, so one clock orders everything.
pub fn now() -> Timestamp {
    Clock::new().system_now()
}

/// A write.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When the operator asked for it.
    pub asked: Timestamp,
    /// When it was sent: later, if it was delayed.
    pub sent: Timestamp,
    /// When it was answered.
    pub done: Timestamp,
    /// HTTP status of the answer.
    pub status: u16,
    /// What it was.
    pub write: Write,
    /// The answer, if it is JSON.
    pub answer: Value,
}

/// What was written.
#[derive(Clone, Debug)]
pub enum Write {
    /// To AWS.
    Aws {
        /// AWS's name of the operation.
        operation: String,
        /// Parameters.
        parameters: Value,
    },
    /// By somebody else: in AWS, or a GrantReview.
    Outside {
        /// AWS's name of the operation, or the kind.
        operation: String,
        /// Parameters.
        parameters: Value,
    },
    /// To the API server.
    Kube {
        /// HTTP method.
        method: String,
        /// Plural of the kind.
        resource: String,
        /// Body.
        body: Value,
    },
}

impl Entry {
    /// It took effect.
    pub fn took_effect(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The journal. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    under_way: usize,
}

impl Journal {
    /// Says that a request leaves; it is under way until the guard is dropped.
    pub fn leaves(&self) -> UnderWay {
        self.lock().under_way += 1;
        UnderWay(self.clone())
    }

    /// Notes a write.
    pub fn note(&self, entry: Entry) {
        self.lock().entries.push(entry);
    }

    /// Notes what somebody else has just done in AWS, or is about to say in a GrantReview.
    pub fn note_outside(&self, operation: &str, parameters: Value) {
        let (at, operation) = (now(), operation.to_owned());
        let write = Write::Outside { operation, parameters };
        self.note(Entry { asked: at, sent: at, done: at, status: 200, write, answer: Value::Null });
    }

    /// Number of requests on their way.
    pub fn under_way(&self) -> usize {
        self.lock().under_way
    }

    /// Everything noted, in the order of being sent.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.lock().entries.clone();
        entries.sort_by_key(|e| e.sent);
        entries
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request on its way.
pub struct UnderWay(Journal);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}
