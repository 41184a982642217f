//! Who can decrypt now, from what was read back: `status.access`. Pure.

use jiff::{SignedDuration, Timestamp};

use super::foreign::Whose;
use super::observed::KeyState;
use super::plan::Plan;
use crate::api::DecryptGrant;
use crate::api::condition::{find, types};
use crate::api::secure_bucket::{AccessStatus, Through};
use crate::domain::installation::Installation;
use crate::domain::policy::Document;
use crate::domain::time::{format_duration, format_instant, parse_instant};
use crate::role::desired::window;
use crate::role::document::{processed, reads};
use crate::role::state::RoleKey;

/// Entries of the list; status has its limits.
const MOST: usize = 64;
/// Days that are counted together.
const DAYS: i64 = 30;
const DAY: i64 = 86_400;
/// Operations of a KMS grant that lead to content, by themselves or through a further grant.
const DECRYPTING: [&str; 3] = ["Decrypt", "ReEncryptFrom", "CreateGrant"];
/// States of the key in which it decrypts nothing.
const CLOSED: [&str; 4] = ["KeyDisabled", "KeyPendingDeletion", "KeyGone", "KeyUnusable"];

/// The document of a role, as its writer last read it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Not looked at yet, or not readable.
    Unknown,
    /// This one, or none.
    Seen(Option<Document>),
}

/// A ServiceAccount that holds a duty, or held one until now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of the entry in `spec.access`.
    pub entry: String,
    /// Its role.
    pub role: RoleKey,
}

/// What the list is made from.
pub struct Facts<'a> {
    /// The plan against the last observation: KMS grants, and what is in the way.
    pub plan: &'a Plan,
    /// Identity of the bucket.
    pub identity: &'a str,
    /// ARN of the bucket.
    pub bucket_arn: &'a str,
    /// DecryptGrants that ask for the bucket.
    pub grants: &'a [&'a DecryptGrant],
    /// Duties.
    pub holders: &'a [Holder],
    /// Documents of roles.
    pub document: &'a dyn Fn(&RoleKey) -> View,
    /// The list as status has it: what stands in it stays while it cannot be looked at.
    pub before: &'a [AccessStatus],
    /// AWS's clock.
    pub now: Timestamp,
}

/// The list, and how many found no room in it.
pub fn who(facts: &Facts<'_>, install: &Installation) -> (Vec<AccessStatus>, usize) {
    let closed = facts.plan.key_state.as_ref().is_some_and(|s| *s != KeyState::Enabled);
    if closed || facts.plan.blocked.iter().any(|b| CLOSED.contains(&b.reason)) {
        return (Vec::new(), 0);
    }
    let mut all = foreign(facts);
    all.extend(facts.holders.iter().filter_map(|h| duty(h, facts, install)));
    all.extend(facts.grants.iter().filter_map(|g| grant(g, facts, install)));
    // What somebody else gave first, then what has no end; an end in this form sorts by time.
    all.sort_by(|a, b| (a.through, &a.until, &a.name).cmp(&(b.through, &b.until, &b.name)));
    let left_out = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, left_out)
}

fn before(facts: &Facts<'_>, through: Through, name: &str) -> Option<AccessStatus> {
    facts.before.iter().find(|a| a.through == Some(through) && a.name == name).cloned()
}

fn foreign(facts: &Facts<'_>) -> Vec<AccessStatus> {
    let Some(grants) = &facts.plan.grants else {
        return facts.before.iter().filter(|a| a.foreign_id().is_some()).cloned().collect();
    };
    let decrypts = |operations: &[String]| operations.iter().any(|o| DECRYPTING.contains(&o.as_str()));
    let foreign = grants.iter().filter(|g| g.whose == Whose::Foreign && decrypts(&g.seen.operations));
    foreign
        .map(|g| AccessStatus {
            principal: g.seen.grantee.clone(),
            through: Some(Through::Foreign),
            name: g.seen.id.clone(),
            ..AccessStatus::default()
        })
        .collect()
}

fn duty(holder: &Holder, facts: &Facts<'_>, install: &Installation) -> Option<AccessStatus> {
    let document = match (facts.document)(&holder.role) {
        View::Unknown => return before(facts, Through::Duty, &holder.entry),
        View::Seen(document) => document?,
    };
    let RoleKey { namespace, service_account } = &holder.role;
    Some(AccessStatus {
        principal: install.role_arn(namespace, service_account),
        namespace: Some(namespace.clone()),
        service_account: Some(service_account.clone()),
        through: Some(Through::Duty),
        name: holder.entry.clone(),
        prefixes: processed(&document, facts.identity, facts.bucket_arn)?,
        agreed_by: Some("spec.access".into()),
        ..AccessStatus::default()
    })
}

fn grant(grant: &DecryptGrant, facts: &Facts<'_>, install: &Installation) -> Option<AccessStatus> {
    let (input, _) = window(grant, install)?;
    if input.bucket.identity != facts.identity || facts.now >= input.expires_at {
        return None;
    }
    let namespace = grant.metadata.namespace.clone()?;
    let name = format!("{namespace}/{}", grant.metadata.name.as_deref()?);
    let service_account = grant.spec.subject.service_account_ref.name.clone();
    let role = RoleKey { namespace: namespace.clone(), service_account: service_account.clone() };
    let known = before(facts, Through::Grant, &name);
    let issued = match &facts.plan.grants {
        Some(all) => all.iter().any(|g| matches!(&g.whose, Whose::Ours(uid) if *uid == input.uid)),
        None => known.is_some(),
    };
    let allowed = match (facts.document)(&role) {
        View::Seen(document) => document.is_some_and(|d| reads(&d, &input)),
        View::Unknown => known.is_some(),
    };
    (issued && allowed).then(|| AccessStatus {
        principal: install.role_arn(&namespace, &service_account),
        prefixes: input.prefixes.iter().map(str::to_owned).collect(),
        until: Some(format_instant(input.expires_at)),
        agreed_by: agreed_by(grant),
        cumulative_30d: Some(format_duration(cumulative(facts, &role))),
        namespace: Some(namespace),
        service_account: Some(service_account),
        through: Some(Through::Grant),
        name,
        grant_uid: grant.metadata.uid.clone(),
        terms_hash: grant.status.as_ref().and_then(|s| s.resolved.as_ref()).map(|r| r.terms_hash.clone()),
    })
}

fn agreed_by(grant: &DecryptGrant) -> Option<String> {
    let status = grant.status.as_ref()?;
    if !status.approvals.is_empty() {
        let names: Vec<&str> = status.approvals.iter().map(|a| a.reviewer.as_str()).collect();
        return Some(names.join(", "));
    }
    let approved = find(&status.conditions, types::APPROVED)?;
    Some(if approved.reason == "PolicyApproved" { "spec.grants.approvals: 0".into() } else { approved.message.clone() })
}

/// How long windows of a ServiceAccount on the bucket were open that began on one of the last 30 days (UTC), overlaps counted once. Windows
/// count whole, to the end that they had or will have, so that the sum changes only when one begins, ends early or is forgotten.
fn cumulative(facts: &Facts<'_>, role: &RoleKey) -> SignedDuration {
    let day = |at: Timestamp| at.as_second().div_euclid(DAY);
    let today = day(facts.now);
    let of_role = facts.grants.iter().filter(|g| {
        g.metadata.namespace.as_deref() == Some(&role.namespace)
            && g.spec.subject.service_account_ref.name == role.service_account
    });
    let mut windows: Vec<(i64, i64)> = of_role
        .filter_map(|g| span(g, facts.identity))
        .filter(|(from, _)| today - day(*from) < DAYS)
        .map(|(from, to)| (from.as_second(), to.as_second()))
        .collect();
    windows.sort_unstable();
    let (mut total, mut until) = (0, i64::MIN);
    for (from, to) in windows {
        total += (to - from.max(until)).max(0);
        until = until.max(to);
    }
    SignedDuration::from_secs(total)
}

/// Beginning and end of a grant's window on the bucket.
fn span(grant: &DecryptGrant, identity: &str) -> Option<(Timestamp, Timestamp)> {
    let status = grant.status.as_ref()?;
    status.resolved.as_ref().filter(|r| r.bucket_identity == identity)?;
    let from = parse_instant(status.activated_at.as_deref()?)?;
    let to = parse_instant(status.expires_at.as_deref()?)?;
    let ended = status.ended.as_ref().and_then(|e| parse_instant(&e.at));
    Some((from, ended.map_or(to, |e| e.min(to))))
}
