//! The one table of AWS calls. An operation that is not in it cannot be called; the operator's IAM policy is generated from it.

/// AWS service of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// S3, control plane only.
    S3,
    /// Key Management Service.
    Kms,
    /// Identity and Access Management.
    Iam,
    /// Security Token Service.
    Sts,
}

impl Service {
    /// Prefix of IAM actions, and label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Kms => "kms",
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }
}

/// What a call acts on: decides resource and conditions of its statement in the operator's IAM policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A bucket whose name begins with the installation's prefix.
    Bucket,
    /// Any key with our cluster's tag.
    OwnKey,
    /// A key that is being made or tagged with our cluster's tag.
    NewKey,
    /// Any key of the account: reads that tell whose a key is.
    AnyKey,
    /// An alias under ours, and the key that it names.
    Alias,
    /// CreateGrant, with its own conditions.
    IssueGrant,
    /// No resource to name.
    Account,
    /// A role under our path, read or deleted.
    Role,
    /// A role under our path, when what it may do changes: the boundary is forced.
    BoundedRole,
    /// Any managed policy, read.
    AnyPolicy,
    /// Needs no permission.
    Free,
}

macro_rules! calls {
    ($($name:ident: $service:ident $scope:ident $write:literal [$($action:literal),*];)*) => {
        /// An AWS API operation that the operator uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each variant is the API operation of that name")]
        pub enum Call { $($name),* }

        impl Call {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Name of the operation, as in CloudTrail.
            pub fn operation(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Service.
            pub fn service(self) -> Service {
                match self { $(Self::$name => Service::$service),* }
            }

            /// What it acts on.
            pub fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope),* }
            }

            /// True if it changes something.
            pub fn is_write(self) -> bool {
                match self { $(Self::$name => $write),* }
            }

            /// IAM actions that it needs; names differ from the operations for S3 (Service Authorization Reference, Amazon S3).
            pub fn actions(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($action),*]),* }
            }
        }
    };
}

calls! {
    CreateBucket: S3 Bucket true ["s3:CreateBucket", "s3:TagResource", "s3:PutBucketOwnershipControls"];
    HeadBucket: S3 Bucket false ["s3:ListBucket"];
    GetBucketTagging: S3 Bucket false ["s3:GetBucketTagging"];
    PutBucketTagging: S3 Bucket true ["s3:PutBucketTagging"];
    GetPublicAccessBlock: S3 Bucket false ["s3:GetBucketPublicAccessBlock"];
    PutPublicAccessBlock: S3 Bucket true ["s3:PutBucketPublicAccessBlock"];
    GetBucketOwnershipControls: S3 Bucket false ["s3:GetBucketOwnershipControls"];
    PutBucketOwnershipControls: S3 Bucket true ["s3:PutBucketOwnershipControls"];
    GetBucketEncryption: S3 Bucket false ["s3:GetEncryptionConfiguration"];
    PutBucketEncryption: S3 Bucket true ["s3:PutEncryptionConfiguration"];
    GetBucketVersioning: S3 Bucket false ["s3:GetBucketVersioning"];
    PutBucketVersioning: S3 Bucket true ["s3:PutBucketVersioning"];
    GetBucketLifecycleConfiguration: S3 Bucket false ["s3:GetLifecycleConfiguration"];
    PutBucketLifecycleConfiguration: S3 Bucket true ["s3:PutLifecycleConfiguration"];
    GetBucketPolicy: S3 Bucket false ["s3:GetBucketPolicy"];
    PutBucketPolicy: S3 Bucket true ["s3:PutBucketPolicy"];

    CreateKey: Kms NewKey true ["kms:CreateKey", "kms:TagResource"];
    TagResource: Kms NewKey true ["kms:TagResource"];
    UntagResource: Kms OwnKey true ["kms:UntagResource"];
    DescribeKey: Kms AnyKey false ["kms:DescribeKey"];
    ListResourceTags: Kms AnyKey false ["kms:ListResourceTags"];
    ListKeys: Kms Account false ["kms:ListKeys"];
    ListAliases: Kms Account false ["kms:ListAliases"];
    GetKeyPolicy: Kms OwnKey false ["kms:GetKeyPolicy"];
    PutKeyPolicy: Kms OwnKey true ["kms:PutKeyPolicy"];
    GetKeyRotationStatus: Kms OwnKey false ["kms:GetKeyRotationStatus"];
    EnableKeyRotation: Kms OwnKey true ["kms:EnableKeyRotation"];
    CreateAlias: Kms Alias true ["kms:CreateAlias"];
    UpdateAlias: Kms Alias true ["kms:UpdateAlias"];
    DisableKey: Kms OwnKey true ["kms:DisableKey"];
    EnableKey: Kms OwnKey true ["kms:EnableKey"];
    CancelKeyDeletion: Kms OwnKey true ["kms:CancelKeyDeletion"];
    CreateGrant: Kms IssueGrant true ["kms:CreateGrant"];
    ListGrants: Kms OwnKey false ["kms:ListGrants"];
    RevokeGrant: Kms OwnKey true ["kms:RevokeGrant"];

    CreateRole: Iam BoundedRole true ["iam:CreateRole", "iam:TagRole"];
    GetRole: Iam Role false ["iam:GetRole"];
    ListRoles: Iam Account false ["iam:ListRoles"];
    TagRole: Iam Role true ["iam:TagRole"];
    UpdateAssumeRolePolicy: Iam BoundedRole true ["iam:UpdateAssumeRolePolicy"];
    PutRolePermissionsBoundary: Iam BoundedRole true ["iam:PutRolePermissionsBoundary"];
    ListRolePolicies: Iam Role false ["iam:ListRolePolicies"];
    GetRolePolicy: Iam Role false ["iam:GetRolePolicy"];
    PutRolePolicy: Iam BoundedRole true ["iam:PutRolePolicy"];
    DeleteRolePolicy: Iam Role true ["iam:DeleteRolePolicy"];
    ListAttachedRolePolicies: Iam Role false ["iam:ListAttachedRolePolicies"];
    DetachRolePolicy: Iam Role true ["iam:DetachRolePolicy"];
    DeleteRole: Iam Role true ["iam:DeleteRole"];
    GetPolicy: Iam AnyPolicy false ["iam:GetPolicy"];
    GetPolicyVersion: Iam AnyPolicy false ["iam:GetPolicyVersion"];

    GetCallerIdentity: Sts Free false [];
}

impl Call {
    /// The action that a refusal most likely speaks of.
    pub fn action(self) -> String {
        self.actions()
            .first()
            .map_or_else(|| format!("{}:{}", self.service().name(), self.operation()), |a| (*a).to_owned())
    }
}
