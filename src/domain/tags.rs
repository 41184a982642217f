//! Owner marks and user tags.

use std::collections::BTreeMap;

/// Tags of an AWS object.
pub type Tags = BTreeMap<String, String>;

/// Mark: the cluster (installation) that made the object.
pub const CLUSTER: &str = "securebucket.io/cluster";
/// Mark: identity of the SecureBucket.
pub const IDENTITY: &str = "securebucket.io/identity";
/// Mark: uid of the Kubernetes object that holds it now.
pub const UID: &str = "securebucket.io/uid";
/// Mark of a key: the attempt that made it.
pub const ATTEMPT: &str = "securebucket.io/attempt";
/// For people: namespace.
pub const NAMESPACE: &str = "securebucket.io/namespace";
/// For people: name.
pub const NAME: &str = "securebucket.io/name";
/// On roles: the ServiceAccount.
pub const SERVICE_ACCOUNT: &str = "securebucket.io/service-account";
/// All marks begin so; users cannot set such tags.
pub const PREFIX: &str = "securebucket.io/";

/// Who holds an AWS object, judged by its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours: cluster and identity agree, and so does the uid.
    Ours,
    /// Made for an earlier object of the same cluster, namespace and name: it may be taken back.
    Returning,
    /// Carries another cluster's or another SecureBucket's mark, named here for the message.
    Another(String),
    /// Carries no mark at all.
    Unmarked,
}

/// Reads the owner from the tags.
pub fn owner(tags: &Tags, cluster: &str, identity: &str, uid: &str) -> Owner {
    match (tags.get(CLUSTER), tags.get(IDENTITY)) {
        (None, None) => Owner::Unmarked,
        (Some(c), Some(i)) if c == cluster && i == identity => {
            if tags.get(UID).is_some_and(|u| u == uid) {
                Owner::Ours
            } else {
                Owner::Returning
            }
        }
        (c, _) => {
            // Which one is not said: whoever asks may have no right to know of that namespace.
            let here = c.is_some_and(|c| c == cluster);
            Owner::Another(if here { "another SecureBucket".into() } else { "another installation".into() })
        }
    }
}

/// Tags to have: `desired` over what is there, minus keys that we set before and no longer want. Tags of others stay, those of AWS services
/// included: PutBucketTagging refuses to leave them out ("System tags cannot be removed by requester").
pub fn merged(observed: &Tags, desired: &Tags, managed_before: &[String]) -> Tags {
    let mut tags: Tags = observed
        .iter()
        .filter(|(k, _)| desired.contains_key(*k) || !managed_before.contains(k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    tags.extend(desired.iter().map(|(k, v)| (k.clone(), v.clone())));
    tags
}

/// True if `observed` has all that `desired` wants and nothing that it no longer wants.
pub fn satisfied(observed: &Tags, desired: &Tags, managed_before: &[String]) -> bool {
    desired.iter().all(|(k, v)| observed.get(k) == Some(v))
        && managed_before.iter().all(|k| desired.contains_key(k) || !observed.contains_key(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(items: &[(&str, &str)]) -> Tags {
        items.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn owners() {
        let ours = tags(&[(CLUSTER, "c"), (IDENTITY, "i"), (UID, "u")]);
        assert_eq!(owner(&ours, "c", "i", "u"), Owner::Ours);
        assert_eq!(owner(&ours, "c", "i", "u2"), Owner::Returning);
        assert!(matches!(owner(&ours, "c", "other", "u"), Owner::Another(_)));
        assert!(matches!(owner(&ours, "c2", "i", "u"), Owner::Another(_)));
        assert!(matches!(owner(&tags(&[(CLUSTER, "c")]), "c", "i", "u"), Owner::Another(_)), "half a mark is nobody's");
        assert_eq!(owner(&tags(&[("team", "x")]), "c", "i", "u"), Owner::Unmarked);
    }

    #[test]
    fn foreign_tags_stay_and_dropped_ones_go() {
        let observed = tags(&[("cost", "1"), ("old", "x"), ("aws:cf", "s"), ("k", "wrong")]);
        let desired = tags(&[("k", "v")]);
        let managed = ["old".to_owned(), "k".to_owned()];
        assert!(!satisfied(&observed, &desired, &managed));
        let now = merged(&observed, &desired, &managed);
        assert_eq!(now, tags(&[("aws:cf", "s"), ("cost", "1"), ("k", "v")]));
        assert!(satisfied(&now, &desired, &managed));
    }
}
