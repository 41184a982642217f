//! Who gets at what, judged by the documents themselves. The judge assumes the worst: every principal has `*:*` attached in IAM, and no
//! boundary, so that only the key policy, the bucket policy and the state of the key stand in the way.

use std::collections::BTreeSet;

use jiff::Timestamp;
use securebucket::bucket::desired::Desired;
use securebucket::bucket::observed::{KeyState, PublicAccessBlock};
use securebucket::domain::policy::{Document, Statement};

use crate::evaluator::{Context, Outcome, Policies, Request, evaluate};
use crate::fixtures::{ACCOUNT, NAMESPACE, install, strangers_key};
use crate::model::{Aws, Bucket, Key};

/// ServiceAccounts that specs give duties to.
pub const ACCOUNTS: [&str; 3] = ["etl", "ingest", "reports"];

/// `<who> <what>`: something that somebody can do.
pub type Access = BTreeSet<String>;

fn everybody() -> Vec<(String, String)> {
    let install = install();
    let mut all: Vec<(String, String)> =
        ACCOUNTS.iter().map(|a| ((*a).to_owned(), install.role_arn(NAMESPACE, a))).collect();
    all.extend([
        ("planted".into(), install.place.role(&install.role_path(), "planted")),
        ("admin".into(), install.place.role("/", "Admin")),
        ("operator".into(), install.operator_role.clone()),
        ("stranger".into(), "arn:aws:iam::999988887777:role/Stranger".into()),
    ]);
    all
}

fn request(principal: &str, action: &str, resource: &str) -> Request {
    let mut context = Context::default()
        .with("aws:PrincipalArn", principal)
        .with("aws:CurrentTime", Timestamp::from_second(1_795_500_000).unwrap())
        .with("aws:SecureTransport", true)
        .with("aws:PrincipalIsAWSService", false)
        .with("aws:FederatedProvider", install().oidc_provider());
    if action.starts_with("s3:") {
        context = context.with("s3:TlsVersion", "1.3").with("s3:authType", "REST-HEADER").with("s3:prefix", "in/");
    }
    Request {
        principal: principal.into(),
        action: action.into(),
        resource: resource.into(),
        resource_account: ACCOUNT.into(),
        context,
    }
}

fn allowed(request: &Request, resource_policy: Option<&Document>) -> bool {
    let everything = Document::new(vec![Statement::allow("All").actions(["*"]).resources(["*"])]);
    let policies = Policies { identity: vec![&everything], resource: resource_policy, ..Policies::default() };
    evaluate(request, &policies).outcome == Outcome::Allowed
}

struct Judge<'a> {
    bucket_arn: String,
    bucket: Option<&'a Bucket>,
    key: Option<(&'a String, &'a Key)>,
    via_s3: String,
}

impl Judge<'_> {
    fn s3(&self, who: &str, action: &str, on: &str) -> bool {
        let Some(bucket) = self.bucket else { return false };
        let ask = request(who, action, &format!("{}{on}", self.bucket_arn));
        allowed(&ask, bucket.policy.as_ref())
    }

    /// KMS, asked by S3 for the caller.
    fn kms(&self, who: &str, action: &str) -> bool {
        let Some((arn, key)) = self.key.filter(|(_, k)| k.state == KeyState::Enabled) else { return false };
        let mut ask = request(who, action, arn);
        ask.context =
            ask.context.with("kms:ViaService", &self.via_s3).with("kms:EncryptionContext:aws:s3:arn", &self.bucket_arn);
        allowed(&ask, Some(&key.policy))
    }

    fn direct(&self, who: &str) -> bool {
        let Some((arn, key)) = self.key.filter(|(_, k)| k.state == KeyState::Enabled) else { return false };
        allowed(&request(who, "kms:Decrypt", arn), Some(&key.policy))
    }

    fn grants(&self, who: &str) -> bool {
        let Some((arn, key)) = self.key else { return false };
        let mut ask = request(who, "kms:CreateGrant", arn);
        let grantee = install().role_arn(NAMESPACE, "etl");
        ask.context =
            ask.context.with("kms:GranteePrincipal", grantee).with_all("kms:GrantOperations", &["Decrypt", "Encrypt"]);
        allowed(&ask, Some(&key.policy))
    }
}

/// Everything that anybody can do with the bucket and with any key but the stranger's.
pub fn access(aws: &Aws, desired: &Desired) -> Access {
    let all = aws.keys.iter().map(Some).chain([None]);
    all.flat_map(|key| through(aws, desired, key)).collect()
}

fn through(aws: &Aws, desired: &Desired, key: Option<(&String, &Key)>) -> Access {
    let judge = Judge {
        bucket_arn: desired.names.bucket_arn(),
        bucket: aws.bucket.as_ref(),
        key,
        via_s3: desired.names.place.via_s3(),
    };
    let named = aws.bucket.as_ref().and_then(|b| b.encryption.as_ref()).and_then(|e| e.key.as_ref());
    let by_default = key.is_some_and(|(arn, _)| named == Some(arn));
    let stored = key.is_some_and(|(arn, _)| aws.used.contains(arn));
    let plain = key.is_none() && aws.bucket.is_some() && named.is_none();
    let ours = key.is_some_and(|(arn, _)| *arn != strangers_key());
    let mut all = Access::new();
    for (name, who) in everybody() {
        let mut note = |what: &str, can: bool| {
            if can {
                all.insert(format!("{name} {what}"));
            }
        };
        let via = |action: &str, stored: bool, kms: &str| {
            judge.s3(&who, action, "/in/x") && (plain || stored && judge.kms(&who, kms))
        };
        note("reads", via("s3:GetObject", stored, "kms:Decrypt"));
        note("writes", via("s3:PutObject", by_default, "kms:GenerateDataKey"));
        note("lists", judge.s3(&who, "s3:ListBucket", ""));
        note("deletes", judge.s3(&who, "s3:DeleteObject", "/in/x"));
        note("configures", judge.s3(&who, "s3:PutBucketPolicy", ""));
        note("decrypts directly", ours && judge.direct(&who));
        note("grants more than reading", ours && judge.grants(&who));
    }
    if let Some(bucket) = &aws.bucket {
        let off = PublicAccessBlock {
            block_public_acls: false,
            ignore_public_acls: false,
            block_public_policy: false,
            restrict_public_buckets: false,
        };
        let block = bucket.block.unwrap_or(off);
        let mut note = |what: &str, open: bool| {
            if open {
                all.insert(what.to_owned());
            }
        };
        note("public ACLs count", !block.ignore_public_acls || !block.block_public_acls);
        note("public policies count", !block.restrict_public_buckets || !block.block_public_policy);
        note("ACLs count", bucket.ownership.as_deref() != Some("BucketOwnerEnforced"));
    }
    all
}
