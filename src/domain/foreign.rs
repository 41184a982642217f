//! Access that somebody gave outside the operator. Data only.

/// Where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A KMS grant on the key.
    KmsGrant,
    /// An Allow in the key policy.
    KeyPolicy,
    /// An Allow in the bucket policy.
    BucketPolicy,
    /// An Allow in the one policy of a workload role.
    RolePolicy,
    /// An Allow in the trust policy of a workload role.
    TrustPolicy,
    /// A further inline policy of a workload role that allows something.
    InlinePolicy,
    /// A managed policy attached to a workload role that allows something.
    AttachedPolicy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::KmsGrant,
        Self::KeyPolicy,
        Self::BucketPolicy,
        Self::RolePolicy,
        Self::TrustPolicy,
        Self::InlinePolicy,
        Self::AttachedPolicy,
    ];

    /// Word for metrics and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::KmsGrant => "kms grant",
            Self::KeyPolicy => "key policy",
            Self::BucketPolicy => "bucket policy",
            Self::RolePolicy => "role policy",
            Self::TrustPolicy => "trust policy",
            Self::InlinePolicy => "inline policy",
            Self::AttachedPolicy => "attached policy",
        }
    }
}

/// One find.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// Where.
    pub kind: Kind,
    /// What tells it from others of its kind: id of a KMS grant, Sid, name of a policy.
    pub id: String,
    /// In words.
    pub words: String,
}

impl Foreign {
    /// An Allow in a policy document, by its Sid.
    pub fn allow(kind: Kind, sid: &str) -> Self {
        Self { kind, id: sid.to_owned(), words: format!("an Allow that is not ours in the {}: {sid}", kind.name()) }
    }

    /// A policy of a role, by name or ARN.
    pub fn policy(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            id: name.to_owned(),
            words: format!("{} {name}, which is not ours, allows something", kind.name()),
        }
    }
}
