//! Lockdown: what is closed, by whose word, and when it may be lifted. Pure.
//!
//! Three things say that a bucket is locked, and the strictest counts: `spec.lockdown`, the latch in `status.lockdown`, and our Deny in the
//! bucket policy, from which a latch that was lost with its status is restored. None of them is taken for gone because another is.

use jiff::Timestamp;

use crate::api::lockdown::{LiftedLockdown, LockdownLevel, LockdownStatus};
use crate::api::{LIFT_LOCKDOWN, SecureBucket};
use crate::domain::installation::Installation;
use crate::domain::policy::{Document, Effect, Statement};
use crate::domain::time::format_instant;

/// A lockdown as policies need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Id; part of the Sids.
    pub id: String,
    /// What is closed.
    pub level: LockdownLevel,
}

/// What is closed now, by spec or by status; `None` if nothing is, or if it is being lifted.
pub fn level(bucket: &SecureBucket) -> Option<LockdownLevel> {
    let asked = bucket.spec.lockdown.as_ref().map(|l| l.level.unwrap_or_default());
    let latched = latch(bucket).filter(|l| l.lifting_since.is_none()).map(|l| l.level);
    asked.max(latched)
}

/// The same, as the bucket policy has it.
pub fn lock(bucket: &SecureBucket) -> Option<Lock> {
    let id = latch(bucket).map(|l| l.id.clone()).unwrap_or_default();
    level(bucket).map(|level| Lock { id, level })
}

/// True if no grant on the bucket may live or begin: while it is locked, and until the lifting was read back.
pub fn refuses_grants(bucket: &SecureBucket) -> bool {
    bucket.spec.lockdown.is_some() || latch(bucket).is_some()
}

fn latch(bucket: &SecureBucket) -> Option<&LockdownStatus> {
    bucket.status.as_ref()?.lockdown.as_ref()
}

/// The latch that has to be written before anything else is done; `None` if status has it. `id` is for a new one: the annotation that lifted
/// or is lifting an earlier lockdown must not lift this one.
pub fn latched(bucket: &SecureBucket, id: &str, now: Timestamp) -> Option<LockdownStatus> {
    let asked = bucket.spec.lockdown.as_ref()?;
    let level = asked.level.unwrap_or_default();
    let before = latch(bucket);
    if let Some(held) = before.filter(|l| l.lifting_since.is_none()) {
        let raised = LockdownStatus { level, reason: asked.reason.clone(), ..held.clone() };
        return (level > held.level).then_some(raised);
    }
    Some(LockdownStatus {
        id: id.to_owned(),
        level,
        reason: asked.reason.clone(),
        since: format_instant(now),
        // What an earlier lockdown has disabled is still disabled by us.
        key_disabled: before.and_then(|l| l.key_disabled),
        lifting_since: None,
    })
}

/// The latch that the bucket policy in AWS speaks of and status has lost: by a wiped status, by a restored etcd, or because the object was
/// deleted and made anew. An earlier state of a lockdown that was lifted is none: reads from S3 may lag behind.
pub fn found(bucket: &SecureBucket, policy: &Document, bucket_arn: &str, now: Timestamp) -> Option<LockdownStatus> {
    if refuses_grants(bucket) {
        return None;
    }
    let last = bucket.status.as_ref().and_then(|s| s.last_lockdown.as_ref());
    let Lock { id, level } = policy.statements.iter().find_map(|s| written(s, bucket_arn))?;
    (last.map(|l| l.id.as_str()) != Some(&id)).then(|| LockdownStatus {
        id,
        level,
        reason: "the bucket policy in AWS says so, and this object's status did not".into(),
        since: format_instant(now),
        key_disabled: None,
        lifting_since: None,
    })
}

/// The lockdown that a statement of ours, exactly as we write it, belongs to.
fn written(statement: &Statement, bucket_arn: &str) -> Option<Lock> {
    [LockdownLevel::Reads, LockdownLevel::All].into_iter().find_map(|level| {
        let id = statement.sid.strip_prefix(sid(level)).filter(|id| id.len() == 8)?;
        let lock = Lock { id: id.to_owned(), level };
        (*statement == on_objects(&lock, bucket_arn)).then_some(lock)
    })
}

fn sid(level: LockdownLevel) -> &'static str {
    match level {
        LockdownLevel::Reads => "LockdownReads",
        LockdownLevel::All => "LockdownAll",
    }
}

fn on_objects(lock: &Lock, bucket_arn: &str) -> Statement {
    let action = match lock.level {
        LockdownLevel::Reads => "s3:GetObject*",
        LockdownLevel::All => "s3:*",
    };
    Statement::deny(format!("{}{}", sid(lock.level), lock.id))
        .anyone()
        .actions([action])
        .resources([format!("{bucket_arn}/*")])
}

/// What a lockdown adds to the bucket policy. Listing is left to administrators: HeadBucket is `s3:ListBucket` (Service Authorization
/// Reference, Amazon S3), and the operator must go on seeing the bucket.
pub fn statements(lock: &Lock, bucket_arn: &str, install: &Installation) -> Vec<Statement> {
    let names = Statement::deny(format!("LockdownNames{}", lock.id))
        .anyone()
        .actions(["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"])
        .resources([bucket_arn])
        .when("ArnNotEquals", "aws:PrincipalArn", install.administrators());
    vec![on_objects(lock, bucket_arn), names]
}

/// The bucket policy as it stands, with what the lockdown adds; `None` if it refuses as much already. For a bucket of which nothing else can be
/// repaired: it only adds Denies. A document that somebody has edited stays one that was edited.
pub fn closed(seen: Option<&Document>, lockdown: &[Statement]) -> Option<Document> {
    let mut document = seen.cloned().unwrap_or_default();
    let ours = seen.is_none_or(Document::is_certified);
    let refused = |s: &Statement| document.statements.iter().any(|o| o.effect == Effect::Deny && s.implied_by(o));
    let missing: Vec<Statement> = lockdown.iter().filter(|s| !refused(s)).cloned().collect();
    if missing.is_empty() {
        return None;
    }
    // A Sid may occur but once. What somebody made of a statement of ours goes where ours refuses as much, and else stays without its name.
    let named = |s: &Statement| missing.iter().any(|m| m.sid == s.sid);
    document.statements.retain(|s| !named(s) || s.effect == Effect::Deny && !missing.iter().any(|m| s.implied_by(m)));
    document.statements.iter_mut().filter(|s| named(s)).for_each(|s| s.sid.clear());
    document.statements.extend(missing);
    Some(if ours { document.certified() } else { document })
}

/// What the annotation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// Nothing, or nothing is locked.
    NotAsked,
    /// It names another lockdown, or none.
    WrongId,
    /// It names this one, but `spec.lockdown` is still there.
    FieldSet,
    /// It is to be lifted: AWS has to be looked at whole first.
    Granted,
    /// It is being lifted.
    Lifting,
}

/// What the annotation asks for, in the light of spec and status.
pub fn lift(bucket: &SecureBucket) -> Lift {
    let Some(latch) = latch(bucket) else { return Lift::NotAsked };
    let asked = bucket.metadata.annotations.as_ref().and_then(|a| a.get(LIFT_LOCKDOWN));
    match asked {
        _ if latch.lifting_since.is_some() && bucket.spec.lockdown.is_none() => Lift::Lifting,
        None => Lift::NotAsked,
        Some(id) if *id != latch.id => Lift::WrongId,
        Some(_) if bucket.spec.lockdown.is_some() => Lift::FieldSet,
        Some(_) => Lift::Granted,
    }
}

/// What status says of lockdowns after a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// `status.lockdown`.
    pub latch: Option<LockdownStatus>,
    /// `status.lastLockdown`.
    pub last: Option<LiftedLockdown>,
    /// What the condition says of a lifting that was asked for.
    pub note: Option<String>,
    /// True if this pass began to lift, or has lifted.
    pub moved: bool,
}

/// What a pass came to, as far as lifting depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks<'a> {
    /// A fresh observation of everything, and nothing to do, nothing in the way.
    pub clean: bool,
    /// True if something is left closed for want of our marks, or because something is unknown.
    pub withheld: bool,
    /// The key was seen enabled.
    pub key_enabled: bool,
    /// Grants or roles that have to come first, in words.
    pub waits: Option<&'a str>,
}

/// The latch after a pass: lifting begins on a clean look at a bucket that is closed as it should be, with every grant on it proved removed; it
/// ends on a clean look at a bucket that is open as declared, with the duties back in their roles.
pub fn turn(bucket: &SecureBucket, seen: Looks<'_>, now: Timestamp) -> Turn {
    let status = bucket.status.clone().unwrap_or_default();
    let mut turn = Turn { latch: status.lockdown, last: status.last_lockdown, note: None, moved: false };
    let waits = seen.waits.map(str::to_owned);
    match lift(bucket) {
        Lift::NotAsked => {}
        Lift::WrongId => {
            turn.note = Some(format!("the annotation {LIFT_LOCKDOWN} does not name this lockdown, which stays"));
        }
        Lift::FieldSet => {
            turn.note = Some(format!(
                "{LIFT_LOCKDOWN} asks to lift it, but spec.lockdown is still set: take the field out first"
            ));
        }
        Lift::Granted if seen.clean && waits.is_none() => {
            turn.moved = true;
            turn.latch = turn.latch.map(|l| LockdownStatus { lifting_since: Some(format_instant(now)), ..l });
        }
        Lift::Lifting if seen.clean && !seen.withheld && waits.is_none() => {
            turn.moved = true;
            turn.last = turn.latch.take().map(|l| LiftedLockdown { id: l.id, lifted_at: format_instant(now) });
        }
        Lift::Granted => {
            let first =
                waits.unwrap_or_else(|| "until all of key and bucket was seen and is as the lockdown has it".into());
            turn.note = Some(format!("lifting waits {first}"));
        }
        Lift::Lifting => {
            let closed = "what Restricted or Ready name keeps something closed".to_owned();
            let first = waits.or_else(|| seen.withheld.then_some(closed));
            turn.note = Some(first.map_or_else(|| "it is being lifted".into(), |f| format!("it is being lifted: {f}")));
            if let Some(latch) = turn.latch.as_mut().filter(|_| seen.key_enabled) {
                // Enabled again: whoever disables it from now on is not us.
                latch.key_disabled = None;
            }
        }
    }
    turn
}

/// What the condition `LockedDown` says.
pub fn message(latch: &LockdownStatus, note: Option<&str>) -> String {
    let closed = match latch.level {
        LockdownLevel::Reads => "nobody reads or lists",
        LockdownLevel::All => "nobody does anything with objects, and the key is disabled",
    };
    let what = format!("{closed}, since {}: {}.", latch.since, latch.reason);
    match note {
        Some(note) => format!("{what} {note}"),
        None => format!(
            "{what} To lift it, take out spec.lockdown, then set the annotation {LIFT_LOCKDOWN} to the value of status.lockdown.id"
        ),
    }
}
