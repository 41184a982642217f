//! `list`: DecryptGrants; with `--pending` those that wait for a decision, as they and the buckets show them.

use kube::ResourceExt;
use serde::Serialize;

use super::cli::{Form, ListArgs};
use super::exit::{Exit, Outcome};
use super::find::all;
use super::out::{Out, age, list as listed, table};
use super::talk::{Refusal, Session};
use crate::api::condition::{find, types};
use crate::api::grants::PendingGrant;
use crate::api::{DecryptGrant, SecureBucket};
use crate::domain::time::{format_duration, format_instant};
use crate::grant::agree::{AWAITING, pending_until};
use crate::grant::terms::target;

/// Lists.
///
/// # Errors
/// If nothing may be read.
pub async fn list(session: &Session, out: &Out, args: &ListArgs, now: jiff::Timestamp) -> Outcome {
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    if args.pending { pending(session, out, namespace).await } else { grants(session, out, namespace, now).await }
}

fn scope(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "all namespaces".to_owned(), |n| format!("namespace {n}"))
}

fn refused(what: &str, namespace: Option<&str>, refusal: &Refusal) -> super::exit::Failure {
    let failure = refusal.to(&format!("list {what} of {}", scope(namespace)));
    if namespace.is_none() { failure.next("-n NAMESPACE, for one that you may read") } else { failure }
}

async fn grants(session: &Session, out: &Out, namespace: Option<&str>, now: jiff::Timestamp) -> Outcome {
    let mut all = all::<DecryptGrant>(session, namespace).await.map_err(|e| refused("DecryptGrants", namespace, &e))?;
    all.sort_by_key(|g| (g.namespace(), g.name_any()));
    if out.value(&listed(&all))? || names(out, all.iter().map(|g| (g.namespace(), g.name_any()))) {
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        out.note(&format!("no DecryptGrants in {}", scope(namespace)));
        return Ok(Exit::Done);
    }
    let wide = out.form == Some(Form::Wide);
    let mut header = vec!["NAME", "BUCKET", "REQUESTER", "STATE", "EXPIRES", "AGE"];
    if wide {
        header.extend(["SUBJECT", "PREFIXES", "DURATION", "APPROVED-BY", "REASON"]);
    }
    let rows: Vec<Vec<String>> = all.iter().map(|g| row(g, wide, now)).collect();
    print(out, namespace, header, rows, all.iter().map(|g| g.namespace().unwrap_or_default()));
    Ok(Exit::Done)
}

fn row(grant: &DecryptGrant, wide: bool, now: jiff::Timestamp) -> Vec<String> {
    let status = grant.status.clone().unwrap_or_default();
    let state = find(&status.conditions, types::ACTIVE).map_or("Pending", |c| c.reason.as_str());
    let made = grant.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let mut cells = vec![
        grant.name_any(),
        target(grant).to_string(),
        grant.spec.requester.as_ref().map(|r| r.username.clone()).unwrap_or_default(),
        state.to_owned(),
        status.expires_at.unwrap_or_default(),
        made.map(|at| age(now.duration_since(at).as_secs())).unwrap_or_default(),
    ];
    if wide {
        let prefixes: Vec<&str> = grant.spec.prefixes.iter().map(|p| p.0.as_str()).collect();
        let approvals: Vec<&str> = status.approvals.iter().map(|a| a.reviewer.as_str()).collect();
        cells.extend([
            grant.spec.subject.service_account_ref.name.clone(),
            prefixes.join(","),
            status.shortened_to.unwrap_or_else(|| grant.spec.duration.0.clone()),
            approvals.join(","),
            grant.spec.reason.clone(),
        ]);
    }
    cells
}

/// With a first column for the namespace if there can be several.
fn print(
    out: &Out,
    namespace: Option<&str>,
    mut header: Vec<&str>,
    mut rows: Vec<Vec<String>>,
    namespaces: impl Iterator<Item = String>,
) {
    if namespace.is_none() {
        header.insert(0, "NAMESPACE");
        for (row, namespace) in rows.iter_mut().zip(namespaces) {
            row.insert(0, namespace);
        }
    }
    out.text(&table(&header, &rows));
}

/// `-o name`.
fn names(out: &Out, names: impl Iterator<Item = (Option<String>, String)>) -> bool {
    if out.form != Some(Form::Name) {
        return false;
    }
    for (_, name) in names {
        out.line(&format!("{}/{name}", super::names::Kind::Grant.resource()));
    }
    true
}

/// A request that waits, and for which bucket.
#[derive(Clone, Debug, Serialize)]
struct Waiting {
    bucket: String,
    #[serde(flatten)]
    grant: PendingGrant,
}

async fn pending(session: &Session, out: &Out, namespace: Option<&str>) -> Outcome {
    let buckets = all::<SecureBucket>(session, namespace).await;
    let grants = all::<DecryptGrant>(session, namespace).await;
    let (buckets, grants) = match (buckets, grants) {
        (Err(refusal), Err(_)) => return Err(refused("SecureBuckets", namespace, &refusal)),
        (buckets, grants) => (buckets.unwrap_or_default(), grants.unwrap_or_default()),
    };
    let mut waiting: Vec<Waiting> = buckets.iter().flat_map(of_bucket).collect();
    let own = grants.iter().filter_map(of_grant);
    let own: Vec<Waiting> = own.filter(|w| waiting.iter().all(|seen| seen.grant.uid != w.grant.uid)).collect();
    waiting.extend(own);
    // Those that end first before others; one that has no end is the last.
    let key = |w: &Waiting| (w.grant.expires_at.is_empty(), w.grant.expires_at.clone(), w.grant.name.clone());
    waiting.sort_by_key(key);
    if out.value(&waiting)? || names(out, waiting.iter().map(|w| (None, w.grant.name.clone()))) {
        return Ok(Exit::Done);
    }
    let left_out: i32 = buckets.iter().filter_map(|b| b.status.as_ref()?.pending_grants_left_out).sum();
    if left_out > 0 {
        out.note(&format!("{left_out} more found no room in the status of their bucket"));
    }
    let Some(first) = waiting.first() else {
        out.note(&format!("nothing waits for a decision in {}", scope(namespace)));
        return Ok(Exit::Done);
    };
    let decide = format!("kubectl securebucket approve {} -n {}", first.grant.name, first.grant.namespace);
    show(out, &waiting);
    out.note(&format!("  → {decide}"));
    Ok(Exit::Done)
}

fn show(out: &Out, waiting: &[Waiting]) {
    let wide = out.form == Some(Form::Wide);
    let mut header =
        vec!["NAMESPACE", "NAME", "BUCKET", "REQUESTER", "SUBJECT", "PREFIXES", "DURATION", "APPROVALS", "UNTIL"];
    if wide {
        header.extend(["REASON", "TICKET", "TERMS"]);
    }
    let row = |w: &Waiting| {
        let g = w.grant.clone();
        let mut cells = vec![
            g.namespace,
            g.name,
            w.bucket.clone(),
            g.requester,
            g.service_account,
            g.prefixes.join(","),
            g.duration,
            g.approvals,
            g.expires_at,
        ];
        if wide {
            cells.extend([g.reason, g.ticket.unwrap_or_default(), g.terms_hash]);
        }
        cells
    };
    out.text(&table(&header, &waiting.iter().map(row).collect::<Vec<_>>()));
}

fn of_bucket(bucket: &SecureBucket) -> Vec<Waiting> {
    let name = format!("{}/{}", bucket.namespace().unwrap_or_default(), bucket.name_any());
    let grants = bucket.status.as_ref().map(|s| s.pending_grants.clone()).unwrap_or_default();
    grants.into_iter().map(|grant| Waiting { bucket: name.clone(), grant }).collect()
}

fn of_grant(grant: &DecryptGrant) -> Option<Waiting> {
    let status = grant.status.as_ref()?;
    let active = find(&status.conditions, types::ACTIVE)?;
    if active.reason != AWAITING || grant.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let terms = status.resolved.clone()?;
    let asked = status.approval_rules.as_ref().map_or(1, |r| r.approvals);
    let pending = PendingGrant {
        namespace: grant.namespace()?,
        name: grant.name_any(),
        uid: grant.uid()?,
        requester: grant.spec.requester.as_ref().map(|r| r.username.clone()).unwrap_or_default(),
        service_account: terms.service_account,
        prefixes: terms.prefixes,
        duration: format_duration(jiff::SignedDuration::from_secs(terms.duration_seconds)),
        not_before: terms.not_before,
        break_glass: None,
        extends: terms.extends.map(|e| e.name),
        reason: grant.spec.reason.clone(),
        ticket: grant.spec.ticket.clone(),
        terms_hash: terms.terms_hash,
        approvals: format!("{} of {asked}", status.approvals.len()),
        expires_at: pending_until(status).map(format_instant).unwrap_or_default(),
    };
    Some(Waiting { bucket: target(grant).to_string(), grant: pending })
}
