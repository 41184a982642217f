//! The two fault layers: under the AWS SDK, where each attempt is seen as AWS would see it, and under the kube client.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};

use super::journal::{Entry, Journal, UnderWay, Write, now};
use super::plan::{Faults, Kind, Seen, Verdict};
use super::requests::{aws_label, aws_parameters, kube_counts, kube_label};
use crate::support::OperatorBuilder;
use crate::support::hooks::{AwsAnswer, AwsNext, KubeAnswer, aws_hook, kube_hook};
use crate::support::journal::Operation;
use crate::support::kube_journal::KubeRequest;

/// How late a delayed request or answer is.
const DELAY: Duration = Duration::from_millis(400);

/// The outside world of operator number `life` of a run.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Faults of the run.
    pub faults: Faults,
    /// Journal of the run.
    pub journal: Journal,
    /// Number of the operator, from 1.
    pub life: u32,
}

impl Outside {
    /// Puts the layers under an operator that is about to start.
    pub fn under(&self, operator: OperatorBuilder) -> OperatorBuilder {
        let (aws, kube) = (self.clone(), self.clone());
        operator
            .aws_hook(aws_hook(move |operation, request, next| {
                let outside = aws.clone();
                async move { outside.aws(operation, request, next).await }
            }))
            .kube_hook(kube_hook(move |what, request, next| {
                let outside = kube.clone();
                async move { outside.kube(what, request, next).await }
            }))
    }

    async fn aws(&self, operation: Operation, request: HttpRequest, next: AwsNext) -> AwsAnswer {
        if operation.service == "sts" {
            return next.send(request).await;
        }
        let service = operation.service;
        let parameters = aws_parameters(&operation, &request);
        let label = aws_label(&operation, &parameters);
        let call = request.headers().get("amz-sdk-invocation-id").map(str::to_owned);
        let seen = Seen { label: &label, writes: operation.write, aws: true, call: call.as_deref() };
        let verdict = self.faults.admit(self.life, &seen);
        let write = operation.write.then_some(Write::Aws { operation: operation.name, parameters });
        let writes = write.is_some();
        let sending = async move {
            let (answer, noted) = aws_whole(next.send(request).await).await;
            let status = answer.as_ref().map_or(0, |a| a.status().as_u16());
            (answer, status, noted)
        };
        let failed = |kind: Kind| match kind {
            Kind::Throttle => Ok(throttled(service)),
            Kind::ErrorApplied => Ok(server_error(service)),
            _ => Err(ConnectorError::io("injected: the connection broke".into())),
        };
        let noted = async {
            let left = self.leaves();
            // The SDK gives an attempt up that takes too long. What AWS does with it is to be noted all the same.
            let sent = tokio::spawn(self.clone().sent(left, write, sending, delay_of(verdict, writes)));
            sent.await.expect("a request that does not panic")
        };
        self.carry(verdict, writes, noted, failed).await
    }

    async fn kube(&self, what: KubeRequest, request: http::Request<Body>, next: kube::Client) -> KubeAnswer {
        if !kube_counts(&what, &request) {
            return next.send(request).await;
        }
        let label = kube_label(&what);
        let writes = what.is_write();
        let verdict = self.faults.admit(self.life, &Seen { label: &label, writes, aws: false, call: None });
        let (request, body) = kube_body(request).await?;
        let write = Write::Kube { method: what.method.to_string(), resource: what.resource, body };
        let write = writes.then_some(write);
        let sending = async move {
            let (answer, noted) = kube_whole(next.send(request).await).await;
            let status = answer.as_ref().map_or(0, |a| a.status().as_u16());
            (answer, status, noted)
        };
        let failed = |kind: Kind| match kind {
            Kind::Throttle => Ok(kube_failure(429, "TooManyRequests")),
            Kind::ErrorApplied => Ok(kube_failure(500, "InternalError")),
            _ => Err(kube::Error::Service("injected: the connection broke".into())),
        };
        let noted = async { self.clone().sent(self.leaves(), write, sending, delay_of(verdict, writes)).await };
        self.carry(verdict, writes, noted, failed).await
    }

    /// Does to a request what its verdict says.
    async fn carry<A>(
        &self,
        verdict: Verdict,
        writes: bool,
        sending: impl Future<Output = A>,
        failed: impl FnOnce(Kind) -> A,
    ) -> A {
        match verdict {
            Verdict::Pass => sending.await,
            Verdict::Dead => std::future::pending().await,
            Verdict::HitAgain(kind) => failed(kind),
            Verdict::Hit(kind) if kind.kills() => {
                if kind.applies() {
                    sending.await;
                }
                // Nothing more leaves the operator. What has left it arrives, as it would from a process that was killed.
                while self.journal.under_way() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                self.faults.kill();
                std::future::pending().await
            }
            Verdict::Hit(Kind::Delay) => {
                let answer = sending.await;
                if !writes {
                    tokio::time::sleep(DELAY).await;
                }
                answer
            }
            Verdict::Hit(kind) => {
                if kind.applies() {
                    sending.await;
                }
                failed(kind)
            }
        }
    }

    /// A request leaves the operator: when, and that it is under way.
    fn leaves(&self) -> (Timestamp, UnderWay) {
        (now(), self.journal.leaves())
    }

    /// Sends, and notes a write in the journal.
    async fn sent<A>(
        self,
        (asked, _under_way): (Timestamp, UnderWay),
        write: Option<Write>,
        sending: impl Future<Output = (A, u16, Value)>,
        late: Duration,
    ) -> A {
        if !late.is_zero() {
            tokio::time::sleep(late).await;
        }
        let sent = now();
        let (answer, status, noted) = sending.await;
        if let Some(write) = write {
            let entry = Entry { asked, sent, done: now(), status, write, answer: noted };
            self.journal.note(entry);
        }
        answer
    }
}

fn delay_of(verdict: Verdict, writes: bool) -> Duration {
    if writes && verdict == Verdict::Hit(Kind::Delay) { DELAY } else { Duration::ZERO }
}

/// The answer with its body in memory, and the body if it is JSON.
async fn aws_whole(answer: AwsAnswer) -> (AwsAnswer, Value) {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(e) => return (Err(e), Value::Null),
    };
    match ByteStream::new(answer.take_body()).collect().await {
        Ok(body) => {
            let body = body.into_bytes();
            let noted = serde_json::from_slice(&body).unwrap_or_default();
            *answer.body_mut() = SdkBody::from(body);
            (Ok(answer), noted)
        }
        Err(e) => (Err(ConnectorError::io(e.into())), Value::Null),
    }
}

async fn kube_whole(answer: KubeAnswer) -> (KubeAnswer, Value) {
    let (head, body) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(e) => return (Err(e), Value::Null),
    };
    match body.collect_bytes().await {
        Ok(body) => {
            let noted = serde_json::from_slice(&body).unwrap_or_default();
            (Ok(http::Response::from_parts(head, Body::from(body))), noted)
        }
        Err(e) => (Err(e), Value::Null),
    }
}

async fn kube_body(request: http::Request<Body>) -> kube::Result<(http::Request<Body>, Value)> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let read = serde_json::from_slice(&body).unwrap_or_default();
    Ok((http::Request::from_parts(head, Body::from(body)), read))
}

fn server_error(service: &str) -> HttpResponse {
    match service {
        "kms" => aws_answer(500, r#"{"__type":"KMSInternalException","message":"injected"}"#),
        "iam" => aws_answer(500, "<ErrorResponse><Error><Code>ServiceFailure</Code></Error></ErrorResponse>"),
        _ => aws_answer(500, "<Error><Code>InternalError</Code></Error>"),
    }
}

/// In the words of each service: the AWS API references under "Common Errors", for S3 "Error responses".
fn throttled(service: &str) -> HttpResponse {
    match service {
        "kms" => aws_answer(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
        "iam" => aws_answer(400, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"),
        _ => aws_answer(503, "<Error><Code>SlowDown</Code></Error>"),
    }
}

fn aws_answer(status: u16, body: &'static str) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).expect("a status of HTTP"), SdkBody::from(body))
}

fn kube_failure(code: u16, reason: &str) -> http::Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "injected", "reason": reason,
        "code": code,
    });
    let response = http::Response::builder().status(code).header("content-type", "application/json");
    response.body(Body::from(status.to_string().into_bytes())).expect("a valid answer")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_does_what_it_says() {
        use Kind as K;
        for (kind, reaches, comes_back, kills) in [
            (K::KillBefore, false, None, true),
            (K::KillAfterApplied, true, None, true),
            (K::ErrorNotApplied, false, Some("failure"), false),
            (K::ErrorNotAppliedOnce, false, Some("failure"), false),
            (K::ErrorApplied, true, Some("failure"), false),
            (K::ErrorAppliedOnce, true, Some("failure"), false),
            (K::Throttle, false, Some("failure"), false),
            (K::Delay, true, Some("answer"), false),
        ] {
            let outside = Outside { faults: Faults::at("x#1", kind), journal: Journal::default(), life: 1 };
            let verdict = outside.faults.admit(1, &Seen { label: "x", writes: true, aws: true, call: None });
            let sent = AtomicBool::new(false);
            let sending = async {
                sent.store(true, Ordering::Relaxed);
                "answer"
            };
            let second = Duration::from_secs(1);
            let came = tokio::time::timeout(second, outside.carry(verdict, true, sending, |_| "failure")).await.ok();
            let killed = tokio::time::timeout(second, outside.faults.killed()).await.is_ok();
            assert_eq!((sent.into_inner(), came, killed), (reaches, comes_back, kills), "{kind}");
        }
    }
}
