//! Lists of KMS grants, shared by those who ask at the same time.
//!
//! A list of a key's grants answers for all of them, and comes in pages of a hundred. When many grants on one key end together, each of them
//! must see a list that was *begun after* it asked (its own revocation is in it then); but they need not each make one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::AwsError;
use super::kms::Kms;
use crate::coalesce::Coalesced;
use crate::role::observed::ObservedGrant;

/// All grants on a key, or why they could not be listed.
pub type Listed = Result<Arc<Vec<ObservedGrant>>, AwsError>;
/// Lists of one key.
type Slot = Arc<Coalesced<Listed>>;

/// Lists under way, by the key's ARN.
#[derive(Debug, Default)]
pub struct Listings(Mutex<BTreeMap<String, Slot>>);

impl Listings {
    /// All grants on a key, from a list that was begun after this call.
    ///
    /// # Errors
    /// If AWS refuses or does not answer. All who waited for the same list get the same error.
    pub async fn grants(&self, kms: &Kms, key_arn: &str) -> Listed {
        let slot = Arc::clone(self.lock().entry(key_arn.to_owned()).or_default());
        let list = async { Ok::<_, Infallible>(kms.list_grants(key_arn).await.map(Arc::new)) };
        let Ok(listed) = slot.get(list).await;
        // Nobody waits: forget it. (The map has one handle and we have the other.)
        let mut slots = self.lock();
        if Arc::strong_count(&slot) <= 2 {
            slots.remove(key_arn);
        }
        listed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
