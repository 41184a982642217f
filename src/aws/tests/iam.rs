use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;
use crate::aws::error::AwsErrorKind as K;
use crate::aws::iam::Iam;

async fn given(answers: impl IntoIterator<Item = Answer>) -> (Wire, Iam) {
    let wire = Wire::new(answers).await;
    let iam = wire.aws.iam();
    (wire, iam)
}

fn result(operation: &str, body: &str) -> Answer {
    ok(&format!(
        "<{operation}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><{operation}Result>{body}</{operation}Result>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{operation}Response>"
    ))
}

fn encoded() -> String {
    utf8_percent_encode(&document().render(), NON_ALPHANUMERIC).to_string()
}

fn role_xml() -> String {
    format!(
        "<Role><Path>/securebucket/c/</Path><RoleName>r</RoleName><RoleId>AROAEXAMPLE</RoleId>\
         <Arn>arn:aws:iam::111122223333:role/securebucket/c/r</Arn><CreateDate>2026-01-02T03:04:05Z</CreateDate>\
         <AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument><PermissionsBoundary><PermissionsBoundaryType>Policy\
         </PermissionsBoundaryType><PermissionsBoundaryArn>arn:aws:iam::111122223333:policy/b</PermissionsBoundaryArn>\
         </PermissionsBoundary><Tags><member><Key>k</Key><Value>v</Value></member></Tags></Role>",
        encoded()
    )
}

#[tokio::test(start_paused = true)]
async fn a_role_is_read_with_its_decoded_trust() {
    let (wire, iam) = given([result("GetRole", &role_xml())]).await;
    let head = iam.role("r").await.unwrap();
    assert_eq!(head.arn, "arn:aws:iam::111122223333:role/securebucket/c/r");
    assert_eq!(head.role_id, "AROAEXAMPLE");
    assert_eq!(head.created.to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(head.boundary.as_deref(), Some("arn:aws:iam::111122223333:policy/b"));
    assert_eq!(head.trust, document());
    assert_eq!(head.tags, Tags::from([("k".into(), "v".into())]));
    assert_eq!(wire.last().form("Action").as_deref(), Some("GetRole"));
    assert_eq!(wire.last().uri, "https://iam.amazonaws.com/");

    let (_wire, iam) = given([query_error(404, "NoSuchEntity", "The role cannot be found.")]).await;
    assert_eq!(iam.role("r").await.unwrap_err().kind, K::NotFound);
    let (_wire, iam) = given([result("GetRole", &role_xml().replace(&encoded(), "%7B%7D"))]).await;
    assert_eq!(iam.role("r").await.unwrap_err().kind, K::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_role_is_created_with_path_boundary_and_tags() {
    let (wire, iam) = given([result("CreateRole", &role_xml())]).await;
    iam.create_role("r", "/securebucket/c/", &document(), "arn:aws:iam::111122223333:policy/b", &tags()).await.unwrap();
    let sent = wire.last();
    assert_eq!(sent.form("Path").as_deref(), Some("/securebucket/c/"));
    assert_eq!(sent.form("PermissionsBoundary").as_deref(), Some("arn:aws:iam::111122223333:policy/b"));
    assert_eq!(Document::parse(&sent.form("AssumeRolePolicyDocument").unwrap()).unwrap(), document());
    assert_eq!(sent.form("Tags.member.2.Value").as_deref(), Some("x"));
    for (code, text, kind) in [
        ("EntityAlreadyExists", "Role with name r already exists.", K::AlreadyExists),
        ("LimitExceeded", "Cannot exceed quota for RolesPerAccount: 1000", K::LimitExceeded),
        ("MalformedPolicyDocument", "Invalid principal in policy: \"FEDERATED\"", K::UnknownPrincipal),
        ("MalformedPolicyDocument", "Syntax errors in policy.", K::Invalid),
        ("ConcurrentModification", "busy", K::Conflict),
    ] {
        let (_wire, iam) = given([query_error(409, code, text)]).await;
        let error = iam.create_role("r", "/p/", &document(), "b", &tags()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (kind, Some(code)));
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_to_their_end() {
    let page = |more: bool, body: &str| format!("<IsTruncated>{more}</IsTruncated><Marker>m</Marker>{body}");
    let (wire, iam) = given([
        result("ListRoles", &page(true, &format!("<Roles>{}</Roles>", role_xml().replace("Role>", "member>")))),
        result("ListRoles", &page(false, "<Roles/>")),
    ])
    .await;
    assert_eq!(iam.list_roles("/securebucket/c/").await.unwrap(), ["r"]);
    assert_eq!(wire.last().form("PathPrefix").as_deref(), Some("/securebucket/c/"));
    assert_eq!(wire.last().form("Marker").as_deref(), Some("m"));

    let (_wire, iam) = given([
        result("ListRolePolicies", &page(true, "<PolicyNames><member>a</member></PolicyNames>")),
        result("ListRolePolicies", &page(false, "<PolicyNames><member>b</member></PolicyNames>")),
    ])
    .await;
    assert_eq!(iam.role_policies("r").await.unwrap(), ["a", "b"]);

    let attached =
        "<AttachedPolicies><member><PolicyName>p</PolicyName><PolicyArn>arn:p</PolicyArn></member></AttachedPolicies>";
    let (wire, iam) = given([
        result("ListAttachedRolePolicies", &page(true, attached)),
        result("ListAttachedRolePolicies", &page(false, attached)),
    ])
    .await;
    assert_eq!(iam.attached_policies("r").await.unwrap(), ["arn:p", "arn:p"]);
    assert_eq!(wire.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn inline_policies() {
    let body =
        format!("<RoleName>r</RoleName><PolicyName>p</PolicyName><PolicyDocument>{}</PolicyDocument>", encoded());
    let (_wire, iam) = given([result("GetRolePolicy", &body)]).await;
    assert_eq!(iam.role_policy("r", "p").await.unwrap(), document());
    let (wire, iam) = given([result("PutRolePolicy", "")]).await;
    iam.put_role_policy("r", "p", &document()).await.unwrap();
    let sent = Document::parse(&wire.last().form("PolicyDocument").unwrap()).unwrap();
    assert_eq!(sent.id, None, "an identity policy has no Id");
    assert_eq!(crate::role::document::unsealed(sent), document(), "and keeps its certificate all the same");
    let text = "Maximum policy size of 10240 bytes exceeded for role r";
    let (_wire, iam) = given([query_error(409, "LimitExceeded", text)]).await;
    assert_eq!(iam.put_role_policy("r", "p", &document()).await.unwrap_err().kind, K::LimitExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_managed_policy_is_read_in_its_default_version() {
    let policy = "<Policy><PolicyName>p</PolicyName><DefaultVersionId>v3</DefaultVersionId></Policy>";
    let version = format!("<PolicyVersion><Document>{}</Document><VersionId>v3</VersionId></PolicyVersion>", encoded());
    let (wire, iam) = given([result("GetPolicy", policy), result("GetPolicyVersion", &version)]).await;
    assert_eq!(iam.managed_policy("arn:p").await.unwrap(), document());
    assert_eq!(wire.last().form("VersionId").as_deref(), Some("v3"));
    let (_wire, iam) = given([result("GetPolicy", policy), query_error(403, "AccessDenied", "no")]).await;
    let error = iam.managed_policy("arn:p").await.unwrap_err();
    assert_eq!((error.call, error.kind), (crate::aws::calls::Call::GetPolicyVersion, K::AccessDenied));
}

#[tokio::test(start_paused = true)]
async fn writes_name_their_role() {
    let (wire, iam) = given([ok("<R><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></R>")]).await;
    iam.tag_role("r", &tags()).await.unwrap();
    iam.put_trust("r", &document()).await.unwrap();
    iam.put_boundary("r", "arn:b").await.unwrap();
    iam.delete_role_policy("r", "p").await.unwrap();
    iam.detach_policy("r", "arn:p").await.unwrap();
    iam.delete_role("r").await.unwrap();
    let sent = wire.requests();
    let actions: Vec<_> = sent.iter().filter_map(|r| r.form("Action")).collect();
    let expected = [
        "TagRole",
        "UpdateAssumeRolePolicy",
        "PutRolePermissionsBoundary",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "DeleteRole",
    ];
    assert_eq!(actions, expected);
    assert!(sent.iter().all(|r| r.form("RoleName").as_deref() == Some("r")));
    assert_eq!(sent[2].form("PermissionsBoundary").as_deref(), Some("arn:b"));
    let text = "Cannot delete entity, must delete policies first.";
    let (_wire, iam) = given([query_error(409, "DeleteConflict", text)]).await;
    assert_eq!(iam.delete_role("r").await.unwrap_err().kind, K::Conflict);
}
