//! Looks at the role and the KMS grants of one DecryptGrant, in one round trip.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::facts::Looked;
use crate::api::DecryptGrant;
use crate::api::decrypt_grant::ResolvedTerms;
use crate::aws::clients::Aws;
use crate::aws::error::Seen;
use crate::domain::identity::{kms_grant_prefix, role_name};
use crate::domain::policy::Document;
use crate::domain::time::parse_instant;
use crate::reconcile::context::{Context, lock};
use crate::role::desired::window;
use crate::role::document::{GrantInput, window_absent};
use crate::role::observe::observe_own;
use crate::role::state::RoleKey;

type SeenRole = Seen<(String, Option<Document>)>;

/// How long the look of the role's writer is waited for before the role is looked at here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks. All KMS grants that carry this DecryptGrant's uid in their name are its own, and no others.
pub async fn look(
    ctx: &Context,
    aws: &Aws,
    grant: &DecryptGrant,
    terms: &ResolvedTerms,
    others: &[GrantInput],
) -> Looked {
    let install = &ctx.install;
    let kms = aws.kms(&install.place_of(&terms.key_arn));
    let known = known_role(ctx, grant, others);
    let role = async {
        match known {
            Some(known) => known,
            None => look_at_role(ctx, aws, grant, terms).await,
        }
    };
    // The name of its KMS grant is in status before the call that makes it: without one there is none, and a list of all grants on the key says nothing.
    let status = grant.status.as_ref();
    let listed = status.is_some_and(|s| s.kms_grant.is_some() || s.ended.is_some());
    let grants = async { if listed { ctx.listings.grants(&kms, &terms.key_arn).await } else { Ok(Arc::default()) } };
    let (role, grants) = tokio::join!(role, grants);
    let prefix =
        format!("{}{}/", kms_grant_prefix(&install.cluster), grant.metadata.uid.as_deref().unwrap_or_default());
    let kms = match Seen::from_result(grants) {
        Seen::Value(all) => {
            let own = all.iter().filter(|g| g.name.as_deref().is_some_and(|n| n.starts_with(&prefix)));
            Seen::Value(own.cloned().collect())
        }
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(e) => Seen::Unreadable(e),
    };
    Looked { role, kms }
}

async fn look_at_role(ctx: &Context, aws: &Aws, grant: &DecryptGrant, terms: &ResolvedTerms) -> SeenRole {
    let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
    let name = role_name(&ctx.install.cluster, namespace, &terms.service_account);
    match observe_own(aws, &name).await {
        Seen::Value(role) => match role.document {
            Seen::Value(document) => Seen::Value((role.head.role_id, Some(document))),
            Seen::Absent => Seen::Value((role.head.role_id, None)),
            Seen::Unreadable(e) => Seen::Unreadable(e),
        },
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(e) => Seen::Unreadable(e),
    }
}

/// The role as its writer has read it back, which need not be read again for each of a thousand grants. For a grant whose KMS grant is there,
/// the last look of the writer is as good as its own: both look at each drift check. Before that, access depends on it: no.
///
/// For a grant that is over, what was read before the end was known proves nothing, because a policy with the window may have been under way. It is good enough only to
/// say that the window is still there; then the writer, which the end has woken, is waited for. It runs one pass at a time and writes nothing
/// after the look that it publishes.
fn known_role(ctx: &Context, grant: &DecryptGrant, others: &[GrantInput]) -> Option<SeenRole> {
    let (state, looked) = ctx.roles.seen(&role_key(grant))?;
    let Some(since) = over_since(ctx, grant) else {
        let seen = || state.role_id.map_or(Seen::Absent, |id| Seen::Value((id, state.document)));
        return issued(grant).then(seen);
    };
    let shown = state.document.as_ref().is_some_and(|document| {
        window(grant, &ctx.install).is_some_and(|(mine, _)| !window_absent(document, &mine, others))
    });
    let seen = state.role_id.map_or(Seen::Absent, |id| Seen::Value((id, state.document)));
    let waiting = shown && since.elapsed() < PATIENCE;
    (looked >= since || waiting).then_some(seen)
}

fn role_key(grant: &DecryptGrant) -> RoleKey {
    RoleKey {
        namespace: grant.metadata.namespace.clone().unwrap_or_default(),
        service_account: grant.spec.subject.service_account_ref.name.clone(),
    }
}

fn issued(grant: &DecryptGrant) -> bool {
    grant.status.as_ref().and_then(|s| s.kms_grant.as_ref()).is_some_and(|k| k.id.is_some())
}

/// True if the writer of roles has not looked yet at the role of a grant that runs: after a start. Asks for the look.
pub fn unlooked(ctx: &Context, grant: &DecryptGrant) -> bool {
    let key = role_key(grant);
    let unknown = issued(grant) && over_since(ctx, grant).is_none() && ctx.roles.get(&key).is_none();
    if unknown {
        ctx.queues.roles.add_now(key);
    }
    unknown
}

/// Since when every pass of the role's writer that begins leaves this grant out; `None` while it runs.
fn over_since(ctx: &Context, grant: &DecryptGrant) -> Option<Instant> {
    let status = grant.status.as_ref()?;
    let now = ctx.clock.aws_now();
    let passed = status.expires_at.as_deref().and_then(parse_instant).filter(|at| now >= *at);
    let by_date = passed.and_then(|at| Instant::now().checked_sub(Duration::try_from(now.duration_since(at)).ok()?));
    let known = status.ended.as_ref().map(|_| {
        let uid = grant.metadata.uid.clone().unwrap_or_default();
        *lock(&ctx.ended).entry(uid).or_insert_with(Instant::now)
    });
    by_date.into_iter().chain(known).min()
}
