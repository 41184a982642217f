//! What one installation of the operator is: its cluster, account, names and limits. Fixed at start.

use std::time::Duration;

use super::arn::{Place, region_of};
use super::identity;

/// Settings and facts that every pure function may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Name of the cluster: part of tags, aliases, role paths. Two installations in one account have different ones.
    pub cluster: String,
    /// Partition, account and the operator's own region.
    pub place: Place,
    /// Regions that buckets may name; `place.region` alone if empty.
    pub regions: Vec<String>,
    /// Every bucket name begins with this and a dash: the operator's IAM policy reaches no other bucket.
    pub bucket_prefix: String,
    /// ARN of the role that the operator runs under; outside [`Installation::role_path`].
    pub operator_role: String,
    /// ARN of the role that people use in an emergency; it may administer, never read.
    pub break_glass_role: Option<String>,
    /// Issuer URL of the cluster's ServiceAccount tokens.
    pub oidc_issuer: String,
    /// ARN of the managed policy that bounds every workload role.
    pub boundary: String,
    /// Put `aws:FederatedProvider` into bucket policies (see docs/concepts.md before turning it on).
    pub pin_federation: bool,
    /// Roles whose session names the caller cannot choose: their unique ids (`AROA…`), or the uids that EKS gives their users. Many people share
    /// such a uid, so that it does not make them one person.
    pub fixed_session_roles: Vec<String>,
    /// Limits and waiting times.
    pub timing: Timing,
}

/// Limits and waiting times of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Shortest duration that a grant may have.
    pub grant_floor: Duration,
    /// Longest duration that a grant may have, whatever its bucket says.
    pub grant_ceiling: Duration,
    /// How long a changed role policy needs to be known to all of AWS before anything is built on it (IAM: eventually consistent).
    pub policy_propagation: Duration,
    /// The same for a role or key that is new: CreateGrant refuses a role that KMS does not know yet, and a new key may be missing from lists.
    pub role_propagation: Duration,
    /// How long `ListGrants` must have been clean before the Deny of an ended grant may leave ("usually less than five minutes": KMS API).
    pub evidence_wait: Duration,
    /// Time between two drift checks of one object.
    pub drift_check: Duration,
    /// How long a role that nothing needs any more stays, without a policy, after it was last used or made. Used again within that time it is the
    /// same principal: its unique id, which KMS and sessions go by, stays.
    pub role_retention: Duration,
    /// How long an ended DecryptGrant is kept as a record after its removal was proved.
    pub grant_history: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            grant_floor: Duration::from_secs(15 * 60),
            grant_ceiling: Duration::from_secs(72 * 3600),
            policy_propagation: Duration::from_secs(15),
            role_propagation: Duration::from_secs(60),
            evidence_wait: Duration::from_secs(600),
            drift_check: Duration::from_secs(600),
            role_retention: Duration::from_secs(24 * 3600),
            grant_history: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl Installation {
    /// Path of the workload roles.
    pub fn role_path(&self) -> String {
        identity::role_path(&self.cluster)
    }

    /// Pattern that every workload role's ARN matches.
    pub fn role_pattern(&self) -> String {
        self.place.role(&self.role_path(), "*")
    }

    /// ARN of a ServiceAccount's role.
    pub fn role_arn(&self, namespace: &str, service_account: &str) -> String {
        self.place.role(&self.role_path(), &identity::role_name(&self.cluster, namespace, service_account))
    }

    /// ARN of the cluster's OIDC provider.
    pub fn oidc_provider(&self) -> String {
        self.place.oidc_provider(&self.oidc_issuer)
    }

    /// Principals that administer: operator, break-glass role if there is one, the account's root user.
    pub fn administrators(&self) -> Vec<String> {
        let mut all = vec![self.operator_role.clone(), self.place.root()];
        all.extend(self.break_glass_role.clone());
        all
    }

    /// The same place in another region.
    pub fn place_in(&self, region: &str) -> Place {
        Place { region: region.to_owned(), ..self.place.clone() }
    }

    /// Where a key is, by its ARN.
    pub fn place_of(&self, key_arn: &str) -> Place {
        self.place_in(region_of(key_arn).unwrap_or(&self.place.region))
    }

    /// True if buckets may be in this region.
    pub fn serves(&self, region: &str) -> bool {
        self.place.region == region || self.regions.iter().any(|r| r == region)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The setting of the worked example in docs/concepts.md.
    pub(crate) fn installation() -> Installation {
        Installation {
            cluster: "c1".into(),
            place: Place { partition: "aws".into(), account: "111122223333".into(), region: "eu-west-1".into() },
            regions: Vec::new(),
            bucket_prefix: "c1".into(),
            operator_role: "arn:aws:iam::111122223333:role/securebucket-operator".into(),
            break_glass_role: Some("arn:aws:iam::111122223333:role/BreakGlass".into()),
            oidc_issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".into(),
            boundary: "arn:aws:iam::111122223333:policy/securebucket-c1-boundary".into(),
            pin_federation: false,
            fixed_session_roles: Vec::new(),
            timing: Timing::default(),
        }
    }

    #[test]
    fn the_operator_is_no_workload() {
        let install = installation();
        assert!(!install.operator_role.contains(&install.role_path()));
        assert!(install.serves("eu-west-1") && !install.serves("eu-west-2"));
        assert_eq!(install.administrators().len(), 3);
    }
}
