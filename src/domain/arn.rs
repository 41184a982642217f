//! ARNs that the operator writes. Built, never cut out of text that somebody else controls.

use std::fmt;

/// Account, partition and region: where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`, … as in the operator's own ARN.
    pub partition: String,
    /// 12 digits.
    pub account: String,
    /// `eu-west-1`.
    pub region: String,
}

impl Place {
    /// ARN of a bucket.
    pub fn bucket(&self, name: &str) -> String {
        format!("arn:{}:s3:::{name}", self.partition)
    }

    /// ARN of a key.
    pub fn key(&self, id: &str) -> String {
        format!("arn:{}:kms:{}:{}:key/{id}", self.partition, self.region, self.account)
    }

    /// ARN of an alias, given as `alias/…`.
    pub fn alias(&self, alias: &str) -> String {
        format!("arn:{}:kms:{}:{}:{alias}", self.partition, self.region, self.account)
    }

    /// ARN of the account itself; in a resource policy "whoever IAM of this account allows" (KMS Developer Guide, key-policy-default).
    pub fn root(&self) -> String {
        format!("arn:{}:iam::{}:root", self.partition, self.account)
    }

    /// ARN of a role, by path (`/` or `/…/`) and name.
    pub fn role(&self, path: &str, name: &str) -> String {
        format!("arn:{}:iam::{}:role{path}{name}", self.partition, self.account)
    }

    /// ARN of the OIDC provider for an issuer URL.
    pub fn oidc_provider(&self, issuer: &str) -> String {
        format!("arn:{}:iam::{}:oidc-provider/{}", self.partition, self.account, issuer_host_path(issuer))
    }

    /// ARN of a customer-managed policy.
    pub fn policy(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:policy/{name}", self.partition, self.account)
    }

    /// Value of `kms:ViaService` when S3 asks. The suffix is `amazonaws.com` in China and GovCloud too (KMS Developer Guide, conditions-kms).
    pub fn via_s3(&self) -> String {
        format!("s3.{}.amazonaws.com", self.region)
    }
}

/// Region in the ARN of something that has one, such as a key: `arn:<partition>:kms:<region>:…`.
pub fn region_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(3)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.partition, self.account, self.region)
    }
}

/// An issuer URL as IAM writes it: without the scheme and a trailing slash.
pub fn issuer_host_path(issuer: &str) -> &str {
    issuer.trim_start_matches("https://").trim_end_matches('/')
}

/// Last part of a key ARN (or the id itself).
pub fn key_id(key_arn: &str) -> &str {
    key_arn.rsplit_once(":key/").map_or(key_arn, |(_, id)| id)
}

/// Partition and account of an ARN.
pub fn partition_and_account(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("arn"), Some(partition), Some(_), Some(_), Some(account))
            if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) =>
        {
            Some((partition, account))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_have_the_partition_everywhere() {
        let place = Place { partition: "aws-cn".into(), account: "111122223333".into(), region: "cn-north-1".into() };
        assert_eq!(place.bucket("b"), "arn:aws-cn:s3:::b");
        assert_eq!(place.key("k"), "arn:aws-cn:kms:cn-north-1:111122223333:key/k");
        assert_eq!(place.role("/securebucket/c/", "r"), "arn:aws-cn:iam::111122223333:role/securebucket/c/r");
        assert_eq!(
            place.oidc_provider("https://oidc.x/id/A/"),
            "arn:aws-cn:iam::111122223333:oidc-provider/oidc.x/id/A"
        );
        assert_eq!(key_id(&place.key("k")), "k");
        assert_eq!(partition_and_account(&place.root()), Some(("aws-cn", "111122223333")));
        assert_eq!(partition_and_account("arn:aws:iam::12:root"), None);
    }
}
