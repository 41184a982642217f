//! The evaluator itself, against what the IAM User Guide and the KMS Developer Guide say, case by case.

use securebucket::domain::policy::{Document, Statement};

use crate::evaluator::{Context, KmsGrant, Outcome, Policies, Request, evaluate, glob};
use crate::world::{ACCOUNT, OTHER_ACCOUNT};

const ROLE: &str = "arn:aws:iam::111122223333:role/securebucket/c1/w";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/k";
const OBJECT: &str = "arn:aws:s3:::b/x";

fn request(action: &str, resource: &str) -> Request {
    Request {
        principal: ROLE.into(),
        action: action.into(),
        resource: resource.into(),
        resource_account: ACCOUNT.into(),
        context: Context::default(),
    }
}

fn everything() -> Statement {
    Statement::allow("All").actions(["*"]).resources(["*"])
}

fn one(statement: Statement) -> Document {
    Document::new(vec![statement])
}

/// True if a statement with this condition matches a request with this context.
fn holds(operator: &str, key: &str, values: &[&str], context: Context) -> bool {
    let document = one(everything().when(operator, key, values.iter().copied()));
    let policies = Policies { identity: vec![&document], ..Policies::default() };
    evaluate(&Request { context, ..request("s3:GetObject", OBJECT) }, &policies).outcome == Outcome::Allowed
}

#[test]
fn a_missing_key() {
    let none = Context::default;
    for operator in
        ["StringEquals", "StringLike", "ArnLike", "Bool", "DateLessThan", "NumericLessThan", "ForAnyValue:StringEquals"]
    {
        assert!(!holds(operator, "k", &["1"], none()), "{operator} is false");
    }
    for operator in
        ["StringNotEquals", "StringNotLike", "ArnNotEquals", "ArnNotLike", "BoolIfExists", "StringEqualsIfExists"]
    {
        assert!(holds(operator, "k", &["1"], none()), "{operator} is true");
    }
    assert!(holds("ForAllValues:StringEquals", "k", &["1"], none()), "nothing contradicts it");
    assert!(!holds("ForAnyValue:StringNotEquals", "k", &["1"], none()), "nothing supports it");
    assert!(holds("Null", "k", &["true"], none()) && !holds("Null", "k", &["false"], none()));
}

#[test]
fn keys_with_values() {
    let one = |value: &str| Context::default().with("Some:Key", value);
    assert!(holds("StringEquals", "some:key", &["a", "b"], one("b")), "keys know no case; one value suffices");
    assert!(!holds("StringEquals", "some:key", &["a"], one("A")), "values know case");
    assert!(!holds("StringNotEquals", "some:key", &["a", "b"], one("b")), "none of them may be equal");
    assert!(
        holds("StringLike", "some:key", &["in/*"], one("in/x"))
            && !holds("StringEquals", "some:key", &["in/*"], one("in/x"))
    );
    assert!(
        holds("Bool", "some:key", &["false"], one("false"))
            && !holds("BoolIfExists", "some:key", &["false"], one("true"))
    );
    assert!(
        holds("NumericLessThan", "some:key", &["1.2"], one("1.1"))
            && !holds("NumericLessThan", "some:key", &["1.2"], one("1.2"))
    );
    assert!(holds("Null", "some:key", &["false"], one("x")) && !holds("Null", "some:key", &["true"], one("x")));
}

#[test]
fn several_values() {
    let both = || Context::default().with_all("k", &["Decrypt", "CreateGrant"]);
    let wanted = ["Decrypt", "DescribeKey"];
    assert!(!holds("ForAllValues:StringEquals", "k", &wanted, both()));
    assert!(holds("ForAnyValue:StringEquals", "k", &wanted, both()));
    assert!(holds("ForAnyValue:StringNotEquals", "k", &wanted, both()));
    let fine = Context::default().with_all("k", &["Decrypt", "DescribeKey"]);
    assert!(holds("ForAllValues:StringEquals", "k", &wanted, fine.clone()));
    assert!(!holds("ForAnyValue:StringNotEquals", "k", &wanted, fine));
}

#[test]
fn dates() {
    let at = |t: &str| Context::default().with("aws:CurrentTime", t);
    let (end, before) = ("2026-11-24T12:00:00Z", "2026-11-24T11:59:59Z");
    assert!(holds("DateLessThan", "aws:CurrentTime", &[end], at(before)));
    assert!(!holds("DateLessThan", "aws:CurrentTime", &[end], at(end)));
    assert!(holds("DateGreaterThanEquals", "aws:CurrentTime", &[end], at(end)));
    assert!(
        !holds("DateGreaterThanEquals", "aws:CurrentTime", &[end], at("2026-11-24T12:59:59+01:00")),
        "another zone"
    );
}

#[test]
fn arns_are_compared_part_by_part() {
    let is = |pattern: &str| {
        holds("ArnLike", "aws:PrincipalArn", &[pattern], Context::default().with("aws:PrincipalArn", ROLE))
    };
    assert!(is("arn:aws:iam::111122223333:role/securebucket/c1/*"));
    assert!(is("arn:aws:iam::*:role/securebucket/*") && is("arn:*:iam::111122223333:*"));
    assert!(!is("arn:aws:iam::111122223333:role/securebucket/c10/*"));
    assert!(!is("arn:*:role/securebucket/c1/w"), "a wildcard stays within its part");
    assert!(
        holds("ArnEquals", "k", &["arn:aws:iam::1:role/*"], Context::default().with("k", "arn:aws:iam::1:role/x")),
        "ArnEquals is ArnLike"
    );
}

#[test]
fn actions_and_resources() {
    let gives = |statement: Statement, action: &str| {
        let document = one(statement);
        let policies = Policies { identity: vec![&document], ..Policies::default() };
        evaluate(&request(action, OBJECT), &policies).outcome == Outcome::Allowed
    };
    let on = |actions: &[&str]| Statement::allow("S").actions(actions.iter().copied()).resources(["*"]);
    assert!(gives(on(&["S3:getobject*"]), "s3:GetObjectVersion"), "actions know no case");
    assert!(!gives(on(&["s3:GetObject"]), "s3:GetObjectVersion") && gives(on(&["s3:?etObject"]), "s3:GetObject"));
    let but = Statement::allow("S").not_actions(["s3:Get*"]).resources(["arn:aws:s3:::b/*"]);
    assert!(gives(but.clone(), "s3:PutObject") && !gives(but, "s3:GetObject"));
    assert!(!gives(everything().resources(["arn:aws:s3:::B/*"]), "s3:GetObject"), "resources know case");
    assert!(
        glob("a*c", "abbc") && glob("*", "") && glob("a*b*c", "a-b-b-c") && !glob("a*c", "abcd") && !glob("a?", "a")
    );
}

#[test]
fn a_bucket_and_a_boundary() {
    let (all, get) = (one(everything()), one(Statement::allow("Get").actions(["s3:GetObject"]).resources(["*"])));
    let open = one(everything().anyone());
    let by_name = one(everything().principal("AWS", ROLE));
    let account = one(everything().principal("AWS", "arn:aws:iam::111122223333:root"));
    let shut = one(Statement::deny("No").anyone().actions(["s3:Put*"]).resources(["*"]));
    let mut put = request("s3:PutObject", OBJECT);
    let judge = |put: &Request, identity: &[&Document], boundary, resource| {
        let policies = Policies { identity: identity.to_vec(), boundary, resource, ..Policies::default() };
        evaluate(put, &policies).outcome == Outcome::Allowed
    };
    assert!(judge(&put, &[&all], None, None) && !judge(&put, &[], None, None));
    assert!(!judge(&put, &[&all], Some(&get), None), "the boundary limits IAM");
    assert!(judge(&put, &[], None, Some(&open)) && judge(&put, &[], None, Some(&by_name)), "a bucket policy is enough");
    assert!(!judge(&put, &[], None, Some(&account)), "it lets IAM decide");
    assert!(judge(&put, &[], Some(&get), Some(&open)) && !judge(&put, &[], Some(&get), Some(&by_name)));
    assert!(!judge(&put, &[&all], None, Some(&shut)), "a Deny wins");
    put.resource_account = OTHER_ACCOUNT.into();
    assert!(!judge(&put, &[&all], None, None) && !judge(&put, &[], None, Some(&open)), "both accounts must agree");
    assert!(judge(&put, &[&all], None, Some(&open)) && !judge(&put, &[&all], Some(&get), Some(&open)));
}

#[test]
fn root_gets_at_a_bucket_policy_and_at_nothing_else() {
    let all = one(everything());
    let shut = one(Statement::deny("No").anyone().actions(["*"]).resources(["*"]));
    let policies = Policies { identity: vec![&all], resource: Some(&shut), ..Policies::default() };
    for (action, outcome) in [("s3:PutBucketPolicy", Outcome::Allowed), ("s3:GetObject", Outcome::Denied)] {
        let root = Request { principal: "arn:aws:iam::111122223333:root".into(), ..request(action, "arn:aws:s3:::b") };
        assert_eq!(evaluate(&root, &policies).outcome, outcome, "{action}");
        assert_eq!(evaluate(&request(action, "arn:aws:s3:::b"), &policies).outcome, Outcome::Denied, "{action}");
    }
}

#[test]
fn a_key() {
    let (all, none) = (one(everything()), Document::default());
    let delegates = one(everything().principal("AWS", "arn:aws:iam::111122223333:root"));
    let stranger = one(everything().principal("AWS", "arn:aws:iam::111122223333:role/other"));
    let get = one(Statement::allow("Get").actions(["s3:GetObject"]).resources(["*"]));
    let grant = KmsGrant { grantee: ROLE.into(), operations: ["Decrypt".to_owned()].into() };
    let judge = |action: &str, identity: &Document, boundary, resource, grants| {
        let policies = Policies { identity: vec![identity], boundary, resource: Some(resource), grants };
        evaluate(&request(action, KEY), &policies).outcome
    };
    assert_eq!(judge("kms:Decrypt", &all, None, &stranger, vec![]), Outcome::Denied, "IAM alone opens no key");
    assert_eq!(judge("kms:Decrypt", &all, None, &delegates, vec![]), Outcome::Allowed);
    assert_eq!(judge("kms:Decrypt", &none, None, &delegates, vec![]), Outcome::Denied);
    assert_eq!(judge("kms:Decrypt", &all, Some(&get), &delegates, vec![]), Outcome::Denied);
    assert_eq!(judge("kms:Decrypt", &none, None, &stranger, vec![&grant]), Outcome::Allowed);
    assert_eq!(
        judge("kms:Encrypt", &none, None, &stranger, vec![&grant]),
        Outcome::Denied,
        "not one of its operations"
    );
    assert_eq!(judge("kms:Decrypt", &none, Some(&get), &stranger, vec![&grant]), Outcome::Undocumented);
    let shut = one(Statement::deny("No").anyone().actions(["kms:Decrypt"]).resources(["*"]));
    assert_eq!(judge("kms:Decrypt", &none, None, &shut, vec![&grant]), Outcome::Denied, "a Deny beats a grant");
    let other = KmsGrant { grantee: "arn:aws:iam::111122223333:role/other".into(), ..grant.clone() };
    assert_eq!(judge("kms:Decrypt", &none, None, &stranger, vec![&other]), Outcome::Denied);
}
