//! A process that stands still: the operator's thread stops in the middle of sending a call, as under SIGSTOP, and goes on when it is told to.
//! Its timers, its lease and everything else of it stand still as well.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use super::hooks::{AwsAnswer, AwsHook, aws_hook};
use super::journal::Operation;

/// Stops an operator once, just before a call leaves it. Clones are handles on the same one.
#[derive(Clone, Default)]
pub struct Freeze(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    thawed: Condvar,
}

#[derive(Default)]
struct State {
    armed: Option<(String, String)>,
    frozen: bool,
    thawed: bool,
    late: Option<u16>,
}

impl Freeze {
    /// The hook that stops the operator.
    pub fn hook(&self) -> AwsHook {
        let freeze = self.clone();
        aws_hook(move |operation, request, next| {
            let freeze = freeze.clone();
            async move {
                if freeze.is_it(&operation, &request) { freeze.stand_still(&request) } else { next.send(request).await }
            }
        })
    }

    /// From now on: the next call of this operation with `part` in its body.
    pub fn before(&self, operation: &str, part: &str) {
        self.0.state.lock().unwrap().armed = Some((operation.into(), part.into()));
    }

    /// True while the operator stands still.
    pub fn is_frozen(&self) -> bool {
        self.0.state.lock().unwrap().frozen
    }

    /// Lets the operator go on: first of all the call reaches AWS.
    pub fn thaw(&self) {
        self.0.state.lock().unwrap().thawed = true;
        self.0.thawed.notify_all();
    }

    /// HTTP status that AWS answered to the late call, once it has.
    pub fn late(&self) -> Option<u16> {
        self.0.state.lock().unwrap().late
    }

    fn is_it(&self, operation: &Operation, request: &HttpRequest) -> bool {
        let mut state = self.0.state.lock().unwrap();
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let hit = state.armed.as_ref().is_some_and(|(name, part)| *name == operation.name && body.contains(part));
        if hit {
            state.armed = None;
        }
        hit
    }

    /// Blocks the thread, and with it the runtime of the operator. Then sends the call itself, past time-outs of a client that has slept: what
    /// was in a socket's buffer arrives, whatever the process does next.
    fn stand_still(&self, request: &HttpRequest) -> AwsAnswer {
        let mut state = self.0.state.lock().unwrap();
        state.frozen = true;
        while !state.thawed {
            state = self.0.thawed.wait(state).unwrap();
        }
        drop(state);
        let (status, body) = send(request).map_err(|e| ConnectorError::io(e.into()))?;
        let mut state = self.0.state.lock().unwrap();
        (state.late, state.frozen) = (Some(status), false);
        Ok(HttpResponse::new(StatusCode::try_from(status).expect("a status of HTTP"), SdkBody::from(body)))
    }
}

fn send(request: &HttpRequest) -> std::io::Result<(u16, Vec<u8>)> {
    let rest = request.uri().strip_prefix("http://").expect("the emulator's endpoint is plain HTTP");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut head = format!("{} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", request.method());
    for (name, value) in request.headers().iter().filter(|(name, _)| !["host", "connection"].contains(name)) {
        head += &format!("{name}: {value}\r\n");
    }
    let body = request.body().bytes().unwrap_or_default();
    if request.headers().get("content-length").is_none() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect(host)?;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let status = String::from_utf8_lossy(&answer[..end]).split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((status.expect("an HTTP answer"), answer[end..].to_vec()))
}
