//! Whose the KMS grants on a bucket's key are. Pure.

use std::collections::BTreeSet;

use super::policies::GRANT_OPERATIONS;
use crate::api::DecryptGrant;
use crate::domain::foreign::{Foreign, Kind};
use crate::domain::identity::kms_grant_prefix;
use crate::domain::installation::Installation;
use crate::role::observed::ObservedGrant;

/// What a DecryptGrant says of the one KMS grant that it answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Uid of the DecryptGrant.
    pub uid: String,
    /// Name of the KMS grant; written to status before the KMS grant is made.
    pub name: String,
    /// Its id, once it was seen.
    pub id: Option<String>,
    /// ARN of the role that it is for.
    pub role_arn: String,
    /// Unique id of that role.
    pub role_id: String,
}

impl Claim {
    /// The claim of a DecryptGrant on this key, until its removal is proved.
    pub fn of(grant: &DecryptGrant, key_arn: &str) -> Option<Self> {
        let status = grant.status.as_ref().filter(|s| s.removal.is_none())?;
        let terms = status.resolved.as_ref().filter(|r| r.key_arn == key_arn)?;
        let named = status.kms_grant.as_ref()?;
        Some(Self {
            uid: grant.metadata.uid.clone()?,
            name: named.name.clone(),
            id: named.id.clone(),
            role_arn: terms.role_arn.clone(),
            role_id: named.role_id.clone(),
        })
    }

    /// True if this is the KMS grant that the operator makes for it. A name alone can be copied by whoever reads status.
    fn covers(&self, grant: &ObservedGrant) -> bool {
        self.id.as_ref().is_none_or(|id| *id == grant.id)
            && (grant.grantee == self.role_arn || grant.grantee == self.role_id)
            && grant.operations.iter().all(|o| GRANT_OPERATIONS.contains(&o.as_str()))
    }
}

/// What is known of DecryptGrants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Of those that can be read.
    pub all: Vec<Claim>,
    /// True if the API server was asked for all of them after the KMS grants had been listed: only then the lack of a claim says anything.
    pub fresh: bool,
    /// Uids of those that cannot be decoded: what they claim is not known.
    pub undecodable: BTreeSet<String>,
    /// Namespaces that were asked about; all if empty.
    pub served: Vec<String>,
}

/// Whose a KMS grant is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Made for the DecryptGrant of this uid, which answers for it.
    Ours(String),
    /// Made by this installation, and no DecryptGrant answers for it any more.
    LeftOver,
    /// Named as ours; whether a DecryptGrant answers for it is not known.
    Unknown,
    /// Made by somebody else.
    Foreign,
}

/// A KMS grant on the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGrant {
    /// As `ListGrants` shows it.
    pub seen: ObservedGrant,
    /// Whose it is.
    pub whose: Whose,
}

impl KeyGrant {
    /// What is said of it, if it is foreign.
    pub fn foreign(&self) -> Option<Foreign> {
        let ObservedGrant { id, grantee, operations, .. } = &self.seen;
        let words = || format!("{grantee} has {} by KMS grant {id}", operations.join(", "));
        (self.whose == Whose::Foreign).then(|| Foreign { kind: Kind::KmsGrant, id: id.clone(), words: words() })
    }
}

/// Tells the KMS grants on a key apart.
pub fn classify(grants: &[ObservedGrant], claims: &Claims, install: &Installation) -> Vec<KeyGrant> {
    let mut all: Vec<KeyGrant> =
        grants.iter().map(|g| KeyGrant { seen: g.clone(), whose: whose(g, claims, install) }).collect();
    all.sort_by(|a, b| a.seen.id.cmp(&b.seen.id));
    all
}

fn whose(grant: &ObservedGrant, claims: &Claims, install: &Installation) -> Whose {
    // `securebucket/<cluster>/<uid>/<hash>`, see `identity::kms_grant_name`.
    let name = grant.name.as_deref().unwrap_or_default();
    let Some((uid, _)) = name.strip_prefix(&kms_grant_prefix(&install.cluster)).and_then(|rest| rest.split_once('/'))
    else {
        return Whose::Foreign;
    };
    if let Some(claim) = claims.all.iter().find(|c| c.name == name) {
        return if claim.covers(grant) { Whose::Ours(claim.uid.clone()) } else { Whose::Foreign };
    }
    if !served(&grant.grantee, claims, install) {
        return Whose::Foreign;
    }
    if !claims.fresh || claims.undecodable.contains(uid) {
        return Whose::Unknown;
    }
    Whose::LeftOver
}

/// False if the grantee is no role of a namespace that was asked about: nothing was made for it here, and whoever else might have is not known.
/// A role's name begins with its namespace; a grantee that is no ARN is a role that is gone, and whoever held the grant reads no more.
fn served(grantee: &str, claims: &Claims, install: &Installation) -> bool {
    let Some((_, name)) = grantee.split_once(&format!(":role{}", install.role_path())) else {
        return claims.served.is_empty() || !grantee.starts_with("arn:");
    };
    claims.served.is_empty() || claims.served.iter().any(|namespace| name.starts_with(&format!("{namespace}--")))
}
