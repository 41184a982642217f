//! A world: the setting's people and programs, what they ask, and the documents as the operator's builders make them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use securebucket::aws::policies::{boundary, operator};
use securebucket::bucket::policies::{DutyRoles, GRANT_OPERATIONS, bucket_policy, key_policy};
use securebucket::domain::installation::Installation;
use securebucket::domain::policy::{Document, Statement};
use securebucket::role::document::{BucketRef, build};

use crate::evaluator::{Context, KmsGrant, Outcome, Policies, Request, Verdict, evaluate};
pub use crate::setting::*;

/// A document that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    KeyA,
    KeyB,
    BucketA,
    BucketB,
    /// Inline policy of W.
    Role,
    /// Inline policy of the role with another duty.
    OtherRole,
    Operator,
    Boundary,
    /// Not ours.
    OtherKey,
    OtherBucket,
}

/// Documents that the operator writes or prints.
pub const OURS: [Which; 8] = [
    Which::KeyA,
    Which::KeyB,
    Which::BucketA,
    Which::BucketB,
    Which::Role,
    Which::OtherRole,
    Which::Operator,
    Which::Boundary,
];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The workload W, as its pods are.
    W,
    /// W after an IAM administrator attached `s3:*` to its role.
    WithS3,
    /// W after an IAM administrator attached `*:*`.
    WithAll,
    /// Somebody who assumes W's role after editing its trust policy: no web identity of this cluster.
    EditedTrust,
    /// The same through another OIDC provider.
    OtherProvider,
    /// W's role deleted and made anew by an IAM administrator, with `*:*` and no boundary.
    Recreated,
    /// The same with the other workload's role.
    OtherRecreated,
    /// A workload with another duty.
    Other,
    /// The same with `s3:*` attached.
    OtherWithS3,
    /// A role with `*:*`, made under our path by an IAM administrator.
    Planted,
    /// A role with `*:*` outside the path.
    Admin,
    Operator,
    /// The operator after somebody attached `*:*`.
    OperatorAttached,
    /// The operator after somebody replaced its policy by `*:*`.
    OperatorReplaced,
    BreakGlass,
    Root,
    /// An AWS service by itself: access logs.
    Service,
}

/// One request of a question.
#[derive(Clone, Debug)]
pub struct Ask {
    pub who: Who,
    pub request: Request,
}

impl Ask {
    /// The same with another context.
    pub fn but(mut self, change: impl FnOnce(Context) -> Context) -> Self {
        self.request.context = change(self.request.context);
        self
    }
}

/// Requests that AWS makes of one thing that somebody does: all must be allowed.
pub type Question = Vec<Ask>;

/// The same question with another context in each request.
pub fn but(question: Question, change: impl Fn(Context) -> Context) -> Question {
    question.into_iter().map(|ask| ask.but(&change)).collect()
}

#[derive(Clone, Debug)]
pub struct World {
    pub case: Case,
    pub install: Installation,
    pub a: BucketRef,
    pub b: BucketRef,
    pub documents: BTreeMap<Which, Document>,
    /// Grants on B's key, for W: they live for ever, because the operator is dead.
    pub grants: Vec<KmsGrant>,
    everything: Document,
    s3: Document,
}

impl World {
    pub fn new(case: Case) -> Self {
        let (install, a, b) = (installation(case.pin), bucket_a(), bucket_b());
        let duties_a = DutyRoles { producers: vec![w_arn()], processors: case.processors_a.clone() };
        let allow_all = |sid: &str, action: &str| Statement::allow(sid).actions([action]).resources(["*"]);
        let other_key = allow_all("Default", "kms:*").principal("AWS", &install.place.root());
        let other_bucket = allow_all("Open", "s3:*").anyone();
        let one = |statement: Statement| Document::new(vec![statement]);
        let place = install.place.clone();
        let documents = [
            (Which::KeyA, Document::new(key_policy(&install, &place, &a.bucket_arn, &duties_a))),
            (Which::KeyB, Document::new(key_policy(&install, &place, &b.bucket_arn, &case.duties_b))),
            (Which::BucketA, Document::new(bucket_policy(&install, &a.bucket_arn, &a.key_arn, &duties_a))),
            (Which::BucketB, Document::new(bucket_policy(&install, &b.bucket_arn, &b.key_arn, &case.duties_b))),
            (Which::Role, Document::new(build(&case.w).statements)),
            (Which::OtherRole, Document::new(build(&case.other).statements)),
            (Which::Operator, operator(&install)),
            (Which::Boundary, boundary(&install)),
            (Which::OtherKey, one(other_key)),
            (Which::OtherBucket, one(other_bucket)),
        ];
        let operations: BTreeSet<String> = GRANT_OPERATIONS.iter().map(|o| (*o).to_owned()).collect();
        let grants = vec![KmsGrant { grantee: w_arn(), operations }];
        let everything = one(allow_all("AttachedAll", "*"));
        let s3 = one(allow_all("AttachedS3", "s3:*"));
        Self { install, a, b, documents: documents.into(), grants, everything, s3, case }
    }

    pub fn arn(&self, who: Who) -> String {
        let role = |path: &str, name: &str| self.install.place.role(path, name);
        match who {
            Who::W | Who::WithS3 | Who::WithAll | Who::EditedTrust | Who::OtherProvider | Who::Recreated => w_arn(),
            Who::Other | Who::OtherWithS3 | Who::OtherRecreated => other_arn(),
            Who::Planted => role(&self.install.role_path(), "planted"),
            Who::Admin => role("/", "Admin"),
            Who::Operator | Who::OperatorAttached | Who::OperatorReplaced => self.install.operator_role.clone(),
            Who::BreakGlass => role("/", "BreakGlass"),
            Who::Root => self.install.place.root(),
            Who::Service => "logging.s3.amazonaws.com".into(),
        }
    }

    fn identity(&self, who: Who) -> Vec<&Document> {
        let of = |which| &self.documents[&which];
        match who {
            Who::W | Who::EditedTrust | Who::OtherProvider => vec![of(Which::Role)],
            Who::WithS3 => vec![of(Which::Role), &self.s3],
            Who::WithAll => vec![of(Which::Role), &self.everything],
            Who::Other => vec![of(Which::OtherRole)],
            Who::OtherWithS3 => vec![of(Which::OtherRole), &self.s3],
            Who::Operator => vec![of(Which::Operator)],
            Who::OperatorAttached => vec![of(Which::Operator), &self.everything],
            Who::Service => Vec::new(),
            _ => vec![&self.everything],
        }
    }

    fn has_boundary(who: Who) -> bool {
        use Who::{EditedTrust, Other, OtherProvider, OtherWithS3, W, WithAll, WithS3};
        matches!(who, W | WithS3 | WithAll | EditedTrust | OtherProvider | Other | OtherWithS3)
    }

    fn provider(&self, who: Who) -> Option<String> {
        match who {
            Who::EditedTrust | Who::Recreated | Who::OtherRecreated | Who::Planted => None,
            Who::Admin | Who::BreakGlass | Who::Root | Who::Service => None,
            Who::OtherProvider => Some(self.install.place.oidc_provider("https://token.example.com")),
            _ => Some(self.install.oidc_provider()),
        }
    }

    /// A request with the condition keys that every request has.
    pub fn ask(&self, who: Who, action: &str, resource: &str, at: Timestamp) -> Ask {
        let principal = self.arn(who);
        let mut context = Context::default()
            .with("aws:PrincipalArn", &principal)
            .with("aws:CurrentTime", at)
            .with("aws:SecureTransport", true)
            .with("aws:PrincipalIsAWSService", who == Who::Service);
        if let Some(provider) = self.provider(who) {
            context = context.with("aws:FederatedProvider", provider);
        }
        if action.starts_with("s3:") {
            context = context.with("s3:TlsVersion", "1.3").with("s3:authType", "REST-HEADER");
        }
        let account = if resource.starts_with(OTHER_BUCKET) { OTHER_ACCOUNT } else { ACCOUNT };
        if action != "s3:CreateBucket" {
            context = context.with("aws:ResourceAccount", account);
        }
        if resource == self.a.key_arn || resource == self.b.key_arn {
            context = context.with("aws:ResourceTag/securebucket.io/cluster", "c1");
        }
        let resource_account = account.into();
        Ask {
            who,
            request: Request { principal, action: action.into(), resource: resource.into(), resource_account, context },
        }
    }

    /// S3 asks KMS as the caller, with the bucket as context if the object has a bucket key, else with the object.
    pub fn kms_by_s3(&self, who: Who, action: &str, bucket: &BucketRef, key: &str, at: Timestamp) -> Question {
        let contexts = [bucket.bucket_arn.clone(), format!("{}/{key}", bucket.bucket_arn)];
        let ask = |context: &String| {
            self.ask(who, action, &bucket.key_arn, at)
                .but(|c| c.with("kms:ViaService", VIA_S3).with("kms:EncryptionContext:aws:s3:arn", context))
        };
        contexts.iter().map(ask).collect()
    }

    /// An S3 request on an object that asks KMS for nothing.
    pub fn object(&self, who: Who, action: &str, bucket: &BucketRef, key: &str, at: Timestamp) -> Question {
        vec![self.ask(who, action, &format!("{}/{key}", bucket.bucket_arn), at)]
    }

    /// Reads an object.
    pub fn get(&self, who: Who, bucket: &BucketRef, key: &str, at: Timestamp) -> Question {
        let mut question = self.object(who, "s3:GetObject", bucket, key, at);
        question.extend(self.kms_by_s3(who, "kms:Decrypt", bucket, key, at));
        question
    }

    /// Writes an object without headers: the bucket's default encryption applies.
    pub fn put(&self, who: Who, bucket: &BucketRef, key: &str, at: Timestamp) -> Question {
        let mut question = self.object(who, "s3:PutObject", bucket, key, at);
        question.extend(self.kms_by_s3(who, "kms:GenerateDataKey", bucket, key, at));
        question
    }

    /// Lists names under a prefix.
    pub fn list(&self, who: Who, bucket: &BucketRef, prefix: &str, at: Timestamp) -> Question {
        vec![self.ask(who, "s3:ListBucket", &bucket.bucket_arn, at).but(|c| c.with("s3:prefix", prefix))]
    }

    /// Judges a question: allowed if each request is; else denied, by every Deny that any of them meets.
    pub fn judge(&self, question: &Question) -> Verdict {
        let outcome = self.outcome(question);
        let verdicts = question.iter().map(|ask| self.judge_one(ask)).filter(|v| v.outcome == outcome);
        Verdict { outcome, by: verdicts.flat_map(|v| v.by).map(|sid| self.label(&sid)).collect() }
    }

    /// What comes of a question, whatever decided.
    pub fn outcome(&self, question: &Question) -> Outcome {
        let outcomes: Vec<Outcome> = question.iter().map(|ask| self.judge_one(ask).outcome).collect();
        let refused = [Outcome::Denied, Outcome::Undocumented].into_iter().find(|o| outcomes.contains(o));
        refused.unwrap_or(Outcome::Allowed)
    }

    /// Bucket policy or key policy that a request meets.
    fn resource_policy(&self, ask: &Ask) -> Option<Which> {
        let resource = &ask.request.resource;
        let of =
            |bucket: &str| resource.strip_prefix(bucket).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if of(&self.a.bucket_arn) {
            Some(Which::BucketA)
        } else if of(&self.b.bucket_arn) {
            Some(Which::BucketB)
        } else if of(OTHER_BUCKET) {
            Some(Which::OtherBucket)
        } else {
            [(self.a.key_arn.as_str(), Which::KeyA), (&self.b.key_arn, Which::KeyB), (OTHER_KEY, Which::OtherKey)]
                .into_iter()
                .find_map(|(arn, which)| (arn == resource).then_some(which))
        }
    }

    /// Documents that have a say in a question.
    pub fn consulted(&self, question: &Question) -> BTreeSet<Which> {
        let of = |ask: &Ask| -> Vec<Which> {
            let identity = self.identity(ask.who);
            let has = |which: &Which| identity.iter().any(|d| std::ptr::eq(*d, &self.documents[which]));
            let boundary = Self::has_boundary(ask.who).then_some(Which::Boundary);
            OURS.into_iter().filter(has).chain(boundary).chain(self.resource_policy(ask)).collect()
        };
        question.iter().flat_map(of).collect()
    }

    fn judge_one(&self, ask: &Ask) -> Verdict {
        let which = self.resource_policy(ask);
        let policies = Policies {
            identity: self.identity(ask.who),
            boundary: Self::has_boundary(ask.who).then(|| &self.documents[&Which::Boundary]),
            resource: which.map(|w| &self.documents[&w]),
            grants: if which == Some(Which::KeyB) { self.grants.iter().collect() } else { Vec::new() },
        };
        evaluate(&ask.request, &policies)
    }

    /// A Sid in the words of the table: `ReadB1` for the window of G1 on B.
    pub fn label(&self, sid: &str) -> String {
        let mut label = sid.replace(&self.a.identity, "A").replace(&self.b.identity, "B");
        for (end, name) in [(self.case.t1, "1"), (self.case.t2, "2")] {
            label = label.replace(&format!("t{:x}", end.as_second()), name);
        }
        label
    }
}
