//! The plan for the bucket and its facets.

use super::{Draft, KeyForBucket};
use crate::aws::error::{AwsErrorKind, Seen};
use crate::bucket::action::{Action, Facet};
use crate::bucket::lockdown::closed;
use crate::bucket::observed::{Encryption, ObservedBucket, PublicAccessBlock};
use crate::domain::drift::{merge_passing, stages};
use crate::domain::policy::{Document, Statement};
use crate::domain::tags::{self, Owner, Tags};

impl Draft<'_> {
    pub(super) fn bucket(&mut self, seen: &Seen<ObservedBucket>, key: &KeyForBucket) {
        let name = &self.desired.names.bucket;
        let bound = self.situation.bound;
        let bucket = match seen {
            Seen::Value(bucket) => bucket,
            Seen::Unreadable(e) if !bound && e.kind == AwsErrorKind::NameTaken => {
                self.plan.block(
                    "BucketNameTaken",
                    format!(
                        "spec.bucketName: {name}: {}; use that region, if the bucket is yours, or another bucketName",
                        e.message
                    ),
                );
                return;
            }
            // S3 answers 403 for a bucket of another account, and for one that is not there if s3:ListBucket is missing.
            Seen::Unreadable(e) if !bound && e.kind == AwsErrorKind::AccessDenied => {
                self.plan.block("BucketNameTaken", format!("spec.bucketName: AWS refuses s3:ListBucket on {name}: it belongs to another account, or its policy refuses us, or the operator's policy lacks statement Buckets of `securebucket policy operator`. Choose another bucketName, or repair the policy"));
                return;
            }
            Seen::Unreadable(e) => {
                self.plan.unreadable.push((Facet::Bucket, e.clone()));
                return;
            }
            Seen::Absent if bound && !self.situation.obey => {
                self.plan.block("BucketGone", format!("bucket {name} was deleted outside the operator. To make an empty one under the name, annotate this object with securebucket.io/reconcile-at"));
                return;
            }
            Seen::Absent => {
                let ready = matches!(key, KeyForBucket::Ready(_) | KeyForBucket::Planned);
                if ready && self.plan.clear() && !self.situation.releasing {
                    self.create_bucket(key);
                }
                return;
            }
        };
        let none = Tags::new();
        let seen_tags = self.plan.read(Facet::BucketTags, &bucket.tags).map(|t| t.unwrap_or(&none));
        let owner = seen_tags.map(|t| self.owner(t));
        if !self.bucket_is_ours(bucket, owner.as_ref()) {
            self.lock(bucket, self.situation.bound);
            return;
        }
        self.plan.owns_bucket = true;
        self.exposure(bucket);
        self.bucket_policy(bucket, owner.as_ref(), key);
        self.lock(bucket, true);
        // What may belong to somebody else by now is only narrowed.
        if let (Some(seen), Some(owner)) = (seen_tags, owner) {
            self.encryption(bucket, key);
            self.settings(bucket);
            self.bucket_tags(seen, &owner);
        }
    }

    /// False if the bucket must not be touched. Without readable tags only a bound bucket is taken for ours.
    fn bucket_is_ours(&mut self, bucket: &ObservedBucket, owner: Option<&Owner>) -> bool {
        let names = &self.desired.names;
        let (name, region) = (&names.bucket, &names.place.region);
        let bound = self.situation.bound;
        let message = match owner {
            _ if bucket.region != *region => format!(
                "spec.region: bucket {name} exists in {}, not in {region}; use that region or another bucketName",
                bucket.region
            ),
            Some(Owner::Another(who)) => {
                format!("spec.bucketName: {name} belongs to {who}; choose another bucketName")
            }
            Some(Owner::Unmarked) if !bound => format!(
                "spec.bucketName: {name} exists in this account without our mark and is not taken over; choose another bucketName"
            ),
            None => return bound,
            Some(Owner::Ours | Owner::Returning | Owner::Unmarked) => return true,
        };
        self.plan.block("BucketNameTaken", message);
        false
    }

    /// The policy comes before the encryption: nothing is stored under the key until the Denies are there.
    fn create_bucket(&mut self, key: &KeyForBucket) {
        let desired = self.desired;
        let policy = key.arn().map(|arn| Document::new(self.declared_bucket_policy(arn)).certified());
        self.create.push(Action::CreateBucket { tags: desired.tags.clone() });
        self.configure.extend([
            Action::BlockPublicAccess,
            Action::PutBucketPolicy { policy },
            Action::PutEncryption { rule: self.encryption_rule(key) },
        ]);
        if desired.versioning == "Enabled" {
            self.configure.push(Action::PutVersioning { status: "Enabled" });
        }
        self.configure.push(Action::PutLifecycle { rules: desired.lifecycle.clone() });
    }

    fn declared_bucket_policy(&self, key_arn: &str) -> Vec<Statement> {
        self.desired.bucket_policy(self.install, key_arn)
    }

    /// The Denies of a lockdown go to a bucket that is ours, or that status names, even if nothing else can be done for it: they only take away.
    fn lock(&mut self, bucket: &ObservedBucket, may: bool) {
        let written = self.restrict.iter().any(|a| matches!(a, Action::PutBucketPolicy { .. }));
        let elsewhere = bucket.region != self.desired.names.place.region;
        if written || elsewhere || !may || bucket.policy.failure().is_some() {
            return;
        }
        let policy = closed(bucket.policy.value(), &self.desired.lockdown(self.install));
        self.restrict.extend(policy.map(|policy| Action::PutBucketPolicy { policy: Some(policy) }));
    }

    fn encryption_rule(&self, key: &KeyForBucket) -> Encryption {
        Encryption {
            algorithm: "aws:kms".into(),
            key: key.arn().cloned(),
            bucket_key: self.desired.bucket_key,
            sse_c_blocked: true,
        }
    }

    fn exposure(&mut self, bucket: &ObservedBucket) {
        if let Some(seen) = self.plan.read(Facet::PublicAccessBlock, &bucket.public_access_block)
            && seen != Some(&PublicAccessBlock::ALL)
        {
            self.drifted(Facet::PublicAccessBlock, "not all four switches are on");
            self.restrict.push(Action::BlockPublicAccess);
        }
        if let Some(seen) = self.plan.read(Facet::Ownership, &bucket.ownership)
            && seen.map(String::as_str) != Some("BucketOwnerEnforced")
        {
            self.drifted(Facet::Ownership, "ACLs are in force");
            self.restrict.push(Action::EnforceOwnership);
        }
    }

    /// Policy and encryption name the key. While one is only planned they wait for the next round, when it can be named.
    fn bucket_policy(&mut self, bucket: &ObservedBucket, owner: Option<&Owner>, key: &KeyForBucket) {
        let (Some(seen), Some(arn)) = (self.plan.read(Facet::BucketPolicy, &bucket.policy), key.arn()) else {
            return;
        };
        let lasting = self.desired.open_bucket_policy(self.install, arn);
        let merged = merge_passing(&lasting, &self.desired.lockdown(self.install), seen, self.situation.obey);
        self.note_policy(Facet::BucketPolicy, &merged);
        if seen.is_none() {
            self.drifted(Facet::BucketPolicy, "there is no bucket policy");
        }
        let put = |policy| Action::PutBucketPolicy { policy: Some(policy) };
        let staged = merged.write.map(|target| stages(seen, &target.statements.clone(), target)).unwrap_or_default();
        self.restrict.extend(staged.first.map(put));
        self.last(staged.last.map(put), owner);
    }

    fn encryption(&mut self, bucket: &ObservedBucket, key: &KeyForBucket) {
        let (Some(seen), Some(_)) = (self.plan.read(Facet::Encryption, &bucket.encryption), key.arn()) else {
            return;
        };
        let rule = self.encryption_rule(key);
        if seen == Some(&rule) {
            return;
        }
        if seen.is_some_and(|s| Encryption { bucket_key: rule.bucket_key, ..s.clone() } == rule) {
            self.drifted_from_spec(Facet::Encryption, "default encryption differs");
        } else {
            self.drifted(Facet::Encryption, "default encryption differs");
        }
        self.configure.push(Action::PutEncryption { rule });
    }

    fn settings(&mut self, bucket: &ObservedBucket) {
        let desired = self.desired;
        if let Some(seen) = self.plan.read(Facet::Versioning, &bucket.versioning) {
            let seen = seen.map_or("Suspended", String::as_str);
            if seen != desired.versioning {
                self.drifted_from_spec(Facet::Versioning, format!("versioning is {seen}"));
                self.configure.push(Action::PutVersioning { status: desired.versioning });
            }
        }
        if let Some(seen) = self.plan.read(Facet::Lifecycle, &bucket.lifecycle) {
            let mut seen = seen.cloned().unwrap_or_default();
            seen.sort();
            if seen != desired.lifecycle {
                let names = seen.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(", ");
                self.drifted(Facet::Lifecycle, format!("rules are [{names}]"));
                self.configure.push(Action::PutLifecycle { rules: desired.lifecycle.clone() });
            }
        }
    }

    fn bucket_tags(&mut self, seen: &Tags, owner: &Owner) {
        let desired = self.desired;
        if *owner == Owner::Unmarked && !self.situation.obey {
            self.plan.restrict(
                Facet::BucketTags,
                "the owner marks are gone from the bucket; annotate securebucket.io/reconcile-at to put them back",
            );
            return;
        }
        if !tags::satisfied(seen, &desired.tags, &desired.tags_before) {
            if *owner != Owner::Returning {
                self.drifted_from_spec(Facet::BucketTags, "tags differ");
            }
            let tags = tags::merged(seen, &desired.tags, &desired.tags_before);
            self.configure.push(Action::PutBucketTags { tags });
        }
    }
}
