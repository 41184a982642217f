//! What is known of a DecryptGrant, and the steps that can follow from it. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use super::agree::{Agreement, Resolution};
use super::begin::Skew;
use crate::api::decrypt_grant::{AfterReview, EndReason};
use crate::api::{DecryptGrant, GrantReview, SecureBucket};
use crate::aws::error::Seen;
use crate::domain::enforcement::Enforcement;
use crate::domain::policy::Document;
use crate::role::document::GrantInput;
use crate::role::observed::ObservedGrant;
use crate::role::state::{Problem, RoleState};

/// What was looked up in AWS for this grant, in one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The role's unique id and its document; absent if there is no role.
    pub role: Seen<(String, Option<Document>)>,
    /// KMS grants on the key whose name is this grant's, or whose id is the recorded one.
    pub kms: Seen<Vec<ObservedGrant>>,
}

/// What is known.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The grant, fresh from the API server.
    pub grant: &'a DecryptGrant,
    /// The SecureBucket that it names, if there is one.
    pub bucket: Option<&'a SecureBucket>,
    /// Why it could not be read; then nothing is known of it, which ends nothing and gives nothing.
    pub bucket_unreadable: Option<&'a str>,
    /// Uid of the ServiceAccount that it names, if there is one.
    pub service_account_uid: Option<&'a str>,
    /// State of the role as its writer last left it.
    pub role: Option<&'a RoleState>,
    /// What was looked up in AWS; `None` if it was not looked yet.
    pub looked: Option<&'a Looked>,
    /// True if the end was written in this pass, which has revoked nothing yet.
    pub just_ended: bool,
    /// Other open grants of the same role: what they let it read stays when this one ends.
    pub others: &'a [GrantInput],
    /// Reviews that name this grant. Before access begins: as the API server has them now, `None` if it was not asked yet. Later: as a watch has
    /// them, which is enough to take access away.
    pub reviews: Option<&'a [Arc<GrantReview>]>,
    /// What is known of the admission policies.
    pub enforcement: &'a Enforcement,
    /// Names of older open requests and grants of the same ServiceAccount on the same bucket.
    pub older: &'a [String],
    /// The DecryptGrant that this one extends, fresh from the API server, if there is one of the name.
    pub extended: Option<&'a DecryptGrant>,
    /// DecryptGrants of all namespaces that ask for this bucket without approval, as the API server has them now; `None` if it was not asked yet.
    pub broken: Option<&'a [DecryptGrant]>,
    /// AWS's clock.
    pub now: Timestamp,
    /// How far the local clock is off.
    pub skew: Skew,
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Add our finalizer, before anything else.
    AddFinalizer,
    /// Write the resolved terms and the rules of this moment to status.
    Resolve(Box<Resolution>),
    /// Ask the API server for the reviews.
    ReadReviews,
    /// Ask the API server for the DecryptGrants that asked for this bucket without approval.
    ReadBroken,
    /// Write the review that access without approval needed.
    RecordReview(AfterReview),
    /// Approved, by people or by the bucket's own policy.
    Approve(Agreement),
    /// Look at role and KMS grants in AWS.
    Look,
    /// Start the clock: write `activatedAt`, `expiresAt`, and what was agreed to.
    Activate(Agreement),
    /// Write name and role id of the KMS grant, before the call.
    Name {
        /// Name.
        name: String,
        /// Unique id of the role.
        role_id: String,
    },
    /// CreateGrant.
    Issue,
    /// Write the KMS grant's id and `usableBy`.
    RecordIssued {
        /// Id.
        id: String,
    },
    /// Write the end.
    End {
        /// Why.
        reason: EndReason,
        /// In words.
        message: String,
        /// The GrantReview that ends it.
        review: Option<String>,
        /// The rule of the bucket that refuses it.
        rule: Option<String>,
    },
    /// RevokeGrant.
    Revoke {
        /// Ids.
        ids: Vec<String>,
    },
    /// Write the proof of removal.
    RecordRemoval {
        /// What was read.
        evidence: String,
    },
    /// Remove our finalizer.
    RemoveFinalizer,
    /// Delete the object: it was a record for long enough.
    Forget,
    /// Nothing to do now; something is in the way or has to be waited for.
    Wait {
        /// What.
        problem: Problem,
        /// When to look again at the latest; `None`: when something changes, or at the next drift check.
        until: Option<Timestamp>,
    },
    /// All is as it should be.
    Settled,
}
