//! Tests of the adapters on wire-level answers: the real SDK over an HTTP client that answers from a list.

mod classify;
mod funnel;
mod iam;
mod kms;
mod s3;

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::body::SdkBody;

use super::clients::{Aws, AwsSettings};
use super::funnel::CallObserver;
use super::limit::Limits;
use crate::clock::Clock;
use crate::domain::arn::Place;
use crate::domain::policy::{Document, Statement};
use crate::domain::tags::Tags;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.secret.secret";

/// An answer: status, headers, body.
#[derive(Clone, Debug)]
struct Answer(u16, Vec<(&'static str, String)>, String);

fn ok(body: &str) -> Answer {
    Answer(200, vec![], body.to_owned())
}

fn bare(status: u16, headers: &[(&'static str, &str)]) -> Answer {
    Answer(status, headers.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(), String::new())
}

/// An error as S3 writes it.
fn s3_error(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>4442587FB7D0A2F9</RequestId><HostId>aGVsbG8=</HostId></Error>"
    );
    Answer(status, vec![("content-type", "application/xml".into())], body)
}

/// An error as IAM and STS write it.
fn query_error(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>4c8d-11</RequestId></ErrorResponse>"
    );
    Answer(status, vec![("content-type", "text/xml".into())], body)
}

/// An error as KMS writes it.
fn json_error(status: u16, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "__type": code, "message": message }).to_string();
    Answer(status, vec![("content-type", "application/x-amz-json-1.1".into())], body)
}

/// A request as it went out.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Parameters of a query-protocol request.
    fn form(&self, key: &str) -> Option<String> {
        self.body.split('&').find_map(|pair| {
            let (k, v) = pair.split_once('=')?;
            (k == key).then(|| percent_encoding::percent_decode_str(v).decode_utf8_lossy().replace('+', " "))
        })
    }
}

/// AWS on a list of answers; the last one is given for ever.
struct Wire {
    aws: Aws,
    requests: Arc<Mutex<Vec<Request>>>,
    token_file: tempfile::NamedTempFile,
}

fn sts_session() -> String {
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
     <Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
     <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
     </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        .to_owned()
}

fn scripted(
    sts: Answer,
    answers: impl IntoIterator<Item = Answer>,
    requests: Arc<Mutex<Vec<Request>>>,
) -> SharedHttpClient {
    let queue = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    infallible_client_fn(move |request: ::http::Request<SdkBody>| {
        let request = Request {
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            headers: request
                .headers()
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_owned()))
                .collect(),
            body: String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned(),
        };
        let Answer(status, headers, body) = if request.body.contains("Action=AssumeRoleWithWebIdentity") {
            sts.clone()
        } else {
            let mut queue = queue.lock().unwrap();
            if queue.len() > 1 { queue.pop_front().unwrap() } else { queue.front().unwrap().clone() }
        };
        requests.lock().unwrap().push(request);
        let response = ::http::Response::builder().status(status);
        headers.iter().fold(response, |r, (k, v)| r.header(*k, v)).body(body).unwrap()
    })
}

fn settings(token_file: &tempfile::NamedTempFile) -> AwsSettings {
    AwsSettings {
        endpoint_url: None,
        region: "eu-west-1".into(),
        role_arn: Some("arn:aws:iam::111122223333:role/operator".into()),
        web_identity_token_file: Some(token_file.path().to_owned()),
        limits: Limits::unlimited(),
        call_log: None,
    }
}

fn token_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(TOKEN.as_bytes()).unwrap();
    file
}

impl Wire {
    async fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with(ok(&sts_session()), answers, |_| (), None).await
    }

    async fn with(
        sts: Answer,
        answers: impl IntoIterator<Item = Answer>,
        change: impl FnOnce(&mut AwsSettings),
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Self {
        let (requests, token_file) = (Arc::default(), token_file());
        let http = scripted(sts, answers, Arc::clone(&requests));
        let mut settings = settings(&token_file);
        change(&mut settings);
        Self { aws: Aws::new(settings, http, Clock::new(), observer).await, requests, token_file }
    }

    /// What was asked, without the call for credentials.
    fn requests(&self) -> Vec<Request> {
        let all = self.requests.lock().unwrap();
        all.iter().filter(|r| !r.body.contains("Action=AssumeRoleWithWebIdentity")).cloned().collect()
    }

    fn last(&self) -> Request {
        self.requests().pop().unwrap()
    }
}

fn place() -> Place {
    place_in("eu-west-1")
}

fn place_in(region: &str) -> Place {
    Place { partition: "aws".into(), account: "111122223333".into(), region: region.into() }
}

fn document() -> Document {
    Document::new(vec![Statement::deny("D").anyone().actions(["s3:*"]).resources(["arn:aws:s3:::b/*"])]).certified()
}

fn tags() -> Tags {
    Tags::from([("securebucket.io/cluster".to_owned(), "c".to_owned()), ("team".to_owned(), "x".to_owned())])
}
