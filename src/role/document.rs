//! The one inline policy of a workload role, as a function of duties, open grants and Denies that must stay.
//!
//! Allow exactly, deny coarsely: one dated Allow per (bucket, end) with exact prefixes, one Deny per bucket from its latest end. Windows are
//! never merged: a merged one would let an early grant read on to a later grant's end if the operator died between.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::lockdown::LockdownLevel;
use crate::api::secure_bucket::Duty;
use crate::domain::policy::{Document, Effect, Set, Statement};
use crate::domain::prefix::{Prefixes, WHOLE_BUCKET};
use crate::domain::time::{format_instant, parse_instant};

/// Inline policies of a role, together, at most this many characters without white space (IAM User Guide, reference_iam-quotas).
pub const MAX_CHARACTERS: usize = 10_240;
/// Room that new grants may not use, so that narrowing and Denies of responders always fit.
pub const HEAD_ROOM: usize = 1_500;
/// Name of the inline policy.
pub const POLICY_NAME: &str = "securebucket";

/// A bucket as a role sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketRef {
    /// Identity of the SecureBucket; part of the Sids.
    pub identity: String,
    /// ARN of the bucket.
    pub bucket_arn: String,
    /// ARN of its key.
    pub key_arn: String,
    /// `kms:ViaService` value of its region.
    pub via_s3: String,
}

/// A standing duty of the role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DutyInput {
    /// Where.
    pub bucket: BucketRef,
    /// What.
    pub duty: Duty,
    /// Under which prefixes; `None` for an Auditor.
    pub prefixes: Option<Prefixes>,
    /// The bucket's lockdown: what reads is left out (`Reads`), or everything is.
    pub lock: Option<LockdownLevel>,
    /// True if the role's document has it already: such a duty is not the one that is left out for lack of room.
    pub established: bool,
}

/// A grant whose window is open: approved, activated, not ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantInput {
    /// Uid of the DecryptGrant.
    pub uid: String,
    /// Where.
    pub bucket: BucketRef,
    /// Under which prefixes.
    pub prefixes: Prefixes,
    /// Its end.
    pub expires_at: Timestamp,
    /// When its clock started: the youngest go first when the document is full.
    pub activated_at: Timestamp,
    /// True if its KMS grant may exist already: such a grant is not left out for lack of room.
    pub issued: bool,
}

/// A Deny that must stay on a bucket although no open grant asks for it, because evidence that the KMS grants are gone is not in yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldDeny {
    /// Where.
    pub identity: String,
    /// ARN of the bucket.
    pub bucket_arn: String,
    /// From when on it refuses.
    pub from: Timestamp,
}

/// Everything that the document depends on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Standing duties.
    pub duties: Vec<DutyInput>,
    /// Open grants.
    pub grants: Vec<GrantInput>,
    /// Denies to hold.
    pub held: Vec<HeldDeny>,
}

/// The document, and the grants that found no room in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Statements, without an `Id`.
    pub statements: Vec<Statement>,
    /// Uids of grants, and bucket identities of duties, that were left out: the youngest that were not in force yet.
    pub left_out: BTreeSet<String>,
}

/// Builds the document. What is in force already is never left out; what is new enters only where there is room for it.
pub fn build(inputs: &Inputs) -> Built {
    let fits = |duties: &[&DutyInput], grants: &[&GrantInput]| {
        // Duties that a lockdown holds back keep their room, so that lifting finds it.
        let whole: Vec<DutyInput> = duties.iter().map(|d| DutyInput { lock: None, ..(*d).clone() }).collect();
        let duties: Vec<&DutyInput> = whole.iter().collect();
        let size = sealed(&Document::new(statements(&duties, grants, &inputs.held)).certified()).render().len();
        size <= MAX_CHARACTERS - HEAD_ROOM
    };
    let mut left_out = BTreeSet::new();
    let mut duties: Vec<&DutyInput> = inputs.duties.iter().filter(|d| d.established).collect();
    let mut grants: Vec<&GrantInput> = inputs.grants.iter().filter(|g| g.issued).collect();
    for duty in inputs.duties.iter().filter(|d| !d.established) {
        duties.push(duty);
        if !fits(&duties, &grants) {
            duties.pop();
            left_out.insert(duty.bucket.identity.clone());
        }
    }
    let mut young: Vec<&GrantInput> = inputs.grants.iter().filter(|g| !g.issued).collect();
    // By age; the uid makes the order total.
    young.sort_by_key(|g| (g.activated_at, g.uid.clone()));
    for grant in young {
        grants.push(grant);
        if !fits(&duties, &grants) {
            grants.pop();
            left_out.insert(grant.uid.clone());
        }
    }
    Built { statements: statements(&duties, &grants, &inputs.held), left_out }
}

/// The document as IAM takes it. `Id` is for resource-based policies only (IAM User Guide, reference_policies_elements_id), so here the
/// certificate is the Sid of a statement that refuses what no workload may do anyway.
pub fn sealed(document: &Document) -> Document {
    let digest = document.id.as_deref().and_then(|id| id.strip_prefix("securebucket/"));
    let mut statements = document.statements.clone();
    statements.extend(digest.map(seal));
    Document::new(statements)
}

/// The document as the rest of the operator knows it: with the certificate as its `Id`.
pub fn unsealed(mut document: Document) -> Document {
    let found =
        document.statements.iter().position(|s| s.sid.strip_prefix(SEAL).is_some_and(|digest| *s == seal(digest)));
    if let Some(position) = found {
        let digest = document.statements.remove(position).sid;
        document.id = digest.strip_prefix(SEAL).map(|digest| format!("securebucket/{digest}"));
    }
    document
}

const SEAL: &str = "Written";

fn seal(digest: &str) -> Statement {
    Statement::deny(format!("{SEAL}{digest}")).actions(["s3:DeleteBucket"]).resources(["*"])
}

/// True if the document has the duty on this bucket.
pub fn has_duty(document: &Document, identity: &str) -> bool {
    let named = |sid: &str| ["Write", "Process", "Audit"].iter().any(|duty| sid.strip_prefix(duty) == Some(identity));
    document.statements.iter().any(|s| s.effect == Effect::Allow && named(&s.sid))
}

fn statements(duties: &[&DutyInput], grants: &[&GrantInput], held: &[HeldDeny]) -> Vec<Statement> {
    let mut all: Vec<Statement> = duties.iter().flat_map(|d| duty_statements(d)).collect();
    // (bucket, end) → prefixes. Grants with the same end on the same bucket share a statement; nothing else is merged.
    let mut windows: BTreeMap<(&BucketRef, Timestamp), Vec<&str>> = BTreeMap::new();
    let mut ends: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
    for grant in grants {
        windows.entry((&grant.bucket, grant.expires_at)).or_default().extend(grant.prefixes.iter());
        let end = ends.entry((&grant.bucket.identity, &grant.bucket.bucket_arn)).or_insert(grant.expires_at);
        *end = (*end).max(grant.expires_at);
    }
    for deny in held {
        let end = ends.entry((&deny.identity, &deny.bucket_arn)).or_insert(deny.from);
        *end = (*end).max(deny.from);
    }
    for ((bucket, end), prefixes) in windows {
        if let Ok(prefixes) = Prefixes::parse(&prefixes) {
            all.extend(window_statements(bucket, end, &prefixes));
        }
    }
    for ((identity, bucket_arn), end) in ends {
        // A Processor reads by its duty; the Deny would stop it. It holds no grant there (separation of duties).
        let reads = |d: &&&DutyInput| d.duty == Duty::Processor && d.lock.is_none();
        let processes = duties.iter().filter(reads).any(|d| d.bucket.identity == identity);
        if !processes {
            all.push(end_deny(identity, bucket_arn, end));
        }
    }
    all
}

fn window_statements(bucket: &BucketRef, end: Timestamp, prefixes: &Prefixes) -> [Statement; 2] {
    let until = format_instant(end);
    let tail = format!("{}t{:x}", bucket.identity, end.as_second());
    [
        Statement::allow(format!("Read{tail}"))
            .actions(["s3:GetObject", "s3:GetObjectVersion"])
            .resources(prefixes.object_arns(&bucket.bucket_arn))
            .when("DateLessThan", "aws:CurrentTime", [until.clone()]),
        Statement::allow(format!("List{tail}"))
            .actions(["s3:ListBucket"])
            .resources([bucket.bucket_arn.clone()])
            .when("StringLike", "s3:prefix", prefixes.list_patterns())
            .when("DateLessThan", "aws:CurrentTime", [until]),
    ]
}

/// The Deny that ends all reading by grants on a bucket. It names no KMS action: a role that also writes elsewhere needs Decrypt for uploads.
fn end_deny(identity: &str, bucket_arn: &str, from: Timestamp) -> Statement {
    Statement::deny(format!("{END}{identity}"))
        .actions(["s3:GetObject*", "s3:ListBucket*"])
        .resources([bucket_arn.to_owned(), format!("{bucket_arn}/*")])
        .when("DateGreaterThanEquals", "aws:CurrentTime", [format_instant(from)])
}

const END: &str = "End";

fn duty_statements(input: &DutyInput) -> Vec<Statement> {
    let DutyInput { bucket, duty, prefixes, lock, established: _ } = input;
    if *lock == Some(LockdownLevel::All) {
        return Vec::new();
    }
    let id = &bucket.identity;
    let whole = [bucket.bucket_arn.clone()];
    let (Some(prefixes), Duty::Producer | Duty::Processor) = (prefixes, duty) else {
        return auditor_statements(bucket, lock.is_some());
    };
    let write = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];
    let objects = prefixes.object_arns(&bucket.bucket_arn);
    let key = |sid: String| {
        Statement::allow(sid).actions(["kms:GenerateDataKey", "kms:Decrypt"]).resources([bucket.key_arn.clone()]).when(
            "StringEquals",
            "kms:ViaService",
            [bucket.via_s3.clone()],
        )
    };
    // Under a lockdown of reads a Processor writes on, as a Producer does.
    if *duty == Duty::Producer || lock.is_some() {
        return vec![
            Statement::allow(format!("Write{id}")).actions(write).resources(objects),
            key(format!("WriteKey{id}")),
        ];
    }
    let process = write.into_iter().chain(["s3:GetObject", "s3:GetObjectVersion"]);
    vec![
        Statement::allow(format!("Process{id}")).actions(process).resources(objects),
        Statement::allow(format!("ProcessList{id}")).actions(["s3:ListBucket"]).resources(whole).when(
            "StringLike",
            "s3:prefix",
            prefixes.list_patterns(),
        ),
        key(format!("ProcessKey{id}")),
    ]
}

/// Bucket-level reads that an Auditor has. By name: `s3:GetObject*` would match the content.
pub const AUDIT_BUCKET: [&str; 21] = [
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketNotification",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetAnalyticsConfiguration",
    "s3:GetEncryptionConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetMetricsConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
];
/// Object-level reads that an Auditor has: about an object, never its content.
pub const AUDIT_OBJECT: [&str; 3] = ["s3:GetObjectTagging", "s3:GetObjectRetention", "s3:GetObjectLegalHold"];
/// Key reads that an Auditor has.
pub const AUDIT_KEY: [&str; 4] = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants", "kms:GetKeyRotationStatus"];

/// Under a lockdown an Auditor goes on seeing configuration, and neither names nor anything about objects.
fn auditor_statements(bucket: &BucketRef, locked: bool) -> Vec<Statement> {
    let id = &bucket.identity;
    let names = ["s3:ListBucket", "s3:ListBucketVersions"];
    let configuration = AUDIT_BUCKET.into_iter().filter(|action| !names.contains(action));
    let audit = configuration.chain(names.into_iter().filter(|_| !locked));
    let objects = Statement::allow(format!("AuditObjects{id}"))
        .actions(AUDIT_OBJECT)
        .resources([format!("{}/*", bucket.bucket_arn)]);
    let mut all = vec![Statement::allow(format!("Audit{id}")).actions(audit).resources([bucket.bucket_arn.clone()])];
    all.extend((!locked).then_some(objects));
    all.push(Statement::allow(format!("AuditKey{id}")).actions(AUDIT_KEY).resources([bucket.key_arn.clone()]));
    all
}

/// The Denies of ended grants that a document holds: identity, bucket ARN and date. With a DecryptGrant gone from the cluster they are what
/// is left to say that its KMS grant may still exist.
pub fn held_denies(document: &Document) -> Vec<HeldDeny> {
    document
        .statements
        .iter()
        .filter(|s| s.effect == Effect::Deny)
        .filter_map(|s| {
            let identity = s.sid.strip_prefix(END).filter(|i| i.len() == 16)?;
            let from = parse_instant(s.condition("DateGreaterThanEquals", "aws:CurrentTime")?)?;
            let Set::Only(resources) = &s.resources else { return None };
            let bucket_arn = resources.iter().find(|r| !r.ends_with("/*"))?.clone();
            Some(HeldDeny { identity: identity.to_owned(), bucket_arn, from })
        })
        .collect()
}

/// The document without Denies of ended windows that are ours beyond doubt, although somebody has edited it: a window of just that end stands
/// beside them or is wanted, or evidence is in that nothing needs them any more. Others may be a responder's.
pub fn without_own_ends(document: &Document, wanted: &[Statement]) -> Document {
    let own = |s: &Statement| {
        held_denies(&Document::new(vec![s.clone()])).iter().any(|deny| {
            let tail = format!("{}t{:x}", deny.identity, deny.from.as_second());
            let mut windows = document.statements.iter().chain(wanted).filter(|w| w.effect == Effect::Allow);
            let window = windows.any(|w| w.sid.ends_with(&tail));
            let released = wanted.iter().all(|w| w.sid != s.sid);
            *s == end_deny(&deny.identity, &deny.bucket_arn, deny.from) && (window || released)
        })
    };
    Document { id: None, statements: document.statements.iter().filter(|s| !own(s)).cloned().collect() }
}

/// True if the document lets `grant` read to its end and not beyond: its exact Allow is there, and a Deny not earlier than its end.
/// Only then may the KMS grant be issued.
pub fn carries(document: &Document, grant: &GrantInput) -> bool {
    let denies = held_denies(document).iter().any(|d| {
        d.identity == grant.bucket.identity && d.bucket_arn == grant.bucket.bucket_arn && d.from >= grant.expires_at
    });
    reads(document, grant) && denies
}

/// True if the document has the exact Allow of the grant.
pub fn reads(document: &Document, grant: &GrantInput) -> bool {
    let until = format_instant(grant.expires_at);
    let wanted: BTreeSet<String> = grant.prefixes.object_arns(&grant.bucket.bucket_arn).into_iter().collect();
    document.statements.iter().any(|s| {
        s.effect == Effect::Allow
            && s.condition("DateLessThan", "aws:CurrentTime") == Some(&until)
            && matches!(&s.resources, Set::Only(r) if wanted.iter().all(|w| covered(r, w)))
            && matches!(&s.actions, Set::Only(a) if a.contains("s3:GetObject"))
    })
}

/// Prefixes under which the document lets its role read by a Processor's duty on this bucket; `None` if it has no such duty.
pub fn processed(document: &Document, identity: &str, bucket_arn: &str) -> Option<Vec<String>> {
    let sid = format!("Process{identity}");
    let allow = document.statements.iter().find(|s| s.effect == Effect::Allow && s.sid == sid)?;
    // Under a lockdown it writes and does not read.
    let reading = matches!(&allow.actions, Set::Only(a) if a.contains("s3:GetObject"));
    let (Set::Only(resources), true) = (&allow.resources, reading) else { return None };
    let prefix = |r: &String| {
        let path = r.strip_prefix(bucket_arn)?.strip_prefix('/')?;
        Some(if path == WHOLE_BUCKET { path.to_owned() } else { path.strip_suffix('*')?.to_owned() })
    };
    Some(resources.iter().filter_map(prefix).collect())
}

fn covered(resources: &BTreeSet<String>, wanted: &str) -> bool {
    let stem = wanted.strip_suffix('*').unwrap_or(wanted);
    resources.iter().any(|r| r.strip_suffix('*').is_some_and(|have| stem.starts_with(have)))
}

/// True if no window in the document covers what this grant may read, apart from windows that `others`, open grants of the same role, have.
pub fn window_absent(document: &Document, grant: &GrantInput, others: &[GrantInput]) -> bool {
    let expected = statements(&[], &others.iter().collect::<Vec<_>>(), &[]);
    let mine = grant.prefixes.object_arns(&grant.bucket.bucket_arn);
    let tail = format!("{}t{:x}", grant.bucket.identity, grant.expires_at.as_second());
    !document.statements.iter().any(|s| {
        let theirs = expected.iter().any(|e| e.same_as(s));
        let overlaps = match &s.resources {
            Set::Only(have) => have.iter().any(|h| mine.iter().any(|m| overlap(h, m))),
            Set::AllBut(_) | Set::Absent => true,
        };
        s.effect == Effect::Allow && !theirs && s.sid.ends_with(&tail) && (overlaps || s.sid.starts_with("List"))
    })
}

fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.strip_suffix('*').unwrap_or(a), b.strip_suffix('*').unwrap_or(b));
    a.starts_with(b) || b.starts_with(a)
}
