//! What an operator asked of AWS, request by request, gathered under the SDK: retries and credential calls included.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use securebucket::aws::calls::Call;

/// Which operation a request is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// `s3`, `kms`, `iam` or `sts`.
    pub service: &'static str,
    /// As in CloudTrail: `PutBucketPolicy`.
    pub name: String,
    /// True if the operator's call table says that it changes something. `AssumeRoleWithWebIdentity` is in no table and changes nothing.
    pub write: bool,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.name)
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet, or never: the operator was killed meanwhile.
    Unanswered,
    /// HTTP status, and AWS's error code if it was an error with a body.
    Status(u16, Option<String>),
    /// No answer: a connection or time-out error.
    Failed(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which operation.
    pub operation: Operation,
    /// Path and query.
    pub uri: String,
    /// Body, of writes only.
    pub body: Option<String>,
    /// When it left the SDK.
    pub sent: Instant,
    /// When its answer came.
    pub answered: Option<Instant>,
    /// How it ended, as the operator saw it (behind hooks).
    pub outcome: Outcome,
}

impl Entry {
    /// True if AWS refused it.
    pub fn denied(&self) -> bool {
        matches!(&self.outcome, Outcome::Status(401 | 403, _))
            || matches!(&self.outcome, Outcome::Status(_, Some(code)) if code.starts_with("AccessDenied"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → ", self.operation, self.uri)?;
        match &self.outcome {
            Outcome::Unanswered => f.write_str("no answer"),
            Outcome::Status(status, None) => write!(f, "{status}"),
            Outcome::Status(status, Some(code)) => write!(f, "{status} {code}"),
            Outcome::Failed(why) => f.write_str(why),
        }?;
        match &self.body {
            Some(body) => write!(f, " {}", body.chars().take(300).collect::<String>()),
            None => Ok(()),
        }
    }
}

/// All requests of one operator, in the order in which they were sent. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    /// All entries so far.
    pub fn all(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// Number of entries so far: a mark for [`Journal::since`].
    pub fn mark(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Entries after a mark, without those for credentials.
    pub fn since(&self, mark: usize) -> Vec<Entry> {
        let all = self.0.lock().unwrap();
        all.iter().skip(mark).filter(|e| e.operation.name != "AssumeRoleWithWebIdentity").cloned().collect()
    }

    /// Writes after a mark.
    pub fn writes_since(&self, mark: usize) -> Vec<Entry> {
        self.since(mark).into_iter().filter(|e| e.operation.write).collect()
    }

    /// How often an operation was asked for.
    pub fn count(&self, operation: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|e| e.operation.name == operation).count()
    }

    /// Requests that AWS refused.
    pub fn denied(&self) -> Vec<Entry> {
        self.all().into_iter().filter(Entry::denied).collect()
    }

    pub(super) fn sent(&self, operation: Operation, request: &HttpRequest) -> usize {
        let body = operation.write.then(|| text(request)).flatten();
        let uri = request.uri().splitn(4, '/').nth(3).unwrap_or_default();
        let entry = Entry {
            operation,
            uri: format!("/{uri}"),
            body,
            sent: Instant::now(),
            answered: None,
            outcome: Outcome::Unanswered,
        };
        let mut all = self.0.lock().unwrap();
        all.push(entry);
        all.len() - 1
    }

    pub(super) fn answered(&self, index: usize, outcome: Outcome) {
        let mut all = self.0.lock().unwrap();
        all[index].answered = Some(Instant::now());
        all[index].outcome = outcome;
    }
}

/// Depth in round trips: an entry is one deeper than the deepest that was answered before it was sent.
pub fn depth(entries: &[Entry]) -> usize {
    let mut depths: Vec<usize> = Vec::new();
    for entry in entries {
        let before = entries.iter().zip(&depths).filter(|(e, _)| e.answered.is_some_and(|at| at <= entry.sent));
        depths.push(1 + before.map(|(_, d)| *d).max().unwrap_or(0));
    }
    depths.into_iter().max().unwrap_or(0)
}

/// Body of a request as text.
pub fn text(request: &HttpRequest) -> Option<String> {
    request.body().bytes().map(|b| String::from_utf8_lossy(b).into_owned())
}

/// Which operation a request is, from its signature's scope and its protocol.
pub fn operation(request: &HttpRequest) -> Operation {
    let scope = request.headers().get("authorization").and_then(|a| a.split('/').nth(3)).unwrap_or("sts");
    let (service, name) = match scope {
        "kms" => ("kms", request.headers().get("x-amz-target").and_then(|t| t.split('.').nth(1)).map(str::to_owned)),
        "iam" => ("iam", action(request)),
        "s3" => ("s3", Some(s3_operation(request))),
        _ => ("sts", action(request)),
    };
    let name = name.unwrap_or_else(|| panic!("a request of no known form: {} {}", request.method(), request.uri()));
    let known = Call::ALL.iter().find(|c| c.service().name() == service && c.operation() == name);
    Operation { service, write: known.is_some_and(|c| c.is_write()), name }
}

fn action(request: &HttpRequest) -> Option<String> {
    text(request)?.split('&').find_map(|pair| pair.strip_prefix("Action=").map(str::to_owned))
}

/// S3 names its operations by method and subresource (Amazon S3 API Reference).
fn s3_operation(request: &HttpRequest) -> String {
    let (path, query) = request.uri().split_once('?').unwrap_or((request.uri(), ""));
    let object = path.splitn(4, '/').nth(3).is_some_and(|rest| rest.trim_end_matches('/').contains('/'));
    let verb = match request.method() {
        "GET" => "Get",
        "PUT" => "Put",
        "DELETE" => "Delete",
        other => return if other == "HEAD" && !object { "HeadBucket".into() } else { format!("{other}Object") },
    };
    let subresource = query.split('&').map(|q| q.split('=').next().unwrap_or_default()).find(|q| !q.starts_with("x-"));
    match subresource.unwrap_or_default() {
        "publicAccessBlock" => format!("{verb}PublicAccessBlock"),
        "lifecycle" => format!("{verb}BucketLifecycleConfiguration"),
        "ownershipControls" => format!("{verb}BucketOwnershipControls"),
        "tagging" => format!("{verb}BucketTagging"),
        "encryption" => format!("{verb}BucketEncryption"),
        "versioning" => format!("{verb}BucketVersioning"),
        "policy" => format!("{verb}BucketPolicy"),
        "" if object => format!("{verb}Object"),
        "" if verb == "Put" => "CreateBucket".into(),
        other => format!("{verb}Bucket?{other}"),
    }
}
