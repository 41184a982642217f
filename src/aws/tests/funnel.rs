use std::time::Duration;

use aws_smithy_http_client::test_util::NeverClient;

use super::*;
use crate::aws::calls::Call;
use crate::aws::clients::{Caller, OPERATION_TIMEOUT};
use crate::aws::error::{AwsError, AwsErrorKind as K};
use crate::aws::http::dated;

fn identity() -> Answer {
    ok("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
        <Arn>arn:aws:sts::111122223333:assumed-role/operator/securebucket</Arn><UserId>A:s</UserId>\
        <Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>")
}

#[tokio::test(start_paused = true)]
async fn identify_runs_under_the_role_of_the_token() {
    let wire = Wire::new([identity()]).await;
    let arn = "arn:aws:sts::111122223333:assumed-role/operator/securebucket".to_owned();
    assert_eq!(wire.aws.identify().await.unwrap(), Caller { account: "111122223333".into(), arn });
    let all = wire.requests.lock().unwrap();
    let credentials = all.iter().find(|r| r.form("Action").as_deref() == Some("AssumeRoleWithWebIdentity")).unwrap();
    assert_eq!(credentials.form("RoleArn").as_deref(), Some("arn:aws:iam::111122223333:role/operator"));
    assert_eq!(credentials.form("RoleSessionName").as_deref(), Some("securebucket"));
    assert_eq!(credentials.form("WebIdentityToken").as_deref(), Some(TOKEN));
    assert_eq!(credentials.uri, "https://sts.eu-west-1.amazonaws.com/");
}

#[tokio::test(start_paused = true)]
async fn all_services_and_regions_share_one_set_of_credentials() {
    let wire = Wire::new([bare(200, &[])]).await;
    for region in ["eu-west-1", "eu-central-1", "eu-west-1"] {
        wire.aws.s3(&place_in(region)).put_versioning("bucket", "Enabled").await.unwrap();
        wire.aws.clone().kms(&place_in(region)).enable_key("k").await.unwrap();
    }
    let all = wire.requests.lock().unwrap();
    assert_eq!(all.iter().filter(|r| r.body.contains("AssumeRoleWithWebIdentity")).count(), 1);
    assert!(all.iter().any(|r| r.uri.starts_with("https://kms.eu-central-1.amazonaws.com")));
    assert!(wire.token_file.path().exists());
}

#[derive(Default)]
struct Heard(Mutex<Vec<(Call, Option<K>)>>);

impl CallObserver for Heard {
    fn observed(&self, call: Call, _took: Duration, outcome: Result<(), &AwsError>) {
        self.0.lock().unwrap().push((call, outcome.err().map(|e| e.kind)));
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_is_observed_and_the_first_of_each_is_logged() {
    let (heard, log) = (Arc::new(Heard::default()), tempfile::NamedTempFile::new().unwrap());
    let set = |s: &mut AwsSettings| s.call_log = Some(log.path().to_owned());
    let answers = [ok("{}"), json_error(400, "NotFoundException", "x"), ok("{}")];
    let wire = Wire::with(ok(&sts_session()), answers, set, Some(heard.clone())).await;
    let kms = wire.aws.kms(&place());
    kms.enable_key("k").await.unwrap();
    kms.enable_key("k").await.unwrap_err();
    kms.revoke_grant("k", "g").await.unwrap();
    let expected = [(Call::EnableKey, None), (Call::EnableKey, Some(K::NotFound)), (Call::RevokeGrant, None)];
    assert_eq!(*heard.0.lock().unwrap(), expected);
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "kms:EnableKey\nkms:RevokeGrant\n");
}

#[tokio::test(start_paused = true)]
async fn the_clock_follows_the_date_of_answers_also_of_refusals() {
    let mut refused = json_error(400, "AccessDeniedException", "no");
    refused.1.push(("date", "Tue, 24 Nov 2026 12:04:31 GMT".into()));
    let wire = Wire::new([refused]).await;
    assert_eq!(wire.aws.clock().skew(crate::clock::Whose::Aws), None);
    wire.aws.kms(&place()).enable_key("k").await.unwrap_err();
    let now = wire.aws.clock().aws_now().to_string();
    assert!(now.starts_with("2026-11-24T12:04:3"), "{now}");
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_an_outage_after_the_operation_time_out() {
    let file = token_file();
    let aws = Aws::new(settings(&file), SharedHttpClient::new(NeverClient::new()), Clock::new(), None).await;
    let start = tokio::time::Instant::now();
    let error = aws.kms(&place()).enable_key("k").await.unwrap_err();
    assert_eq!((error.kind, error.status), (K::Unavailable, 0), "{error:?}");
    assert!(start.elapsed() <= OPERATION_TIMEOUT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_refused_connection_is_an_outage_and_names_no_address() {
    let file = token_file();
    let mut settings = settings(&file);
    settings.endpoint_url = Some("http://127.0.0.1:1".into());
    let aws = Aws::new(settings, crate::aws::http::https(), Clock::new(), None).await;
    let error = aws.kms(&place()).enable_key("k").await.unwrap_err();
    assert_eq!(error.kind, K::Unavailable);
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_dated_client_can_wrap_another() {
    let (clock, outer) = (Clock::new(), Clock::new());
    let answer = bare(200, &[("date", "Tue, 24 Nov 2026 12:04:31 GMT")]);
    let http = dated(scripted(ok(&sts_session()), [answer], Arc::default()), clock.clone());
    let file = token_file();
    let aws = Aws::new(settings(&file), http, outer.clone(), None).await;
    aws.s3(&place()).put_versioning("bucket", "Enabled").await.unwrap();
    assert!(
        [clock, outer]
            .iter()
            .all(|c| c.skew(crate::clock::Whose::Aws).is_some() && c.skew(crate::clock::Whose::Kubernetes).is_none())
    );
}
