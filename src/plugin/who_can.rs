//! `who-can`: who can decrypt now, as the operator last read it from AWS.

use super::cli::{Form, WhoCanArgs};
use super::exit::{Exit, Outcome};
use super::find::named;
use super::out::{Out, clean, table};
use super::talk::Session;
use crate::api::SecureBucket;
use crate::api::condition::{find, types};
use crate::api::secure_bucket::{AccessStatus, SecureBucketStatus, Through};

/// Lists.
///
/// # Errors
/// If the bucket cannot be read.
pub async fn who_can(session: &Session, out: &Out, args: &WhoCanArgs) -> Outcome {
    let bucket: SecureBucket = named(session, &args.bucket).await?;
    let status = bucket.status.clone().unwrap_or_default();
    for note in notes(&status, &args.bucket.name, &session.namespace) {
        out.note(&note);
    }
    if out.value(&status.access)? {
        return Ok(Exit::Done);
    }
    if status.access.is_empty() {
        out.note(&format!("nobody can decrypt anything of SecureBucket {}/{}", session.namespace, args.bucket.name));
        return Ok(Exit::Done);
    }
    let wide = out.form == Some(Form::Wide);
    let mut header = vec!["WHO", "THROUGH", "UNTIL", "AGREED-BY", "PREFIXES"];
    if wide {
        header.extend(["LAST-30-DAYS", "PRINCIPAL"]);
    }
    let rows: Vec<Vec<String>> = status.access.iter().map(|a| row(a, wide)).collect();
    out.text(&table(&header, &rows));
    Ok(Exit::Done)
}

fn row(access: &AccessStatus, wide: bool) -> Vec<String> {
    let account = access.namespace.as_ref().zip(access.service_account.as_ref());
    let standing = || "standing".to_owned();
    let mut cells = match access.through {
        Some(Through::Foreign) => vec![
            access.principal.clone(),
            format!("FOREIGN KMS grant {}", access.name),
            "unknown".into(),
            "NOBODY HERE".into(),
            "unknown".into(),
        ],
        through => vec![
            account.map_or_else(|| access.principal.clone(), |(n, a)| format!("{n}/{a}")),
            format!("{} {}", if through == Some(Through::Duty) { "duty" } else { "grant" }, access.name),
            access.until.clone().unwrap_or_else(standing),
            access.agreed_by.clone().unwrap_or_else(|| "unknown".into()),
            access.prefixes.join(","),
        ],
    };
    if wide {
        cells.extend([access.cumulative_30d.clone().unwrap_or_default(), access.principal.clone()]);
    }
    cells
}

/// What the list does not say by itself.
fn notes(status: &SecureBucketStatus, name: &str, namespace: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(lockdown) = &status.lockdown {
        let reason = clean(&lockdown.reason);
        notes
            .push(format!("locked down since {} ({:?}, id {}): {reason}", lockdown.since, lockdown.level, lockdown.id));
    }
    if let Some(state) = status.key_state.as_ref().filter(|s| *s != "Enabled") {
        notes.push(format!("the key is {state}, so nobody decrypts anything"));
    }
    if status.access.iter().any(|a| a.through == Some(Through::Foreign)) {
        notes.push(format!(
            "somebody else gave access in AWS; revoke it with `aws kms revoke-grant --key-id {} --grant-id ID`",
            status.key_arn.as_deref().unwrap_or("KEY")
        ));
    }
    if let Some(more) = status.access_left_out.filter(|n| *n > 0) {
        notes.push(format!("{more} more found no room in the status"));
    }
    if let Some(ready) = find(&status.conditions, types::READY).filter(|c| c.status != "True") {
        notes.push(format!(
            "not all of it may be up to date, Ready is {} ({}): kubectl securebucket why sbkt/{name} -n {namespace}",
            ready.status, ready.reason
        ));
    }
    notes
}
