//! The plan for the bucket and its facets.

use super::{KeyForBucket, Plan, Sections, Situation, drift_if, note_policy, owner_of};
use crate::aws::error::{AwsErrorKind, Seen};
use crate::bucket::action::{Action, Facet};
use crate::bucket::desired::Desired;
use crate::bucket::observed::{Encryption, Observed, ObservedBucket, PublicAccessBlock};
use crate::bucket::policies::bucket_policy;
use crate::domain::drift::merge;
use crate::domain::installation::Installation;
use crate::domain::policy::Document;
use crate::domain::tags::{self, Owner, Tags};

pub(super) fn plan_bucket(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    observed: &Observed,
    situation: &Situation,
    install: &Installation,
    key: &KeyForBucket,
) {
    let name = &desired.names.bucket;
    let bucket = match &observed.bucket {
        Seen::Value(bucket) => bucket,
        Seen::Unreadable(e)
            if !situation.bound && matches!(e.kind, AwsErrorKind::AccessDenied | AwsErrorKind::NameTaken) =>
        {
            plan.block("BucketNameTaken", format!("spec.bucketName: {name} exists and is not readable by the operator: it belongs to another account, or its policy refuses us. Choose another bucketName"));
            return;
        }
        Seen::Unreadable(e) => {
            plan.unreadable.push((Facet::Bucket, e.clone()));
            return;
        }
        Seen::Absent if situation.bound && !situation.obey => {
            plan.block("BucketGone", format!("bucket {name} was deleted outside the operator. To make an empty one under the name, annotate this object with securebucket.io/reconcile-at"));
            return;
        }
        Seen::Absent => {
            if !matches!(key, KeyForBucket::None) && !situation.releasing {
                create_bucket(sections, desired, install, key);
            }
            return;
        }
    };
    if bucket.region != desired.names.place.region {
        plan.block(
            "BucketNameTaken",
            format!(
                "spec.region: bucket {name} exists in {}, not in {}; use that region or another bucketName",
                bucket.region, desired.names.place.region
            ),
        );
        return;
    }
    let owner = plan.read(Facet::BucketTags, &bucket.tags);
    let owner = owner.map(|seen| owner_of(seen.unwrap_or(&Tags::new()), desired, install));
    match &owner {
        Some(Owner::Another(who)) => {
            plan.block(
                "BucketNameTaken",
                format!("spec.bucketName: {name} belongs to {who}; choose another bucketName"),
            );
            return;
        }
        Some(Owner::Unmarked) if !situation.bound => {
            plan.block("BucketNameTaken", format!("spec.bucketName: {name} exists in this account without our mark and is not taken over; choose another bucketName"));
            return;
        }
        None if !situation.bound => return,
        _ => {}
    }
    plan_bucket_facets(plan, sections, desired, bucket, situation, install, key);
    plan_bucket_tags(plan, sections, desired, bucket, owner.as_ref(), situation);
}

fn create_bucket(sections: &mut Sections, desired: &Desired, install: &Installation, key: &KeyForBucket) {
    let policy = match key {
        KeyForBucket::Arn(arn) => {
            let statements = bucket_policy(install, &desired.names.bucket_arn(), arn, &desired.duties);
            Some(Document::new(statements).certified())
        }
        _ => None,
    };
    sections.create.push(Action::CreateBucket { tags: desired.tags.clone() });
    sections.configure.extend([
        Action::BlockPublicAccess,
        Action::PutEncryption { rule: encryption_rule(desired, key) },
        Action::PutBucketPolicy { policy },
    ]);
    if desired.versioning == "Enabled" {
        sections.configure.push(Action::PutVersioning { status: "Enabled" });
    }
    sections.configure.push(Action::PutLifecycle { rules: desired.lifecycle.clone() });
}

fn encryption_rule(desired: &Desired, key: &KeyForBucket) -> Encryption {
    let key = match key {
        KeyForBucket::Arn(arn) => Some(arn.clone()),
        _ => None,
    };
    Encryption { algorithm: "aws:kms".into(), key, bucket_key: desired.bucket_key, sse_c_blocked: true }
}

fn plan_bucket_facets(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    bucket: &ObservedBucket,
    situation: &Situation,
    install: &Installation,
    key: &KeyForBucket,
) {
    if let Some(seen) = plan.read(Facet::PublicAccessBlock, &bucket.public_access_block)
        && seen != Some(&PublicAccessBlock::ALL)
    {
        drift_if(plan, situation.provisioned, Facet::PublicAccessBlock, "not all four switches are on");
        sections.restrict.push(Action::BlockPublicAccess);
    }
    if let Some(seen) = plan.read(Facet::Ownership, &bucket.ownership)
        && seen.map(String::as_str) != Some("BucketOwnerEnforced")
    {
        drift_if(plan, situation.provisioned, Facet::Ownership, "ACLs are in force");
        sections.restrict.push(Action::EnforceOwnership);
    }
    plan_key_dependent(plan, sections, desired, bucket, situation, install, key);
    if let Some(seen) = plan.read(Facet::Versioning, &bucket.versioning) {
        let seen = seen.map_or("Suspended", String::as_str);
        if seen != desired.versioning {
            drift_if(
                plan,
                situation.provisioned && !situation.spec_changed,
                Facet::Versioning,
                format!("versioning is {seen}"),
            );
            sections.configure.push(Action::PutVersioning { status: desired.versioning });
        }
    }
    if let Some(seen) = plan.read(Facet::Lifecycle, &bucket.lifecycle) {
        let mut seen = seen.cloned().unwrap_or_default();
        seen.sort();
        if seen != desired.lifecycle {
            let names = seen.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(", ");
            drift_if(plan, situation.provisioned, Facet::Lifecycle, format!("rules are [{names}]"));
            sections.configure.push(Action::PutLifecycle { rules: desired.lifecycle.clone() });
        }
    }
}

/// Policy and encryption name the key.
fn plan_key_dependent(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    bucket: &ObservedBucket,
    situation: &Situation,
    install: &Installation,
    key: &KeyForBucket,
) {
    let seen_policy = plan.read(Facet::BucketPolicy, &bucket.policy);
    let seen_encryption = plan.read(Facet::Encryption, &bucket.encryption);
    let KeyForBucket::Arn(arn) = key else {
        if matches!(key, KeyForBucket::Planned) {
            sections.configure.push(Action::PutEncryption { rule: encryption_rule(desired, key) });
            sections.configure.push(Action::PutBucketPolicy { policy: None });
        }
        return;
    };
    if let Some(seen) = seen_policy {
        let statements = bucket_policy(install, &desired.names.bucket_arn(), arn, &desired.duties);
        let merged = merge(&statements, seen, situation.obey);
        note_policy(plan, Facet::BucketPolicy, &merged);
        drift_if(plan, seen.is_none() && situation.provisioned, Facet::BucketPolicy, "there is no bucket policy");
        if let Some(policy) = merged.write {
            sections.restrict.push(Action::PutBucketPolicy { policy: Some(policy) });
        }
    }
    if let Some(seen) = seen_encryption {
        let rule = encryption_rule(desired, key);
        if seen != Some(&rule) {
            let only_bucket_key = seen.is_some_and(|s| Encryption { bucket_key: rule.bucket_key, ..s.clone() } == rule);
            let declared = only_bucket_key && situation.spec_changed;
            drift_if(plan, situation.provisioned && !declared, Facet::Encryption, "default encryption differs");
            sections.configure.push(Action::PutEncryption { rule });
        }
    }
}

fn plan_bucket_tags(
    plan: &mut Plan,
    sections: &mut Sections,
    desired: &Desired,
    bucket: &ObservedBucket,
    owner: Option<&Owner>,
    situation: &Situation,
) {
    if owner == Some(&Owner::Unmarked) && !situation.obey {
        plan.restrict(
            Facet::BucketTags,
            "the owner marks are gone from the bucket; annotate securebucket.io/reconcile-at to put them back",
        );
        return;
    }
    let (Some(owner), Some(seen)) =
        (owner, bucket.tags.value().cloned().or_else(|| bucket.tags.is_absent().then(Tags::new)))
    else {
        return;
    };
    if !tags::satisfied(&seen, &desired.tags, &desired.tags_before) {
        let declared = situation.spec_changed || *owner == Owner::Returning;
        drift_if(plan, situation.provisioned && !declared, Facet::BucketTags, "tags differ");
        let tags = tags::merged(&seen, &desired.tags, &desired.tags_before);
        sections.configure.push(Action::PutBucketTags { tags });
    }
}
